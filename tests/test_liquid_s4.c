/* The products of inputs of Liquid-S4 and their gain: values worked out in double precision for the
 * system of tests/test_s4.c and u_t = sin(0.7 t + 0.3), t < 8. */
#include "engine/ops/liquid_gain/liquid_gain.h"
#include "engine/ops/liquid_products/liquid_products.h"
#include "tests/bench.h"

enum { L = 8, M = 2 };

static void combinations_of_degree_2(void **state) {
    (void)state;
    static const int64_t expected[L][2] = {{3, 6}, {3, 7}, {4, 5}, {4, 6},
                                           {4, 7}, {5, 6}, {5, 7}, {6, 7}};
    const int64_t n = liquid_tokens(L, 2);
    int64_t index[2];
    assert_int_equal(n, 5);
    for (int t = 0; t < L; t++) {
        assert_true(liquid_combination(L, n, 2, t, index));
        for (int j = 0; j < 2; j++) assert_int_equal(index[j], expected[t][j]);
    }
    assert_int_equal(liquid_tokens(1024, 2), 46);
}

static void combinations_of_degree_3(void **state) {
    (void)state;
    static const int64_t expected[L][3] = {{3, 4, 7}, {3, 5, 6}, {3, 5, 7}, {3, 6, 7},
                                           {4, 5, 6}, {4, 5, 7}, {4, 6, 7}, {5, 6, 7}};
    int64_t index[3];
    for (int t = 0; t < L; t++) {
        assert_true(liquid_combination(L, liquid_tokens(L, 3), 3, t, index));
        for (int j = 0; j < 3; j++) assert_int_equal(index[j], expected[t][j]);
    }
    assert_false(liquid_combination(2, liquid_tokens(2, 2), 2, 0, index)); /* too short for any */
}

static void reversed_products(void **state) {
    (void)state;
    static const double expected[L] = {0.86360353,  0.54054870,  0.59810952,  -0.03673463,
                                       -0.04064635, -0.02544146, -0.59674109, -0.66028560};
    double u[L];
    for (int t = 0; t < L; t++) u[t] = sin(0.7 * t + 0.3);
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    Tensor *x = constant(&bench, SHAPE(1, L, 1), u);
    bench_expect(&bench, liquid_products(bench.tape, x, (LiquidProducts){2, true}), expected);
}

static void gain_of_degree(int degree, double expected) {
    static const double log_dt[] = {-2.302585093}, A_real[] = {-0.6931471806, -0.6931471806},
                        A_imag[] = {-1, -3}, B[] = {1, 0, 0.7, 0}, C[] = {0.5, 0.25, -0.3, 0.4};
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    const DplrParameters p = {.log_dt = constant(&bench, SHAPE(1), log_dt),
                              .A_real = constant(&bench, SHAPE(1, M), A_real),
                              .A_imag = constant(&bench, SHAPE(1, M), A_imag),
                              .B = constant(&bench, SHAPE(1, M, 2), B),
                              .C = constant(&bench, SHAPE(1, M, 2), C)};
    bench_expect(&bench, liquid_gain(bench.tape, p, p.C, degree), &expected);
}

static void gains(void **state) {
    (void)state;
    gain_of_degree(2, 0.02213756);
    gain_of_degree(3, 0.00238717);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(combinations_of_degree_2),
        cmocka_unit_test(combinations_of_degree_3),
        cmocka_unit_test(reversed_products),
        cmocka_unit_test(gains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
