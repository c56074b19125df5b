#include "models/mamba_parts.h"

#include "engine/ops/channel_gain/channel_gain.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/short_convolution/short_convolution.h"

Tensor *mamba_convolution(Tape *tape, Tensor *x, int64_t taps, bool bias, Activation activation) {
    const int64_t B = extent(x, 0), E = extent(x, 2), K = taps;
    tape_scope(tape, "convolution");
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(K, E), fan_in(K), GROUP_DECAY);
    Tensor *offset =
        bias ? tape_parameter(tape, "bias", SHAPE(E), fan_in(K), GROUP_NO_DECAY) : NULL;
    Tensor *state = tape_carry(tape, "state", SHAPE(B, K - 1, E)), *next;
    x = short_convolution(tape, x, weight, offset, (ShortConvolution){.activation = activation},
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

Tensor *mamba_steps(Tape *tape, Tensor *u, Init init, int64_t size, double smallest,
                    double largest) {
    tape_scope(tape, "in_dt");
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(extent(u, 2), size), init, GROUP_DECAY);
    tape_scope_end(tape);
    Tensor *bias = mamba_step_bias(tape, size, smallest, largest);
    return linear(tape, u, weight, bias, NULL, ACTIVATION_SOFTPLUS);
}

static void fill_A_log(float *A_log, const Shape *shape, Random *random, double smallest,
                       double largest) {
    for (int64_t h = 0; h < shape->extent[0]; h++)
        A_log[h] = (float)log(fmax(smallest + (largest - smallest) * random_real(random), 1e-6));
}

Tensor *mamba_log_decay(Tape *tape, Tensor *dt, double smallest, double largest) {
    Tensor *A_log = tape_parameter(tape, "A_log", SHAPE(extent(dt, 2)),
                                   init_fill(fill_A_log, smallest, largest), GROUP_NO_DECAY);
    Tensor *A = scale(tape, activate(tape, A_log, ACTIVATION_EXP), -1);
    return channel_gain(tape, dt, A, NULL, NULL);
}

Status mamba_check_steps(double smallest, double largest, Error *error) {
    if (smallest <= largest) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "dt_min=%g is above dt_max=%g; initial step sizes lie between the two",
                     smallest, largest);
}
