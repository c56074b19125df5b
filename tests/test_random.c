/* Random numbers: known answers of the published generator, and the laws of what is derived. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/random.h"

/* Test vectors of Philox4x32-10 as distributed with Random123 1.09 (kat_vectors): counter, key,
 * result. */
static void philox_gives_the_published_vectors(void **state) {
    (void)state;
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } vectors[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        uint32_t out[4];
        philox(vectors[i].key, vectors[i].counter, out);
        assert_memory_equal(out, vectors[i].expected, sizeof out);
    }
}

static void an_item_does_not_depend_on_others(void **state) {
    (void)state;
    Random first = random_open(1, random_stream("a"), 7);
    const uint32_t expected = random_u32(&first);
    for (uint64_t item = 0; item < 20; item++) {
        Random other = random_open(1, random_stream("a"), item);
        for (int i = 0; i < 9; i++) (void)random_u32(&other);
    }
    Random again = random_open(1, random_stream("a"), 7);
    assert_int_equal(random_u32(&again), expected);
    Random seed = random_open(2, random_stream("a"), 7);
    assert_int_not_equal(random_u32(&seed), expected);
    Random stream = random_open(1, random_stream("b"), 7);
    assert_int_not_equal(random_u32(&stream), expected);
}

/* 32-bit words come in the order of the blocks, also across a block's end and after a copy. */
static void a_copy_forks_the_reader(void **state) {
    (void)state;
    Random original = random_open(3, 4, 5);
    for (int i = 0; i < 6; i++) (void)random_u32(&original);
    Random copy = original;
    for (int i = 0; i < 10; i++) assert_int_equal(random_u32(&original), random_u32(&copy));
}

enum { DRAWS = 200000 };

/* Chi-square over n cells: mean n-1, variance 2(n-1). Six standard deviations: a wrong failure is
 * rarer than 1e-6 (the tail of chi-square is heavier than normal), and the draws are fixed. */
static void below_is_uniform(void **state) {
    (void)state;
    static const uint64_t ranges[] = {1, 2, 3, 7, 16, 100, 257};
    for (size_t r = 0; r < sizeof ranges / sizeof *ranges; r++) {
        const uint64_t n = ranges[r];
        double counts[257] = {0};
        Random random = random_open(11, random_stream("below"), r);
        for (int i = 0; i < DRAWS; i++) {
            const uint64_t draw = random_below(&random, n);
            assert_true(draw < n);
            counts[draw] += 1;
        }
        const double expected = (double)DRAWS / (double)n;
        double chi_square = 0;
        for (uint64_t i = 0; i < n; i++)
            chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
        const double freedom = (double)n - 1;
        assert_true(fabs(chi_square - freedom) <= 6 * sqrt(2 * freedom));
    }
}

/* A range of 3 * 2^30 shows the bias of a plain modulo: 2^30 values would come twice as often. */
static void below_has_no_modulo_bias(void **state) {
    (void)state;
    static const uint64_t units[] = {UINT64_C(1) << 30, UINT64_C(1) << 62};
    for (int u = 0; u < 2; u++) {
        Random random = random_open(13, random_stream("bias"), (uint64_t)u);
        int low = 0;
        for (int i = 0; i < DRAWS; i++) low += random_below(&random, 3 * units[u]) < units[u];
        /* 6 standard deviations of a binomial share of 1/3; a biased share would be 1/2 */
        assert_true(fabs(low / (double)DRAWS - 1.0 / 3) < 6 * sqrt(2.0 / 9 / DRAWS));
    }
}

static void real_is_uniform(void **state) {
    (void)state;
    Random random = random_open(17, random_stream("real"), 0);
    double sum = 0, squares = 0, smallest = 1, largest = 0;
    for (int i = 0; i < DRAWS; i++) {
        const double u = random_real(&random);
        assert_true(u >= 0 && u < 1);
        sum += u;
        squares += u * u;
        smallest = fmin(smallest, u);
        largest = fmax(largest, u);
    }
    /* 6 standard errors: variances 1/12 of u and 4/45 of u^2 */
    assert_true(fabs(sum / DRAWS - 0.5) < 6 * sqrt(1.0 / 12 / DRAWS));
    assert_true(fabs(squares / DRAWS - 1.0 / 3) < 6 * sqrt(4.0 / 45 / DRAWS));
    assert_true(smallest < 1e-4 && largest > 1 - 1e-4); /* missed with probability e^-20 */
}

static void normal_has_the_moments_of_a_normal(void **state) {
    (void)state;
    Random random = random_open(19, random_stream("normal"), 0);
    double sums[5] = {0};
    int beyond_two = 0;
    for (int i = 0; i < DRAWS; i++) {
        const double x = random_normal(&random);
        assert_true(isfinite(x));
        double power = 1;
        for (int k = 1; k <= 4; k++) sums[k] += power *= x;
        beyond_two += fabs(x) > 2;
    }
    /* moments 0 1 0 3 with variances 1, 2, 15, 96 of x, x^2, x^3, x^4; 6 standard errors */
    static const double moments[] = {0, 0, 1, 0, 3}, variances[] = {0, 1, 2, 15, 96};
    for (int k = 1; k <= 4; k++)
        assert_true(fabs(sums[k] / DRAWS - moments[k]) < 6 * sqrt(variances[k] / DRAWS));
    const double tail = erfc(2 / sqrt(2.0));
    assert_true(fabs(beyond_two / (double)DRAWS - tail) < 6 * sqrt(tail * (1 - tail) / DRAWS));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_published_vectors),
        cmocka_unit_test(an_item_does_not_depend_on_others),
        cmocka_unit_test(a_copy_forks_the_reader),
        cmocka_unit_test(below_is_uniform),
        cmocka_unit_test(below_has_no_modulo_bias),
        cmocka_unit_test(real_is_uniform),
        cmocka_unit_test(normal_has_the_moments_of_a_normal),
    };
    return cmocka_run_group_tests_name("random", tests, NULL, NULL);
}
