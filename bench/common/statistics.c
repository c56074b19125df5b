#include "bench/common/statistics.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/random.h"

double mean(const double *values, int n) {
    assert(n >= 1);
    double sum = 0;
    for (int i = 0; i < n; i++) sum += values[i];
    return sum / n;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double sorted_median(const double *sorted, int n) {
    return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static double *sorted_copy(const double *values, int n) {
    assert(n >= 1);
    double *copy = memory_take((size_t)n * sizeof *copy);
    memcpy(copy, values, (size_t)n * sizeof *copy);
    qsort(copy, (size_t)n, sizeof *copy, ascending);
    return copy;
}

double median(const double *values, int n) {
    double *sorted = sorted_copy(values, n);
    const double middle = sorted_median(sorted, n);
    free(sorted);
    return middle;
}

double deviation(const double *values, int n) {
    if (n < 2) return 0;
    const double centre = mean(values, n);
    double squares = 0;
    for (int i = 0; i < n; i++) squares += (values[i] - centre) * (values[i] - centre);
    return sqrt(squares / (n - 1));
}

/* Continued fraction of the incomplete beta function (DLMF 8.17.22) by Lentz's method. */
static double beta_fraction(double a, double b, double x) {
    const double tiny = 1e-300; /* stands in for an exact zero denominator */
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    if (fabs(d) < tiny) d = tiny;
    d = 1 / d;
    double value = d;
    for (int m = 1; m < 500; m++) {
        const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double factor = 1;
        for (int half = 0; half < 2; half++) {
            const double term = half ? odd : even;
            d = 1 + term * d;
            c = 1 + term / c;
            if (fabs(d) < tiny) d = tiny;
            if (fabs(c) < tiny) c = tiny;
            d = 1 / d;
            factor = c * d;
            value *= factor;
        }
        if (fabs(factor - 1) < 1e-15) break;
    }
    return value;
}

/* Regularised incomplete beta function I_x(a, b). */
static double incomplete_beta(double a, double b, double x) {
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    const double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    /* The fraction converges fast only on this side of the mean; the other follows by symmetry. */
    if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
    return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

/* P(|T| > t) = I_{v / (v + t^2)}(v/2, 1/2), DLMF 8.17 and Abramowitz & Stegun 26.7.1. */
static double student_tail(double t, double degrees) {
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t));
}

/* Solves student_tail(t) = 1 - confidence by doubling and bisection, to the last bits. */
double student_quantile(double confidence, double degrees) {
    assert(confidence > 0 && confidence < 1 && degrees >= 1);
    const double target = 1 - confidence;
    double low = 0, high = 1;
    while (student_tail(high, degrees) > target && high < 1e300) high *= 2;
    for (int i = 0; i < 200 && high - low > 1e-15 * high; i++) {
        const double middle = (low + high) / 2;
        if (student_tail(middle, degrees) > target) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return (low + high) / 2;
}

Interval student_interval(const double *values, int n, double confidence) {
    if (n < 2) return (Interval){NAN, NAN};
    const double half =
        student_quantile(confidence, n - 1) * deviation(values, n) / sqrt((double)n);
    const double centre = mean(values, n);
    return (Interval){centre - half, centre + half};
}

Interval median_interval(const double *values, int n, double confidence, int resamples) {
    assert(n >= 1 && resamples >= 1);
    double *draw = memory_take((size_t)n * sizeof *draw);
    double *medians = memory_take((size_t)resamples * sizeof *medians);
    const uint64_t stream = random_stream("statistics/bootstrap");
    for (int r = 0; r < resamples; r++) {
        Random random = random_open(0, stream, (uint64_t)r);
        for (int i = 0; i < n; i++) draw[i] = values[random_below(&random, (uint64_t)n)];
        qsort(draw, (size_t)n, sizeof *draw, ascending);
        medians[r] = sorted_median(draw, n);
    }
    qsort(medians, (size_t)resamples, sizeof *medians, ascending);
    const double tail = (1 - confidence) / 2;
    const int low = (int)floor(tail * (resamples - 1));
    const Interval interval = {medians[low], medians[resamples - 1 - low]};
    free(draw);
    free(medians);
    return interval;
}
