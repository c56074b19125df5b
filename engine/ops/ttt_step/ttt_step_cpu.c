/* Output channels are the lanes. A layer's weights come by for the key, for the query, and once
 * more while the gradient is added and the query meets the sum. Bound by the cache that holds them:
 * what the sequence began with and both halves of the state, 12 bytes a weight, and 4 written. */
#include <omp.h>

#include "engine/activation_simd.h"
#include "engine/ops/ttt_step/ttt_step_plan.h"
#include "engine/reduce_simd.h"

/* One head of one sequence; rows of scratch, ttt_step_row apart. */
typedef struct Token {
    const float *W[TTT_LAYERS], *c[TTT_LAYERS]; /* that the sequence began with */
    float *taken, *sum;                         /* the state's halves */
    const float *gamma, *beta;
    float tau, rate;
    float *x[TTT_LAYERS], *query[TTT_LAYERS]; /* what a layer reads */
    float *z[TTT_LAYERS], *answer[TTT_LAYERS];
    float *g[TTT_LAYERS];
} Token;

static inline vfloat weight(const TttPlan *plan, const Token *token, int64_t l, int64_t i,
                            int64_t j, int64_t n) {
    return v_load_part(token->W[l] + i * plan->out[l] + j, n) -
           v_load_part(token->taken + plan->W[l] + i * plan->out[l] + j, n);
}

/* z = x W + c with the weights before the mini-batch. */
static void affine(const TttPlan *plan, const Token *token, int64_t l, const float *x, float *z) {
    const int64_t in = plan->in[l], out = plan->out[l];
    for (int64_t j = 0; j < out; j += LANES) {
        const int64_t n = out - j;
        vfloat sum =
            v_load_part(token->c[l] + j, n) - v_load_part(token->taken + plan->c[l] + j, n);
        for (int64_t i = 0; i < in; i++) sum += weight(plan, token, l, i, j, n) * x[i];
        v_store(z + j, v_first(sum, n));
    }
}

/* sum += rate x g^T, and the query's z -= tau query sum. */
static void add_lesson(const TttPlan *plan, const Token *token, int64_t l) {
    const int64_t in = plan->in[l], out = plan->out[l];
    for (int64_t j = 0; j < out; j += LANES) {
        const int64_t n = out - j;
        const vfloat g = v_load(token->g[l] + j) * token->rate;
        float *c = token->sum + plan->c[l] + j;
        vfloat lesson = v_load_part(c, n) + g;
        v_store_part(c, lesson, n);
        for (int64_t i = 0; i < in; i++) {
            float *W = token->sum + plan->W[l] + i * out + j;
            const vfloat sum = v_load_part(W, n) + g * token->x[l][i];
            v_store_part(W, sum, n);
            lesson += sum * token->query[l][i];
        }
        v_store(token->answer[l] + j,
                v_load(token->answer[l] + j) - v_first(lesson, n) * token->tau);
    }
}

static float row_total(const float *a, const float *b, int64_t n) {
    vfloat sum = v_zero();
    for (int64_t i = 0; i < n; i += LANES)
        sum += v_first(v_load(a + i) * (b ? v_load(b + i) : v_set(1.0f)), n - i);
    return v_sum(sum);
}

/* Whole vectors: what lies behind f is not read by row_total. */
static float normalise_row(float *x, int64_t f) {
    const float mean = row_total(x, NULL, f) / (float)f;
    for (int64_t i = 0; i < f; i += LANES) v_store(x + i, v_load(x + i) - mean);
    const float inverse = 1 / __builtin_sqrtf(row_total(x, x, f) / (float)f + ttt_epsilon);
    for (int64_t i = 0; i < f; i += LANES) v_store(x + i, v_load(x + i) * inverse);
    return inverse;
}

static void last_gradient(const TttPlan *plan, const Token *token, const float *v) {
    const int64_t f = plan->f, l = plan->layers - 1;
    float *z = token->z[l], *g = token->g[l];
    const float inverse = normalise_row(z, f);
    for (int64_t i = 0; i < f; i += LANES) {
        const int64_t n = f - i;
        const vfloat gamma = v_load_part(token->gamma + i, n);
        const vfloat y = v_load(z + i) * gamma + v_load_part(token->beta + i, n);
        const vfloat target = v_load_part(v + i, n) - v_load(token->x[0] + i);
        v_store(g + i, gamma * (y - target));
    }
    const float mean = row_total(g, NULL, f) / (float)f, along = row_total(g, z, f) / (float)f;
    for (int64_t i = 0; i < f; i += LANES)
        v_store(g + i, (v_load(g + i) - mean - v_load(z + i) * along) * inverse);
}

static void activate_row(const float *z, float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES)
        v_store(x + i, v_activate(ACTIVATION_GELU_TANH, v_load(z + i)));
}

/* g of the first layer: (g[1] W2^T) gelu'(z). */
static void hidden_gradient(const TttPlan *plan, const Token *token) {
    const int64_t f = plan->f, h = plan->out[0];
    for (int64_t i = 0; i < h; i++) {
        vfloat sum = v_zero();
        for (int64_t j = 0; j < f; j += LANES)
            sum += weight(plan, token, 1, i, j, f - j) * v_first(v_load(token->g[1] + j), f - j);
        token->g[0][i] = v_sum(sum);
    }
    for (int64_t i = 0; i < h; i += LANES)
        v_store(token->g[0] + i,
                v_load(token->g[0] + i) *
                    v_activate_gradient(ACTIVATION_GELU_TANH, v_load(token->z[0] + i)));
}

static void learn(const TttPlan *plan, const Token *token, const float *v) {
    affine(plan, token, 0, token->x[0], token->z[0]);
    if (plan->layers > 1) {
        activate_row(token->z[0], token->x[1], plan->out[0]);
        affine(plan, token, 1, token->x[1], token->z[1]);
    }
    last_gradient(plan, token, v);
    if (plan->layers > 1) hidden_gradient(plan, token);
}

static void answer(const TttPlan *plan, const Token *token, float *y) {
    const int64_t f = plan->f, last = plan->layers - 1;
    for (int64_t l = 0; l <= last; l++) {
        if (l) activate_row(token->answer[0], token->query[1], plan->out[0]);
        affine(plan, token, l, token->query[l], token->answer[l]);
        add_lesson(plan, token, l);
    }
    normalise_row(token->answer[last], f);
    for (int64_t i = 0; i < f; i += LANES) {
        const int64_t n = f - i;
        const vfloat z = v_load(token->answer[last] + i) * v_load_part(token->gamma + i, n) +
                         v_load_part(token->beta + i, n);
        v_store_part(y + i, v_load(token->query[0] + i) + z, n);
    }
}

static void end_batch(const TttPlan *plan, const Token *token) {
    for (int64_t i = 0; i < plan->P; i += LANES) {
        const int64_t n = plan->P - i;
        const vfloat sum = v_load_part(token->sum + i, n) * token->tau;
        v_store_part(token->taken + i, v_load_part(token->taken + i, n) + sum, n);
    }
    memset(token->sum, 0, (size_t)plan->P * sizeof(float));
}

static void copy_row(const float *from, float *to, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) v_store(to + i, v_load_part(from + i, n - i));
}

static void step(const OpCall *call, const TttPlan *plan, int64_t unit, int64_t t, float *rows) {
    const int64_t f = plan->f, head = unit % plan->H, row = ttt_step_row(plan);
    Token token = {.taken = call->out[0]->data + unit * 2 * plan->P,
                   .gamma = call->in[TTT_GAMMA]->data + head * f,
                   .beta = call->in[TTT_BETA]->data + head * f,
                   .tau = ttt_tau(call->in[TTT_INDEX]->data, t),
                   .rate = plan->scale * call->in[TTT_RATE]->data[unit]};
    token.sum = token.taken + plan->P;
    for (int64_t l = 0; l < plan->layers; l++) {
        token.W[l] = call->in[TTT_W1 + 2 * l]->data + head * plan->in[l] * plan->out[l];
        token.c[l] = call->in[TTT_C1 + 2 * l]->data + head * plan->out[l];
        float **const parts[] = {&token.x[l], &token.query[l], &token.z[l], &token.answer[l],
                                 &token.g[l]};
        for (int64_t i = 0; i < 5; i++) *parts[i] = rows + (5 * l + i) * row;
    }
    copy_row(call->in[TTT_K]->data + unit * f, token.x[0], f);
    copy_row(call->in[TTT_Q]->data + unit * f, token.query[0], f);
    learn(plan, &token, call->in[TTT_V]->data + unit * f);
    answer(plan, &token, call->out[1]->data + unit * f);
    if (t == plan->b - 1) end_batch(plan, &token);
}

static void forward(const OpCall *call, const Run *run) {
    const TttPlan plan = ttt_plan(call->in, call->attributes);
    const int64_t t = call->in[TTT_STEP_POSITION]->integers[0] % plan.b;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t unit = 0; unit < plan.B * plan.H; unit++)
        step(call, &plan, unit, t,
             (float *)call->scratch + omp_get_thread_num() * ttt_step_floats(&plan));
}

const OpKernels ISA(ttt_step_cpu) = {forward, NULL};
