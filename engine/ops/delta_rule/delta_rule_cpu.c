/* Forward: heads are shared out, time advances in chunks. A chunk is seven products whose operands
 * stay in the first two levels of cache; at d = m = 32 they are 20 kFLOP a token and head. */
#include <omp.h>

#include "engine/ops/delta_rule/delta_rule_simd.h"

void ISA(delta_rule_backward)(const OpCall *call, const Run *run);

static void chunk_forward(const Head *w, const Span *span) {
    const int64_t d = w->plan.d, m = w->plan.m, row = w->plan.H * m;
    float *out = w->call->out[0]->data + row_at(w, span->token, m);
    open_chunk(w, span);
    triangles(w, span->rows, NULL);
    correct(w, span, w->state);
    decay_rows(w->q, w->q, span->rows, d, since_of(w), 1);
    multiply(&w->with, GEMM_NN, span->rows, m, d, w->q, d, w->state, m, out, row, false);
    triangle_sums(&w->with, span->rows, m, w->weights, w->corrections, m, out, row, true);
    decay_state(w, w->state);
    decay_rows(w->k, w->k, span->rows, d, before_of(w), 1);
    multiply(&w->with, GEMM_TN, d, m, span->rows, w->k, d, w->corrections, m, w->state, m, true);
}

static void head_forward(Head *w) {
    const size_t bytes = (size_t)w->plan.state * sizeof(float);
    const Tensor *start = w->call->in[DELTA_STATE];
    begin_state(w->state, start ? start->data + state_at(w) : NULL, w->plan.state);
    for (int64_t chunk = 0; chunk < w->plan.chunks; chunk++) {
        const Span span = span_of(w, chunk);
        if (w->call->saves) memcpy(note_of(w, chunk), w->state, bytes);
        chunk_forward(w, &span);
    }
    if (start) memcpy(w->call->out[1]->data + state_at(w), w->state, bytes);
}

/* One token of decoding: what the state has under k and q in one pass, its successor in another. */
static void token_forward(Head *w) {
    const int64_t d = w->plan.d, m = w->plan.m;
    const float *v = w->call->in[DELTA_V]->data + row_at(w, 0, m);
    const float *from = w->call->in[DELTA_STATE]->data + state_at(w);
    float *to = w->call->out[1]->data + state_at(w), *out = w->call->out[0]->data + row_at(w, 0, m);
    const Span span = span_of(w, 0);
    open_chunk(w, &span);
    const float decay = chunk_decay(w), match = dot(w->q, w->k, d);
    for (int64_t c = 0; c < m; c += LANES) {
        vfloat under_k = v_zero(), under_q = v_zero();
        for (int64_t i = 0; i < d; i++) {
            const vfloat own = v_load_part(from + i * m + c, m - c) * decay;
            under_k += own * w->k[i];
            under_q += own * w->q[i];
        }
        const vfloat correction = (v_load_part(v + c, m - c) - under_k) * w->beta[0];
        v_store_part(out + c, under_q + correction * match, m - c);
        for (int64_t i = 0; i < d; i++)
            v_store_part(to + i * m + c,
                         v_load_part(from + i * m + c, m - c) * decay + correction * w->k[i],
                         m - c);
    }
}

static void forward(const OpCall *call, const Run *run) {
    const DeltaPlan plan = delta_rule_plan(call);
    const bool token = plan.L == 1 && call->in[DELTA_STATE] && !call->saves;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < plan.B * plan.H; n++) {
        Head w = head_of(call, run, omp_get_thread_num(), PHASE_FORWARD);
        w.b = n / plan.H;
        w.h = n % plan.H;
        if (token)
            token_forward(&w);
        else
            head_forward(&w);
    }
}

const OpKernels ISA(delta_rule_cpu) = {forward, ISA(delta_rule_backward)};
