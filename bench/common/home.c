#include "bench/common/home.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int found(const char *folder, const char *relative, char *path, size_t size) {
    const int length = snprintf(path, size, "%s/%s", folder, relative);
    return length > 0 && (size_t)length < size && access(path, R_OK) == 0;
}

/* The folder that holds the running program; "" when the system does not tell. */
static void program_folder(char folder[PATH_MAX]) {
    const ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);
    folder[length > 0 ? length : 0] = 0;
    char *slash = strrchr(folder, '/');
    if (slash) *slash = 0;
}

Status home_path(const char *relative, char *path, size_t size, Error *error) {
    const char *home = getenv("LONGHAUL_HOME");
    if (home && *home) {
        if (found(home, relative, path, size)) return STATUS_OK;
        return error_set(error, STATUS_IO,
                         "%s: not found in LONGHAUL_HOME=%s; let it name the source tree or "
                         "PREFIX/share/longhaul, or unset it",
                         relative, home);
    }
    char program[PATH_MAX], folder[PATH_MAX], shared[PATH_MAX + sizeof "/share/longhaul"];
    program_folder(program);
    memcpy(folder, program, sizeof folder);
    /* bin and build are one level down from what is looked for, build/tests two. */
    for (int level = 0; level < 2 && strrchr(folder, '/'); level++) {
        *strrchr(folder, '/') = 0;
        snprintf(shared, sizeof shared, "%s/share/longhaul", folder);
        if (found(folder, relative, path, size) || found(shared, relative, path, size)) {
            return STATUS_OK;
        }
    }
    return error_set(error, STATUS_IO,
                     "%s: not found above %s nor in ../share/longhaul there; set LONGHAUL_HOME to "
                     "the folder that holds it",
                     relative, program);
}
