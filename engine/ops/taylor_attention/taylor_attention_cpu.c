/* Forward: heads are shared out; a head goes through its sequence tile by tile. Bound by products:
 * at d = 16, m = 64 in chunks a token and head takes 4 F m = 39 kFLOP with the state, against 10
 * kFLOP with the pairs of its tile; making 2 F features is some 5 % of that. */
#include <omp.h>

#include "engine/ops/taylor_attention/taylor_simd.h"

void ISA(taylor_attention_backward)(const OpCall *call, const Run *run);

/* w(s), s = scale p. */
static inline vfloat v_weight(vfloat p, float scale) {
    const vfloat s = p * scale;
    return (s * 0.5f + 1.0f) * s + 1.0f;
}

/* Products of token i of a tile become weights. Returns their sum, lane by lane. */
static vfloat weigh_row(const Head *w, const Tile *tile, int64_t i) {
    float *own = w->triangle + i * CHUNK, *earlier = w->earlier + i * earlier_row(w);
    const int64_t end = triangle_end(i, tile->rows);
    vfloat sum = v_zero();
    for (int64_t j = 0; j < tile->before; j += LANES) {
        const vfloat p = v_weight(v_load(earlier + j), w->plan.scale);
        v_store(earlier + j, p);
        sum += p;
    }
    for (int64_t j = 0; j < end; j += LANES) {
        const vfloat p =
            j > i ? v_zero() : v_first(v_weight(v_load(own + j), w->plan.scale), i + 1 - j);
        v_store(own + j, p);
        sum += p;
    }
    return sum;
}

/* phi(q) z of a tile's tokens. */
static void norms(const Head *w, float *to) {
    const int64_t F = w->plan.F;
    const float *z = w->state + F * w->plan.m;
    for (int64_t t = 0; t < CHUNK; t += LANES) {
        vfloat sum = v_zero();
        for (int64_t f = 0; f < F; f++) sum += v_load(w->features + f * CHUNK + t) * z[f];
        v_store(to + t, sum);
    }
}

static void tile_forward(const Head *w, const Tile *tile) {
    const TaylorPlan *p = &w->plan;
    const int64_t m = p->m, row = p->H * m;
    const float epsilon = (float)((const TaylorAttention *)w->call->attributes)->epsilon;
    float *out = w->call->out[0]->data + taylor_out(p, w->b, tile->token, w->h);
    float *saved = w->call->saves ? w->call->saved[TAYLOR_SAVED_DENOMINATORS]->data : NULL;
    float ones[CHUNK], entering[CHUNK] = {0}, denominators[CHUNK], inverse[CHUNK];
    token_ones(ones, tile->rows);
    pair_products(w, tile, p->d, tile->q, p->row, tile->k, w->triangle, w->earlier);
    if (tile->reads) {
        query_features(w, tile, ones);
        norms(w, entering);
        multiply(&w->with, GEMM_TN, tile->rows, m, p->F, w->features, CHUNK, w->state, m, out, row,
                 false);
    }
    for (int64_t i = 0; i < tile->rows; i += LANES) {
        vfloat sums[LANES];
        for (int64_t r = 0; r < LANES; r++)
            sums[r] = i + r < tile->rows ? weigh_row(w, tile, i + r) : v_zero();
        const vfloat all = v_sum_rows(sums) + v_load(entering + i) + epsilon;
        v_store(denominators + i, all);
        v_store(inverse + i, 1.0f / all);
    }
    pair_sums(w, tile, m, w->triangle, w->earlier, tile->v, out, row, tile->reads);
    scale_rows(out, row, out, row, tile->rows, m, inverse, 1);
    for (int64_t i = 0; saved && i < tile->rows; i++)
        saved[(w->b * p->L + tile->token + i) * p->H + w->h] = denominators[i];
    if (!tile->adds) return;
    key_features(w, tile);
    add_features(w, tile, tile->v, p->row, ones, w->state);
}

static void head_forward(const Head *w) {
    const TaylorPlan *p = &w->plan;
    const size_t bytes = (size_t)p->state * sizeof(float);
    const int64_t head = w->b * p->H + w->h;
    if (p->starts)
        memcpy(w->state, w->call->in[TAYLOR_STATE]->data + head * p->state, bytes);
    else if (!p->pairs)
        memset(w->state, 0, bytes);
    for (int64_t number = 0; number < p->tiles; number++) {
        const Tile tile = tile_of(w, number);
        if (w->call->saves > TAYLOR_SAVED_STATES && tile.reads)
            memcpy(w->call->saved[TAYLOR_SAVED_STATES]->data +
                       (head * p->tiles + number) * p->state,
                   w->state, bytes);
        tile_forward(w, &tile);
    }
    if (p->starts) memcpy(w->call->out[1]->data + head * p->state, w->state, bytes);
}

/* Features (F) of x (d), times `factor`, of one token. */
static void token_features(const float *x, int64_t d, float factor, float square, float *to) {
    float *linear = to + 1;
    *to = 1;
    to += 1 + d;
    for (int64_t a = 0; a < d; a++) {
        linear[a] = x[a] * factor;
        const float own = linear[a] * factor;
        *to++ = own * x[a] * square;
        for (int64_t b = a + 1; b < d; b++) *to++ = own * x[b];
    }
}

/* One token of decoding: the state is read once and written once. */
static void token_forward(const Head *w) {
    const TaylorPlan *p = &w->plan;
    const int64_t F = p->F, m = p->m, head = (w->b * p->H + w->h) * p->state;
    const Tile tile = tile_of(w, 0);
    const float *from = w->call->in[TAYLOR_STATE]->data + head;
    float *to = w->call->out[1]->data + head;
    float *out = w->call->out[0]->data + taylor_out(p, w->b, 0, w->h);
    float *q = w->features, *k = q + F;
    float sum = (float)((const TaylorAttention *)w->call->attributes)->epsilon;
    token_features(tile.q, p->d, p->scale, 0.5f, q);
    token_features(tile.k, p->d, 1, 1, k);
    for (int64_t f = 0; f < F; f++) {
        to[F * m + f] = from[F * m + f] + k[f];
        sum += q[f] * to[F * m + f];
    }
    for (int64_t c = 0; c < m; c += LANES) {
        const vfloat value = v_load_part(tile.v + c, m - c);
        vfloat result = v_zero();
        for (int64_t f = 0; f < F; f++) {
            const vfloat next = v_load_part(from + f * m + c, m - c) + value * k[f];
            v_store_part(to + f * m + c, next, m - c);
            result += next * q[f];
        }
        v_store_part(out + c, result / sum, m - c);
    }
}

static void forward(const OpCall *call, const Run *run) {
    const TaylorPlan plan = taylor_plan(call);
    const size_t bytes = taylor_scratch(call, PHASE_FORWARD);
    const bool token = plan.L == 1 && plan.starts && !call->saves;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < plan.B * plan.H; n++) {
        Head w = head_of(call, run, omp_get_thread_num(), bytes, PHASE_FORWARD);
        w.b = n / plan.H;
        w.h = n % plan.H;
        if (token)
            token_forward(&w);
        else
            head_forward(&w);
    }
}

const OpKernels ISA(taylor_attention_cpu) = {forward, ISA(taylor_attention_backward)};
