/* HiPPO's matrices and their normal plus low-rank form. Expected numbers: double precision, by an
 * independent Jacobi eigensolver. */
#include <complex.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "models/hippo_matrix.h"

enum { LARGEST = 128 };

static void expect(double actual, double expected, double tolerance) {
    if (!(fabs(actual - expected) <= tolerance)) fail_msg("%.9f instead of %.9f", actual, expected);
}

static void legs_modes_of(int64_t N, int64_t n, double imaginary, double p) {
    double lambda[LARGEST], P[LARGEST], B[LARGEST];
    hippo_modes(HIPPO_LEGS, N, lambda, P, B);
    expect(lambda[2 * n], -0.5, 1e-12);
    expect(lambda[2 * n + 1], imaginary,
           6e-9 * fmax(1, imaginary)); /* as many digits as are printed */
    expect(P[2 * n], p, 6e-7);
    expect(P[2 * n + 1], 0, 1e-12);
    expect(B[2 * n], sqrt(2) * P[2 * n], 1e-10);
    expect(B[2 * n + 1], 0, 1e-10);
}

static void legs_modes(void **state) {
    (void)state;
    legs_modes_of(4, 0, 4.60329301, 1.87950048);
    legs_modes_of(4, 1, 0.55650112, 0.68372359);
    legs_modes_of(8, 0, 19.85741037, 3.64557777);
    legs_modes_of(8, 1, 5.35420852, 1.30381221);
    legs_modes_of(8, 2, 1.95779415, 0.83082215);
    legs_modes_of(8, 3, 0.42748871, 0.56530612);
    legs_modes_of(64, 0, 1303.27384, 28.815903);
    legs_modes_of(64, 31, 0.26385693, 0.420383);
}

/* Half of the eigenvalues of the matrix of 2020. */
static void legt_modes(void **state) {
    (void)state;
    static const double expected[] = {24.13165726, 18.48736691, 8.67262899, 2.94378822};
    double lambda[8], P[16], B[8];
    hippo_modes(HIPPO_LEGT, 8, lambda, P, B);
    for (int n = 0; n < 4; n++) {
        expect(lambda[2 * n], 0, 1e-12);
        expect(lambda[2 * n + 1], expected[n] / 2, 1e-8);
    }
}

/* The transfer function C (s - A)^-1 B with C = B^T, from the matrices and from the modes: at s = 1
 * by elimination. */
static double transfer_of_matrix(HippoMeasure measure, int64_t N, double scale) {
    double A[LARGEST * LARGEST / 4], B[LARGEST], x[LARGEST], sum = 0;
    hippo_transition(measure, N, A, B);
    for (int64_t i = 0; i < N; i++) {
        x[i] = B[i] *= scale;
        for (int64_t j = 0; j < N; j++) A[i * N + j] = (i == j) - scale * A[i * N + j];
    }
    for (int64_t k = 0; k < N; k++) /* 1 - A is diagonally strong enough here to need no pivots */
        for (int64_t i = 0; i < N; i++) {
            if (i == k) continue;
            const double factor = A[i * N + k] / A[k * N + k];
            for (int64_t j = k; j < N; j++) A[i * N + j] -= factor * A[k * N + j];
            x[i] -= factor * x[k];
        }
    for (int64_t k = 0; k < N; k++) sum += B[k] * x[k] / A[k * N + k];
    return sum;
}

static double transfer_of_modes(HippoMeasure measure, int64_t N) {
    double lambda[LARGEST], P[2 * LARGEST], B[LARGEST];
    const int64_t M = N / 2;
    const int R = hippo_rank(measure);
    hippo_modes(measure, N, lambda, P, B);
    /* r(u, v) = 2 Re sum conj(u) v / (1 - lambda), for vectors B, P_0, P_1 */
    double r[3][3];
    for (int i = 0; i <= R; i++)
        for (int j = 0; j <= R; j++) {
            r[i][j] = 0;
            for (int64_t n = 0; n < M; n++) {
                const double *u = i ? P + 2 * (i - 1) * M : B, *v = j ? P + 2 * (j - 1) * M : B;
                r[i][j] += 2 * creal((u[2 * n] - I * u[2 * n + 1]) * (v[2 * n] + I * v[2 * n + 1]) /
                                     (1 - lambda[2 * n] - I * lambda[2 * n + 1]));
            }
        }
    if (R == 1) return r[0][0] - r[0][1] * r[1][0] / (1 + r[1][1]);
    const double determinant = (1 + r[1][1]) * (1 + r[2][2]) - r[1][2] * r[2][1];
    const double x = ((1 + r[2][2]) * r[1][0] - r[1][2] * r[2][0]) / determinant;
    const double y = ((1 + r[1][1]) * r[2][0] - r[2][1] * r[1][0]) / determinant;
    return r[0][0] - r[0][1] * x - r[0][2] * y;
}

static void modes_are_the_same_system(void **state) {
    (void)state;
    for (int64_t N = 2; N <= 32; N *= 2) {
        expect(transfer_of_modes(HIPPO_LEGS, N), transfer_of_matrix(HIPPO_LEGS, N, 1), 1e-9);
        expect(transfer_of_modes(HIPPO_LEGT, N), transfer_of_matrix(HIPPO_LEGT, N, 0.5), 1e-9);
        expect(transfer_of_modes(HIPPO_FOUT, N), transfer_of_matrix(HIPPO_FOUT, N, 1), 1e-9);
    }
}

/* Voelker's coefficients are (-1)^n sqrt(2 n + 1) times those of the translated Legendre basis. */
static void lmu_is_legt_in_other_units(void **state) {
    (void)state;
    enum { N = 7 };
    double A[N * N], B[N], A_lmu[N * N], B_lmu[N];
    hippo_transition(HIPPO_LEGT, N, A, B);
    hippo_transition(HIPPO_LMU, N, A_lmu, B_lmu);
    for (int i = 0; i < N; i++) {
        const double unit = (i % 2 ? -1 : 1) * sqrt(2 * i + 1);
        expect(B_lmu[i], unit * B[i], 1e-12);
        for (int j = 0; j < N; j++)
            expect(A_lmu[i * N + j], unit * A[i * N + j] * (j % 2 ? -1 : 1) / sqrt(2 * j + 1),
                   1e-12);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legs_modes),
        cmocka_unit_test(legt_modes),
        cmocka_unit_test(modes_are_the_same_system),
        cmocka_unit_test(lmu_is_legt_in_other_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
