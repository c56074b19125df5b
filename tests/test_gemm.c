/* The matrix product against plain double-precision loops: every layout and instruction set, odd
 * and prime extents, padded leading dimensions, all ways to start, and equal bits for 1, 2 and 3
 * threads and for any part of the rows. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/gemm.h"
#include "engine/matrix_tiles.h"
#include "engine/random.h"

typedef struct Size {
    int64_t m, n, k;
} Size;

static const Size sizes[] = {
    {1, 1, 1},     {1, 1, 300},     {1, 67, 5},   {2, 31, 1},   {3, 7, 2},
    {13, 17, 19},  {14, 32, 16},    {15, 33, 17}, {28, 64, 64}, {29, 16, 257},
    {61, 127, 31}, {64, 48, 256},   {97, 1, 97},  {101, 8, 3},  {100, 513, 7},
    {37, 600, 40}, {127, 131, 521}, {3, 300, 70}, {2, 144, 33}, {258, 290, 300},
};
enum { SIZES = sizeof sizes / sizeof sizes[0], PAD = 3 };

typedef struct Implementation {
    GemmFunction *plain;
    GemmFusedFunction *fused;
} Implementation;

static const Implementation implementations[ISA_COUNT] = {
    {gemm_portable, gemm_fused_portable},
    {gemm_avx2, gemm_fused_avx2},
    {gemm_avx512, gemm_fused_avx512},
};

/* Operands of one product; C has PAD guard columns. */
typedef struct Operands {
    GemmLayout layout;
    Size size;
    int64_t lda, ldb, ldc;
    float *a, *b, *c, *before, *bias;
    double *exact, *magnitude; /* (m, n): sum of a b, and of |a b| */
    float *workspace;
} Operands;

static float *random_floats(int64_t count, uint64_t item) {
    float *data = malloc((size_t)count * sizeof(float));
    assert_non_null(data);
    Random random = random_open(7, 1, item);
    for (int64_t i = 0; i < count; i++) data[i] = (float)random_normal(&random);
    return data;
}

static Operands operands_open(GemmLayout layout, Size size) {
    const int64_t m = size.m, n = size.n, k = size.k;
    const bool a_turned = layout == GEMM_TN, b_turned = layout == GEMM_NT;
    Operands o = {.layout = layout, .size = size, .ldc = n + PAD};
    o.lda = (a_turned ? m : k) + PAD;
    o.ldb = b_turned ? k : n; /* dense, so that reading past the end is caught by the sanitizer */
    o.a = random_floats(o.lda * (a_turned ? k : m), 1);
    o.b = random_floats(o.ldb * (b_turned ? n : k), 2);
    o.before = random_floats(o.ldc * m, 3);
    o.bias = random_floats(n, 4);
    o.c = malloc((size_t)(o.ldc * m) * sizeof(float));
    o.exact = calloc((size_t)(m * n), sizeof(double));
    o.magnitude = calloc((size_t)(m * n), sizeof(double));
    const size_t bytes = gemm_workspace(layout, m, n, k, 3);
    o.workspace = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_true(o.c && o.exact && o.magnitude && o.workspace);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t l = 0; l < k; l++) {
                const double term = (double)o.a[a_turned ? l * o.lda + i : i * o.lda + l] *
                                    (double)o.b[b_turned ? j * o.ldb + l : l * o.ldb + j];
                o.exact[i * n + j] += term;
                o.magnitude[i * n + j] += fabs(term);
            }
    return o;
}

static void operands_close(Operands *o) {
    free(o->a);
    free(o->b);
    free(o->c);
    free(o->before);
    free(o->bias);
    free(o->exact);
    free(o->magnitude);
    free(o->workspace);
}

/* Number of wrong elements of C against S + A B. Partial sums of random terms grow as sqrt(k), so
 * the k rounding errors (2^-24 of a partial sum each) add up to about 2^-24 of the sum of
 * magnitudes whatever k is; 8 covers the extremes among the million elements tested here. */
static int64_t wrong_elements(const Operands *o, const float *start, int64_t lds) {
    const double unit = ldexp(1.0, -24);
    int64_t wrong = 0;
    for (int64_t i = 0; i < o->size.m; i++) {
        for (int64_t j = 0; j < o->size.n; j++) {
            const int64_t at = i * o->size.n + j;
            const double s = start ? (double)start[i * lds + j] : 0.0;
            const double bound = 8.0 * unit * (o->magnitude[at] + fabs(s));
            wrong += !(fabs((double)o->c[i * o->ldc + j] - s - o->exact[at]) <= bound);
        }
        wrong += memcmp(&o->c[i * o->ldc + o->size.n], &o->before[i * o->ldc + o->size.n],
                        PAD * sizeof(float)) != 0;
    }
    return wrong;
}

static void multiply(const Operands *o, const Implementation *with, Products products,
                     const float *start, int64_t lds, const GemmFinish *finish, int threads) {
    memcpy(o->c, o->before, (size_t)(o->ldc * o->size.m) * sizeof(float));
    with->fused(o->layout, products, o->size.m, o->size.n, o->size.k, o->a, o->lda, o->b, o->ldb,
                start, lds, o->c, o->ldc, finish, o->workspace, threads);
}

static void each(void (*check)(const Operands *, const Implementation *)) {
    for (int layout = GEMM_NN; layout <= GEMM_TN; layout++)
        for (int i = 0; i < SIZES; i++) {
            Operands o = operands_open((GemmLayout)layout, sizes[i]);
            for (int isa = 0; isa <= (int)isa_best(); isa++) check(&o, &implementations[isa]);
            operands_close(&o);
        }
}

static void check_values(const Operands *o, const Implementation *with) {
    multiply(o, with, PRODUCTS_FLOAT, NULL, 0, NULL, 1);
    assert_int_equal(wrong_elements(o, NULL, 0), 0);
    multiply(o, with, PRODUCTS_FLOAT, o->bias, 0, NULL, 1);
    assert_int_equal(wrong_elements(o, o->bias, 0), 0);
    multiply(o, with, PRODUCTS_FLOAT, o->c, o->ldc, NULL, 1);
    assert_int_equal(wrong_elements(o, o->before, o->ldc), 0);
    memcpy(o->c, o->before, (size_t)(o->ldc * o->size.m) * sizeof(float));
    with->plain(o->layout, PRODUCTS_FLOAT, o->size.m, o->size.n, o->size.k, o->a, o->lda, o->b,
                o->ldb, o->c, o->ldc, true, o->workspace, 2);
    assert_int_equal(wrong_elements(o, o->before, o->ldc), 0);
}

static void check_bits(const Operands *o, const Implementation *with) {
    const size_t bytes = (size_t)(o->ldc * o->size.m) * sizeof(float);
    float *one = malloc(bytes);
    assert_non_null(one);
    multiply(o, with, PRODUCTS_FLOAT, o->bias, 0, NULL, 1);
    memcpy(one, o->c, bytes);
    for (int threads = 2; threads <= 3; threads++) {
        multiply(o, with, PRODUCTS_FLOAT, o->bias, 0, NULL, threads);
        assert_memory_equal(o->c, one, bytes);
    }
    /* The last row alone. */
    const int64_t last = o->size.m - 1;
    const float *a = o->a + (o->layout == GEMM_TN ? last : last * o->lda);
    float *c = o->c + last * o->ldc;
    memset(c, 0, (size_t)o->size.n * sizeof(float));
    with->fused(o->layout, PRODUCTS_FLOAT, 1, o->size.n, o->size.k, a, o->lda, o->b, o->ldb,
                o->bias, 0, c, o->ldc, NULL, o->workspace, 1);
    assert_memory_equal(o->c, one, bytes);
    free(one);
}

/* Each visit must find finished values, and every element must be visited once. */
typedef struct Visits {
    float *c;
    int64_t ldc;
} Visits;

static void negate(void *context, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const Visits *visits = context;
    for (int64_t i = row; i < row + rows; i++)
        for (int64_t j = column; j < column + columns; j++)
            visits->c[i * visits->ldc + j] = -visits->c[i * visits->ldc + j];
}

static void check_finish(const Operands *o, const Implementation *with) {
    Visits visits = {o->c, o->ldc};
    for (int threads = 1; threads <= 2; threads++) {
        multiply(o, with, PRODUCTS_FLOAT, NULL, 0, &(GemmFinish){negate, &visits}, threads);
        negate(&visits, 0, o->size.m, 0, o->size.n);
        assert_int_equal(wrong_elements(o, NULL, 0), 0);
    }
}

static void test_values(void **state) {
    (void)state;
    each(check_values);
}

static void test_bits(void **state) {
    (void)state;
    each(check_bits);
}

static void test_finish(void **state) {
    (void)state;
    each(check_finish);
}

/* To 8 significant bits, ties to even; nothing below 2^-56. */
static float rounded(float x) {
    int exponent;
    if (isnan(x) || isinf(x)) return x;
    if (fabsf(x) < 0x1p-56f) return 0.0f;
    const double fraction = frexp((double)x, &exponent); /* 0.5 .. 1 */
    return (float)ldexp(nearbyint(ldexp(fraction, 8)), exponent - 8);
}

static int64_t size_of_a(const Operands *o) {
    return o->lda * (o->layout == GEMM_TN ? o->size.k : o->size.m);
}
static int64_t size_of_b(const Operands *o) {
    return o->ldb * (o->layout == GEMM_NT ? o->size.n : o->size.k);
}
static float *rounded_copy(const float *data, int64_t count) {
    float *copy = malloc((size_t)count * sizeof *copy);
    assert_non_null(copy);
    for (int64_t i = 0; i < count; i++) copy[i] = rounded(data[i]);
    return copy;
}

static float element(const float *data, int64_t ld, bool turned, int64_t row, int64_t column) {
    return data[turned ? column * ld + row : row * ld + column];
}

static float add_product(const Operands *o, int64_t i, int64_t j, int64_t k, float sum) {
    if (k >= o->size.k) return sum;
    return fmaf(element(o->a, o->lda, o->layout == GEMM_TN, i, k),
                element(o->b, o->ldb, o->layout == GEMM_NT, k, j), sum);
}

/* One element of rounded operands as engine/bf16_simd.h and gemm.h promise it: pairs of k, the
 * later one first. */
static float by_pairs(const Operands *o, int64_t i, int64_t j) {
    float whole = o->bias[j];
    for (int64_t k0 = 0; k0 < o->size.k; k0 += GEMM_DEPTH) {
        float sum = 0;
        for (int64_t k = k0; k < o->size.k && k < k0 + GEMM_DEPTH; k += 2)
            sum = add_product(o, i, j, k, add_product(o, i, j, k + 1, sum));
        whole += sum;
    }
    return whole;
}

/* The same as engine/gemm_amx.h promises it: the two halves of 16 pairs apart. */
static float by_tiles(const Operands *o, int64_t i, int64_t j) {
    float whole = o->bias[j];
    for (int64_t k0 = 0; k0 < o->size.k; k0 += 32) {
        float half[2] = {0, 0};
        for (int64_t k = 0; k < 32; k++) half[k % 2] = add_product(o, i, j, k0 + k, half[k % 2]);
        whole += half[0] + half[1];
    }
    return whole;
}

static void check_pairs(const Operands *o, const Implementation *with) {
    const bool tiles = with == &implementations[ISA_AVX512] && matrix_tiles_granted();
    Operands plain = *o;
    plain.a = rounded_copy(o->a, size_of_a(o));
    plain.b = rounded_copy(o->b, size_of_b(o));
    for (int threads = 1; threads <= 2; threads++) {
        multiply(o, with, PRODUCTS_BF16, o->bias, 0, NULL, threads);
        int64_t wrong = 0;
        for (int64_t i = 0; i < o->size.m; i++)
            for (int64_t j = 0; j < o->size.n; j++) {
                const float is = o->c[i * o->ldc + j];
                const float should = (tiles ? by_tiles : by_pairs)(&plain, i, j);
                wrong += !(is == should || (isnan(is) && isnan(should)));
            }
        assert_int_equal(wrong, 0);
    }
    free(plain.a);
    free(plain.b);
}

static void test_pairs(void **state) {
    (void)state;
    each(check_pairs);
    if (!matrix_tiles_granted()) puts("no tile registers here (AMX): their products not tested");
}

/* Where the processor's instruction and plain arithmetic could part: numbers at the edge of what
 * is rounded to zero, whose products reach 2^-126, sums that cancel there, overflow, infinities
 * and not-a-number. */
static void test_pairs_at_the_edges(void **state) {
    (void)state;
    static const float edges[] = {0x1p-56f,    -0x1p-56f,    0x1.fep-57f,   0x1.ffp-57f,
                                  0x1.01p-56f, -0x1.03p-56f, 0x1.018p-56f,  1e-40f,
                                  -0.0f,       0x1.fep63f,   -0x1.fcp63f,   0x1p63f,
                                  1.0f,        -0x1.02p0f,   0x1.017ffep0f, 0x1.01p0f};
    enum { EDGES = sizeof edges / sizeof edges[0] };
    for (int layout = GEMM_NN; layout <= GEMM_TN; layout++) {
        Operands o = operands_open((GemmLayout)layout, (Size){37, 40, 47});
        Random random = random_open(8, 1, (uint64_t)layout);
        for (int64_t i = 0; i < size_of_a(&o); i++) o.a[i] = edges[random_below(&random, EDGES)];
        for (int64_t i = 0; i < size_of_b(&o); i++) o.b[i] = edges[random_below(&random, EDGES)];
        o.a[3] = NAN;
        o.b[5] = INFINITY;
        memset(o.bias, 0, (size_t)o.size.n * sizeof(float));
        for (int isa = 0; isa <= (int)isa_best(); isa++) check_pairs(&o, &implementations[isa]);
        operands_close(&o);
    }
}

/* The comparison itself: one element of A that is 1e-4 off must show. */
static void test_sabotage(void **state) {
    (void)state;
    Operands o = operands_open(GEMM_NN, (Size){29, 16, 257});
    o.a[5 * o.lda + 200] *= 1.0001f;
    multiply(&o, &implementations[ISA_PORTABLE], PRODUCTS_FLOAT, NULL, 0, NULL, 1);
    assert_true(wrong_elements(&o, NULL, 0) > 0);
    operands_close(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_pairs_at_the_edges),
        cmocka_unit_test(test_sabotage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
