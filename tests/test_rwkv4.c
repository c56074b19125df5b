/* What WKV must do by its definition, and how RWKV-4 starts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/check/subject.h"
#include "engine/ops/wkv/wkv.h"
#include "engine/random.h"
#include "tests/step_form.h"

enum { L = 40, D = 3 };

typedef struct Inputs {
    float k[L * D], v[L * D], decay[D], u[D];
} Inputs;

static Inputs random_inputs(void) {
    Inputs in;
    Random random = random_open(1, 0, 0);
    for (int i = 0; i < L * D; i++) {
        in.k[i] = (float)(3 * random_normal(&random));
        in.v[i] = (float)random_normal(&random);
    }
    for (int d = 0; d < D; d++) {
        in.decay[d] = (float)(d - 2);
        in.u[d] = (float)random_normal(&random);
    }
    return in;
}

static void run(const Inputs *in, float y[L * D]) {
    Device device;
    Error error = {0};
    Parameters *parameters = parameters_open();
    assert_int_equal(device_open(&device, "cpu", &error), STATUS_OK);
    Tape *tape = tape_open(parameters, TAPE_EVALUATE);
    Tensor *k = tape_input(tape, "k", TENSOR_FLOAT, SHAPE(1, L, D), false);
    Tensor *v = tape_input(tape, "v", TENSOR_FLOAT, SHAPE(1, L, D), false);
    Tensor *decay = tape_input(tape, "decay", TENSOR_FLOAT, SHAPE(D), false);
    Tensor *u = tape_input(tape, "u", TENSOR_FLOAT, SHAPE(D), false);
    Tensor *out = wkv(tape, k, v, decay, u, NULL, NULL);
    tape_keep(tape, out);
    assert_int_equal(tape_plan(tape, 1, &error), STATUS_OK);
    assert_int_equal(tape_allocate(tape, &device, &error), STATUS_OK);
    memcpy(k->data, in->k, sizeof in->k);
    memcpy(v->data, in->v, sizeof in->v);
    memcpy(decay->data, in->decay, sizeof in->decay);
    memcpy(u->data, in->u, sizeof in->u);
    tape_forward(tape, &(Run){.threads = 1});
    memcpy(y, out->data, L * D * sizeof *y);
    tape_close(tape);
    parameters_close(parameters);
    device_close(&device);
}

/* Means of some 40 numbers of order one in float32. */
static const double allowed = 5e-6;

static void expect_close(double actual, double expected) {
    assert_true(fabs(actual - expected) < allowed * (1 + fabs(expected)));
}

/* The sum over all tokens so far, in double precision. */
static void equals_the_sum(void **state) {
    (void)state;
    const Inputs in = random_inputs();
    float y[L * D];
    run(&in, y);
    for (int t = 0; t < L; t++)
        for (int d = 0; d < D; d++) {
            const double w = -exp((double)in.decay[d]), now = in.k[t * D + d];
            double weights = exp((double)in.u[d] + now), sum = weights * (double)in.v[t * D + d];
            for (int i = 0; i < t; i++) {
                const double weight = exp((t - 1 - i) * w + (double)in.k[i * D + d]);
                weights += weight;
                sum += weight * (double)in.v[i * D + d];
            }
            expect_close((double)y[t * D + d], sum / weights);
        }
}

static void mean_of_equal_values(void **state) {
    (void)state;
    Inputs in = random_inputs();
    float y[L * D];
    for (int i = 0; i < L * D; i++) in.v[i] = (float)(i % D + 1);
    run(&in, y);
    for (int i = 0; i < L * D; i++) expect_close((double)y[i], (double)in.v[i]);
}

/* Without a bonus the present token does not count; with fast decays only it and the last one do.
 */
static void limits(void **state) {
    (void)state;
    Inputs in = random_inputs();
    float y[L * D], changed[L * D];
    for (int d = 0; d < D; d++) in.u[d] = -80;
    run(&in, y);
    for (int d = 0; d < D; d++) in.v[(L - 1) * D + d] += 1;
    run(&in, changed);
    for (int i = 0; i < L * D; i++) expect_close((double)changed[i], (double)y[i]);
    for (int d = 0; d < D; d++) {
        in.u[d] = 0.5f;
        in.decay[d] = 5;
    }
    run(&in, y);
    for (int t = 1; t < L; t++)
        for (int d = 0; d < D; d++) {
            const int i = t * D + d;
            const double now = exp(0.5 + (double)in.k[i]), last = exp((double)in.k[i - D]);
            expect_close((double)y[i],
                         (now * (double)in.v[i] + last * (double)in.v[i - D]) / (now + last));
        }
}

static void large_keys_stay_finite(void **state) {
    (void)state;
    Inputs in = random_inputs();
    float y[L * D];
    for (int i = 0; i < L * D; i++) in.k[i] = i % 7 < 3 ? 200 : -200;
    run(&in, y);
    for (int i = 0; i < L * D; i++) assert_true(isfinite(y[i]));
}

static const Parameter *parameter(const Subject *subject, const char *name) {
    const Parameter *found = parameters_find(subject->parameters, name);
    assert_non_null(found);
    return found;
}

/* Initial values of layer 1 of 3 with 8 channels as the released code computes them; products are
 * zero or orthogonal, and every branch adds zero. */
static void start_as_published(void **state) {
    (void)state;
    static const double decay[] = {-5.0, -4.4216, -3.5257, -2.4513, -1.2417, 0.0795, 1.497, 3.0};
    static const double first[] = {-1.204, -0.704, -1.704, -1.204, -0.704, -1.704, -1.204, -0.704};
    static const double mix_v[] = {0.15, 0.4, 0.5469, 0.67, 0.78, 0.881, 0.9755, 1.0648};
    static const double mix_r[] = {0.0, 0.5, 0.63, 0.7211, 0.7937, 0.855, 0.9086, 0.9565};
    const SubjectShape shape = {2, 5, 5, TAPE_TRAIN, true, false};
    Subject subject;
    Error error = {0};
    assert_int_equal(
        subject_open(&subject, model_find("rwkv4"), "width=8 layers=3", &shape, NULL, &error),
        STATUS_OK);
    for (int c = 0; c < 8; c++) { /* printed to four digits */
        const float *values = parameter(&subject, "layers.1.time.decay")->tensor.data;
        assert_true(fabs((double)values[c] - decay[c]) < 6e-5);
        values = parameter(&subject, "layers.1.time.first")->tensor.data;
        assert_true(fabs((double)values[c] - first[c]) < 6e-5);
        values = parameter(&subject, "layers.1.time.mix_v")->tensor.data;
        assert_true(fabs((double)values[c] - mix_v[c]) < 6e-5);
        values = parameter(&subject, "layers.1.time.mix_r")->tensor.data;
        assert_true(fabs((double)values[c] - mix_r[c]) < 6e-5);
    }
    /* key (8, 32): rows of length 2, at right angles */
    const float *key = parameter(&subject, "layers.1.channel.key.weight")->tensor.data;
    for (int i = 0; i < 8; i++)
        for (int j = 0; j <= i; j++) {
            double sum = 0;
            for (int c = 0; c < 32; c++) sum += (double)key[i * 32 + c] * (double)key[j * 32 + c];
            assert_true(fabs(sum - (i == j ? 4 : 0)) < 1e-6); /* rounding to float32 */
        }
    /* norms of x alone: two layer norms, whose gains are one */
    for (int64_t i = 0; i < tensor_size(subject.x); i++)
        subject.x->data[i] = (float)((i * 37) % 11) - 5;
    subject_forward(&subject, 1);
    for (int64_t r = 0; r < 10; r++) {
        double mean = 0, square = 0;
        for (int c = 0; c < 8; c++) mean += (double)subject.x->data[r * 8 + c] / 8;
        for (int c = 0; c < 8; c++) square += pow((double)subject.x->data[r * 8 + c] - mean, 2) / 8;
        for (int c = 0; c < 8; c++) /* 2e-5: epsilon of the two norms, 1e-5 of a variance of one */
            assert_true(fabs((double)subject.out->data[r * 8 + c] -
                             ((double)subject.x->data[r * 8 + c] - mean) / sqrt(square)) < 2e-5);
    }
    subject_close(&subject);
}

/* The parameter of the stack that time mixing alone has under another name. */
static const Tensor *in_stack(const Subject *stack, const char *name) {
    char other[128];
    const char *mixer = strstr(name, ".mixer.");
    snprintf(other, sizeof other, "%s", name);
    if (mixer)
        snprintf(other, sizeof other, "%.*s.time.%s", (int)(mixer - name), name,
                 mixer + strlen(".mixer."));
    return &parameter(stack, other)->tensor;
}

/* Time mixing alone is the stack whose channel mixing adds nothing, after its first norm. */
static void time_mixing_alone(void **state) {
    (void)state;
    enum { ROWS = 2 * 12, W = 16 };
    const SubjectShape shape = {2, 12, 12, TAPE_EVALUATE, true, false};
    Subject stack, alone;
    open_model(&stack, "rwkv4", "width=16 layers=2", shape, 0.3, NULL);
    open_model(&alone, "rwkv4", "width=16 layers=2 hidden=0", shape, 0, NULL);
    for (int i = 0; i < stack.parameters->count; i++) {
        Tensor *tensor = &stack.parameters->list[i]->tensor;
        const bool norm = strstr(tensor->name, "norm0"), gain = strstr(tensor->name, "gamma");
        for (int64_t k = 0; k < tensor_size(tensor); k++)
            if (norm || strstr(tensor->name, "channel.value")) tensor->data[k] = norm && gain;
    }
    for (int i = 0; i < alone.parameters->count; i++) {
        Tensor *tensor = &alone.parameters->list[i]->tensor;
        memcpy(tensor->data, in_stack(&stack, tensor->name)->data,
               (size_t)tensor_size(tensor) * sizeof(float));
    }
    for (int r = 0; r < ROWS; r++) { /* layer norm, whose epsilon is 1e-5 */
        const float *x = stack.x->data + r * W;
        double mean = 0, square = 0;
        for (int c = 0; c < W; c++) mean += (double)x[c] / W;
        for (int c = 0; c < W; c++) square += pow((double)x[c] - mean, 2) / W;
        for (int c = 0; c < W; c++)
            alone.x->data[r * W + c] = (float)(((double)x[c] - mean) / sqrt(square + 1e-5));
    }
    subject_forward(&stack, 1);
    subject_forward(&alone, 1);
    /* one rounding of the norm, through two blocks */
    assert_true(output_difference(&stack, &alone, 0, 12) < 2e-5);
    subject_close(&alone);
    subject_close(&stack);
    step_form_agrees("rwkv4", "width=16 layers=2 hidden=0 mlp=identity", 12, 0.3, 2e-5f);
}

static void other_mlps_are_refused(void **state) {
    (void)state;
    const SubjectShape shape = {2, 5, 5, TAPE_EVALUATE, true, false};
    Subject subject;
    Error error = {0};
    assert_int_equal(
        subject_open(&subject, model_find("rwkv4"), "width=8 mlp=gelu", &shape, NULL, &error),
        STATUS_USAGE);
    assert_non_null(strstr(error.message, "hidden=0"));
    free(subject.options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_sum),
        cmocka_unit_test(mean_of_equal_values),
        cmocka_unit_test(limits),
        cmocka_unit_test(large_keys_stay_finite),
        cmocka_unit_test(start_as_published),
        cmocka_unit_test(time_mixing_alone),
        cmocka_unit_test(other_mlps_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
