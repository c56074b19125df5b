#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/ttt/ttt_reference.h"
#include "engine/ops/ttt_step/ttt_step_plan.h"

void ttt_step_reference(const ReferenceCall *call);

void ttt_step_reference(const ReferenceCall *call) {
    const TttPlan plan = ttt_plan(call->call->in, call->call->attributes);
    const Ttt *attributes = call->call->attributes;
    const double *const *in = call->in;
    const int64_t f = plan.f, H = plan.H, P = plan.P;
    const int64_t t = call->call->in[TTT_STEP_POSITION]->host_integers[0] % plan.b;
    const double tau = fmax(0, 1 / (double)(t + 1) + in[TTT_INDEX][t]);
    double *weights = memory_take((size_t)(3 * P + 4 * plan.out[0] + 4 * f) * sizeof *weights);
    for (int64_t unit = 0; unit < plan.B * H; unit++) {
        const int64_t head = unit % H, at = unit * f;
        double *taken = call->out[0] + unit * 2 * P, *sum = taken + P;
        ttt_reference_weights(&plan, in, head, weights);
        for (int64_t i = 0; i < P; i++) {
            taken[i] = in[TTT_STEP_STATE][unit * 2 * P + i];
            sum[i] = in[TTT_STEP_STATE][unit * 2 * P + P + i];
            weights[i] -= taken[i];
        }
        ttt_reference_token(&plan, in[TTT_GAMMA] + head * f, in[TTT_BETA] + head * f, tau,
                            attributes->base / (double)f * in[TTT_RATE][unit], in[TTT_Q] + at,
                            in[TTT_K] + at, in[TTT_V] + at, weights, sum, call->out[1] + at,
                            weights + P);
        for (int64_t i = 0; i < P && t == plan.b - 1; i++) {
            taken[i] += tau * sum[i];
            sum[i] = 0;
        }
    }
    free(weights);
}
