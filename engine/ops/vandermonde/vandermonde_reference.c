#include <complex.h>
#include <math.h>

#include "engine/ops/vandermonde/vandermonde.h"

static double complex lambda_of(const ReferenceCall *call, DiagonalForm form, int64_t at) {
    const double A = call->in[DIAGONAL_A_REAL][at], imaginary = call->in[DIAGONAL_A_IMAG][at];
    double real = A;
    if (form.real == REAL_NEGATIVE_EXP) real = -exp(A);
    if (form.real == REAL_CLIPPED) real = fmin(A, -1e-4);
    return real + I * (form.imaginary == IMAGINARY_EXP ? exp(imaginary) : imaginary);
}

/* dt of the real and of the imaginary part. */
static void steps_of(const ReferenceCall *call, int64_t row, double dt[2]) {
    const Tensor *log_dt = call->call->in[DIAGONAL_LOG_DT];
    dt[0] = dt[1] = 1;
    if (!log_dt) return;
    const int64_t each = tensor_size(log_dt) / extent(log_dt, 0);
    for (int i = 0; i < 2; i++) dt[i] = exp(call->in[DIAGONAL_LOG_DT][row * each + i % each]);
}

ReferenceMode diagonal_reference_mode(const ReferenceCall *call, DiagonalForm form, int64_t at) {
    const int64_t S = extent(call->call->in[DIAGONAL_A_REAL], 0);
    const int64_t M = extent(call->call->in[DIAGONAL_A_REAL], 1);
    const int64_t row = S == 1 ? 0 : at / M, mode = row * M + at % M;
    const double *C = call->in[DIAGONAL_C] + 2 * at;
    const double *B = call->in[DIAGONAL_B] ? call->in[DIAGONAL_B] + 2 * mode : NULL;
    const double complex lambda = lambda_of(call, form, mode);
    double dt[2];
    steps_of(call, row, dt);
    const double complex a = dt[0] * creal(lambda) + I * dt[1] * cimag(lambda);
    double complex power = cexp(a), input = (power - 1) / lambda, first = 1;
    if (form.discretisation == DISCRETISATION_BILINEAR) {
        power = (1 + a / 2) / (1 - a / 2);
        input = dt[0] / (1 - a / 2);
    } else if (form.discretisation == DISCRETISATION_SOFTMAX) {
        const bool grows = creal(lambda) > 0;
        const double complex decay = grows ? -a : a;
        const double complex x = (cexp(decay * (double)form.period) - 1) * lambda;
        input = (cexp(decay) - 1) * conj(x) / (creal(x * conj(x)) + 1e-7);
        if (grows) first = cexp(-a * (double)(form.period - 1));
    }
    const double complex c = (C[0] + I * C[1]) * input * (B ? B[0] + I * B[1] : 1);
    return (ReferenceMode){
        {creal(power), cimag(power)}, {creal(c), cimag(c)}, {creal(first), cimag(first)}};
}

void vandermonde_reference(const ReferenceCall *call) {
    const Vandermonde *attributes = call->call->attributes;
    const int64_t D = extent(call->call->in[DIAGONAL_C], 0);
    const int64_t M = extent(call->call->in[DIAGONAL_C], 1);
    for (int64_t l = 0; l < attributes->length * D; l++) call->out[0][l] = 0;
    for (int64_t at = 0; at < D * M; at++) {
        const ReferenceMode m = diagonal_reference_mode(call, attributes->form, at);
        const double complex step = m.power[0] + I * m.power[1];
        double complex term = (m.c[0] + I * m.c[1]) * (m.first[0] + I * m.first[1]);
        for (int64_t l = 0; l < attributes->length; l++, term *= step)
            call->out[0][l * D + at / M] += 2 * creal(term);
    }
}
