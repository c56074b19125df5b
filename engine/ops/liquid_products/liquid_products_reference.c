/* Enumerates all combinations and keeps the last L. */
#include "engine/ops/liquid_products/liquid_products.h"

/* The next combination in lexicographic order; false after the last. */
static bool advance(int64_t *index, int p, int64_t L) {
    int j = p - 1;
    while (j >= 0 && index[j] == L - p + j) j--;
    if (j < 0) return false;
    index[j]++;
    for (int k = j + 1; k < p; k++) index[k] = index[k - 1] + 1;
    return true;
}

void liquid_products_reference(const ReferenceCall *call) {
    const LiquidProducts *attributes = call->call->attributes;
    const Tensor *u = call->call->in[0];
    const int64_t L = extent(u, 1), D = extent(u, 2), n = liquid_tokens(L, attributes->degree);
    const int p = attributes->degree;
    for (int64_t i = 0; i < tensor_size(u); i++) call->out[0][i] = 0;
    if (n < p) return;
    int64_t index[LIQUID_MOST_DEGREE], count = 0, at = 0;
    for (int j = 0; j < p; j++) index[j] = L - n + j;
    do count++;
    while (advance(index, p, L));
    for (int j = 0; j < p; j++) index[j] = L - n + j;
    do {
        const int64_t t = count > L ? at - (count - L) : at;
        for (int64_t i = 0; t >= 0 && i < extent(u, 0) * D; i++) {
            const int64_t b = i / D, d = i % D;
            double product = 1;
            for (int j = 0; j < p; j++) product *= call->in[0][(b * L + index[j]) * D + d];
            call->out[0][(b * L + (attributes->reversed ? L - 1 - t : t)) * D + d] = product;
        }
        at++;
    } while (advance(index, p, L));
}
