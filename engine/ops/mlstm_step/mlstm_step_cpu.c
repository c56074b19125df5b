/* Bound by the state, which is read and written once for five operations a number. A unit of work
 * is a slice of a head's columns, whose sums stay in registers. */
#include <math.h>

#include "engine/ops/mlstm/mlstm.h"
#include "engine/ops/mlstm_step/mlstm_step.h"
#include "engine/vmath.h"

enum { VECTORS = 4 }; /* of a slice, at most */

/* keep and add: what the state before and the token count; floor: 2^-m. */
typedef struct Gates {
    float m, keep, add, floor;
} Gates;

static Gates gates_of(float i, float f, float before) {
    const float log_f = -v_softplus(v_set(-f))[0], m = fmaxf(log_f + before, i);
    vfloat arguments = {log_f + before - m, i - m, -m};
    const vfloat exponentials = v_exp(arguments);
    return (Gates){m, exponentials[0], exponentials[1], exponentials[2]};
}

/* n behind the token, to next unless that is NULL. Returns s n . q. */
static float advance_n(const OpCall *call, int64_t unit, const Gates *gates, float s, float *next) {
    const int64_t dk = extent(call->in[MLSTM_STEP_C], 2), at = unit * dk;
    vfloat sum = v_zero();
    for (int64_t a = 0; a < dk; a += LANES) {
        const vfloat n = v_load_part(call->in[MLSTM_STEP_N]->data + at + a, dk - a) * gates->keep +
                         v_load_part(call->in[MLSTM_STEP_K]->data + at + a, dk - a) * gates->add;
        sum += n * v_load_part(call->in[MLSTM_STEP_Q]->data + at + a, dk - a);
        if (next) v_store_part(next + at + a, n, dk - a);
    }
    return v_sum(sum) * s;
}

/* Columns c .. of a head, at most VECTORS vectors of them: C, and h times `factor`. */
ALWAYS_INLINE void slice(const OpCall *call, int64_t unit, int64_t c, const Gates *gates,
                         float factor, const int vectors) {
    const int64_t dk = extent(call->in[MLSTM_STEP_C], 2), dv = extent(call->in[MLSTM_STEP_C], 3);
    const float *q = call->in[MLSTM_STEP_Q]->data + unit * dk;
    const float *k = call->in[MLSTM_STEP_K]->data + unit * dk;
    const float *v = call->in[MLSTM_STEP_V]->data + unit * dv + c;
    float *C = call->out[MLSTM_STEP_C_NEXT]->data + unit * dk * dv + c;
    float *h = call->out[MLSTM_STEP_H]->data + unit * dv + c;
    const int64_t left = dv - c;
    vfloat value[VECTORS], sum[VECTORS];
    for (int i = 0; i < vectors; i++) {
        value[i] = v_load_part(v + i * LANES, left - i * LANES) * gates->add;
        sum[i] = v_zero();
    }
    for (int64_t a = 0; a < dk; a++)
        for (int i = 0; i < vectors; i++) {
            float *at = C + a * dv + i * LANES;
            const vfloat next = v_load_part(at, left - i * LANES) * gates->keep + value[i] * k[a];
            sum[i] += next * q[a];
            v_store_part(at, next, left - i * LANES);
        }
    for (int i = 0; i < vectors; i++)
        v_store_part(h + i * LANES, sum[i] * factor, left - i * LANES);
}

static void forward(const OpCall *call, const Run *run) {
    const Tensor *C = call->in[MLSTM_STEP_C];
    const int64_t H = extent(C, 1), dk = extent(C, 2), dv = extent(C, 3);
    const int64_t slices = (dv + VECTORS * LANES - 1) / (VECTORS * LANES);
    const float s = (float)(1 / sqrt((double)dk));
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t part = 0; part < extent(C, 0) * H * slices; part++) {
        const int64_t unit = part / slices, c = part % slices * VECTORS * LANES;
        const float *in = call->in[MLSTM_STEP_GATES]->data + unit / H * 2 * H + unit % H;
        const Gates gates = gates_of(in[0], in[H], call->in[MLSTM_STEP_M]->data[unit]);
        const float dot =
            advance_n(call, unit, &gates, s, c ? NULL : call->out[MLSTM_STEP_N_NEXT]->data);
        const float factor = s / (fmaxf(fabsf(dot), gates.floor) + MLSTM_EPSILON);
        if (c == 0) call->out[MLSTM_STEP_M_NEXT]->data[unit] = gates.m;
        if (dv - c >= VECTORS * LANES)
            slice(call, unit, c, &gates, factor, VECTORS);
        else
            for (int64_t i = c; i < dv; i += LANES) slice(call, unit, i, &gates, factor, 1);
    }
}

const OpKernels ISA(mlstm_step_cpu) = {forward, NULL};
