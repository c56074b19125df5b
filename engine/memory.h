/* Memory that the program cannot go on without: lists, names, one sample. Never NULL. When there is
 * none the program ends at once, with a message on standard error that says how much was wanted,
 * and with STATUS_IO as its exit code. What is on disk stands, since files appear complete or not
 * at all.
 *
 * Amounts that come from a user's settings or files are asked for where NULL becomes a Status with
 * advice: DeviceKind.allocate, file_read, packed_read. */
#ifndef LONGHAUL_MEMORY_H
#define LONGHAUL_MEMORY_H

#include <stddef.h>
#include <stdio.h>

/* Whoever calls these frees what they return, with free. No bytes are a block of its own, too. */
void *memory_take(size_t bytes) __attribute__((malloc, returns_nonnull));
void *memory_take_zeroed(size_t count, size_t size) __attribute__((malloc, returns_nonnull));
/* As realloc: the old block is given up. */
void *memory_resize(void *memory, size_t bytes) __attribute__((returns_nonnull));
char *memory_copy_text(const char *text) __attribute__((malloc, returns_nonnull));

/* A stream that collects what is written to it: after fclose *text holds it, ended by a zero byte,
 * and *bytes says how many there are before that. Unlike open_memstream it cannot lose some. */
FILE *memory_stream(char **text, size_t *bytes) __attribute__((returns_nonnull));

#endif
