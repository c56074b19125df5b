#include "engine/library.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool library_find(const char *file, char path[PATH_MAX]) {
    static const char *const places[] = {"", "../", "../lib/"};
    char program[PATH_MAX];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(program, '/');
    if (slash) *slash = '\0';
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        const int size = snprintf(path, PATH_MAX, "%s/%s%s", program, places[i], file);
        if (size > 0 && size < PATH_MAX && access(path, R_OK) == 0) return true;
    }
    return false;
}
