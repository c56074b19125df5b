/* Extents of the kernels of ttt and ttt_step, and the layout of what they keep.
 *
 * A head's weights lie as W1, c1, W2, c2, P numbers. In the CPU's kernels tokens are the lanes: a
 * panel holds a matrix of the tokens of one mini-batch as [channel][lane], so that norms are sums
 * over rows, and W serves as it lies for products with itself and with its transpose. */
#ifndef LONGHAUL_OPS_TTT_PLAN_H
#define LONGHAUL_OPS_TTT_PLAN_H

#include "engine/op.h"
#include "engine/ops/ttt/ttt.h"

enum {
    TTT_Q,
    TTT_K,
    TTT_V,
    TTT_RATE,
    TTT_INDEX,
    TTT_GAMMA,
    TTT_BETA,
    TTT_W1,
    TTT_C1,
    TTT_W2,
    TTT_C2,
    TTT_INPUTS,
    TTT_GROUP = 4, /* mini-batches between two states that forward keeps */
    TTT_LAYERS = 2,
    TTT_PARTS = 32 /* into which backward cuts heads x sequences, about */
};

/* Attributes of both operations. */
typedef struct Ttt {
    double base;
} Ttt;

static const float ttt_epsilon = 1e-6f; /* of the norm inside the model, as released */

typedef struct TttPlan {
    int64_t B, L, H, f, b;
    int64_t layers;
    int64_t in[TTT_LAYERS], out[TTT_LAYERS]; /* channels of each layer */
    int64_t W[TTT_LAYERS], c[TTT_LAYERS];    /* where they begin in a head's weights */
    int64_t P;
    int64_t batches, groups; /* mini-batches, groups of them */
    float scale;             /* base / f */
} TttPlan;

/* in: the inputs in the order above, wherever the operation has them. */
static inline TttPlan ttt_plan(Tensor *const *in, const Ttt *attributes) {
    TttPlan plan = {.B = extent(in[TTT_Q], 0),
                    .L = extent(in[TTT_Q], 1),
                    .H = extent(in[TTT_GAMMA], 0),
                    .f = extent(in[TTT_GAMMA], 1),
                    .b = extent(in[TTT_INDEX], 0),
                    .layers = in[TTT_W2] ? 2 : 1};
    for (int64_t l = 0; l < plan.layers; l++) {
        plan.in[l] = l ? plan.out[0] : plan.f;
        plan.out[l] = l + 1 < plan.layers ? extent(in[TTT_W1], 2) : plan.f;
        plan.W[l] = plan.P;
        plan.c[l] = plan.W[l] + plan.in[l] * plan.out[l];
        plan.P = plan.c[l] + plan.out[l];
    }
    plan.batches = (plan.L + plan.b - 1) / plan.b;
    plan.groups = (plan.batches + TTT_GROUP - 1) / TTT_GROUP;
    plan.scale = (float)(attributes->base / (double)plan.f);
    return plan;
}

static inline float ttt_tau(const float *index, int64_t t) {
    const float tau = 1.0f / (float)(t + 1) + index[t];
    return tau > 0 ? tau : 0;
}

/* The inputs of a builder in the order above. */
void ttt_order(const TttInputs *inputs, Tensor **in);

/* Checks the inputs that both operations have; false after tape_fail. */
bool ttt_check(Tape *tape, const OpCall *call, Tensor *const *in);

/* Additions and multiplications of one token of one head in the dual form. */
double ttt_forward_flops(const TttPlan *plan);

#endif
