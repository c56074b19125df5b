/* Statistics against values from printed tables and closed forms. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/common/statistics.h"

/* Ten digits of the quantiles are asked for; solving is exact to rounding, the printed constants
 * carry ten digits. */
static void near_ten(double actual, double expected) {
    assert_true(fabs(actual - expected) <= 1e-9 * fabs(expected));
}

static void moments(void **state) {
    (void)state;
    const double values[] = {2, 4, 4, 4, 5, 5, 7, 9};
    near_ten(mean(values, 8), 5);
    near_ten(deviation(values, 8), sqrt(32.0 / 7));
    near_ten(median(values, 8), 4.5);
    near_ten(median(values, 7), 4);
    near_ten(median(values, 1), 2);
    assert_true(deviation(values, 1) == 0);
}

static void order_does_not_matter_and_input_stays(void **state) {
    (void)state;
    double values[] = {9, 1, 5};
    near_ten(median(values, 3), 5);
    assert_true(values[0] == 9 && values[1] == 1 && values[2] == 5);
}

/* Student (1908) by today's tables; one degree is Cauchy: tan(pi/2 * confidence). Two degrees:
 * c * sqrt(2 / (1 - c^2)). */
static void student_quantiles(void **state) {
    (void)state;
    near_ten(student_quantile(0.95, 1), tan(1.5707963267948966 * 0.95));
    near_ten(student_quantile(0.99, 1), tan(1.5707963267948966 * 0.99));
    near_ten(student_quantile(0.95, 2), 0.95 * sqrt(2 / (1 - 0.95 * 0.95)));
    near_ten(student_quantile(0.95, 4), 2.7764451052);
    near_ten(student_quantile(0.95, 9), 2.2621571628);
    near_ten(student_quantile(0.99, 30), 2.7499956536);
    /* At 1e6 degrees t exceeds the normal quantile z by z (z^2 + 1) / 4e6 (Abramowitz & Stegun
     * 26.7.5). */
    const double z = 1.959963984540054;
    near_ten(student_quantile(0.95, 1e6), z + z * (z * z + 1) / 4e6);
}

static void student_interval_of_three_seeds(void **state) {
    (void)state;
    const double values[] = {1, 2, 3};
    const Interval interval = student_interval(values, 3, 0.95);
    near_ten(interval.high - 2, 4.3026527297 / sqrt(3.0));
    near_ten(2 - interval.low, 4.3026527297 / sqrt(3.0));
    const Interval single = student_interval(values, 1, 0.95);
    assert_true(isnan(single.low) && isnan(single.high));
}

static void bootstrap_is_fixed_and_covers(void **state) {
    (void)state;
    double values[101];
    for (int i = 0; i < 101; i++) values[i] = i;
    const Interval first = median_interval(values, 101, 0.95, 2000);
    const Interval again = median_interval(values, 101, 0.95, 2000);
    assert_true(first.low == again.low && first.high == again.high);
    /* The order-statistic interval of the median of 101 values is ranks 41 and 61 (binomial with
     * p = 1/2, 95 %): values 40 and 60. Bootstrap noise at 2000 draws is about one rank. */
    assert_true(fabs(first.low - 40) <= 2 && fabs(first.high - 60) <= 2);
    const double constant[] = {7, 7, 7};
    const Interval flat = median_interval(constant, 3, 0.95, 100);
    assert_true(flat.low == 7 && flat.high == 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments),
        cmocka_unit_test(order_does_not_matter_and_input_stays),
        cmocka_unit_test(student_quantiles),
        cmocka_unit_test(student_interval_of_three_seeds),
        cmocka_unit_test(bootstrap_is_fixed_and_covers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
