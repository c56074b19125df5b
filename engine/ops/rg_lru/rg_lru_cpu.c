/* Channels are the vector lanes; time is walked once, four vectors side by side, whose gates do not
 * wait for each other. Bound by three exponentials, two quotients and a root a token and channel,
 * of which quotients and roots are the slower half; some 45 vector operations forward and 75
 * backward. 16 and 32 bytes of traffic are asked for early, as rows lie apart. */
#include "engine/gradient_simd.h"
#include "engine/ops/rg_lru/rg_lru_plan.h"
#include "engine/vmath.h"

enum { VECTORS = 64 / LANES, UNIT = VECTORS * LANES, AHEAD = 8 };

/* A unit is UNIT channels of one sequence. */
typedef struct Unit {
    const OpCall *call;
    int64_t L, E, b, first, count;
    vfloat rate[VECTORS]; /* log a / r */
    vfloat recurrence_bias[VECTORS], input_bias[VECTORS];
    bool begins; /* with the sequence's first token */
} Unit;

static int64_t groups_of(const OpCall *call) {
    return (extent(call->in[RG_LRU_X], 2) + UNIT - 1) / UNIT;
}

static void open_unit(Unit *unit, const OpCall *call, int64_t index) {
    const Tensor *x = call->in[RG_LRU_X], *position = call->in[RG_LRU_POSITION];
    const int64_t groups = groups_of(call), first = index % groups * UNIT;
    unit->call = call;
    unit->L = extent(x, 1);
    unit->E = extent(x, 2);
    unit->b = index / groups;
    unit->first = first;
    unit->count = unit->E - first < UNIT ? unit->E - first : UNIT;
    unit->begins = rg_lru_begins(position ? position->integers : NULL);
    for (int64_t k = 0; k * LANES < unit->count; k++) {
        const int64_t e = first + k * LANES, n = unit->E - e;
        unit->rate[k] = v_softplus(v_load_part(call->in[RG_LRU_LAMBDA]->data + e, n)) * RG_LRU_RATE;
        unit->recurrence_bias[k] = v_load_part(call->in[RG_LRU_RECURRENCE_BIAS]->data + e, n);
        unit->input_bias[k] = v_load_part(call->in[RG_LRU_INPUT_BIAS]->data + e, n);
    }
}

/* What a token's gates make of it. */
typedef struct Gates {
    vfloat r, a, root; /* root: of 1 - a^2 */
    vfloat closed;     /* 1 / i, finite */
} Gates;

/* k: vector of the unit, at: its first element, of which n are left in the row. */
ALWAYS_INLINE Gates gates_of(const Unit *unit, int64_t k, int64_t at, int64_t n) {
    Gates g;
    g.r = v_sigmoid(v_load_part(unit->call->in[RG_LRU_RECURRENCE]->data + at, n) +
                    unit->recurrence_bias[k]);
    const vfloat input =
        v_load_part(unit->call->in[RG_LRU_INPUT]->data + at, n) + unit->input_bias[k];
    g.closed = 1.0f + v_exp(v_min(v_set(80), -input));
    const vfloat less = v_expm1(g.r * unit->rate[k]); /* a - 1 */
    g.a = less + 1.0f;
    g.root = v_sqrt(-less * (less + 2.0f));
    return g;
}

/* A unit's part of a row lies apart from that of the next one, which the processor does not guess.
 */
ALWAYS_INLINE void fetch(const Unit *unit, int64_t at) {
    for (int input = RG_LRU_X; input <= RG_LRU_INPUT; input++)
        __builtin_prefetch(unit->call->in[input]->data + at);
    __builtin_prefetch(unit->call->out[0]->data + at);
}

/* count: of the unit, a constant where it is whole. */
ALWAYS_INLINE void forward_unit(const Unit *unit, const int64_t count) {
    const OpCall *call = unit->call;
    const Tensor *state = call->in[RG_LRU_STATE];
    const int64_t L = unit->L, E = unit->E, vectors = (count + LANES - 1) / LANES;
    vfloat h[VECTORS];
    for (int64_t k = 0; k < vectors; k++)
        h[k] = state ? v_load_part(state->data + unit->b * E + unit->first + k * LANES,
                                   count - k * LANES)
                     : v_zero();
    for (int64_t t = 0; t < L; t++) {
        const bool starts = t == 0 && unit->begins;
        const int64_t row = (unit->b * L + t) * E + unit->first;
        const int64_t later = t + AHEAD < L ? AHEAD * E : 0;
        for (int64_t k = 0; k < vectors; k++) {
            const int64_t at = row + k * LANES, n = count - k * LANES;
            fetch(unit, at + later);
            const Gates g = gates_of(unit, k, at, n);
            const vfloat u = v_load_part(call->in[RG_LRU_X]->data + at, n) / g.closed;
            h[k] = starts ? u : g.a * h[k] + g.root * u;
            v_store_part(call->out[0]->data + at, h[k], n);
        }
    }
}

static void forward(const OpCall *call, const Run *run) {
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < extent(call->in[RG_LRU_X], 0) * groups_of(call); n++) {
        Unit unit;
        open_unit(&unit, call, n);
        if (unit.count == UNIT)
            forward_unit(&unit, UNIT);
        else
            forward_unit(&unit, unit.count);
    }
}

/* The adjoint of the state behind a token, and sums over the tokens. */
typedef struct Adjoint {
    vfloat carried, sums[RG_LRU_SUMS];
} Adjoint;

/* One token, its gradients in dx, dr and di. dh: of its state, all later tokens included. */
ALWAYS_INLINE void token_backward(Adjoint *adjoint, const Gates *g, vfloat rate, vfloat x,
                                  vfloat before, vfloat dh, bool starts, vfloat *dx, vfloat *dr,
                                  vfloat *di) {
    const vfloat steep = v_max(v_set(0.5f / RG_LRU_STEEPEST), g->root);
    const vfloat both = 1.0f / (g->closed * steep); /* one quotient for two */
    const vfloat i = both * steep, slope = both * g->closed;
    const vfloat du = starts ? dh : dh * g->root;
    *dx = du * i;
    *di = du * x * (i - i * i);
    adjoint->sums[RG_LRU_SUM_INPUT] += *di;
    if (starts) {
        *dr = v_zero();
        return;
    }
    /* slope: 2 d root / d (1 - a^2), at most 2 RG_LRU_STEEPEST */
    const vfloat dlog = dh * g->a * (before - i * x * g->a * slope);
    *dr = dlog * rate * (g->r - g->r * g->r);
    adjoint->sums[RG_LRU_SUM_LAMBDA] += dlog * g->r;
    adjoint->sums[RG_LRU_SUM_RECURRENCE] += *dr;
    adjoint->carried = g->a * dh;
}

ALWAYS_INLINE void backward_unit(const Unit *unit, float *sums, const int64_t count) {
    const OpCall *call = unit->call;
    const GradientTarget to_x = gradient_target(call, RG_LRU_X),
                         to_r = gradient_target(call, RG_LRU_RECURRENCE),
                         to_i = gradient_target(call, RG_LRU_INPUT);
    const float *h = call->out[0]->data, *slopes = call->out[0]->gradient;
    const int64_t L = unit->L, E = unit->E, vectors = (count + LANES - 1) / LANES;
    Adjoint adjoint[VECTORS] = {0};
    for (int64_t t = L - 1; t >= 0; t--) {
        const int64_t row = (unit->b * L + t) * E + unit->first;
        const int64_t later = t >= AHEAD ? AHEAD * E : 0;
        for (int64_t k = 0; k < vectors; k++) {
            const int64_t at = row + k * LANES, n = count - k * LANES;
            fetch(unit, at - later);
            __builtin_prefetch(slopes + at - later);
            if (to_x.data) __builtin_prefetch(to_x.data + at - later, 1);
            if (to_r.data) __builtin_prefetch(to_r.data + at - later, 1);
            if (to_i.data) __builtin_prefetch(to_i.data + at - later, 1);
            const Gates g = gates_of(unit, k, at, n);
            const vfloat dh = v_load_part(slopes + at, n) + adjoint[k].carried;
            const vfloat before = t > 0 ? v_load_part(h + at - E, n) : v_zero();
            vfloat dx, dr, di;
            token_backward(&adjoint[k], &g, unit->rate[k],
                           v_load_part(call->in[RG_LRU_X]->data + at, n), before, dh, t == 0, &dx,
                           &dr, &di);
            if (to_x.data) v_deliver(to_x, at, dx, n);
            if (to_r.data) v_deliver(to_r, at, dr, n);
            if (to_i.data) v_deliver(to_i, at, di, n);
        }
    }
    for (int64_t k = 0; k < vectors; k++)
        for (int part = 0; part < RG_LRU_SUMS; part++)
            v_store_part(sums + part * E + unit->first + k * LANES, adjoint[k].sums[part],
                         count - k * LANES);
}

/* The sums of all sequences, in order; lambda's with d log a / d lambda / r. */
static void deliver_sums(const OpCall *call, int input, const float *sums) {
    const GradientTarget to = gradient_target(call, input);
    const int64_t B = extent(call->in[RG_LRU_X], 0), E = extent(call->in[RG_LRU_X], 2);
    for (int64_t e = 0; to.data && e < E; e += LANES) {
        vfloat sum = v_zero();
        for (int64_t b = 0; b < B; b++) sum += v_load_part(sums + b * RG_LRU_SUMS * E + e, E - e);
        if (input == RG_LRU_LAMBDA)
            sum *= v_sigmoid(v_load_part(call->in[input]->data + e, E - e)) * RG_LRU_RATE;
        v_deliver(to, e, sum, E - e);
    }
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t E = extent(call->in[RG_LRU_X], 2);
    float *sums = call->scratch; /* (B, RG_LRU_SUMS, E) */
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < extent(call->in[RG_LRU_X], 0) * groups_of(call); n++) {
        Unit unit;
        open_unit(&unit, call, n);
        float *own = sums + unit.b * RG_LRU_SUMS * E;
        if (unit.count == UNIT)
            backward_unit(&unit, own, UNIT);
        else
            backward_unit(&unit, own, unit.count);
    }
    deliver_sums(call, RG_LRU_LAMBDA, sums + RG_LRU_SUM_LAMBDA * E);
    deliver_sums(call, RG_LRU_RECURRENCE_BIAS, sums + RG_LRU_SUM_RECURRENCE * E);
    deliver_sums(call, RG_LRU_INPUT_BIAS, sums + RG_LRU_SUM_INPUT * E);
}

const OpKernels ISA(rg_lru_cpu) = {forward, backward};
