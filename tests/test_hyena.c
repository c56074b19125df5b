/* Hyena beyond the properties that all models share: position features, filter and operator against
 * numbers from an independent double-precision program, and what the options of training do. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <string.h>

#include "bench/check/subject.h"
#include "engine/ops/long_convolution/long_convolution.h"

enum { L = 8, D = 2 };

static double wave(int64_t i) {
    return sin(0.7 * (double)i + 0.3);
}

/* The filter of two channels, e = 3, F = 4, one inner layer, w = 10. */
static const double filter[D][L] = {{-0.26650636, -0.07210985, -0.00988326, 0.01636357, 0.01145187,
                                     -0.00192197, -0.00847478, -0.01244087},
                                    {0.21452011, 0.01293845, 0.00173877, 0.00014263, 0.00001536,
                                     0.00000241, 0.00000024, 0.00000005}};

static Tensor *parameter(const Parameters *parameters, const char *name) {
    Parameter *found = parameters_find(parameters, name);
    if (!found) fail_msg("no parameter %s", name);
    return &found->tensor;
}

/* Entry (i, j) of the published layout (out, in) is factor * wave(first + i * in + j); ours lies
 * (in, out). */
static void fill_weight(Tensor *weight, double factor, int64_t first) {
    const int64_t in = extent(weight, 0), out = extent(weight, 1);
    for (int64_t i = 0; i < out; i++)
        for (int64_t j = 0; j < in; j++)
            weight->data[j * out + i] = (float)(factor * wave(first + i * in + j));
}

static void fill_bias(Tensor *bias, double factor, int64_t first) {
    for (int64_t i = 0; i < extent(bias, 0); i++) bias->data[i] = (float)(factor * wave(first + i));
}

/* u in the place of v and ones in the places of the gates: an impulse then gives the filter. */
static void open_gates(const Parameters *parameters) {
    static const char *const names[] = {"x0", "x1", "v"};
    for (int p = 0; p < 3; p++) {
        char name[64];
        const bool gate = p < 2;
        for (int64_t c = 0; c < D; c++) {
            snprintf(name, sizeof name, "%s.in.weight", names[p]);
            parameter(parameters, name)->data[c * D + c] = gate ? 0 : 1;
            snprintf(name, sizeof name, "%s.in.bias", names[p]);
            parameter(parameters, name)->data[c] = gate ? 1 : 0;
            snprintf(name, sizeof name, "%s.short.weight", names[p]);
            parameter(parameters, name)->data[2 * D + c] = 1; /* the tap on the token itself */
            parameter(parameters, "out.weight")->data[c * D + c] = 1;
        }
    }
}

static void filter_numbers(void **state) {
    (void)state;
    const Model *model = model_find("hyena");
    double storage[32]; /* the model's options, whose type is its own */
    Backbone backbone;
    Device device;
    Error error = {0};
    assert_true(model->options.bytes <= sizeof storage);
    option_defaults(&backbone_options, &backbone);
    option_defaults(&model->options, storage);
    backbone.width = D;
    static const char *const settings[][2] = {
        {"filter_order", "4"}, {"filter_layers", "1"}, {"filter_frequency", "10"}};
    for (int i = 0; i < 3; i++)
        assert_int_equal(
            option_set(&model->options, storage, settings[i][0], settings[i][1], &error),
            STATUS_OK);
    assert_int_equal(device_open(&device, "cpu", &error), STATUS_OK);
    Parameters *parameters = parameters_open();
    Tape *tape = tape_open(parameters, TAPE_EVALUATE);
    tape_set_horizon(tape, L);
    const ModelContext context = {
        .backbone = &backbone, .options = storage, .max_length = L, .causal = true};
    Tensor *u = tape_input(tape, "u", TENSOR_FLOAT, SHAPE(1, L, D), false);
    Tensor *y = model->mixer(tape, &context, u);
    tape_keep(tape, y);
    if (tape_plan(tape, 1, &error) || parameters_allocate(parameters, &device, true, 1, &error) ||
        tape_allocate(tape, &device, &error))
        fail_msg("%s", error.message);

    const float *z = parameter(parameters, "filter.positions")->data + 3L * 3;
    assert_true(fabs(z[0] - 0.42857143) < 1e-7 && fabs(z[1] - 0.99999997) < 1e-7 &&
                fabs(z[2] + 0.00023562) < 1e-8);
    for (int p = 0; p < parameters->count; p++) {
        Tensor *tensor = &parameters->list[p]->tensor;
        if (!strstr(tensor->name, "filter."))
            memset(tensor->data, 0, (size_t)tensor_size(tensor) * sizeof(float));
    }
    open_gates(parameters);
    fill_weight(parameter(parameters, "filter.in.weight"), 0.3, 0);
    fill_bias(parameter(parameters, "filter.in.bias"), 0.1, 12);
    fill_weight(parameter(parameters, "filter.inner.0.weight"), 0.3, 20);
    fill_bias(parameter(parameters, "filter.inner.0.bias"), 0.1, 36);
    fill_weight(parameter(parameters, "filter.out.weight"), 0.3, 40);
    for (int64_t i = 0; i < L * D; i++) u->data[i] = i < D;
    tape_forward(tape, &(Run){.threads = 1});
    for (int t = 0; t < L; t++) /* two sines of arguments near 10 in float32 */
        for (int c = 0; c < D; c++)
            if (fabs((double)y->data[t * D + c] - filter[c][t]) > 2e-6)
                fail_msg("h[%d] of channel %d is %.8f", t, c, (double)y->data[t * D + c]);
    tape_close(tape);
    parameters_close(parameters);
    device_close(&device);
}

static void operator_numbers(void **state) {
    (void)state;
    static const double expected[D][L] = {{-0.00025066, -0.01062625, 0.03084632, 0.01525529,
                                           -0.00150288, 0.02650172, -0.01964815, -0.04548011},
                                          {-0.00287867, 0.00194841, -0.00499750, -0.00538773,
                                           0.00484994, 0.00027898, 0.00009776, 0.00782935}};
    Device device;
    Error error = {0};
    assert_int_equal(device_open(&device, "cpu", &error), STATUS_OK);
    Parameters *parameters = parameters_open();
    Tape *tape = tape_open(parameters, TAPE_EVALUATE);
    Tensor *in[3]; /* x0, x1, v */
    for (int i = 0; i < 3; i++) in[i] = tape_input(tape, "in", TENSOR_FLOAT, SHAPE(1, L, D), false);
    Tensor *h = tape_input(tape, "h", TENSOR_FLOAT, SHAPE(L, D), false);
    Tensor *skip = tape_input(tape, "skip", TENSOR_FLOAT, SHAPE(D), false);
    Tensor *y = long_convolution(tape, in[2], h, NULL, (ConvolutionGates){skip, in[1], in[0]});
    tape_keep(tape, y);
    if (tape_plan(tape, 1, &error) || tape_allocate(tape, &device, &error))
        fail_msg("%s", error.message);
    skip->data[0] = 0.3f;
    skip->data[1] = -0.2f;
    for (int t = 0; t < L; t++)
        for (int c = 0; c < D; c++) {
            h->data[t * D + c] = (float)filter[c][t];
            for (int i = 0; i < 3; i++) in[i]->data[t * D + c] = (float)wave(20L * i + L * c + t);
        }
    tape_forward(tape, &(Run){.threads = 1});
    for (int t = 0; t < L; t++)
        for (int c = 0; c < D; c++)
            if (fabs((double)y->data[t * D + c] - expected[c][t]) > 1e-7)
                fail_msg("y[%d] of channel %d is %.8f", t, c, (double)y->data[t * D + c]);
    tape_close(tape);
    parameters_close(parameters);
    device_close(&device);
}

static void open_subject(Subject *subject, const char *settings) {
    Error error = {0};
    const SubjectShape shape = {1, L, L, TAPE_TRAIN, true, false};
    if (subject_open(subject, model_find("hyena"), settings, &shape, NULL, &error))
        fail_msg("%s: %s", settings, error.message);
}

static Group group_of(const Subject *subject, const char *name) {
    const Parameter *found = parameters_find(subject->parameters, name);
    assert_non_null(found);
    return found->group;
}

static void rates_of_position_features(void **state) {
    (void)state;
    static const char name[] = "layers.0.mixer.filter.positions";
    static const struct {
        const char *settings;
        double fixed;
        bool frozen;
    } cases[] = {{"", 1e-5, false}, {"position_lr=0", 0, true}, {"position_lr=-1", 0, false}};
    for (int i = 0; i < 3; i++) {
        Subject subject;
        open_subject(&subject, cases[i].settings);
        const Group group = group_of(&subject, name);
        assert_true(group.fixed_rate == cases[i].fixed && group.frozen == cases[i].frozen);
        assert_true(group.no_decay);
        assert_true(group_of(&subject, "layers.0.mixer.filter.rate").frozen);
        assert_true(group_of(&subject, "layers.0.mixer.filter.frequency").no_decay);
        assert_false(group_of(&subject, "layers.0.mixer.skip").no_decay);
        subject_close(&subject);
    }
}

static double largest(const Tensor *tensor) {
    double size = 0;
    for (int64_t i = 0; i < tensor_size(tensor); i++) size = fmax(size, fabs(tensor->data[i]));
    return size;
}

/* 4096 normal numbers: the root of their mean square is within 1.1 % (one deviation) of the truth.
 */
static void start_of_the_filter(void **state) {
    (void)state;
    static const char weight[] = "layers.0.mixer.filter.inner.0.weight";
    static const char bias[] = "layers.0.mixer.filter.inner.0.bias";
    Subject uniform, normal;
    open_subject(&uniform, "");
    open_subject(&normal, "filter_deviation=0.02");
    const double bound = 1 / sqrt(64.0), most = largest(parameter(uniform.parameters, weight));
    assert_true(most <= bound && most > 0.99 * bound);
    assert_true(largest(parameter(uniform.parameters, bias)) > 0.9 * bound);
    const Tensor *drawn = parameter(normal.parameters, weight);
    double square = 0;
    for (int64_t i = 0; i < tensor_size(drawn); i++)
        square += (double)drawn->data[i] * (double)drawn->data[i];
    assert_true(fabs(sqrt(square / (double)tensor_size(drawn)) / 0.02 - 1) < 0.05);
    assert_true(largest(parameter(normal.parameters, bias)) == 0);
    subject_close(&uniform);
    subject_close(&normal);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filter_numbers),
        cmocka_unit_test(operator_numbers),
        cmocka_unit_test(rates_of_position_features),
        cmocka_unit_test(start_of_the_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
