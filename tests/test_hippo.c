/* HiPPO's matrices and their normal plus low-rank form. Expected numbers: double precision, by an
 * independent Jacobi eigensolver. */
#include <complex.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/device.h"
#include "engine/ops/hippo_cell/hippo_cell.h"
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

/* ---- the cell's memory: what it holds after sin(0.7 t + 0.3), t = 0 .. length - 1, with nothing
 * read ---- */

enum { ORDER = 4 };

static void memory_after(int64_t length, const double *A, const double *B,
                         const double expected[ORDER]) {
    float drive[16], matrix[ORDER * ORDER], input[ORDER];
    for (int64_t t = 0; t < length; t++) drive[t] = (float)sin(0.7 * (double)t + 0.3);
    for (int i = 0; A && i < ORDER * ORDER; i++)
        matrix[i] = (float)A[i % ORDER * ORDER + i / ORDER];
    for (int i = 0; A && i < ORDER; i++) input[i] = (float)B[i];
    const Shape shapes[] = {SHAPE(1, length, 1), SHAPE(1, length, 2), SHAPE(1),
                            SHAPE(ORDER, 2),     SHAPE(1, 1),         SHAPE(1, ORDER),
                            SHAPE(ORDER, ORDER), SHAPE(ORDER)};
    const float *const values[] = {drive, NULL, NULL, NULL, NULL, NULL, matrix, input};
    Device device;
    Error error = {0};
    assert_int_equal(device_open(&device, "cpu", &error), STATUS_OK);
    Parameters *parameters = parameters_open();
    Tape *tape = tape_open(parameters, TAPE_EVALUATE);
    Tensor *in[8];
    const int count = A ? 8 : 6;
    for (int i = 0; i < count; i++) in[i] = tape_input(tape, "in", TENSOR_FLOAT, shapes[i], false);
    Tensor *position = tape_input(tape, "position", TENSOR_INTEGER, SHAPE(1), false);
    const HippoState state = {in[4], in[5], position};
    HippoState next;
    hippo_cell(tape, in[0], in[1], (HippoWeights){in[2], in[3], A ? in[6] : NULL, A ? in[7] : NULL},
               (HippoCell){0}, &state, &next);
    tape_keep(tape, next.m);
    assert_int_equal(tape_plan(tape, 1, &error), STATUS_OK);
    assert_int_equal(tape_allocate(tape, &device, &error), STATUS_OK);
    for (int i = 0; i < count; i++) {
        const size_t bytes = (size_t)tensor_size(in[i]) * sizeof(float);
        if (values[i])
            memcpy(in[i]->data, values[i], bytes);
        else
            memset(in[i]->data, 0, bytes);
    }
    position->integers[0] = 0;
    tape_forward(tape, &(Run){.threads = 1});
    for (int n = 0; n < ORDER; n++)
        expect((double)next.m->data[n], expected[n], 5e-7); /* floats below 1, 8 steps */
    tape_close(tape);
    parameters_close(parameters);
    device_close(&device);
}

static void legs_memory(void **state) {
    (void)state;
    memory_after(2, NULL, NULL, (double[]){0.65948739, 0.31520483, 0.08138554, 0});
    memory_after(4, NULL, NULL, (double[]){0.75895974, 0.08586114, -0.24331327, -0.00889961});
    memory_after(8, NULL, NULL, (double[]){0.03001294, -0.67621134, -0.17929970, 0.32043337});
}

static void window_memory(HippoMeasure measure, const double expected[ORDER]) {
    double A[ORDER * ORDER], B[ORDER];
    hippo_transition(measure, ORDER, A, B);
    hippo_discretise(ORDER, 0.1, HIPPO_BILINEAR, A, B);
    memory_after(8, A, B, expected);
}

static void window_memories(void **state) {
    (void)state;
    window_memory(HIPPO_LEGS, (double[]){-0.05484393, -0.24474886, -0.35878010, -0.13509333});
    window_memory(HIPPO_LEGT, (double[]){0.06918340, -0.43825831, -0.37106655, 0.04884774});
    window_memory(HIPPO_LMU, (double[]){0.06918340, 0.75908567, -0.82973004, -0.12923898});
    window_memory(HIPPO_FOUT, (double[]){-0.05236005, 0, -0.33026749, 0.05669935});
}

/* A rotation and a decay have closed forms. */
static void holding_is_the_exponential(void **state) {
    (void)state;
    double A[] = {-3, 0, 0, -0.5}, B[] = {1, 2}, turn[] = {0, -2, 2, 0}, none[] = {0, 0};
    hippo_discretise(2, 0.7, HIPPO_HOLD, A, B);
    expect(A[0], exp(-2.1), 1e-14);
    expect(A[3], exp(-0.35), 1e-14);
    expect(B[0], (1 - exp(-2.1)) / 3, 1e-14);
    expect(B[1], 4 * (1 - exp(-0.35)), 1e-14);
    hippo_discretise(2, 0.7, HIPPO_HOLD, turn, none);
    expect(turn[0], cos(1.4), 1e-14);
    expect(turn[2], sin(1.4), 1e-14);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(legs_modes),
        cmocka_unit_test(legt_modes),
        cmocka_unit_test(modes_are_the_same_system),
        cmocka_unit_test(lmu_is_legt_in_other_units),
        cmocka_unit_test(legs_memory),
        cmocka_unit_test(window_memories),
        cmocka_unit_test(holding_is_the_exponential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
