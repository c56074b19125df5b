/* Time is cut into pieces of PIECE tokens. A thread walks one mode through one piece from zero and
 * leaves its end; the ends are joined piece after piece by the power lambdabar^PIECE; then every
 * piece is walked again from its true beginning. Neighbouring threads are neighbouring modes, so
 * rows are read side by side. Backward does the same with the adjoint, from the other end, and
 * leaves a piece's sums for the parameters, which are added in order. */
#include "engine/ops/diagonal_scan/diagonal_scan.h"

#include "engine/cuda/modes.cuh"

enum { PIECE = 64, SUMS = 4, THREADS = WARP * 8, STRETCHES = THREADS / WARP };

struct Pair {
    float re, im;
};
__device__ static inline Pair product(Pair a, Pair b) {
    return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
__device__ static inline Pair product_conjugate(Pair a, Pair b) { /* conj(a) b */
    return {a.re * b.re + a.im * b.im, a.re * b.im - a.im * b.re};
}
__device__ static inline Pair sum(Pair a, Pair b) {
    return {a.re + b.re, a.im + b.im};
}

/* lambdabar, phi, lambdabar^PIECE. */
struct Steps {
    Pair power, input, leap;
};

struct Scan {
    int64_t B, L, P, pieces;
    bool reverse;
    ModeParameters modes;
    const float *v, *start; /* start: the state or NULL */
    float *x;
    Steps *steps;    /* (P) */
    Pair *ends;      /* (B, pieces, P): of pieces from zero, then what enters each */
    float *sums;     /* (B, pieces, SUMS, P) */
    const float *dx; /* backward */
    float *dv;
    bool add_v;
};

static Scan scan_of(const OpCall *call) {
    const DiagonalScan *attributes = static_cast<const DiagonalScan *>(call->attributes);
    const Tensor *v = call->in[DIAGONAL_SCAN_V];
    Scan s = {};
    s.B = extent(v, 0);
    s.L = extent(v, 1);
    s.P = extent(v, 2) / 2;
    s.pieces = (s.L + PIECE - 1) / PIECE;
    s.reverse = attributes->reverse;
    s.modes.log_dt = call->in[DIAGONAL_SCAN_LOG_DT]->data;
    s.modes.A_real = call->in[DIAGONAL_SCAN_A_REAL]->data;
    s.modes.A_imag = call->in[DIAGONAL_SCAN_A_IMAG]->data;
    s.modes.D = s.modes.S = s.P; /* modes as channels with one mode each */
    s.modes.M = s.modes.steps = 1;
    s.modes.form = attributes->form;
    s.v = v->data;
    s.start = data_of(call, DIAGONAL_SCAN_STATE);
    s.x = call->out[0]->data;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    s.steps = carver.take<Steps>(s.P);
    s.ends = carver.take<Pair>(s.B * s.pieces * s.P);
    s.sums = carver.take<float>(s.B * s.pieces * SUMS * s.P);
    return s;
}

static size_t scratch(const OpCall *call, Phase phase) {
    const Tensor *v = call->in[DIAGONAL_SCAN_V];
    const int64_t P = extent(v, 2) / 2,
                  pieces = extent(v, 0) * ((extent(v, 1) + PIECE - 1) / PIECE);
    const size_t both = carved(P, sizeof(Steps)) + carved(pieces * P, sizeof(Pair));
    return phase == PHASE_FORWARD ? both : both + carved(pieces * SUMS * P, sizeof(float));
}

static void make_steps(const Run *run, const Scan &s) {
    for_each(run, s.P, [=] __device__(int64_t p) {
        const DiscreteMode m = discrete_mode(s.modes, p);
        const Complex leap = mode_power(m, (double)PIECE);
        s.steps[p] = {{(float)m.step.re, (float)m.step.im},
                      {(float)m.input.re, (float)m.input.im},
                      {(float)leap.re, (float)leap.im}};
    });
}

__device__ static inline Pair pair_at(const float *x, int64_t at, int64_t P) {
    return {x[at], x[at + P]};
}

/* A mode's way through a piece: tokens first .. last - 1 in the order of the recurrence. */
struct Way {
    int64_t b, piece, p, first, last;
};

__device__ static inline Way way_of(const Scan &s, int64_t i) {
    Way w;
    w.p = i % s.P;
    w.piece = i / s.P % s.pieces;
    w.b = i / (s.P * s.pieces);
    w.first = w.piece * PIECE;
    w.last = min(w.first + PIECE, s.L);
    return w;
}

/* Of token k in that order. */
__device__ static inline int64_t place(const Scan &s, const Way &w, int64_t k) {
    return (w.b * s.L + (s.reverse ? s.L - 1 - k : k)) * 2 * s.P + w.p;
}

__device__ static inline Pair state_before(const Scan &s, const Way &w) {
    return s.start ? pair_at(s.start, w.b * 2 * s.P + w.p, s.P) : Pair{0, 0};
}

static void forward(const OpCall *call, const Run *run) {
    const Scan s = scan_of(call);
    make_steps(run, s);
    for_each(run, s.B * (s.pieces - 1) * s.P, [=] __device__(int64_t i) {
        /* the last piece's end is nobody's beginning */
        const int64_t b = i / (s.P * (s.pieces - 1));
        const Way w = way_of(s, i + b * s.P);
        const Steps step = s.steps[w.p];
        Pair x = {0, 0};
        for (int64_t k = w.first; k < w.last; k++)
            x = sum(product(step.power, x), product(step.input, pair_at(s.v, place(s, w, k), s.P)));
        s.ends[(b * s.pieces + w.piece) * s.P + w.p] = x;
    });
    for_each(run, s.B * s.P, [=] __device__(int64_t i) {
        const Way w = way_of(s, i / s.P * s.pieces * s.P + i % s.P);
        const Pair leap = s.steps[w.p].leap;
        Pair x = state_before(s, w);
        for (int64_t piece = 0; piece < s.pieces; piece++) {
            Pair *const end = s.ends + (w.b * s.pieces + piece) * s.P + w.p;
            const Pair own = piece + 1 < s.pieces ? *end : Pair{0, 0};
            *end = x;
            x = sum(product(leap, x), own);
        }
    });
    for_each(run, s.B * s.pieces * s.P, [=] __device__(int64_t i) {
        const Way w = way_of(s, i);
        const Steps step = s.steps[w.p];
        Pair x = s.ends[i];
        for (int64_t k = w.first; k < w.last; k++) {
            const int64_t at = place(s, w, k);
            x = sum(product(step.power, x), product(step.input, pair_at(s.v, at, s.P)));
            s.x[at] = x.re;
            s.x[at + s.P] = x.im;
        }
    });
}

/* The adjoint through a piece, from its last token: a = dx + conj(lambdabar) a of the token after.
 */
static void adjoint_ends(const Run *run, const Scan &s) {
    for_each(run, s.B * (s.pieces - 1) * s.P, [=] __device__(int64_t i) {
        /* the first piece's end is nobody's beginning */
        const int64_t b = i / (s.P * (s.pieces - 1));
        const Way w = way_of(s, i + (b + 1) * s.P);
        const Pair power = s.steps[w.p].power;
        Pair a = {0, 0};
        for (int64_t k = w.last - 1; k >= w.first; k--)
            a = sum(pair_at(s.dx, place(s, w, k), s.P), product_conjugate(power, a));
        s.ends[(b * s.pieces + w.piece) * s.P + w.p] = a;
    });
    for_each(run, s.B * s.P, [=] __device__(int64_t i) {
        const Way w = way_of(s, i / s.P * s.pieces * s.P + i % s.P);
        const Pair leap = s.steps[w.p].leap;
        Pair a = {0, 0};
        for (int64_t piece = s.pieces - 1; piece >= 0; piece--) {
            Pair *const end = s.ends + (w.b * s.pieces + piece) * s.P + w.p;
            const Pair own = piece > 0 ? *end : Pair{0, 0};
            *end = a;
            /* the last piece may be shorter, but nothing comes after it */
            a = sum(own, product_conjugate(leap, a));
        }
    });
}

static void adjoint(const Run *run, const Scan &s) {
    for_each(run, s.B * s.pieces * s.P, [=] __device__(int64_t i) {
        const Way w = way_of(s, i);
        const Steps step = s.steps[w.p];
        Pair a = s.ends[i], power = {0, 0}, input = {0, 0};
        for (int64_t k = w.last - 1; k >= w.first; k--) {
            const int64_t at = place(s, w, k);
            a = sum(pair_at(s.dx, at, s.P), product_conjugate(step.power, a));
            const Pair before = k > 0 ? pair_at(s.x, place(s, w, k - 1), s.P) : state_before(s, w);
            power = sum(power, product_conjugate(before, a));
            input = sum(input, product_conjugate(pair_at(s.v, at, s.P), a));
            if (!s.dv) continue;
            const Pair slope = product_conjugate(step.input, a);
            put(s.dv + at, slope.re, s.add_v);
            put(s.dv + at + s.P, slope.im, s.add_v);
        }
        const float parts[SUMS] = {power.re, power.im, input.re, input.im};
        for (int k = 0; k < SUMS; k++)
            s.sums[((w.b * s.pieces + w.piece) * SUMS + k) * s.P + w.p] = parts[k];
    });
}

struct Slopes {
    float *log_dt, *A_real, *A_imag;
    bool add_log_dt, add_real, add_imag;
};

/* A block adds the pieces of WARP modes in STRETCHES stretches, then these in order. */
KERNEL void __launch_bounds__(THREADS) parameter_gradients(Scan s, Slopes to) {
    __shared__ double parts[STRETCHES][SUMS][WARP];
    const int lane = (int)threadIdx.x % WARP, stretch = (int)threadIdx.x / WARP;
    const int64_t p = (int64_t)blockIdx.x * WARP + lane, rows = s.B * s.pieces;
    double total[SUMS] = {};
    for (int64_t row = stretch; p < s.P && row < rows; row += STRETCHES)
        for (int k = 0; k < SUMS; k++) total[k] += (double)s.sums[(row * SUMS + k) * s.P + p];
    for (int k = 0; k < SUMS; k++) parts[stretch][k][lane] = total[k];
    __syncthreads();
    if (stretch > 0 || p >= s.P) return;
    for (int other = 1; other < STRETCHES; other++)
        for (int k = 0; k < SUMS; k++) total[k] += parts[other][k][lane];
    const DiscreteMode m = discrete_mode(s.modes, p);
    const Complex power = {total[0], total[1]}, input = {total[2], total[3]};
    const ModeSlopes of = mode_slopes(s.modes, m, p, input, conjugate(m.step) * power);
    if (to.A_real) put(to.A_real + p, (float)of.A_real, to.add_real);
    if (to.A_imag) put(to.A_imag + p, (float)of.A_imag, to.add_imag);
    if (to.log_dt) put(to.log_dt + p, (float)(of.log_dt[0] + of.log_dt[1]), to.add_log_dt);
}

static void backward(const OpCall *call, const Run *run) {
    Scan s = scan_of(call);
    s.dx = call->out[0]->gradient;
    s.dv = gradient_of(call, DIAGONAL_SCAN_V);
    s.add_v = call->accumulate[DIAGONAL_SCAN_V];
    const Slopes to = {
        gradient_of(call, DIAGONAL_SCAN_LOG_DT), gradient_of(call, DIAGONAL_SCAN_A_REAL),
        gradient_of(call, DIAGONAL_SCAN_A_IMAG), call->accumulate[DIAGONAL_SCAN_LOG_DT],
        call->accumulate[DIAGONAL_SCAN_A_REAL],  call->accumulate[DIAGONAL_SCAN_A_IMAG]};
    make_steps(run, s);
    adjoint_ends(run, s);
    adjoint(run, s);
    LAUNCH(run, parameter_gradients, blocks_for(s.P, WARP), THREADS, 0, s, to);
}

CUDA_OP(diagonal_scan, {forward, backward}, scratch);
