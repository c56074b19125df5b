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
    return compare_rounds(&(Round){base, news, N, N}, 1, threshold).verdict;
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

static MeasuredFile made_up(const char *machine, int threads, double factor, double *samples) {
    MeasuredFile file = {.threads = threads, .count = 1};
    snprintf(file.path, sizeof file.path, "%s.json", machine);
    snprintf(file.machine, sizeof file.machine, "%s", machine);
    file.cases = calloc(1, sizeof *file.cases);
    times(samples, factor, 3);
    snprintf(file.cases[0].name, sizeof file.cases[0].name, "op/case/forward");
    file.cases[0].seconds = samples;
    file.cases[0].count = N;
    return file;
}

static Status compared(const MeasuredFile *base, const MeasuredFile *news, bool force,
                       const char *expected) {
    const MeasuredFile pair[] = {*base, *news};
    ComparisonReport report;
    Error error = {0};
    const Status status = compare_files(&report, pair, 2, 0.05, force, &error);
    if (expected) assert_non_null(strstr(error.message, expected));
    comparison_free(&report);
    return status;
}

static void test_refuses_what_does_not_compare(void **state) {
    (void)state;
    double a[N], b[N];
    MeasuredFile base = made_up("one", 1, 1, a), other = made_up("two", 1, 1, b);
    assert_int_equal(compared(&base, &other, false, "machine"), STATUS_USAGE);
    assert_int_equal(compared(&base, &other, true, NULL), STATUS_OK);
    strcpy(other.machine, "one");
    other.threads = 2;
    assert_int_equal(compared(&base, &other, false, "threads"), STATUS_USAGE);
    other.threads = 1;
    strcpy(base.cases[0].work, "64x64 normal");
    strcpy(other.cases[0].work, "64x65 normal");
    assert_int_equal(compared(&base, &other, false, "new name"), STATUS_USAGE);
    assert_int_equal(compared(&base, &other, true, NULL), STATUS_OK);
    strcpy(base.cases[0].work, ""); /* an older file: its cost has to tell */
    base.cases[0].cost.flops = 100;
    other.cases[0].cost.flops = 100;
    assert_int_equal(compared(&base, &other, false, NULL), STATUS_OK);
    other.cases[0].cost.flops = 101;
    assert_int_equal(compared(&base, &other, false, "op/case/forward"), STATUS_USAGE);
    strcpy(other.kind, "speed");
    assert_int_equal(compared(&base, &other, true, "do not compare"), STATUS_USAGE);
    strcpy(other.kind, "");
    strcpy(other.cases[0].name, "op/else/forward");
    assert_int_equal(compared(&base, &other, true, "in common"), STATUS_USAGE);
    free(base.cases);
    free(other.cases);
}

/* A process that was slow as a whole, and many samples that all agree on it, are one round of
 * several: no verdict of slower. All rounds slower: slower. */
static void test_rounds_are_the_unit(void **state) {
    (void)state;
    enum { ROUNDS = 5 };
    double base[ROUNDS][N], news[ROUNDS][N];
    Round rounds[ROUNDS];
    for (int slow = 1; slow <= ROUNDS; slow += ROUNDS - 1) {
        for (int k = 0; k < ROUNDS; k++) {
            times(base[k], 1, (uint64_t)(100 + 2 * k));
            times(news[k], k < slow ? 1.3 : 1, (uint64_t)(101 + 2 * k));
            rounds[k] = (Round){base[k], news[k], N, N};
        }
        const Verdict verdict = compare_rounds(rounds, ROUNDS, 0.05).verdict;
        assert_true(slow == ROUNDS ? verdict == VERDICT_SLOWER : verdict != VERDICT_SLOWER);
    }
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
        MeasuredFile file;
        Error error = {0};
        write_text(path, bad[i]);
        assert_int_equal(measured_read(&file, path, &error), STATUS_DATA);
        assert_non_null(strstr(error.message, path));
        measured_close(&file);
    }
    remove(path);
    MeasuredFile file;
    Error error = {0};
    assert_int_equal(measured_read(&file, path, &error), STATUS_DATA);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_verdicts),
        cmocka_unit_test(test_threshold_matters),
        cmocka_unit_test(test_rounds_are_the_unit),
        cmocka_unit_test(test_refuses_what_does_not_compare),
        cmocka_unit_test(test_bad_files_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
