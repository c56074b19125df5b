/* Bound by reading the cache: 2 FLOPs for 8 bytes. */
#include "engine/ops/long_convolution_step/long_convolution_step.h"
#include "engine/simd.h"

static void forward(const OpCall *call, const Run *run) {
    const Tensor *cache = call->in[0];
    const int64_t batch = extent(cache, 0), length = extent(cache, 1), width = extent(cache, 2);
    const int64_t taps = extent(call->in[1], 0);
    const int64_t position = call->in[3]->integers[0];
    if (position < 0 || position >= length) return;
    const int64_t first = position - taps + 1 > 0 ? position - taps + 1 : 0;
#pragma omp parallel for collapse(2) num_threads(run->threads) schedule(static)
    for (int64_t b = 0; b < batch; b++)
        for (int64_t c = 0; c < width; c += LANES) {
            const float *x = cache->data + b * length * width + c;
            const float *filter = call->in[1]->data + position * width + c;
            vfloat sum = v_load_part(call->in[2]->data + c, width - c) *
                         v_load_part(x + position * width, width - c);
            for (int64_t s = first; s <= position; s++)
                sum += v_load_part(filter - s * width, width - c) *
                       v_load_part(x + s * width, width - c);
            v_store_part(call->out[0]->data + b * width + c, sum, width - c);
        }
}

const OpKernels ISA(long_convolution_step_cpu) = {forward, NULL};
