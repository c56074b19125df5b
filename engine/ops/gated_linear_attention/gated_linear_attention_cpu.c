/* Forward: heads are shared out, time advances in chunks. At d = 16, m = 32 a chunk is some 5
 * kFLOP of matrix products a token and head; beside them 16 exponentials, and 136 products of d
 * channels for each 16 tokens that meet pair by pair. */
#include <omp.h>

#include "engine/ops/gated_linear_attention/gated_linear_attention_simd.h"

void ISA(gated_linear_attention_backward)(const OpCall *call, const Run *run);

/* Results of a chunk from the state before it, which becomes the state behind it. */
static void chunk_forward(const Head *w, const Part *part) {
    const int64_t d = w->plan.d, m = w->plan.m, row = w->plan.H * m;
    const float *queries = w->queries[LEVELS - 1], *keys = w->keys[LEVELS - 1];
    const float *values = values_of(w, part);
    float *out = w->call->out[0]->data + token_at(w, part->token, m);
    weigh(w, part);
    multiply(&w->with, GEMM_NN, part->rows, m, d, queries, w->row, w->state, m, out, row, false);
    triangle_sums(&w->with, part->rows, m, w->weights, values, row, out, row, true);
    advance(w, part, keys, values, row, w->state);
}

static void head_forward(const Head *w) {
    const size_t bytes = (size_t)w->plan.state * sizeof(float);
    const int64_t head = (w->b * w->plan.H + w->h) * w->plan.state;
    const Tensor *start = w->call->in[GATED_STATE];
    begin_state(w->state, start ? start->data + head : NULL, w->plan.state);
    for (int64_t chunk = 0; chunk < w->plan.chunks; chunk++) {
        const Part part = part_of(w, chunk);
        if (w->call->saves) memcpy(note_of(w, chunk), w->state, bytes);
        chunk_forward(w, &part);
    }
    if (start) memcpy(w->call->out[1]->data + head, w->state, bytes);
}

/* One token of decoding: the state is read once and written once. */
static void token_forward(const Head *w) {
    const int64_t d = w->plan.d, m = w->plan.m, head = (w->b * w->plan.H + w->h) * w->plan.state;
    const Part part = part_of(w, 0);
    const float *v = values_of(w, &part), *from = w->call->in[GATED_STATE]->data + head;
    float *to = w->call->out[1]->data + head, *out = w->call->out[0]->data + token_at(w, 0, m);
    pack(w, &part);
    for (int64_t e = 0; e < m; e += LANES) {
        const vfloat value = v_load_part(v + e, m - e);
        vfloat sum = v_zero();
        for (int64_t c = 0; c < d; c++) {
            const vfloat next =
                v_load_part(from + c * m + e, m - e) * w->decay[c] + value * w->k[c];
            v_store_part(to + c * m + e, next, m - e);
            sum += next * w->q[c];
        }
        v_store_part(out + e, sum, m - e);
    }
}

static void forward(const OpCall *call, const Run *run) {
    const GatedPlan plan = gated_plan(call);
    const bool token = plan.L == 1 && call->in[GATED_STATE] && !call->saves;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < plan.B * plan.H; n++) {
        Head w = gated_head(call, run, omp_get_thread_num(), PHASE_FORWARD);
        w.b = n / plan.H;
        w.h = n % plan.H;
        if (token)
            token_forward(&w);
        else
            head_forward(&w);
    }
}

const OpKernels ISA(gated_linear_attention_cpu) = {forward, ISA(gated_linear_attention_backward)};
