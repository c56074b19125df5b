/* Forward: heads are shared out, time advances in chunks; a chunk is four products of some 64 rows
 * whose operands stay in the first two levels of cache. At d = m = 32 they are 10 kFLOP a token and
 * head, the features 64 exponentials. */
#include <omp.h>

#include "engine/ops/linear_attention/linear_attention_simd.h"

void ISA(linear_attention_backward)(const OpCall *call, const Run *run);

/* q . z of LANES tokens from i on, z moving along with causal; tokens of the chunk only. */
static vfloat products_with_z(const Head *w, int64_t i, int64_t rows) {
    const int64_t d = w->plan.d;
    float *z = z_of(w, w->state);
    vfloat sums[LANES];
    for (int64_t r = 0; r < LANES; r++) {
        const float *q = w->q + (i + r) * d, *k = w->k + (i + r) * d;
        sums[r] = v_zero();
        if (r >= rows) continue;
        const float decay = w->log_decay ? w->decay->decay[i + r] : 1;
        for (int64_t c = 0; c < d; c += LANES) {
            vfloat next = v_load_part(z + c, d - c);
            if (w->a->causal) {
                next = next * decay + v_load_part(k + c, d - c);
                v_store_part(z + c, next, d - c);
            }
            sums[r] += next * v_load_part(q + c, d - c);
        }
    }
    return v_sum_rows(sums);
}

/* Results over q . z + epsilon, which goes to the notes, too. */
static void divide(const Head *w, const Span *span) {
    const int64_t m = w->plan.m, row = w->plan.H * m;
    float *out = w->call->out[0]->data + out_at(w, span->token), inverse[LANES], all[LANES];
    float *saved = w->call->saves ? w->call->saved[LINEAR_SAVED_DENOMINATORS]->data : NULL;
    for (int64_t i = 0; i < span->rows; i += LANES) {
        const int64_t rows = smaller(LANES, span->rows - i);
        const vfloat denominators = products_with_z(w, i, rows) + (float)w->a->epsilon;
        v_store(all, denominators);
        v_store(inverse, 1.0f / denominators);
        for (int64_t r = 0; saved && r < rows; r++)
            saved[scalar_at(w, span->token + i + r)] = all[r];
        scale_rows(out + i * row, row, out + i * row, row, rows, m, inverse, 1);
    }
}

/* Results of a chunk from the state before it, and with causal the state after it. */
static void chunk_forward(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, m = w->plan.m, row = w->plan.H * m;
    float *out = w->call->out[0]->data + out_at(w, span->token);
    pack_queries(w, span);
    multiply(&w->with, GEMM_NN, span->rows, m, d, w->q, d, w->state, m, out, row, false);
    if (w->a->causal) {
        sum_decays(w, span);
        pack_keys(w, span);
        if (w->log_decay) scale_rows(out, row, out, row, span->rows, m, w->decay->since, 1);
        triangle(&w->with, span->rows, d, w->q, d, w->k, d, w->weights);
        mask_weights(w, span, w->weights, NULL);
        triangle_sums(&w->with, span->rows, m, w->weights, values_of(w, span), w->plan.v_row, out,
                      row, true);
    }
    if (w->a->normalise) divide(w, span);
    if (w->a->causal) add_keys(w, span);
}

/* Bidirectional: the state of all tokens. */
static void sum_keys(const Head *w, const Span *span) {
    const int64_t d = w->plan.d;
    pack_keys(w, span);
    add_keys(w, span);
    for (int64_t i = 0; w->a->normalise && i < span->keys; i++) {
        float *z = z_of(w, w->state);
        for (int64_t c = 0; c < d; c += LANES)
            v_store_part(z + c, v_load_part(z + c, d - c) + v_load_part(w->k + i * d + c, d - c),
                         d - c);
    }
}

static void head_forward(Head *w) {
    const size_t bytes = (size_t)w->plan.state * sizeof(float);
    const int64_t head = (w->b * w->plan.H + w->h) * w->plan.state;
    const Tensor *start = w->call->in[LINEAR_STATE];
    begin_state(w->state, start ? start->data + head : NULL, w->plan.state);
    for (int64_t chunk = 0; chunk < w->plan.chunks && !w->a->causal; chunk++) {
        const Span span = span_of(w, chunk);
        sum_keys(w, &span);
    }
    for (int64_t chunk = 0; chunk < w->plan.chunks; chunk++) {
        const Span span = span_of(w, chunk);
        if (w->call->saves && chunk < w->plan.notes) memcpy(note_of(w, chunk), w->state, bytes);
        chunk_forward(w, &span);
    }
    if (start) memcpy(w->call->out[1]->data + head, w->state, bytes);
}

/* One token of decoding: the state is read once and written once. */
static void token_forward(Head *w) {
    const int64_t d = w->plan.d, m = w->plan.m, head = (w->b * w->plan.H + w->h) * w->plan.state;
    const float *v = w->call->in[w->plan.v_input]->data + v_at(w, 0);
    const float *from = w->call->in[LINEAR_STATE]->data + head;
    float *to = w->call->out[1]->data + head, *out = w->call->out[0]->data + out_at(w, 0);
    const Span span = span_of(w, 0);
    pack_queries(w, &span);
    pack_keys(w, &span);
    sum_decays(w, &span);
    const float decay = w->log_decay ? w->decay->decay[0] : 1;
    float scale = 1;
    if (w->a->normalise) {
        for (int64_t c = 0; c < d; c++) to[d * m + c] = decay * from[d * m + c] + w->k[c];
        scale = 1 / (dot(w->q, to + d * m, d) + (float)w->a->epsilon);
    }
    for (int64_t c = 0; c < m; c += LANES) {
        const vfloat value = v_load_part(v + c, m - c);
        vfloat sum = w->skip ? value * w->skip[w->h] : v_zero();
        for (int64_t i = 0; i < d; i++) {
            const vfloat next = v_load_part(from + i * m + c, m - c) * decay + value * w->k[i];
            v_store_part(to + i * m + c, next, m - c);
            sum += next * w->q[i];
        }
        v_store_part(out + c, sum * scale, m - c);
    }
}

static void forward(const OpCall *call, const Run *run) {
    const LinearPlan plan = linear_attention_plan(call);
    const size_t bytes = linear_attention_scratch(call, PHASE_FORWARD);
    const bool token = plan.L == 1 && call->in[LINEAR_STATE] && !call->saves;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < plan.B * plan.H; n++) {
        Head w = head_of(call, run, omp_get_thread_num(), bytes, PHASE_FORWARD);
        head_begin(&w, n / plan.H, n % plan.H, CHUNK);
        if (token)
            token_forward(&w);
        else
            head_forward(&w);
    }
}

const OpKernels ISA(linear_attention_cpu) = {forward, ISA(linear_attention_backward)};
