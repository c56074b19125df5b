/* Backward: chunks in reverse, from the state that forward kept before each, with dS, the gradient
 * of the state behind the chunk. With G = dO and the levels of gated_linear_attention_simd.h:
 *
 *     dP = G V^T, j <= i                      dV = P^T G + keys dS            (of the last level)
 *     dqueries = G S^T                        dkeys = V dS^T                  (of the last level)
 *     dS <- diag(decay of the chunk) dS + queries^T G
 *     dlog_decay_t = sum over i >= t of (q_i dq_i - k_i dk_i) + S . dS behind the chunk
 *
 * the last for each channel, dot products being over the values' channels. From level to level down
 * to that of q and k themselves the gradients take the same decays as forward, and what
 * neighbouring spans add by products with dP. */
#include <omp.h>

#include "engine/ops/gated_linear_attention/gated_linear_attention_simd.h"

void ISA(gated_linear_attention_backward)(const OpCall *call, const Run *run);

/* From the gradients of level + 1 to those of the level. */
static void part_spans(const Head *w, int level, const Pair *pair) {
    const int64_t d = w->plan.d, row = w->row, first = pair->first * row;
    const int64_t middle = pair->middle * row;
    const int64_t before = pair->middle - pair->first, behind = pair->end - pair->middle;
    const float *dP = w->dweights + pair->middle * CHUNK + pair->first;
    if (!pair->behind) return;
    decay_rows(w->dq + middle, w->dq + middle, behind, row, pair->before);
    decay_rows(w->dk + first, w->dk + first, before, row, pair->behind);
    multiply(&w->with, GEMM_NN, behind, d, before, dP, CHUNK, w->keys[level] + first, row,
             w->dq + middle, row, true);
    multiply(&w->with, GEMM_TN, before, d, behind, dP, CHUNK, w->queries[level] + middle, row,
             w->dk + first, row, true);
}

/* From the gradients of level 0 to those of q and k; tokens of the block meet in Horner's scheme.
 */
static void part_block(const Head *w, int64_t begin, int64_t end) {
    const int64_t row = w->row;
    const float *dP = w->dweights;
    for (int64_t c = 0; c < row; c += LANES) {
        const float *q = w->q + c, *k = w->k + c, *decay = w->decay + c;
        vfloat since = v_set(1), until = v_set(1);
        for (int64_t i = begin; i < end; i++) {
            vfloat sum = v_zero();
            for (int64_t j = begin; j <= i; j++)
                sum = sum * v_load(decay + j * row) + v_load(k + j * row) * dP[i * CHUNK + j];
            since *= v_load(decay + i * row);
            float *dq = w->dq + i * row + c;
            v_store(dq, v_load(dq) * since + sum);
        }
        for (int64_t j = end - 1; j >= begin; j--) {
            vfloat sum = v_zero();
            for (int64_t i = end - 1; i > j; i--)
                sum = (sum + v_load(q + i * row) * dP[i * CHUNK + j]) * v_load(decay + i * row);
            sum += v_load(q + j * row) * dP[j * CHUNK + j];
            float *dk = w->dk + j * row + c;
            v_store(dk, v_load(dk) * until + sum);
            until *= v_load(decay + j * row);
        }
    }
}

/* S . dS behind the chunk: zero where nothing comes behind it. */
static void end_products(const Head *w, const Part *part) {
    const int64_t m = w->plan.m, head = w->b * w->plan.H + w->h;
    const bool last = part->chunk == w->plan.chunks - 1;
    const float *S = NULL;
    if (!last)
        S = note_of(w, part->chunk + 1);
    else if (w->call->in[GATED_STATE])
        S = w->call->out[1]->data + head * w->plan.state;
    for (int64_t c = 0; c < w->plan.d; c++)
        w->products[c] = S ? dot(S + c * m, w->dstate + c * m, m) : 0;
}

/* Gradients of the chunk's q, k and decays. */
static void deliver(const Head *w, const Part *part) {
    const int64_t d = w->plan.d, row = w->plan.H * d, first = token_at(w, part->token, d);
    const GradientTarget to_q = gradient_target(w->call, GATED_Q);
    const GradientTarget to_k = gradient_target(w->call, GATED_K);
    const GradientTarget to_decay = gradient_target(w->call, GATED_DECAY);
    for (int64_t c = 0; c < d; c += LANES) {
        const int64_t n = d - c;
        vfloat sum = v_load(w->products + c);
        for (int64_t i = part->rows - 1; i >= 0; i--) {
            const int64_t at = i * w->row + c, to = first + i * row + c;
            const vfloat dq = v_load(w->dq + at), dk = v_load(w->dk + at);
            sum += v_load(w->q + at) * dq - v_load(w->k + at) * dk;
            if (to_q.data) v_deliver(to_q, to, dq * w->scale, n);
            if (to_k.data) v_deliver(to_k, to, dk, n);
            if (to_decay.data) v_deliver(to_decay, to, sum, n);
        }
    }
}

static void value_gradient(const Head *w, const Part *part, const float *G) {
    const int64_t d = w->plan.d, m = w->plan.m, row = w->plan.H * m;
    const GradientTarget to = gradient_target(w->call, GATED_V);
    if (!to.data) return;
    float *dv = to.data + token_at(w, part->token, m);
    multiply(&w->with, GEMM_NN, part->rows, m, d, w->keys[LEVELS - 1], w->row, w->dstate, m, dv,
             row, to.add);
    triangle_turned(&w->with, part->rows, m, w->weights, G, row, dv, row, true);
}

static void chunk_backward(const Head *w, const Part *part) {
    const int64_t d = w->plan.d, m = w->plan.m, row = w->plan.H * m, rows = part->rows;
    const float *G = w->call->out[0]->gradient + token_at(w, part->token, m);
    const float *values = values_of(w, part);
    weigh(w, part);
    end_products(w, part);
    value_gradient(w, part, G);
    triangle(&w->with, rows, m, G, row, values, row, w->dweights);
    multiply(&w->with, GEMM_NT, rows, d, m, G, row, note_of(w, part->chunk), m, w->dq, w->row,
             false);
    multiply(&w->with, GEMM_NT, rows, d, m, values, row, w->dstate, m, w->dk, w->row, false);
    for (int level = LEVELS - 2; level >= 0; level--)
        for (int64_t n = 0; 2 * n * (BLOCK << level) < rows; n++) {
            const Pair pair = pair_of(w, level, n, rows);
            part_spans(w, level, &pair);
        }
    for (int64_t begin = 0; begin < rows; begin += BLOCK)
        part_block(w, begin, smaller(begin + BLOCK, rows));
    deliver(w, part);
    advance(w, part, w->queries[LEVELS - 1], G, row, w->dstate);
}

static void head_backward(const Head *w) {
    const int64_t state = w->plan.state, head = (w->b * w->plan.H + w->h) * state;
    const Tensor *next = w->call->outputs > 1 ? w->call->out[1] : NULL;
    begin_state(w->dstate, next && next->gradient ? next->gradient + head : NULL, state);
    for (int64_t chunk = w->plan.chunks - 1; chunk >= 0; chunk--) {
        const Part part = part_of(w, chunk);
        chunk_backward(w, &part);
    }
    deliver_all(gradient_target(w->call, GATED_STATE), head, w->dstate, state);
}

void ISA(gated_linear_attention_backward)(const OpCall *call, const Run *run) {
    const GatedPlan plan = gated_plan(call);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < plan.B * plan.H; n++) {
        Head w = gated_head(call, run, omp_get_thread_num(), PHASE_BACKWARD);
        w.b = n / plan.H;
        w.h = n % plan.H;
        head_backward(&w);
    }
}
