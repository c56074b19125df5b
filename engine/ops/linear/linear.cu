/* Products by engine/cuda/product.h, which adds bias and residual where nothing stands between;
 * activations in one pass of their own. */
#include "engine/ops/linear/linear.h"

#include "engine/cuda/activation.cuh"
#include "engine/cuda/columns.cuh"
#include "engine/cuda/elements.cuh"
#include "engine/cuda/product.h"

static Activation activation_in(const OpCall *call) {
    return static_cast<const Linear *>(call->attributes)->activation;
}

static void forward(const OpCall *call, const Run *run) {
    const Activation activation = activation_in(call);
    const int64_t rows = rows_of(call->in[0]);
    const int64_t inputs = extent(call->in[1], 0), outputs = extent(call->in[1], 1);
    const float *residual = data_of(call, 3);
    float *const y = call->out[0]->data;
    float *const inner = call->saves ? call->saved[0]->data : y; /* x W + b */
    Product p = {};
    p.m = rows;
    p.n = outputs;
    p.k = inputs;
    p.a = call->in[0]->data;
    p.lda = inputs;
    p.b = call->in[1]->data;
    p.ldb = outputs;
    p.bias = data_of(call, 2);
    p.start = activation == ACTIVATION_NONE ? residual : NULL;
    p.c = inner;
    p.ldc = outputs;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    p.rounded_a = rounded(run, p.a, rows, inputs, inputs, &carver);
    p.rounded_b = rounded(run, p.b, inputs, outputs, outputs, &carver);
    product(run, p);
    if (activation == ACTIVATION_NONE) return;
    const int64_t n = rows * outputs;
    for_each_four(run, n, [=] __device__(int64_t first) {
        Four value = some(inner, first, n);
        const Four before = some(residual, first, n);
        for (int e = 0; e < FOUR; e++)
            value.of[e] = activation_of(activation, value.of[e]) + before.of[e];
        put_some(y, first, n, value, false);
    });
}

static void backward(const OpCall *call, const Run *run) {
    const Activation activation = activation_in(call);
    const int64_t rows = rows_of(call->in[0]);
    const int64_t inputs = extent(call->in[1], 0), outputs = extent(call->in[1], 1);
    const float *dy = call->out[0]->gradient, *inside = dy;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    float *const sums = carver.take<float>(column_slices(rows) * outputs);
    if (activation != ACTIVATION_NONE) {
        float *const d_inner = carver.take<float>(rows * outputs);
        const float *inner = call->saved[0]->data;
        for_each_four(run, rows * outputs, [=] __device__(int64_t first) {
            Four d = some(dy, first, rows * outputs);
            const Four x = some(inner, first, rows * outputs);
            for (int e = 0; e < FOUR; e++) d.of[e] *= activation_slope(activation, x.of[e]);
            put_some(d_inner, first, rows * outputs, d, false);
        });
        inside = d_inner;
    }
    float *const dw = gradient_of(call, 1), *const dx = gradient_of(call, 0);
    const Rounded d = rounded(run, inside, rows, outputs, outputs, &carver);
    Product p = {};
    if (dw) { /* x^T d */
        p.transposed_a = true;
        p.m = inputs;
        p.n = outputs;
        p.k = rows;
        p.a = call->in[0]->data;
        p.lda = inputs;
        p.b = inside;
        p.ldb = outputs;
        p.c = dw;
        p.ldc = outputs;
        p.start = call->accumulate[1] ? dw : NULL;
        Carver own = carver;
        p.rounded_a = rounded(run, p.a, rows, inputs, inputs, &own);
        p.rounded_b = d;
        product(run, p);
    }
    if (float *db = gradient_of(call, 2))
        sum_columns(run, MatrixTerm{inside, outputs}, rows, outputs, db, call->accumulate[2], sums);
    if (dx) { /* d W^T */
        p = Product{};
        p.transposed_b = true;
        p.m = rows;
        p.n = inputs;
        p.k = outputs;
        p.a = inside;
        p.lda = outputs;
        p.b = call->in[1]->data;
        p.ldb = outputs;
        p.c = dx;
        p.ldc = inputs;
        p.start = call->accumulate[0] ? dx : NULL;
        p.rounded_a = d;
        p.rounded_b = rounded(run, p.b, inputs, outputs, outputs, &carver);
        product(run, p);
    }
    if (float *residual = gradient_of(call, 3)) {
        const bool accumulate = call->accumulate[3];
        for_each_four(run, rows * outputs, [=] __device__(int64_t first) {
            const Four d = some(dy, first, rows * outputs);
            put_some(residual, first, rows * outputs, d, accumulate);
        });
    }
}

/* Room for rounded copies, whether or not a run asks for them: the plan is made before it. */
static size_t scratch(const OpCall *call, Phase phase) {
    const int64_t rows = rows_of(call->in[0]);
    const int64_t inputs = extent(call->in[1], 0), outputs = extent(call->in[1], 1);
    const size_t x = rounded_space(rows, inputs), w = rounded_space(inputs, outputs);
    if (phase == PHASE_FORWARD) return x + w;
    return column_scratch(rows, outputs) + rounded_space(rows, outputs) + (x > w ? x : w) +
           (activation_in(call) == ACTIVATION_NONE ? 0 : carved(rows * outputs, sizeof(float)));
}

CUDA_OP(linear, {forward, backward}, scratch);
