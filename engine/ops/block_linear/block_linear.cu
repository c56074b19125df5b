/* Blocks of few channels: a thread for each result, bound by memory. Wide ones: a product each. */
#include "engine/ops/block_linear/block_linear.h"

#include "engine/cuda/columns.cuh"
#include "engine/cuda/product.h"

enum { FEW = 16 /* channels that a thread adds itself */ };

struct Blocks {
    int64_t G, I, O, rows;
    const float *x, *w;
    bool few() const {
        return I <= FEW && O <= FEW;
    }
};

static Blocks blocks_of(const OpCall *call) {
    const Tensor *w = call->in[1];
    return {extent(w, 0),         extent(w, 1),      extent(w, 2),
            rows_of(call->in[0]), call->in[0]->data, w->data};
}

static void forward(const OpCall *call, const Run *run) {
    const Blocks a = blocks_of(call);
    float *const y = call->out[0]->data;
    if (a.few()) {
        const Divisor outputs = divide_by(a.O), blocks = divide_by(a.G);
        for_each(run, a.rows * a.G * a.O, [=] __device__(int64_t i) {
            const int64_t block = outputs.of(i), o = i - block * a.O;
            const int64_t g = block - blocks.of(block) * a.G;
            float sum = 0;
            for (int k = 0; k < a.I; k++)
                sum += a.x[block * a.I + k] * a.w[(g * a.I + k) * a.O + o];
            y[i] = sum;
        });
        return;
    }
    for (int64_t g = 0; g < a.G; g++) {
        Product p = {};
        p.m = a.rows;
        p.n = p.ldb = a.O;
        p.k = a.I;
        p.a = a.x + g * a.I;
        p.lda = a.G * a.I;
        p.b = a.w + g * a.I * a.O;
        p.c = y + g * a.O;
        p.ldc = a.G * a.O;
        product(run, p);
    }
}

static void backward_few(const OpCall *call, const Run *run, const Blocks &a) {
    const float *const dy = call->out[0]->gradient;
    float *const dx = gradient_of(call, 0), *const dw = gradient_of(call, 1);
    const Divisor inputs = divide_by(a.I), outputs = divide_by(a.O), blocks = divide_by(a.G);
    const bool add_x = call->accumulate[0];
    if (dx)
        for_each(run, a.rows * a.G * a.I, [=] __device__(int64_t at) {
            const int64_t block = inputs.of(at), i = at - block * a.I;
            const int64_t g = block - blocks.of(block) * a.G;
            float sum = 0;
            for (int o = 0; o < a.O; o++) sum += dy[block * a.O + o] * a.w[(g * a.I + i) * a.O + o];
            put(dx + at, sum, add_x);
        });
    if (dw)
        sum_columns(
            run,
            [=] __device__(int64_t row, int64_t c) {
                const int64_t from = outputs.of(c), o = c - from * a.O, g = inputs.of(from);
                return a.x[row * a.G * a.I + from] * dy[(row * a.G + g) * a.O + o];
            },
            a.rows, a.G * a.I * a.O, dw, call->accumulate[1], static_cast<float *>(call->scratch));
}

static void backward(const OpCall *call, const Run *run) {
    const Blocks a = blocks_of(call);
    if (a.few()) return backward_few(call, run, a);
    const float *const dy = call->out[0]->gradient;
    float *const dx = gradient_of(call, 0), *const dw = gradient_of(call, 1);
    for (int64_t g = 0; g < a.G; g++) {
        if (dx) { /* dy w^T */
            Product p = {};
            p.transposed_b = true;
            p.m = a.rows;
            p.n = a.I;
            p.k = p.ldb = a.O;
            p.a = dy + g * a.O;
            p.lda = a.G * a.O;
            p.b = a.w + g * a.I * a.O;
            p.c = dx + g * a.I;
            p.ldc = a.G * a.I;
            p.start = call->accumulate[0] ? p.c : NULL;
            product(run, p);
        }
        if (dw) { /* x^T dy */
            Product p = {};
            p.transposed_a = true;
            p.m = a.I;
            p.n = p.ldc = a.O;
            p.k = a.rows;
            p.a = a.x + g * a.I;
            p.lda = a.G * a.I;
            p.b = dy + g * a.O;
            p.ldb = a.G * a.O;
            p.c = dw + g * a.I * a.O;
            p.start = call->accumulate[1] ? p.c : NULL;
            product(run, p);
        }
    }
}

static size_t scratch(const OpCall *call, Phase phase) {
    const Blocks a = blocks_of(call);
    return phase == PHASE_BACKWARD && a.few() ? column_scratch(a.rows, a.G * a.I * a.O) : 0;
}

CUDA_OP(block_linear, {forward, backward}, scratch);
