/* A thread draws one block of four random words and so handles four elements. */
#include "engine/ops/dropout/dropout.h"

#include "engine/cuda/elements.cuh"
#include "engine/cuda/philox.cuh"

enum { THREADS = 256, WORDS = FOUR };

KERNEL void __launch_bounds__(THREADS)
    mask(const float *x, float *y, int64_t n, const RunValues *values, uint64_t stream,
         uint32_t bound, bool all, float factor, bool accumulate) {
    const int64_t block = global_thread();
    if (block * WORDS >= n) return;
    uint32_t key[2], words[WORDS];
    philox_key(values->seed, stream, key);
    const uint64_t item = values->pass;
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)((uint64_t)block >> 32), (uint32_t)item,
                                 (uint32_t)(item >> 32)};
    philox_block(key, counter, words);
    Four value = some(x, block * WORDS, n);
    for (int k = 0; k < WORDS; k++)
        value.of[k] = all || words[k] < bound ? factor * value.of[k] : 0.0f;
    put_some(y, block * WORDS, n, value, accumulate);
}

static void apply(const OpCall *call, const Run *run, const float *x, float *y, bool accumulate) {
    const Dropout *attributes = static_cast<const Dropout *>(call->attributes);
    const int64_t n = tensor_size(call->in[0]);
    const double kept = run->training ? 1 - attributes->rate : 1;
    LAUNCH(run, mask, blocks_for((n + WORDS - 1) / WORDS, THREADS), THREADS, 0, x, y, n,
           run_values(run), stream_number("dropout") ^ (uint64_t)call->number,
           dropout_bound(attributes), !run->training, (float)(1 / kept), accumulate);
}

static void forward(const OpCall *call, const Run *run) {
    apply(call, run, call->in[0]->data, call->out[0]->data, false);
}

static void backward(const OpCall *call, const Run *run) {
    float *const dx = gradient_of(call, 0);
    if (dx) apply(call, run, call->out[0]->gradient, dx, call->accumulate[0]);
}

CUDA_OP(dropout, {forward, backward}, NULL);
