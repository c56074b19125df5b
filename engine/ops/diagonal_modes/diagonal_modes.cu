#include "engine/ops/diagonal_modes/diagonal_modes.h"

#include "engine/cuda/modes.cuh"

static void forward(const OpCall *call, const Run *run) {
    const ModeParameters p =
        mode_parameters(call, static_cast<const DiagonalModes *>(call->attributes)->form);
    float *const to = call->out[0]->data;
    const int64_t M = p.M;
    for_each(run, p.D * M, [=] __device__(int64_t at) {
        const DiscreteMode m = discrete_mode(p, at);
        float *row = to + 4 * (at / M) * M + at % M;
        row[0] = (float)m.step.re;
        row[M] = (float)m.step.im;
        const Complex c = m.c * mode_power(m, 0);
        row[2 * M] = (float)(2 * c.re);
        row[3 * M] = (float)(-2 * c.im);
    });
}

CUDA_OP(diagonal_modes, {forward, NULL}, NULL);
