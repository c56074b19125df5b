/* The inner loop of test-time training (Sun et al. 2024, arXiv 2407.04620, sections 2.3 to 2.7):
 * the state of a sequence is the weights of a small model, and every token takes a step of gradient
 * descent on them. Per head of f channels, with t the place of a token in its mini-batch of b:
 *
 *     model(x; W) = x + norm(z),  z = x W1 + c1, or gelu(x W1 + c1) W2 + c2;  norm: gamma, beta
 *     G_j = gradient of |model(k_j; W) - v_j|^2 / 2 at the weights W before the mini-batch
 *     W_t = W - tau_t sum_{j <= t} (base / f) rate_j G_j       tau_t = max(0, 1 / (t + 1) +
 * index_t) y_t = model(q_t; W_t)
 *
 * The last W_t is what the next mini-batch starts from. Kernels use the dual form (section 2.5): no
 * W_t but the last is ever made,
 *
 *     z(q) = q W + c - (E * (q k^T + 1)) G       E_tj = tau_t (base / f) rate_j for j <= t
 *
 * and backward computes the weights inside each group of TTT_GROUP mini-batches again. */
#ifndef LONGHAUL_OPS_TTT_H
#define LONGHAUL_OPS_TTT_H

#include "engine/tape.h"

enum { TTT_LONGEST = 128 }; /* tokens of a mini-batch, at most */

typedef struct TttInputs {
    Tensor *q, *k, *v;    /* (B, L, H f) */
    Tensor *rate;         /* (B, L, H): how much of its step each token takes */
    Tensor *index;        /* (b) */
    Tensor *gamma, *beta; /* (H, f) */
    Tensor *W1, *c1;      /* (H, f, f), (H, f); with a second layer (H, f, h), (H, h) */
    Tensor *W2, *c2;      /* (H, h, f), (H, f), or both NULL */
    double base;          /* the paper's eta_base: 1 for one layer, 0.1 for two */
} TttInputs;

/* -> y (B, L, H f). Every sequence starts from W1, c1, W2, c2. */
Tensor *ttt(Tape *tape, const TttInputs *inputs);

#endif
