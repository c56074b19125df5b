/* Tasks with real numbers: nearest-neighbour search and the adding problem. */
#include "tests/task_case.h"

#include <math.h>

static void nearest_neighbour_is_found_by_distance(void **state) {
    (void)state;
    static const char *const settings[] = {"", "length=2", "length=200 shortest=200",
                                           "length=64 scored=last"};
    for (int k = 0; k < 4; k++) {
        TaskCase c;
        case_open(&c, "nns", settings[k]);
        for (int64_t index = 0; index < 200; index++) {
            case_draw(&c, 5, SPLIT_TEST, index);
            const float *x = c.sample.reals;
            const int64_t length = c.sample.lengths[0];
            assert_true(x[2] == 0);
            int64_t slot = 0;
            for (int64_t t = 1; t < length; t++) {
                int64_t best = 1;
                double shortest = INFINITY;
                for (int64_t i = 1; i <= t; i++) {
                    const double distance = hypot(x[3 * i] - x[0], x[3 * i + 1] - x[1]);
                    if (distance < shortest) {
                        shortest = distance;
                        best = i;
                    }
                }
                assert_true(fabs(hypot(x[3 * t], x[3 * t + 1]) - 1) < 1e-6); /* float rounding */
                if (k == 3 && t < length - 1) continue;
                assert_int_equal(c.sample.positions[slot], t);
                assert_true(c.sample.value[slot] == x[3 * best + 2]);
                slot++;
            }
            for (; slot < c.problem.labels; slot++) assert_true(c.sample.weights[slot] == 0);
            for (int64_t i = 3 * length; i < 3 * c.problem.length; i++) assert_true(x[i] == 0);
        }
        case_close(&c);
    }
}

/* Squared errors of two guesses, computed for the published law (lengths uniform on 2 .. 64) over
 * all positions: always 0.5, and the newest value. Bounds are 6 standard errors, measured. */
static void nearest_neighbour_guesses_cost_what_they_must(void **state) {
    (void)state;
    enum { SAMPLES = 20000 };
    TaskCase c;
    case_open(&c, "nns", "");
    double constant = 0, newest = 0, constants = 0, labels = 0, lengths[65] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        double sum = 0;
        for (int64_t t = 1; t < c.sample.lengths[0]; t++) {
            const double value = c.sample.value[t - 1];
            sum += (value - 0.5) * (value - 0.5);
            newest += pow(value - c.sample.reals[3 * t + 2], 2);
            labels++;
        }
        constant += sum;
        constants += sum * sum;
        lengths[c.sample.lengths[0]] += 1;
    }
    assert_true(fabs(constant / labels - 1.0 / 12) < 6 * sqrt(constants) / labels);
    assert_true(fabs(newest / labels - 0.147) < 0.0015); /* 0.0005 of rounding and 6 x 0.00016 */
    for (int t = 2; t <= 64; t++)                        /* 63 binomial counts */
        assert_true(fabs(lengths[t] - SAMPLES / 63.0) < 6 * sqrt(SAMPLES / 63.0));
    case_close(&c);
}

static void nearest_neighbour_directions_are_uniform(void **state) {
    (void)state;
    enum { SAMPLES = 40000, SECTORS = 16 };
    TaskCase c;
    case_open(&c, "nns", "length=3 shortest=3");
    double counts[2][SECTORS] = {{0}};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        for (int t = 0; t < 2; t++) {
            const double turn =
                atan2(c.sample.reals[3 * t + 1], c.sample.reals[3 * t]) / (2 * M_PI);
            counts[t][(int)floor((turn + 1) * SECTORS) % SECTORS] += 1;
        }
        assert_true(c.sample.reals[5] >= 0 && c.sample.reals[5] < 1);
    }
    for (int t = 0; t < 2; t++)
        for (int s = 0; s < SECTORS; s++) /* 32 binomial counts, 6 standard deviations */
            assert_true(fabs(counts[t][s] - SAMPLES / 16.0) < 6 * sqrt(SAMPLES * 15.0 / 256));
    case_close(&c);
}

static void the_marked_numbers_are_added(void **state) {
    (void)state;
    static const char *const settings[] = {"", "length=2", "length=101 halves=yes"};
    for (int k = 0; k < 3; k++) {
        TaskCase c;
        case_open(&c, "adding", settings[k]);
        const int64_t length = c.problem.length;
        for (int64_t index = 0; index < 200; index++) {
            case_draw(&c, 5, SPLIT_TRAIN, index);
            double sum = 0;
            int marks = 0, early = 0;
            for (int64_t t = 0; t < length; t++) {
                const float number = c.sample.reals[2 * t], mark = c.sample.reals[2 * t + 1];
                assert_true(number >= 0 && number < 1 && (mark == 0 || mark == 1));
                sum += number * mark;
                marks += mark == 1;
                early += mark == 1 && t < length / 2;
            }
            assert_int_equal(marks, 2);
            if (k == 2) assert_int_equal(early, 1);
            assert_true(fabs(sum - c.sample.value[0]) < 1e-6); /* one rounding in float */
        }
        case_close(&c);
    }
}

static void marks_and_sums_follow_their_law(void **state) {
    (void)state;
    enum { SAMPLES = 60000, LENGTH = 6 };
    TaskCase c;
    case_open(&c, "adding", "length=6");
    double squares = 0, pairs[LENGTH][LENGTH] = {{0}};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        squares += pow(c.sample.value[0] - 1, 2);
        for (int i = 0; i < LENGTH; i++)
            for (int j = 0; j < i; j++)
                pairs[i][j] += c.sample.reals[2 * i + 1] == 1 && c.sample.reals[2 * j + 1] == 1;
    }
    /* always 1 costs 1/6; the square's variance is 1/15 - 1/36 = 7/180 */
    assert_true(fabs(squares / SAMPLES - 1.0 / 6) < 6 * sqrt(7.0 / 180 / SAMPLES));
    for (int i = 0; i < LENGTH; i++)
        for (int j = 0; j < i; j++) /* 15 binomial counts, 6 standard deviations */
            assert_true(fabs(pairs[i][j] - SAMPLES / 15.0) < 6 * sqrt(SAMPLES * 14.0 / 225));
    case_close(&c);
}

static void impossible_settings_are_refused(void **state) {
    (void)state;
    case_refused("nns", "length=10 shortest=11", STATUS_USAGE, "shortest=10");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nearest_neighbour_is_found_by_distance),
        cmocka_unit_test(nearest_neighbour_guesses_cost_what_they_must),
        cmocka_unit_test(nearest_neighbour_directions_are_uniform),
        cmocka_unit_test(the_marked_numbers_are_added),
        cmocka_unit_test(marks_and_sums_follow_their_law),
        cmocka_unit_test(impossible_settings_are_refused),
    };
    return cmocka_run_group_tests_name("regression", tests, NULL, NULL);
}
