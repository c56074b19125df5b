/* After a GPU has failed, its process can do nothing more with it, and of a recorded step nobody
 * knows which kernel it was. So the process begins anew at the last checkpoint, with every launch
 * waited for, until the kernel fails again and is named or that step is over. */
#ifndef LONGHAUL_SECOND_LOOK_H
#define LONGHAUL_SECOND_LOOK_H

#include <stdint.h>

#include "engine/status.h"

typedef struct SecondLook {
    int64_t until;    /* the step; 0: this is not a second look */
    char first[1024]; /* what the first one saw */
} SecondLook;

/* What this process is, as the one before it said. */
SecondLook second_look_open(void);

/* Begins one with this process's command line, its claim given back and all files closed but the
 * standard ones and the descriptor `report` (-1: none). Returns when there is none to be had: this
 * is one already, launches were waited for, or the program does not start. */
void second_look_begin(const SecondLook *look, int64_t step, const Error *first, int report);

#endif
