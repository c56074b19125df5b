/* Bound by memory; LANES columns to a unit, whose I rows are read twice, the second time from the
 * nearest cache. */
#include "engine/gradient_simd.h"
#include "engine/ops/weight_norm/weight_norm.h"
#include "engine/vmath.h"

/* LANES columns of a matrix from column o on, of which n exist. */
typedef struct Columns {
    int64_t rows, stride, n;
} Columns;

static vfloat inverse_length(const Columns *c, const float *v) {
    vfloat square = v_zero();
    for (int64_t i = 0; i < c->rows; i++) {
        const vfloat x = v_load_part(v + i * c->stride, c->n);
        square += x * x;
    }
    return 1.0f / v_sqrt(square);
}

static Columns columns_of(const OpCall *call, int64_t o) {
    const int64_t width = extent(call->out[0], 1);
    return (Columns){extent(call->out[0], 0), width, width - o};
}

static void forward(const OpCall *call, const Run *run) {
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t o = 0; o < extent(call->out[0], 1); o += LANES) {
        const Columns c = columns_of(call, o);
        const float *v = call->in[0]->data + o;
        const vfloat scale = v_load_part(v + c.rows * c.stride, c.n) * inverse_length(&c, v);
        for (int64_t i = 0; i < c.rows; i++)
            v_store_part(call->out[0]->data + i * c.stride + o,
                         v_load_part(v + i * c.stride, c.n) * scale, c.n);
    }
}

/* With u = v / |v| and dw: dg = u . dw, dv = g / |v| (dw - u dg). */
static void backward(const OpCall *call, const Run *run) {
    const GradientTarget to = gradient_target(call, 0);
    if (!to.data) return;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t o = 0; o < extent(call->out[0], 1); o += LANES) {
        const Columns c = columns_of(call, o);
        const float *v = call->in[0]->data + o, *dw = call->out[0]->gradient + o;
        const vfloat inverse = inverse_length(&c, v);
        vfloat dg = v_zero();
        for (int64_t i = 0; i < c.rows; i++)
            dg += v_load_part(v + i * c.stride, c.n) * v_load_part(dw + i * c.stride, c.n);
        dg *= inverse;
        const vfloat scale = v_load_part(v + c.rows * c.stride, c.n) * inverse;
        for (int64_t i = 0; i < c.rows; i++) {
            const vfloat along = v_load_part(v + i * c.stride, c.n) * inverse * dg;
            v_deliver(to, i * c.stride + o, scale * (v_load_part(dw + i * c.stride, c.n) - along),
                      c.n);
        }
        v_deliver(to, c.rows * c.stride + o, dg, c.n);
    }
}

const OpKernels ISA(weight_norm_cpu) = {forward, backward};
