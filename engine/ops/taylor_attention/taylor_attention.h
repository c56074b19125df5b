/* Causal attention whose exponential is cut off after the square (Arora et al. 2024,
 * arXiv:2402.18668, section 4.1, after Zhang et al. 2024, arXiv:2402.04347):
 *
 *     o_t = sum_{j <= t} w(s_tj) v_j / (sum_{j <= t} w(s_tj) + epsilon)
 *     w(s) = 1 + s + s^2 / 2,   s_tj = q_t . k_j / sqrt(d)
 *
 * w is an inner product of F = 1 + d + d (d + 1) / 2 features, so all tokens seen so far are one
 * matrix and one vector:
 *
 *     S_t = S_{t-1} + psi(k_t) v_t^T,  z_t = z_{t-1} + psi(k_t)      psi(x) = 1, x_a, x_a x_b
 *     o_t = phi(q_t) S_t / (phi(q_t) z_t + epsilon)                  a <= b, row by row
 *
 * with phi of q / sqrt(d) like psi, squares of one channel halved. The authors' d^2 products with
 * equal weights say the same with almost twice the features. w is at least 1/2, so that nothing has
 * to be kept from overflowing.
 *
 * Computed in one of two ways, whichever has fewer FLOPs: all pairs of tokens, or in chunks of C =
 * 64 tokens, pairs inside one and S for what came before it. Pairs never form features. */
#ifndef LONGHAUL_OPS_TAYLOR_ATTENTION_H
#define LONGHAUL_OPS_TAYLOR_ATTENTION_H

#include "engine/tape.h"

typedef struct TaylorAttention {
    int64_t heads;       /* H */
    int64_t key_width;   /* d, of one head, at most TAYLOR_WIDEST; that of its values: */
    int64_t value_width; /* m */
    double epsilon;
} TaylorAttention;

enum { TAYLOR_WIDEST = 64 };

extern const Op op_taylor_attention;

/* qkv (B, L, 2 H d + H m), channels q | k | v, each head by head -> (B, L, H m). state: of each
 * head S by rows, then z, (B, H, F m + F), before the first token, or NULL for zero; then *next
 * receives the one after the last token. */
Tensor *taylor_attention(Tape *tape, Tensor *qkv, Tensor *state, const TaylorAttention *attributes,
                         Tensor **next);

/* F, and floats of a head's state. */
static inline int64_t taylor_features(int64_t key_width) {
    return 1 + key_width + key_width * (key_width + 1) / 2;
}
static inline int64_t taylor_attention_state(const TaylorAttention *a) {
    return taylor_features(a->key_width) * (a->value_width + 1);
}

#endif
