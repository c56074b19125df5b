/* One mini-batch of one head, forward: what the keys teach, what the queries get, and the weights
 * after it. Backward does the same once more. */
#ifndef LONGHAUL_OPS_TTT_BATCH_SIMD_H
#define LONGHAUL_OPS_TTT_BATCH_SIMD_H

#include "engine/activation_simd.h"
#include "engine/ops/ttt/ttt_panel_simd.h"
#include "engine/ops/ttt/ttt_work.h"

/* What does not change along a sequence. */
typedef struct Head {
    TttPlan plan;
    int64_t p, number;         /* lanes; of H */
    const float *gamma, *beta; /* (f) */
    TttWork work;
} Head;

static inline Head head_open(const OpCall *call, Phase phase, int64_t number, float *scratch) {
    Head head = {.plan = ttt_plan(call->in, call->attributes), .number = number};
    head.p = ttt_lanes(&head.plan);
    head.work = ttt_take_work(&(TttCarver){scratch, 0}, &head.plan, phase, TTT_LINE);
    head.gamma = call->in[TTT_GAMMA]->data + number * head.plan.f;
    head.beta = call->in[TTT_BETA]->data + number * head.plan.f;
    for (int64_t t = 0; t < head.p; t++)
        head.work.tau[t] = t < head.plan.b ? ttt_tau(call->in[TTT_INDEX]->data, t) : 0;
    return head;
}

static inline int64_t batch_tokens(const TttPlan *plan, int64_t number) {
    const int64_t left = plan->L - number * plan->b;
    return left < plan->b ? left : plan->b;
}

/* The weights that every sequence starts from. */
static inline void first_state(const OpCall *call, const Head *head, float *state) {
    const TttPlan *plan = &head->plan;
    for (int64_t l = 0; l < plan->layers; l++) {
        const int64_t size = plan->in[l] * plan->out[l], out = plan->out[l];
        memcpy(state + plan->W[l], call->in[TTT_W1 + 2 * l]->data + head->number * size,
               (size_t)size * sizeof(float));
        memcpy(state + plan->c[l], call->in[TTT_C1 + 2 * l]->data + head->number * out,
               (size_t)out * sizeof(float));
    }
}

/* Keys, queries, values and rates of mini-batch `number` of sequence s. */
static inline void batch_load(const OpCall *call, const Head *head, int64_t s, int64_t number,
                              const TttBatch *batch) {
    const TttPlan *plan = &head->plan;
    const int64_t f = plan->f, p = head->p, H = plan->H, D = H * f;
    const int64_t token = s * plan->L + number * plan->b, tokens = batch_tokens(plan, number);
    const int64_t at = token * D + head->number * f;
    panel_from_rows(call->in[TTT_K]->data + at, D, tokens, f, batch->x[0], 2 * p, p);
    panel_from_rows(call->in[TTT_Q]->data + at, D, tokens, f, batch->x[0] + p, 2 * p, p);
    panel_from_rows(call->in[TTT_V]->data + at, D, tokens, f, batch->v, p, p);
    for (int64_t t = 0; t < p; t++)
        batch->rate[t] =
            t < tokens ? plan->scale * call->in[TTT_RATE]->data[(token + t) * H + head->number] : 0;
}

/* Half of a layer's pair: z + c in the place of z; its activation into the next layer's x. */
static inline void activate_half(const Head *head, const TttBatch *batch, int64_t offset) {
    const int64_t p = head->p;
    const float *c = batch->state + head->plan.c[0];
    for (int64_t i = 0; i < head->plan.out[0]; i++)
        for (int64_t t = offset; t < offset + p; t += LANES) {
            const vfloat z = v_load(batch->z[0] + i * 2 * p + t) + c[i];
            v_store(batch->z[0] + i * 2 * p + t, z);
            v_store(batch->x[1] + i * 2 * p + t, v_activate(ACTIVATION_GELU_TANH, z));
        }
}

/* z + c of the last layer, normalised in its place. */
static inline void normalise_half(const Head *head, const TttBatch *batch, int64_t offset) {
    const int64_t l = head->plan.layers - 1, f = head->plan.f, pitch = 2 * head->p;
    const float *c = batch->state + head->plan.c[l];
    for (int64_t t = offset; t < offset + head->p; t += LANES) {
        float *z = batch->z[l] + t;
        for (int64_t i = 0; i < f; i++) v_store(z + i * pitch, v_load(z + i * pitch) + c[i]);
        v_store(batch->inverse + t, normalise(z, pitch, f, ttt_epsilon));
    }
}

/* The loss's gradient where the last layer ends, from its normalised z. */
static inline void last_gradient(const Head *head, const TttBatch *batch) {
    const int64_t l = head->plan.layers - 1, f = head->plan.f, p = head->p;
    for (int64_t t = 0; t < p; t += LANES) {
        const float *x = batch->z[l] + t, *k = batch->x[0] + t;
        float *g = batch->g[l] + t;
        for (int64_t i = 0; i < f; i++) {
            const vfloat y = v_load(x + i * 2 * p) * head->gamma[i] + head->beta[i];
            const vfloat target = v_load(batch->v + i * p + t) - v_load(k + i * 2 * p);
            v_store(g + i * p, (y - target) * head->gamma[i]);
        }
        through_norm(g, p, x, 2 * p, v_load(batch->inverse + t), f);
    }
}

/* W^T x of a layer, for `columns` lanes from `offset` on. */
static inline void apply_weights(const Head *head, const TttBatch *batch, int64_t l, int64_t offset,
                                 int64_t columns) {
    const int64_t in = head->plan.in[l], out = head->plan.out[l], pitch = 2 * head->p;
    multiply(out, columns, in, (Left){batch->state + head->plan.W[l], 1, out}, batch->x[l] + offset,
             pitch, batch->z[l] + offset, pitch, false);
}

/* z and g of every layer; the first layer's products of the queries on the way. */
static inline void batch_learn(const Head *head, const TttBatch *batch) {
    const TttPlan *plan = &head->plan;
    const int64_t p = head->p, h = plan->out[0];
    apply_weights(head, batch, 0, 0, 2 * p);
    if (plan->layers > 1) {
        activate_half(head, batch, 0);
        apply_weights(head, batch, 1, 0, p);
    }
    normalise_half(head, batch, 0);
    last_gradient(head, batch);
    if (plan->layers == 1) return;
    multiply(h, p, plan->f, (Left){batch->state + plan->W[1], plan->f, 1}, batch->g[1], p, batch->u,
             p, false);
    for (int64_t i = 0; i < h; i++)
        for (int64_t t = 0; t < p; t += LANES)
            v_store(
                batch->g[0] + i * p + t,
                v_load(batch->u + i * p + t) *
                    v_activate_gradient(ACTIVATION_GELU_TANH, v_load(batch->z[0] + i * 2 * p + t)));
}

/* Zero for the queries t .. t + LANES - 1 that stand before the key. */
static inline vfloat from_key_on(vfloat v, int64_t key, int64_t t) {
    vint lane = {0, 1, 2, 3};
    for (int i = 4; i < LANES; i++) lane[i] = i;
    return v_select(lane + (int32_t)t >= (int32_t)key, v, v_zero());
}

/* E of a key, for the same queries. */
static inline vfloat step_sizes(const Head *head, const TttBatch *batch, int64_t key, int64_t t) {
    return from_key_on(v_load(head->work.tau + t), key, t) * batch->rate[key];
}

/* -E (x x^T + 1), [key][query]. */
static inline void weigh(const Head *head, const TttBatch *batch, int64_t l, float *to) {
    const int64_t p = head->p;
    for (int64_t j = 0; j < p; j++)
        for (int64_t t = 0; t < p; t += LANES) {
            const vfloat attention = v_load(batch->attention[l] + j * p + t);
            v_store(to + j * p + t, -step_sizes(head, batch, j, t) * (attention + 1.0f));
        }
}

/* The queries' z of a layer gets what the keys before them have taught. */
static inline void add_lessons(const Head *head, const TttBatch *batch, int64_t l) {
    const int64_t p = head->p, in = head->plan.in[l], out = head->plan.out[l];
    const float *x = batch->x[l];
    multiply(p, p, in, (Left){x, 1, 2 * p}, x + p, 2 * p, batch->attention[l], p, false);
    weigh(head, batch, l, head->work.square);
    multiply(out, p, p, (Left){batch->g[l], p, 1}, head->work.square, p, batch->z[l] + p, 2 * p,
             true);
}

/* The queries' way through the model, up to the normalised z. */
static inline void batch_answer(const Head *head, const TttBatch *batch) {
    add_lessons(head, batch, 0);
    if (head->plan.layers > 1) {
        activate_half(head, batch, head->p);
        apply_weights(head, batch, 1, head->p, head->p);
        add_lessons(head, batch, 1);
    }
    normalise_half(head, batch, head->p);
}

/* A panel of the mini-batch's tokens with tokens as rows, each times its factor (NULL: 1). */
static inline void tokens_as_rows(const Head *head, const float *panel, int64_t pitch,
                                  int64_t channels, const float *factor, float *rows) {
    const int64_t row = head->work.row;
    panel_to_rows(panel, pitch, channels, (GradientTarget){rows, false}, row, head->plan.b);
    for (int64_t t = 0; factor && t < head->plan.b; t++)
        for (int64_t c = 0; c < channels; c += LANES)
            v_store(rows + t * row + c, v_load(rows + t * row + c) * factor[t]);
}

/* The weights after a whole mini-batch; next may be the state itself. */
static inline void batch_step(const Head *head, const TttBatch *batch, float *next) {
    const TttPlan *plan = &head->plan;
    const int64_t p = head->p, b = plan->b, row = head->work.row;
    float factor[TTT_LONGEST];
    for (int64_t t = 0; t < b; t++) factor[t] = -head->work.tau[b - 1] * batch->rate[t];
    if (next != batch->state) memcpy(next, batch->state, (size_t)plan->P * sizeof(float));
    for (int64_t l = 0; l < plan->layers; l++) {
        const int64_t in = plan->in[l], out = plan->out[l];
        float *rows = head->work.rows, *c = next + plan->c[l];
        tokens_as_rows(head, batch->g[l], p, out, factor, rows);
        multiply(in, out, b, (Left){batch->x[l], 2 * p, 1}, rows, row, next + plan->W[l], out,
                 true);
        for (int64_t i = 0; i < out; i += LANES)
            v_store_part(c + i, v_load_part(c + i, out - i) + channel_sum(rows + i, row, b),
                         out - i);
    }
}

#endif
