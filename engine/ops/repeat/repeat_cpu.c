/* Bound by memory: one side is read, the other written, once. */
#include "engine/gradient_simd.h"
#include "engine/ops/repeat/repeat.h"

static void forward(const OpCall *call, const Run *run) {
    const Repeat *attributes = call->attributes;
    const int64_t times = attributes->times, single = attributes->width == 1;
    /* one number's copies are a row of their own */
    const int64_t width = single ? times : attributes->width;
    const int64_t rows = tensor_size(call->out[0]) / width;
    const float *x = call->in[0]->data;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < width; c += LANES) {
            const int64_t n = width - c;
            v_store_part(call->out[0]->data + r * width + c,
                         single ? v_set(x[r]) : v_load_part(x + r / times * width + c, n), n);
        }
}

static void sum_of_rows(const OpCall *call, const Run *run, GradientTarget to) {
    const Repeat *attributes = call->attributes;
    const int64_t times = attributes->times, width = attributes->width;
    const int64_t vectors = (width + LANES - 1) / LANES;
    const int64_t all = tensor_size(call->in[0]) / width * vectors;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t k = 0; k < all; k++) {
        const int64_t r = k / vectors, c = k % vectors * LANES;
        vfloat sum = v_zero();
        for (int64_t i = 0; i < times; i++)
            sum += v_load_part(call->out[0]->gradient + (r * times + i) * width + c, width - c);
        v_deliver(to, r * width + c, sum, width - c);
    }
}

static void sum_of_columns(const OpCall *call, const Run *run, GradientTarget to) {
    const int64_t rows = tensor_size(call->in[0]);
    const int64_t width = tensor_size(call->out[0]) / rows;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t r = 0; r < rows; r++) {
        vfloat sum = v_zero();
        for (int64_t c = 0; c < width; c += LANES)
            sum += v_load_part(call->out[0]->gradient + r * width + c, width - c);
        v_deliver(to, r, v_set(v_sum(sum)), 1);
    }
}

static void backward(const OpCall *call, const Run *run) {
    const Repeat *attributes = call->attributes;
    const GradientTarget to = gradient_target(call, 0);
    if (to.data) (attributes->width == 1 ? sum_of_columns : sum_of_rows)(call, run, to);
}

const OpKernels ISA(repeat_cpu) = {forward, backward};
