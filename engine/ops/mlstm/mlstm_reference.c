/* The recurrent form, token by token. */
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/mlstm/mlstm_plan.h"

typedef struct State {
    double *C, *n, m;
} State;

/* h = the result for one token of a head. */
static void step(const MlstmPlan *plan, State *state, const double *q, const double *k,
                 const double *v, double i, double f, double *h) {
    const int64_t dk = plan->dk, dv = plan->dv;
    const double log_f = f < 0 ? f - log1p(exp(f)) : -log1p(exp(-f));
    const double m = fmax(log_f + state->m, i);
    const double keep = exp(log_f + state->m - m), add = exp(i - m), s = 1 / sqrt((double)dk);
    double dot = 0;
    for (int64_t c = 0; c < dv; c++) h[c] = 0;
    for (int64_t a = 0; a < dk; a++) {
        state->n[a] = keep * state->n[a] + add * k[a];
        dot += s * q[a] * state->n[a];
        for (int64_t c = 0; c < dv; c++) {
            double *entry = &state->C[a * dv + c];
            *entry = keep * *entry + add * k[a] * v[c];
            h[c] += s * q[a] * *entry;
        }
    }
    const double normaliser = fmax(fabs(dot), exp(-m)) + (double)MLSTM_EPSILON;
    for (int64_t c = 0; c < dv; c++) h[c] /= normaliser;
    state->m = m;
}

void mlstm_reference(const ReferenceCall *call) {
    const MlstmPlan plan = mlstm_plan(call->call);
    const int64_t H = plan.H, dk = plan.dk, dv = plan.dv;
    double *memory = memory_take((size_t)(dk * (dv + 1)) * sizeof *memory);
    for (int64_t b = 0; b < plan.B; b++)
        for (int64_t head = 0; head < H; head++) {
            State state = {.C = memory, .n = memory + dk * dv};
            for (int64_t a = 0; a < dk * (dv + 1); a++) memory[a] = 0;
            for (int64_t t = 0; t < plan.L; t++) {
                const int64_t row = b * plan.L + t, at = row * H + head;
                const double *gates = call->in[MLSTM_GATES] + row * 2 * H + head;
                step(&plan, &state, call->in[MLSTM_Q] + at * dk, call->in[MLSTM_K] + at * dk,
                     call->in[MLSTM_V] + at * dv, gates[0], gates[H], call->out[0] + at * dv);
            }
        }
    free(memory);
}
