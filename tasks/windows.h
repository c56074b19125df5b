/* Windows over a stream of tokens: what a language model sees at a time. A window of n tokens is
 * followed by the token that its last position has to predict; none crosses the end of a document.
 */
#ifndef LONGHAUL_WINDOWS_H
#define LONGHAUL_WINDOWS_H

#include <stdbool.h>
#include <stdint.h>

#include "tasks/unit.h"

typedef struct Windows {
    int64_t length, stride; /* stride 0: windows begin anywhere (training) */
    int64_t *starts;        /* of the documents, in tokens; documents + 1 */
    int64_t *before;        /* windows of the documents before each; documents + 1 */
    int64_t documents;
} Windows;

/* Tokens start .. start + length of the stream, of which the last `scored` are to be predicted. */
typedef struct Window {
    int64_t start, length, scored;
} Window;

/* joined: the whole stream is one document. With a stride the windows cover every document once and
 * in order: the first one is scored whole, each later one scores its last `stride` tokens, and the
 * last one ends with the document. A document shorter than a window is one short window. */
void windows_open(Windows *windows, const Tokens *tokens, bool joined, int64_t length,
                  int64_t stride);
void windows_close(Windows *windows);

int64_t windows_count(const Windows *windows);
Window windows_at(const Windows *windows, int64_t index);

#endif
