/* Whole rows, four outputs at a time: a row is read once for all outputs of the tile that see it,
 * so a tile with K = 4 loads 7 rows for 4 outputs. Bound by the cache (8 bytes an element) without
 * activation, by the exponential with SiLU. Backward computes the pre-activation again, as K
 * multiply-adds are cheaper than reading it back, and is then a convolution with reversed taps. */
#include <omp.h>

#include "engine/ops/short_convolution/short_convolution_plan.h"
#include "engine/simd.h"
#include "engine/vmath.h"

#define INLINE static inline __attribute__((always_inline))

typedef enum Finish {
    FINISH_STORE,
    FINISH_ADD,
    FINISH_SILU,
    FINISH_SILU_GRADIENT /* dy times the derivative at the sum */
} Finish;

/* out[i] = finish(bias + sum_j taps[j] rows[i + j]) for i < T. All rows are E floats apart. */
typedef struct Tile {
    const float *rows, *taps, *bias, *dy;
    float *out;
    int64_t E;
    Finish finish;
} Tile;

INLINE void tile_columns(Tile a, int64_t e, int64_t n, int K, int T) {
    vfloat sum[TILE_ROWS];
    for (int i = 0; i < T; i++) sum[i] = a.bias ? v_load_part(a.bias + e, n) : v_zero();
    for (int r = 0; r < T + K - 1; r++) {
        const vfloat x = v_load_part(a.rows + r * a.E + e, n);
        for (int i = 0; i < T; i++)
            if (r - i >= 0 && r - i < K) sum[i] += v_load_part(a.taps + (r - i) * a.E + e, n) * x;
    }
    for (int i = 0; i < T; i++) {
        vfloat value = sum[i];
        if (a.finish == FINISH_ADD) value += v_load_part(a.out + i * a.E + e, n);
        if (a.finish == FINISH_SILU) value *= v_sigmoid(value);
        if (a.finish == FINISH_SILU_GRADIENT) {
            const vfloat s = v_sigmoid(value);
            value = v_load_part(a.dy + i * a.E + e, n) * (s + value * s * (1.0f - s));
        }
        v_store_part(a.out + i * a.E + e, value, n);
    }
}

INLINE void tile_rows(Tile a, int K, int T) {
    int64_t e = 0;
    for (; e + LANES <= a.E; e += LANES) tile_columns(a, e, LANES, K, T);
    if (e < a.E) tile_columns(a, e, a.E - e, K, T);
}

/* T is 1 or TILE_ROWS; the numbers of taps that the papers use are known to the compiler. */
static void tile(Tile a, int K, int T) {
    if (T == TILE_ROWS && K == 4)
        tile_rows(a, 4, TILE_ROWS);
    else if (T == TILE_ROWS && K == 3)
        tile_rows(a, 3, TILE_ROWS);
    else
        for (int i = 0; i < T; i++, a.rows += a.E, a.dy += a.E, a.out += a.E) tile_rows(a, K, 1);
}

/* Rows first .. first+count-1 of one sequence x (L, E), those outside from the state or zero.
 * Copies them to the buffer only where the window leaves the sequence. */
static const float *window(const Plan *plan, const float *x, const float *state, int64_t first,
                           int64_t count, float *buffer) {
    const int64_t E = plan->E;
    if (first >= 0 && first + count <= plan->L) return x + first * E;
    for (int64_t i = 0; i < count; i++) {
        const int64_t t = first + i;
        const float *row = NULL;
        if (t >= 0 && t < plan->L) row = x + t * E;
        if (t < 0 && state) row = state + (plan->K - 1 + t) * E;
        if (row)
            memcpy(buffer + i * E, row, (size_t)E * sizeof(float));
        else
            memset(buffer + i * E, 0, (size_t)E * sizeof(float));
    }
    return buffer;
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The tensors of sequence b. */
typedef struct Sequence {
    const float *x, *state, *dy;
    float *dx;
} Sequence;

static Sequence sequence(const OpCall *call, const Plan *plan, int64_t b) {
    const int64_t place = b * plan->L * plan->E;
    Sequence s = {.x = call->in[0]->data + place};
    if (call->in[3]) s.state = call->in[3]->data + b * (plan->K - 1) * plan->E;
    if (call->out[0]->gradient) s.dy = call->out[0]->gradient + place;
    if (call->in[0]->gradient) s.dx = call->in[0]->gradient + place;
    return s;
}

/* Convolves rows first .. last-1 of a sequence; a.out and a.dy point at row first. */
static void convolve(const Plan *plan, Sequence s, Tile a, int64_t first, int64_t last,
                     float *buffer) {
    for (int64_t t = first; t < last;) {
        const int T = last - t >= TILE_ROWS ? TILE_ROWS : 1;
        a.rows = window(plan, s.x, s.state, t - plan->past, T + plan->K - 1, buffer);
        tile(a, (int)plan->K, T);
        t += T;
        a.out += T * plan->E;
        a.dy += T * plan->E;
    }
}

static void next_state(const OpCall *call, const Plan *plan) {
    const int64_t H = plan->K - 1;
    for (int64_t b = 0; b < plan->B; b++) {
        const Sequence s = sequence(call, plan, b);
        float *next = call->out[1]->data + b * H * plan->E;
        const float *rows = window(plan, s.x, s.state, plan->L - H, H, next);
        if (rows != next) memcpy(next, rows, (size_t)(H * plan->E) * sizeof(float));
    }
}

static void forward(const OpCall *call, const Run *run) {
    const ShortConvolution *attributes = call->attributes;
    const Plan plan = short_convolution_plan(call);
    float *windows = call->scratch;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t unit = 0; unit < plan.units; unit++) {
        const int64_t b = unit / plan.chunks, first = unit % plan.chunks * UNIT_ROWS;
        const Tile a = {.taps = call->in[1]->data,
                        .bias = call->in[2] ? call->in[2]->data : NULL,
                        .out = call->out[0]->data + (b * plan.L + first) * plan.E,
                        .dy = call->out[0]->data, /* not read */
                        .E = plan.E,
                        .finish =
                            attributes->activation == ACTIVATION_SILU ? FINISH_SILU : FINISH_STORE};
        convolve(&plan, sequence(call, &plan, b), a, first, smaller(first + UNIT_ROWS, plan.L),
                 windows + omp_get_thread_num() * plan.window);
    }
    if (call->outputs > 1) next_state(call, &plan);
}

/* Adds sum_i ds[i] rows[i + j] to dw[j] and sum_i ds[i] to db, for i < T. */
INLINE void taps_gradient_columns(const float *ds, const float *rows, float *dw, int64_t E,
                                  int64_t e, int64_t n, int K, int T) {
    vfloat gradient[TILE_ROWS], sum[SHORT_CONVOLUTION_TAPS];
    vfloat total = v_load_part(dw + K * E + e, n);
    for (int i = 0; i < T; i++) total += gradient[i] = v_load_part(ds + i * E + e, n);
    v_store_part(dw + K * E + e, total, n);
    for (int j = 0; j < K; j++) sum[j] = v_load_part(dw + j * E + e, n);
    for (int r = 0; r < T + K - 1; r++) {
        const vfloat x = v_load_part(rows + r * E + e, n);
        for (int i = 0; i < T; i++)
            if (r - i >= 0 && r - i < K) sum[r - i] += gradient[i] * x;
    }
    for (int j = 0; j < K; j++) v_store_part(dw + j * E + e, sum[j], n);
}

INLINE void taps_gradient_rows(const float *ds, const float *rows, float *dw, int64_t E, int K,
                               int T) {
    int64_t e = 0;
    for (; e + LANES <= E; e += LANES) taps_gradient_columns(ds, rows, dw, E, e, LANES, K, T);
    if (e < E) taps_gradient_columns(ds, rows, dw, E, e, E - e, K, T);
}

static void taps_gradient(const float *ds, const float *rows, float *dw, int64_t E, int K, int T) {
    if (T == TILE_ROWS && K == 4)
        taps_gradient_rows(ds, rows, dw, E, 4, TILE_ROWS);
    else if (T == TILE_ROWS && K == 3)
        taps_gradient_rows(ds, rows, dw, E, 3, TILE_ROWS);
    else
        for (int i = 0; i < T; i++) taps_gradient_rows(ds + i * E, rows + i * E, dw, E, K, 1);
}

/* Where backward keeps what. */
typedef struct Scratch {
    float *windows, *locals; /* one per thread */
    float *reversed;         /* the taps, last first: (K, E) */
    float *partials;         /* (groups, K + 1, E) */
} Scratch;

/* Gradients before the activation of rows first .. first+count-1, zero outside the sequence. */
static const float *inner_gradient(const OpCall *call, const Plan *plan, Sequence s, int64_t first,
                                   int64_t count, float *buffer, float *local) {
    const ShortConvolution *attributes = call->attributes;
    if (attributes->activation == ACTIVATION_NONE)
        return window(plan, s.dy, NULL, first, count, local);
    const int64_t E = plan->E, from = first < 0 ? 0 : first, to = smaller(first + count, plan->L);
    memset(local, 0, (size_t)((from - first) * E) * sizeof(float));
    memset(local + (to - first) * E, 0, (size_t)((first + count - to) * E) * sizeof(float));
    const Tile a = {.taps = call->in[1]->data,
                    .bias = call->in[2] ? call->in[2]->data : NULL,
                    .dy = s.dy + from * E,
                    .out = local + (from - first) * E,
                    .E = E,
                    .finish = FINISH_SILU_GRADIENT};
    convolve(plan, s, a, from, to, buffer);
    return local;
}

static void backward_unit(const OpCall *call, const Plan *plan, const Scratch *scratch,
                          int64_t unit, float *partial) {
    const int64_t b = unit / plan->chunks, first = unit % plan->chunks * UNIT_ROWS;
    const int64_t last = smaller(first + UNIT_ROWS, plan->L), E = plan->E;
    const int thread = omp_get_thread_num(), K = (int)plan->K;
    float *buffer = scratch->windows + thread * plan->window;
    const Sequence s = sequence(call, plan, b);
    const float *ds = inner_gradient(call, plan, s, first - plan->future, last - first + K - 1,
                                     buffer, scratch->locals + thread * plan->local);
    Tile a = {.rows = ds,
              .taps = scratch->reversed,
              .dy = ds, /* not read */
              .E = E,
              .finish = call->accumulate[0] ? FINISH_ADD : FINISH_STORE};
    if (s.dx) a.out = s.dx + first * E;
    for (int64_t t = first; t < last;) {
        const int T = last - t >= TILE_ROWS ? TILE_ROWS : 1;
        if (s.dx) tile(a, K, T);
        const float *rows = window(plan, s.x, s.state, t - plan->past, T + K - 1, buffer);
        taps_gradient(a.rows + plan->future * E, rows, partial, E, K, T);
        t += T;
        a.rows += T * E;
        if (s.dx) a.out += T * E;
    }
}

/* The gradient of the state is dx continued to the K-1 rows before the sequence; the gradient of
 * the next state belongs to the rows that it was copied from. */
static void state_gradients(const OpCall *call, const Plan *plan, const Scratch *scratch) {
    const int64_t H = plan->K - 1, E = plan->E;
    const float *dnext = call->out[1]->gradient;
    for (int64_t b = 0; b < plan->B; b++) {
        const Sequence s = sequence(call, plan, b);
        float *dstate = call->in[3]->gradient ? call->in[3]->gradient + b * H * E : NULL;
        for (int64_t i = 0; dstate && i < H; i++) {
            const Tile a = {.rows = inner_gradient(call, plan, s, i - H, plan->K, scratch->windows,
                                                   scratch->locals),
                            .taps = scratch->reversed,
                            .dy = dstate, /* not read */
                            .out = dstate + i * E,
                            .E = E,
                            .finish = call->accumulate[3] ? FINISH_ADD : FINISH_STORE};
            tile(a, (int)plan->K, 1);
        }
        for (int64_t i = 0; dnext && i < H; i++) {
            const int64_t t = plan->L - H + i;
            float *target = t >= 0 ? s.dx : dstate;
            if (!target) continue;
            target += (t >= 0 ? t : H + t) * E;
            for (int64_t e = 0; e < E; e++) target[e] += dnext[(b * H + i) * E + e];
        }
    }
}

static void backward(const OpCall *call, const Run *run) {
    const Plan plan = short_convolution_plan(call);
    Scratch scratch = {.windows = call->scratch};
    scratch.locals = scratch.windows + run->threads * plan.window;
    scratch.reversed = scratch.locals + run->threads * plan.local;
    scratch.partials = scratch.reversed + plan.K * plan.E;
    for (int64_t j = 0; j < plan.K; j++)
        memcpy(scratch.reversed + j * plan.E, call->in[1]->data + (plan.K - 1 - j) * plan.E,
               (size_t)plan.E * sizeof(float));
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t group = 0; group < plan.groups; group++) {
        float *partial = scratch.partials + group * plan.partial;
        memset(partial, 0, (size_t)plan.partial * sizeof(float));
        const int64_t last = (group + 1) * plan.units / plan.groups;
        for (int64_t unit = group * plan.units / plan.groups; unit < last; unit++)
            backward_unit(call, &plan, &scratch, unit, partial);
    }
    float *dw = call->in[1]->gradient, *db = call->in[2] ? call->in[2]->gradient : NULL;
    const int64_t taps = plan.K * plan.E;
    for (int64_t i = 0; i < plan.partial; i++) {
        float *target = i < taps ? (dw ? dw + i : NULL) : (db ? db + (i - taps) : NULL);
        if (!target) continue;
        float sum = call->accumulate[i < taps ? 1 : 2] ? *target : 0;
        for (int64_t group = 0; group < plan.groups; group++)
            sum += scratch.partials[group * plan.partial + i];
        *target = sum;
    }
    if (call->outputs > 1) state_gradients(call, &plan, &scratch);
}

const OpKernels ISA(short_convolution_cpu) = {forward, backward};
