/* Tile registers of x86 processors (AMX): one instruction multiplies 16 x 32 by 32 x 16 numbers in
 * bf16. The operating system hands them out on request. */
#ifndef LONGHAUL_MATRIX_TILES_H
#define LONGHAUL_MATRIX_TILES_H

#include <stdbool.h>

/* Has the processor tiles of bf16, and may this process use them? Asked once, before main. */
bool matrix_tiles_granted(void);

#endif
