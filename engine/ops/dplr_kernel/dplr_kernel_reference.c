#include <complex.h>
#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/dplr_kernel/dplr_kernel.h"

typedef double complex Complex;

/* Number n of channel d, or of its set, in (.., rows, M, 2). */
static Complex number(const double *array, int64_t row, int64_t M, int64_t n) {
    return array[2 * (row * M + n)] + I * array[2 * (row * M + n) + 1];
}

/* sum_n dt u v / (g - m dt lambda) over the modes and their conjugates, g = 2 (1 - w), m = 1 + w.
 */
static Complex cauchy(const Complex *u, const Complex *v, const Complex *lambda, double dt,
                      int64_t M, Complex w) {
    Complex sum = 0;
    for (int64_t n = 0; n < M; n++) {
        const Complex x = dt * u[n] * v[n], z = dt * lambda[n];
        sum += x / (2 * (1 - w) - (1 + w) * z) + conj(x) / (2 * (1 - w) - (1 + w) * conj(z));
    }
    return sum;
}

/* Khat of one channel at w; left[0] = Ct, right[0] = B, the others conj P and P. */
static Complex node(Complex *const *left, Complex *const *right, const Complex *lambda, double dt,
                    int64_t M, int R, Complex w) {
    Complex r[1 + DPLR_MOST_RANK][1 + DPLR_MOST_RANK];
    for (int i = 0; i <= R; i++)
        for (int j = 0; j <= R; j++) r[i][j] = cauchy(left[i], right[j], lambda, dt, M, w);
    const Complex m = 1 + w, a = 1 + m * r[1][1];
    if (R == 1) return 2 * (r[0][0] - m * r[0][1] * r[1][0] / a);
    const Complex b = m * r[1][2], c = m * r[2][1], d = 1 + m * r[2][2];
    const Complex x = (d * r[1][0] - b * r[2][0]) / (a * d - b * c),
                  y = (a * r[2][0] - c * r[1][0]) / (a * d - b * c);
    return 2 * (r[0][0] - m * (r[0][1] * x + r[0][2] * y));
}

static void kernel(const ReferenceCall *call, int64_t d, const double *C, double *out) {
    const DplrKernel *attributes = call->call->attributes;
    const int64_t D = extent(call->call->in[DPLR_LOG_DT], 0),
                  S = extent(call->call->in[DPLR_A_REAL], 0);
    const int64_t M = extent(call->call->in[DPLR_A_REAL], 1), set = d % S, L = attributes->period;
    const int R = (int)extent(call->call->in[DPLR_P], 0);
    Complex *space = memory_take((size_t)(7 * M) * sizeof *space), *lambda = space;
    Complex *left[3] = {space + M, space + 2 * M, space + 3 * M},
            *right[3] = {space + 4 * M, space + 5 * M, space + 6 * M};
    for (int64_t n = 0; n < M; n++) {
        lambda[n] =
            -exp(call->in[DPLR_A_REAL][set * M + n]) + I * call->in[DPLR_A_IMAG][set * M + n];
        left[0][n] = number(C, d, M, n);
        right[0][n] = number(call->in[DPLR_B], set, M, n);
        for (int r = 0; r < R; r++) {
            right[1 + r][n] = number(call->in[DPLR_P], r * S + set, M, n);
            left[1 + r][n] = conj(right[1 + r][n]);
        }
    }
    Complex *turn = memory_take((size_t)L * sizeof *turn); /* exp(2 pi i k / L) */
    for (int64_t k = 0; k < L; k++) turn[k] = cexp(2 * M_PI * I * (double)k / (double)L);
    for (int64_t l = 0; l < attributes->length; l++) out[l * D + d] = 0;
    for (int64_t k = 0; k <= L / 2; k++) {
        const Complex value =
            node(left, right, lambda, exp(call->in[DPLR_LOG_DT][d]), M, R, conj(turn[k]));
        const double weight = (k == 0 || k == L / 2 ? 1.0 : 2.0) / (double)L;
        for (int64_t l = 0; l < attributes->length; l++) {
            const Complex w = turn[k * l % L];
            out[l * D + d] += weight * (creal(value) * creal(w) - cimag(value) * cimag(w));
        }
    }
    free(turn);
    free(space);
}

void dplr_kernel_reference(const ReferenceCall *call) {
    for (int64_t d = 0; d < extent(call->call->in[DPLR_LOG_DT], 0); d++) {
        kernel(call, d, call->in[DPLR_C], call->out[0]);
        if (call->call->outputs > 1) kernel(call, d, call->in[DPLR_C_REVERSE], call->out[1]);
    }
}
