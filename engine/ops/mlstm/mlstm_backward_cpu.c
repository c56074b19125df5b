/* Backward of the mLSTM, chunk by chunk from the last to the first with the gradient of the state
 * in the cache. Weights are made again from the notes. With U the numerator, N the normaliser and E
 * the weights of tokens,
 *
 *     dU = dh / (N + epsilon);  dd = -sign (dh . h) / (N + epsilon)        d = n . q, N = |d|
 *     P = s Q K^T E;  dS = s (dU V^T + dd) E
 *
 * and the gates follow from the products themselves: di = k . dk, and the gradient of log f_t is
 * the sum over later tokens, t included, of q . dq - k . dk. That sum is kept in double. */
#include <omp.h>

#include "engine/ops/mlstm/mlstm_chunk.h"

void ISA(mlstm_backward)(const OpCall *call, const Run *run);

typedef struct Backward {
    float *weights, *scores;    /* P and dS (T, T) */
    float *k, *dq, *dk;         /* (T, dk); k weighted as it left */
    float *slope, *entered, *v; /* (T, dv): dU; dU as the entering state meets it; v weighted */
    float *state;               /* gradient of the state behind the chunk, then of that before it */
    const float *notes, *before; /* before: C and n */
    const float *h, *dh;         /* rows v_row apart */
    float leaving[T];            /* weights */
    float to_dot[T];             /* dd */
    float to_entry[T];           /* gradient of n . q for the entering n: s entry dd */
    double later;                /* the sum behind the chunk */
    GradientTarget to_q, to_k, to_v, to_gates; /* of the chunk's first token */
} Backward;

static void slopes(const Chunk *chunk, Backward *f) {
    const int64_t dv = chunk->plan->dv;
    const float *inverse = f->notes + MLSTM_NOTE_INVERSE * T,
                *sign = f->notes + MLSTM_NOTE_SIGN * T;
    const float *entry = f->notes + MLSTM_NOTE_ENTRY * T;
    dot_rows(f->to_dot, f->dh, chunk->v_row, f->h, chunk->v_row, chunk->count, dv);
    for (int64_t i = 0; i < chunk->count; i += LANES) {
        const vfloat dot = v_load(f->to_dot + i) * v_load(sign + i) * v_load(inverse + i);
        v_store(f->to_dot + i, -dot);
        v_store(f->to_entry + i, -dot * v_load(entry + i) * chunk->plan->scale);
    }
    scale_rows(f->slope, dv, f->dh, chunk->v_row, chunk->count, dv, inverse, 1);
    if (chunk->enters)
        scale_rows(f->entered, dv, f->slope, dv, chunk->count, dv, entry, chunk->plan->scale);
}

/* q k^T and dU v^T become P and dS. */
static void weigh_scores(const Chunk *chunk, const Backward *f) {
    const vfloat scale = v_set(chunk->plan->scale);
    const float *from = f->notes + MLSTM_NOTE_S * T;
    for (int64_t i = 0; i < chunk->count; i++) {
        float *p = f->weights + i * T, *s = f->scores + i * T;
        const float r = f->notes[MLSTM_NOTE_R * T + i];
        const vfloat to_dot = v_set(f->to_dot[i]);
        int64_t j = 0;
        for (; j + LANES <= i + 1; j += LANES) {
            const vfloat weight = weights_at(from + j, r) * scale;
            v_store(p + j, v_load(p + j) * weight);
            v_store(s + j, (v_load(s + j) + to_dot) * weight);
        }
        if (j <= i) { /* what lies behind the triangle's columns may be anything */
            const int64_t seen = i + 1 - j;
            const vfloat weight = last_weights_at(from + j, r, seen) * scale;
            v_store(p + j, v_first(v_load(p + j) * weight, seen));
            v_store(s + j, v_first((v_load(s + j) + to_dot) * weight, seen));
            j += LANES;
        }
        for (; j < triangle_end(i, chunk->count); j += LANES) {
            v_store(p + j, v_zero());
            v_store(s + j, v_zero());
        }
    }
}

static void make_scores(const Chunk *chunk, const Backward *f) {
    const int64_t dk = chunk->plan->dk, dv = chunk->plan->dv, n = chunk->count;
    triangle(&chunk->with, n, dk, chunk->q, chunk->k_row, chunk->k, chunk->k_row, f->weights);
    triangle(&chunk->with, n, dv, f->slope, dv, chunk->v, chunk->v_row, f->scores);
    weigh_scores(chunk, f);
}

/* What goes through the states: the first terms of dq, dk and dv. */
static void through_states(const Chunk *chunk, Backward *f) {
    const int64_t dk = chunk->plan->dk, dv = chunk->plan->dv, n = chunk->count;
    if (chunk->enters)
        multiply(&chunk->with, GEMM_NT, n, dk, dv, f->entered, dv, f->before, dv, f->dq, dk, false);
    if (!chunk->leaves) return;
    leaving_weights(chunk, f->notes, f->leaving);
    scale_rows(f->v, dv, chunk->v, chunk->v_row, n, dv, f->leaving, 1);
    multiply(&chunk->with, GEMM_NT, n, dk, dv, f->v, dv, f->state, dv, f->dk, dk, false);
    if (!f->to_v.data) return;
    scale_rows(f->k, dk, chunk->k, chunk->k_row, n, dk, f->leaving, 1);
    multiply(&chunk->with, GEMM_NN, n, dv, dk, f->k, dk, f->state, dv, f->to_v.data, chunk->v_row,
             f->to_v.add);
}

/* What goes through the chunk's own weights. */
static void through_scores(const Chunk *chunk, const Backward *f) {
    const int64_t dk = chunk->plan->dk, dv = chunk->plan->dv, n = chunk->count;
    triangle_sums(&chunk->with, n, dk, f->scores, chunk->k, chunk->k_row, f->dq, dk, chunk->enters);
    triangle_turned(&chunk->with, n, dk, f->scores, chunk->q, chunk->k_row, f->dk, dk,
                    chunk->leaves);
    if (f->to_v.data)
        triangle_turned(&chunk->with, n, dv, f->weights, f->slope, dv, f->to_v.data, chunk->v_row,
                        chunk->leaves || f->to_v.add);
}

/* Rows of dq or dk get their last term, factors[i] n, unless n is NULL, and go to their place.
 * dots: their products with q or k. */
static void finish_rows(const Chunk *chunk, float *gradients, const float *n, const float *factors,
                        const float *x, GradientTarget to, float *dots) {
    const int64_t dk = chunk->plan->dk;
    for (int64_t i = 0; i < chunk->count && (n || to.data); i++)
        for (int64_t c = 0; c < dk; c += LANES) {
            float *at = gradients + i * dk + c;
            vfloat g = v_load_part(at, dk - c);
            if (n) {
                g += v_load_part(n + c, dk - c) * factors[i];
                v_store_part(at, g, dk - c);
            }
            if (to.data) v_deliver(to, i * chunk->k_row + c, g, dk - c);
        }
    dot_rows(dots, gradients, dk, x, chunk->k_row, chunk->count, dk);
}

/* dq and dk to their places, and the gates' gradients. */
static void finish(const Chunk *chunk, Backward *f) {
    const int64_t H = chunk->plan->H, end = chunk->plan->dk * chunk->plan->dv;
    float kept[T], by_q[T], by_k[T]; /* kept: 1 - f */
    finish_rows(chunk, f->dq, chunk->enters ? f->before + end : NULL, f->to_entry, chunk->q,
                f->to_q, by_q);
    finish_rows(chunk, f->dk, chunk->leaves ? f->state + end : NULL, f->leaving, chunk->k, f->to_k,
                by_k);
    if (!f->to_gates.data) return;
    for (int64_t i = 0; i < T; i++) kept[i] = i < chunk->count ? -chunk->gates[i * 2 * H + H] : 0;
    for (int64_t i = 0; i < T; i += LANES) v_store(kept + i, v_sigmoid(v_load(kept + i)));
    for (int64_t i = chunk->count - 1; i >= 0; i--) {
        f->later += (double)by_q[i] - (double)by_k[i];
        float *gates = f->to_gates.data + i * 2 * H;
        const float to_f = (float)f->later * kept[i];
        gates[0] = f->to_gates.add ? gates[0] + by_k[i] : by_k[i];
        gates[H] = f->to_gates.add ? gates[H] + to_f : to_f;
    }
}

/* The gradient of the state before the chunk. */
static void retreat(const Chunk *chunk, const Backward *f) {
    const int64_t dk = chunk->plan->dk, dv = chunk->plan->dv, n = chunk->count;
    const float keep = f->notes[MLSTM_NOTE_ENTRY * T + n - 1];
    if (chunk->leaves)
        scale_rows(f->state, dk * (dv + 1), f->state, 0, 1, dk * (dv + 1), &keep, 1);
    else
        memset(f->state + dk * dv, 0, (size_t)dk * sizeof(float));
    multiply(&chunk->with, GEMM_TN, dk, dv, n, chunk->q, chunk->k_row, f->entered, dv, f->state, dv,
             chunk->leaves);
    add_rows(f->state + dk * dv, chunk->q, chunk->k_row, n, dk, f->to_entry);
}

static GradientTarget target_at(const OpCall *call, int input, int64_t offset) {
    GradientTarget target = gradient_target(call, input);
    if (target.data) target.data += offset;
    return target;
}

static Backward open_head(const MlstmPlan *plan, float *scratch) {
    const int64_t keys = mlstm_line(T * plan->dk), values = mlstm_line(T * plan->dv);
    Backward f = {.weights = scratch, .scores = scratch + T * T, .k = scratch + 2 * T * T};
    f.dq = f.k + keys;
    f.dk = f.dq + keys;
    f.slope = f.dk + keys;
    f.entered = f.slope + values;
    f.v = f.entered + values;
    f.state = f.v + values;
    return f;
}

static void walk_head(const OpCall *call, const MlstmPlan *plan, const Run *run, int64_t unit,
                      float *scratch) {
    Backward f = open_head(plan, scratch);
    float *workspace = scratch + mlstm_thread_floats(plan, PHASE_BACKWARD);
    for (int64_t number = plan->chunks - 1; number >= 0; number--) {
        const Chunk chunk = chunk_of(call, plan, run, unit, number, workspace);
        const int64_t key = chunk.first * chunk.k_row + chunk.head * plan->dk;
        const int64_t value = chunk.first * chunk.v_row + chunk.head * plan->dv;
        f.notes =
            call->saved[MLSTM_SAVED_NOTES]->data + (unit * plan->chunks + number) * MLSTM_NOTES * T;
        if (chunk.enters)
            f.before = call->saved[MLSTM_SAVED_STATES]->data +
                       (unit * (plan->chunks - 1) + number - 1) * plan->state;
        f.h = call->out[0]->data + value;
        f.dh = call->out[0]->gradient + value;
        f.to_q = target_at(call, MLSTM_Q, key);
        f.to_k = target_at(call, MLSTM_K, key);
        f.to_v = target_at(call, MLSTM_V, value);
        f.to_gates = target_at(call, MLSTM_GATES, chunk.first * 2 * plan->H + chunk.head);
        slopes(&chunk, &f);
        make_scores(&chunk, &f);
        through_states(&chunk, &f);
        through_scores(&chunk, &f);
        finish(&chunk, &f);
        if (chunk.enters) retreat(&chunk, &f);
    }
}

void ISA(mlstm_backward)(const OpCall *call, const Run *run) {
    const MlstmPlan plan = mlstm_plan(call);
    const size_t share =
        (size_t)mlstm_thread_floats(&plan, PHASE_BACKWARD) + mlstm_workspace(&plan) / sizeof(float);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t unit = 0; unit < plan.B * plan.H; unit++)
        walk_head(call, &plan, run, unit,
                  (float *)call->scratch + (size_t)omp_get_thread_num() * share);
}
