/* The shared parts of stacks: scale norm against its definition, dropout that takes a channel at
 * all positions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "models/backbone.h"

enum { B = 3, L = 5, D = 7 };

typedef struct Part {
    Device device;
    Parameters *parameters;
    Tape *tape;
    Tensor *x, *y;
} Part;

typedef Tensor *Record(Tape *tape, const Backbone *backbone, Tensor *x);

static Backbone options_of(const char *key, const char *value) {
    Backbone backbone;
    Error error = {0};
    option_defaults(&backbone_options, &backbone);
    if (option_set(&backbone_options, &backbone, key, value, &error)) fail_msg("%s", error.message);
    return backbone;
}

static void open_part(Part *part, const Backbone *backbone, Record *record) {
    Error error = {0};
    *part = (Part){.parameters = parameters_open()};
    assert_int_equal(device_open(&part->device, "cpu", &error), STATUS_OK);
    part->tape = tape_open(part->parameters, TAPE_TRAIN);
    part->x = tape_input(part->tape, "x", TENSOR_FLOAT, SHAPE(B, L, D), true);
    part->y = record(part->tape, backbone, part->x);
    tape_keep(part->tape, part->y);
    tape_seed(part->tape, part->y);
    if (tape_plan(part->tape, 1, &error) ||
        parameters_allocate(part->parameters, &part->device, true, 1, &error) ||
        tape_allocate(part->tape, &part->device, &error))
        fail_msg("%s", error.message);
}

static void close_part(Part *part) {
    tape_close(part->tape);
    parameters_close(part->parameters);
    device_close(&part->device);
}

static void replay(Part *part, const float *x, const float *cotangent) {
    const Run run = {.threads = 1, .training = true, .seed = 3, .pass = 2};
    memcpy(part->x->data, x, B * L * D * sizeof(float));
    tape_forward(part->tape, &run);
    memcpy(part->y->gradient, cotangent, B * L * D * sizeof(float));
    tape_backward(part->tape, &run);
}

static Tensor *norm(Tape *tape, const Backbone *backbone, Tensor *x) {
    return backbone_norm(tape, backbone, "norm", x);
}

/* g sqrt(D) x / |x|, with one g. Sums of 7 numbers and one of 105, in single precision. */
static void scale_norm_has_one_gain(void **state) {
    (void)state;
    const Backbone backbone = options_of("norm", "scale");
    Part part;
    open_part(&part, &backbone, norm);
    assert_int_equal(part.parameters->count, 1);
    Parameter *gain = parameters_find(part.parameters, "norm.gain");
    assert_int_equal(tensor_size(&gain->tensor), 1);
    assert_true(gain->tensor.data[0] == 1);
    gain->tensor.data[0] = 1.7f;
    float x[B * L * D], cotangent[B * L * D];
    for (int i = 0; i < B * L * D; i++) {
        x[i] = (float)sin(1.3 * i) * 3;
        cotangent[i] = (float)cos(0.7 * i);
    }
    replay(&part, x, cotangent);
    double slope = 0;
    for (int row = 0; row < B * L; row++) {
        double square = 0;
        for (int d = 0; d < D; d++) square += (double)x[row * D + d] * x[row * D + d];
        const double factor = sqrt(D) / sqrt(square + D * 1e-5);
        for (int i = row * D; i < (row + 1) * D; i++) {
            assert_true(fabs(part.y->data[i] - 1.7 * factor * x[i]) < 1e-6 * 1.7 * sqrt(D));
            slope += cotangent[i] * factor * x[i];
        }
    }
    assert_true(fabs(gain->tensor.gradient[0] - slope) < 1e-6 * B * L * D);
    close_part(&part);
}

static Tensor *half_dropped(Tape *tape, const Backbone *backbone, Tensor *x) {
    return backbone_drop(tape, backbone, x, 0.5);
}

/* Of the 21 channels of three sequences some stay and some go, for all positions; the chance that
 * all do the same is 2^-20. Backward goes where forward went. */
static void tied_dropout_takes_whole_channels(void **state) {
    (void)state;
    float ones[B * L * D];
    for (int i = 0; i < B * L * D; i++) ones[i] = 1;
    for (int tied = 0; tied < 2; tied++) {
        const Backbone backbone = options_of("dropout_tied", tied ? "yes" : "no");
        Part part;
        open_part(&part, &backbone, half_dropped);
        replay(&part, ones, ones);
        int kept = 0, differs = 0;
        for (int i = 0; i < B * L * D; i++) {
            const int first = i / (L * D) * L * D + i % D;
            assert_true(part.y->data[i] == 0 || part.y->data[i] == 2);
            assert_true(part.x->gradient[i] == part.y->data[i]);
            kept += part.y->data[i] > 0;
            differs += part.y->data[i] != part.y->data[first];
        }
        assert_true(kept > 0 && kept < B * L * D);
        assert_int_equal(differs == 0, tied);
        close_part(&part);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scale_norm_has_one_gain),
        cmocka_unit_test(tied_dropout_takes_whole_channels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
