#include "engine/ops/ttt/ttt_reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/activation.h"
#include "engine/memory.h"

void ttt_reference(const ReferenceCall *call);

/* z = x W + c */
static void affine(const TttPlan *plan, int64_t l, const double *weights, const double *x,
                   double *z) {
    for (int64_t j = 0; j < plan->out[l]; j++) z[j] = weights[plan->c[l] + j];
    for (int64_t i = 0; i < plan->in[l]; i++)
        for (int64_t j = 0; j < plan->out[l]; j++)
            z[j] += x[i] * weights[plan->W[l] + i * plan->out[l] + j];
}

static double gelu_slope(double x) {
    const double t = tanh(0.7978845608028654 * (x + 0.044715 * x * x * x));
    return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * 0.7978845608028654 * (1 + 3 * 0.044715 * x * x);
}

/* x becomes (x - mean) / deviation, which is returned. */
static double normalise(double *x, int64_t f) {
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < f; i++) mean += x[i] / (double)f;
    for (int64_t i = 0; i < f; i++) variance += (x[i] - mean) * (x[i] - mean) / (double)f;
    const double deviation = sqrt(variance + (double)ttt_epsilon);
    for (int64_t i = 0; i < f; i++) x[i] = (x[i] - mean) / deviation;
    return deviation;
}

/* What both layers make of x; hidden: 2 h numbers, before and after the activation. */
static void inner_model(const TttPlan *plan, const double *weights, const double *x, double *hidden,
                        double *z) {
    const int64_t h = plan->out[0];
    affine(plan, 0, weights, x, plan->layers > 1 ? hidden : z);
    if (plan->layers == 1) return;
    for (int64_t i = 0; i < h; i++)
        hidden[h + i] = activation_value(ACTIVATION_GELU_TANH, hidden[i]);
    affine(plan, 1, weights, hidden + h, z);
}

/* The gradient of the loss with respect to a layer's z, and from there to its weights: sum += rate
 * x g^T. */
static void add_gradient(const TttPlan *plan, int64_t l, double rate, const double *x,
                         const double *g, double *sum) {
    for (int64_t j = 0; j < plan->out[l]; j++) sum[plan->c[l] + j] += rate * g[j];
    for (int64_t i = 0; i < plan->in[l]; i++)
        for (int64_t j = 0; j < plan->out[l]; j++)
            sum[plan->W[l] + i * plan->out[l] + j] += rate * x[i] * g[j];
}

static void learn(const TttPlan *plan, const double *gamma, const double *beta, double rate,
                  const double *k, const double *v, const double *state, double *sum,
                  double *space) {
    const int64_t f = plan->f, h = plan->out[0], last = plan->layers - 1;
    double *hidden = space, *g_hidden = hidden + 2 * h, *z = g_hidden + h, *g = z + f;
    double mean = 0, along = 0;
    inner_model(plan, state, k, hidden, z);
    const double deviation = normalise(z, f);
    for (int64_t i = 0; i < f; i++) {
        g[i] = gamma[i] * (gamma[i] * z[i] + beta[i] - (v[i] - k[i]));
        mean += g[i] / (double)f;
        along += g[i] * z[i] / (double)f;
    }
    for (int64_t i = 0; i < f; i++) g[i] = (g[i] - mean - z[i] * along) / deviation;
    add_gradient(plan, last, rate, last ? hidden + h : k, g, sum);
    if (!last) return;
    for (int64_t i = 0; i < h; i++) {
        double u = 0;
        for (int64_t j = 0; j < f; j++) u += state[plan->W[1] + i * f + j] * g[j];
        g_hidden[i] = u * gelu_slope(hidden[i]);
    }
    add_gradient(plan, 0, rate, k, g_hidden, sum);
}

void ttt_reference_token(const TttPlan *plan, const double *gamma, const double *beta, double tau,
                         double rate, const double *q, const double *k, const double *v,
                         const double *state, double *sum, double *y, double *space) {
    double *weights = space, *z = weights + plan->P, *rest = z + plan->f;
    learn(plan, gamma, beta, rate, k, v, state, sum, rest);
    for (int64_t i = 0; i < plan->P; i++) weights[i] = state[i] - tau * sum[i];
    inner_model(plan, weights, q, rest, z);
    normalise(z, plan->f);
    for (int64_t i = 0; i < plan->f; i++) y[i] = q[i] + gamma[i] * z[i] + beta[i];
}

void ttt_reference_weights(const TttPlan *plan, const double *const *in, int64_t head,
                           double *weights) {
    for (int64_t l = 0; l < plan->layers; l++) {
        const int64_t size = plan->in[l] * plan->out[l], out = plan->out[l];
        memcpy(weights + plan->W[l], in[TTT_W1 + 2 * l] + head * size,
               (size_t)size * sizeof(double));
        memcpy(weights + plan->c[l], in[TTT_C1 + 2 * l] + head * out, (size_t)out * sizeof(double));
    }
}

void ttt_reference(const ReferenceCall *call) {
    const TttPlan plan = ttt_plan(call->call->in, call->call->attributes);
    const Ttt *attributes = call->call->attributes;
    const double *const *in = call->in;
    const int64_t f = plan.f, H = plan.H;
    double *state = memory_take((size_t)(4 * plan.P + 4 * plan.out[0] + 4 * f) * sizeof *state);
    double *sum = state + plan.P, *space = sum + plan.P;
    for (int64_t unit = 0; unit < plan.B * H; unit++) {
        const int64_t head = unit % H;
        ttt_reference_weights(&plan, in, head, state);
        for (int64_t t = 0; t < plan.L; t++) {
            const int64_t token = unit / H * plan.L + t, at = (token * H + head) * f;
            const double tau = fmax(0, 1 / (double)(t % plan.b + 1) + in[TTT_INDEX][t % plan.b]);
            if (t % plan.b == 0) memset(sum, 0, (size_t)plan.P * sizeof *sum);
            ttt_reference_token(&plan, in[TTT_GAMMA] + head * f, in[TTT_BETA] + head * f, tau,
                                attributes->base / (double)f * in[TTT_RATE][token * H + head],
                                in[TTT_Q] + at, in[TTT_K] + at, in[TTT_V] + at, state, sum,
                                call->out[0] + at, space);
            for (int64_t i = 0; i < plan.P && t % plan.b == plan.b - 1; i++)
                state[i] -= tau * sum[i];
        }
    }
    free(state);
}
