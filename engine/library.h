/* Where the program's own shared objects lie: its CUDA half and its MPI half, loaded at run time.
 */
#ifndef LONGHAUL_LIBRARY_H
#define LONGHAUL_LIBRARY_H

#include <limits.h>
#include <stdbool.h>

/* Beside the program, above it (build/tests) or in ../lib of an installed one. */
bool library_find(const char *file, char path[PATH_MAX]);

#endif
