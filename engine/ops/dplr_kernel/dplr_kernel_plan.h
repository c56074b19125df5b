/* Sizes of a DPLR kernel's work, from shapes alone. The `period` taps are the real and imaginary
 * parts of n = period / 2 complex points; of the nodes 0 .. n, k and n - k are worked on together,
 * since sine and cosine change places between them. */
#ifndef LONGHAUL_DPLR_KERNEL_PLAN_H
#define LONGHAUL_DPLR_KERNEL_PLAN_H

#include "engine/fft.h"
#include "engine/ops/dplr_kernel/dplr_kernel.h"

enum {
    DPLR_NODES = 32, /* whose cotangents backward keeps while it goes over the modes */
    DPLR_COEFFICIENTS = 2 + 2 * (2 + DPLR_MOST_RANK) * (1 + DPLR_MOST_RANK), /* at most */
    DPLR_MODE_GRADIENTS = 4 + 2 * DPLR_MOST_RANK /* A_real, A_imag, B, P of one mode */
};

typedef struct DplrPlan {
    int64_t D, S, M, n, L;
    int R, kernels; /* kernels: 1, or 2 with C_reverse */
    bool direct;    /* n points are transformed point by point */
    Fft fft;        /* else */
} DplrPlan;

static inline DplrPlan dplr_plan(const OpCall *call) {
    const DplrKernel *attributes = call->attributes;
    DplrPlan plan = {.D = extent(call->in[DPLR_LOG_DT], 0),
                     .S = extent(call->in[DPLR_A_REAL], 0),
                     .M = extent(call->in[DPLR_A_REAL], 1),
                     .R = (int)extent(call->in[DPLR_P], 0),
                     .n = attributes->period / 2,
                     .L = attributes->length,
                     .kernels = call->inputs > DPLR_C_REVERSE && call->in[DPLR_C_REVERSE] ? 2 : 1};
    plan.direct = plan.n < FFT_LEAST;
    if (!plan.direct) plan.fft = fft_layout(plan.n);
    return plan;
}

/* Products of a left and a right factor. */
static inline int dplr_products(const DplrPlan *p) {
    return (p->kernels + p->R) * (1 + p->R);
}

/* Complex numbers of a node that forward leaves for backward: (1 + c r(conj P, P))^-1 (beta - c
 * r(conj P, B - beta P)), and r(Ct, P) (1 + c r(conj P, P))^-1 of each kernel. */
static inline int dplr_saved(const DplrPlan *p) {
    return p->R * (1 + p->kernels);
}

/* Scratch in floats: what threads share (sines of the nodes, factors of the transform, gradients of
 * modes channel by channel), then what each of them has. */
static inline int64_t dplr_sine_floats(const DplrPlan *p) {
    return (p->n + 1 + 15) / 16 * 16 + FFT_LANES;
}
static inline int64_t dplr_factor_floats(const DplrPlan *p) {
    const int64_t floats = p->direct ? 2 * p->n : fft_factor_floats(&p->fft);
    return (floats + 15) / 16 * 16;
}
static inline int64_t dplr_gradient_floats(const DplrPlan *p) {
    return (p->D * p->M * DPLR_MODE_GRADIENTS + 15) / 16 * 16;
}
static inline int64_t dplr_shared_floats(const DplrPlan *p, Phase phase) {
    return dplr_sine_floats(p) + dplr_factor_floats(p) +
           (phase == PHASE_BACKWARD ? dplr_gradient_floats(p) : 0);
}
/* One buffer of n complex points a kernel; two for a transform that is not in place. */
static inline int64_t dplr_buffer_floats(const DplrPlan *p) {
    if (p->direct) return 2 * p->n * 2 * FFT_LANES;
    return (int64_t)(fft_buffer_bytes(&p->fft) / sizeof(float));
}
static inline int64_t dplr_thread_floats(const DplrPlan *p, Phase phase) {
    const int64_t forward =
        p->M * (DPLR_COEFFICIENTS + 2) * FFT_LANES + p->kernels * dplr_buffer_floats(p);
    if (phase == PHASE_FORWARD) return forward;
    /* sums over the nodes in double precision, and cotangents of a block of nodes */
    return forward + p->M * 2 * DPLR_COEFFICIENTS * FFT_LANES +
           DPLR_NODES * (2 + DPLR_COEFFICIENTS) * FFT_LANES;
}

#endif
