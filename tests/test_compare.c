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

#include "bench/speed/compare.h"
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
    const SampleRound round = {base, news, N, N};
    return compare_samples(&round, 1, threshold).verdict;
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

/* In two rounds of five something else slowed the new side down: no verdict, although the pooled
 * samples alone would give one. Slower in every round: a verdict. */
static void test_rounds_are_drawn_whole(void **state) {
    (void)state;
    enum { ROUNDS = 5 };
    double base[ROUNDS][N], news[ROUNDS][N];
    SampleRound rounds[ROUNDS];
    for (int disturbed = 2; disturbed <= ROUNDS; disturbed += 3) {
        for (uint64_t r = 0; r < ROUNDS; r++) {
            times(base[r], 1, 2 * r);
            times(news[r], (int)r < disturbed ? 1.30 : 1, 2 * r + 1);
            rounds[r] = (SampleRound){base[r], news[r], N, N};
        }
        assert_int_equal(compare_samples(rounds, ROUNDS, 0.05).verdict,
                         disturbed == ROUNDS ? VERDICT_SLOWER : VERDICT_UNCERTAIN);
    }
    /* A machine that is half as fast in some rounds changes nothing for either side. */
    for (uint64_t r = 0; r < ROUNDS; r++) {
        times(base[r], r % 2 ? 2 : 1, 2 * r);
        times(news[r], r % 2 ? 2 : 1, 2 * r + 1);
    }
    assert_int_equal(compare_samples(rounds, ROUNDS, 0.05).verdict, VERDICT_SAME);
}

static void fill_file(MeasuredFile *file, MeasuredCase *row, double *samples) {
    times(samples, 1, 3);
    *row =
        (MeasuredCase){.name = "op/case/forward", .cost.flops = 8, .seconds = samples, .count = N};
    *file = (MeasuredFile){.path = "made-up.json", .machine = "one", .threads = 1, .cases = row};
    file->count = 1;
}

/* Compares files, expects the status and, when it is not STATUS_OK, the word in the message. */
static void expect_status(const MeasuredFile *files, int rounds, bool force, Status status,
                          const char *word) {
    ComparisonReport report;
    Error error = {0};
    assert_int_equal(compare_reports(&report, files, rounds, 0.05, force, &error), status);
    if (word) assert_non_null(strstr(error.message, word));
    comparison_free(&report);
}

static void test_refuses_what_does_not_compare(void **state) {
    (void)state;
    double samples[4][N];
    MeasuredCase rows[4];
    MeasuredFile files[4];
    /* The odd one out may be any but the first, also one of a later round. */
    for (int odd = 1; odd < 4; odd++) {
        for (int i = 0; i < 4; i++) fill_file(&files[i], &rows[i], samples[i]);
        expect_status(files, 2, false, STATUS_OK, NULL);
        strcpy(files[odd].machine, "two");
        expect_status(files, 2, false, STATUS_USAGE, "machine");
        expect_status(files, 2, true, STATUS_OK, NULL);
        strcpy(files[odd].machine, "one");
        files[odd].threads = 2;
        expect_status(files, 2, false, STATUS_USAGE, "threads");
        files[odd].threads = 1;
        rows[odd].cost.flops = 9;
        expect_status(files, 2, false, STATUS_USAGE, "op/case/forward");
        expect_status(files, 2, true, STATUS_OK, NULL);
    }
    for (int i = 0; i < 4; i++) fill_file(&files[i], &rows[i], samples[i]);
    strcpy(rows[0].work, "64x64 normal");
    expect_status(files, 1, false, STATUS_OK, NULL); /* an older file, which does not say */
    strcpy(rows[1].work, "64x65 normal");
    expect_status(files, 1, false, STATUS_USAGE, "op/case/forward");
    expect_status(files, 1, true, STATUS_OK, NULL);
    strcpy(files[1].kind, "speed");
    expect_status(files, 1, true, STATUS_USAGE, "do not compare");
    strcpy(files[1].kind, files[0].kind);
    strcpy(rows[1].name, "op/else/forward");
    expect_status(files, 1, true, STATUS_USAGE, "in common");
}

/* One of two cases does other work now: listed as changed, and no part of verdicts or mean. */
static void test_changed_case_is_listed(void **state) {
    (void)state;
    double samples[N], slow[N];
    times(samples, 1, 3);
    times(slow, 2, 3);
    MeasuredCase base[] = {{.name = "op/a/forward", .seconds = samples, .count = N},
                           {.name = "op/b/forward", .seconds = samples, .count = N}};
    MeasuredCase news[] = {base[0], base[1]};
    news[1].seconds = slow;
    news[1].cost.bytes_read = 4;
    const MeasuredFile files[] = {{.cases = base, .count = 2}, {.cases = news, .count = 2}};
    ComparisonReport report;
    Error error = {0};
    assert_int_equal(compare_reports(&report, files, 1, 0.05, false, &error), STATUS_OK);
    assert_int_equal(report.verdicts[VERDICT_SAME], 1);
    assert_int_equal(report.verdicts[VERDICT_CHANGED], 1);
    assert_int_equal(report.verdicts[VERDICT_SLOWER], 0);
    assert_true(report.geometric_mean > 0.99 && report.geometric_mean < 1.01);
    comparison_free(&report);
    assert_int_equal(compare_reports(&report, files, 1, 0.05, true, &error), STATUS_OK);
    assert_int_equal(report.verdicts[VERDICT_SLOWER], 1);
    comparison_free(&report);
}

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void test_bad_files_are_named(void **state) {
    (void)state;
#define HEAD "{\"schema\": 1, \"kind\": \"kernels\", \"machine\": \"m\", \"threads\": 1, \"rows\": "
    static const char *const bad[] = {
        "{\"schema\": 1, \"kind\": \"kernels\", \"rows\": [",
        "{\"schema\": 1, \"kind\": \"kernels\"}",
        "{\"schema\": 99, \"kind\": \"kernels\", \"machine\": \"m\", \"threads\": 1, \"rows\": []}",
        HEAD "[{\"case\": \"c\", \"flops\": 1, \"specials\": 0, \"bytes_read\": 1, "
             "\"bytes_written\": 1, \"seconds\": [-1]}]}",
        HEAD "[{\"case\": \"c\", \"seconds\": [1]}]}",
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
        cmocka_unit_test(test_rounds_are_drawn_whole),
        cmocka_unit_test(test_changed_case_is_listed),
        cmocka_unit_test(test_refuses_what_does_not_compare),
        cmocka_unit_test(test_bad_files_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
