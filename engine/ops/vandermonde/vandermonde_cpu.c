/* A block of LANES channels and up to VANDERMONDE_MODES of their modes at a time. Powers are
 * products in double precision, rounded once; the O(L M) work is a product of tiles whose entries
 * are vectors over channels, K[q T + r] = sum_n Re U[q, n] Re V[r, n] - Im U[q, n] Im V[r, n], U =
 * 2 c lambdabar^(q T), V = lambdabar^r: 2 M fused operations an element, and T + L / T powers a
 * mode. Backward sums dK V and r dK V over r in tiles alike, then weighs them by lambdabar^(q T):
 * 4 M fused operations an element. Bound by arithmetic. */
#include <omp.h>

#include "engine/ops/vandermonde/vandermonde_modes.h"
#include "engine/ops/vandermonde/vandermonde_plan.h"
#include "engine/ops/vandermonde/vandermonde_shared.h"

/* Tiles that keep their sums in registers: 24 of 32, or 12 of 16. */
enum {
    QS = LANES == 16 ? 6 : 3,
    RS = VANDERMONDE_COLUMNS,
    BACK_QS = 3,
    BACK_NS = LANES == 16 ? 2 : 1
};

typedef struct Block {
    ModeSource source[2]; /* the two halves of the lanes */
    int64_t L, D, T, channel, width;
    int64_t first, M;                    /* modes */
    double *step, *power, *leap, *g, *h; /* (M, 2 parts, LANES): lambdabar, a power, lambdabar^T */
    float *table;                        /* lambdabar^r */
    float *tile;                         /* (M, 2, QS, LANES): a tile of U */
    float *rows;                         /* (BACK_QS, T, LANES): a tile of dK */
} Block;

static Block block_of(const OpCall *call, int64_t index) {
    const Vandermonde *attributes = call->attributes;
    Block b = {.L = attributes->length, .channel = index * LANES};
    b.source[0] = mode_source(call, attributes->form);
    b.M = vandermonde_modes(b.source[0].M);
    b.D = b.source[0].D;
    b.T = vandermonde_columns(b.L);
    b.width = b.D - b.channel < LANES ? b.D - b.channel : LANES;
    b.source[1] = b.source[0];
    b.source[0].channel = b.channel;
    b.source[1].channel = b.channel + DOUBLES;
    double *doubles =
        (double *)((float *)call->scratch +
                   omp_get_thread_num() * vandermonde_scratch_floats(b.L, b.source[0].M));
    const int64_t each = b.M * 2 * LANES;
    b.step = doubles;
    b.power = b.step + each;
    b.leap = b.power + each;
    b.g = b.leap + each;
    b.h = b.g + each;
    b.table = (float *)(b.h + each);
    b.tile = b.table + b.M * b.T * 2 * LANES;
    b.rows = b.tile + b.M * 2 * VANDERMONDE_ROWS * LANES;
    return b;
}

/* Complex number n of an array (M, 2, LANES), half of its lanes. */
static inline zvector get(const double *array, int64_t n, int half) {
    const double *at = array + n * 2 * LANES + half * DOUBLES;
    return (zvector){d_load(at), d_load(at + LANES)};
}
static inline void put(double *array, int64_t n, int half, zvector x) {
    double *at = array + n * 2 * LANES + half * DOUBLES;
    d_store(at, x.re);
    d_store(at + LANES, x.im);
}

/* The next modes, and whether there are any. */
static bool next_modes(Block *b, int64_t first) {
    const int64_t left = b->source[0].M - first;
    b->first = first;
    b->M = left < VANDERMONDE_MODES ? left : VANDERMONDE_MODES;
    return left > 0;
}

/* step = lambdabar, leap = lambdabar^T by repeated squaring, power = start: 2 c or 1; of growing
 * modes, whose table ends with 1, as many powers before the softmax's last. */
static void open_powers(const Block *b, bool with_c) {
    for (int64_t n = 0; n < b->M; n++)
        for (int half = 0; half < 2; half++) {
            const ModeSource *source = &b->source[half];
            const Mode m = mode_of(source, b->first + n);
            zvector leap = m.power;
            for (int64_t t = 1; t < b->T; t *= 2) leap = z_multiply(leap, leap);
            put(b->step, n, half, m.power);
            put(b->leap, n, half, leap);
            zvector start = mode_start(source, &m, b->T - source->form.period);
            if (with_c) {
                const zvector c = z_multiply(m.C, z_multiply(m.B, m.input));
                start = z_multiply(start, z_scale(c, d_set(2)));
            }
            put(b->power, n, half, start);
        }
}

/* table[place(r, n)] = lambdabar^r, of growing modes lambdabar^(r - (T - 1)), as (re, im) vectors
 * `parts` floats apart. */
static void fill_table(const Block *b, int64_t (*place)(const Block *, int64_t r, int64_t n),
                       int64_t parts) {
    for (int64_t n = 0; n < b->M; n++)
        for (int half = 0; half < 2; half++) {
            const ModeSource *source = &b->source[half];
            const zvector step = get(b->step, n, half);
            zvector power = {d_set(1), d_set(0)};
            if (source->form.discretisation == DISCRETISATION_SOFTMAX) {
                const Mode m = mode_of(source, b->first + n);
                power = mode_start(source, &m, 1 - b->T);
            }
            for (int64_t r = 0; r < b->T; r++) {
                float *at = b->table + place(b, r, n) + half * DOUBLES;
                d_store_floats(at, power.re);
                d_store_floats(at + parts, power.im);
                power = z_multiply(power, step);
            }
        }
}

/* (T / RS, M, 2, RS, LANES): what one tile of the kernel reads lies together. */
static int64_t forward_place(const Block *b, int64_t r, int64_t n) {
    return (((r / RS) * b->M + n) * 2 * RS + r % RS) * LANES;
}

/* The next QS rows of U into the tile, imaginary parts negated. */
static void fill_tile(const Block *b) {
    for (int64_t n = 0; n < b->M; n++)
        for (int half = 0; half < 2; half++) {
            const zvector leap = get(b->leap, n, half);
            zvector power = get(b->power, n, half);
            for (int q = 0; q < QS; q++) {
                float *at = b->tile + (n * 2 * QS + q) * LANES + half * DOUBLES;
                d_store_floats(at, power.re);
                d_store_floats(at + QS * LANES, -power.im);
                power = z_multiply(power, leap);
            }
            put(b->power, n, half, power);
        }
}

static inline void multiply_tile(const float *u, const float *v, int64_t M, vfloat sum[QS][RS]) {
    for (int q = 0; q < QS; q++)
        for (int r = 0; r < RS; r++) sum[q][r] = v_zero();
    for (int64_t part = 0; part < 2 * M; part++, u += QS * LANES, v += RS * LANES)
        for (int r = 0; r < RS; r++) {
            const vfloat power = v_load(v + r * LANES);
            for (int q = 0; q < QS; q++) sum[q][r] += v_load(u + q * LANES) * power;
        }
}

static void forward_modes(const Block *b, float *kernel) {
    open_powers(b, true);
    fill_table(b, forward_place, RS * LANES);
    const int64_t rows = (b->L + b->T - 1) / b->T;
    for (int64_t q0 = 0; q0 < rows; q0 += QS) {
        fill_tile(b);
        for (int64_t r0 = 0; r0 < b->T; r0 += RS) {
            vfloat sum[QS][RS];
            multiply_tile(b->tile, b->table + r0 * b->M * 2 * LANES, b->M, sum);
            for (int q = 0; q < QS; q++)
                for (int r = 0; r < RS; r++) {
                    const int64_t l = (q0 + q) * b->T + r0 + r;
                    float *to = kernel + l * b->D + b->channel;
                    if (l >= b->L) continue;
                    if (b->first > 0) sum[q][r] += v_load_part(to, b->width);
                    v_store_part(to, sum[q][r], b->width);
                }
        }
    }
}

static void forward(const OpCall *call, const Run *run) {
    const int64_t D = extent(call->out[0], 1);
    if (vandermonde_shared(call)) {
        ISA(vandermonde_shared_forward)(call, run);
        return;
    }
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t index = 0; index < (D + LANES - 1) / LANES; index++) {
        Block b = block_of(call, index);
        for (int64_t first = 0; next_modes(&b, first); first += VANDERMONDE_MODES)
            forward_modes(&b, call->out[0]->data);
    }
}

/* ---- backward ---- */

/* (M, T, 2, LANES) */
static int64_t backward_place(const Block *b, int64_t r, int64_t n) {
    return (n * b->T + r) * 2 * LANES;
}

/* Rows q0 .. q0 + BACK_QS - 1 of dK as (L / T, T), zero beyond L. */
static void read_rows(const Block *b, const float *gradient, int64_t q0) {
    for (int64_t i = 0; i < BACK_QS * b->T; i++) {
        const int64_t l = q0 * b->T + i;
        v_store(b->rows + i * LANES,
                l < b->L ? v_load_part(gradient + l * b->D + b->channel, b->width) : v_zero());
    }
}

/* For modes n .. n + modes - 1: the sums over r of dK V (first two) and r dK V, re and im. */
static inline __attribute__((always_inline)) void sum_rows(const Block *b, int64_t n, int modes,
                                                           vfloat sum[BACK_QS][BACK_NS][4]) {
    for (int q = 0; q < BACK_QS; q++)
        for (int i = 0; i < modes; i++)
            for (int k = 0; k < 4; k++) sum[q][i][k] = v_zero();
    for (int64_t r = 0; r < b->T; r++)
        for (int q = 0; q < BACK_QS; q++) {
            const vfloat value = v_load(b->rows + (q * b->T + r) * LANES);
            const vfloat weighted = value * (float)r;
            for (int i = 0; i < modes; i++) {
                const float *v = b->table + backward_place(b, r, n + i);
                const vfloat re = v_load(v), im = v_load(v + LANES);
                sum[q][i][0] += value * re;
                sum[q][i][1] += value * im;
                sum[q][i][2] += weighted * re;
                sum[q][i][3] += weighted * im;
            }
        }
}

/* g += power S0, h += power (q T S0 + S1), power *= leap, row by row. */
static void weigh(const Block *b, int64_t q0, int64_t n, vfloat (*sum)[4], int64_t row_step) {
    float lanes[4][LANES];
    for (int half = 0; half < 2; half++) {
        const zvector leap = get(b->leap, n, half);
        zvector power = get(b->power, n, half);
        zvector g = get(b->g, n, half), h = get(b->h, n, half);
        for (int64_t q = 0; q < BACK_QS; q++) {
            for (int k = 0; k < 4; k++) v_store(lanes[k], sum[q * row_step][k]);
            const float *at = lanes[0] + half * DOUBLES;
            const zvector plain = {d_load_floats(at), d_load_floats(at + LANES)};
            const zvector weighted = {d_load_floats(at + 2 * LANES), d_load_floats(at + 3 * LANES)};
            const vdouble offset = d_set((double)((q0 + q) * b->T));
            g = z_add(g, z_multiply(power, plain));
            h = z_add(h, z_multiply(power, z_add(weighted, z_scale(plain, offset))));
            power = z_multiply(power, leap);
        }
        put(b->power, n, half, power);
        put(b->g, n, half, g);
        put(b->h, n, half, h);
    }
}

static void backward_modes(const Block *b, const float *gradient, float *log_dt,
                           const ModeSinks *to) {
    open_powers(b, false);
    fill_table(b, backward_place, LANES);
    memset(b->g, 0, (size_t)b->M * 2 * LANES * sizeof *b->g);
    memset(b->h, 0, (size_t)b->M * 2 * LANES * sizeof *b->h);
    const int64_t rows = (b->L + b->T - 1) / b->T;
    for (int64_t q0 = 0; q0 < rows; q0 += BACK_QS) {
        read_rows(b, gradient, q0);
        for (int64_t n = 0; n < b->M;) {
            vfloat sum[BACK_QS][BACK_NS][4];
            const int modes = b->M - n >= BACK_NS ? BACK_NS : 1;
            if (modes == BACK_NS)
                sum_rows(b, n, BACK_NS, sum);
            else
                sum_rows(b, n, 1, sum);
            for (int i = 0; i < modes; i++) weigh(b, q0, n + i, &sum[0][i], BACK_NS);
            n += modes;
        }
    }
    for (int half = 0; half < 2; half++) {
        const ModeSource *source = &b->source[half];
        vdouble total[2] = {d_set(0), d_set(0)};
        for (int64_t n = 0; n < b->M; n++)
            mode_gradient(source, b->first + n, z_conjugate(get(b->g, n, half)),
                          z_conjugate(get(b->h, n, half)), to, total);
        if (source->steps == 1) mode_scatter(source, log_dt, 1, 0, total[0] + total[1]);
        for (int i = 0; i < 2 && source->steps == 2; i++)
            mode_scatter(source, log_dt, 2, i, total[i]);
    }
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t D = extent(call->out[0], 1);
    float *log_dt = mode_sink(call, DIAGONAL_LOG_DT);
    const ModeSinks to = mode_sinks(call);
    if (vandermonde_shared(call)) {
        ISA(vandermonde_shared_backward)(call, run, &to, log_dt);
        return;
    }
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t index = 0; index < (D + LANES - 1) / LANES; index++) {
        Block b = block_of(call, index);
        for (int64_t first = 0; next_modes(&b, first); first += VANDERMONDE_MODES)
            backward_modes(&b, call->out[0]->gradient, log_dt, &to);
    }
}

const OpKernels ISA(vandermonde_cpu) = {forward, backward};
