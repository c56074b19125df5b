#include "tasks/cache.h"

#include <stdio.h>
#include <stdlib.h>

Status cache_folder(char path[PATH_MAX], Error *error) {
    const char *own = getenv("LONGHAUL_CACHE"), *caches = getenv("XDG_CACHE_HOME");
    const char *home = getenv("HOME");
    int length;
    if (own && *own)
        length = snprintf(path, PATH_MAX, "%s", own);
    else if (caches && *caches)
        length = snprintf(path, PATH_MAX, "%s/longhaul", caches);
    else if (home && *home)
        length = snprintf(path, PATH_MAX, "%s/.cache/longhaul", home);
    else
        return error_set(error, STATUS_IO, "no place for a cache: set LONGHAUL_CACHE to a folder");
    return length < PATH_MAX ? STATUS_OK : error_set(error, STATUS_IO, "cache path is too long");
}
