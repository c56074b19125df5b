/* The delta rule: a matrix S (d, m) per head remembers values under keys, and a token corrects what
 * it finds under its key towards its value (Schlag, Irie, Schmidhuber 2021, arXiv 2102.11174,
 * equation 24), with a decay of all that is remembered (Yang, Kautz, Hatamizadeh 2024, arXiv
 * 2412.06464, equation 10):
 *
 *     w_t = v_t - a_t S_{t-1}^T k_t               a_t = exp(log_decay_t)
 *     S_t = a_t S_{t-1} + k_t (beta_t w_t)^T      o_t = S_t^T q_t
 *
 * Steady where beta |k|^2 lies in 0 .. 2. Computed in chunks of C tokens, whose corrections are the
 * solution of a triangular system (Yang et al. 2024, arXiv 2406.06484, section 3.2). With b the sum
 * of log_decay from the chunk's first token on, S the state before the chunk and D = diag(beta),
 *
 *     M_ij = exp(b_i - b_j) k_i . k_j, j < i      P_ij = exp(b_i - b_j) q_i . k_j, j <= i
 *     (I + M D) W = V - exp(b) (K S)              U = D W
 *     O = exp(b) (Q S) + P U                      S <- exp(b_C) S + (exp(b_C - b) K)^T U
 *
 * No exponent is positive where log_decay is not. Training keeps S before each chunk. */
#ifndef LONGHAUL_OPS_DELTA_RULE_H
#define LONGHAUL_OPS_DELTA_RULE_H

#include "engine/tape.h"

typedef struct DeltaRule {
    int64_t heads;  /* H */
    double q_scale; /* factors of the q and k that come in */
    double k_scale;
} DeltaRule;

typedef struct DeltaRuleInputs {
    Tensor *q, *k;     /* (B, L, H d) */
    Tensor *v;         /* (B, L, H m) */
    Tensor *beta;      /* (B, L, H) */
    Tensor *log_decay; /* (B, L, H), at most 0; NULL: none */
    Tensor *state;     /* (B, H, d m): S before the first token, by rows; NULL for zero */
} DeltaRuleInputs;

/* -> (B, L, H m). With a state, *next receives the one after the last token, otherwise NULL. */
Tensor *delta_rule(Tape *tape, const DeltaRuleInputs *inputs, const DeltaRule *attributes,
                   Tensor **next);

#endif
