/* What the program and liblonghaul_mpi.so say to each other: one table, found by name after the
 * library has been loaded. */
#ifndef LONGHAUL_MPI_LIBRARY_H
#define LONGHAUL_MPI_LIBRARY_H

#include <stdbool.h>

#include "bench/cell/team.h"

/* Raised with every change to a structure that both sides know. */
enum { MPI_INTERFACE = 1 };

typedef struct MpiLibrary {
    int interface;
    TeamKind kind;
    /* Joins the processes of this start. False with what is wrong in message. */
    bool (*open)(Team *team, char *message, size_t bytes);
    void (*version)(char *text, size_t bytes); /* of the MPI that it was linked with; one line */
} MpiLibrary;

#define MPI_LIBRARY_SYMBOL "longhaul_mpi"
#define MPI_LIBRARY_FILE "liblonghaul_mpi.so"

#endif
