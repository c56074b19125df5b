/* H3 beyond the properties that all models share: its pieces against numbers from an independent
 * double-precision program, the shift's filter, and the case in which it is linear attention. */
#include <math.h>
#include <stdio.h>

#include "engine/ops/long_convolution/long_convolution.h"
#include "engine/ops/shift_filter/shift_filter.h"
#include "engine/ops/vandermonde/vandermonde.h"
#include "tests/bench.h"
#include "tests/mixer_alone.h"
#include "tests/step_form.h"

enum { L = 6 };

static double wave(int64_t i) {
    return sin(0.7 * (double)i + 0.3);
}

/* One head of one component: q_t, k_t, v_t = wave(t), wave(10 + t), wave(20 + t). */
static void numbers_of_one_head(void **state) {
    (void)state;
    static const double filtered[L] = {0.68034930,  0.57887744,  0.38934040,
                                       -0.02225219, -0.42337922, -0.62538439};
    static const double kernel[L] = {0.02868119, 0.01064729, 0.00181162,
                                     0.00173451, 0.00921323, 0.02246508};
    static const double y[L] = {-0.03398920, -0.04825220, 0.00465399,
                                -0.00037364, -0.00267705, 0.04276575};
    static const double B[] = {1, 0, 0}, C[] = {0.5, -0.25, 0.125}, gain = 0.3, skip = -0.2;
    static const double A_imag[] = {0, M_PI}, C_modes[] = {0.5, 0.25, -0.3, 0.4};
    const double log_dt = log(0.1), A_real[] = {log(0.5), log(0.5)};
    double q[L], k[L], v[L];
    for (int t = 0; t < L; t++) {
        q[t] = wave(t);
        k[t] = wave(10 + t);
        v[t] = wave(20 + t);
    }
    Bench b;
    bench_open(&b, TAPE_EVALUATE);
    Tensor *shift =
        shift_filter(b.tape, constant(&b, SHAPE(3, 1), B), constant(&b, SHAPE(3, 1), C), 3);
    Tensor *key = long_convolution(b.tape, constant(&b, SHAPE(1, L, 1), k), shift, NULL,
                                   (ConvolutionGates){.skip = constant(&b, SHAPE(1), &gain)});
    const DiagonalParameters modes = {.log_dt = constant(&b, SHAPE(1), &log_dt),
                                      .A_real = constant(&b, SHAPE(1, 2), A_real),
                                      .A_imag = constant(&b, SHAPE(1, 2), A_imag),
                                      .C = constant(&b, SHAPE(1, 2, 2), C_modes)};
    Tensor *K =
        vandermonde(b.tape, modes, (DiagonalForm){.discretisation = DISCRETISATION_BILINEAR}, L);
    const ConvolutionGates gates = {
        .skip = constant(&b, SHAPE(1), &skip), .pre = key, .post = constant(&b, SHAPE(1, L, 1), q)};
    Tensor *out = long_convolution(b.tape, constant(&b, SHAPE(1, L, 1), v), K, NULL, gates);
    Tensor *const kept[] = {key, K, out};
    for (int i = 0; i < 3; i++) tape_keep(b.tape, kept[i]);
    bench_plan(&b);
    bench_run(&b);
    expect(key, filtered, L);
    expect(K, kernel, L);
    expect(out, y, L);
    bench_close(&b);
}

/* B at the second place of the register drops the first tap of C. */
static void shift_of_the_second_place(void **state) {
    (void)state;
    static const double B[] = {0, 1, 0}, C[] = {0.5, -0.25, 0.125}, expected[] = {-0.25, 0.125, 0};
    Bench b;
    bench_open(&b, TAPE_EVALUATE);
    Tensor *filter =
        shift_filter(b.tape, constant(&b, SHAPE(3, 1), B), constant(&b, SHAPE(3, 1), C), 3);
    tape_keep(b.tape, filter);
    bench_plan(&b);
    bench_run(&b);
    expect(filter, expected, 3);
    bench_close(&b);
}

/* A shift that leaves keys as they are and a kernel of ones: y_t = sum_{s <= t} (q_t . k_s) v_s in
 * every head. Two heads of two components; projections are of small integers. */
static void linear_attention(void **state) {
    (void)state;
    enum { D = 4, H = 2 };
    static const MixerSetting settings[] = {
        {"head_dim", "2"}, {"state", "2"}, {"discretisation", "zoh"}, {0}};
    static const int row[3][H] = {{0, 3}, {1, 2}, {2, 0}}; /* q, k, v of component i read this u */
    MixerAlone own;
    mixer_open(&own, "h3", settings, L, D, true);
    for (int i = 0; i < H; i++) {
        char name[32];
        for (int p = 0; p < 3; p++) {
            snprintf(name, sizeof name, "%d.%c.weight", i, "qkv"[p]);
            for (int head = 0; head < H; head++)
                mixer_parameter(&own, name)->data[row[p][i] * H + head] = (float)(head + 1);
        }
        snprintf(name, sizeof name, "%d.shift.B", i);
        for (int head = 0; head < H; head++) mixer_parameter(&own, name)->data[head] = 1;
        snprintf(name, sizeof name, "%d.shift.C", i);
        for (int head = 0; head < H; head++) mixer_parameter(&own, name)->data[head] = 1;
        snprintf(name, sizeof name, "out.%d.weight", i);
        for (int head = 0; head < H; head++)
            mixer_parameter(&own, name)->data[head * D + i * H + head] = 1;
    }
    /* lambda = -e^-20, one step of 1: e^(lambda t) is 1 and B bar is 1 to float32 */
    mixer_fill(&own, "A_real", -20);
    for (int head = 0; head < H; head++) {
        mixer_parameter(&own, "B")->data[2 * head] = 1;
        mixer_parameter(&own, "C")->data[2 * head] = 0.5f;
    }
    for (int i = 0; i < L * D; i++) own.u->data[i] = (float)wave(i);
    mixer_run(&own);
    for (int t = 0; t < L; t++)
        for (int j = 0; j < H; j++)
            for (int head = 0; head < H; head++) {
                double sum = 0;
                for (int s = 0; s <= t; s++)
                    for (int i = 0; i < H; i++)
                        sum += pow(head + 1, 3) * wave(t * D + row[0][i]) *
                               wave(s * D + row[1][i]) * wave(s * D + row[2][j]);
                const double y = (double)own.y->data[t * D + j * H + head];
                if (fabs(y - sum) > 1e-5) /* sums of 12 terms of up to 8 */
                    fail_msg("y[%d] of head %d, component %d is %.7f, not %.7f", t, head, j, y,
                             sum);
            }
    mixer_close(&own);
}

/* A register of four keys that is filled three times. */
static void step_form_of_heads(void **state) {
    (void)state;
    step_form_agrees("h3", "width=12 head_dim=2 state=4 discretisation=zoh", 12, 0.05, 2e-4f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_of_one_head),
        cmocka_unit_test(shift_of_the_second_place),
        cmocka_unit_test(linear_attention),
        cmocka_unit_test(step_form_of_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
