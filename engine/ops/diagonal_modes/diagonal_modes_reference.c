#include "engine/ops/diagonal_modes/diagonal_modes.h"

void diagonal_modes_reference(const ReferenceCall *call) {
    const DiagonalModes *attributes = call->call->attributes;
    const int64_t D = extent(call->call->in[DIAGONAL_C], 0);
    const int64_t M = extent(call->call->in[DIAGONAL_C], 1);
    for (int64_t at = 0; at < D * M; at++) {
        const ReferenceMode m = diagonal_reference_mode(call, attributes->form, at);
        double *row = call->out[0] + 4 * (at / M) * M + at % M;
        row[0] = m.power[0];
        row[M] = m.power[1];
        row[2 * M] = 2 * (m.c[0] * m.first[0] - m.c[1] * m.first[1]);
        row[3 * M] = -2 * (m.c[0] * m.first[1] + m.c[1] * m.first[0]);
    }
}
