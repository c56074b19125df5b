/* The matrix memory of xLSTM (Beck et al. 2024, arXiv 2405.04517, equations 19 to 27), per head:
 *
 *     m_t = max(log f_t + m_{t-1}, i_t)                        f_t = sigmoid of the forget gate
 *     F = exp(log f_t + m_{t-1} - m_t);  I = exp(i_t - m_t)
 *     C_t = F C_{t-1} + I k_t v_t^T;  n_t = F n_{t-1} + I k_t
 *     h_t = C_t^T q_t s / (max(|n_t . q_t| s, exp(-m_t)) + epsilon)             s = 1 / sqrt(dk)
 *
 * from C = n = m = 0. m only keeps the exponentials in range: but for epsilon nothing depends on
 * it, and it takes no gradient. Computed in chunks of MLSTM_CHUNK tokens by matrix products: inside
 * a chunk as attention with weights exp(log F + i - m), between chunks through C (chunkwise form:
 * Beck et al. 2025, arXiv 2503.14376, section 2). The gradient goes through the normaliser, too. */
#ifndef LONGHAUL_OPS_MLSTM_H
#define LONGHAUL_OPS_MLSTM_H

#include "engine/tape.h"

typedef struct Mlstm {
    int64_t heads; /* H */
} Mlstm;

extern const Op op_mlstm;

#define MLSTM_EPSILON 1e-6f /* as released */

/* q, k (B, L, H dk), v (B, L, H dv), gates (B, L, 2 H) before activation, i of all heads, then f
 * -> (B, L, H dv). */
Tensor *mlstm(Tape *tape, Tensor *q, Tensor *k, Tensor *v, Tensor *gates, int64_t heads);

#endif
