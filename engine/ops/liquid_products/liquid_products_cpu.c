/* Channels are the lanes. The p factors come from some sqrt(L) last rows, which stay in the
 * second-level cache: bound by writing y, backward by reading its gradient. */
#include "engine/ops/liquid_products/liquid_products.h"
#include "engine/simd.h"

typedef struct Combined {
    int64_t B, L, D;
    int p;
    bool reversed;
    const int32_t *index; /* (L, p); -1: no combination */
} Combined;

static Combined open_call(const OpCall *call) {
    const LiquidProducts *attributes = call->attributes;
    const Tensor *u = call->in[0];
    Combined x = {.B = extent(u, 0),
                  .L = extent(u, 1),
                  .D = extent(u, 2),
                  .p = attributes->degree,
                  .reversed = attributes->reversed,
                  .index = call->scratch};
    const int64_t n = liquid_tokens(x.L, x.p);
    int32_t *to = call->scratch;
    for (int64_t t = 0; t < x.L; t++) {
        int64_t index[LIQUID_MOST_DEGREE];
        const bool there = liquid_combination(x.L, n, x.p, t, index);
        for (int j = 0; j < x.p; j++) *to++ = there ? (int32_t)index[j] : -1;
    }
    return x;
}

static int64_t row_of(const Combined *x, int64_t b, int64_t t) {
    return (b * x->L + (x->reversed ? x->L - 1 - t : t)) * x->D;
}

static void forward(const OpCall *call, const Run *run) {
    const Combined x = open_call(call);
    const float *u = call->in[0]->data;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t i = 0; i < x.B * x.L; i++) {
        const int64_t b = i / x.L, t = i % x.L;
        const int32_t *index = x.index + t * x.p;
        float *y = call->out[0]->data + row_of(&x, b, t);
        for (int64_t d = 0; d < x.D; d += LANES) {
            vfloat product = v_zero();
            if (index[0] >= 0) product = v_load_part(u + (b * x.L + index[0]) * x.D + d, x.D - d);
            for (int j = 1; j < x.p && index[0] >= 0; j++)
                product *= v_load_part(u + (b * x.L + index[j]) * x.D + d, x.D - d);
            v_store_part(y + d, product, x.D - d);
        }
    }
}

/* What token t adds to the gradients of its factors in channels d .. */
static void add_gradients(const Combined *x, const float *u, const float *dy, float *du,
                          const int32_t *index, int64_t b, int64_t d) {
    const int64_t width = x->D - d;
    vfloat factor[LIQUID_MOST_DEGREE];
    for (int j = 0; j < x->p; j++)
        factor[j] = v_load_part(u + (b * x->L + index[j]) * x->D + d, width);
    for (int j = 0; j < x->p; j++) {
        vfloat product = v_load_part(dy, width);
        for (int k = 0; k < x->p; k++)
            if (k != j) product *= factor[k];
        float *to = du + (b * x->L + index[j]) * x->D + d;
        v_store_part(to, v_load_part(to, width) + product, width);
    }
}

static void backward(const OpCall *call, const Run *run) {
    const Combined x = open_call(call);
    const float *dy = call->out[0]->gradient;
    float *du = call->in[0]->gradient;
    const int64_t blocks = (x.D + LANES - 1) / LANES;
    if (!call->accumulate[0]) memset(du, 0, (size_t)tensor_size(call->in[0]) * sizeof *du);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t i = 0; i < x.B * blocks; i++) {
        const int64_t b = i / blocks, d = i % blocks * LANES;
        for (int64_t t = 0; t < x.L && x.index[t * x.p] >= 0; t++)
            add_gradients(&x, call->in[0]->data, dy + row_of(&x, b, t) + d, du, x.index + t * x.p,
                          b, d);
    }
}

const OpKernels ISA(liquid_products_cpu) = {forward, backward};
