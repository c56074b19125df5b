/* The comparator: a slow-down of 20 % is caught, 1 % is not called, noise alone is not a verdict,
 * and the threshold is obeyed. Times are made up with a fixed random stream. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/compare.h"
#include "engine/random.h"

enum { N = 40 };

/* 1 ms, a few per cent of noise, and now and then a sample that lost its processor. */
static void times(double *values, double factor, uint64_t item) {
    Random random = random_open(7, random_stream("test/times"), item);
    for (int i = 0; i < N; i++) {
        values[i] = 1e-3 * factor * (1 + 0.02 * random_real(&random));
        if (random_below(&random, 10) == 0) values[i] *= 2.5;
    }
}

static Verdict verdict_of(double factor, double threshold, uint64_t item) {
    double base[N], news[N];
    times(base, 1, 2 * item);
    times(news, factor, 2 * item + 1);
    return compare_samples(base, N, news, N, threshold).verdict;
}

static void test_verdicts(void **state) {
    (void)state;
    for (uint64_t item = 0; item < 20; item++) {
        assert_int_equal(verdict_of(1.20, 0.05, item), VERDICT_SLOWER);
        assert_int_equal(verdict_of(1.01, 0.05, item), VERDICT_SAME);
        assert_int_equal(verdict_of(0.80, 0.05, item), VERDICT_FASTER);
    }
}

/* A comparator that ignored its threshold would give the same verdict for both. */
static void test_threshold_matters(void **state) {
    (void)state;
    assert_int_equal(verdict_of(1.20, 0.05, 1), VERDICT_SLOWER);
    assert_int_equal(verdict_of(1.20, 0.50, 1), VERDICT_SAME);
    assert_int_equal(verdict_of(1.05, 0.05, 1), VERDICT_UNCERTAIN);
}

static KernelFile made_up(const char *machine, int threads, double factor, double *samples) {
    KernelFile file = {.threads = threads, .count = 1};
    snprintf(file.path, sizeof file.path, "%s.json", machine);
    snprintf(file.machine, sizeof file.machine, "%s", machine);
    file.rows = calloc(1, sizeof *file.rows);
    times(samples, factor, 3);
    snprintf(file.rows[0].name, sizeof file.rows[0].name, "op/case/forward");
    file.rows[0].seconds = samples;
    file.rows[0].count = N;
    return file;
}

static void test_refuses_what_does_not_compare(void **state) {
    (void)state;
    double a[N], b[N];
    KernelFile base = made_up("one", 1, 1, a), other = made_up("two", 1, 1, b);
    ComparisonReport report;
    Error error = {0};
    assert_int_equal(compare_reports(&report, &base, &other, 0.05, false, &error), STATUS_USAGE);
    assert_non_null(strstr(error.message, "machine"));
    assert_int_equal(compare_reports(&report, &base, &other, 0.05, true, &error), STATUS_OK);
    comparison_free(&report);
    strcpy(other.machine, "one");
    other.threads = 2;
    error = (Error){0};
    assert_int_equal(compare_reports(&report, &base, &other, 0.05, false, &error), STATUS_USAGE);
    assert_non_null(strstr(error.message, "threads"));
    strcpy(other.rows[0].name, "op/else/forward");
    error = (Error){0};
    assert_int_equal(compare_reports(&report, &base, &other, 0.05, true, &error), STATUS_USAGE);
    comparison_free(&report);
    free(base.rows);
    free(other.rows);
}

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_bad_files_are_named(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{\"schema\": 1, \"kind\": \"kernels\", \"rows\": [",
        "{\"schema\": 1, \"kind\": \"kernels\"}",
        "{\"schema\": 99, \"kind\": \"kernels\", \"machine\": \"m\", \"threads\": 1, \"rows\": []}",
        "{\"schema\": 1, \"kind\": \"kernels\", \"machine\": \"m\", \"threads\": 1, \"rows\": "
        "[{\"case\": \"c\", \"seconds\": [-1]}]}",
    };
    const char *path = "/tmp/longhaul-test-compare.json";
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        KernelFile file;
        Error error = {0};
        write_text(path, bad[i]);
        assert_int_equal(kernels_read(&file, path, &error), STATUS_DATA);
        assert_non_null(strstr(error.message, path));
    }
    remove(path);
    KernelFile file;
    Error error = {0};
    assert_int_equal(kernels_read(&file, path, &error), STATUS_DATA);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_threshold_matters),
        cmocka_unit_test(test_refuses_what_does_not_compare),
        cmocka_unit_test(test_bad_files_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
