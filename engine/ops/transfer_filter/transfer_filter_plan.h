/* Sizes of a transfer function's work on CPUs, from shapes alone. */
#ifndef LONGHAUL_TRANSFER_FILTER_PLAN_H
#define LONGHAUL_TRANSFER_FILTER_PLAN_H

#include "engine/fft.h"
#include "engine/ops/transfer_filter/transfer_filter.h"

_Static_assert((int)TRANSFER_LEAST >= (int)FFT_LEAST, "shorter transforms do not exist");

typedef struct TransferPlan {
    int64_t N, D, P, L;
    Fft fft; /* of P points */
} TransferPlan;

static inline TransferPlan transfer_plan(const OpCall *call) {
    const TransferFilter *attributes = call->attributes;
    return (TransferPlan){.N = extent(call->in[0], 0),
                          .D = extent(call->in[0], 1),
                          .P = attributes->period,
                          .L = attributes->length,
                          .fft = fft_layout(attributes->period)};
}

/* Scratch in floats: the factors of the transform, then what each thread has: one buffer of points,
 * backward two. */
static inline int64_t transfer_factor_floats(const TransferPlan *p) {
    return (fft_factor_floats(&p->fft) + 15) / 16 * 16;
}
static inline int64_t transfer_buffer_floats(const TransferPlan *p) {
    return (int64_t)(fft_buffer_bytes(&p->fft) / sizeof(float));
}
static inline int64_t transfer_thread_floats(const TransferPlan *p, Phase phase) {
    return (phase == PHASE_FORWARD ? 1 : 2) * transfer_buffer_floats(p);
}

#endif
