#include "models/mamba_parts.h"

#include "engine/ops/short_convolution/short_convolution.h"

Tensor *mamba_convolution(Tape *tape, Tensor *x, int64_t taps) {
    const int64_t B = extent(x, 0), E = extent(x, 2), K = taps;
    tape_scope(tape, "convolution");
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(K, E), fan_in(K), GROUP_DECAY);
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(E), fan_in(K), GROUP_NO_DECAY);
    Tensor *state = tape_carry(tape, "state", SHAPE(B, K - 1, E)), *next;
    x = short_convolution(tape, x, weight, bias, (ShortConvolution){.activation = ACTIVATION_SILU},
                          state, &next);
    tape_carry_out(tape, "state", next);
    tape_scope_end(tape);
    return x;
}

static void fill_step_bias(float *bias, const Shape *shape, Random *random, double smallest,
                           double largest) {
    for (int64_t e = 0; e < shape->extent[0]; e++) {
        const double step = fmax(smallest * pow(largest / smallest, random_real(random)), 1e-4);
        bias[e] = (float)(step + log(-expm1(-step)));
    }
}

Tensor *mamba_step_bias(Tape *tape, int64_t size, double smallest, double largest) {
    return tape_parameter(tape, "dt_bias", SHAPE(size),
                          init_fill(fill_step_bias, smallest, largest), GROUP_NO_DECAY);
}

Status mamba_check_steps(double smallest, double largest, Error *error) {
    if (smallest <= largest) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "dt_min=%g is above dt_max=%g; initial step sizes lie between the two",
                     smallest, largest);
}
