/* Modes are the lanes; time is walked once. Forward 14 operations a mode and token for 16 bytes,
 * backward 30 for 32: bound by memory once v leaves the cache, before that by the 8 cycles in which
 * a step's two fused operations follow each other, which four vectors side by side hide. */
#include <string.h>

#include "engine/gradient_simd.h"
#include "engine/ops/diagonal_scan/diagonal_scan_plan.h"
#include "engine/ops/vandermonde/vandermonde_modes.h"

enum { UNIT = DIAGONAL_SCAN_UNIT, VECTORS = UNIT / LANES, PIECE = 64, AHEAD = 8 };

typedef struct Scan {
    int64_t B, L, P, groups;
    ModeSource modes;
    float *table; /* (4, groups UNIT) */
    double *sums; /* (B, groups, 4, UNIT) */
    bool reverse;
} Scan;

/* Modes as channels with one mode each. */
static Scan scan_of(const OpCall *call) {
    const DiagonalScan *attributes = call->attributes;
    const Tensor *v = call->in[DIAGONAL_SCAN_V];
    Scan scan = {.B = extent(v, 0),
                 .L = extent(v, 1),
                 .P = extent(v, 2) / 2,
                 .groups = diagonal_scan_groups(extent(v, 2) / 2),
                 .reverse = attributes->reverse,
                 .table = call->scratch};
    scan.modes = (ModeSource){.log_dt = call->in[DIAGONAL_SCAN_LOG_DT]->data,
                              .A_real = call->in[DIAGONAL_SCAN_A_REAL]->data,
                              .A_imag = call->in[DIAGONAL_SCAN_A_IMAG]->data,
                              .M = 1,
                              .D = scan.P,
                              .steps = 1,
                              .row = 1,
                              .dt_row = 1,
                              .form = attributes->form};
    scan.sums = (double *)(scan.table + scan.groups * UNIT * DIAGONAL_SCAN_TABLE);
    return scan;
}

static void fill_table(Scan *scan) {
    const int64_t padded = scan->groups * UNIT;
    for (int64_t p = 0; p < padded; p += DOUBLES) {
        scan->modes.channel = p < scan->P ? p : scan->P - 1;
        const Mode m = mode_of(&scan->modes, 0);
        const vdouble rows[] = {m.power.re, m.power.im, m.input.re, m.input.im};
        for (int i = 0; i < DIAGONAL_SCAN_TABLE; i++)
            d_store_floats(scan->table + i * padded + p, rows[i]);
    }
}

typedef struct Lanes {
    vfloat re, im;
} Lanes;

ALWAYS_INLINE Lanes load_part(const float *at, int64_t P, int64_t n) {
    return (Lanes){v_load_part(at, n), v_load_part(at + P, n)};
}
ALWAYS_INLINE Lanes product(Lanes a, Lanes b) {
    return (Lanes){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
ALWAYS_INLINE Lanes product_conjugate(Lanes a, Lanes b) { /* conj(a) b */
    return (Lanes){a.re * b.re + a.im * b.im, a.re * b.im - a.im * b.re};
}
/* a b + c and conj(a) b + c: two operations, one after the other, wait for b. */
ALWAYS_INLINE Lanes advance(Lanes a, Lanes b, Lanes c) {
    return (Lanes){c.re - a.im * b.im + a.re * b.re, c.im + a.im * b.re + a.re * b.im};
}
ALWAYS_INLINE Lanes advance_conjugate(Lanes a, Lanes b, Lanes c) {
    return (Lanes){c.re + a.im * b.im + a.re * b.re, c.im - a.im * b.re + a.re * b.im};
}

/* lambdabar and phi of the unit's vectors. */
typedef struct Unit {
    Lanes power[VECTORS], input[VECTORS];
    int64_t place, first, count; /* b L, mode, modes */
} Unit;

static Unit unit_of(const Scan *scan, int64_t index) {
    const int64_t b = index / scan->groups, first = index % scan->groups * UNIT;
    const int64_t padded = scan->groups * UNIT;
    Unit unit = {.place = b * scan->L, .first = first, .count = scan->P - first};
    if (unit.count > UNIT) unit.count = UNIT;
    for (int i = 0; i < VECTORS; i++) {
        const float *at = scan->table + first + i * LANES;
        unit.power[i] = (Lanes){v_load(at), v_load(at + padded)};
        unit.input[i] = (Lanes){v_load(at + 2 * padded), v_load(at + 3 * padded)};
    }
    return unit;
}

/* Place of token k in the order of the recurrence. */
static int64_t row(const Scan *scan, const Unit *unit, int64_t k) {
    return (unit->place + (scan->reverse ? scan->L - 1 - k : k)) * 2 * scan->P + unit->first;
}

/* A unit's part of a row lies apart from that of the next one, which the processor does not guess:
 * asks for both parts AHEAD tokens early. at: that row; forward in k, or backward. */
ALWAYS_INLINE void fetch(const float *at, int64_t P, int64_t i) {
    __builtin_prefetch(at + i * LANES);
    __builtin_prefetch(at + i * LANES + P);
}

ALWAYS_INLINE void forward_unit(const OpCall *call, const Scan *scan, const Unit *unit,
                                const int64_t count) {
    const int64_t P = scan->P, vectors = (count + LANES - 1) / LANES;
    const float *v = call->in[DIAGONAL_SCAN_V]->data;
    const Tensor *state = call->in[DIAGONAL_SCAN_STATE];
    Lanes x[VECTORS] = {0};
    for (int64_t i = 0; i < vectors && state; i++)
        x[i] = load_part(state->data + unit->place / scan->L * 2 * P + unit->first + i * LANES, P,
                         count - i * LANES);
    for (int64_t k = 0; k < scan->L; k++) {
        const int64_t at = row(scan, unit, k);
        const int64_t later = row(scan, unit, k + AHEAD < scan->L ? k + AHEAD : k);
        for (int64_t i = 0; i < vectors; i++) {
            const int64_t n = count - i * LANES, place = at + i * LANES;
            fetch(v + later, P, i);
            fetch(call->out[0]->data + later, P, i);
            const Lanes input = product(unit->input[i], load_part(v + place, P, n));
            x[i] = advance(unit->power[i], x[i], input);
            v_store_part(call->out[0]->data + place, x[i].re, n);
            v_store_part(call->out[0]->data + place + P, x[i].im, n);
        }
    }
}

static void forward(const OpCall *call, const Run *run) {
    Scan scan = scan_of(call);
    fill_table(&scan);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t index = 0; index < scan.B * scan.groups; index++) {
        const Unit unit = unit_of(&scan, index);
        if (unit.count == UNIT)
            forward_unit(call, &scan, &unit, UNIT);
        else
            forward_unit(call, &scan, &unit, unit.count);
    }
}

/* ---- backward ---- */

/* A piece's sums join those in double precision, so that none has more than PIECE terms of float.
 */
static void add_sums(double *sums, int64_t i, Lanes *power, Lanes *input) {
    const vfloat parts[] = {power->re, power->im, input->re, input->im};
    for (int k = 0; k < DIAGONAL_SCAN_SUMS; k++)
        for (int lane = 0; lane < LANES; lane++)
            sums[k * UNIT + i * LANES + lane] += (double)parts[k][lane];
    *power = *input = (Lanes){v_zero(), v_zero()};
}

/* s = dx + conj(lambdabar) s of the token after; dv = conj(phi) s; cotangents sum conj(x before) s
 * and conj(v) s. */
ALWAYS_INLINE void backward_unit(const OpCall *call, const Scan *scan, const Unit *unit,
                                 double *sums, const int64_t count) {
    const int64_t P = scan->P, vectors = (count + LANES - 1) / LANES;
    const float *v = call->in[DIAGONAL_SCAN_V]->data, *x = call->out[0]->data;
    const Tensor *state = call->in[DIAGONAL_SCAN_STATE];
    const GradientTarget to_v = gradient_target(call, DIAGONAL_SCAN_V);
    Lanes s[VECTORS] = {0}, power[VECTORS] = {0}, input[VECTORS] = {0};
    const float *start = state ? state->data + unit->place / scan->L * 2 * P + unit->first : NULL;
    for (int64_t k = scan->L - 1; k >= 0; k--) {
        const int64_t at = row(scan, unit, k);
        const int64_t later = row(scan, unit, k >= AHEAD ? k - AHEAD : k);
        const float *before = k > 0 ? x + row(scan, unit, k - 1) : start;
        for (int64_t i = 0; i < vectors; i++) {
            const int64_t n = count - i * LANES, place = at + i * LANES;
            fetch(v + later, P, i);
            fetch(x + later, P, i);
            fetch(call->out[0]->gradient + later, P, i);
            if (to_v.data) fetch(to_v.data + later, P, i);
            s[i] = advance_conjugate(unit->power[i], s[i],
                                     load_part(call->out[0]->gradient + place, P, n));
            if (before)
                power[i] = advance_conjugate(load_part(before + i * LANES, P, n), s[i], power[i]);
            input[i] = advance_conjugate(load_part(v + place, P, n), s[i], input[i]);
            if (k % PIECE == 0) add_sums(sums, i, &power[i], &input[i]);
            if (!to_v.data) continue;
            const Lanes slope = product_conjugate(unit->input[i], s[i]);
            v_deliver(to_v, place, slope.re, n);
            v_deliver(to_v, place + P, slope.im, n);
        }
    }
}

/* Modes p .. p + DOUBLES - 1: sums over the batch, then the chain to the parameters. */
static void parameter_gradients(Scan *scan, float *log_dt, const ModeSinks *to) {

    for (int64_t p = 0; p < scan->P; p += DOUBLES) {
        vdouble parts[DIAGONAL_SCAN_SUMS] = {0};
        for (int64_t b = 0; b < scan->B; b++)
            for (int k = 0; k < DIAGONAL_SCAN_SUMS; k++)
                parts[k] += d_load(scan->sums +
                                   ((b * scan->groups + p / UNIT) * DIAGONAL_SCAN_SUMS + k) * UNIT +
                                   p % UNIT);
        scan->modes.channel = p;
        const Mode m = mode_of(&scan->modes, 0);
        const zvector to_power = {parts[0], parts[1]}, to_input = {parts[2], parts[3]};
        vdouble steps[2] = {d_set(0), d_set(0)};
        mode_chain(&scan->modes, 0, &m, to_input, z_multiply(z_conjugate(m.power), to_power), to,
                   steps);
        mode_scatter(&scan->modes, log_dt, 1, 0, steps[0] + steps[1]);
    }
}

static void backward(const OpCall *call, const Run *run) {
    Scan scan = scan_of(call);
    fill_table(&scan);
    memset(scan.sums, 0,
           (size_t)(scan.B * scan.groups * UNIT * DIAGONAL_SCAN_SUMS) * sizeof *scan.sums);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t index = 0; index < scan.B * scan.groups; index++) {
        const Unit unit = unit_of(&scan, index);
        double *sums = scan.sums + index * UNIT * DIAGONAL_SCAN_SUMS;
        if (unit.count == UNIT)
            backward_unit(call, &scan, &unit, sums, UNIT);
        else
            backward_unit(call, &scan, &unit, sums, unit.count);
    }
    const ModeSinks to = {.A_real = mode_sink(call, DIAGONAL_SCAN_A_REAL),
                          .A_imag = mode_sink(call, DIAGONAL_SCAN_A_IMAG)};
    parameter_gradients(&scan, mode_sink(call, DIAGONAL_SCAN_LOG_DT), &to);
}

const OpKernels ISA(diagonal_scan_cpu) = {forward, backward};
