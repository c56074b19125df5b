/* Addition digit by digit: sums again by other means, the law of the numbers, and what guessing is
 * worth by listing every pair of numbers. */
#include "tests/task_case.h"

#include <math.h>

/* Numbers of up to 18 digits fit an integer; longer ones are added as one adds on paper, from the
 * other end than the sum is written. */
static void digits_add_up(void **state) {
    (void)state;
    static const int sizes[] = {1, 2, 4, 17, 300};
    for (int k = 0; k < 5; k++) {
        const int digits = sizes[k];
        char settings[64];
        snprintf(settings, sizeof settings, "digits=%d", digits);
        TaskCase c;
        case_open(&c, "digit_addition", settings);
        assert_int_equal(c.problem.length, 3 * digits);
        assert_int_equal(c.problem.labels, digits + 1);
        for (int64_t index = 0; index < 300; index++) {
            case_draw(&c, 5, SPLIT_TEST, index);
            const int32_t *tokens = c.sample.tokens, *classes = c.sample.classes;
            /* the model reads what it has named: all but the last digit of the sum */
            for (int i = 0; i <= digits; i++) {
                assert_int_equal(c.sample.positions[i], 2 * digits - 1 + i);
                assert_in_range(classes[i], 0, 9);
                if (i < digits) assert_int_equal(tokens[2 * digits + i], classes[i]);
            }
            if (digits < 18) {
                int64_t numbers[2] = {0}, sum = 0;
                for (int t = 0; t < 2 * digits; t++)
                    numbers[t / digits] = 10 * numbers[t / digits] + tokens[t];
                for (int i = 0; i <= digits; i++) sum = 10 * sum + classes[i];
                assert_int_equal(numbers[0] + numbers[1], sum);
                continue;
            }
            int carry = 0; /* what is left of first + second - sum, from the units on */
            for (int i = 0; i < digits; i++) {
                carry += tokens[digits - 1 - i] + tokens[2 * digits - 1 - i] - classes[digits - i];
                assert_int_equal(carry % 10, 0);
                carry /= 10;
            }
            assert_int_equal(carry, classes[0]);
        }
        case_close(&c);
    }
}

/* Every pair of numbers equally often, and what a guess from the sum's own digits is worth: of all
 * pairs, how many have the likeliest digit after those before it? */
static void addition_knows_what_guessing_is_worth(void **state) {
    (void)state;
    enum { SAMPLES = 200000, NUMBERS = 100 };
    TaskCase c;
    case_open(&c, "digit_addition", "digits=1");
    double pairs[NUMBERS] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        pairs[10 * c.sample.tokens[0] + c.sample.tokens[1]]++;
    }
    for (int pair = 0; pair < NUMBERS; pair++) /* binomial, 6 standard deviations */
        assert_true(fabs(pairs[pair] - SAMPLES * 0.01) < 6 * sqrt(SAMPLES * 0.01 * 0.99));
    case_close(&c);

    int limit = 1; /* 10^digits */
    for (int digits = 1; digits <= 3; digits++) {
        limit *= 10;
        double likeliest[2] = {0}; /* summed over places; of whole sums */
        double *sums = calloc((size_t)(2 * limit), sizeof *sums);
        for (int a = 0; a < limit; a++)
            for (int b = 0; b < limit; b++) sums[a + b]++;
        for (int unit = 1; unit <= limit; unit *= 10) /* a prefix has `unit` sums for each digit */
            for (int prefix = 0; prefix < 2 * limit; prefix += 10 * unit) {
                double most = 0;
                for (int digit = 0; digit < 10; digit++) {
                    double here = 0;
                    for (int rest = 0; rest < unit; rest++) {
                        const int sum = prefix + digit * unit + rest;
                        if (sum < 2 * limit) here += sums[sum];
                    }
                    most = fmax(most, here);
                }
                likeliest[0] += most;
            }
        for (int sum = 0; sum < 2 * limit; sum++) likeliest[1] = fmax(likeliest[1], sums[sum]);
        free(sums);
        const double all = (double)limit * limit;
        char settings[64];
        snprintf(settings, sizeof settings, "digits=%d", digits);
        case_open(&c, "digit_addition", settings);
        assert_true(fabs(c.problem.chance - likeliest[0] / all / (digits + 1)) < 1e-12);
        assert_int_equal(c.problem.averaging, AVERAGE_SAMPLES);
        case_close(&c);
        snprintf(settings, sizeof settings, "digits=%d right=sum", digits);
        case_open(&c, "digit_addition", settings);
        assert_true(fabs(c.problem.chance - likeliest[1] / all) < 1e-12);
        assert_int_equal(c.problem.averaging, AVERAGE_WHOLE);
        case_close(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_add_up),
        cmocka_unit_test(addition_knows_what_guessing_is_worth),
    };
    return cmocka_run_group_tests_name("digit addition", tests, NULL, NULL);
}
