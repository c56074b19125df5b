/* Backward: chunks in reverse, from the state that forward kept before each, with dS, the gradient
 * of the state behind the chunk. W, U, M and P are made again; then, D = diag(beta),
 *
 *     (I + M^T D) Y = P^T dO + exp(b_C - b) (K dS)     dV = D Y          dbeta_i = w_i . y_i
 *     dP = (dO U^T) exp(b_i - b_j), j <= i             dM = -(dV U^T) exp(b_i - b_j), j < i
 *     dQ = dP K + exp(b) dO S^T
 *     dK = dM K - exp(b) dV S^T                                          where the state is read,
 *        + dP^T Q + dM^T K + exp(b_C - b) U dS^T                         where it is written
 *     dS <- exp(b_C) dS + (exp(b) Q)^T dO - (exp(b) K)^T dV
 *     dlog_decay_t = sum over i >= t of (q_i . dq_i + k_i . dk_read_i - k_i . dk_written_i)
 *                    + S . dS, of the chunk's end */
#include <omp.h>

#include "engine/ops/delta_rule/delta_rule_simd.h"

void ISA(delta_rule_backward)(const OpCall *call, const Run *run);

static const float *output_gradient(const Head *w, const Span *span) {
    return w->call->out[0]->gradient + row_at(w, span->token, w->plan.m);
}

/* dV, from what U counts for in the results and in the state behind the chunk. */
static void correction_gradient(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, m = w->plan.m, rows = span->rows;
    float *const k = w->dk_writes; /* whose turn comes later */
    decay_rows(k, w->k, rows, d, before_of(w), 1);
    multiply(&w->with, GEMM_NN, rows, m, d, k, d, w->dstate, m, w->dcorrections, m, false);
    triangle_turned(&w->with, rows, m, w->weights, output_gradient(w, span), w->plan.H * m,
                    w->dcorrections, m, true);
    solve_turned(w, rows, w->dcorrections, w->dv);
}

/* dP and dM. */
static void triangle_gradients(const Head *w, const Span *span) {
    const int64_t m = w->plan.m, rows = span->rows;
    triangle(&w->with, rows, m, output_gradient(w, span), w->plan.H * m, w->corrections, m,
             w->dweights);
    triangle(&w->with, rows, m, w->dv, m, w->corrections, m, w->dm);
    for (int64_t i = 0; i < rows; i++) {
        float *dweights = w->dweights + i * CHUNK, *dm = w->dm + i * CHUNK;
        for (int64_t j = 0; j <= i; j += LANES) {
            const vfloat decay = v_load(w->decays + i * CHUNK + j);
            v_store(dweights + j, v_load(dweights + j) * decay);
            v_store(dm + j, v_load(dm + j) * -decay);
        }
        for (int64_t j = i + 1; j < CHUNK; j++) dweights[j] = 0;
        for (int64_t j = i; j < CHUNK; j++) dm[j] = 0;
    }
}

/* dQ and both parts of dK, of the scaled q and k. */
static void key_gradients(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, m = w->plan.m, rows = span->rows;
    const float *state = note_of(w, span->chunk);
    multiply(&w->with, GEMM_NT, rows, d, m, output_gradient(w, span), w->plan.H * m, state, m,
             w->dq, d, false);
    decay_rows(w->dq, w->dq, rows, d, since_of(w), 1);
    triangle_sums(&w->with, rows, d, w->dweights, w->k, d, w->dq, d, true);
    multiply(&w->with, GEMM_NT, rows, d, m, w->dv, m, state, m, w->dk_reads, d, false);
    decay_rows(w->dk_reads, w->dk_reads, rows, d, since_of(w), -1);
    triangle_sums(&w->with, rows, d, w->dm, w->k, d, w->dk_reads, d, true);
    multiply(&w->with, GEMM_NT, rows, d, m, w->corrections, m, w->dstate, m, w->dk_writes, d,
             false);
    decay_rows(w->dk_writes, w->dk_writes, rows, d, before_of(w), 1);
    triangle_turned(&w->with, rows, d, w->dweights, w->q, d, w->dk_writes, d, true);
    triangle_turned(&w->with, rows, d, w->dm, w->k, d, w->dk_writes, d, true);
}

/* q . dq + k . dk of what reads the state at token i, less that of what writes it. */
static float decay_difference(const Head *w, int64_t i) {
    const int64_t d = w->plan.d;
    vfloat sum = v_zero();
    for (int64_t c = i * d; c < (i + 1) * d; c += LANES) {
        const int64_t left = (i + 1) * d - c;
        sum += v_load_part(w->q + c, left) * v_load_part(w->dq + c, left);
        sum += v_load_part(w->k + c, left) *
               (v_load_part(w->dk_reads + c, left) - v_load_part(w->dk_writes + c, left));
    }
    return v_sum(sum);
}

/* Of betas and decays, numbers of single tokens. */
static void scalar_gradients(const Head *w, const Span *span) {
    const int64_t m = w->plan.m, end = w->plan.chunks - 1;
    const GradientTarget beta = gradient_target(w->call, DELTA_BETA);
    const GradientTarget decay = gradient_target(w->call, DELTA_DECAY);
    for (int64_t i = 0; beta.data && i < span->rows; i++) {
        float *at = beta.data + scalar_at(w, span->token + i);
        const float sum = dot(w->errors + i * m, w->dcorrections + i * m, m);
        *at = beta.add ? *at + sum : sum;
    }
    if (!decay.data) return;
    float sum = 0; /* without a state nothing comes from behind the last chunk */
    if (span->chunk < end)
        sum = dot(note_of(w, span->chunk + 1), w->dstate, w->plan.state);
    else if (w->call->in[DELTA_STATE])
        sum = dot(w->call->out[1]->data + state_at(w), w->dstate, w->plan.state);
    for (int64_t i = span->rows - 1; i >= 0; i--) {
        sum += decay_difference(w, i);
        float *at = decay.data + scalar_at(w, span->token + i);
        *at = decay.add ? *at + sum : sum;
    }
}

/* from (+ more) times scale, rows of `width` numbers, to a gradient (B, L, H width). */
static void deliver(const Head *w, const Span *span, int input, const float *from,
                    const float *more, int64_t width, double scale) {
    const GradientTarget to = gradient_target(w->call, input);
    const int64_t at = row_at(w, span->token, width), row = w->plan.H * width;
    for (int64_t i = 0; to.data && i < span->rows; i++)
        for (int64_t c = 0; c < width; c += LANES) {
            vfloat x = v_load_part(from + i * width + c, width - c);
            if (more) x += v_load_part(more + i * width + c, width - c);
            v_deliver(to, at + i * row + c, x * (float)scale, width - c);
        }
}

/* From that behind the chunk to that before it; q and k are used up. */
static void state_gradient(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, m = w->plan.m, rows = span->rows;
    decay_state(w, w->dstate);
    decay_rows(w->q, w->q, rows, d, since_of(w), 1);
    decay_rows(w->k, w->k, rows, d, since_of(w), -1);
    multiply(&w->with, GEMM_TN, d, m, rows, w->q, d, output_gradient(w, span), w->plan.H * m,
             w->dstate, m, true);
    multiply(&w->with, GEMM_TN, d, m, rows, w->k, d, w->dv, m, w->dstate, m, true);
}

static void chunk_backward(const Head *w, const Span *span) {
    open_chunk(w, span);
    triangles(w, span->rows, w->decays);
    correct(w, span, note_of(w, span->chunk));
    correction_gradient(w, span);
    triangle_gradients(w, span);
    key_gradients(w, span);
    scalar_gradients(w, span);
    deliver(w, span, DELTA_Q, w->dq, NULL, w->plan.d, w->a->q_scale);
    deliver(w, span, DELTA_K, w->dk_reads, w->dk_writes, w->plan.d, w->a->k_scale);
    deliver(w, span, DELTA_V, w->dv, NULL, w->plan.m, 1);
    state_gradient(w, span);
}

static void head_backward(const Head *w) {
    const Tensor *next = w->call->outputs > 1 ? w->call->out[1] : NULL;
    begin_state(w->dstate, next && next->gradient ? next->gradient + state_at(w) : NULL,
                w->plan.state);
    for (int64_t chunk = w->plan.chunks - 1; chunk >= 0; chunk--) {
        const Span span = span_of(w, chunk);
        chunk_backward(w, &span);
    }
    deliver_all(gradient_target(w->call, DELTA_STATE), state_at(w), w->dstate, w->plan.state);
}

void ISA(delta_rule_backward)(const OpCall *call, const Run *run) {
    const DeltaPlan plan = delta_rule_plan(call);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < plan.B * plan.H; n++) {
        Head w = head_of(call, run, omp_get_thread_num(), PHASE_BACKWARD);
        w.b = n / plan.H;
        w.h = n % plan.H;
        head_backward(&w);
    }
}
