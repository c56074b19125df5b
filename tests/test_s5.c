/* S5 beyond the properties that all models share: its system against numbers from an independent
 * double-precision program, the case in which it is S4D, and time reversed. */
#include <math.h>

#include "engine/ops/channel_gain/channel_gain.h"
#include "engine/ops/diagonal_scan/diagonal_scan.h"
#include "engine/ops/linear/linear.h"
#include "tests/bench.h"
#include "tests/mixer_alone.h"
#include "tests/step_form.h"

enum { L = 6, H = 2, P = 2 };

static double wave(int64_t i) {
    return sin(0.7 * (double)i + 0.3);
}

/* 2 C (2 P, H) with parts from wave(first ..): real parts, then imaginary ones negated. */
static Tensor *output_matrix(Bench *bench, int64_t first) {
    double C[2 * P * H];
    for (int h = 0; h < H; h++)
        for (int p = 0; p < P; p++) {
            C[p * H + h] = 2 * wave(first + 2 * h + p);
            C[(P + p) * H + h] = -2 * wave(first + 10 + 2 * h + p);
        }
    return constant(bench, SHAPE(2 * P, H), C);
}

/* lambda = -1/2 - i, -1/2 - 3 i, steps 0.1 and 0.2, everything else waves. */
static void expect_system(Discretisation discretisation, bool both, const double *first,
                          const double *last) {
    static const double real[] = {-0.5, -0.5}, imaginary[] = {-1, -3};
    const double log_dt[] = {log(0.1), log(0.2)}, gain[] = {wave(50), wave(51)};
    double u[L * H], B[H * 2 * P];
    for (int i = 0; i < L * H; i++) u[i] = wave(i);
    for (int h = 0; h < H; h++)
        for (int p = 0; p < P; p++) {
            B[h * 2 * P + p] = wave(10 + 2 * p + h);
            B[h * 2 * P + P + p] = wave(20 + 2 * p + h);
        }
    Bench b;
    bench_open(&b, TAPE_EVALUATE);
    Tensor *in = constant(&b, SHAPE(1, L, H), u), *steps = constant(&b, SHAPE(P), log_dt);
    Tensor *A_real = constant(&b, SHAPE(P), real), *A_imag = constant(&b, SHAPE(P), imaginary);
    Tensor *v = linear(b.tape, in, constant(&b, SHAPE(H, 2 * P), B), NULL, NULL, ACTIVATION_NONE);
    Tensor *y = channel_gain(b.tape, in, constant(&b, SHAPE(H), gain), NULL, NULL);
    for (int side = 0; side <= (both ? 1 : 0); side++) {
        const DiagonalScan rule = {{.discretisation = discretisation, .real = REAL_PLAIN}, side};
        Tensor *x = diagonal_scan(b.tape, v, steps, A_real, A_imag, NULL, rule);
        y = linear(b.tape, x, output_matrix(&b, side ? 60 : 30), NULL, y, ACTIVATION_NONE);
    }
    tape_keep(b.tape, y);
    bench_plan(&b);
    bench_run(&b);
    for (int h = 0; h < H; h++) /* sums of some ten floats near 1, printed to 8 digits */
        if (fabs((double)y->data[h] - first[h]) > 5e-7 ||
            fabs((double)y->data[(L - 1) * H + h] - last[h]) > 5e-7)
            fail_msg("y of channel %d: %.8f .. %.8f, expected %.8f .. %.8f", h, (double)y->data[h],
                     (double)y->data[(L - 1) * H + h], first[h], last[h]);
    bench_close(&b);
}

static void numbers_of_the_system(void **state) {
    (void)state;
    expect_system(DISCRETISATION_ZOH, false, (double[]){-0.19930008, -1.02830505},
                  (double[]){-0.29211780, -1.10600535});
    expect_system(DISCRETISATION_BILINEAR, false, (double[]){-0.19594868, -1.02652782},
                  (double[]){-0.29215712, -1.08433584});
    expect_system(DISCRETISATION_ZOH, true, (double[]){-0.71106923, -0.95503823},
                  (double[]){-0.60644031, -0.99775356});
}

/* One input and one output: the answer to an impulse is S4D's kernel. */
static void impulse_response(void **state) {
    (void)state;
    static const double log_dt[] = {-2, -2}, logarithm[] = {-0.6931471805599453, 0},
                        real[] = {-0.5, -1}, imaginary[] = {-1, 7}, C[] = {0.5, 0.25, -0.3, 0.4};
    static const double impulse[2 * P * L] = {1, 1}, rows[] = {1, -0.6, -0.5, -0.8};
    Bench b;
    bench_open(&b, TAPE_EVALUATE);
    const DiagonalParameters modes = {.log_dt = constant(&b, SHAPE(1), log_dt),
                                      .A_real = constant(&b, SHAPE(1, P), logarithm),
                                      .A_imag = constant(&b, SHAPE(1, P), imaginary),
                                      .C = constant(&b, SHAPE(1, P, 2), C)};
    Tensor *K = vandermonde(b.tape, modes, (DiagonalForm){.discretisation = DISCRETISATION_ZOH}, L);
    Tensor *x = diagonal_scan(
        b.tape, constant(&b, SHAPE(1, L, 2 * P), impulse), constant(&b, SHAPE(P), log_dt),
        constant(&b, SHAPE(P), real), constant(&b, SHAPE(P), imaginary), NULL,
        (DiagonalScan){.form = {.discretisation = DISCRETISATION_ZOH, .real = REAL_PLAIN}});
    Tensor *y = linear(b.tape, x, constant(&b, SHAPE(2 * P, 1), rows), NULL, NULL, ACTIVATION_NONE);
    tape_keep(b.tape, K);
    tape_keep(b.tape, y);
    bench_plan(&b);
    bench_run(&b);
    for (int l = 0; l < L; l++) /* two modes in float, near 0.1 */
        assert_true(fabsf(K->data[l] - y->data[l]) < 1e-7f);
    bench_close(&b);
}

/* Both directions share everything but C: with the two of them exchanged, what comes in reversed
 * goes out reversed. */
static void time_reversed(void **state) {
    (void)state;
    enum { D = 4 };
    static const MixerSetting settings[] = {{"state", "8"}, {"blocks", "1"}, {0}};
    static const char *const names[] = {"log_dt", "A_real", "A_imag",    "B",
                                        "D",      "C",      "C_reverse", "out.gate.weight"};
    MixerAlone own;
    float y[L * D];
    mixer_open(&own, "s5", settings, L, D, false);
    for (int round = 0; round < 2; round++) {
        for (int n = 0; n < 8; n++) {
            const int from = round == 1 && (n == 5 || n == 6) ? 11 - n : n;
            Tensor *tensor = mixer_parameter(&own, names[n]);
            for (int64_t i = 0; i < tensor_size(tensor); i++)
                tensor->data[i] = (float)(0.5 * wave(100 * from + i * i) - (n == 1));
        }
        for (int t = 0; t < L; t++)
            for (int d = 0; d < D; d++) {
                const int i = (round ? L - 1 - t : t) * D + d;
                own.u->data[t * D + d] = (float)wave(i * i);
            }
        mixer_run(&own);
        if (round == 0) memcpy(y, own.y->data, sizeof y);
    }
    for (int t = 0; t < L; t++)
        for (int d = 0; d < D; d++) /* the two products are added in another order */
            assert_true(fabsf(own.y->data[t * D + d] - y[(L - 1 - t) * D + d]) < 2e-6f);
    mixer_close(&own);
}

static void step_forms(void **state) {
    (void)state;
    step_form_agrees("s5", "width=5 state=6 blocks=3 output=full_glu discretisation=bilinear", 12,
                     0.05, 2e-4f);
    step_form_agrees("s5", "width=5 state=70 blocks=5 output=half_glu2 clip_eigenvalues=yes", 12,
                     0.05, 2e-4f);
    step_form_agrees("s5", "width=5 state=2 blocks=1 output=gelu c_init=complex", 12, 0.05, 2e-4f);
}

static Group group_of(const Subject *subject, const char *name) {
    const Parameter *found = parameters_find(subject->parameters, name);
    assert_non_null(found);
    return found->group;
}

static bool is_slow(Group group) {
    return group.fixed_rate == 0.001;
}

static void groups_of_training(void **state) {
    (void)state;
    static const struct {
        const char *settings;
        bool B_slow, B_decays, C_slow, dt_slow;
    } cases[] = {{"", true, false, false, true},
                 {"decay=b", true, true, false, true},
                 {"decay=fast_b", false, true, false, true},
                 {"decay=none global_dt=yes", true, false, true, false}};
    for (int i = 0; i < 4; i++) {
        Subject subject;
        Error error = {0};
        const SubjectShape shape = {1, L, L, TAPE_TRAIN, true, false};
        if (subject_open(&subject, model_find("s5"), cases[i].settings, &shape, NULL, &error))
            fail_msg("%s: %s", cases[i].settings, error.message);
        const Group B = group_of(&subject, "layers.0.mixer.B");
        assert_true(is_slow(B) == cases[i].B_slow && B.no_decay == !cases[i].B_decays);
        assert_true(is_slow(group_of(&subject, "layers.0.mixer.C")) == cases[i].C_slow);
        assert_true(is_slow(group_of(&subject, "layers.0.mixer.log_dt")) == cases[i].dt_slow);
        assert_true(is_slow(group_of(&subject, "layers.0.mixer.A_imag")));
        subject_close(&subject);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_the_system), cmocka_unit_test(impulse_response),
        cmocka_unit_test(time_reversed),         cmocka_unit_test(step_forms),
        cmocka_unit_test(groups_of_training),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
