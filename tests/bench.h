/* Operations alone, for comparison with numbers worked out in double precision elsewhere. */
#ifndef LONGHAUL_TESTS_BENCH_H
#define LONGHAUL_TESTS_BENCH_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/device.h"
#include "engine/tape.h"

enum { BENCH_INPUTS = 12, BENCH_VALUES = 64 };

/* A tape of operations alone. */
typedef struct Bench {
    Device device;
    Parameters *parameters;
    Tape *tape;
    Tensor *in[BENCH_INPUTS]; /* the constants */
    float values[BENCH_INPUTS][BENCH_VALUES];
    int count;
} Bench;

static inline void bench_open(Bench *bench, TapeMode mode) {
    Error error = {0};
    memset(bench, 0, sizeof *bench);
    assert_int_equal(device_open(&bench->device, "cpu", &error), STATUS_OK);
    bench->parameters = parameters_open();
    bench->tape = tape_open(bench->parameters, mode);
}

/* An input that the test fills itself, after bench_plan. */
static inline Tensor *bench_input(Bench *bench, Shape shape) {
    return tape_input(bench->tape, "in", TENSOR_FLOAT, shape, false);
}

static inline Tensor *constant(Bench *bench, Shape shape, const double *values) {
    assert_true(bench->count < BENCH_INPUTS && shape_size(&shape) <= BENCH_VALUES);
    for (int64_t i = 0; i < shape_size(&shape); i++)
        bench->values[bench->count][i] = (float)values[i];
    return bench->in[bench->count++] = bench_input(bench, shape);
}

static inline void give(Tensor *tensor, const float *values) {
    memcpy(tensor->data, values, (size_t)tensor_size(tensor) * sizeof(float));
}

/* Constants get their values. */
static inline void bench_plan(Bench *bench) {
    Error error = {0};
    if (tape_plan(bench->tape, 1, &error) || tape_allocate(bench->tape, &bench->device, &error))
        fail_msg("%s", error.message);
    for (int i = 0; i < bench->count; i++) give(bench->in[i], bench->values[i]);
}

static inline void bench_run(Bench *bench) {
    tape_forward(bench->tape, &(Run){.threads = 1});
}

static inline void bench_close(Bench *bench) {
    tape_close(bench->tape);
    parameters_close(bench->parameters);
    device_close(&bench->device);
}

/* Values near 1 or below printed to 8 digits; sums of a few floats. */
static inline void expect(const Tensor *actual, const double *expected, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)actual->data[i] - expected[i]) < 1e-7))
            fail_msg("%s[%d] is %.8f, expected %.8f", actual->name, (int)i, (double)actual->data[i],
                     expected[i]);
}

static inline void near(const char *what, double actual, double expected, double allowed) {
    if (!(fabs(actual - expected) <= allowed))
        fail_msg("%s is %.9f, expected %.9f", what, actual, expected);
}

/* Plans, runs, compares all of out, and closes. */
static inline void bench_expect(Bench *bench, Tensor *out, const double *expected) {
    tape_keep(bench->tape, out);
    bench_plan(bench);
    bench_run(bench);
    expect(out, expected, tensor_size(out));
    bench_close(bench);
}

#endif
