/* Bound by reading the cache: 2 FLOPs for 8 bytes. */
#include "engine/ops/long_convolution_step/long_convolution_step.h"
#include "engine/simd.h"

static void forward(const OpCall *call, const Run *run) {
    const Tensor *cache = call->in[0];
    const int64_t batch = extent(cache, 0), length = extent(cache, 1), width = extent(cache, 2);
    const int64_t taps = extent(call->in[1], 0);
    const int64_t position = call->in[3]->integers[0];
    const int64_t row = position % length;
    const int64_t used = taps <= position ? taps : position + 1;
#pragma omp parallel for collapse(2) num_threads(run->threads) schedule(static)
    for (int64_t b = 0; b < batch; b++)
        for (int64_t c = 0; c < width; c += LANES) {
            const float *x = cache->data + b * length * width + c;
            const float *filter = call->in[1]->data + c;
            vfloat sum = v_load_part(call->in[2]->data + c, width - c) *
                         v_load_part(x + row * width, width - c);
            for (int64_t k = 0; k < used; k++) {
                const int64_t place = k <= row ? row - k : row - k + length;
                sum += v_load_part(filter + k * width, width - c) *
                       v_load_part(x + place * width, width - c);
            }
            v_store_part(call->out[0]->data + b * width + c, sum, width - c);
        }
}

const OpKernels ISA(long_convolution_step_cpu) = {forward, NULL};
