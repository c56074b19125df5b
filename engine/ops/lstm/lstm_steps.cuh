/* What the kernels over the steps read and write, and the resident ones' entries. */
#ifndef LONGHAUL_OPS_LSTM_STEPS_H
#define LONGHAUL_OPS_LSTM_STEPS_H

#include "engine/cuda/activation.cuh"
#include "engine/ops/lstm/lstm_plan.h"

struct Cells {
    int64_t L, H;
    const float *gates, *w, *h0, *c0;
    float *h, *h_last, *c_last;
    float *activated, *c; /* saved; NULL outside of training */
};

struct Adjoint {
    int64_t L, H;
    const float *activated, *c, *c0, *dh, *dh_last, *dc_last;
    const float *w;
    float *d_gates;   /* (B, L, 4H) before the activation */
    float *dh0, *dc0; /* (B, H) or NULL */
    bool add_h0, add_c0;
};

/* One of a unit's four gates after activation; the gate's number is 2 for tanh. Lanes of one warp
 * have different gates, and a branch would take both ways one after the other: signs and factors
 * are chosen instead. */
__device__ static inline float activated_gate(unsigned gate, float x) {
    const bool bends = gate == 2;
    const float power = (bends ? 2.0f * LOG2_E : -LOG2_E) * (bends ? fabsf(x) : x);
    const float r = fast_reciprocal(1.0f + fast_exp2(power));
    const float y = (bends ? -2.0f : 1.0f) * r + (bends ? 1.0f : 0.0f);
    return fabsf(x) < (bends ? TANH_NEAR : 0.0f) ? tanh_near(x) : copysignf(y, bends ? x : y);
}
/* Its derivative, of the activated gate. */
__device__ static inline float gate_slope(unsigned gate, float G) {
    return (gate == 2 ? 1.0f : G) - G * G;
}

/* All steps of a wide LSTM by one launch (lstm_resident.cu). False, and nothing done, where the
 * weights do not fit into the multiprocessors' shared memory, H is no multiple of 4, there is one
 * step, or so many rows keep plain products busy. counters: RESIDENT_COUNTERS; parts: of dh, (4, B,
 * H). */
enum { MOST_BLOCKS = 512, COUNTER_APART = 8 /* a sector of memory for each */ };
enum { RESIDENT_COUNTERS = 2 * (MOST_BLOCKS / 4) * COUNTER_APART };
bool resident_steps(const Run *run, int64_t B, const Cells &x, unsigned *counters);
bool resident_adjoint_steps(const Run *run, int64_t B, const Adjoint &x, unsigned *counters,
                            float *parts);

#endif
