/* Hyena, order 2 (Poli et al. 2023, arXiv 2302.10866, definition 3.1 and sections 3.2 to 3.4).
 *
 *     x0, x1, v = short(u W + b)     three projections, each with a depthwise convolution of K taps
 *     y = (x0 (h * (x1 v) + skip x1 v)) W' + b'    * is causal, as long as the sequence
 *
 * The filter h (Lmax, D) is a function of the position alone, the same for the whole batch: a
 * network of sines under a window, or one of the others of the paper's comparison
 * (models/hyena_filter.h; its table A.2: filter_order=32, and filter_window=no, filter=transfer,
 * filter=state_space, filter=modes, filter=taps).
 *
 * Language models of the paper: filter_embedding=33 filter_frequency=14 filter_deviation=0.02
 * position_lr=-1 mlp=gelu_tanh mlp_ratio=2. MQAR as in Zoology (Arora et al. 2023, figure 2):
 * mlp=identity filter_deviation=0.02 position_lr=-1, as its filters, too, start from the language
 * model's N(0, 0.02) and everything has one learning rate.
 *
 * FLOPs a token: 8 D^2 for the projections, some D (10 log2(2L) + 28) for convolution and gates,
 * and the filter once a batch. Decoding keeps all x1 v, as no finite state describes h: but that of
 * filter=state_space does, and of filter=taps the last N are enough. */
#include <math.h>

#include "engine/ops/short_convolution/short_convolution.h"
#include "models/backbone.h"
#include "models/hyena_filter.h"

typedef struct Hyena {
    int64_t short_filter;
    HyenaFilter filter;
} Hyena;

static const Option options[] = {
    {"short_filter", OPTION_INTEGER, offsetof(Hyena, short_filter), "3", 2, SHORT_CONVOLUTION_TAPS,
     NULL, "taps of the short convolutions (K)"},
    HYENA_FILTER_OPTIONS(Hyena, filter),
};

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

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    const Hyena *own = context->options;
    Tensor *post = project(tape, context, "x0", u);
    Tensor *pre = project(tape, context, "x1", u);
    Tensor *v = project(tape, context, "v", u);
    Tensor *y = hyena_convolution(tape, context, &own->filter, v, pre, post);
    return backbone_linear(tape, "out", y, context->backbone->width, true,
                           backbone_residual_init(context->backbone), NULL);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    (void)backbone;
    return hyena_filter_check(&((const Hyena *)values)->filter, error);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    const Hyena *own = values;
    return backbone->layers * backbone->width *
           (hyena_filter_state(&own->filter, length) + 3 * (own->short_filter - 1));
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
