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
    for (int64_t k = 0; k < c->K && k < c->L; k++) {
        for (int64_t t = k; t < c->L; t++) c->sum[t] += c->h[k * c->D] * c->x[t - k];
        if (!c->reverse) continue;
        for (int64_t t = 0; t + k + 1 < c->L; t++)
            c->sum[t] += c->reverse[k * c->D] * c->x[t + k + 1];
    }
}

/* For n = 2 L points. */
typedef struct Transform {
    int n;
    double *signal, *filter;
    double complex *spectrum, *response;
    fftw_plan forward, inverse;
} Transform;

static Transform transform_open(int64_t L) {
    Transform f = {.n = (int)(2 * L)};
    f.signal = fftw_alloc_real((size_t)f.n);
    f.filter = fftw_alloc_real((size_t)f.n);
    f.spectrum = fftw_alloc_complex((size_t)L + 1);
    f.response = fftw_alloc_complex((size_t)L + 1);
    f.forward = fftw_plan_dft_r2c_1d(f.n, f.signal, f.spectrum, FFTW_ESTIMATE);
    f.inverse = fftw_plan_dft_c2r_1d(f.n, f.spectrum, f.signal, FFTW_ESTIMATE);
    return f;
}

static void transform_close(Transform *f) {
    fftw_destroy_plan(f->forward);
    fftw_destroy_plan(f->inverse);
    fftw_free(f->signal);
    fftw_free(f->filter);
    fftw_free(f->spectrum);
    fftw_free(f->response);
}

static void by_transform(const Transform *f, const Channel *c) {
    memset(f->signal, 0, (size_t)f->n * sizeof(double));
    memset(f->filter, 0, (size_t)f->n * sizeof(double));
    memcpy(f->signal, c->x, (size_t)c->L * sizeof(double));
    for (int64_t k = 0; k < c->K; k++) {
        f->filter[k] = c->h[k * c->D];
        if (c->reverse) f->filter[f->n - 1 - k] = c->reverse[k * c->D];
    }
    fftw_execute_dft_r2c(f->forward, f->signal, f->spectrum);
    fftw_execute_dft_r2c(f->forward, f->filter, f->response);
    for (int64_t k = 0; k <= c->L; k++) f->spectrum[k] *= f->response[k] / f->n;
    fftw_execute_dft_c2r(f->inverse, f->spectrum, f->signal);
    for (int64_t t = 0; t < c->L; t++) c->sum[t] += f->signal[t];
}

void long_convolution_reference(const ReferenceCall *call) {
    const Tensor *tensor = call->call->in[LONG_CONVOLUTION_U];
    const int64_t B = extent(tensor, 0), L = extent(tensor, 1), D = extent(tensor, 2);
    const double *pre = call->in[LONG_CONVOLUTION_PRE], *post = call->in[LONG_CONVOLUTION_POST];
    const double *skip = call->in[LONG_CONVOLUTION_SKIP];
    const double *reverse = call->in[LONG_CONVOLUTION_REVERSE];
    double *x = fftw_alloc_real((size_t)L), *sum = fftw_alloc_real((size_t)L);
    const bool defined = L <= BY_DEFINITION;
    Transform transform = defined ? (Transform){0} : transform_open(L);
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
            if (defined)
                by_definition(&channel);
            else
                by_transform(&transform, &channel);
            for (int64_t t = 0; t < L; t++)
                call->out[0][at + t * D] = post ? sum[t] * post[at + t * D] : sum[t];
        }
    if (!defined) transform_close(&transform);
    fftw_free(x);
    fftw_free(sum);
}
