#include "models/ttt.h"

#include <math.h>

#include "engine/ops/linear/linear.h"
#include "engine/ops/norm/norm.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/rotary/rotary.h"
#include "engine/ops/ttt_step/ttt_step.h"

/* The released code decays every parameter, norms and biases too. */
#define GROUP GROUP_DECAY

static int64_t head_count(const Backbone *backbone, const TttOptions *own) {
    if (own->heads) return own->heads;
    return backbone->width < 128 ? 1 : backbone->width / 64;
}

/* Flax's LeCun-normal initialiser: a normal distribution cut off at two deviations, scaled to
 * variance 1 / K. */
static void fill_taps(float *taps, const Shape *shape, Random *random, double a, double b) {
    (void)a, (void)b;
    static const double deviation_when_cut = 0.87962566103423978;
    const double scale = 1 / sqrt((double)shape->extent[0]) / deviation_when_cut;
    for (int64_t i = 0; i < shape_size(shape); i++) {
        double z = random_normal(random);
        while (fabs(z) > 2) z = random_normal(random);
        taps[i] = (float)(scale * z);
    }
}

static Tensor *convolve(Tape *tape, const TttOptions *own, const char *name, Tensor *x) {
    const int64_t B = extent(x, 0), D = extent(x, 2), K = own->convolution;
    tape_scope(tape, "%s", name);
    Tensor *taps = tape_parameter(tape, "weight", SHAPE(K, D), init_fill(fill_taps, 0, 0), GROUP);
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(D), init_constant(0), GROUP);
    Tensor *state = tape_carry(tape, "state", SHAPE(B, K - 1, D)), *next;
    x = short_convolution(tape, x, taps, bias, (ShortConvolution){.activation = ACTIVATION_NONE},
                          state, &next);
    tape_carry_out(tape, "state", next);
    tape_scope_end(tape);
    return x;
}

Tensor *ttt_opening(Tape *tape, const ModelContext *context, Tensor *x) {
    const TttOptions *own = context->options;
    if (!own->pre_convolution) return x;
    tape_scope(tape, "pre");
    Tensor *y = backbone_norm(tape, context->backbone, "norm", x);
    y = backbone_dropout(tape, context->backbone, convolve(tape, own, "convolution", y));
    tape_scope_end(tape);
    return add(tape, x, y);
}

static Tensor *project(Tape *tape, const ModelContext *context, const char *name, Tensor *x) {
    return backbone_linear(tape, name, x, context->backbone->width, false,
                           backbone_init(context->backbone), NULL);
}

/* Positions count from the beginning of each mini-batch. */
static Tensor *turn(Tape *tape, const ModelContext *context, Tensor *x) {
    const TttOptions *own = context->options;
    const int64_t H = head_count(context->backbone, own);
    Tensor *position = tape_mode(tape) == TAPE_STEP ? tape_position(tape) : NULL;
    return rotary(tape, x, position,
                  &(Rotary){.heads = H,
                            .width = context->backbone->width / H,
                            .theta = own->rotary_theta,
                            .interleaved = true,
                            .period = own->mini_batch});
}

/* The model inside: weights N(0, 0.02), biases zero. */
static void inner_model(Tape *tape, const ModelContext *context, int64_t hidden,
                        TttInputs *inputs) {
    const int64_t H = head_count(context->backbone, context->options);
    const int64_t f = context->backbone->width / H, h = hidden ? hidden * f : f;
    const Init normal = init_normal(0.02), zero = init_constant(0);
    inputs->gamma = tape_parameter(tape, "gamma", SHAPE(H, f), init_constant(1), GROUP);
    inputs->beta = tape_parameter(tape, "beta", SHAPE(H, f), zero, GROUP);
    inputs->W1 = tape_parameter(tape, "W1", SHAPE(H, f, h), normal, GROUP);
    inputs->c1 = tape_parameter(tape, "c1", SHAPE(H, h), zero, GROUP);
    if (!hidden) return;
    inputs->W2 = tape_parameter(tape, "W2", SHAPE(H, h, f), normal, GROUP);
    inputs->c2 = tape_parameter(tape, "c2", SHAPE(H, f), zero, GROUP);
}

static Tensor *learn(Tape *tape, const TttInputs *inputs) {
    if (tape_mode(tape) != TAPE_STEP) return ttt(tape, inputs);
    const Shape shape =
        SHAPE(extent(inputs->q, 0), extent(inputs->gamma, 0), ttt_state_floats(inputs));
    Tensor *next;
    Tensor *y =
        ttt_step(tape, inputs, tape_carry(tape, "weights", shape), tape_position(tape), &next);
    tape_carry_out(tape, "weights", next);
    return y;
}

Tensor *ttt_mixer(Tape *tape, const ModelContext *context, Tensor *u, int64_t hidden) {
    const TttOptions *own = context->options;
    const int64_t D = context->backbone->width, H = head_count(context->backbone, own);
    const bool mamba = own->backbone == TTT_MAMBA;
    TttInputs inputs = {.base = own->base_rate};
    Tensor *q = project(tape, context, "q", u), *k;
    if (mamba) {
        k = convolve(tape, own, "convolution_k", q);
        q = convolve(tape, own, "convolution_q", q);
    } else {
        k = project(tape, context, "k", u);
    }
    inputs.q = turn(tape, context, q);
    inputs.k = turn(tape, context, k);
    inputs.v = project(tape, context, "v", u);
    tape_scope(tape, "rate");
    Tensor *theta = tape_parameter(tape, "weight", SHAPE(D, H), init_normal(0.02), GROUP);
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(H), init_constant(0), GROUP);
    inputs.rate = linear(tape, u, theta, bias, NULL, ACTIVATION_SIGMOID);
    tape_scope_end(tape);
    inputs.index = tape_parameter(tape, "index", SHAPE(own->mini_batch), init_constant(0), GROUP);
    inner_model(tape, context, hidden, &inputs);
    Tensor *y = learn(tape, &inputs);
    tape_scope(tape, "norm");
    Tensor *gamma = tape_parameter(tape, "gamma", SHAPE(D), init_constant(1), GROUP);
    Tensor *beta = tape_parameter(tape, "beta", SHAPE(D), init_constant(0), GROUP);
    y = layer_norm(tape, y, gamma, beta, 1e-6);
    tape_scope_end(tape);
    if (mamba) y = gate(tape, y, project(tape, context, "gate", u), ACTIVATION_GELU_TANH);
    return project(tape, context, "out", y);
}

Status ttt_validate(const Backbone *backbone, const void *options, Error *error) {
    const int64_t D = backbone->width, H = head_count(backbone, options);
    if (D % H)
        return error_set(error, STATUS_USAGE,
                         "%lld heads do not divide width=%lld; set heads to a divisor of it",
                         (long long)H, (long long)D);
    if (D / H % 2)
        return error_set(error, STATUS_USAGE,
                         "rotary positions need heads of even width, but %lld channels in %lld "
                         "heads make %lld each",
                         (long long)D, (long long)H, (long long)(D / H));
    return STATUS_OK;
}

int64_t ttt_floats(const Backbone *backbone, const void *options, int64_t hidden) {
    const TttOptions *own = options;
    const int64_t D = backbone->width, f = D / head_count(backbone, own);
    const int64_t weights = hidden ? D * (2 * hidden * f + hidden + 1) : D * (f + 1);
    const int64_t windows = (own->backbone == TTT_MAMBA ? 2 : 0) + (own->pre_convolution ? 1 : 0);
    return backbone->layers * (2 * weights + windows * (own->convolution - 1) * D);
}
