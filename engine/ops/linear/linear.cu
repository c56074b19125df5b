/* Products by engine/cuda/product.h, which adds bias and residual where nothing stands between;
 * activations in one pass of their own. */
#include "engine/ops/linear/linear.h"

#include "engine/cuda/activation.cuh"
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
    const Result y = result_of(call, 0);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    float *const inner = call->saves ? call->saved[0]->data
                         : y.rounded ? carver.take<float>(rows * outputs)
                                     : y.data; /* x W + b */
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
    p.rounded_a = rounded_input(call, run, 0, PHASE_FORWARD, &carver);
    p.rounded_b = rounded_input(call, run, 1, PHASE_FORWARD, &carver);
    product(run, p);
    if (activation == ACTIVATION_NONE) return;
    const int64_t n = rows * outputs;
    for_each_four(run, n, [=] __device__(int64_t first) {
        Four value = activation_of(activation, some(inner, first, n));
        const Four before = some(residual, first, n);
        for (int e = 0; e < FOUR; e++) value.of[e] += before.of[e];
        y.put_some(first, n, value);
    });
}

/* d = dy act'(x W + b), in float32 where somebody reads that, and as the products read it. */
struct InnerGradient {
    Pieces dy, inner, d;
    Rounded copy;
    Activation activation;

    struct Loaded {
        Piece dy, inner;
    };
    struct About {};

    bool whole() const {
        return dy.whole() && inner.whole() && d.whole();
    }
    __device__ About about(int64_t) const {
        return {};
    }
    template <bool WHOLE> __device__ Loaded get(int64_t row, int64_t first, const About &) const {
        return {dy.get<WHOLE>(row, first), inner.get<WHOLE>(row, first)};
    }
    template <bool WHOLE>
    __device__ Piece make(int64_t row, int64_t first, const About &, const Loaded &x) const {
        Piece y = x.dy;
        for_activation(activation, [&](Activation own) {
            for (int e = 0; e < PIECE; e++) y.of[e] *= activation_slope(own, x.inner.of[e]);
        });
        d.put<WHOLE>(row, first, y);
        if (copy.data) copy.put(row, first, y);
        return y;
    }
};

static void backward(const OpCall *call, const Run *run) {
    const bool active = activation_in(call) != ACTIVATION_NONE;
    const int64_t rows = rows_of(call->in[0]);
    const int64_t inputs = extent(call->in[1], 0), outputs = extent(call->in[1], 1);
    const float *const dy = call->out[0]->gradient;
    float *const dw = gradient_of(call, 1), *const db = gradient_of(call, 2);
    float *const dx = gradient_of(call, 0);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    float *const sums = carver.take<float>(column_slices(rows) * outputs);
    const Rounded copy = rounded_place(run, rows, outputs, &carver);
    float *const made = active && !copy.data ? carver.take<float>(rows * outputs) : NULL;
    const float *const d = active ? made : dy;
    if (made || copy.data || db)
        pass_with_sums(
            run,
            InnerGradient{pieces_of(dy, outputs, outputs),
                          pieces_of(active ? call->saved[0]->data : NULL, outputs, outputs),
                          pieces_of(made, outputs, outputs), copy, activation_in(call)},
            rows, outputs, db, call->accumulate[2], sums);
    Product p = {};
    if (dw) { /* x^T d */
        p.transposed_a = true;
        p.m = inputs;
        p.n = outputs;
        p.k = rows;
        p.a = call->in[0]->data;
        p.lda = inputs;
        p.b = d;
        p.ldb = outputs;
        p.c = dw;
        p.ldc = outputs;
        p.start = call->accumulate[1] ? dw : NULL;
        p.rounded_a = rounded_input(call, run, 0, PHASE_BACKWARD, &carver);
        p.rounded_b = copy;
        product(run, p);
    }
    if (dx) { /* d W^T */
        p = Product{};
        p.transposed_b = true;
        p.m = rows;
        p.n = inputs;
        p.k = outputs;
        p.a = d;
        p.lda = outputs;
        p.b = call->in[1]->data;
        p.ldb = outputs;
        p.c = dx;
        p.ldc = inputs;
        p.start = call->accumulate[0] ? dx : NULL;
        p.rounded_a = copy;
        p.rounded_b = rounded_input(call, run, 1, PHASE_BACKWARD, &carver);
        product(run, p);
    }
    if (float *residual = gradient_of(call, 3)) {
        const bool accumulate = call->accumulate[3];
        for_each_four(run, rows * outputs, [=] __device__(int64_t first) {
            const Four some_dy = some(dy, first, rows * outputs);
            put_some(residual, first, rows * outputs, some_dy, accumulate);
        });
    }
}

/* x and W; and what a pass of our own writes, not the product. */
static Roundable roundable(const OpCall *call) {
    const uint32_t inputs = 1u << 0 | 1u << 1;
    return {inputs, inputs, activation_in(call) == ACTIVATION_NONE ? 0 : 1u << 0};
}

static size_t scratch(const OpCall *call, Phase phase) {
    const int64_t rows = rows_of(call->in[0]), outputs = extent(call->in[1], 1);
    const size_t copies = rounded_input_scratch(call, 0) + rounded_input_scratch(call, 1);
    const bool apart = call->out[0]->type == TENSOR_BF16 && !call->saves;
    if (phase == PHASE_FORWARD) return copies + (apart ? carved(rows * outputs, sizeof(float)) : 0);
    const bool active = activation_in(call) != ACTIVATION_NONE;
    return column_scratch(rows, outputs) + copies +
           (call->products == PRODUCTS_BF16 ? rounded_space(rows, outputs)
            : active                        ? carved(rows * outputs, sizeof(float))
                                            : 0);
}

CUDA_OP(linear, {forward, backward}, scratch, NULL, roundable);
