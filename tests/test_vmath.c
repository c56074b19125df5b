/* Holds every vector function to the bound that engine/vmath.h states, against double-precision
 * libm, on every instruction set of this processor. */
#include "engine/vmath_cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { POINTS = 1 << 20, BLOCK = 1 << 12 };

typedef double Function(double);

typedef struct Sweep {
    const char *name;
    VectorFunction function;
    Function *exact;
    double from, to;
    double ulps;     /* allowed error in gaps between floats at the exact result */
    double absolute; /* and in absolute terms, where the row's comment says why */
} Sweep;

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}
static double softplus(double x) {
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}
static double reciprocal(double x) {
    return 1 / x;
}
static double normal_tail(double x) {
    return 0.5 * erfc(x * sqrt(0.5));
}

/* The smallest normal float: what flushing to zero may lose. */
static const double tiny = 0x1p-126;

static const Sweep sweeps[] = {
    {"exp", VECTOR_EXP, exp, -104, 88.72, 1.25, tiny},
    {"exp2 decay", VECTOR_EXP2_DECAY, exp2, -1e6, 0, 2.5, tiny},
    {"exp2 weight", VECTOR_EXP2_WEIGHT, exp2, -1e6, 0, 2.5, tiny},
    {"exp2 decay near 0", VECTOR_EXP2_DECAY, exp2, -1, 0, 2.5, 0},
    {"expm1", VECTOR_EXPM1, expm1, -104, 88.72, 2.0, tiny},
    {"log", VECTOR_LOG, log, 0x1p-126, 3.4e38, 1.0, 0},
    {"log near 1", VECTOR_LOG, log, 0.5, 2, 1.0, 0},
    {"tanh", VECTOR_TANH, tanh, -12, 12, 2.25, tiny},
    {"sigmoid", VECTOR_SIGMOID, sigmoid, -87, 87, 2.5, tiny},
    {"sigmoid tails", VECTOR_SIGMOID, sigmoid, -1000, 1000, 2.5, tiny},
    {"softplus", VECTOR_SOFTPLUS, softplus, -87, 30, 2.0, tiny},
    {"softplus tails", VECTOR_SOFTPLUS, softplus, -1000, 1e30, 2.0, tiny},
    /* Without fused operations the reduced argument carries an absolute error. */
    {"sin", VECTOR_SIN, sin, -1e4, 1e4, 2.0, 1e-11},
    {"sin near 0", VECTOR_SIN, sin, -7, 7, 2.0, 1e-11},
    {"cos", VECTOR_COS, cos, -1e4, 1e4, 2.25, 1e-11},
    {"cos near 0", VECTOR_COS, cos, -7, 7, 2.25, 1e-11},
    {"erf", VECTOR_ERF, erf, -6, 6, 2.0, tiny},
    {"sqrt", VECTOR_SQRT, sqrt, 0, 3.4e38, 0.5, 0},
    {"reciprocal", VECTOR_RECIPROCAL, reciprocal, 1e-37, 1e37, 0.5, 0},
};

/* Gap between neighbouring floats at y. */
static double ulp(double y) {
    return ldexp(1, (y == 0 ? -126 : (int)fmax(ilogb(y), -126)) - 23);
}

/* Half of the points evenly over [from, to], half evenly over the exponents of that interval. */
static float point(const Sweep *sweep, int i) {
    const double t = (double)(i / 2) / (POINTS / 2 - 1);
    if (i % 2 == 0) return (float)(sweep->from + t * (sweep->to - sweep->from));
    const double end = t < 0.5 && sweep->from < 0 ? sweep->from : sweep->to;
    const double u = sweep->from < 0 ? fabs(2 * t - 1) : t;
    const double low = fmax(sweep->from, 1e-30);
    return (float)copysign(exp(log(low) + u * (log(fabs(end)) - log(low))), end);
}

static bool sweep_holds(const Sweep *sweep) {
    float x[BLOCK], y[BLOCK];
    double exact[BLOCK];
    double worst[ISA_COUNT] = {0};
    float worst_at[ISA_COUNT] = {0};
    for (int start = 0; start < POINTS; start += BLOCK) {
        for (int i = 0; i < BLOCK; i++) {
            x[i] = fminf(fmaxf(point(sweep, start + i), (float)sweep->from), (float)sweep->to);
            exact[i] = sweep->exact(x[i]);
        }
        for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++) {
            vector_math(isa)->functions[sweep->function](x, y, BLOCK);
            for (int i = 0; i < BLOCK; i++) {
                const double allowed = sweep->ulps + sweep->absolute / ulp(exact[i]);
                const double error = fabs(y[i] - exact[i]) / ulp(exact[i]) / allowed;
                if (error <= worst[isa]) continue;
                worst[isa] = error;
                worst_at[isa] = x[i];
            }
        }
    }
    for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++)
        print_message("%-16s %-9s %.3f of the bound, worst at %.9g\n", sweep->name, isa_name(isa),
                      worst[isa], (double)worst_at[isa]);
    bool holds = true;
    for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++) holds = holds && worst[isa] <= 1;
    return holds;
}

static void bounds_hold(void **state) {
    (void)state;
    int failures = 0;
    for (size_t i = 0; i < sizeof sweeps / sizeof sweeps[0]; i++)
        failures += !sweep_holds(&sweeps[i]);
    assert_int_equal(failures, 0);
}

static void exp_relative_error(void **state) {
    (void)state;
    float x[BLOCK], y[BLOCK];
    for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++) {
        for (int i = 0; i < BLOCK; i++) x[i] = -87 + 175.0f * (float)i / BLOCK;
        vector_math(isa)->functions[VECTOR_EXP](x, y, BLOCK);
        for (int i = 0; i < BLOCK; i++) assert_true(fabs(y[i] / exp(x[i]) - 1) < 1.2e-7);
    }
}

/* Both sides of the bound in engine/vmath.h. */
static void normal_tail_error(void **state) {
    (void)state;
    float x[BLOCK], y[BLOCK];
    for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++) {
        for (int i = 0; i < BLOCK; i++) x[i] = 11 * (float)i / (BLOCK - 1);
        vector_math(isa)->functions[VECTOR_NORMAL_TAIL](x, y, BLOCK);
        for (int i = 0; i < BLOCK; i++) {
            const double exact = normal_tail(x[i]), error = fabs(y[i] - exact);
            assert_true(error < 1e-7 * (1 - exact));
            if (x[i] <= 6) assert_true(error < 4e-6 * exact);
        }
    }
}

/* Exact results; y = NaN means that any NaN will do. */
typedef struct Special {
    VectorFunction function;
    float x, y;
} Special;

static const Special specials[] = {
    {VECTOR_EXP, INFINITY, INFINITY},
    {VECTOR_EXP, -INFINITY, 0},
    {VECTOR_EXP, 89, INFINITY},
    {VECTOR_EXP, 1e30f, INFINITY},
    {VECTOR_EXP, -1e30f, 0},
    {VECTOR_EXP, 0, 1},
    {VECTOR_EXP, NAN, NAN},
    {VECTOR_EXP2_DECAY, 0, 1},
    {VECTOR_EXP2_DECAY, NAN, NAN},
    {VECTOR_EXP2_WEIGHT, 0, 1},
    {VECTOR_EXP2_WEIGHT, -INFINITY, 0},
    {VECTOR_EXP2_WEIGHT, NAN, NAN},
    {VECTOR_EXPM1, INFINITY, INFINITY},
    {VECTOR_EXPM1, -INFINITY, -1},
    {VECTOR_EXPM1, 0, 0},
    {VECTOR_EXPM1, NAN, NAN},
    {VECTOR_LOG, 0, -INFINITY},
    {VECTOR_LOG, -1, NAN},
    {VECTOR_LOG, -INFINITY, NAN},
    {VECTOR_LOG, INFINITY, INFINITY},
    {VECTOR_LOG, 1, 0},
    {VECTOR_LOG, NAN, NAN},
    {VECTOR_TANH, INFINITY, 1},
    {VECTOR_TANH, -INFINITY, -1},
    {VECTOR_TANH, 0, 0},
    {VECTOR_TANH, NAN, NAN},
    {VECTOR_SIGMOID, INFINITY, 1},
    {VECTOR_SIGMOID, -INFINITY, 0},
    {VECTOR_SIGMOID, 0, 0.5f},
    {VECTOR_SIGMOID, 80, 1},
    {VECTOR_SIGMOID, NAN, NAN},
    {VECTOR_SOFTPLUS, INFINITY, INFINITY},
    {VECTOR_SOFTPLUS, -INFINITY, 0},
    {VECTOR_SOFTPLUS, 25, 25},
    {VECTOR_SOFTPLUS, 1e30f, 1e30f},
    {VECTOR_SOFTPLUS, NAN, NAN},
    {VECTOR_SIN, 0, 0},
    {VECTOR_SIN, INFINITY, NAN},
    {VECTOR_SIN, NAN, NAN},
    {VECTOR_COS, 0, 1},
    {VECTOR_COS, INFINITY, NAN},
    {VECTOR_COS, NAN, NAN},
    {VECTOR_ERF, INFINITY, 1},
    {VECTOR_ERF, -INFINITY, -1},
    {VECTOR_ERF, 0, 0},
    {VECTOR_ERF, NAN, NAN},
    {VECTOR_SQRT, INFINITY, INFINITY},
    {VECTOR_SQRT, -1, NAN},
    {VECTOR_SQRT, 0, 0},
    {VECTOR_RECIPROCAL, 0, INFINITY},
    {VECTOR_RECIPROCAL, INFINITY, 0},
    {VECTOR_RECIPROCAL, NAN, NAN},
};

static void special_values(void **state) {
    (void)state;
    for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++)
        for (size_t i = 0; i < sizeof specials / sizeof specials[0]; i++) {
            const Special *s = &specials[i];
            float y;
            vector_math(isa)->functions[s->function](&s->x, &y, 1);
            if (isnan(s->y) ? !isnan(y) : y != s->y)
                fail_msg("%s, function %d at %g: %g, expected %g", isa_name(isa), (int)s->function,
                         (double)s->x, (double)y, (double)s->y);
        }
}

/* Relative to max(1, |x|): the activations are used as multiples of x; exp to its own value. 3e-7
 * is two roundings above the 2 ulp of the functions inside. */
static void activations_match(void **state) {
    (void)state;
    float x[BLOCK], y[BLOCK], gradient[BLOCK];
    for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++)
        for (Activation a = ACTIVATION_NONE; a < ACTIVATION_COUNT; a++) {
            for (int i = 0; i < BLOCK; i++) x[i] = -30 + 60 * ((float)i + 0.5f) / BLOCK;
            vector_math(isa)->activate(a, x, y, BLOCK);
            vector_math(isa)->activate_gradient(a, x, gradient, BLOCK);
            for (int i = 0; i < BLOCK; i++) {
                const double value = activation_value(a, x[i]), h = 1e-5;
                const double scale = fmax(1, a == ACTIVATION_EXP ? value : fabs(x[i]));
                const double slope =
                    (activation_value(a, x[i] + h) - activation_value(a, x[i] - h)) / (2 * h);
                const double bound = 3e-7 * (a == ACTIVATION_SQUARED_RELU ? scale * scale : scale);
                if (!(fabs(y[i] - value) < bound))
                    fail_msg("%s %s at %g: %.9g, expected %.9g", isa_name(isa), activation_name(a),
                             (double)x[i], (double)y[i], value);
                if (!(fabs(gradient[i] - slope) < 1e-6 * scale))
                    fail_msg("%s %s' at %g: %.9g, expected %.9g", isa_name(isa), activation_name(a),
                             (double)x[i], (double)gradient[i], slope);
            }
        }
}

/* An element's bits do not depend on where its vector starts. */
static void tails_are_equal(void **state) {
    (void)state;
    float x[67], whole[67], parts[67];
    for (int i = 0; i < 67; i++) x[i] = 0.37f * (float)(i + 1);
    for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++)
        for (VectorFunction f = 0; f < VECTOR_FUNCTION_COUNT; f++) {
            VectorLoop *loop = vector_math(isa)->functions[f];
            loop(x, whole, 67);
            for (int i = 0; i < 67; i += 3) loop(x + i, parts + i, i + 3 <= 67 ? 3 : 67 - i);
            assert_memory_equal(whole, parts, sizeof whole);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bounds_hold),       cmocka_unit_test(exp_relative_error),
        cmocka_unit_test(normal_tail_error), cmocka_unit_test(special_values),
        cmocka_unit_test(activations_match), cmocka_unit_test(tails_are_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
