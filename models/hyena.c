/* Hyena, order 2 (Poli et al. 2023, arXiv 2302.10866, definition 3.1 and sections 3.2 to 3.4).
 *
 *     x0, x1, v = short(u W + b)     three projections, each with a depthwise convolution of K taps
 *     y = (x0 (h * (x1 v) + skip x1 v)) W' + b'    * is causal, as long as the sequence
 *
 * The filter h (Lmax, D) is a function of the position alone, the same for the whole batch:
 *
 *     a = sin(w (z Wi + bi)),  then `filter_layers` times a = sin(w (a W + b)),  w shared (F)
 *     h_t = (a_t Wo) (exp(-|rate| t / (Lmax - 1)) + shift)
 *     z_t = t / (Lmax - 1), cos(f w_t) .., -sin(f w_t) ..,   w_t = 2 pi t / Lmax
 *
 * with rates from ln(100) / 1.5 to ln(100) / 0.3 over the channels.
 *
 * Language models of the paper: filter_embedding=33 filter_frequency=14 filter_deviation=0.02
 * position_lr=-1 mlp=gelu_tanh mlp_ratio=2. MQAR as in Zoology (Arora et al. 2023, figure 2):
 * mlp=identity filter_deviation=0.02 position_lr=-1, as its filters, too, start from the language
 * model's N(0, 0.02) and everything has one learning rate.
 *
 * FLOPs a token: 8 D^2 for the projections, some D (10 log2(2L) + 28) for convolution and gates,
 * and the filter once a batch. Decoding keeps all x1 v: no finite state describes h. */
#include <math.h>
#include <stdio.h>

#include "engine/ops/cache_append/cache_append.h"
#include "engine/ops/exponential_window/exponential_window.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/long_convolution/long_convolution.h"
#include "engine/ops/long_convolution_step/long_convolution_step.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/short_convolution/short_convolution.h"
#include "engine/ops/sine/sine.h"
#include "models/backbone.h"
#include "models/filter_positions.h"

typedef struct Hyena {
    int64_t short_filter, filter_order, filter_embedding, filter_layers;
    double filter_frequency, filter_deviation, filter_shift, position_lr;
    bool filter_window;
} Hyena;

static const Option options[] = {
    {"short_filter", OPTION_INTEGER, offsetof(Hyena, short_filter), "3", 2, SHORT_CONVOLUTION_TAPS,
     NULL, "taps of the short convolutions (K)"},
    {"filter_order", OPTION_INTEGER, offsetof(Hyena, filter_order), "64", 1, 4096, NULL,
     "hidden width of the filter network (F)"},
    {"filter_embedding", OPTION_INTEGER, offsetof(Hyena, filter_embedding), "3", 3, 1023, NULL,
     "features of a position, odd"},
    {"filter_layers", OPTION_INTEGER, offsetof(Hyena, filter_layers), "2", 0, 16, NULL,
     "hidden layers of the filter network after the first"},
    {"filter_frequency", OPTION_REAL, offsetof(Hyena, filter_frequency), "1", 0.01, 1000, NULL,
     "initial frequency of the sines; the paper's language models: 14"},
    {"filter_deviation", OPTION_REAL, offsetof(Hyena, filter_deviation), "0", 0, 10, NULL,
     "standard deviation of the filter network's initial weights, its biases then 0; 0: uniform by "
     "fan-in"},
    {"filter_window", OPTION_SWITCH, offsetof(Hyena, filter_window), "yes", 0, -1, NULL,
     "exponential decay of the filter"},
    {"filter_shift", OPTION_REAL, offsetof(Hyena, filter_shift), "0", 0, 1, NULL,
     "added to the window, so that late taps survive"},
    {"position_lr", OPTION_REAL, offsetof(Hyena, position_lr), "1e-5", -1, 1, NULL,
     "learning rate of the position features; 0: constant, -1: as everything else"},
};

/* Decay rates: exp(-rate) is 1 % after 0.3 and 1.5 of the longest length. */
static const double fast_decay = 0.3, slow_decay = 1.5;

static void fill_rates(float *data, const Shape *shape, Random *random, double from, double to) {
    (void)random;
    const int64_t width = shape->extent[0];
    for (int64_t c = 0; c < width; c++)
        data[c] = (float)(from + (width > 1 ? (to - from) * (double)c / (double)(width - 1) : 0));
}

/* A dense layer of the filter network, without weight decay. */
static Tensor *dense(Tape *tape, const Hyena *own, const char *name, Tensor *x, int64_t out,
                     bool bias) {
    const int64_t in = extent(x, -1);
    const bool normal = own->filter_deviation > 0;
    const Init uniform = init_uniform(1 / sqrt((double)in));
    const Init init = normal ? init_normal(own->filter_deviation) : uniform;
    tape_scope(tape, "%s", name);
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(in, out), init, GROUP_NO_DECAY);
    Tensor *offset = NULL;
    if (bias)
        offset = tape_parameter(tape, "bias", SHAPE(out), normal ? init_constant(0) : uniform,
                                GROUP_NO_DECAY);
    Tensor *y = linear(tape, x, weight, offset, NULL, ACTIVATION_NONE);
    tape_scope_end(tape);
    return y;
}

/* -> (L, D). */
static Tensor *filter(Tape *tape, const ModelContext *context, int64_t length) {
    const Hyena *own = context->options;
    const int64_t width = context->backbone->width, order = own->filter_order;
    const Group positions = {
        .fixed_rate = fmax(own->position_lr, 0), .no_decay = true, .frozen = own->position_lr == 0};
    tape_scope(tape, "filter");
    Tensor *z = tape_parameter(tape, "positions", SHAPE(context->max_length, own->filter_embedding),
                               filter_positions(), positions);
    Tensor *frequency = tape_parameter(tape, "frequency", SHAPE(order),
                                       init_constant(own->filter_frequency), GROUP_NO_DECAY);
    Tensor *a =
        sine(tape, dense(tape, own, "in", tape_prefix(tape, z, length), order, true), frequency);
    for (int64_t i = 0; i < own->filter_layers; i++) {
        char name[32];
        snprintf(name, sizeof name, "inner.%lld", (long long)i);
        a = sine(tape, dense(tape, own, name, a, order, true), frequency);
    }
    Tensor *h = dense(tape, own, "out", a, width, false);
    if (own->filter_window) {
        Tensor *rate =
            tape_parameter(tape, "rate", SHAPE(width),
                           init_fill(fill_rates, log(100) / slow_decay, log(100) / fast_decay),
                           (Group){.frozen = true});
        h = exponential_window(tape, h, rate,
                               (ExponentialWindow){context->max_length, (float)own->filter_shift});
    }
    tape_scope_end(tape);
    return h;
}

/* u (B, L, D) -> (B, L, D): one of the three projections with its short convolution. */
static Tensor *project(Tape *tape, const ModelContext *context, const char *name, Tensor *u) {
    const Hyena *own = context->options;
    const int64_t B = extent(u, 0), D = extent(u, 2), K = own->short_filter;
    const Init init = init_uniform(1 / sqrt((double)K));
    tape_scope(tape, "%s", name);
    Tensor *x = backbone_linear(tape, "in", u, D, true, backbone_init(context->backbone), NULL);
    Tensor *taps = tape_parameter(tape, "short.weight", SHAPE(K, D), init, GROUP_DECAY);
    Tensor *bias = tape_parameter(tape, "short.bias", SHAPE(D), init, GROUP_NO_DECAY);
    Tensor *state = tape_carry(tape, "short.state", SHAPE(B, K - 1, D)), *next;
    x = short_convolution(tape, x, taps, bias, (ShortConvolution){.activation = ACTIVATION_NONE},
                          state, &next);
    tape_carry_out(tape, "short.state", next);
    tape_scope_end(tape);
    return x;
}

/* One token: the sum over all gated inputs so far. */
static Tensor *step(Tape *tape, Tensor *v, Tensor *pre, Tensor *post, Tensor *h, Tensor *skip) {
    const Shape shape = SHAPE(extent(v, 0), extent(h, 0), extent(v, 2));
    Tensor *position = tape_position(tape);
    Tensor *cache = cache_append(tape, tape_carry(tape, "cache", shape), multiply(tape, pre, v),
                                 position, (CacheAppend){0});
    tape_carry_out(tape, "cache", cache);
    return multiply(tape, post, long_convolution_step(tape, cache, h, skip, position));
}

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    const bool one = tape_mode(tape) == TAPE_STEP;
    const int64_t width = context->backbone->width;
    Tensor *post = project(tape, context, "x0", u);
    Tensor *pre = project(tape, context, "x1", u);
    Tensor *v = project(tape, context, "v", u);
    Tensor *h = filter(tape, context, one ? context->max_length : extent(u, 1));
    Tensor *skip = tape_parameter(tape, "skip", SHAPE(width), init_normal(1), GROUP_DECAY);
    Tensor *y = one ? step(tape, v, pre, post, h, skip)
                    : long_convolution(tape, v, h, NULL, (ConvolutionGates){skip, pre, post});
    return backbone_linear(tape, "out", y, width, true, backbone_residual_init(context->backbone),
                           NULL);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    (void)backbone;
    const Hyena *own = values;
    if (own->filter_embedding % 2) return STATUS_OK;
    return error_set(
        error, STATUS_USAGE,
        "filter_embedding=%lld is even; expected an odd number: time, and a cosine and "
        "a sine for each band; use %lld",
        (long long)own->filter_embedding, (long long)own->filter_embedding + 1);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    const Hyena *own = values;
    return backbone->layers * backbone->width * (length + 3 * (own->short_filter - 1));
}

const Model model_hyena = {
    .name = "hyena",
    .title = "Hyena",
    .paper = {.authors = "Poli, Massaroli, Nguyen, Fu, Dao, Baccus, Bengio, Ermon, Ré",
              .title = "Hyena Hierarchy: Towards Larger Convolutional Language Models",
              .venue = "ICML",
              .arxiv = "2302.10866",
              .year = 2023},
    .kind = KIND_CONVOLUTION,
    .note = "orders above 2, trained decay rates, distillation into a recurrence",
    .options = {options, sizeof options / sizeof *options, sizeof(Hyena)},
    .backbone = "",
    .exempt = EXEMPT_LONGER, /* filters are over positions relative to the longest */
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
