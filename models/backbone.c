#include "models/backbone.h"

#include <math.h>

#include "engine/ops/batch_norm/batch_norm.h"
#include "engine/ops/dropout/dropout.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/norm/norm.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/positions/positions.h"
#include "engine/ops/repeat/repeat.h"

static const Option options[] = {
    {"width", OPTION_INTEGER, offsetof(Backbone, width), "64", 1, 65536, NULL,
     "channels of the residual stream (D)"},
    {"layers", OPTION_INTEGER, offsetof(Backbone, layers), "2", 1, 1024, NULL, "number of blocks"},
    {"mlp", OPTION_CHOICE, offsetof(Backbone, mlp), "gelu", 0, -1,
     "none|identity|gelu|gelu_tanh|swiglu|relu|relu2|gelu_sigmoid|geglu",
     "second half of each block"},
    {"mlp_ratio", OPTION_REAL, offsetof(Backbone, mlp_ratio), "4", 0.01, 64, NULL,
     "hidden width of the MLP / D, then rounded up to a multiple of 8"},
    {"norm", OPTION_CHOICE, offsetof(Backbone, norm), "layer", 0, -1,
     "layer|rms|layer_gain|batch|scale",
     "kind of normalisation; layer_gain: layer norm without an offset; batch: over batch and time; "
     "scale: rms with one gain for all channels"},
    {"norm_momentum", OPTION_REAL, offsetof(Backbone, norm_momentum), "0.1", 1e-6, 1, NULL,
     "norm=batch: part of its running statistics that a step replaces (1 - Flax's momentum)"},
    {"norm_place", OPTION_CHOICE, offsetof(Backbone, norm_place), "pre", 0, -1, "pre|post",
     "normalise before each half of a block, or after its residual sum"},
    {"init_deviation", OPTION_REAL, offsetof(Backbone, init_deviation), "0.02", 0, 10, NULL,
     "standard deviation of initial projections (GPT-2: 0.02); 0: 1 / sqrt(width)"},
    {"dropout", OPTION_REAL, offsetof(Backbone, dropout), "0", 0, 0.99, NULL,
     "probability, on each residual branch"},
    {"dropout_tied", OPTION_SWITCH, offsetof(Backbone, dropout_tied), "no", 0, -1, NULL,
     "dropout takes a channel of a sequence at all positions or at none"},
    {"embedding_dropout", OPTION_REAL, offsetof(Backbone, embedding_dropout), "-1", -1, 0.99, NULL,
     "probability, after the embedding; -1: as dropout"},
    {"recompute", OPTION_SWITCH, offsetof(Backbone, recompute), "no", 0, -1, NULL,
     "keep only the input of each block and run it again in backward"},
};

const OptionTable backbone_options = {options, sizeof options / sizeof *options, sizeof(Backbone)};

static const double norm_epsilon = 1e-5;

static double deviation(const Backbone *backbone) {
    return backbone->init_deviation > 0 ? backbone->init_deviation
                                        : 1 / sqrt((double)backbone->width);
}

Init backbone_init(const Backbone *backbone) {
    return init_normal(deviation(backbone));
}

Init backbone_residual_init(const Backbone *backbone) {
    return init_normal(deviation(backbone) / sqrt(2.0 * (double)backbone->layers));
}

Tensor *backbone_norm(Tape *tape, const Backbone *backbone, const char *name, Tensor *x) {
    const int64_t width = extent(x, -1);
    const Shape shape = SHAPE(width);
    const bool scalar = backbone->norm == NORM_SCALE;
    tape_scope(tape, "%s", name);
    Tensor *gamma = tape_parameter(tape, scalar ? "gain" : "gamma", scalar ? SHAPE(1) : shape,
                                   init_constant(1), GROUP_NO_DECAY);
    Tensor *y;
    if (backbone->norm == NORM_BATCH) {
        const Group running = group_average(backbone->norm_momentum);
        Tensor *beta = tape_parameter(tape, "beta", shape, init_constant(0), GROUP_NO_DECAY);
        Tensor *mean = tape_parameter(tape, "mean", shape, init_constant(0), running);
        Tensor *variance = tape_parameter(tape, "variance", shape, init_constant(1), running);
        y = batch_norm(tape, x, gamma, beta, mean, variance, norm_epsilon);
    } else if (backbone->norm == NORM_RMS || scalar) {
        if (scalar) gamma = repeat_heads(tape, gamma, 1, width);
        y = rms_norm(tape, x, gamma, norm_epsilon);
    } else {
        Tensor *beta = NULL;
        if (backbone->norm == NORM_LAYER)
            beta = tape_parameter(tape, "beta", shape, init_constant(0), GROUP_NO_DECAY);
        y = layer_norm(tape, x, gamma, beta, norm_epsilon);
    }
    tape_scope_end(tape);
    return y;
}

Tensor *backbone_head_norm(Tape *tape, int64_t heads, Tensor *o) {
    const Shape shape = o->shape;
    const int64_t m = extent(o, 2) / heads;
    tape_scope(tape, "head_norm");
    Tensor *gamma = tape_parameter(tape, "gamma", SHAPE(m), init_constant(1), GROUP_NO_DECAY);
    tape_scope_end(tape);
    o = tape_reshape(tape, o, SHAPE(extent(o, 0), extent(o, 1) * heads, m));
    return tape_reshape(tape, rms_norm(tape, o, gamma, norm_epsilon), shape);
}

Tensor *backbone_drop(Tape *tape, const Backbone *backbone, Tensor *x, double probability) {
    if (probability <= 0 || tape_mode(tape) != TAPE_TRAIN) return x;
    return backbone->dropout_tied ? dropout_tied(tape, x, probability)
                                  : dropout(tape, x, probability);
}

Tensor *backbone_dropout(Tape *tape, const Backbone *backbone, Tensor *x) {
    return backbone_drop(tape, backbone, x, backbone->dropout);
}

Tensor *backbone_embedding_dropout(Tape *tape, const Backbone *backbone, Tensor *x) {
    const double own = backbone->embedding_dropout;
    return backbone_drop(tape, backbone, x, own >= 0 ? own : backbone->dropout);
}

Tensor *backbone_positions(Tape *tape, const ModelContext *context, bool learned, Tensor *x) {
    const Shape shape = SHAPE(context->max_length, context->backbone->width);
    Tensor *position = tape_mode(tape) == TAPE_STEP ? tape_position(tape) : NULL;
    Tensor *table = learned ? tape_parameter(tape, "positions", shape,
                                             backbone_init(context->backbone), GROUP_DECAY)
                            : sinusoids(tape, "positions", shape);
    return positions(tape, x, table, position);
}

static Tensor *dense(Tape *tape, const char *name, Tensor *x, int64_t out, bool bias, Init init,
                     Tensor *residual, Activation activation) {
    tape_scope(tape, "%s", name);
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(extent(x, -1), out), init, GROUP_DECAY);
    Tensor *offset = NULL;
    if (bias) offset = tape_parameter(tape, "bias", SHAPE(out), init_constant(0), GROUP_NO_DECAY);
    Tensor *y = linear(tape, x, weight, offset, residual, activation);
    tape_scope_end(tape);
    return y;
}

Tensor *backbone_linear(Tape *tape, const char *name, Tensor *x, int64_t out, bool bias, Init init,
                        Tensor *residual) {
    return dense(tape, name, x, out, bias, init, residual, ACTIVATION_NONE);
}

/* The margin lets a ratio typed with few digits (2.6667 for 8/3) mean the multiple it aims at. */
static int64_t hidden_width(const Backbone *backbone) {
    const double groups = backbone->mlp_ratio * (double)backbone->width / 8;
    return 8 * (int64_t)fmax(1, ceil(groups - 0.01));
}

/* x + mlp(y), y = norm(x) in a pre-norm block and x in a post-norm one. */
static Tensor *add_mlp(Tape *tape, const Backbone *backbone, Tensor *x, Tensor *y) {
    const int64_t hidden = hidden_width(backbone), width = backbone->width;
    const bool biases = backbone->mlp != MLP_SWIGLU;
    Tensor *h;
    if (backbone->mlp == MLP_IDENTITY) return add(tape, x, backbone_dropout(tape, backbone, y));
    tape_scope(tape, "mlp");
    if (backbone->mlp == MLP_SWIGLU || backbone->mlp == MLP_GEGLU) {
        const Init init = backbone_init(backbone);
        Tensor *up = backbone_linear(tape, "up", y, hidden, biases, init, NULL);
        Tensor *open = backbone_linear(tape, "gate", y, hidden, biases, init, NULL);
        h = gate(tape, up, open,
                 backbone->mlp == MLP_GEGLU ? ACTIVATION_GELU_TANH : ACTIVATION_SILU);
    } else {
        static const Activation activation[] = {[MLP_GELU] = ACTIVATION_GELU,
                                                [MLP_GELU_TANH] = ACTIVATION_GELU_TANH,
                                                [MLP_RELU] = ACTIVATION_RELU,
                                                [MLP_RELU2] = ACTIVATION_SQUARED_RELU,
                                                [MLP_GELU_SIGMOID] = ACTIVATION_GELU_SIGMOID};
        h = dense(tape, "up", y, hidden, biases, backbone_init(backbone), NULL,
                  activation[backbone->mlp]);
    }
    const bool drops = backbone->dropout > 0 && tape_mode(tape) == TAPE_TRAIN;
    h = backbone_linear(tape, "down", h, width, biases, backbone_residual_init(backbone),
                        drops ? NULL : x);
    tape_scope_end(tape);
    return drops ? add(tape, x, backbone_dropout(tape, backbone, h)) : h;
}

static Tensor *block(Tape *tape, const Model *model, const ModelContext *context, Tensor *x) {
    const Backbone *backbone = context->backbone;
    const bool pre = backbone->norm_place == PLACE_PRE;
    if (model->opening) x = model->opening(tape, context, x);
    Tensor *y = pre ? backbone_norm(tape, backbone, "norm1", x) : x;
    tape_scope(tape, "mixer");
    y = model->mixer(tape, context, y);
    tape_scope_end(tape);
    x = add(tape, x, backbone_dropout(tape, backbone, y));
    if (!pre) x = backbone_norm(tape, backbone, "norm1", x);
    if (backbone->mlp == MLP_NONE) return x;
    x = add_mlp(tape, backbone, x, pre ? backbone_norm(tape, backbone, "norm2", x) : x);
    return pre ? x : backbone_norm(tape, backbone, "norm2", x);
}

Tensor *backbone_blocks(Tape *tape, const Model *model, const ModelContext *context, Tensor *x) {
    ModelContext own = *context;
    for (own.layer = 0; own.layer < context->backbone->layers; own.layer++) {
        if (context->backbone->recompute) tape_segment(tape);
        tape_scope(tape, "layers.%lld", (long long)own.layer);
        x = block(tape, model, &own, x);
        tape_scope_end(tape);
        if (context->backbone->recompute) tape_segment_end(tape);
    }
    return x;
}

Status backbone_check_heads(const Backbone *backbone, int64_t heads, int64_t widest, Error *error) {
    const int64_t width = backbone->width;
    if (width % heads == 0 && width / heads <= widest) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "heads=%lld must divide width=%lld into heads of at most %lld channels",
                     (long long)heads, (long long)width, (long long)widest);
}
