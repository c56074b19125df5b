/* Mega beyond the properties that all models share: moving averages and the laplace function
 * against numbers from an independent double-precision program, chunks token by token, reversal, a
 * closed update gate, and how the averages start. */
#include <stdio.h>
#include <stdlib.h>

#include "bench/check/subject.h"
#include "engine/ops/chunk_attention/chunk_attention.h"
#include "engine/ops/ema_kernel/ema_kernel.h"
#include "engine/ops/long_convolution/long_convolution.h"
#include "engine/ops/pointwise/pointwise.h"
#include "tests/bench.h"

static double wave(int64_t i) {
    return sin(0.7 * (double)i + 0.3);
}
enum { L = 6 };
static const float delta[] = {0.2f, -0.1f}, alpha[] = {0.1f, 0.3f}, beta[] = {1.02f, -0.98f},
                   gamma_[] = {0.7f, -0.4f};

/* Two averages of one channel; bidirectional: what looks ahead has half of gamma. */
static void averages(bool both, const double expected[L]) {
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    EmaParameters past, future;
    Tensor **const sets[] = {&past.delta,   &past.alpha,   &past.beta,   &past.gamma,
                             &future.delta, &future.alpha, &future.beta, &future.gamma};
    static const float *const values[] = {delta, alpha, beta, gamma_};
    for (int i = 0; i < 8; i++) *sets[i] = bench_input(&bench, SHAPE(2, 1));
    Tensor *x = bench_input(&bench, SHAPE(1, L, 1)), *omega = bench_input(&bench, SHAPE(1));
    Tensor *kernel = ema_kernel(bench.tape, past, (EmaKernel){.length = L}), *reverse = NULL;
    Tensor *skip = omega;
    if (both) {
        reverse = ema_kernel(bench.tape, future, (EmaKernel){.length = L, .first = 1});
        Tensor *present = ema_kernel(bench.tape, future, (EmaKernel){.length = 1});
        skip = add(bench.tape, omega, tape_reshape(bench.tape, present, SHAPE(1)));
    }
    Tensor *y = long_convolution(bench.tape, x, kernel, reverse, (ConvolutionGates){.skip = skip});
    y = activate(bench.tape, y, ACTIVATION_SILU);
    tape_keep(bench.tape, kernel);
    tape_keep(bench.tape, y);
    bench_plan(&bench);
    for (int i = 0; i < 8; i++)
        for (int n = 0; n < 2; n++) (*sets[i])->data[n] = values[i % 4][n] * (i == 7 ? 0.5f : 1);
    for (int64_t t = 0; t < L; t++) x->data[t] = (float)wave(t);
    omega->data[0] = 0.5f;
    bench_run(&bench);
    static const double taps[L] = {0.40926607, 0.29320849, 0.21008415,
                                   0.15054155, 0.10788625, 0.07732552};
    for (int t = 0; t < L; t++) {
        near("a tap", (double)kernel->data[t], taps[t], 1e-7);
        near("an output", (double)y->data[t], expected[t], 3e-7);
    }
    bench_close(&bench);
}

static void averages_of_the_past(void **state) {
    (void)state;
    static const double expected[L] = {0.15229621, 0.59703827, 0.93255171,
                                       0.85044301, 0.38954951, -0.06481728};
    averages(false, expected);
}
static void averages_of_both_sides(void **state) {
    (void)state;
    static const double expected[L] = {0.37658183, 0.93247659, 1.19598584,
                                       0.92837708, 0.32728481, -0.11487260};
    averages(true, expected);
}

/* A sequence of one token whose score is its bias alone. erf of float32 leaves 1e-7. */
static void laplace_numbers(void **state) {
    (void)state;
    static const double points[] = {-0.5, 0, 0.5, 0.707107, 1.5};
    static const double expected[] = {0.00000938, 0.00609446, 0.23142115, 0.5, 0.99752854};
    for (int i = 0; i < 5; i++) {
        Bench bench;
        bench_open(&bench, TAPE_EVALUATE);
        Tensor *in[4]; /* q, k, v, bias */
        for (int n = 0; n < 3; n++) in[n] = bench_input(&bench, SHAPE(1, 1, 1));
        in[3] = bench_input(&bench, SHAPE(1));
        const ChunkAttention attributes = {.chunk = 1, .function = ATTENTION_LAPLACE};
        Tensor *y =
            chunk_attention(bench.tape, in[0], in[1], in[2], in[3], NULL, NULL, &attributes);
        tape_keep(bench.tape, y);
        bench_plan(&bench);
        in[0]->data[0] = 0;
        in[1]->data[0] = in[2]->data[0] = 1;
        in[3]->data[0] = (float)points[i];
        bench_run(&bench);
        near("a weight", (double)y->data[0], expected[i], 2e-7);
        bench_close(&bench);
    }
}

static void open_subject(Subject *subject, const char *settings, SubjectShape shape,
                         const Subject *like) {
    Error error = {0};
    if (subject_open(subject, model_find("mega"), settings, &shape, like, &error))
        fail_msg("%s: %s", settings, error.message);
}

static const Tensor *parameter(const Subject *subject, const char *name) {
    Parameter *found = parameters_find(subject->parameters, name);
    if (!found) fail_msg("no parameter %s", name);
    return &found->tensor;
}

static void fill(Tensor *x) {
    for (int64_t i = 0; i < tensor_size(x); i++) x->data[i] = (float)wave(i);
}

/* Tokens 0 .. 12 in chunks of five, the last of them cut short. */
static void chunks_step_by_step(void **state) {
    (void)state;
    static const char *const settings[] = {
        "width=8 layers=2 chunk=5", "width=8 layers=2 chunk=5 attention=laplace bias=rotary",
        "width=8 layers=1 chunk=1 attention=relu2", "width=8 layers=2 chunk=40 norm_place=post"};
    enum { LENGTH = 13, D = 8 };
    for (int s = 0; s < 4; s++) {
        Subject whole, step;
        open_subject(&whole, settings[s], (SubjectShape){1, LENGTH, 16, TAPE_TRAIN, true, false},
                     NULL);
        subject_disturb(&whole, 0.2);
        open_subject(&step, settings[s], (SubjectShape){1, 1, 16, TAPE_STEP, true, false}, &whole);
        fill(whole.x);
        subject_forward(&whole, 1);
        for (int64_t t = 0; t < LENGTH; t++) {
            memcpy(step.x->data, whole.x->data + t * D, D * sizeof(float));
            subject_forward(&step, 1);
            for (int64_t d = 0; d < D; d++) /* float32 in another order, through two layers */
                near(settings[s], (double)step.out->data[d], (double)whole.out->data[t * D + d],
                     2e-5);
        }
        subject_close(&step);
        subject_close(&whole);
    }
}

static void exchange(const Subject *subject, const char *first, const char *second) {
    Tensor *a = &parameters_find(subject->parameters, first)->tensor;
    Tensor *b = &parameters_find(subject->parameters, second)->tensor;
    for (int64_t i = 0; i < tensor_size(a); i++) {
        const float value = a->data[i];
        a->data[i] = b->data[i];
        b->data[i] = value;
    }
}

/* A sequence read backwards, with past and future exchanged, gives its output backwards. */
static void reversal(void **state) {
    (void)state;
    enum { LENGTH = 9, D = 8 };
    static const char *const pairs[][2] = {
        {"layers.0.mega.past.delta", "layers.0.mega.future.delta"},
        {"layers.0.mega.past.alpha", "layers.0.mega.future.alpha"},
        {"layers.0.mega.past.beta", "layers.0.mega.future.beta"},
        {"layers.0.mega.past.gamma", "layers.0.mega.future.gamma"},
        {"layers.0.mega.bias.query", "layers.0.mega.bias.key"}};
    Subject subject;
    open_subject(&subject, "width=8 layers=1 bias=rotary attention=laplace",
                 (SubjectShape){1, LENGTH, LENGTH, TAPE_TRAIN, false, false}, NULL);
    subject_disturb(&subject, 0.3);
    fill(subject.x);
    subject_forward(&subject, 1);
    float before[LENGTH * D], x[LENGTH * D];
    memcpy(before, subject.out->data, sizeof before);
    memcpy(x, subject.x->data, sizeof x);
    for (int i = 0; i < 5; i++) exchange(&subject, pairs[i][0], pairs[i][1]);
    for (int64_t t = 0; t < LENGTH; t++)
        memcpy(subject.x->data + t * D, x + (LENGTH - 1 - t) * D, D * sizeof(float));
    subject_forward(&subject, 1);
    for (int64_t t = 0; t < LENGTH; t++)
        for (int64_t d = 0; d < D; d++) /* float32 in another order */
            near("an output", (double)subject.out->data[(LENGTH - 1 - t) * D + d],
                 (double)before[t * D + d], 1e-5);
    subject_close(&subject);
}

/* With sigmoid(-200) = 0 on its update the first half of a layer is the identity: nothing is left
 * of its values. */
static void closed_gate(void **state) {
    (void)state;
    enum { LENGTH = 7, D = 8 };
    Subject subject;
    open_subject(&subject, "width=8 layers=1",
                 (SubjectShape){1, LENGTH, LENGTH, TAPE_TRAIN, true, false}, NULL);
    fill(subject.x);
    Tensor *bias = &parameters_find(subject.parameters, "layers.0.mega.update.bias")->tensor;
    Tensor *value = &parameters_find(subject.parameters, "layers.0.mega.value.bias")->tensor;
    float results[3][LENGTH * D];
    for (int n = 0; n < 3; n++) {
        for (int64_t d = 0; d < D; d++) bias->data[d] = n ? -200 : 0;
        for (int64_t h = 0; h < tensor_size(value); h++) value->data[h] = n == 2 ? 3 : 0;
        subject_forward(&subject, 1);
        memcpy(results[n], subject.out->data, sizeof results[n]);
    }
    assert_memory_equal(results[1], results[2], sizeof results[1]);
    assert_memory_not_equal(results[0], results[1], sizeof results[0]);
    subject_close(&subject);
}

static void start_of_the_averages(void **state) {
    (void)state;
    Subject subject;
    open_subject(&subject, "width=64 layers=1", (SubjectShape){1, 8, 8, TAPE_TRAIN, true, false},
                 NULL);
    const Tensor *betas = parameter(&subject, "layers.0.mega.past.beta");
    for (int64_t n = 0; n < 16; n++)
        for (int64_t d = 0; d < 64; d++) /* five deviations of 0.02 */
            near("a beta", (double)betas->data[n * 64 + d], n % 2 ? -1 : 1, 0.1);
    for (int p = 0; p < subject.parameters->count; p++) /* one group, as published */
        if (!strncmp(subject.parameters->list[p]->tensor.name, "layers.0.mega.past", 18))
            assert_false(subject.parameters->list[p]->group.no_decay);
    subject_close(&subject);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(averages_of_the_past),
        cmocka_unit_test(averages_of_both_sides),
        cmocka_unit_test(laplace_numbers),
        cmocka_unit_test(chunks_step_by_step),
        cmocka_unit_test(reversal),
        cmocka_unit_test(closed_gate),
        cmocka_unit_test(start_of_the_averages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
