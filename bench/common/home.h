/* Where the files that come with the program lie: suites, published numbers, plot templates. */
#ifndef LONGHAUL_HOME_H
#define LONGHAUL_HOME_H

#include <stddef.h>

#include "engine/status.h"

/* Absolute path of a file or folder that comes with the program, e.g. "bench/suites". Looked for
 * in $LONGHAUL_HOME if that is set, else in the one or two folders above the program (a source
 * tree) and share/longhaul there (an installation). STATUS_IO with the places when absent. */
Status home_path(const char *relative, char *path, size_t size, Error *error);

#endif
