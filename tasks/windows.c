#include "tasks/windows.h"

#include <stdlib.h>
#include <string.h>

#include "tasks/sampling.h"

/* Windows of a document with that many tokens to predict. */
static int64_t windows_of(const Windows *windows, int64_t predicted) {
    const int64_t rest = predicted - windows->length;
    if (predicted <= 0) return 0;
    if (rest <= 0) return 1;
    return 1 + (windows->stride > 0 ? (rest + windows->stride - 1) / windows->stride : rest);
}

void windows_open(Windows *windows, const Tokens *tokens, bool joined, int64_t length,
                  int64_t stride) {
    const int64_t documents = joined ? 1 : tokens->documents;
    *windows = (Windows){.length = length, .stride = stride, .documents = documents};
    const size_t bytes = (size_t)(documents + 1) * sizeof(int64_t);
    windows->starts = scratch_open(bytes);
    windows->before = scratch_open(bytes);
    if (joined)
        windows->starts[1] = tokens->count;
    else
        memcpy(windows->starts, tokens->starts, bytes);
    for (int64_t d = 0; d < documents; d++)
        windows->before[d + 1] =
            windows->before[d] +
            windows_of(windows, windows->starts[d + 1] - windows->starts[d] - 1);
}

void windows_close(Windows *windows) {
    free(windows->starts);
    free(windows->before);
    *windows = (Windows){0};
}

int64_t windows_count(const Windows *windows) {
    return windows->before[windows->documents];
}

Window windows_at(const Windows *windows, int64_t index) {
    int64_t low = 0, high = windows->documents - 1;
    while (low < high) { /* the last document with before[d] <= index that has windows */
        const int64_t middle = (low + high) / 2;
        if (windows->before[middle + 1] > index)
            high = middle;
        else
            low = middle + 1;
    }
    const int64_t start = windows->starts[low], nth = index - windows->before[low];
    const int64_t predicted = windows->starts[low + 1] - start - 1, length = windows->length;
    if (predicted <= length) return (Window){start, predicted, predicted};
    if (windows->stride == 0) return (Window){start + nth, length, length};
    const int64_t end = length + nth * windows->stride;
    const int64_t stop = end < predicted ? end : predicted;
    return (Window){start + stop - length, length,
                    nth == 0 ? length : stop - (end - windows->stride)};
}
