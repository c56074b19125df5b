/* The sums as they are defined; long ones by FFTW in double precision, one channel at a time, which
 * the short rows of the table hold to the same tolerance. */
#include <complex.h>
#include <fftw3.h>
#include <string.h>

#include "engine/ops/long_convolution/long_convolution.h"

enum { BY_DEFINITION = 300 }; /* tokens */

/* One channel of one sequence: x and sum (L), h and reverse (K) with stride D. */
typedef struct Channel {
    int64_t L, K, D;
    const double *x, *h, *reverse;
    double *sum;
} Channel;

static void by_definition(const Channel *c) {
    for (int64_t t = 0; t < c->L; t++)
        for (int64_t s = 0; s < c->L; s++) {
            if (s <= t && t - s < c->K) c->sum[t] += c->h[(t - s) * c->D] * c->x[s];
            if (s > t && c->reverse && s - t - 1 < c->K)
                c->sum[t] += c->reverse[(s - t - 1) * c->D] * c->x[s];
        }
}

static void by_transform(const Channel *c) {
    const int n = (int)(2 * c->L);
    double *signal = fftw_alloc_real((size_t)n), *filter = fftw_alloc_real((size_t)n);
    double complex *spectrum = fftw_alloc_complex((size_t)c->L + 1);
    double complex *response = fftw_alloc_complex((size_t)c->L + 1);
    const fftw_plan forward = fftw_plan_dft_r2c_1d(n, signal, spectrum, FFTW_ESTIMATE);
    const fftw_plan inverse = fftw_plan_dft_c2r_1d(n, spectrum, signal, FFTW_ESTIMATE);
    memset(signal, 0, (size_t)n * sizeof *signal);
    memset(filter, 0, (size_t)n * sizeof *filter);
    memcpy(signal, c->x, (size_t)c->L * sizeof *signal);
    for (int64_t k = 0; k < c->K; k++) {
        filter[k] = c->h[k * c->D];
        if (c->reverse) filter[n - 1 - k] = c->reverse[k * c->D];
    }
    fftw_execute_dft_r2c(forward, signal, spectrum);
    fftw_execute_dft_r2c(forward, filter, response);
    for (int64_t k = 0; k <= c->L; k++) spectrum[k] *= response[k] / n;
    fftw_execute_dft_c2r(inverse, spectrum, signal);
    for (int64_t t = 0; t < c->L; t++) c->sum[t] += signal[t];
    fftw_destroy_plan(forward);
    fftw_destroy_plan(inverse);
    fftw_free(signal);
    fftw_free(filter);
    fftw_free(spectrum);
    fftw_free(response);
}

void long_convolution_reference(const ReferenceCall *call) {
    const Tensor *tensor = call->call->in[LONG_CONVOLUTION_U];
    const int64_t B = extent(tensor, 0), L = extent(tensor, 1), D = extent(tensor, 2);
    const double *pre = call->in[LONG_CONVOLUTION_PRE], *post = call->in[LONG_CONVOLUTION_POST];
    const double *skip = call->in[LONG_CONVOLUTION_SKIP];
    const double *reverse = call->in[LONG_CONVOLUTION_REVERSE];
    double *x = fftw_alloc_real((size_t)L), *sum = fftw_alloc_real((size_t)L);
    for (int64_t b = 0; b < B; b++)
        for (int64_t d = 0; d < D; d++) {
            const int64_t at = b * L * D + d;
            for (int64_t t = 0; t < L; t++) {
                x[t] = call->in[LONG_CONVOLUTION_U][at + t * D] * (pre ? pre[at + t * D] : 1);
                sum[t] = skip ? skip[d] * x[t] : 0;
            }
            const Channel channel = {.L = L,
                                     .K = extent(call->call->in[LONG_CONVOLUTION_FILTER], 0),
                                     .D = D,
                                     .x = x,
                                     .h = call->in[LONG_CONVOLUTION_FILTER] + d,
                                     .reverse = reverse ? reverse + d : NULL,
                                     .sum = sum};
            (L <= BY_DEFINITION ? by_definition : by_transform)(&channel);
            for (int64_t t = 0; t < L; t++)
                call->out[0][at + t * D] = post ? sum[t] * post[at + t * D] : sum[t];
        }
    fftw_free(x);
    fftw_free(sum);
}
