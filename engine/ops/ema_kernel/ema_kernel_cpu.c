/* Bound by arithmetic: LANES channels to a unit, AVERAGES of them at a time in registers. Powers
 * come by multiplication and are taken anew from exponentials every ANEW rows, which bounds their
 * rounding error; backward evaluates polynomials in q from the last row down (Horner), with the
 * derivative beside the value. */
#include <math.h>

#include "engine/gradient_simd.h"
#include "engine/ops/ema_kernel/ema_kernel.h"
#include "engine/vmath.h"

enum { AVERAGES = 4, ANEW = 32 };

/* Average n of LANES channels. */
typedef struct Average {
    vfloat p, a, q, log_q; /* a = sigmoid(alpha) */
    vfloat beta, gamma;
} Average;

static Average average_of(const OpCall *call, int64_t n, int64_t d) {
    const int64_t D = extent(call->in[EMA_DELTA], 1), at = n * D + d, width = D - d;
    Average x = {.p = v_sigmoid(v_load_part(call->in[EMA_DELTA]->data + at, width)),
                 .a = v_sigmoid(v_load_part(call->in[EMA_ALPHA]->data + at, width)),
                 .beta = v_load_part(call->in[EMA_BETA]->data + at, width),
                 .gamma = v_load_part(call->in[EMA_GAMMA]->data + at, width)};
    const vfloat lost = x.p * x.a;
    x.q = 1.0f - lost;
    /* log(1 - lost), also where q is rounded (Higham 2002, section 1.14.1) */
    x.log_q = v_select(x.q == 1.0f, -lost, v_log(x.q) * lost / (1.0f - x.q));
    return x;
}

typedef struct Unit {
    const OpCall *call;
    int64_t d, width, D, rows;
    float scale; /* sqrt(1 / N) */
    float first;
} Unit;

static Unit unit_of(const OpCall *call, int64_t d) {
    const EmaKernel *attributes = call->attributes;
    const int64_t N = extent(call->in[EMA_DELTA], 0), D = extent(call->in[EMA_DELTA], 1);
    return (Unit){.call = call,
                  .d = d,
                  .width = D - d,
                  .D = D,
                  .rows = ema_rows(attributes),
                  .scale = (float)sqrt(1 / (double)N),
                  .first = (float)attributes->first};
}

/* K += what `count` averages from n on give. */
ALWAYS_INLINE void add_averages(const Unit *u, int64_t n, const int count) {
    vfloat c[AVERAGES], q[AVERAGES], log_q[AVERAGES], power[AVERAGES];
    for (int i = 0; i < count; i++) {
        const Average x = average_of(u->call, n + i, u->d);
        c[i] = u->scale * x.p * x.beta * x.gamma;
        q[i] = x.q;
        log_q[i] = x.log_q;
        power[i] = v_zero();
    }
    float *row = u->call->out[0]->data + u->d;
    for (int64_t l = 0; l < u->rows; l++, row += u->D) {
        for (int i = 0; i < count && l % ANEW == 0; i++)
            power[i] = c[i] * v_exp(log_q[i] * ((float)l + u->first));
        vfloat sum = n ? v_load_part(row, u->width) : v_zero();
        for (int i = 0; i < count; i++) {
            sum += power[i];
            power[i] *= q[i];
        }
        v_store_part(row, sum, u->width);
    }
}

static void kernel_rows(const OpCall *call, const Run *run) {
    const EmaKernel *attributes = call->attributes;
    const int64_t N = extent(call->in[EMA_DELTA], 0), D = extent(call->in[EMA_DELTA], 1);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t d = 0; d < D; d += LANES) {
        const Unit u = unit_of(call, d);
        int64_t n = 0;
        for (; n + AVERAGES <= N; n += AVERAGES) add_averages(&u, n, AVERAGES);
        for (; n < N; n++) add_averages(&u, n, 1);
        for (int64_t l = u.rows; l < attributes->length; l++)
            v_store_part(call->out[0]->data + l * D + d, v_zero(), u.width);
    }
}

/* (D, 4, N); once for many tokens. */
static void modes(const OpCall *call) {
    const int64_t N = extent(call->in[EMA_DELTA], 0), D = extent(call->in[EMA_DELTA], 1);
    float *out = call->out[0]->data;
    memset(out, 0, (size_t)(4 * D * N) * sizeof *out);
    for (int64_t d = 0; d < D; d += LANES)
        for (int64_t n = 0; n < N; n++) {
            const Unit u = unit_of(call, d);
            const Average x = average_of(call, n, d);
            const vfloat c = u.scale * x.p * x.beta * x.gamma;
            for (int64_t i = 0; i < LANES && d + i < D; i++) {
                out[(d + i) * 4 * N + n] = x.q[i];
                out[((d + i) * 4 + 2) * N + n] = c[i];
            }
        }
}

static void forward(const OpCall *call, const Run *run) {
    const EmaKernel *attributes = call->attributes;
    if (attributes->length)
        kernel_rows(call, run);
    else
        modes(call);
}

/* With g = sum_l dK_l q^l and e = sum_l l dK_l q^(l - 1): K = sum c q^l, c = scale p beta gamma. */
static void deliver(const Unit *u, int64_t n, vfloat g, vfloat e) {
    const Average x = average_of(u->call, n, u->d);
    const int64_t at = n * u->D + u->d;
    const vfloat c = u->scale * x.p * x.beta * x.gamma;
    const vfloat gradient[EMA_INPUTS] = {
        [EMA_DELTA] = (u->scale * x.beta * x.gamma * g - x.a * c * e) * x.p * (1.0f - x.p),
        [EMA_ALPHA] = -x.p * c * e * x.a * (1.0f - x.a),
        [EMA_BETA] = u->scale * x.p * x.gamma * g,
        [EMA_GAMMA] = u->scale * x.p * x.beta * g};
    for (int i = 0; i < EMA_INPUTS; i++) {
        const GradientTarget to = gradient_target(u->call, i);
        if (to.data) v_deliver(to, at, gradient[i], u->width);
    }
}

ALWAYS_INLINE void gradients(const Unit *u, int64_t n, const int count) {
    vfloat q[AVERAGES], g[AVERAGES], e[AVERAGES];
    for (int i = 0; i < count; i++) {
        q[i] = average_of(u->call, n + i, u->d).q;
        g[i] = e[i] = v_zero();
    }
    const float *slope = u->call->out[0]->gradient + u->d;
    for (int64_t l = u->rows - 1; l >= 0; l--) {
        const vfloat row = v_load_part(slope + l * u->D, u->width);
        for (int i = 0; i < count; i++) {
            e[i] = e[i] * q[i] + g[i];
            g[i] = g[i] * q[i] + row;
        }
    }
    for (int64_t power = 0; power < (int64_t)u->first; power++)
        for (int i = 0; i < count; i++) {
            e[i] = e[i] * q[i] + g[i];
            g[i] *= q[i];
        }
    for (int i = 0; i < count; i++) deliver(u, n + i, g[i], e[i]);
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t N = extent(call->in[EMA_DELTA], 0), D = extent(call->in[EMA_DELTA], 1);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t d = 0; d < D; d += LANES) {
        const Unit u = unit_of(call, d);
        int64_t n = 0;
        for (; n + AVERAGES <= N; n += AVERAGES) gradients(&u, n, AVERAGES);
        for (; n < N; n++) gradients(&u, n, 1);
    }
}

const OpKernels ISA(ema_kernel_cpu) = {forward, backward};
