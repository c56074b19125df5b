/* Batch normalisation and its running averages: PyTorch's numbers (tests/golden/README.md),
 * averages over replays, the gradient's norm, a batch that stays whole. Properties of networks that
 * have it are in test_models.c, stopping and continuing in test_train.c. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/check/reference.h"
#include "bench/train/session.h"
#include "bench/train/train.h"
#include "engine/ops/batch_norm/batch_norm.h"
#include "engine/optimizer.h"
#include "engine/safetensors.h"

static const double momentum = 0.1, epsilon = 1e-5;

/* Files hold float32 roundings of double results, and sums have 21 terms. */
static const double tolerance = 2e-6;

/* A norm alone, once for training and once for evaluation. */
typedef struct Norm {
    Device device;
    Parameters *parameters;
    Tape *tape[2]; /* by TapeMode */
    Tensor *x[2], *y[2];
} Norm;

static void record(Norm *norm, TapeMode mode, Shape shape) {
    const Shape D = SHAPE(shape.extent[shape.rank - 1]);
    Tape *tape = norm->tape[mode] = tape_open(norm->parameters, mode);
    const Group running = group_average(momentum);
    norm->x[mode] = tape_input(tape, "x", TENSOR_FLOAT, shape, true);
    Tensor *gamma = tape_parameter(tape, "gamma", D, init_constant(1), GROUP_NO_DECAY);
    Tensor *mean = tape_parameter(tape, "mean", D, init_constant(0), running);
    Tensor *beta = tape_parameter(tape, "beta", D, init_constant(0), GROUP_NO_DECAY);
    Tensor *variance = tape_parameter(tape, "variance", D, init_constant(1), running);
    norm->y[mode] = batch_norm(tape, norm->x[mode], gamma, beta, mean, variance, epsilon);
    tape_keep(tape, norm->y[mode]);
    if (mode == TAPE_TRAIN) tape_seed(tape, norm->y[mode]);
}

static void norm_open(Norm *norm, Shape shape) {
    Error error = {0};
    *norm = (Norm){.parameters = parameters_open()};
    assert_int_equal(device_open(&norm->device, "cpu", &error), STATUS_OK);
    for (int mode = TAPE_TRAIN; mode <= TAPE_EVALUATE; mode++) {
        record(norm, (TapeMode)mode, shape);
        if (tape_plan(norm->tape[mode], 1, &error)) fail_msg("%s", error.message);
    }
    if (parameters_allocate(norm->parameters, &norm->device, true, 1, &error))
        fail_msg("%s", error.message);
    for (int mode = TAPE_TRAIN; mode <= TAPE_EVALUATE; mode++)
        if (tape_allocate(norm->tape[mode], &norm->device, &error)) fail_msg("%s", error.message);
}

static void norm_close(Norm *norm) {
    for (int mode = TAPE_TRAIN; mode <= TAPE_EVALUATE; mode++) tape_close(norm->tape[mode]);
    parameters_close(norm->parameters);
    device_close(&norm->device);
}

static Tensor *parameter(const Norm *norm, const char *name) {
    return &parameters_find(norm->parameters, name)->tensor;
}

static void replay(Norm *norm, const float *x, const float *cotangent) {
    const size_t bytes = (size_t)tensor_size(norm->x[TAPE_TRAIN]) * sizeof(float);
    const Run run = {.threads = 1, .training = true};
    memcpy(norm->x[TAPE_TRAIN]->data, x, bytes);
    tape_forward(norm->tape[TAPE_TRAIN], &run);
    memcpy(norm->y[TAPE_TRAIN]->gradient, cotangent, bytes);
    tape_backward(norm->tape[TAPE_TRAIN], &run);
}

/* Weights stay as they are: only running averages move. */
static double step(Norm *norm, int64_t number, int64_t replays) {
    const Optimizer optimizer = {
        .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8, .clip = 1e-3, .replays = replays};
    double length;
    optimizer_step(&optimizer, norm->parameters, number, 1, &length);
    return length;
}

static const float *floats(const Safetensors *file, const char *name, Shape shape) {
    Error error = {0};
    const float *data = NULL;
    if (safetensors_floats(file, name, &shape, &data, &error)) fail_msg("%s", error.message);
    return data;
}

static void compare(const Safetensors *file, const char *name, const float *actual, Shape shape) {
    const float *expected = floats(file, name, shape);
    const int64_t size = shape_size(&shape);
    double *wide = malloc((size_t)size * sizeof *wide);
    for (int64_t i = 0; i < size; i++) wide[i] = (double)expected[i];
    const double error = reference_error(actual, wide, size);
    free(wide);
    if (!(error < tolerance)) fail_msg("%s is off by %.2e", name, error);
}

static void as_pytorch(void **state) {
    (void)state;
    Safetensors file;
    Error error = {0};
    if (safetensors_open(&file, "tests/golden/operations/batch_norm.safetensors", &error))
        fail_msg("%s", error.message);
    const Shape shape = safetensors_find(&file, "x")->shape, D = SHAPE(shape.extent[2]);
    const size_t row = (size_t)D.extent[0] * sizeof(float);
    Norm norm;
    norm_open(&norm, shape);
    memcpy(parameter(&norm, "gamma")->data, floats(&file, "gamma", D), row);
    memcpy(parameter(&norm, "beta")->data, floats(&file, "beta", D), row);
    const float *cotangent = floats(&file, "cotangent", shape);
    replay(&norm, floats(&file, "x", shape), cotangent);
    compare(&file, "output", norm.y[TAPE_TRAIN]->data, shape);
    compare(&file, "gradient.x", norm.x[TAPE_TRAIN]->gradient, shape);
    compare(&file, "gradient.gamma", parameter(&norm, "gamma")->gradient, D);
    compare(&file, "gradient.beta", parameter(&norm, "beta")->gradient, D);
    double square = 0;
    for (int64_t d = 0; d < D.extent[0]; d++)
        square += pow((double)parameter(&norm, "gamma")->gradient[d], 2) +
                  pow((double)parameter(&norm, "beta")->gradient[d], 2);
    /* Statistics are no gradients: they are not in the norm that clips. A double sum of ten. */
    assert_true(fabs(step(&norm, 1, 1) - sqrt(square)) < 1e-12 * sqrt(square));
    replay(&norm, floats(&file, "x.second", shape), cotangent);
    step(&norm, 2, 1);
    compare(&file, "mean", parameter(&norm, "mean")->data, D);
    compare(&file, "variance", parameter(&norm, "variance")->data, D);
    memcpy(norm.x[TAPE_EVALUATE]->data, floats(&file, "x", shape),
           (size_t)shape_size(&shape) * sizeof(float));
    tape_forward(norm.tape[TAPE_EVALUATE], &(Run){.threads = 1});
    compare(&file, "evaluated", norm.y[TAPE_EVALUATE]->data, shape);
    norm_close(&norm);
    safetensors_close(&file);
}

/* A step of two replays moves the averages towards the mean of both statistics, and not at all when
 * its gradient is not finite. */
static void averages_over_replays(void **state) {
    (void)state;
    enum { ROWS = 4, D = 1 };
    static const float x[2][ROWS] = {{1, 2, 3, 4}, {-6, 0, 0, 6}}, slopes[ROWS] = {1, 0, -1, 2},
                       broken[ROWS] = {NAN};
    /* Means 2.5 and 0, unbiased variances 5/3 and 24. */
    const double mean = momentum * 1.25, variance = 0.9 + momentum * (5.0 / 3 + 24) / 2;
    Norm norm;
    norm_open(&norm, SHAPE(ROWS, D));
    for (int i = 0; i < 2; i++) replay(&norm, x[i], slopes);
    step(&norm, 1, 2);
    for (int again = 0; again < 2; again++) {
        assert_true(fabs((double)parameter(&norm, "mean")->data[0] - mean) < 1e-6);
        assert_true(fabs((double)parameter(&norm, "variance")->data[0] - variance) < 1e-6);
        assert_true(parameter(&norm, "mean")->gradient[0] == 0);
        replay(&norm, x[0], broken);
        assert_true(isnan(step(&norm, 2, 1)));
    }
    norm_close(&norm);
}

static void one_row_is_refused(void **state) {
    (void)state;
    Norm norm = {.parameters = parameters_open()};
    Error error = {0};
    record(&norm, TAPE_TRAIN, SHAPE(1, 1, 3));
    assert_int_equal(tape_plan(norm.tape[TAPE_TRAIN], 1, &error), STATUS_USAGE);
    assert_non_null(strstr(error.message, "one row has no variance"));
    tape_close(norm.tape[TAPE_TRAIN]);
    parameters_close(norm.parameters);
}

static int64_t micro_batch_with(const char *norm, const char *micro_batch) {
    static const char *const pairs[][2] = {
        {"length", "1024"}, {"vocabulary", "4096"}, {"width", "64"}, {"batch", "64"}};
    Cell cell;
    CellPlan plan;
    Error error = {0};
    assert_int_equal(cell_open(&cell, "mqar", "s4d", &error), STATUS_OK);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        assert_int_equal(cell_set(&cell, pairs[i][0], pairs[i][1], &error), STATUS_OK);
    assert_int_equal(cell_set(&cell, "norm", norm, &error), STATUS_OK);
    assert_int_equal(cell_set(&cell, "micro_batch", micro_batch, &error), STATUS_OK);
    if (cell_plan(&cell, 1, &plan, &error)) fail_msg("%s", error.message);
    cell_close(&cell);
    return plan.micro_batch;
}

/* Whose statistics are taken must not depend on what fits a cache. */
static void batches_stay_whole(void **state) {
    (void)state;
    assert_true(micro_batch_with("layer", "0") < 64);
    assert_int_equal(micro_batch_with("batch", "0"), 64);
    assert_int_equal(micro_batch_with("batch", "16"), 16);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_pytorch),
        cmocka_unit_test(averages_over_replays),
        cmocka_unit_test(one_row_is_refused),
        cmocka_unit_test(batches_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
