#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/lstm/lstm_plan.h"

void lstm_reference(const ReferenceCall *call);

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

void lstm_reference(const ReferenceCall *call) {
    const Plan plan = lstm_plan(call->call, PHASE_FORWARD, 1);
    const int64_t L = plan.L, H = plan.H;
    const double *w = call->in[LSTM_W];
    double *h = memory_take_zeroed((size_t)(6 * H), sizeof *h), *c = h + H, *G = c + H;
    for (int64_t b = 0; b < plan.B; b++) {
        for (int64_t u = 0; u < H; u++) {
            h[u] = call->in[LSTM_H0] ? call->in[LSTM_H0][b * H + u] : 0;
            c[u] = call->in[LSTM_C0] ? call->in[LSTM_C0][b * H + u] : 0;
        }
        for (int64_t t = 0; t < L; t++) {
            for (int64_t n = 0; n < 4 * H; n++)
                G[n] = call->in[LSTM_GATES][(b * L + t) * 4 * H + n];
            for (int64_t k = 0; k < H; k++)
                for (int64_t n = 0; n < 4 * H; n++) G[n] += h[k] * w[k * 4 * H + n];
            for (int64_t u = 0; u < H; u++) {
                c[u] = sigmoid(G[H + u]) * c[u] + sigmoid(G[u]) * tanh(G[2 * H + u]);
                h[u] = sigmoid(G[3 * H + u]) * tanh(c[u]);
                call->out[LSTM_H][(b * L + t) * H + u] = h[u];
            }
        }
        for (int64_t u = 0; u < H && call->call->outputs > 1; u++) {
            call->out[LSTM_H_LAST][b * H + u] = h[u];
            call->out[LSTM_C_LAST][b * H + u] = c[u];
        }
    }
    free(h);
}
