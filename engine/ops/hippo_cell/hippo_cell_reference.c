#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/ops/hippo_cell/hippo_cell.h"

/* (1 - A / 2 k) m' = (1 + A / 2 k) m + B u / k from the matrix itself, row by row. */
static void legs_step(double *m, int64_t N, double u, double k) {
    double *next = memory_take((size_t)N * sizeof *next);
    for (int64_t n = 0; n < N; n++) {
        double sum = m[n] + sqrt(2 * (double)n + 1) * u / k;
        for (int64_t j = 0; j <= n; j++) {
            const double A =
                j < n ? -sqrt((2 * (double)n + 1) * (2 * (double)j + 1)) : -(double)(n + 1);
            sum += A / (2 * k) * (m[j] + (j < n ? next[j] : 0));
        }
        next[n] = sum / (1 + (double)(n + 1) / (2 * k));
    }
    memcpy(m, next, (size_t)N * sizeof *m);
    free(next);
}

static void matrix_step(double *m, int64_t N, double u, const double *A, const double *b) {
    double *next = memory_take((size_t)N * sizeof *next);
    for (int64_t n = 0; n < N; n++) {
        next[n] = u * b[n];
        for (int64_t j = 0; j < N; j++) next[n] += m[j] * A[j * N + n];
    }
    memcpy(m, next, (size_t)N * sizeof *m);
    free(next);
}

void hippo_cell_reference(const ReferenceCall *call) {
    const OpCall *own = call->call;
    const HippoCell *attributes = own->attributes;
    const int64_t B = extent(own->in[HIPPO_GATES], 0), L = extent(own->in[HIPPO_GATES], 1);
    const int64_t H = extent(own->in[HIPPO_W_U], 0), N = extent(own->in[HIPPO_W_M], 0);
    const int64_t start = own->inputs > HIPPO_POSITION && own->in[HIPPO_POSITION]
                              ? own->in[HIPPO_POSITION]->host_integers[0]
                              : 0;
    double *h = memory_take((size_t)(H + N) * sizeof *h), *m = h + H;
    for (int64_t b = 0; b < B; b++) {
        memset(h, 0, (size_t)(H + N) * sizeof *h);
        if (call->in[HIPPO_H0]) {
            memcpy(h, call->in[HIPPO_H0] + b * H, (size_t)H * sizeof *h);
            memcpy(m, call->in[HIPPO_M0] + b * N, (size_t)N * sizeof *m);
        }
        for (int64_t t = 0; t < L; t++) {
            const double *gates = call->in[HIPPO_GATES] + (b * L + t) * 2 * H;
            double u = call->in[HIPPO_DRIVE][b * L + t];
            int64_t k = start + t;
            for (int64_t j = 0; j < H; j++) u += h[j] * call->in[HIPPO_W_U][j];
            if (attributes->clamp && k > attributes->clamp) k = attributes->clamp;
            if (call->in[HIPPO_A])
                matrix_step(m, N, u, call->in[HIPPO_A], call->in[HIPPO_B]);
            else if (k > 0)
                legs_step(m, N, u, (double)k);
            else
                for (int64_t n = 0; n < N; n++) m[n] = n == 0 ? u : 0;
            for (int64_t j = 0; j < H; j++) {
                double a = gates[j], g = gates[H + j];
                for (int64_t n = 0; n < N; n++) {
                    a += m[n] * call->in[HIPPO_W_M][n * 2 * H + j];
                    g += m[n] * call->in[HIPPO_W_M][n * 2 * H + H + j];
                }
                g = 1 / (1 + exp(-g));
                h[j] = (1 - g) * h[j] + g * tanh(a);
                call->out[0][(b * L + t) * H + j] = h[j];
            }
        }
        if (own->outputs == 1) continue;
        memcpy(call->out[1] + b * H, h, (size_t)H * sizeof *h);
        memcpy(call->out[2] + b * N, m, (size_t)N * sizeof *m);
    }
    free(h);
}
