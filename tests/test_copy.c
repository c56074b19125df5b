/* Copy: every labelled token is found in the first half; the law of symbols and of the window. */
#include "tests/task_case.h"

#include <math.h>

static void oracle_solves(const char *settings, int64_t length, bool reverse, int64_t labels) {
    TaskCase c;
    case_open(&c, "copy", settings);
    assert_int_equal(c.problem.length, length);
    assert_int_equal(c.problem.labels, labels);
    const int64_t h = length / 2 - 1;
    for (int64_t index = 0; index < 20; index++) {
        case_draw(&c, 5, SPLIT_TEST, index);
        const int32_t *tokens = c.sample.tokens;
        assert_int_equal(tokens[0], 2);
        assert_int_equal(tokens[length - 1], 1);
        for (int64_t j = 0; j < labels; j++) {
            const int64_t copied = c.sample.positions[j] + 1 - (h + 1);
            assert_in_range(copied, 0, h - 1);
            if (j > 0) assert_int_equal(c.sample.positions[j], c.sample.positions[j - 1] + 1);
            const int32_t answer = tokens[1 + (reverse ? h - 1 - copied : copied)];
            assert_int_equal(c.sample.classes[j], answer);
            assert_int_equal(tokens[c.sample.positions[j] + 1], answer);
            assert_in_range(answer, 3, c.problem.vocabulary - 1);
        }
    }
    case_close(&c);
}

static void every_copy_is_right(void **state) {
    (void)state;
    oracle_solves("", 512, true, 255);
    oracle_solves("length=16", 16, true, 7); /* the size in the authors' own test */
    oracle_solves("length=4 alphabet=2", 4, true, 1);
    oracle_solves("length=200 direction=forward alphabet=10", 200, false, 99);
    oracle_solves("length=200 window=31", 200, true, 31);
    oracle_solves("length=131072 window=1024", 131072, true, 1024);
}

static void symbols_and_windows_are_uniform(void **state) {
    (void)state;
    enum { SAMPLES = 20000, ALPHABET = 5, HALF = 9, STARTS = 6 };
    TaskCase c;
    case_open(&c, "copy", "length=20 alphabet=5 window=4");
    double symbols[HALF][ALPHABET] = {{0}}, starts[STARTS] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 7, SPLIT_TRAIN, index);
        for (int i = 0; i < HALF; i++) symbols[i][c.sample.tokens[1 + i] - 3] += 1;
        starts[c.sample.positions[0] - HALF] += 1;
    }
    /* 51 binomial counts, six standard deviations each: wrong failures below 1e-6 */
    for (int i = 0; i < HALF; i++)
        for (int a = 0; a < ALPHABET; a++)
            assert_true(fabs(symbols[i][a] - SAMPLES / 5.0) < 6 * sqrt(SAMPLES * 0.2 * 0.8));
    for (int i = 0; i < STARTS; i++)
        assert_true(fabs(starts[i] - SAMPLES / 6.0) < 6 * sqrt(SAMPLES * 5.0 / 36));
    case_close(&c);
}

static void impossible_settings_are_refused(void **state) {
    (void)state;
    case_refused("copy", "length=131", STATUS_USAGE, "length=132");
    case_refused("copy", "length=128 window=64", STATUS_USAGE, "window=63");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_copy_is_right),
        cmocka_unit_test(symbols_and_windows_are_uniform),
        cmocka_unit_test(impossible_settings_are_refused),
    };
    return cmocka_run_group_tests_name("copy", tests, NULL, NULL);
}
