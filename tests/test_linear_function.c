/* Linear functions in context: each function found again from the examples by least squares, and
 * what a guess costs. */
#include "tests/task_case.h"

#include <math.h>

enum { DIMENSIONS_MOST = 8 };

/* The function from `count` examples, by least squares: normal equations, solved by elimination.
 * They are positive definite, so no rows are exchanged. */
static void fit(const float *reals, int D, int count, double weights[DIMENSIONS_MOST]) {
    double A[DIMENSIONS_MOST][DIMENSIONS_MOST + 1] = {{0}};
    for (int e = 0; e < count; e++) {
        const float *x = reals + (size_t)(2 * e) * (size_t)(D + 1), *y = x + D + 1;
        for (int i = 0; i < D; i++) {
            for (int j = 0; j < D; j++) A[i][j] += (double)x[i] * (double)x[j];
            A[i][D] += (double)x[i] * (double)y[D];
        }
    }
    for (int i = 0; i < D; i++)
        for (int row = i + 1; row < D; row++) {
            const double factor = A[row][i] / A[i][i];
            for (int j = i; j <= D; j++) A[row][j] -= factor * A[i][j];
        }
    for (int i = D - 1; i >= 0; i--) {
        weights[i] = A[i][D];
        for (int j = i + 1; j < D; j++) weights[i] -= A[i][j] * weights[j];
        weights[i] /= A[i][i];
    }
}

static void linear_functions_follow_from_their_examples(void **state) {
    (void)state;
    static const int sizes[][2] = {{1, 4}, {3, 12}, {5, 15}, {8, 40}};
    for (int k = 0; k < 8; k++) {
        const int D = sizes[k / 2][0], examples = sizes[k / 2][1], channels = D + 1;
        const bool all = k % 2;
        char settings[64];
        snprintf(settings, sizeof settings, "dimension=%d examples=%d loss=%s", D, examples,
                 all ? "all" : "answer");
        TaskCase c;
        case_open(&c, "linear_function", settings);
        assert_int_equal(c.problem.channels, channels);
        assert_int_equal(c.problem.length, 2 * examples + 1);
        assert_int_equal(c.problem.labels, all ? examples + 1 : 1);
        for (int64_t index = 0; index < 200; index++) {
            const Split split = index % 2 ? SPLIT_TEST : SPLIT_TRAIN;
            case_draw(&c, 5, split, index);
            const float *reals = c.sample.reals;
            for (int t = 0; t <= 2 * examples; t++)
                for (int i = 0; i < channels; i++) /* vectors and values take turns */
                    assert_true((reals[t * channels + i] == 0) == ((t % 2 == 0) == (i == D)));
            double weights[DIMENSIONS_MOST];
            fit(reals, D, examples, weights);
            const int labels = all && split == SPLIT_TRAIN ? examples + 1 : 1;
            for (int slot = 0; slot < labels; slot++) {
                const int place = labels == 1 ? 2 * examples : 2 * slot;
                assert_int_equal(c.sample.positions[slot], place);
                double value = 0;
                for (int i = 0; i < D; i++)
                    value += weights[i] * (double)reals[place * channels + i];
                /* values below 16 are rounded by up to 2^-21 = 4.8e-7; the fit to such values
                 * strays by as much again, and more where examples nearly repeat a direction */
                assert_true(fabs((double)c.sample.value[slot] - value) < 4e-6);
                if (slot < examples)
                    assert_true(labels == 1 ||
                                c.sample.value[slot] == reals[(place + 1) * channels + D]);
            }
            for (int64_t slot = labels; slot < c.problem.labels; slot++)
                assert_true(c.sample.weights[slot] == 0 && c.sample.value[slot] == 0);
        }
        case_close(&c);
    }
}

/* Functions and vectors are standard normal: the mean of each number is 0, of each square 1 and of
 * each product of two 0, also between a function and its vectors. */
static void no_direction_is_preferred(void **state) {
    (void)state;
    enum { SAMPLES = 40000, D = 3, EXAMPLES = 12, NUMBERS = 2 * D };
    TaskCase c;
    case_open(&c, "linear_function", "dimension=3 examples=12");
    double means[NUMBERS] = {0}, products[NUMBERS][NUMBERS] = {{0}};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        double numbers[DIMENSIONS_MOST]; /* function, last vector */
        fit(c.sample.reals, D, EXAMPLES, numbers);
        for (int i = 0; i < D; i++)
            numbers[D + i] = (double)c.sample.reals[2 * EXAMPLES * (D + 1) + i];
        for (int i = 0; i < NUMBERS; i++) {
            means[i] += numbers[i] / SAMPLES;
            for (int j = 0; j < NUMBERS; j++) products[i][j] += numbers[i] * numbers[j] / SAMPLES;
        }
    }
    /* 27 different means, 6 standard errors; the variances are 1, 2 of a square, 1 of a product */
    for (int i = 0; i < NUMBERS; i++) {
        assert_true(fabs(means[i]) < 6 * sqrt(1.0 / SAMPLES));
        for (int j = 0; j < NUMBERS; j++)
            assert_true(fabs(products[i][j] - (i == j)) < 6 * sqrt((i == j ? 2.0 : 1.0) / SAMPLES));
    }
    case_close(&c);
}

/* Always 0 costs the dimension D. The square of w . x has mean D and variance 3 D (D + 2) - D^2. */
static void linear_functions_cost_their_dimension(void **state) {
    (void)state;
    enum { SAMPLES = 40000 };
    for (int D = 1; D <= 16; D *= 4) {
        char settings[64];
        snprintf(settings, sizeof settings, "dimension=%d examples=%d", D, D);
        TaskCase c;
        case_open(&c, "linear_function", settings);
        double squares = 0, sum = 0;
        for (int64_t index = 0; index < SAMPLES; index++) {
            case_draw(&c, 6, SPLIT_TRAIN, index);
            squares += pow((double)c.sample.value[0], 2);
            sum += (double)c.sample.value[0];
        }
        /* 6 standard errors */
        assert_true(fabs(squares / SAMPLES - c.problem.chance) <
                    6 * sqrt((2.0 * D * D + 6 * D) / SAMPLES));
        assert_true(fabs(sum / SAMPLES) < 6 * sqrt(D / (double)SAMPLES));
        case_close(&c);
    }
}

static void too_few_examples_are_refused(void **state) {
    (void)state;
    case_refused("linear_function", "dimension=6 examples=5", STATUS_USAGE, "examples=6 or more");
    TaskCase c; /* what the message names is taken */
    case_open(&c, "linear_function", "dimension=6 examples=6");
    case_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_functions_follow_from_their_examples),
        cmocka_unit_test(no_direction_is_preferred),
        cmocka_unit_test(linear_functions_cost_their_dimension),
        cmocka_unit_test(too_few_examples_are_refused),
    };
    return cmocka_run_group_tests_name("linear function", tests, NULL, NULL);
}
