/* The kernel of a diagonal plus low-rank state space: values worked out in double precision by
 * plain recurrence for two modes, lambda = -1/2 - i and -1/2 - 3 i, P = (0.8, 0.6), B = (1, 0.7),
 * dt = 0.1, period 8. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "bench/check/reference.h"
#include "bench/check/subject.h"
#include "engine/device.h"
#include "engine/ops/dplr_kernel/dplr_kernel.h"
#include "engine/ops/dplr_modes/dplr_modes.h"
#include "engine/ops/dplr_modes/dplr_system.h"
#include "models/hippo_matrix.h"

enum { M = 2, PERIOD = 8 };

static const float log_dt[] = {-2.302585093f}, A_real[] = {-0.6931471806f, -0.6931471806f},
                   A_imag[] = {-1, -3}, P[] = {0.8f, 0, 0.6f, 0}, B[] = {1, 0, 0.7f, 0};
static const double truncated[] = {0.5, 0.25, -0.3, 0.4};
static const double recovered[] = {0.57412846, 0.19194726, -0.10783728, 0.42392194};
static const double kernel[] = {0.09824681, 0.09478865, 0.09014385, 0.08404273, 0.07645005,
                                0.06753003, 0.05760018, 0.04707948, 0.03643586, 0.02613724};

/* The parameters of one channel, in the order of the operation's inputs. */
typedef struct Channel {
    int64_t modes;
    const float *in[6];
} Channel;

/* A tape with one channel, run once; what `record` returns is read. */
static void run_channel(Channel channel, int64_t period,
                        Tensor *(*record)(Tape *, DplrParameters, int64_t), double *out) {
    const int64_t n = channel.modes;
    const Shape shapes[] = {SHAPE(1),          SHAPE(1, n),    SHAPE(1, n),
                            SHAPE(1, 1, n, 2), SHAPE(1, n, 2), SHAPE(1, n, 2)};
    Device device;
    Error error = {0};
    assert_int_equal(device_open(&device, "cpu", &error), STATUS_OK);
    Parameters *parameters = parameters_open();
    Tape *tape = tape_open(parameters, TAPE_EVALUATE);
    Tensor *in[6];
    for (int i = 0; i < 6; i++) in[i] = tape_input(tape, "in", TENSOR_FLOAT, shapes[i], false);
    Tensor *result =
        record(tape, (DplrParameters){in[0], in[1], in[2], in[3], in[4], in[5], NULL}, period);
    tape_keep(tape, result);
    assert_int_equal(tape_plan(tape, 1, &error), STATUS_OK);
    assert_int_equal(tape_allocate(tape, &device, &error), STATUS_OK);
    for (int i = 0; i < 6; i++)
        memcpy(in[i]->data, channel.in[i], (size_t)tensor_size(in[i]) * sizeof(float));
    tape_forward(tape, &(Run){.threads = 1});
    for (int64_t i = 0; i < tensor_size(result); i++) out[i] = (double)result->data[i];
    tape_close(tape);
    parameters_close(parameters);
    device_close(&device);
}

/* The channel above with C. */
static void run(const double C[4], int64_t period,
                Tensor *(*record)(Tape *, DplrParameters, int64_t), double *out) {
    float values[4];
    for (int i = 0; i < 4; i++) values[i] = (float)C[i];
    run_channel((Channel){M, {log_dt, A_real, A_imag, P, B, values}}, period, record, out);
}

static Tensor *record_kernel(Tape *tape, DplrParameters p, int64_t period) {
    return dplr_kernel(tape, p, (DplrKernel){period, period}, NULL);
}
static Tensor *record_modes(Tape *tape, DplrParameters p, int64_t period) {
    return dplr_modes(tape, p, period);
}

/* Values below 1, printed to 8 digits, as sums of some ten floats. */
static void expect(double actual, double expected) {
    if (!(fabs(actual - expected) < 2e-7)) fail_msg("%.9f instead of %.9f", actual, expected);
}

static void kernel_is_the_recurrence(void **state) {
    (void)state;
    double K[PERIOD];
    run(truncated, PERIOD, record_kernel, K);
    for (int l = 0; l < PERIOD; l++) expect(K[l], kernel[l]);
}

static void step_reads_the_recovered_vector(void **state) {
    (void)state;
    double rows[10 * M];
    run(truncated, PERIOD, record_modes, rows);
    for (int n = 0; n < M; n++) {
        expect(rows[8 * M + n], 2 * recovered[2 * n]);
        expect(rows[9 * M + n], -2 * recovered[2 * n + 1]);
    }
}

/* Truncated at twice the period, the same system has the same kernel, and its next values. */
static void period_does_not_change_the_kernel(void **state) {
    (void)state;
    const float *const parameters[DPLR_INPUTS] = {log_dt, A_real, A_imag, P, B};
    double numbers[16], rows[10 * M], c[2 * M], space[2 * 16 * 16], K[2 * PERIOD], C[2 * M];
    const DplrSystem system = dplr_system_of(parameters, 0, 1, M, 1, numbers);
    assert_true(dplr_space_doubles(M) <= (int64_t)(sizeof space / sizeof *space));
    dplr_fill_rows(&system, rows);
    for (int n = 0; n < M; n++) {
        c[n] = recovered[2 * n];
        c[M + n] = -recovered[2 * n + 1];
    }
    dplr_truncate(rows, M, 1, 2 * PERIOD, dplr_square_best(), c, space);
    for (int n = 0; n < M; n++) {
        C[2 * n] = c[n];
        C[2 * n + 1] = -c[M + n];
    }
    run(C, 2 * PERIOD, record_kernel, K);
    for (int l = 0; l < 10; l++) expect(K[l], kernel[l]);
}

/* Without low-rank term and with ct = c (1 - Abar^period) this is S4D by the bilinear rule: the
 * values of tests/test_s4d.c. */
static void without_low_rank_term_it_is_s4d(void **state) {
    (void)state;
    static const double expected[] = {0.05357630, 0.08026445, 0.10487396, 0.12531450};
    static const float ones[] = {1, 0, 1, 0}, zeros[4] = {0};
    const float *const parameters[DPLR_INPUTS] = {log_dt, A_real, A_imag, zeros, ones};
    double numbers[16], rows[10 * M], x[2 * M] = {0};
    const double C[] = {0.5, 0.25, -0.3, 0.4};
    const DplrSystem system = dplr_system_of(parameters, 0, 1, M, 1, numbers);
    dplr_fill_rows(&system, rows);
    for (int l = 0; l < 4; l++) {
        double y = 0;
        for (int n = 0; n < M; n++) {
            const double re = rows[n] * x[2 * n] - rows[M + n] * x[2 * n + 1] +
                              (l ? 0 : rows[2 * M + n]) - x[2 * n];
            const double im = rows[n] * x[2 * n + 1] + rows[M + n] * x[2 * n] +
                              (l ? 0 : rows[3 * M + n]) - x[2 * n + 1];
            x[2 * n] = re;
            x[2 * n + 1] = im;
            y += 2 * (C[2 * n] * re - C[2 * n + 1] * im);
        }
        expect(y, expected[l]);
    }
}

/* The spectrum that S4 starts from, Im lambda up to 1303: the float kernel against the recurrence
 * in double precision, to 1e-5 of its largest value, which is what sums of 32 modes over 513 nodes
 * at single precision leave. */
static void hippo_kernel(double dt) {
    enum { MODES = 32, LENGTH = 1024, N = 2 * MODES };
    static double space[2 * N * N];
    double lambda[N], p[N], b[N], numbers[3 * N], rows[10 * MODES], c[N], x[N] = {0}, K[LENGTH],
                                                                          largest = 0, worst = 0;
    float step = (float)log(dt), real[MODES], imag[MODES], low[N], in[N], out[N];
    hippo_modes(HIPPO_LEGS, N, lambda, p, b);
    for (int n = 0; n < MODES; n++) {
        real[n] = (float)log(-lambda[2 * n]);
        imag[n] = (float)lambda[2 * n + 1];
        c[n] = sin(n + 0.5);
        c[MODES + n] = cos(3 * n);
    }
    for (int i = 0; i < N; i++) {
        low[i] = (float)p[i];
        in[i] = (float)b[i];
    }
    const float *const parameters[DPLR_INPUTS] = {&step, real, imag, low, in};
    const DplrSystem system = dplr_system_of(parameters, 0, 1, MODES, 1, numbers);
    assert_true(dplr_space_doubles(MODES) <= (int64_t)(sizeof space / sizeof *space));
    dplr_fill_rows(&system, rows);
    double truncated_c[N];
    memcpy(truncated_c, c, sizeof c);
    dplr_truncate(rows, MODES, 1, LENGTH, dplr_square_best(), truncated_c, space);
    for (int n = 0; n < MODES; n++) { /* reads 2 Re c, -2 Im c */
        out[2 * n] = (float)(truncated_c[n] / 2);
        out[2 * n + 1] = (float)(-truncated_c[MODES + n] / 2);
    }
    run_channel((Channel){MODES, {&step, real, imag, low, in, out}}, LENGTH, record_kernel, K);
    for (int l = 0; l < LENGTH; l++) {
        double w[N], dot = 0, y = 0;
        for (int n = 0; n < MODES; n++) {
            w[n] = rows[n] * x[n] - rows[MODES + n] * x[MODES + n] + (l ? 0 : rows[2 * MODES + n]);
            w[MODES + n] =
                rows[n] * x[MODES + n] + rows[MODES + n] * x[n] + (l ? 0 : rows[3 * MODES + n]);
            dot += rows[4 * MODES + n] * w[n] + rows[5 * MODES + n] * w[MODES + n];
        }
        for (int i = 0; i < N; i++) {
            x[i] = w[i] - rows[6 * MODES + i] * dot - x[i];
            y += c[i] * x[i];
        }
        largest = fmax(largest, fabs(y));
        worst = worse(worst, fabs(y - K[l]));
    }
    if (!(worst <= 1e-5 * largest)) fail_msg("dt %g: off by %.2e of %.2e", dt, worst, largest);
}

static void kernels_of_hippo(void **state) {
    (void)state;
    hippo_kernel(0.001);
    hippo_kernel(0.01);
    hippo_kernel(0.1);
}

/* Truncated step by step (128 states), recovered through the power of the matrix. */
static void recovering_undoes_truncating(void **state) {
    (void)state;
    enum { MODES = 64, N = 2 * MODES };
    static double space[2 * N * N];
    double lambda[N], p[N], b[N], rows[10 * MODES], c[N], start[N];
    hippo_modes(HIPPO_LEGS, N, lambda, p, b);
    const DplrSystem system = {.M = MODES, .R = 1, .dt = 0.01, .lambda = lambda, .P = p, .B = b};
    dplr_fill_rows(&system, rows);
    for (int i = 0; i < N; i++) start[i] = c[i] = sin(3 * i);
    dplr_truncate(rows, MODES, 1, 256, dplr_square_best(), c, space);
    dplr_recover(rows, MODES, 1, 256, dplr_square_best(), c, space);
    for (int i = 0; i < N; i++) assert_true(fabs(c[i] - start[i]) < 1e-9);
}

/* The released configurations: step sizes as other weights, or all of the kernel slowly. */
static void rates_of_the_kernel(void **state) {
    (void)state;
    static const struct {
        const char *settings, *name;
        Group group;
    } cases[] = {{"", "log_dt", {.fixed_rate = 1e-3, .no_decay = true}},
                 {"", "C", {.no_decay = false}},
                 {"fast_dt=yes", "log_dt", {.no_decay = true}},
                 {"fast_dt=yes", "A_real", {.fixed_rate = 1e-3, .no_decay = true}},
                 {"slow_c=yes state_lr=5e-4", "C", {.fixed_rate = 5e-4}},
                 {"slow_c=yes state_lr=5e-4", "C_reverse", {.fixed_rate = 5e-4}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char settings[64], name[64];
        snprintf(settings, sizeof settings, "width=4 layers=1 state=4 %s", cases[i].settings);
        snprintf(name, sizeof name, "layers.0.mixer.%s", cases[i].name);
        Subject subject;
        Error error = {0};
        const SubjectShape shape = {1, 4, 4, TAPE_EVALUATE, false, false};
        if (subject_open(&subject, model_find("s4"), settings, &shape, NULL, &error))
            fail_msg("%s", error.message);
        const Group *own = &parameters_find(subject.parameters, name)->group;
        assert_true(own->fixed_rate == cases[i].group.fixed_rate);
        assert_true(own->no_decay == cases[i].group.no_decay && !own->frozen);
        subject_close(&subject);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernel_is_the_recurrence),
        cmocka_unit_test(step_reads_the_recovered_vector),
        cmocka_unit_test(period_does_not_change_the_kernel),
        cmocka_unit_test(without_low_rank_term_it_is_s4d),
        cmocka_unit_test(kernels_of_hippo),
        cmocka_unit_test(recovering_undoes_truncating),
        cmocka_unit_test(rates_of_the_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
