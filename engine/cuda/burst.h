/* Short bursts of work that show what a device can do at best: the roofs of the kernel benchmark.
 */
#ifndef LONGHAUL_CUDA_BURST_H
#define LONGHAUL_CUDA_BURST_H

#include "engine/cuda/backend.h"

/* CudaLibrary.flush and ceiling, the same on every backend (engine/cuda/burst.cu). */
bool flush_caches(void *state);
bool measure_ceiling(void *state, Ceiling *ceiling, char *message, size_t bytes);

/* Best rate of several bursts; enqueue(rounds) returns the work that it has enqueued, which is
 * doubled until the device needs 5 ms for it. */
template <class Enqueue> double best_rate(const Run *run, Enqueue enqueue) {
    const double enough = 5e-3;
    enum { BURSTS = 7 };
    CudaState *state = state_of(run);
    void *start = NULL, *end = NULL;
    double best = 0;
    int64_t rounds = 1;
    for (int burst = 0; burst < BURSTS;) {
        start = backend.mark(state, start);
        const double work = enqueue(rounds);
        end = backend.mark(state, end);
        const double seconds = backend.between(state, start, end);
        if (!(seconds > 0)) break; /* the device has failed; synchronise says why */
        if (seconds < enough && burst == 0 && rounds < 1 << 20) {
            rounds *= 2;
            continue;
        }
        burst++;
        if (work / seconds > best) best = work / seconds;
    }
    if (start) backend.drop(state, start);
    if (end) backend.drop(state, end);
    return best;
}

#endif
