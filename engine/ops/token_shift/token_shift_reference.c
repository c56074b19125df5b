#include "engine/ops/token_shift/token_shift.h"

void token_shift_reference(const ReferenceCall *call);

void token_shift_reference(const ReferenceCall *call) {
    const Tensor *x = call->call->in[SHIFT_X];
    const int64_t B = extent(x, 0), L = extent(x, 1), D = extent(x, 2);
    const double *state = call->in[SHIFT_STATE];
    const int count = token_shift_count(call->call);
    for (int64_t i = 0; i < B * L * D; i++) {
        const int64_t d = i % D, t = i / D % L, b = i / D / L;
        const double now = call->in[SHIFT_X][i];
        const double before = t ? call->in[SHIFT_X][i - D] : state ? state[b * D + d] : 0;
        for (int n = 0; n < count; n++) {
            const double mix = call->in[SHIFT_MIX + n][d];
            call->out[n][i] = mix * now + (1 - mix) * before;
        }
        if (state && t == L - 1) call->out[count][b * D + d] = now;
    }
}
