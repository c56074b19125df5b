/* Backward. With N the denominator of token i, u_i = -(dO_i . O_i), and P and s the weights and
 * products of pairs,
 *
 *     dP_ij = (dO_i . V_j + u_i) / N_i        ds = dP (1 + s)
 *     dQ = ds K / sqrt(d)      dK = ds^T Q / sqrt(d)      dV = (P / N)^T dO
 *
 * and through the state before a chunk, dS being the gradient of the one behind it:
 *
 *     dphi(q)_i = (S dO_i + u_i z) / N_i      dpsi(k) = dS v + dz      dV += psi(k)^T dS
 *     dS <- dS + phi(Q)^T (dO / N)            dz <- dz + phi(Q)^T (u / N)
 *
 * Chunks come in reverse; the tiles of a chunk of pairs in their order, each adding to all keys
 * before it. */
#include <omp.h>

#include "engine/ops/taylor_attention/taylor_simd.h"

void ISA(taylor_attention_backward)(const OpCall *call, const Run *run);

/* What a tile's results and their gradients say. */
typedef struct Slopes {
    const float *dout; /* of its first token */
    int64_t row;
    float inverse[CHUNK], to_norm[CHUNK]; /* 1 / N and u, zero behind the last token */
} Slopes;

static Slopes slopes_of(const Head *w, const Tile *tile) {
    const TaylorPlan *p = &w->plan;
    const Tensor *out = w->call->out[0];
    const float *denominators = w->call->saved[TAYLOR_SAVED_DENOMINATORS]->data;
    const int64_t at = taylor_out(p, w->b, tile->token, w->h), m = p->m;
    Slopes slopes = {.dout = out->gradient + at, .row = p->H * m};
    for (int64_t i = 0; i < tile->rows; i += LANES) {
        vfloat sums[LANES];
        for (int64_t r = 0; r < LANES; r++) {
            const int64_t place = (i + r) * slopes.row;
            sums[r] = v_zero();
            for (int64_t c = 0; i + r < tile->rows && c < m; c += LANES)
                sums[r] -= v_load_part(slopes.dout + place + c, m - c) *
                           v_load_part(out->data + at + place + c, m - c);
        }
        v_store(slopes.to_norm + i, v_sum_rows(sums));
    }
    for (int64_t i = 0; i < tile->rows; i++)
        slopes.inverse[i] = 1 / denominators[(w->b * p->L + tile->token + i) * p->H + w->h];
    return slopes;
}

/* For n pairs of one query, the first `seen` of them up to it: q . k becomes P / N, and dO . V
 * becomes the gradient of q . k. */
static inline void weigh_pairs(float *p, float *dp, int64_t n, int64_t seen, float scale,
                               float inverse, float to_norm) {
    for (int64_t j = 0; j < n; j += LANES) {
        const vfloat s = v_load(p + j) * scale;
        const vfloat weight = ((s * 0.5f + 1.0f) * s + 1.0f) * inverse;
        const vfloat slope = (v_load(dp + j) + to_norm) * (s + 1.0f) * (inverse * scale);
        const bool whole = j + LANES <= seen;
        v_store(p + j, whole ? weight : v_first(weight, seen - j));
        v_store(dp + j, whole ? slope : v_first(slope, seen - j));
    }
}

/* to[t] (columns) = or += factor from[..][t], from (columns, CHUNK). */
static void turn_back(GradientTarget to, int64_t at, int64_t row, const float *from, int64_t rows,
                      int64_t columns, float factor) {
    for (int64_t t = 0; t < rows; t += LANES)
        for (int64_t c = 0; c < columns; c += LANES) {
            vfloat square[LANES];
            for (int64_t r = 0; r < LANES; r++)
                square[r] = c + r < columns ? v_load(from + (c + r) * CHUNK + t) : v_zero();
            v_transpose(square);
            for (int64_t r = 0; r < LANES && t + r < rows; r++)
                v_deliver(to, at + (t + r) * row + c, square[r] * factor, columns - c);
        }
}

/* dx (d, CHUNK) from the gradients of the features of x, (dfeatures[f][t] + z[f] more[t])
 * factors[t]. */
static void gather_gradient(const Head *w, float square, const float *z, const float *more,
                            const float *factors) {
    const int64_t d = w->plan.d;
    const Row plus = load_row(more), factor = load_row(factors);
    int64_t f = 1 + d;
    for (int64_t a = 0; a < d; a++) {
        const float *from = w->dfeatures + (1 + a) * CHUNK;
        for (int n = 0; n < VECTORS; n++)
            v_store(w->dx + a * CHUNK + n * LANES,
                    (v_load(from + n * LANES) + plus.of[n] * z[1 + a]) * factor.of[n]);
    }
    for (int64_t a = 0; a < d; a++) {
        const Row x = load_row(w->x + a * CHUNK);
        Row dx = load_row(w->dx + a * CHUNK);
        for (int64_t b = a; b < d; b++, f++)
            for (int n = 0; n < VECTORS; n++) {
                float *to = w->dx + b * CHUNK + n * LANES;
                const vfloat g =
                    (v_load(w->dfeatures + f * CHUNK + n * LANES) + plus.of[n] * z[f]) *
                    factor.of[n];
                if (b > a) {
                    dx.of[n] += g * v_load(w->x + b * CHUNK + n * LANES);
                    v_store(to, v_load(to) + g * x.of[n]);
                } else {
                    dx.of[n] += g * x.of[n] * (2 * square);
                }
            }
        store_row(w->dx + a * CHUNK, &dx);
    }
}

/* dK and dV through the state behind the chunk. */
static void key_gradient(const Head *w, const Tile *tile, GradientTarget to, int64_t k, int64_t v) {
    const TaylorPlan *p = &w->plan;
    const int64_t F = p->F, m = p->m;
    float ones[CHUNK];
    token_ones(ones, CHUNK);
    key_features(w, tile);
    multiply(&w->with, GEMM_TN, tile->rows, m, F, w->features, CHUNK, w->dstate, m, to.data + v,
             p->row, to.add);
    multiply(&w->with, GEMM_NT, F, tile->rows, m, w->dstate, m, tile->v, p->row, w->dfeatures,
             CHUNK, false);
    gather_gradient(w, 1, w->dstate + F * m, ones, ones);
    turn_back(to, k, p->row, w->dx, tile->rows, p->d, 1);
}

/* dQ through the state before the chunk; w->x holds the queries. */
static void query_gradient(const Head *w, const Tile *tile, const Slopes *slopes,
                           const float *state, GradientTarget to, int64_t q) {
    const TaylorPlan *p = &w->plan;
    const int64_t F = p->F, m = p->m;
    multiply(&w->with, GEMM_NT, F, tile->rows, m, state, m, slopes->dout, slopes->row, w->dfeatures,
             CHUNK, false);
    gather_gradient(w, 0.5f, state + F * m, slopes->to_norm, slopes->inverse);
    turn_back(to, q, p->row, w->dx, tile->rows, p->d, p->scale);
}

/* to (rows of keys, width) = or += weights^T of a tile's rows: earlier tokens' gradients are there
 * already. */
static void pair_turned(const Head *w, const Tile *tile, int64_t width, const float *own,
                        const float *earlier, const float *from, int64_t from_row, float *to,
                        bool add) {
    const int64_t row = w->plan.row;
    triangle_turned(&w->with, tile->rows, width, own, from, from_row, to, row, add);
    if (tile->before)
        multiply(&w->with, GEMM_TN, tile->before, width, tile->rows, earlier, earlier_row(w), from,
                 from_row, to - tile->before * row, row, true);
}

/* dQ, dK and dV. */
static void pair_gradients(const Head *w, const Tile *tile, const Slopes *slopes,
                           GradientTarget to) {
    const TaylorPlan *p = &w->plan;
    float *dq = to.data + taylor_q(p, w->b, tile->token, w->h);
    float *dk = to.data + taylor_k(p, w->b, tile->token, w->h);
    float *dv = to.data + taylor_v(p, w->b, tile->token, w->h);
    pair_products(w, tile, p->d, tile->q, p->row, tile->k, w->triangle, w->earlier);
    pair_products(w, tile, p->m, slopes->dout, slopes->row, tile->v, w->dtriangle, w->dearlier);
    for (int64_t i = 0; i < tile->rows; i++) {
        const int64_t far = i * earlier_row(w);
        weigh_pairs(w->triangle + i * CHUNK, w->dtriangle + i * CHUNK, triangle_end(i, tile->rows),
                    i + 1, p->scale, slopes->inverse[i], slopes->to_norm[i]);
        weigh_pairs(w->earlier + far, w->dearlier + far, tile->before, tile->before, p->scale,
                    slopes->inverse[i], slopes->to_norm[i]);
    }
    pair_sums(w, tile, p->d, w->dtriangle, w->dearlier, tile->k, dq, p->row, to.add || tile->reads);
    pair_turned(w, tile, p->d, w->dtriangle, w->dearlier, tile->q, p->row, dk,
                to.add || tile->adds);
    pair_turned(w, tile, p->m, w->triangle, w->earlier, slopes->dout, slopes->row, dv,
                to.add || tile->adds);
}

static void tile_backward(const Head *w, const Tile *tile) {
    const TaylorPlan *p = &w->plan;
    const GradientTarget to = gradient_target(w->call, TAYLOR_QKV);
    const Slopes slopes = slopes_of(w, tile);
    if (tile->adds && to.data)
        key_gradient(w, tile, to, taylor_k(p, w->b, tile->token, w->h),
                     taylor_v(p, w->b, tile->token, w->h));
    if (tile->reads) {
        query_features(w, tile, slopes.inverse);
        if (to.data)
            query_gradient(w, tile, &slopes,
                           w->call->saved[TAYLOR_SAVED_STATES]->data +
                               ((w->b * p->H + w->h) * p->tiles + tile->token / CHUNK) * p->state,
                           to, taylor_q(p, w->b, tile->token, w->h));
        add_features(w, tile, slopes.dout, slopes.row, slopes.to_norm, w->dstate);
    }
    if (to.data) pair_gradients(w, tile, &slopes, to);
}

static void head_backward(const Head *w) {
    const TaylorPlan *p = &w->plan;
    const size_t bytes = (size_t)p->state * sizeof(float);
    const int64_t head = (w->b * p->H + w->h) * p->state;
    const Tensor *next = p->starts ? w->call->out[1] : NULL;
    if (next && next->gradient)
        memcpy(w->dstate, next->gradient + head, bytes);
    else if (!p->pairs)
        memset(w->dstate, 0, bytes);
    for (int64_t n = 0; n < p->tiles; n++) {
        const Tile tile = tile_of(w, p->pairs ? n : p->tiles - 1 - n);
        tile_backward(w, &tile);
    }
    deliver_all(gradient_target(w->call, TAYLOR_STATE), head, w->dstate, p->state);
}

void ISA(taylor_attention_backward)(const OpCall *call, const Run *run) {
    const TaylorPlan plan = taylor_plan(call);
    const size_t bytes = taylor_scratch(call, PHASE_BACKWARD);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t n = 0; n < plan.B * plan.H; n++) {
        Head w = head_of(call, run, omp_get_thread_num(), bytes, PHASE_BACKWARD);
        w.b = n / plan.H;
        w.h = n % plan.H;
        head_backward(&w);
    }
}
