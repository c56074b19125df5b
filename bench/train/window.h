/* Samples of an evaluation, some at a time: each is replayed at a length that suits it, together
 * with others of that length, and all are read back in their order. A window's samples and so the
 * company that each of them has in a replay do not depend on the number of processes. */
#ifndef LONGHAUL_WINDOW_H
#define LONGHAUL_WINDOW_H

#include "bench/train/session.h"

/* What replays leave to be scored, in one piece of memory, which processes send each other. */
typedef struct Replayed {
    int32_t *classes, *predictions, *positions; /* (W K); predictions where the network has them */
    float *weights, *losses;                    /* (W K) */
    int32_t *lengths;                           /* (W S) */
} Replayed;

/* W: samples of a window. */
int64_t window_samples(const Session *session);

/* Bytes of a window's results, and where they lie in such a piece of memory. */
size_t window_result_bytes(const Session *session);
Replayed window_results(const Session *session, void *memory);

/* All memory of a window, results included. */
int64_t window_bytes(const Session *session);

typedef struct Window Window;
Window *window_open(Session *session);
void window_close(Window *window);

/* Computes samples first .. first + count - 1 of a split, count at most W. */
void window_replay(Window *window, Split split, int64_t first, int64_t count,
                   const Replayed *results);

#endif
