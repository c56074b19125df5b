/* The cache: what can be made again from the data folder, which is never written to. */
#ifndef LONGHAUL_CACHE_H
#define LONGHAUL_CACHE_H

#include <limits.h>

#include "engine/status.h"

/* $LONGHAUL_CACHE, or longhaul in $XDG_CACHE_HOME or ~/.cache; it need not exist. STATUS_IO when
 * none of them is set. */
Status cache_folder(char path[PATH_MAX], Error *error);

#endif
