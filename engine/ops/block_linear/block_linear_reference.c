#include "engine/ops/block_linear/block_linear.h"

void block_linear_reference(const ReferenceCall *call) {
    const Tensor *w = call->call->in[1];
    const int64_t G = extent(w, 0), I = extent(w, 1), O = extent(w, 2);
    for (int64_t r = 0; r < rows_of(call->call->in[0]); r++)
        for (int64_t g = 0; g < G; g++)
            for (int64_t o = 0; o < O; o++) {
                double sum = 0;
                for (int64_t i = 0; i < I; i++)
                    sum += call->in[0][(r * G + g) * I + i] * call->in[1][(g * I + i) * O + o];
                call->out[0][(r * G + g) * O + o] = sum;
            }
}
