#include "models/state_space.h"

#include <math.h>

#include "engine/ops/linear/linear.h"
#include "engine/ops/mask_padding/mask_padding.h"
#include "engine/ops/pointwise/pointwise.h"

Status state_space_check(const StateSpace *own, Error *error) {
    if (own->dt_min <= own->dt_max) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "dt_min=%g is above dt_max=%g; initial step sizes lie between the two",
                     own->dt_min, own->dt_max);
}

Status state_space_check_even(int64_t states, Error *error) {
    if (states % 2 == 0) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "state=%lld is odd; complex modes stand for two real states each: use %lld",
                     (long long)states, (long long)states + 1);
}

Group state_space_group(const StateSpace *own) {
    return (Group){.fixed_rate = own->state_lr, .no_decay = true, .frozen = own->state_lr == 0};
}

static void fill_log_dt(float *log_dt, const Shape *shape, Random *random, double smallest,
                        double largest) {
    const int64_t each = shape_size(shape) / shape->extent[0];
    for (int64_t d = 0; d < shape->extent[0]; d++) {
        const double start = log(smallest) + log(largest / smallest) * random_real(random);
        for (int64_t i = 0; i < each; i++) log_dt[d * each + i] = (float)start;
    }
}

Init state_space_steps(const StateSpace *own) {
    return init_fill(fill_log_dt, own->dt_min, own->dt_max);
}

static Tensor *log_dt(Tape *tape, const StateSpace *own, Shape shape) {
    const Group group = own->fast_dt ? GROUP_NO_DECAY : state_space_group(own);
    return tape_parameter(tape, "log_dt", shape, state_space_steps(own), group);
}

Tensor *state_space_log_dt(Tape *tape, const StateSpace *own, int64_t D) {
    return log_dt(tape, own, SHAPE(D));
}

Tensor *state_space_log_dt_pairs(Tape *tape, const StateSpace *own, int64_t D) {
    return log_dt(tape, own, SHAPE(D, 2));
}

Tensor *state_space_skip(Tape *tape, int64_t D) {
    return tape_parameter(tape, "skip", SHAPE(D), init_normal(1), GROUP_DECAY);
}

Tensor *state_space_input(Tape *tape, const ModelContext *context, Tensor *u) {
    const bool sees_ahead = !context->causal && context->lengths;
    return sees_ahead ? mask_padding(tape, u, context->lengths) : u;
}

Tensor *state_space_dense(Tape *tape, const char *name, Tensor *x, int64_t out) {
    const int64_t in = extent(x, -1);
    const Init init = init_uniform(1 / sqrt((double)in));
    tape_scope(tape, "%s", name);
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(in, out), init, GROUP_DECAY);
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(out), init, GROUP_NO_DECAY);
    tape_scope_end(tape);
    return linear(tape, x, weight, bias, NULL, ACTIVATION_NONE);
}

Tensor *state_space_output(Tape *tape, const ModelContext *context, const StateSpace *own,
                           Tensor *y) {
    const int64_t D = extent(y, 2);
    y = backbone_dropout(tape, context->backbone, activate(tape, y, ACTIVATION_GELU));
    if (!own->glu) return state_space_dense(tape, "out", y, D);
    Tensor *value = state_space_dense(tape, "out.value", y, D);
    return gate(tape, value, state_space_dense(tape, "out.gate", y, D), ACTIVATION_SIGMOID);
}
