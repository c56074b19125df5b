/* Heads are independent; a thread walks through the chunks of one with the state in its cache.
 * Bound by the products: per token and head T (dk + dv) 3/4 multiply-adds inside the chunk, where T
 * / 2 would be needed, and 2 dk dv with the state. The T /
 * 2 exponentials of a token cost some 10 instructions a vector, an eighth of the products at dk =
 * dv = 32. */
#include <omp.h>

#include "engine/ops/mlstm/mlstm_chunk.h"

void ISA(mlstm_backward)(const OpCall *call, const Run *run);

typedef struct Forward {
    float *weights;    /* P (T, T) */
    float *q, *k;      /* weighted, (T, dk) */
    float *notes;      /* of the chunk */
    float *now, *next; /* C and n before and behind it; may be the same */
    float *h;          /* of the chunk's first token, rows v_row apart */
    double stabiliser; /* m, base 2 */
    float floor[T];    /* 2^-m_i, for whole vectors */
} Forward;

/* The notes s, r and entry, and the floor of the normaliser. */
static void open_gates(const Chunk *chunk, Forward *f) {
    const int64_t n = chunk->count, H = chunk->plan->H;
    float log_f[T] = {0}, m[T] = {0}, *s = f->notes + MLSTM_NOTE_S * T;
    float *r = f->notes + MLSTM_NOTE_R * T, *entry = f->notes + MLSTM_NOTE_ENTRY * T;
    for (int64_t i = 0; i < n; i++) log_f[i] = chunk->gates[i * 2 * H + H];
    for (int64_t i = 0; i < T; i += LANES)
        v_store(log_f + i, v_softplus(-v_load(log_f + i)) * -LOG2_E);
    double b = 0, top = f->stabiliser;
    for (int64_t i = 0; i < T; i++) {
        if (i < n) {
            b += (double)log_f[i];
            s[i] = (float)((double)chunk->gates[i * 2 * H] * 1.4426950408889634 - b);
            if ((double)s[i] > top) top = (double)s[i];
            m[i] = (float)(b + top);
        } else {
            s[i] = 0; /* read with whole vectors, never used */
        }
        r[i] = (float)top;
    }
    for (int64_t i = 0; i < T; i += LANES) {
        v_store(entry + i, v_exp2_weight((float)f->stabiliser - v_load(r + i)));
        v_store(f->floor + i, v_exp(v_load(m + i) * -0.693147181f));
    }
    f->stabiliser = b + top;
}

/* Scores of token i become weights. Returns their sum, lane by lane. */
static inline vfloat weigh_row(const Chunk *chunk, const Forward *f, int64_t i) {
    const vfloat scale = v_set(chunk->plan->scale);
    const float *s = f->notes + MLSTM_NOTE_S * T, r = f->notes[MLSTM_NOTE_R * T + i];
    float *row = f->weights + i * T;
    vfloat sum = v_zero();
    int64_t j = 0;
    for (; j + LANES <= i + 1; j += LANES) {
        const vfloat p = v_load(row + j) * scale * weights_at(s + j, r);
        v_store(row + j, p);
        sum += p;
    }
    if (j <= i) { /* what lies behind the triangle's columns may be anything */
        const vfloat p = v_load(row + j) * scale * last_weights_at(s + j, r, i + 1 - j);
        const vfloat seen = v_first(p, i + 1 - j);
        v_store(row + j, seen);
        sum += seen;
        j += LANES;
    }
    for (; j < triangle_end(i, chunk->count); j += LANES) v_store(row + j, v_zero());
    return sum;
}

/* From n . q, the normaliser of tokens i .. i+LANES-1, to the notes. */
static void normalise(const Forward *f, int64_t i, vfloat dots) {
    const vfloat floor = v_load(f->floor + i), size = v_abs(dots);
    const vfloat sign = v_select(dots < 0.0f, v_set(-1.0f), v_set(1.0f));
    v_store(f->notes + MLSTM_NOTE_SIGN * T + i, v_select(size < floor, v_zero(), sign));
    v_store(f->notes + MLSTM_NOTE_INVERSE * T + i, 1.0f / (v_max(size, floor) + MLSTM_EPSILON));
}

/* Scores become weights divided by the normaliser, as do the queries that meet the entering state.
 */
static void weigh(const Chunk *chunk, const Forward *f) {
    const int64_t dk = chunk->plan->dk, dv = chunk->plan->dv, n = chunk->count;
    const float *inverse = f->notes + MLSTM_NOTE_INVERSE * T;
    float entering[T], factors[T];
    if (chunk->enters) dot_rows(entering, chunk->q, chunk->k_row, f->now + dk * dv, 0, n, dk);
    for (int64_t i = 0; i < n; i += LANES) {
        vfloat sums[LANES];
        for (int64_t r = 0; r < LANES; r++)
            sums[r] = i + r < n ? weigh_row(chunk, f, i + r) : v_zero();
        vfloat dots = v_sum_rows(sums);
        if (chunk->enters) {
            const vfloat entry = v_load(f->notes + MLSTM_NOTE_ENTRY * T + i) * chunk->plan->scale;
            dots += entry * v_load(entering + i);
            normalise(f, i, dots);
            v_store(factors + i, entry * v_load(inverse + i));
        } else {
            normalise(f, i, dots);
        }
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j += LANES) {
            float *p = f->weights + i * T + j;
            v_store(p, v_load(p) * inverse[i]);
        }
    if (chunk->enters) scale_rows(f->q, dk, chunk->q, chunk->k_row, n, dk, factors, 1);
}

static void results(const Chunk *chunk, const Forward *f) {
    const int64_t dk = chunk->plan->dk, dv = chunk->plan->dv, n = chunk->count;
    triangle(&chunk->with, n, dk, chunk->q, chunk->k_row, chunk->k, chunk->k_row, f->weights);
    weigh(chunk, f);
    if (chunk->enters)
        multiply(&chunk->with, GEMM_NN, n, dv, dk, f->q, dk, f->now, dv, f->h, chunk->v_row, false);
    triangle_sums(&chunk->with, n, dv, f->weights, chunk->v, chunk->v_row, f->h, chunk->v_row,
                  chunk->enters);
}

/* The state behind the chunk. */
static void advance(const Chunk *chunk, const Forward *f) {
    const int64_t dk = chunk->plan->dk, dv = chunk->plan->dv, n = chunk->count;
    float weights[T] __attribute__((aligned(64)));
    leaving_weights(chunk, f->notes, weights);
    scale_rows(f->k, dk, chunk->k, chunk->k_row, n, dk, weights, 1);
    const float keep = f->notes[MLSTM_NOTE_ENTRY * T + n - 1];
    if (chunk->enters)
        scale_rows(f->next, dk * (dv + 1), f->now, 0, 1, dk * (dv + 1), &keep, 1);
    else
        memset(f->next + dk * dv, 0, (size_t)dk * sizeof(float));
    multiply(&chunk->with, GEMM_TN, dk, dv, n, f->k, dk, chunk->v, chunk->v_row, f->next, dv,
             chunk->enters);
    add_rows(f->next + dk * dv, chunk->k, chunk->k_row, n, dk, weights);
}

static void walk_head(const OpCall *call, const MlstmPlan *plan, const Run *run, int64_t unit,
                      float *scratch) {
    const int64_t keys = mlstm_line(T * plan->dk);
    Forward f = {.weights = scratch, .q = scratch + T * T};
    f.k = f.q + keys;
    f.notes = f.k + keys;
    f.now = f.next = f.notes + MLSTM_NOTES * T;
    float *workspace = scratch + mlstm_thread_floats(plan, PHASE_FORWARD);
    for (int64_t number = 0; number < plan->chunks; number++) {
        const Chunk chunk = chunk_of(call, plan, run, unit, number, workspace);
        f.h = call->out[0]->data + chunk.first * chunk.v_row + chunk.head * plan->dv;
        if (call->saves)
            f.notes = call->saved[MLSTM_SAVED_NOTES]->data +
                      (unit * plan->chunks + number) * MLSTM_NOTES * T;
        if (call->saves > 1 && chunk.leaves)
            f.next = call->saved[MLSTM_SAVED_STATES]->data +
                     (unit * (plan->chunks - 1) + number) * plan->state;
        open_gates(&chunk, &f);
        results(&chunk, &f);
        if (chunk.leaves) advance(&chunk, &f);
        f.now = f.next;
    }
}

static void forward(const OpCall *call, const Run *run) {
    const MlstmPlan plan = mlstm_plan(call);
    const size_t share =
        (size_t)mlstm_thread_floats(&plan, PHASE_FORWARD) + mlstm_workspace(&plan) / sizeof(float);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t unit = 0; unit < plan.B * plan.H; unit++)
        walk_head(call, &plan, run, unit,
                  (float *)call->scratch + (size_t)omp_get_thread_num() * share);
}

const OpKernels ISA(mlstm_cpu) = {forward, ISA(mlstm_backward)};
