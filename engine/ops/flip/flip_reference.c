#include "engine/ops/flip/flip.h"

void flip_reference(const ReferenceCall *call);

void flip_reference(const ReferenceCall *call) {
    const Tensor *x = call->call->in[0];
    const int64_t L = extent(x, 1), D = extent(x, 2);
    for (int64_t row = 0; row < extent(x, 0) * L; row++)
        for (int64_t d = 0; d < D; d++)
            call->out[0][row * D + d] = call->in[0][(row / L * L + L - 1 - row % L) * D + d];
}
