/* From the definition: A as a complex matrix of N = 2 M rows, modes and conjugates, in its own
 * elimination. */
#include <complex.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/ops/dplr_modes/dplr_modes.h"

typedef double complex Complex;

/* b <- a^-1 b for (N, N) a and (N, columns) b; a is spent. */
static void solve(Complex *a, Complex *b, int64_t N, int64_t columns) {
    for (int64_t k = 0; k < N; k++) {
        int64_t pivot = k;
        for (int64_t i = k; i < N; i++)
            if (cabs(a[i * N + k]) > cabs(a[pivot * N + k])) pivot = i;
        for (int64_t j = 0; j < N; j++) {
            const Complex swap = a[k * N + j];
            a[k * N + j] = a[pivot * N + j];
            a[pivot * N + j] = swap;
        }
        for (int64_t j = 0; j < columns; j++) {
            const Complex swap = b[k * columns + j];
            b[k * columns + j] = b[pivot * columns + j];
            b[pivot * columns + j] = swap;
        }
        for (int64_t i = 0; i < N; i++) {
            if (i == k) continue;
            const Complex factor = a[i * N + k] / a[k * N + k];
            for (int64_t j = 0; j < N; j++) a[i * N + j] -= factor * a[k * N + j];
            for (int64_t j = 0; j < columns; j++) b[i * columns + j] -= factor * b[k * columns + j];
        }
    }
    for (int64_t k = 0; k < N; k++)
        for (int64_t j = 0; j < columns; j++) b[k * columns + j] /= a[k * N + k];
}

/* Number n of row `row` in (rows, M, 2), n >= M for the conjugate. */
static Complex number(const double *array, int64_t row, int64_t M, int64_t n) {
    const double *at = array + 2 * (row * M + n % M);
    return at[0] + I * (n < M ? at[1] : -at[1]);
}

/* Abar (N, N) and Ct (1, N) -> c. */
static void recover(const Complex *Abar, Complex *c, int64_t N, int64_t period) {
    const size_t bytes = (size_t)(N * N) * sizeof *Abar;
    Complex *power = memory_take(bytes), *square = memory_take(bytes);
    memcpy(power, Abar, bytes);
    for (int64_t done = 1; done < period; done *= 2) {
        for (int64_t i = 0; i < N; i++)
            for (int64_t j = 0; j < N; j++) {
                square[i * N + j] = 0;
                for (int64_t k = 0; k < N; k++)
                    square[i * N + j] += power[i * N + k] * power[k * N + j];
            }
        memcpy(power, square, bytes);
    }
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < N; j++) square[i * N + j] = (i == j) - power[j * N + i];
    solve(square, c, N, 1);
    free(power);
    free(square);
}

/* The factors of dplr_system.h by their definitions, for one mode; p is scaled by sqrt(dt / 2). */
static void channel(const ReferenceCall *call, int64_t d, Complex *minus, Complex *plus, Complex *c,
                    double *rows) {
    const DplrModes *attributes = call->call->attributes;
    const int64_t S = extent(call->call->in[DPLR_A_REAL], 0),
                  M = extent(call->call->in[DPLR_A_REAL], 1);
    const int64_t R = extent(call->call->in[DPLR_P], 0), set = d % S, N = 2 * M;
    const double dt = exp(call->in[DPLR_LOG_DT][d]);
    const double *P = call->in[DPLR_P];
    double G[2][2] = {{1, 0}, {0, 1}};
    for (int64_t i = 0; i < N; i++) {
        const double *real = call->in[DPLR_A_REAL] + set * M,
                     *imag = call->in[DPLR_A_IMAG] + set * M;
        const Complex lambda = -exp(real[i % M]) + I * (i < M ? imag[i % M] : -imag[i % M]);
        for (int64_t j = 0; j < N; j++) {
            Complex A = i == j ? lambda : 0;
            for (int64_t r = 0; r < R; r++)
                A -= number(P, r * S + set, M, i) * conj(number(P, r * S + set, M, j));
            minus[i * N + j] = (i == j) - dt * A / 2;
            plus[i * N + j] = (i == j) + dt * A / 2;
        }
        c[i] = number(call->in[DPLR_C], d, M, i);
        const Complex E = 1 / (1 - dt * lambda / 2);
        for (int64_t k = 0; k < R; k++)
            for (int64_t r = 0; r < R; r++)
                G[k][r] += creal(dt / 2 * conj(number(P, k * S + set, M, i)) * E *
                                 number(P, r * S + set, M, i));
        if (i >= M) continue;
        const Complex b = dt * E * number(call->in[DPLR_B], set, M, i);
        rows[i] = creal(2 * E);
        rows[M + i] = cimag(2 * E);
        rows[2 * M + i] = creal(b);
        rows[3 * M + i] = cimag(b);
        for (int64_t r = 0; r < R; r++) {
            const Complex f = sqrt(dt / 2) * E * number(P, r * S + set, M, i);
            rows[(6 + 4 * r) * M + i] = creal(f);
            rows[(7 + 4 * r) * M + i] = cimag(f);
        }
    }
    solve(minus, plus, N, N);
    recover(plus, c, N, attributes->period);
    const double determinant = R == 1 ? 1 : G[0][0] * G[1][1] - G[0][1] * G[1][0];
    for (int64_t n = 0; n < M; n++) {
        for (int64_t r = 0; r < R; r++) {
            Complex q = 0;
            for (int64_t k = 0; k < R; k++) {
                const double inverse =
                    R == 1 ? 1 / G[0][0] : (k == r ? G[1 - r][1 - r] : -G[r][k]) / determinant;
                q += 2 * sqrt(dt / 2) * inverse * number(P, k * S + set, M, n);
            }
            rows[(4 + 4 * r) * M + n] = creal(q);
            rows[(5 + 4 * r) * M + n] = cimag(q);
        }
        rows[(4 + 4 * R) * M + n] = 2 * creal(c[n]);
        rows[(5 + 4 * R) * M + n] = -2 * cimag(c[n]);
    }
}

void dplr_modes_reference(const ReferenceCall *call) {
    const Tensor *out = call->call->out[0];
    const int64_t N = 2 * extent(call->call->in[DPLR_A_REAL], 1);
    Complex *space = memory_take((size_t)(2 * N * N + N) * sizeof *space);
    for (int64_t d = 0; d < extent(out, 0); d++)
        channel(call, d, space, space + N * N, space + 2 * N * N,
                call->out[0] + d * extent(out, 1) * extent(out, 2));
    free(space);
}
