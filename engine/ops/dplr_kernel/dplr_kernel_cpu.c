/* LANES channels at a time. For every node and mode one denominator, whose reciprocal is shared by
 * all products of a left and a right factor, then two real coefficients times a complex number
 * each: S1 = sum_n a_n inverse_n, S2 = sum_n b_n inverse_n, r = i s S1 - c S2,    a = 4 Re x, b = 2
 * Re(x conj z). That is 4 fused operations a product and some 9 beside, at rank 1 with one kernel
 * 25 for a node and mode, half of that for a tap and mode: 0.75 ms at 1024 taps, 64 channels and 32
 * modes on a core that starts two vectors of 8 a cycle at 3.5 GHz. Backward: 8 fused operations a
 * product and some 20 beside, twice as long. Coefficients of 32 modes are 10 KiB at 8 lanes. The
 * transforms are a twentieth of it. Bound by arithmetic. */
#include "engine/ops/dplr_kernel/dplr_kernel_points.h"

/* ---- nodes ---- */

/* 1 / (c^2 |z|^2 - 4 s^2 - 4 i s c Re z) */
ALWAYS_INLINE vcomplex reciprocal(const float *coefficients, vfloat s, vfloat c) {
    const vfloat re = c * c * v_load(coefficients) - 4.0f * s * s;
    const vfloat im = -4.0f * s * c * v_load(coefficients + LANES);
    const vfloat size = v_reciprocal(re * re + im * im);
    return (vcomplex){re * size, -im * size};
}

/* r(u, v) at a node for left factor i and all right ones. The first call for a node leaves its
 * reciprocals. */
ALWAYS_INLINE void cauchy(const Block *b, int R, int i, vfloat s, vfloat c, vcomplex r[]) {
    vcomplex first[1 + DPLR_MOST_RANK], second[1 + DPLR_MOST_RANK];
    for (int j = 0; j <= R; j++) first[j] = second[j] = (vcomplex){v_zero(), v_zero()};
    const float *at = b->coefficients;
    const int64_t skip = (2 + 2 * i * (R + 1)) * LANES, stride = stride_of(b);
    for (int64_t n = 0; n < b->p.M; n++, at += stride) {
        vcomplex inverse;
        if (i == 0)
            c_store(b->inverse, n, inverse = reciprocal(at, s, c));
        else
            inverse = c_load(b->inverse, n);
        for (int j = 0; j <= R; j++) {
            const vfloat x = v_load(at + skip + 2 * j * LANES);
            const vfloat y = v_load(at + skip + (2 * j + 1) * LANES);
            first[j].re += x * inverse.re;
            first[j].im += x * inverse.im;
            second[j].re += y * inverse.re;
            second[j].im += y * inverse.im;
        }
    }
    for (int j = 0; j <= R; j++)
        r[j] = (vcomplex){-s * first[j].im - c * second[j].re, s * first[j].re - c * second[j].im};
}

/* x = (1 + c d)^-1 (beta - c q) and y = p (1 + c d)^-1 for the rows d = r(conj P, P), q = r(conj P,
 * B - beta P), p = r(Ct, P). */
typedef struct Woodbury {
    vcomplex x[DPLR_MOST_RANK], y[2][DPLR_MOST_RANK];
} Woodbury;

ALWAYS_INLINE Woodbury woodbury(const Block *b, int R, int kernels,
                                vcomplex r[][1 + DPLR_MOST_RANK], vfloat c) {
    Woodbury w;
    vcomplex d[2][2], q[2];
    for (int i = 0; i < R; i++) {
        for (int j = 0; j < R; j++) {
            d[i][j] = c_scale(r[kernels + i][1 + j], c);
            if (i == j) d[i][j].re += 1.0f;
        }
        q[i] = c_scale(r[kernels + i][0], -c);
        q[i].re += v_load(b->beta[i]);
    }
    if (R == 1) {
        w.x[0] = c_divide(q[0], d[0][0]);
        for (int i = 0; i < kernels; i++) w.y[i][0] = c_divide(r[i][1], d[0][0]);
        return w;
    }
    const vcomplex determinant =
        c_subtract(c_product(d[0][0], d[1][1]), c_product(d[0][1], d[1][0]));
    for (int k = 0; k < 2; k++) {
        w.x[k] =
            c_divide(c_subtract(c_product(d[1 - k][1 - k], q[k]), c_product(d[k][1 - k], q[1 - k])),
                     determinant);
        for (int i = 0; i < kernels; i++)
            w.y[i][k] = c_divide(c_subtract(c_product(r[i][1 + k], d[1 - k][1 - k]),
                                            c_product(r[i][2 - k], d[1 - k][k])),
                                 determinant);
    }
    return w;
}

static inline vcomplex *woodbury_number(Woodbury *w, int R, int i) {
    return i < R ? &w->x[i] : &w->y[i / R - 1][i % R];
}

/* Khat of every kernel at node k. */
ALWAYS_INLINE void node(const Block *b, int R, int64_t k, float *saved, vcomplex K[2]) {
    const int kernels = b->p.kernels;
    const vfloat s = v_set(b->sine[k]), c = v_set(b->sine[b->p.n - k]);
    vcomplex r[2 + DPLR_MOST_RANK][1 + DPLR_MOST_RANK];
    for (int i = 0; i < kernels + R; i++) cauchy(b, R, i, s, c, r[i]);
    Woodbury w = woodbury(b, R, kernels, r, c);
    for (int i = 0; i < kernels; i++) {
        vcomplex sum = r[i][0];
        for (int j = 0; j < R; j++) sum = c_add(sum, c_product(r[i][1 + j], w.x[j]));
        K[i] = c_product((vcomplex){c, s}, sum);
    }
    if (!saved) return;
    saved += k * 2 * dplr_saved(&b->p) * b->p.D + b->channel;
    for (int i = 0; i < R * (1 + kernels); i++, saved += 2 * b->p.D) {
        const vcomplex *value = woodbury_number(&w, R, i);
        v_store_part(saved, value->re, b->width);
        v_store_part(saved + b->p.D, value->im, b->width);
    }
}

/* ---- forward ---- */

ALWAYS_INLINE void forward_nodes(const Block *b, int R, float *saved) {
    for (int64_t k = 0; 2 * k <= b->p.n; k++) {
        vcomplex X[2], Y[2];
        node(b, R, k, saved, X);
        if (2 * k != b->p.n)
            node(b, R, b->p.n - k, saved, Y);
        else
            memcpy(Y, X, sizeof Y);
        for (int i = 0; i < b->p.kernels; i++) put_pair(b, k, b->points[i], X[i], Y[i]);
    }
}
static __attribute__((noinline)) void forward_nodes_1(const Block *b, float *saved) {
    forward_nodes(b, 1, saved);
}
static __attribute__((noinline)) void forward_nodes_2(const Block *b, float *saved) {
    forward_nodes(b, 2, saved);
}

static void forward(const OpCall *call, const Run *run) {
    const DplrPlan plan = dplr_plan(call);
    make_shared(call, &plan);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t index = 0; index < (plan.D + LANES - 1) / LANES; index++) {
        const Block b = block_of(call, &plan, index, PHASE_FORWARD);
        fill_coefficients(&b, call);
        (plan.R == 1 ? forward_nodes_1 : forward_nodes_2)(&b, call->saves ? call->saved[0]->data
                                                                          : NULL);
        for (int i = 0; i < plan.kernels; i++) {
            transform(&b, FFT_PLAIN_BACK, b.points[i]);
            write_taps(&b, b.points[i], call->out[i]->data);
        }
    }
}

/* ---- backward ---- */

/* Cotangents of all r(u, v) at node k from those of Khat, G. */
ALWAYS_INLINE void node_cotangents(const Block *b, int R, int64_t k, const float *saved,
                                   const vcomplex G[2], float *to) {
    const int kernels = b->p.kernels;
    const vfloat s = v_set(b->sine[k]), c = v_set(b->sine[b->p.n - k]);
    Woodbury w;
    saved += k * 2 * dplr_saved(&b->p) * b->p.D + b->channel;
    for (int i = 0; i < R * (1 + kernels); i++, saved += 2 * b->p.D)
        *woodbury_number(&w, R, i) =
            (vcomplex){v_load_part(saved, b->width), v_load_part(saved + b->p.D, b->width)};
    v_store(to, s);
    v_store(to + LANES, c);
    to += 2 * LANES;
    vcomplex low[DPLR_MOST_RANK];
    for (int j = 0; j < R; j++) low[j] = (vcomplex){v_zero(), v_zero()};
    int64_t at = 0;
    for (int i = 0; i < kernels; i++) {
        const vcomplex g = c_product((vcomplex){c, -s}, G[i]), less = c_scale(g, -c);
        c_store(to, at++, g);
        for (int j = 0; j < R; j++) c_store(to, at++, c_product(c_conjugate(w.x[j]), g));
        for (int j = 0; j < R; j++) low[j] = c_add(low[j], c_product(c_conjugate(w.y[i][j]), less));
    }
    for (int i = 0; i < R; i++) {
        c_store(to, at++, low[i]);
        for (int j = 0; j < R; j++) c_store(to, at++, c_product(c_conjugate(w.x[j]), low[i]));
    }
}

/* Adds to the cotangents of the coefficients of mode n what `count` nodes contribute. */
ALWAYS_INLINE void mode_sums(const Block *b, int products, int64_t n, int64_t count) {
    const float *own = b->coefficients + n * stride_of(b), *at = b->nodes;
    vfloat sum[DPLR_COEFFICIENTS];
    for (int i = 0; i < 2 + 2 * products; i++) sum[i] = v_zero();
    for (int64_t k = 0; k < count; k++, at += (2 + 2 * products) * LANES) {
        const vfloat s = v_load(at), c = v_load(at + LANES);
        const vcomplex inverse = reciprocal(own, s, c);
        const vcomplex by_s = c_scale(inverse, s), by_c = c_scale(inverse, c);
        vcomplex first = {v_zero(), v_zero()}, second = first; /* sums of a g and of b g */
        for (int i = 0; i < products; i++) {
            const vcomplex g = c_load(at + 2 * LANES, i);
            const vfloat x = v_load(own + (2 + 2 * i) * LANES),
                         y = v_load(own + (3 + 2 * i) * LANES);
            sum[2 + 2 * i] += by_s.re * g.im;
            sum[2 + 2 * i] -= by_s.im * g.re;
            sum[3 + 2 * i] -= by_c.re * g.re;
            sum[3 + 2 * i] -= by_c.im * g.im;
            first.re += x * g.re;
            first.im += x * g.im;
            second.re += y * g.re;
            second.im += y * g.im;
        }
        /* -conj(inverse)^2 times the cotangent of inverse is that of the denominator */
        const vcomplex cotangent = {s * first.im - c * second.re, -s * first.re - c * second.im};
        const vcomplex square = c_product(inverse, inverse);
        const vcomplex below = c_product(c_conjugate(square), cotangent);
        sum[0] -= c * c * below.re;
        sum[1] += 4.0f * s * c * below.im;
    }
    for (int i = 0; i < 2 + 2 * products; i++) {
        double *to = b->sums + (n * (2 + 2 * products) + i) * LANES;
        float lanes[LANES];
        v_store(lanes, sum[i]);
        d_store(to, d_load(to) + d_load_floats(lanes));
        d_store(to + DOUBLES, d_load(to + DOUBLES) + d_load_floats(lanes + DOUBLES));
    }
}

ALWAYS_INLINE void backward_nodes(const Block *b, int R, int kernels, const float *saved) {
    const int products = (kernels + R) * (1 + R);
    for (int64_t first = 0; 2 * first <= b->p.n; first += DPLR_NODES / 2) {
        int64_t count = 0;
        for (int64_t k = first; k < first + DPLR_NODES / 2 && 2 * k <= b->p.n; k++) {
            vcomplex X[2], Y[2];
            for (int i = 0; i < kernels; i++) get_pair(b, k, b->points[i], &X[i], &Y[i]);
            node_cotangents(b, R, k, saved, X, b->nodes + count++ * (2 + 2 * products) * LANES);
            if (2 * k == b->p.n) break;
            node_cotangents(b, R, b->p.n - k, saved, Y,
                            b->nodes + count++ * (2 + 2 * products) * LANES);
        }
        for (int64_t n = 0; n < b->p.M; n++) mode_sums(b, products, n, count);
    }
}
static __attribute__((noinline)) void backward_nodes_1(const Block *b, const float *saved) {
    if (b->p.kernels == 1)
        backward_nodes(b, 1, 1, saved);
    else
        backward_nodes(b, 1, 2, saved);
}
static __attribute__((noinline)) void backward_nodes_2(const Block *b, const float *saved) {
    if (b->p.kernels == 1)
        backward_nodes(b, 2, 1, saved);
    else
        backward_nodes(b, 2, 2, saved);
}

static float *wanted(const OpCall *call, int i) {
    return i < call->inputs && call->in[i] && !call->passed[i] ? call->in[i]->gradient : NULL;
}

/* Gradients of a set's parameter (parts floats a mode from `place` on): sums over its channels. */
static void sum_channels(const OpCall *call, const DplrPlan *p, const float *modes, int input,
                         int64_t from, int parts, int place, int threads) {
    float *to = wanted(call, input);
    if (!to) return;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < p->S * p->M * parts; i++) {
        const int64_t set = i / (p->M * parts), n = i / parts % p->M, part = i % parts;
        double sum = call->accumulate[input] ? (double)to[from * p->M * parts + i] : 0;
        for (int64_t d = set; d < p->D; d += p->S)
            sum += (double)modes[(d * p->M + n) * DPLR_MODE_GRADIENTS + place + part];
        to[from * p->M * parts + i] = (float)sum;
    }
}

static void backward(const OpCall *call, const Run *run) {
    const DplrPlan plan = dplr_plan(call);
    const Sinks to = {.log_dt = wanted(call, DPLR_LOG_DT),
                      .C = {wanted(call, DPLR_C), wanted(call, DPLR_C_REVERSE)},
                      .modes = (float *)call->scratch + dplr_sine_floats(&plan) +
                               dplr_factor_floats(&plan)};
    make_shared(call, &plan);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t index = 0; index < (plan.D + LANES - 1) / LANES; index++) {
        const Block b = block_of(call, &plan, index, PHASE_BACKWARD);
        fill_coefficients(&b, call);
        memset(b.sums, 0, (size_t)(plan.M * stride_of(&b)) * sizeof *b.sums);
        for (int i = 0; i < plan.kernels; i++) {
            read_taps(&b, call->out[i], b.points[i]);
            transform(&b, FFT_PLAIN_FORWARD, b.points[i]);
        }
        (plan.R == 1 ? backward_nodes_1 : backward_nodes_2)(&b, call->saved[0]->data);
        for (int half = 0; half < 2; half++) {
            vdouble total = d_set(0);
            for (int64_t n = 0; n < plan.M; n++) total += mode_gradient(&b, call, half, n, &to);
            scatter(&b, half, to.log_dt, 1, total, call->accumulate[DPLR_LOG_DT]);
        }
    }
    sum_channels(call, &plan, to.modes, DPLR_A_REAL, 0, 1, 0, run->threads);
    sum_channels(call, &plan, to.modes, DPLR_A_IMAG, 0, 1, 1, run->threads);
    sum_channels(call, &plan, to.modes, DPLR_B, 0, 2, 2, run->threads);
    for (int r = 0; r < plan.R; r++)
        sum_channels(call, &plan, to.modes, DPLR_P, r * plan.S, 2, 4 + 2 * r, run->threads);
}

const OpKernels ISA(dplr_kernel_cpu) = {forward, backward};
