#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/slstm/slstm_plan.h"

static double log_sigmoid(double x) {
    return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
}

/* One token of one head: state holds h, c, n and m (4, U), G the gates before activation. */
static void step(int64_t U, const double *G, double *state) {
    for (int64_t u = 0; u < U; u++) {
        double *h = state + u, *c = h + U, *n = c + U, *m = n + U;
        const double i = G[u], f = log_sigmoid(G[U + u]) + *m;
        const double next = *n == 0 ? i : fmax(f, i);
        const double keep = fmin(1, exp(f - next)), add = exp(i - next);
        *c = keep * *c + add * tanh(G[2 * U + u]);
        *n = keep * *n + add;
        *m = next;
        *h = *c / *n / (1 + exp(-G[3 * U + u]));
    }
}

static void run_head(const ReferenceCall *call, const SlstmPlan *plan, int64_t b, int64_t head,
                     double *state, double *G) {
    const int64_t L = plan->L, H = plan->H, U = plan->U;
    const double *w = call->in[SLSTM_R] + head * U * 4 * U;
    for (int64_t t = 0; t < L; t++) {
        const int64_t at = ((b * L + t) * H + head) * 2 * U;
        for (int64_t g = 0; g < 4 * U; g++) {
            const double *in = call->in[g < 2 * U ? SLSTM_IF : SLSTM_ZO];
            G[g] = in[at + g % (2 * U)] + call->in[SLSTM_BIAS][head * 4 * U + g];
            for (int64_t k = 0; k < U; k++) G[g] += state[k] * w[k * 4 * U + g];
        }
        step(U, G, state);
        for (int64_t u = 0; u < U; u++) call->out[SLSTM_H][at / 2 + u] = state[u];
    }
}

void slstm_reference(const ReferenceCall *call) {
    const SlstmPlan plan = slstm_plan(call->call, PHASE_FORWARD);
    const int64_t H = plan.H, U = plan.U;
    double *state = memory_take((size_t)(8 * U) * sizeof *state), *G = state + 4 * U;
    for (int64_t unit = 0; unit < plan.B * H; unit++) {
        const int64_t b = unit / H, head = unit % H;
        for (int64_t i = 0; i < 4 * U; i++) {
            const int64_t at = (b * 4 + i / U) * H * U + head * U + i % U;
            state[i] = call->in[SLSTM_STATE] ? call->in[SLSTM_STATE][at] : 0;
        }
        run_head(call, &plan, b, head, state, G);
        for (int64_t i = 0; i < 4 * U && call->call->outputs > 1; i++)
            call->out[SLSTM_NEXT][(b * 4 + i / U) * H * U + head * U + i % U] = state[i];
    }
    free(state);
}
