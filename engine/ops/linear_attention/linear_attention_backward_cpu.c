/* Backward: chunks in reverse, from the state that forward kept before each, with dS, the gradient
 * of the state behind the chunk. G is dO over the denominator, e the gradient of the denominator:
 *
 *     dP = (G V^T) exp(b_i - b_j), j <= i         e = -(dO . O) / denominator
 *     dQ = dP K + exp(b) G S^T + e z              dV = P^T G + exp(b_C - b) K dS
 *     dK = dP^T Q + exp(b_C - b) V dS^T + r       dS <- exp(b_C) dS + (exp(b) Q)^T G
 *     dlog_decay_t = sum over i >= t of (q_i . dq_i - k_i . dk_i) + S . dS, of the chunk's end
 *
 * Q and K are features; z runs forward along the tokens and r, the part of dS that belongs to it,
 * backward: r_t = e_t q_t + a_{t+1} r_{t+1}. */
#include <omp.h>

#include "engine/ops/linear_attention/linear_attention_simd.h"

void ISA(linear_attention_backward)(const OpCall *call, const Run *run);

/* G and e of a chunk. */
static void output_gradient(const Head *w, const Span *span) {
    const int64_t m = w->plan.m, row = w->plan.H * m;
    const Tensor *out = w->call->out[0];
    const float *denominators =
        w->a->normalise ? w->call->saved[LINEAR_SAVED_DENOMINATORS]->data : NULL;
    for (int64_t i = 0; i < span->rows; i += LANES) {
        vfloat sums[LANES];
        for (int64_t r = 0; r < LANES; r++) {
            sums[r] = v_zero();
            if (i + r >= span->rows) continue;
            const int64_t token = span->token + i + r, at = out_at(w, token);
            const float inverse = denominators ? 1 / denominators[scalar_at(w, token)] : 1;
            fetch_row(out->gradient + at + w->ahead * row, m);
            if (denominators) fetch_row(out->data + at + w->ahead * row, m);
            for (int64_t c = 0; c < m; c += LANES) {
                const vfloat g = v_load_part(out->gradient + at + c, m - c) * inverse;
                v_store_part(w->g + (i + r) * m + c, g, m - c);
                if (denominators) sums[r] -= g * v_load_part(out->data + at + c, m - c);
            }
        }
        if (denominators) v_store(w->ddenominator + i, v_sum_rows(sums));
    }
}

/* dQ += e z, z moving along with causal; the state before the chunk is used up. */
static void query_norms(const Head *w, const Span *span) {
    const int64_t d = w->plan.d;
    float *z = z_of(w, w->state);
    for (int64_t i = 0; i < span->rows; i++)
        for (int64_t c = 0; c < d; c += LANES) {
            vfloat next = v_load_part(z + c, d - c);
            if (w->a->causal) {
                next = next * (w->log_decay ? w->decay->decay[i] : 1) +
                       v_load_part(w->k + i * d + c, d - c);
                v_store_part(z + c, next, d - c);
            }
            float *dq = w->dq + i * d + c;
            v_store_part(dq, v_load_part(dq, d - c) + next * w->ddenominator[i], d - c);
        }
}

/* dK += r, r moving along with causal. */
static void key_norms(const Head *w, const Span *span) {
    const int64_t d = w->plan.d;
    float *r = z_of(w, w->dstate);
    for (int64_t i = (w->a->causal ? span->rows : span->keys) - 1; i >= 0; i--)
        for (int64_t c = 0; c < d; c += LANES) {
            vfloat now = v_load_part(r + c, d - c);
            if (w->a->causal) {
                now += v_load_part(w->q + i * d + c, d - c) * w->ddenominator[i];
                v_store_part(r + c, now * (w->log_decay ? w->decay->decay[i] : 1), d - c);
            }
            float *dk = w->dk + i * d + c;
            v_store_part(dk, v_load_part(dk, d - c) + now, d - c);
        }
}

/* dS <- exp(b_C) dS + (exp(b) Q)^T G; Q is used up. */
static void state_gradient(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, m = w->plan.m;
    if (w->log_decay) {
        const float decay = chunk_decay(w, span);
        for (int64_t i = 0; i < d * m; i += LANES)
            v_store_part(w->dstate + i, v_load_part(w->dstate + i, d * m - i) * decay, d * m - i);
        scale_rows(w->q, d, w->q, d, span->rows, d, w->decay->since, 1);
    }
    multiply(&w->with, GEMM_TN, d, m, span->rows, w->q, d, w->g, m, w->dstate, m, true);
}

/* The part of z in dS has not, in contrast to S, been advanced by the caller. */
static void sum_norms(const Head *w, const Span *span) {
    const int64_t d = w->plan.d;
    float *r = z_of(w, w->dstate);
    for (int64_t i = 0; i < span->rows; i++)
        for (int64_t c = 0; c < d; c += LANES)
            v_store_part(r + c,
                         v_load_part(r + c, d - c) +
                             v_load_part(w->q + i * d + c, d - c) * w->ddenominator[i],
                         d - c);
}

ALWAYS_INLINE void deliver_features(const FeatureMap feature, GradientTarget to, int64_t at,
                                    int64_t row, const float *gradient, const float *y,
                                    int64_t rows, int64_t d, float scale) {
    for (int64_t t = 0; t < rows; t++)
        for (int64_t c = 0; c < d; c += LANES) {
            const vfloat slope =
                v_feature_slope(feature, v_load_part(y + t * d + c, d - c), v_set(scale));
            v_deliver(to, at + t * row + c, v_load_part(gradient + t * d + c, d - c) * slope,
                      d - c);
        }
}

/* The gradient of q or k from that of its features y times scale. Heads of a group add up. */
static void deliver(const Head *w, int input, int64_t at, int64_t row, const float *gradient,
                    const float *y, int64_t rows, double scale) {
    GradientTarget to = gradient_target(w->call, input);
    if (!to.data) return;
    to.add |= w->h % (w->plan.H / w->plan.G) > 0;
    if (w->a->feature == FEATURE_ELU)
        deliver_features(FEATURE_ELU, to, at, row, gradient, y, rows, w->plan.d, (float)scale);
    else if (w->a->feature == FEATURE_RELU)
        deliver_features(FEATURE_RELU, to, at, row, gradient, y, rows, w->plan.d, (float)scale);
    else
        deliver_features(FEATURE_IDENTITY, to, at, row, gradient, y, rows, w->plan.d, (float)scale);
}

/* Keys that do not count have gradient zero. */
static void clear_padding(const Head *w, const Span *span, int input, int64_t at, int64_t row,
                          int64_t width) {
    const GradientTarget to = gradient_target(w->call, input);
    if (!to.data || to.add) return;
    for (int64_t t = span->keys; t < span->rows; t++)
        memset(to.data + at + t * row, 0, (size_t)width * sizeof(float));
}

/* dV of a chunk, from dS and with causal from P. */
static void value_gradient(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, m = w->plan.m, row = w->plan.v_row, at = v_at(w, span->token);
    const GradientTarget to = gradient_target(w->call, w->plan.v_input);
    if (!to.data) return;
    float *dv = to.data + at;
    if (w->log_decay) {
        /* dk has its turn later: k weighted by what is left of it at the chunk's end */
        memcpy(w->dk, w->k, (size_t)(span->keys * d) * sizeof(float));
        scale_rows(w->dk, d, w->dk, d, span->keys, d, w->decay->before, 1);
    }
    multiply(&w->with, GEMM_NN, span->keys, m, d, w->log_decay ? w->dk : w->k, d, w->dstate, m, dv,
             row, to.add);
    if (w->a->causal) triangle_turned(&w->with, span->rows, m, w->weights, w->g, m, dv, row, true);
}

static void decay_gradient(const Head *w, const Span *span, float product) {
    const GradientTarget to = gradient_target(w->call, LINEAR_DECAY);
    const int64_t d = w->plan.d;
    if (!to.data) return;
    float sum = product;
    for (int64_t i = span->rows - 1; i >= 0; i--) {
        sum += dot(w->q + i * d, w->dq + i * d, d) - dot(w->k + i * d, w->dk + i * d, d);
        if (w->plan.constant) {
            w->totals[0] += sum;
            continue;
        }
        float *at = to.data + scalar_at(w, span->token + i);
        *at = to.add ? *at + sum : sum;
    }
}

/* Of the gains; dK, so far of keys with gains, becomes that of the keys, which w->k then holds. */
static void gain_gradient(const Head *w, const Span *span) {
    const GradientTarget to = gradient_target(w->call, LINEAR_GAIN);
    const int64_t d = w->plan.d;
    if (!w->gains) return;
    pack_plain_keys(w, span);
    for (int64_t i = 0; to.data && i < span->rows; i++) {
        const float sum = dot(w->k + i * d, w->dk + i * d, d);
        float *at = to.data + scalar_at(w, span->token + i);
        *at = to.add ? *at + sum : sum;
    }
    scale_rows(w->dk, d, w->dk, d, span->rows, d, w->gain, 1);
}

/* S . dS of the chunk's end. */
static float end_product(const Head *w, const Span *span) {
    const bool last = span->chunk == w->plan.chunks - 1;
    if (!w->log_decay || (last && !w->call->in[LINEAR_STATE])) return 0;
    const float *state = last ? w->call->out[1]->data + (w->b * w->plan.H + w->h) * w->plan.state
                              : note_of(w, span->chunk + 1);
    return dot(state, w->dstate, w->plan.state);
}

/* Everything inside a chunk of a causal call but z: P, dP and what they add to dV, dQ, dK. */
static void triangle_gradients(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, m = w->plan.m, rows = span->rows;
    triangle(&w->with, rows, m, w->g, m, values_of(w, span), w->plan.v_row, w->dweights);
    for (int64_t i = 0; i < rows; i++) {
        const int64_t end = triangle_end(i, rows);
        float *row = w->dweights + i * CHUNK;
        for (int64_t j = 0; w->log_decay && j <= i; j += LANES)
            v_store(row + j, v_load(row + j) * v_load(w->decays + i * CHUNK + j));
        for (int64_t j = i + 1; j < end; j++) row[j] = 0;
        w->totals[1] += row[i];
    }
    triangle_sums(&w->with, rows, d, w->dweights, w->k, d, w->dq, d, true);
    triangle_turned(&w->with, rows, d, w->dweights, w->q, d, w->dk, d, true);
}

static void chunk_backward(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, m = w->plan.m, rows = span->rows;
    const float product = end_product(w, span);
    memcpy(w->state, note_of(w, span->chunk), (size_t)w->plan.state * sizeof(float));
    sum_decays(w, span);
    pack_queries(w, span);
    pack_keys(w, span);
    output_gradient(w, span);
    triangle(&w->with, rows, d, w->q, d, w->k, d, w->weights);
    mask_weights(w, span, w->weights, w->decays);
    value_gradient(w, span);
    multiply(&w->with, GEMM_NT, rows, d, m, w->g, m, w->state, m, w->dq, d, false);
    multiply(&w->with, GEMM_NT, rows, d, m, values_of(w, span), w->plan.v_row, w->dstate, m, w->dk,
             d, false);
    if (w->log_decay) {
        scale_rows(w->dq, d, w->dq, d, rows, d, w->decay->since, 1);
        scale_rows(w->dk, d, w->dk, d, rows, d, w->decay->before, 1);
    }
    triangle_gradients(w, span);
    if (w->a->normalise) {
        query_norms(w, span);
        key_norms(w, span);
    }
    decay_gradient(w, span, product);
    gain_gradient(w, span);
    deliver(w, w->plan.q_input, q_at(w, span->token), w->plan.q_row, w->dq, w->q, rows,
            w->a->scale);
    deliver(w, w->plan.k_input, k_at(w, span->token), w->plan.k_row, w->dk, w->k, rows, 1);
    state_gradient(w, span);
}

/* Bidirectional: dQ of a chunk, and what it adds to dS. */
static void query_chunk(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, m = w->plan.m;
    pack_queries(w, span);
    output_gradient(w, span);
    multiply(&w->with, GEMM_NT, span->rows, d, m, w->g, m, w->state, m, w->dq, d, false);
    if (w->a->normalise) {
        query_norms(w, span);
        sum_norms(w, span);
    }
    deliver(w, w->plan.q_input, q_at(w, span->token), w->plan.q_row, w->dq, w->q, span->rows,
            w->a->scale);
    state_gradient(w, span);
}

/* Bidirectional: dK and dV of a chunk, once dS is complete. */
static void key_chunk(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, m = w->plan.m;
    const int64_t k = k_at(w, span->token), v = v_at(w, span->token);
    pack_keys(w, span);
    value_gradient(w, span);
    multiply(&w->with, GEMM_NT, span->keys, d, m, values_of(w, span), w->plan.v_row, w->dstate, m,
             w->dk, d, false);
    if (w->a->normalise) key_norms(w, span);
    deliver(w, w->plan.k_input, k, w->plan.k_row, w->dk, w->k, span->keys, 1);
    clear_padding(w, span, w->plan.k_input, k, w->plan.k_row, d);
    clear_padding(w, span, w->plan.v_input, v, w->plan.v_row, m);
}

static void head_backward(Head *w) {
    const size_t bytes = (size_t)w->plan.state * sizeof(float);
    const int64_t head = (w->b * w->plan.H + w->h) * w->plan.state;
    const Tensor *next = w->call->outputs > 1 ? w->call->out[1] : NULL;
    begin_state(w->dstate, next && next->gradient ? next->gradient + head : NULL, w->plan.state);
    for (int64_t chunk = w->plan.chunks - 1; chunk >= 0; chunk--) {
        const Span span = span_of(w, chunk);
        if (w->a->causal) {
            chunk_backward(w, &span);
        } else {
            memcpy(w->state, note_of(w, 0), bytes);
            query_chunk(w, &span);
        }
    }
    for (int64_t chunk = 0; chunk < w->plan.chunks && !w->a->causal; chunk++) {
        const Span span = span_of(w, chunk);
        key_chunk(w, &span);
    }
    deliver_all(gradient_target(w->call, LINEAR_STATE), head, w->dstate, w->plan.state);
}

/* A gradient (H): what the heads of all sequences have left. */
static void deliver_totals(const OpCall *call, const LinearPlan *plan, int input,
                           const float *totals) {
    const GradientTarget to = gradient_target(call, input);
    for (int64_t h = 0; to.data && h < plan->H; h++) {
        float sum = to.add ? to.data[h] : 0;
        for (int64_t b = 0; b < plan->B; b++) sum += totals[2 * (b * plan->H + h)];
        to.data[h] = sum;
    }
}

/* The heads of a group add to the same keys, so a thread has all of them. */
void ISA(linear_attention_backward)(const OpCall *call, const Run *run) {
    const LinearPlan plan = linear_attention_plan(call);
    const size_t bytes = linear_attention_scratch(call, PHASE_BACKWARD);
    const int64_t group = plan.H / plan.G;
    float *totals = (float *)((char *)call->scratch + (size_t)run->threads * bytes);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < plan.B * plan.G; n++) {
        Head w = head_of(call, run, omp_get_thread_num(), bytes, PHASE_BACKWARD);
        for (int64_t h = n % plan.G * group; h < (n % plan.G + 1) * group; h++) {
            head_begin(&w, n / plan.G, h, -CHUNK);
            w.totals = totals + 2 * (w.b * plan.H + h);
            w.totals[0] = w.totals[1] = 0;
            head_backward(&w);
        }
    }
    if (plan.constant) deliver_totals(call, &plan, LINEAR_DECAY, totals);
    deliver_totals(call, &plan, LINEAR_SKIP, totals + 1);
}
