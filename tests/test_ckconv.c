/* CKConv and FlexConv beyond the properties that all models share: kernels, window and convolution
 * against numbers from an independent double-precision program, what the window crops, and how
 * weights start. */
#include <stdio.h>

#include "bench/check/subject.h"
#include "engine/ops/dense_convolution/dense_convolution.h"
#include "engine/ops/gabor/gabor.h"
#include "engine/ops/gaussian_mask/gaussian_mask.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/sine/sine.h"
#include "tests/bench.h"

static double wave(int64_t i) {
    return sin(0.7 * (double)i + 0.3);
}

/* Entry (o, i) of the published layout is factor * wave(first + o * in + i); ours lies (in, out).
 */
static void fill_weight(Tensor *weight, double factor, int64_t first) {
    const int64_t in = extent(weight, 0), out = extent(weight, 1);
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++)
            weight->data[i * out + o] = (float)(factor * wave(first + o * in + i));
}
static void fill_bias(Tensor *bias, double factor, int64_t first) {
    for (int64_t i = 0; i < tensor_size(bias); i++)
        bias->data[i] = (float)(factor * wave(first + i));
}

/* Two inputs, one output, six taps, hidden width 3, omega 5. */
static void sine_kernel_and_convolution(void **state) {
    (void)state;
    enum { L = 6 };
    static const double kernel[2][L] = {
        {-0.22886400, -0.30149398, -0.20970364, -0.10104423, -0.15044665, -0.30387855},
        {-0.20361017, -0.15418806, -0.28232945, -0.24604939, -0.10864295, -0.06519319}};
    static const double expected[L] = {-0.09524492, -0.40705837, -0.76776006,
                                       -1.00862530, -0.96553239, -0.75498155};
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    Tensor *s = bench_input(&bench, SHAPE(L, 1)), *omega = bench_input(&bench, SHAPE(3));
    Tensor *w[3], *b[3];
    static const int64_t widths[] = {1, 3, 3, 2};
    for (int i = 0; i < 3; i++) {
        w[i] = bench_input(&bench, SHAPE(widths[i], widths[i + 1]));
        b[i] = bench_input(&bench, SHAPE(widths[i + 1]));
    }
    Tensor *h = s;
    for (int i = 0; i < 3; i++) {
        h = linear(bench.tape, h, w[i], b[i], NULL, ACTIVATION_NONE);
        if (i < 2) h = sine(bench.tape, h, omega);
    }
    Tensor *x = bench_input(&bench, SHAPE(1, L, 2)), *bias = bench_input(&bench, SHAPE(1));
    Tensor *y = dense_convolution(bench.tape, x, tape_reshape(bench.tape, h, SHAPE(L, 2, 1)), bias);
    tape_keep(bench.tape, h);
    tape_keep(bench.tape, y);
    bench_plan(&bench);
    static const int64_t weights_from[] = {0, 6, 18}, biases_from[] = {3, 15, 24};
    static const double weight[] = {1, 0.2, 0.2}, offset[] = {0.5, 0.2, 0.1};
    for (int i = 0; i < 3; i++) {
        omega->data[i] = 5;
        fill_weight(w[i], weight[i], weights_from[i]);
        fill_bias(b[i], offset[i], biases_from[i]);
    }
    bias->data[0] = 0.05f;
    for (int64_t t = 0; t < L; t++) {
        s->data[t] = (float)(1 - 2 * (double)t / (L - 1));
        for (int64_t i = 0; i < 2; i++) x->data[t * 2 + i] = (float)wave(10 * i + t);
    }
    bench_run(&bench);
    for (int64_t t = 0; t < L; t++) { /* published kernels end with the present */
        for (int64_t i = 0; i < 2; i++)
            near("a tap", (double)h->data[t * 2 + i], kernel[i][L - 1 - t], 1e-6);
        near("an output", (double)y->data[t], expected[t], 1e-6);
    }
    bench_close(&bench);
}

static void gabor_network(void **state) {
    (void)state;
    static const float positions[] = {-1, -0.5f, 0, 0.5f, 1};
    static const float banks[2][8] = {{1.5f, 0.7f, 0.2f, -0.1f, 3, -2, 0.5f, -1},
                                      {2, 1.1f, 0.05f, 0.3f, 1, 4, 2, 0.1f}};
    static const double expected[] = {0.02196662, -0.10030683, 0.41888535, 0.46803578, -0.05358800};
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    Tensor *s = bench_input(&bench, SHAPE(5)), *bank[2], *u = bench_input(&bench, SHAPE(2, 2));
    Tensor *c = bench_input(&bench, SHAPE(2)), *v = bench_input(&bench, SHAPE(2, 1));
    Tensor *offset = bench_input(&bench, SHAPE(1));
    for (int i = 0; i < 2; i++) bank[i] = bench_input(&bench, SHAPE(GABOR_ROWS, 2));
    Tensor *h = linear(bench.tape, gabor(bench.tape, s, bank[0]), u, c, NULL, ACTIVATION_NONE);
    h = multiply(bench.tape, gabor(bench.tape, s, bank[1]), h);
    h = linear(bench.tape, h, v, offset, NULL, ACTIVATION_NONE);
    tape_keep(bench.tape, h);
    bench_plan(&bench);
    give(s, positions);
    for (int i = 0; i < 2; i++) give(bank[i], banks[i]);
    give(u, (const float[]){0.4f, 0.2f, -0.3f, 0.5f}); /* lies (in, out) */
    give(c, (const float[]){0.1f, -0.2f});
    give(v, (const float[]){0.7f, -0.6f});
    give(offset, (const float[]){0.05f});
    bench_run(&bench);
    for (int k = 0; k < 5; k++) near("a tap", (double)h->data[k], expected[k], 1e-6);
    bench_close(&bench);
}

/* 33 positions, mean 1: three are left at deviation 0.075, eleven at 0.3. */
static void window(void **state) {
    (void)state;
    enum { K = 33 };
    static const struct {
        float deviation;
        int kept;
    } cases[] = {{0.075f, 3}, {0.3f, 11}};
    static const double values[] = {1, 0.70664828, 0.24935221};
    for (int n = 0; n < 2; n++) {
        Bench bench;
        bench_open(&bench, TAPE_EVALUATE);
        Tensor *x = bench_input(&bench, SHAPE(K, 1)), *s = bench_input(&bench, SHAPE(K));
        Tensor *w = bench_input(&bench, SHAPE(2));
        Tensor *y = gaussian_mask(bench.tape, x, s, w, (GaussianMask){0.1f});
        tape_keep(bench.tape, y);
        bench_plan(&bench);
        give(w, (const float[]){1, cases[n].deviation});
        for (int k = 0; k < K; k++) {
            x->data[k] = 1;
            s->data[k] = 1 - 2 * (float)k / (K - 1);
        }
        bench_run(&bench);
        int kept = 0;
        for (int k = 0; k < K; k++) kept += y->data[k] > 0;
        assert_int_equal(kept, cases[n].kept);
        for (int k = 0; k < 3 && n == 0; k++) near("a tap", (double)y->data[k], values[k], 1e-6);
        bench_close(&bench);
    }
}

static void open_subject(Subject *subject, const char *settings, int64_t length) {
    Error error = {0};
    const SubjectShape shape = {1, length, length, TAPE_TRAIN, true, false};
    if (subject_open(subject, model_find("ckconv"), settings, &shape, NULL, &error))
        fail_msg("%s: %s", settings, error.message);
}

/* Of 65 taps the window of deviation 0.075 leaves six (0.839 < s <= 1): with two convolutions the
 * last token sees ten tokens back and no more, and the outermost of them through the smallest taps.
 * Transforms mix positions by rounding alone. */
static void cropped_taps_see_nothing(void **state) {
    (void)state;
    enum { L = 65, D = 3, REACH = 10, CLEARLY = 7 };
    static const int64_t back[] = {REACH + 1, CLEARLY};
    Subject subject;
    open_subject(&subject, "width=3 layers=1 kernel=magnet mask=gaussian", L);
    for (int64_t i = 0; i < L * D; i++) subject.x->data[i] = (float)wave(i);
    double change[2] = {0, 0};
    for (int n = 0; n < 2; n++) {
        float before[D];
        subject_forward(&subject, 1);
        memcpy(before, subject.out->data + (L - 1) * D, sizeof before);
        subject.x->data[(L - 1 - back[n]) * D] += 3;
        subject_forward(&subject, 1);
        for (int d = 0; d < D; d++)
            change[n] =
                fmax(change[n], fabs((double)(subject.out->data[(L - 1) * D + d] - before[d])));
    }
    assert_true(change[0] < 1e-5);
    assert_true(change[1] > 1e-3);
    subject_close(&subject);
}

static const Tensor *parameter(const Subject *subject, const char *name) {
    Parameter *found = parameters_find(subject->parameters, name);
    if (!found) fail_msg("no parameter %s", name);
    return &found->tensor;
}

/* 1024 uniform numbers come within 1 % of their bound, and lengths are those of the directions. */
static void start_of_the_sine_network(void **state) {
    (void)state;
    static const struct {
        const char *settings;
        double bound;
    } cases[] = {{"", 0.17677670}, {"init=intended frequency=20", 0.02165064}};
    for (int n = 0; n < 2; n++) {
        Subject subject;
        open_subject(&subject, cases[n].settings, 8);
        const Tensor *weight = parameter(&subject, "layers.0.first.kernel.inner.weight");
        double largest = 0, square = 0;
        for (int64_t i = 0; i < 32; i++) {
            const double first = (double)weight->data[i * 32];
            square += first * first;
            for (int64_t o = 0; o < 32; o++)
                largest = fmax(largest, fabs((double)weight->data[i * 32 + o]));
        }
        assert_true(largest <= cases[n].bound && largest > 0.99 * cases[n].bound);
        near("a length", (double)weight->data[1024], sqrt(square), 1e-6);
        subject_close(&subject);
    }
}

/* Gamma(6, 1) has mean 6 and variance 6: the mean of 1024 is within 0.077 (one deviation). */
static void start_of_the_gabor_filters(void **state) {
    (void)state;
    Subject subject;
    open_subject(&subject, "kernel=magnet mask=gaussian kernel_width=1024 width=1", 8);
    const float *bank = parameter(&subject, "layers.0.first.kernel.gabor.0")->data;
    double mean = 0, ratio = 0, reach = 0;
    for (int64_t h = 0; h < 1024; h++) {
        mean += (double)bank[GABOR_RATE * 1024 + h] / 1024;
        ratio = fmax(
            ratio, fabs((double)(bank[GABOR_FREQUENCY * 1024 + h] / bank[GABOR_RATE * 1024 + h])));
        reach = fmax(reach, fabs((double)bank[GABOR_CENTRE * 1024 + h]));
    }
    assert_true(fabs(mean - 6) < 0.3);
    assert_true(ratio <= 12.8001 && ratio > 12.6);
    assert_true(reach <= 0.125026 && reach > 0.12);
    const Parameter *window = parameters_find(subject.parameters, "layers.0.first.kernel.window");
    assert_true(window->group.rate_factor == 0.1 && window->group.no_decay);
    subject_close(&subject);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sine_kernel_and_convolution),
        cmocka_unit_test(gabor_network),
        cmocka_unit_test(window),
        cmocka_unit_test(cropped_taps_see_nothing),
        cmocka_unit_test(start_of_the_sine_network),
        cmocka_unit_test(start_of_the_gabor_filters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
