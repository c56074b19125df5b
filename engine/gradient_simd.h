/* How a backward kernel delivers a gradient vector. */
#ifndef LONGHAUL_GRADIENT_SIMD_H
#define LONGHAUL_GRADIENT_SIMD_H

#include "engine/op.h"
#include "engine/simd.h"

/* Where the gradient of one input goes: nowhere (NULL), over what was there, or onto it. */
typedef struct GradientTarget {
    float *data;
    bool add;
} GradientTarget;

static inline GradientTarget gradient_target(const OpCall *call, int i) {
    const bool wanted = i < call->inputs && call->in[i] && !call->passed[i];
    return (GradientTarget){wanted ? call->in[i]->gradient : NULL, call->accumulate[i]};
}

/* The first n lanes of v to elements i, i + 1 ... of the target. */
static inline void v_deliver(GradientTarget target, int64_t i, vfloat v, int64_t n) {
    if (target.add) v += v_load_part(target.data + i, n);
    v_store_part(target.data + i, v, n);
}

/* n numbers to the elements of the target from `at` on, if it goes anywhere. */
static inline void deliver_all(GradientTarget target, int64_t at, const float *values, int64_t n) {
    for (int64_t i = 0; target.data && i < n; i += LANES)
        v_deliver(target, at + i, v_load_part(values + i, n - i), n - i);
}

#endif
