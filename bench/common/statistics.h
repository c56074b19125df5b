/* Statistics of a few seeds and of many timings. Every function takes n >= 1 finite numbers unless
 * it says otherwise, and leaves them as they are. */
#ifndef LONGHAUL_STATISTICS_H
#define LONGHAUL_STATISTICS_H

typedef struct Interval {
    double low, high;
} Interval;

double mean(const double *values, int n);

/* The middle value, or the mean of the two middle ones. */
double median(const double *values, int n);

/* Sample standard deviation (n - 1 in the denominator); 0 for n = 1. */
double deviation(const double *values, int n);

/* Two-sided interval of the mean by Student's t with n - 1 degrees of freedom. One value says
 * nothing about its spread: for n = 1 both ends are not-a-number. */
Interval student_interval(const double *values, int n, double confidence);

/* Percentile bootstrap interval of the median (Efron 1979) from `resamples` draws of a fixed
 * random stream: the same values give the same interval everywhere. */
Interval median_interval(const double *values, int n, double confidence, int resamples);

/* The value t with P(|T| <= t) = confidence for Student's distribution; degrees >= 1. */
double student_quantile(double confidence, double degrees);

#endif
