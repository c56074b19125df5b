#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/selective_scan/selective_scan_plan.h"

void selective_scan_reference(const ReferenceCall *call);

void selective_scan_reference(const ReferenceCall *call) {
    const Plan plan = selective_scan_plan(call->call);
    const int64_t L = plan.L, E = plan.E, N = plan.N;
    const double *const *in = call->in;
    double *s = memory_take((size_t)(2 * N) * sizeof *s), *A = s + N;
    for (int64_t b = 0; b < plan.B; b++)
        for (int64_t e = 0; e < E; e++) {
            for (int64_t n = 0; n < N; n++) {
                s[n] = in[SCAN_STATE] ? in[SCAN_STATE][(b * E + e) * N + n] : 0;
                A[n] = -exp(in[SCAN_A_LOG][e * N + n]);
            }
            for (int64_t t = 0; t < L; t++) {
                const int64_t token = b * L + t, i = token * E + e;
                const double raw = in[SCAN_RAW][i] + in[SCAN_BIAS][e], u = in[SCAN_U][i];
                const double delta = raw > 20 ? raw : log1p(exp(raw));
                double y = in[SCAN_D][e] * u;
                for (int64_t n = 0; n < N; n++) {
                    s[n] = exp(delta * A[n]) * s[n] + delta * u * in[SCAN_B][token * N + n];
                    y += in[SCAN_C][token * N + n] * s[n];
                }
                const double z = in[SCAN_Z] ? in[SCAN_Z][i] : 0;
                call->out[0][i] = in[SCAN_Z] ? y * z / (1 + exp(-z)) : y;
            }
            for (int64_t n = 0; n < N && in[SCAN_STATE]; n++)
                call->out[1][(b * E + e) * N + n] = s[n];
        }
    free(s);
}
