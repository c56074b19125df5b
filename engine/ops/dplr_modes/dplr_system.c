#include "engine/ops/dplr_modes/dplr_system.h"

#include <complex.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"

typedef double complex Complex;

static Complex complex_at(const double *numbers, int64_t n) {
    return numbers[2 * n] + I * numbers[2 * n + 1];
}

/* G = (1 + d)^-1 for a real matrix d of up to two rows. */
static void invert(int R, double d[DPLR_MOST_RANK][DPLR_MOST_RANK],
                   double G[DPLR_MOST_RANK][DPLR_MOST_RANK]) {
    for (int r = 0; r < R; r++) d[r][r] += 1;
    if (R == 1) {
        G[0][0] = 1 / d[0][0];
        return;
    }
    const double determinant = d[0][0] * d[1][1] - d[0][1] * d[1][0];
    G[0][0] = d[1][1] / determinant;
    G[1][1] = d[0][0] / determinant;
    G[0][1] = -d[0][1] / determinant;
    G[1][0] = -d[1][0] / determinant;
}

static void put(double *rows, int64_t M, int64_t row, int64_t n, Complex value) {
    rows[row * M + n] = creal(value);
    rows[(row + 1) * M + n] = cimag(value);
}

void dplr_fill_rows(const DplrSystem *system, double *rows) {
    const int64_t M = system->M;
    const int R = system->R;
    double d[DPLR_MOST_RANK][DPLR_MOST_RANK] = {{0}}, G[DPLR_MOST_RANK][DPLR_MOST_RANK];
    for (int64_t n = 0; n < M; n++) {
        const Complex E = 1 / (1 - system->dt * complex_at(system->lambda, n) / 2);
        put(rows, M, 0, n, 2 * E);
        put(rows, M, 2, n, system->dt * E * complex_at(system->B, n));
        for (int r = 0; r < R; r++) {
            const Complex p = sqrt(system->dt / 2) * complex_at(system->P, r * M + n);
            put(rows, M, 6 + 4 * r, n, E * p);
            for (int k = 0; k < R; k++)
                d[k][r] += 2 * creal(conj(sqrt(system->dt / 2) * complex_at(system->P, k * M + n)) *
                                     E * p);
        }
        put(rows, M, 4 + 4 * R, n, 0);
    }
    invert(R, d, G);
    for (int64_t n = 0; n < M; n++)
        for (int r = 0; r < R; r++) {
            Complex q = 0;
            for (int k = 0; k < R; k++)
                q += G[r][k] * 2 * sqrt(system->dt / 2) * complex_at(system->P, k * M + n);
            put(rows, M, 4 + 4 * r, n, q);
        }
}

DplrSystem dplr_system_of(const float *const parameters[DPLR_INPUTS], int64_t channel, int64_t S,
                          int64_t M, int R, double *numbers) {
    const int64_t set = channel % S;
    double *lambda = numbers, *B = lambda + 2 * M, *P = B + 2 * M;
    for (int64_t n = 0; n < M; n++) {
        lambda[2 * n] = -exp((double)parameters[DPLR_A_REAL][set * M + n]);
        lambda[2 * n + 1] = (double)parameters[DPLR_A_IMAG][set * M + n];
    }
    for (int64_t i = 0; i < 2 * M; i++) {
        B[i] = (double)parameters[DPLR_B][2 * set * M + i];
        for (int r = 0; r < R; r++)
            P[2 * r * M + i] = (double)parameters[DPLR_P][2 * (r * S + set) * M + i];
    }
    return (DplrSystem){.M = M,
                        .R = R,
                        .dt = exp((double)parameters[DPLR_LOG_DT][channel]),
                        .lambda = lambda,
                        .P = P,
                        .B = B};
}

DplrSquare *dplr_square_best(void) {
    static DplrSquare *const of[ISA_COUNT] = {dplr_square_portable, dplr_square_avx2,
                                              dplr_square_avx512};
    return of[isa_best()];
}

static int64_t padded(int64_t M) {
    return (2 * M + 15) / 16 * 16;
}

int64_t dplr_space_doubles(int64_t M) {
    return 2 * padded(M) * padded(M);
}

/* Abar as a real matrix (rows: new state) on (Re x, Im x), filled up with zeros. */
static void transition(const double *rows, int64_t M, int R, double *T) {
    const int64_t n = padded(M);
    memset(T, 0, (size_t)(n * n) * sizeof *T);
    for (int64_t j = 0; j < 2 * M; j++) {
        const int64_t at = j % M;
        const Complex w = (rows[at] + I * rows[M + at]) * (j < M ? 1 : I); /* 2 E x */
        for (int r = 0; r < R; r++) {
            const double *q = rows + (4 + 4 * r) * M, *f = q + 2 * M;
            const double s = q[at] * creal(w) + q[M + at] * cimag(w);
            for (int64_t i = 0; i < 2 * M; i++) T[i * n + j] -= f[i] * s;
        }
        T[at * n + j] += creal(w);
        T[(M + at) * n + j] += cimag(w);
        T[j * n + j] -= 1;
    }
}

/* Abar^period; both halves of space are used, and the one that holds it is returned. */
static double *power(const double *rows, int64_t M, int R, int64_t period, DplrSquare *square,
                     double *space) {
    const int64_t n = padded(M);
    double *now = space, *next = space + n * n;
    transition(rows, M, R, now);
    for (int64_t done = 1; done < period; done *= 2) {
        square(n, now, next);
        double *const swap = now;
        now = next;
        next = swap;
    }
    return now;
}

/* c <- c Abar^period, row by row of the recurrence: c x' = (c - sum_r (c . f_r) q_r) w - c x. */
static void move_by_steps(const double *rows, int64_t M, int R, int64_t period, double *c,
                          double *v) {
    const double *E_re = rows, *E_im = rows + M; /* 2 E */
    for (int64_t step = 0; step < period; step++) {
        memcpy(v, c, (size_t)(2 * M) * sizeof *v);
        for (int r = 0; r < R; r++) {
            const double *q = rows + (4 + 4 * r) * M, *f = q + 2 * M;
            double dot = 0;
            for (int64_t i = 0; i < 2 * M; i++) dot += c[i] * f[i];
            for (int64_t i = 0; i < 2 * M; i++) v[i] -= dot * q[i];
        }
        for (int64_t n = 0; n < M; n++) {
            c[n] = v[n] * E_re[n] + v[M + n] * E_im[n] - c[n];
            c[M + n] = v[M + n] * E_re[n] - v[n] * E_im[n] - c[M + n];
        }
    }
}

static void move_by_squares(const double *rows, int64_t M, int R, int64_t period,
                            DplrSquare *square, double *c, double *space) {
    const int64_t n = padded(M);
    const double *T = power(rows, M, R, period, square, space);
    double *moved = T == space ? space + n * n : space;
    memset(moved, 0, (size_t)(2 * M) * sizeof *moved);
    for (int64_t i = 0; i < 2 * M; i++)
        for (int64_t j = 0; j < 2 * M; j++) moved[j] += c[i] * T[i * n + j];
    memcpy(c, moved, (size_t)(2 * M) * sizeof *c);
}

/* Steps take 24 operations for a mode, squarings 16 M^3 for each doubling of the period at some six
 * times the rate (70 and 11 GFLOP/s with AVX-512): whichever is quicker. */
void dplr_truncate(const double *rows, int64_t M, int R, int64_t period, DplrSquare *square,
                   double *c, double *space) {
    const double steps = 6 * 24.0 * (double)period;
    const double squares = 16 * (double)M * (double)M * log2((double)period);
    double *moved = memory_take((size_t)(2 * M) * sizeof *moved);
    memcpy(moved, c, (size_t)(2 * M) * sizeof *c);
    if (steps < squares)
        move_by_steps(rows, M, R, period, moved, space);
    else
        move_by_squares(rows, M, R, period, square, moved, space);
    for (int64_t i = 0; i < 2 * M; i++) c[i] -= moved[i];
    free(moved);
}

/* Solves a x = b for the (size, size) matrix a (rows `stride` apart) by elimination with row
 * pivots; both are spent. */
static void solve(double *a, int64_t stride, int64_t size, double *b) {
    for (int64_t k = 0; k < size; k++) {
        int64_t pivot = k;
        for (int64_t i = k + 1; i < size; i++)
            if (fabs(a[i * stride + k]) > fabs(a[pivot * stride + k])) pivot = i;
        for (int64_t j = k; j < size && pivot != k; j++) {
            const double swap = a[k * stride + j];
            a[k * stride + j] = a[pivot * stride + j];
            a[pivot * stride + j] = swap;
        }
        const double swap = b[k];
        b[k] = b[pivot];
        b[pivot] = swap;
        for (int64_t i = k + 1; i < size; i++) {
            const double factor = a[i * stride + k] / a[k * stride + k];
            for (int64_t j = k + 1; j < size; j++) a[i * stride + j] -= factor * a[k * stride + j];
            b[i] -= factor * b[k];
        }
    }
    for (int64_t k = size - 1; k >= 0; k--) {
        for (int64_t j = k + 1; j < size; j++) b[k] -= a[k * stride + j] * b[j];
        b[k] /= a[k * stride + k];
    }
}

void dplr_recover(const double *rows, int64_t M, int R, int64_t period, DplrSquare *square,
                  double *c, double *space) {
    const int64_t n = padded(M);
    const double *T = power(rows, M, R, period, square, space);
    double *a = T == space ? space + n * n : space;
    for (int64_t i = 0; i < 2 * M; i++)
        for (int64_t j = 0; j < 2 * M; j++) a[i * n + j] = (i == j) - T[j * n + i];
    solve(a, n, 2 * M, c);
}
