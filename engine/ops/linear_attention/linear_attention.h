/* Linear attention: the softmax's exponential replaced by an inner product of features, so that all
 * keys and values seen so far are one matrix (Katharopoulos et al. 2020, arXiv:2006.16236,
 * equations 8 to 12), with an optional decay per token and head (the form that RetNet and Mamba-2
 * share):
 *
 *     S_t = a_t S_{t-1} + phi(k_t) v_t^T     z_t = a_t z_{t-1} + phi(k_t)     a_t =
 * exp(log_decay_t) o_t = phi(q_t)^T S_t / (phi(q_t)^T z_t + epsilon)                 without z:
 * phi(q_t)^T S_t
 *
 * A gain per token and head multiplies phi(k_t), a skip per head adds v_t to o_t (Mamba-2: step
 * size and D). Bidirectional: S and z over the whole sequence, with none of these.
 *
 * Computed in chunks of C tokens: with b the sum of log_decay from the chunk's first token on, the
 * products inside a chunk are a triangle of weights, what came before it is one matrix:
 *
 *     P_ij = exp(b_i - b_j) phi(q_i) . phi(k_j), j <= i      O = P V + exp(b) (phi(Q) S)
 *     S <- exp(b_C) S + (exp(b_C - b) phi(K))^T V
 *
 * No exponent is positive where log_decay is not. Training keeps S and z before each chunk. */
#ifndef LONGHAUL_OPS_LINEAR_ATTENTION_H
#define LONGHAUL_OPS_LINEAR_ATTENTION_H

#include "engine/tape.h"

typedef enum FeatureMap {
    FEATURE_IDENTITY,
    FEATURE_ELU, /* elu(x) + 1: positive */
    FEATURE_RELU
} FeatureMap;

typedef struct LinearAttention {
    int64_t heads;     /* H, of values and results */
    int64_t groups;    /* G, heads of queries and keys; divides H */
    int64_t key_width; /* d, of one head, and that of its values: */
    int64_t value_width;
    FeatureMap feature;
    double scale; /* of phi(q) */
    bool normalise;
    double epsilon;
    bool causal;
} LinearAttention;

typedef struct LinearAttentionInputs {
    Tensor *q;         /* (B, L, G d); without k and v (B, L, 2 G d + H m), channels q | k | v */
    Tensor *k, *v;     /* (B, L, G d) and (B, L, H m), or NULL */
    Tensor *log_decay; /* (B, L, H), or (H) for all tokens; at most 0. NULL: none; causal only */
    Tensor *lengths;   /* int32 (B): keys from there on do not count; NULL; bidirectional only */
    Tensor *gain;      /* (B, L, H): factors of phi(k), or NULL for one; causal only */
    Tensor *skip;      /* (H): o_t gets skip v_t more, or NULL; causal, without normalise */
    /* Before the first token: (B, H, d m + d), of each head S by rows, then z; without normalise
     * (B, H, d m). NULL for zero; causal only. */
    Tensor *state;
} LinearAttentionInputs;

/* -> (B, L, H m). With a state, *next receives the one after the last token. */
Tensor *linear_attention(Tape *tape, const LinearAttentionInputs *inputs,
                         const LinearAttention *attributes, Tensor **next);

/* Floats of a head's state. */
static inline int64_t linear_attention_state(const LinearAttention *a) {
    return a->key_width * (a->value_width + a->normalise);
}

#endif
