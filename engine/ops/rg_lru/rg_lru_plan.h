/* What the kernels share. */
#ifndef LONGHAUL_OPS_RG_LRU_PLAN_H
#define LONGHAUL_OPS_RG_LRU_PLAN_H

#include "engine/ops/rg_lru/rg_lru.h"

enum {
    RG_LRU_X,
    RG_LRU_RECURRENCE,
    RG_LRU_INPUT,
    RG_LRU_RECURRENCE_BIAS,
    RG_LRU_INPUT_BIAS,
    RG_LRU_LAMBDA,
    RG_LRU_STATE,
    RG_LRU_POSITION,
    RG_LRU_INPUTS,
    /* Parts of a sequence's sums for (E) parameters. */
    RG_LRU_SUM_LAMBDA = 0,
    RG_LRU_SUM_RECURRENCE,
    RG_LRU_SUM_INPUT,
    RG_LRU_SUMS
};

/* log a = RG_LRU_RATE r softplus(lambda) */
#define RG_LRU_RATE (-8.0f)

/* The largest derivative of sqrt(1 - a^2) in 1 - a^2. */
#define RG_LRU_STEEPEST 1000.0f

/* Whether the call's first token is its sequence's first. */
#ifdef __CUDACC__
__host__ __device__
#endif
    static inline bool
    rg_lru_begins(const int32_t *position) {
    return !position || position[0] == 0;
}

#endif
