/* Gated linear attention (Yang et al. 2024, arXiv 2312.06635, section 4): linear attention whose
 * state forgets at a rate of its own for each token and each channel of the keys,
 *
 *     S_t = diag(a_t) S_{t-1} + k_t v_t^T     o_t = scale q_t^T S_t     a_t = exp(log_decay_t)
 *
 * head by head. Computed in chunks of 64 tokens by matrix products: between tokens j <= i of one
 * chunk the weight is
 *
 *     P_ij = scale sum over channels c of q_ic k_jc a_{j+1,c} .. a_ic
 *
 * Its decays are a product of one factor for the query and one for the key only relative to some
 * token in between; relative to the chunk's first one, the key's factor could overflow. So spans of
 * 16 tokens, then 32, meet their neighbours relative to the border that they share (secondary
 * chunks, section 4.3), and only tokens of the same 16 are taken pair by pair. No factor exceeds 1
 * where log_decay is not positive. Training keeps S before each chunk. */
#ifndef LONGHAUL_OPS_GATED_LINEAR_ATTENTION_H
#define LONGHAUL_OPS_GATED_LINEAR_ATTENTION_H

#include "engine/tape.h"

typedef struct GatedLinearAttention {
    int64_t heads; /* H */
    double scale;  /* of q; d^-1/2 as published */
} GatedLinearAttention;

typedef struct GatedLinearAttentionInputs {
    Tensor *q, *k;     /* (B, L, H d) */
    Tensor *v;         /* (B, L, H m) */
    Tensor *log_decay; /* (B, L, H d), at most 0 */
    Tensor *state;     /* before the first token: (B, H, d m), by rows; NULL for zero */
} GatedLinearAttentionInputs;

/* -> (B, L, H m). With a state, *next receives the one after the last token. */
Tensor *gated_linear_attention(Tape *tape, const GatedLinearAttentionInputs *inputs,
                               const GatedLinearAttention *attributes, Tensor **next);

#endif
