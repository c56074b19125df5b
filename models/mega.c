/* Mega: gated attention over a moving average (Ma, Zhou, Kong, He, Gui, Neubig, May and Zettlemoyer
 * 2023, arXiv 2209.10655). A layer with its residual x, D channels, H values, Z queries and keys:
 *
 *     n = norm(x)                                              (pre-norm; else n = x, norm at last)
 *     m = silu(EMA(n) + omega n)                               N damped averages a channel
 *     v = silu(n Wv + bv),  z = silu(m Wz + bz),  q = z gq + oq,  k = z gk + ok
 *     o = f(s q k^T + bias) v                                  in chunks of C tokens, or one
 *     c = silu(m Wc + bc + (o silu(m Wr + br)) Wo + bo)
 *     x + sigmoid(m Wu + bu) (c - x)
 *
 * then x + silu(n W1 + b1) W2 + b2. EMA = K * n with K_l = sqrt(1 / N) sum p beta gamma q^l (see
 * ops/ema_kernel); bidirectional: a second one looks ahead, and both meet the present token. f is a
 * softmax, or element by element laplace or squared relu (ops/chunk_attention). The released
 * code's mx_proj is four parameters here, as its outputs go different ways.
 *
 * Long range arena as published: norm_place=pre or post, attention=softmax or laplace, chunk=0 or
 * 128, truncation=1024, hidden 2 D. Language models: norm_place=pre chunk=1024 bias=rotary
 * truncation=8192.
 *
 * Parameters of a layer: D (3 H + Z + 2 D) + 2 D F + 4 N D (twice that bidirectional), 25 D^2 / 2
 * at H = F = 2 D, Z = D / 2; FLOPs a token: twice the products, C (Z + H) causal and twice that
 * otherwise for attention, some 10 D log2(2 L) for the averages. State: 2 N D floats a layer, and
 * Z + H for each token of the chunk. */
#include <math.h>

#include "engine/ops/cache_append/cache_append.h"
#include "engine/ops/channel_gain/channel_gain.h"
#include "engine/ops/chunk_attention/chunk_attention.h"
#include "engine/ops/diagonal_step/diagonal_step.h"
#include "engine/ops/ema_kernel/ema_kernel.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/long_convolution/long_convolution.h"
#include "engine/ops/mask_padding/mask_padding.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/rotary/rotary.h"
#include "models/backbone.h"

typedef enum MegaBias { BIAS_SIMPLE, BIAS_ROTARY } MegaBias;

typedef struct Mega {
    int64_t values, queries, averages, feedforward, chunk, truncation;
    int function, bias;
    double hidden_dropout;
} Mega;

static const Option options[] = {
    {"values", OPTION_INTEGER, offsetof(Mega, values), "0", 0, 65536, NULL,
     "channels of values (H); 0: 2 D"},
    {"queries", OPTION_INTEGER, offsetof(Mega, queries), "0", 0, 65536, NULL,
     "channels of queries and keys (Z); 0: D / 2, rounded up to an even number"},
    {"averages", OPTION_INTEGER, offsetof(Mega, averages), "16", 1, 1024, NULL,
     "moving averages of a channel (N)"},
    {"feedforward", OPTION_INTEGER, offsetof(Mega, feedforward), "0", 0, 65536, NULL,
     "hidden channels of the second half of a layer (F); 0: 2 D"},
    {"chunk", OPTION_INTEGER, offsetof(Mega, chunk), "0", 0, 1 << 24, NULL,
     "tokens that attend to each other (C); 0: the whole sequence"},
    {"truncation", OPTION_INTEGER, offsetof(Mega, truncation), "0", 0, 1 << 24, NULL,
     "taps of the averages at most; 0: no limit"},
    {"attention", OPTION_CHOICE, offsetof(Mega, function), "softmax", 0, -1,
     "softmax|laplace|relu2", "from scores to weights"},
    {"bias", OPTION_CHOICE, offsetof(Mega, bias), "simple", 0, -1, "simple|rotary",
     "of scores by distance: a number for each, or a product of two rotated vectors"},
    {"hidden_dropout", OPTION_REAL, offsetof(Mega, hidden_dropout), "0", 0, 0.99, NULL,
     "probability, on values and inside the second half of a layer"},
};

static int64_t values_of(const Backbone *backbone, const Mega *own) {
    return own->values ? own->values : 2 * backbone->width;
}
static int64_t queries_of(const Backbone *backbone, const Mega *own) {
    return own->queries ? own->queries : (backbone->width + 3) / 4 * 2;
}
static int64_t chunk_of(const Mega *own, int64_t length) {
    return own->chunk && own->chunk < length ? own->chunk : length;
}

/* Weights start from N(0, 0.02), and everything decays, as released. */
static Tensor *dense(Tape *tape, const ModelContext *context, const char *name, Tensor *x,
                     int64_t out, Tensor *residual, Activation activation) {
    tape_scope(tape, "%s", name);
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(extent(x, -1), out),
                                    backbone_init(context->backbone), GROUP_DECAY);
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(out), init_constant(0), GROUP_DECAY);
    tape_scope_end(tape);
    return linear(tape, x, weight, bias, residual, activation);
}

/* ---- moving averages ---- */

/* N(0, 0.02) around 1, -1, 1, -1 .. over the averages. */
static void fill_beta(float *beta, const Shape *shape, Random *random, double deviation, double b) {
    (void)b;
    const int64_t N = shape->extent[0], D = shape->extent[1];
    for (int64_t n = 0; n < N; n++)
        for (int64_t d = 0; d < D; d++)
            beta[n * D + d] = (float)((n % 2 ? -1 : 1) + deviation * random_normal(random));
}

static EmaParameters averages(Tape *tape, const ModelContext *context, const char *name) {
    const Mega *own = context->options;
    const Shape shape = SHAPE(own->averages, context->backbone->width);
    tape_scope(tape, "%s", name);
    const EmaParameters parameters = {
        .delta = tape_parameter(tape, "delta", shape, init_normal(0.2), GROUP_DECAY),
        .alpha = tape_parameter(tape, "alpha", shape, init_normal(0.2), GROUP_DECAY),
        .beta = tape_parameter(tape, "beta", shape, init_fill(fill_beta, 0.02, 0), GROUP_DECAY),
        .gamma = tape_parameter(tape, "gamma", shape, init_normal(1), GROUP_DECAY)};
    tape_scope_end(tape);
    return parameters;
}

static Tensor *average_step(Tape *tape, const Mega *own, EmaParameters ahead, Tensor *x,
                            Tensor *omega) {
    const Shape shape = SHAPE(extent(x, 0), extent(x, 2), 2, own->averages);
    Tensor *state = tape_carry(tape, "averages", shape), *next;
    Tensor *y = diagonal_step(tape, state, x, ema_modes(tape, ahead), omega, &next);
    tape_carry_out(tape, "averages", next);
    return y;
}

/* x (B, L, D): EMA(x) + omega x. */
static Tensor *average(Tape *tape, const ModelContext *context, Tensor *x) {
    const Mega *own = context->options;
    const int64_t L = extent(x, 1), D = extent(x, 2), limit = own->truncation;
    const int64_t taps = limit && limit < L ? limit : L;
    Tensor *omega = tape_parameter(tape, "omega", SHAPE(D), init_normal(1), GROUP_DECAY);
    const EmaParameters past = averages(tape, context, "past");
    if (tape_mode(tape) == TAPE_STEP) return average_step(tape, own, past, x, omega);
    Tensor *kernel = ema_kernel(tape, past, (EmaKernel){.length = taps}), *reverse = NULL;
    if (!context->causal) {
        const EmaParameters future = averages(tape, context, "future");
        if (context->lengths) x = mask_padding(tape, x, context->lengths);
        /* The reverse filter begins at the next token; the present one's tap joins omega. */
        reverse = ema_kernel(tape, future, (EmaKernel){.length = taps, .first = 1, .limit = limit});
        Tensor *present = ema_kernel(tape, future, (EmaKernel){.length = 1});
        omega = add(tape, omega, tape_reshape(tape, present, SHAPE(D)));
    }
    return long_convolution(tape, x, kernel, reverse, (ConvolutionGates){.skip = omega});
}

/* ---- attention ---- */

/* Biases of keys behind and ahead of a query, n distances of each from ahead_from on. */
typedef struct Biases {
    Tensor *behind, *ahead;
    int64_t ahead_from;
} Biases;

/* u turned by the angles of positions 0 .. n-1: (1, n, Z). Training may be shorter than tests. */
static Tensor *turned(Tape *tape, const ModelContext *context, Tensor *u, int64_t n) {
    const int64_t Z = extent(u, 0), most = chunk_of(context->options, context->max_length);
    Tensor *ones = tape_prefix(
        tape,
        tape_parameter(tape, "ones", SHAPE(most, Z), init_constant(1), (Group){.frozen = true}), n);
    Tensor *rows = tape_reshape(tape, channel_gain(tape, ones, u, NULL, NULL), SHAPE(1, n, Z));
    return rotary(tape, rows, NULL, &(Rotary){.heads = 1, .width = Z, .theta = 10000});
}

/* With a and b turned by the positions of query and key their product depends on the distance
 * alone: behind, a is turned and b is not. */
static Biases rotary_biases(Tape *tape, const ModelContext *context, int64_t Z, int64_t n) {
    const Init init = backbone_init(context->backbone);
    Tensor *a = tape_parameter(tape, "query", SHAPE(Z), init, GROUP_DECAY);
    Tensor *b = tape_parameter(tape, "key", SHAPE(Z), init, GROUP_DECAY);
    Biases biases = {0};
    biases.behind = linear(tape, turned(tape, context, a, n), tape_reshape(tape, b, SHAPE(Z, 1)),
                           NULL, NULL, ACTIVATION_NONE);
    if (!context->causal)
        biases.ahead = linear(tape, turned(tape, context, b, n), tape_reshape(tape, a, SHAPE(Z, 1)),
                              NULL, NULL, ACTIVATION_NONE);
    return biases;
}

static Biases simple_biases(Tape *tape, const ModelContext *context, int64_t n) {
    const Mega *own = context->options;
    const int64_t most = chunk_of(own, context->max_length);
    const Init init = backbone_init(context->backbone);
    Biases biases = {.ahead_from = 1};
    biases.behind =
        tape_prefix(tape, tape_parameter(tape, "behind", SHAPE(most), init, GROUP_DECAY), n);
    if (!context->causal && n > 1)
        biases.ahead = tape_prefix(
            tape, tape_parameter(tape, "ahead", SHAPE(most - 1), init, GROUP_DECAY), n - 1);
    return biases;
}

static Biases biases_of(Tape *tape, const ModelContext *context, int64_t Z, int64_t n) {
    const Mega *own = context->options;
    tape_scope(tape, "bias");
    const Biases biases = own->bias == BIAS_ROTARY ? rotary_biases(tape, context, Z, n)
                                                   : simple_biases(tape, context, n);
    tape_scope_end(tape);
    return biases;
}

/* z gain + offset */
static Tensor *tuned(Tape *tape, const ModelContext *context, const char *name, Tensor *z) {
    const Shape shape = SHAPE(extent(z, -1));
    tape_scope(tape, "%s", name);
    Tensor *gain =
        tape_parameter(tape, "gain", shape, backbone_init(context->backbone), GROUP_DECAY);
    Tensor *offset = tape_parameter(tape, "offset", shape, init_constant(0), GROUP_DECAY);
    tape_scope_end(tape);
    return channel_gain(tape, z, gain, NULL, offset);
}

static Tensor *attend(Tape *tape, const ModelContext *context, Tensor *z, Tensor *v) {
    const Mega *own = context->options;
    const bool step = tape_mode(tape) == TAPE_STEP;
    const int64_t n = chunk_of(own, step ? tape_horizon(tape) : extent(z, 1));
    const Biases biases = biases_of(tape, context, extent(z, 2), n);
    const ChunkAttention attributes = {.chunk = n,
                                       .ahead_from = biases.ahead_from,
                                       .function = (AttentionFunction)own->function,
                                       .causal = context->causal};
    Tensor *q = tuned(tape, context, "query", z), *k = tuned(tape, context, "key", z);
    if (step) {
        const CacheAppend ring = {.ring = true};
        return chunk_attention_step(tape, q, cache_append(tape, "keys", n, k, ring),
                                    cache_append(tape, "values", n, v, ring), biases.behind,
                                    tape_position(tape), &attributes);
    }
    return chunk_attention(tape, q, k, v, biases.behind, biases.ahead,
                           context->causal ? NULL : context->lengths, &attributes);
}

/* ---- layers ---- */

static Tensor *gated_attention(Tape *tape, const ModelContext *context, Tensor *residual,
                               Tensor *x) {
    const Mega *own = context->options;
    const Backbone *backbone = context->backbone;
    const int64_t D = backbone->width, H = values_of(backbone, own), Z = queries_of(backbone, own);
    Tensor *v = dense(tape, context, "value", x, H, NULL, ACTIVATION_SILU);
    v = backbone_drop(tape, backbone, v, own->hidden_dropout);
    Tensor *m = activate(tape, average(tape, context, x), ACTIVATION_SILU);
    m = backbone_dropout(tape, backbone, m);
    Tensor *z = dense(tape, context, "shared", m, Z, NULL, ACTIVATION_SILU);
    Tensor *reset = dense(tape, context, "reset", m, H, NULL, ACTIVATION_NONE);
    Tensor *update = dense(tape, context, "update", m, D, NULL, ACTIVATION_NONE);
    Tensor *candidate = dense(tape, context, "candidate", m, D, NULL, ACTIVATION_NONE);
    Tensor *o = gate(tape, attend(tape, context, z, v), reset, ACTIVATION_SILU);
    candidate = dense(tape, context, "out", o, D, candidate, ACTIVATION_NONE);
    candidate = backbone_dropout(tape, backbone, activate(tape, candidate, ACTIVATION_SILU));
    Tensor *change = add(tape, candidate, scale(tape, residual, -1));
    return add(tape, residual, gate(tape, change, update, ACTIVATION_SIGMOID));
}

static Tensor *feedforward(Tape *tape, const ModelContext *context, Tensor *residual, Tensor *x) {
    const Mega *own = context->options;
    const int64_t D = context->backbone->width, F = own->feedforward ? own->feedforward : 2 * D;
    Tensor *h = dense(tape, context, "up", x, F, NULL, ACTIVATION_SILU);
    h = backbone_drop(tape, context->backbone, h, own->hidden_dropout);
    h = dense(tape, context, "down", h, D, NULL, ACTIVATION_NONE);
    return add(tape, residual, backbone_dropout(tape, context->backbone, h));
}

typedef Tensor *Half(Tape *tape, const ModelContext *context, Tensor *residual, Tensor *x);

static Tensor *half(Tape *tape, const ModelContext *context, const char *name, Half *record,
                    Tensor *x) {
    const bool pre = context->backbone->norm_place == PLACE_PRE;
    tape_scope(tape, "%s", name);
    Tensor *y =
        record(tape, context, x, pre ? backbone_norm(tape, context->backbone, "norm", x) : x);
    if (!pre) y = backbone_norm(tape, context->backbone, "norm", y);
    tape_scope_end(tape);
    return y;
}

static Tensor *stack(Tape *tape, const ModelContext *context, Tensor *x) {
    for (int64_t layer = 0; layer < context->backbone->layers; layer++) {
        if (context->backbone->recompute) tape_segment(tape);
        tape_scope(tape, "layers.%lld", (long long)layer);
        x = half(tape, context, "mega", gated_attention, x);
        x = half(tape, context, "feedforward", feedforward, x);
        tape_scope_end(tape);
        if (context->backbone->recompute) tape_segment_end(tape);
    }
    return x;
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const Mega *own = values;
    const int64_t Z = queries_of(backbone, own);
    if (own->bias == BIAS_ROTARY && Z % 2)
        return error_set(error, STATUS_USAGE,
                         "bias=rotary turns pairs of channels, but queries=%lld is odd: use %lld",
                         (long long)Z, (long long)Z + 1);
    return STATUS_OK;
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    const Mega *own = values;
    const int64_t tokens = chunk_of(own, length);
    return backbone->layers * (2 * own->averages * backbone->width +
                               tokens * (values_of(backbone, own) + queries_of(backbone, own)));
}

const Model model_mega = {
    .name = "mega",
    .title = "Mega",
    .paper = {.authors = "Ma, Zhou, Kong, He, Gui, Neubig, May, Zettlemoyer",
              .title = "Mega: Moving Average Equipped Gated Attention",
              .venue = "ICLR",
              .arxiv = "2209.10655",
              .year = 2023},
    .kind = KIND_HYBRID,
    .note = "no dropout of attention weights; decoding does not truncate the averages",
    .options = {options, sizeof options / sizeof *options, sizeof(Mega)},
    .backbone = "",
    .bidirectional = true,
    .stack = stack,
    .validate = validate,
    .state_floats = state_floats,
};
