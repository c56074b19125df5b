#include "engine/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/status.h"

/* Without stdio and exit handlers, both of which may want memory. bytes 0: not known. */
static _Noreturn void exhausted(size_t bytes) {
    char text[256], amount[64] = "";
    if (bytes > 0) snprintf(amount, sizeof amount, " (%zu bytes were wanted)", bytes);
    const int length = snprintf(text, sizeof text,
                                "longhaul: out of memory%s; finished files are whole: free some "
                                "memory or use fewer --jobs, and run the same command again\n",
                                amount);
    const ssize_t written = write(STDERR_FILENO, text, (size_t)length);
    (void)written; /* there is nobody left to tell */
    _exit(STATUS_IO);
}

void *memory_take(size_t bytes) {
    void *memory = malloc(bytes ? bytes : 1);
    if (!memory) exhausted(bytes);
    return memory;
}

void *memory_take_zeroed(size_t count, size_t size) {
    void *memory = count && size ? calloc(count, size) : calloc(1, 1);
    if (!memory) exhausted(size && count <= SIZE_MAX / size ? count * size : 0);
    return memory;
}

void *memory_resize(void *memory, size_t bytes) {
    void *moved = realloc(memory, bytes ? bytes : 1);
    if (!moved) exhausted(bytes);
    return moved;
}

char *memory_copy_text(const char *text) {
    const size_t bytes = strlen(text) + 1;
    return memcpy(memory_take(bytes), text, bytes);
}

/* ---- a stream ---- */

typedef struct Collected {
    char **text;
    size_t *bytes, room;
} Collected;

static ssize_t collect(void *cookie, const char *from, size_t bytes) {
    Collected *own = cookie;
    const size_t needed = *own->bytes + bytes + 1;
    if (needed > own->room) {
        own->room = 2 * needed;
        *own->text = memory_resize(*own->text, own->room);
    }
    memcpy(*own->text + *own->bytes, from, bytes);
    *own->bytes += bytes;
    (*own->text)[*own->bytes] = '\0';
    return (ssize_t)bytes;
}

static int collected(void *cookie) {
    free(cookie);
    return 0;
}

FILE *memory_stream(char **text, size_t *bytes) {
    Collected *own = memory_take(sizeof *own);
    *own = (Collected){text, bytes, 0};
    *text = memory_copy_text("");
    *bytes = 0;
    FILE *stream =
        fopencookie(own, "w", (cookie_io_functions_t){.write = collect, .close = collected});
    if (!stream) exhausted(0);
    return stream;
}
