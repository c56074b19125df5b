/* Numbers that are too small for a normal float count as zero, in every thread: the same results,
 * and no model is slow where its numbers have become that small. */
#include <float.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cell/environment.h"
#include "bench/check/subject.h"
#include "engine/clock.h"

enum { THREADS = 3 };
static const float denormal = FLT_MIN / 8;

#if defined(__x86_64__)
static const bool flushes = true;
#else
static const bool flushes = false; /* nothing is promised of other processors */
#endif

static void every_thread_flushes(void **state) {
    (void)state;
    Device device;
    assert_int_equal(device_open(&device, "cpu", NULL), STATUS_OK);
    int flushing = 0;
#pragma omp parallel num_threads(THREADS) reduction(+ : flushing)
    flushing += device_denormals_flushed();
    assert_true(flushing == (flushes ? THREADS : 0));
    device_close(&device);
}

static void every_result_says_so(void **state) {
    (void)state;
    json_t *environment = environment_json();
    assert_string_equal(json_string_value(json_object_get(environment, "denormals")),
                        flushes ? "flushed to zero" : "kept");
    json_decref(environment);
}

static Status open_any(Subject *subject, const Model *model, int64_t length, Error *error) {
    const SubjectShape shape = {2, length, length, TAPE_TRAIN, true, false};
    return subject_open(subject, model, "width=16", &shape, NULL, error);
}

static void fill(float *values, int64_t count, float value) {
    for (int64_t i = 0; i < count; i++) values[i] = value;
}

/* Features and gradients of inputs and of cotangents that are all `value`. */
static void run(Subject *subject, float value, int threads) {
    float *cotangent = malloc((size_t)tensor_size(subject->out) * sizeof *cotangent);
    fill(subject->x->data, tensor_size(subject->x), value);
    fill(cotangent, tensor_size(subject->out), value);
    subject_backward(subject, cotangent, threads);
    free(cotangent);
}

static void check_equal(const char *model, const char *what, const float *a, const float *b,
                        int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (!(a[i] == b[i] || (isnan(a[i]) && isnan(b[i]))))
            fail_msg("%s: %s %d is %g of denormal and %g of zero inputs", model, what, (int)i,
                     (double)a[i], (double)b[i]);
}

static float *copy_of(const float *values, int64_t count) {
    float *copy = malloc((size_t)count * sizeof *copy);
    return memcpy(copy, values, (size_t)count * sizeof *copy);
}

/* With as many threads as have been found to flush above. */
static void denormal_inputs_are_zeros(void **state) {
    (void)state;
    if (!flushes) skip();
    int count;
    const Model *const *models = model_list(&count);
    for (int m = 0; m < count; m++) {
        Subject subject;
        Error error = {0};
        if (open_any(&subject, models[m], 16, &error) != STATUS_OK)
            fail_msg("%s: %s", models[m]->name, error.message);
        subject_disturb(&subject, 0.05);
        run(&subject, 0, 1);
        const int64_t features = tensor_size(subject.out), weights = subject.parameters->size;
        float *out = copy_of(subject.out->data, features),
              *gradients = copy_of(subject.parameters->gradients, weights);
        run(&subject, denormal, THREADS);
        check_equal(models[m]->name, "feature", subject.out->data, out, features);
        check_equal(models[m]->name, "gradient", subject.parameters->gradients, gradients, weights);
        free(out);
        free(gradients);
        subject_close(&subject);
    }
}

static double fastest(Subject *subject, float value) {
    double best = INFINITY;
    for (int i = 0; i < 3; i++) {
        const double start = seconds_now();
        run(subject, value, 1);
        best = fmin(best, seconds_now() - start);
    }
    return best;
}

/* 50 is what a processor that computes denormals in microcode loses at least. */
static void small_numbers_are_not_slow(void **state) {
    (void)state;
    static const char *const names[] = {"transformer", "lstm", "mamba", "s4d", "hyena"};
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        Subject subject;
        Error error = {0};
        if (open_any(&subject, model_find(names[m]), 512, &error) != STATUS_OK)
            fail_msg("%s: %s", names[m], error.message);
        const double normal = fastest(&subject, 1), small = fastest(&subject, denormal);
        if (small > 50 * normal)
            fail_msg("%s: %g s with denormal numbers, %g s without", names[m], small, normal);
        subject_close(&subject);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_thread_flushes),
        cmocka_unit_test(every_result_says_so),
        cmocka_unit_test(denormal_inputs_are_zeros),
        cmocka_unit_test(small_numbers_are_not_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
