/* Products of p inputs at different times (Liquid-S4; Hasani et al. 2022, arXiv 2209.12951,
 * section 3.2, as released): of all combinations of p of the sequence's last n tokens, in
 * lexicographic order, the last L. n is the smallest number with at least L combinations, below L;
 * where there is none, everything is zero, and so is what lacks a combination. y[t] = product over
 * j < p of u[index(t, j)],    or y[L - 1 - t], reversed. */
#ifndef LONGHAUL_LIQUID_PRODUCTS_H
#define LONGHAUL_LIQUID_PRODUCTS_H

#include "engine/tape.h"

enum { LIQUID_MOST_DEGREE = 4 };

typedef struct LiquidProducts {
    int degree; /* p, 2 .. LIQUID_MOST_DEGREE */
    bool reversed;
} LiquidProducts;

extern const Op op_liquid_products;
void liquid_products_reference(const ReferenceCall *call);

/* u (B, L, D) -> (B, L, D). */
Tensor *liquid_products(Tape *tape, Tensor *u, LiquidProducts attributes);

/* Shared by host and device code: how many combinations there are, of how many tokens, and which
 * the t-th is. */
#ifdef __CUDACC__
#define LIQUID_INLINE __host__ __device__ static inline
#else
#define LIQUID_INLINE static inline
#endif

LIQUID_INLINE int64_t liquid_combinations(int64_t n, int p) {
    int64_t count = 1;
    for (int i = 0; i < p; i++) count = count * (n - i) / (i + 1);
    return n < p ? 0 : count;
}
LIQUID_INLINE int64_t liquid_tokens(int64_t L, int p) {
    for (int64_t n = 2; n < L; n++)
        if (liquid_combinations(n, p) >= L) return n;
    return 1;
}
/* False where there is no t-th. n: liquid_tokens(L, p). */
LIQUID_INLINE bool liquid_combination(int64_t L, int64_t n, int p, int64_t t, int64_t *index) {
    const int64_t count = liquid_combinations(n, p);
    int64_t rank = t + (count > L ? count - L : 0), token = 0;
    if (rank >= count) return false;
    for (int j = 0; j < p; j++, token++) {
        for (int64_t below; (below = liquid_combinations(n - token - 1, p - j - 1)) <= rank;
             token++)
            rank -= below;
        index[j] = L - n + token;
    }
    return true;
}

#endif
