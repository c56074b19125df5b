/* Based (Arora et al. 2024, arXiv 2402.18668, section 4): linear attention that is close to softmax
 * attention for small scores, beside layers that are exact about tokens near by. Mixers take turns
 * from block to block, each on the block's normalised input u:
 *
 *     convolution   y = conv(u) (u W + b) + u      K taps a channel with bias (BaseConv, Arora et
 *                                                  al. 2023, arXiv 2312.04927)
 *     long          the same with conv(u) = h * u + u, the filter h as long as the sequence and a
 *                   function of the position: h_t = relu(z_t Wi + bi) Wo + bo, 16 hidden channels
 *     taylor        y = o W'   o_t = sum_j w_tj v_j / sum_j w_tj,  w = 1 + s + s^2 / 2, j <= t
 *                              s_tj = q_t . k_j / sqrt(d')         q, k, v = u Wq, u Wk, u Wv
 *     window        y = o W' + b'                  softmax attention to the last tokens
 *
 * with d' channels a head of q and k, few because the state has 1 + d' + d' (d' + 1) / 2 rows.
 *
 * Which blocks have which mixer is written in two places of the authors'. Their MQAR experiment
 * (Zoology, configuration arxiv24_based_figure2: Hybrid of BaseConv with three taps and Based, two
 * blocks without MLP, one head, d' 8 to 24, no positions) alternates convolution and taylor, and
 * has windows in another model only: order=mqar, the standard here, as results on MQAR are what
 * the architecture is compared by; all of that experiment: mlp=identity norm=layer. Their language
 * models (configuration based-360m) repeat convolution, taylor, window, convolution, convolution:
 * order=language; MLP and norms of all blocks are theirs. order=attention are the paper's two
 * attentions without convolutions, order=taylor is the linear one alone.
 *
 * What the authors compare it with on MQAR is made of the same mixers: order=base_conv is BaseConv
 * alone, a short filter and a long one in turns (configuration iclr24_zoology_figure2),
 * order=window has windows in the place of taylor (arxiv24_based_figure2: width 128 and
 * attention_window 9 to 1025; one as long as the sequence is its full attention).
 *
 * Parameters of a layer: D^2 + (K + 2) D; D^2 + 18 D + 64; 2 D^2 + 2 H d' D; 4 D^2 + 4 D. FLOPs a
 * token: twice that; long some D (10 log2(2L) + 10) and the filter once a batch; taylor 4 F D more,
 * F the rows of the state, or L (D + H d') where that is less (sequences up to some 4 F tokens);
 * window 4 D (tokens). State: (K - 1) D, L D, F (D + H), 2 D (tokens of the window). */
#include <math.h>

#include "engine/ops/cache_append/cache_append.h"
#include "engine/ops/long_convolution/long_convolution.h"
#include "engine/ops/long_convolution_step/long_convolution_step.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/short_convolution/short_convolution.h"
#include "engine/ops/taylor_attention/taylor_attention.h"
#include "models/backbone.h"
#include "models/filter_positions.h"
#include "models/pattern_parts.h"

typedef struct Based {
    int64_t heads, feature_width, taps, window;
    int order;
} Based;

static const Option options[] = {
    {"order", OPTION_CHOICE, offsetof(Based, order), "mqar", 0, -1,
     "mqar|language|attention|taylor|base_conv|window", "which mixers take turns over the blocks"},
    {"heads", OPTION_INTEGER, offsetof(Based, heads), "1", 1, 4096, NULL,
     "heads of both attentions (H)"},
    {"feature_width", OPTION_INTEGER, offsetof(Based, feature_width), "16", 1, TAYLOR_WIDEST, NULL,
     "channels of queries and keys of a head before the square (d')"},
    {"convolution", OPTION_INTEGER, offsetof(Based, taps), "3", 2, SHORT_CONVOLUTION_TAPS, NULL,
     "taps of the short convolution (K)"},
    {"attention_window", OPTION_INTEGER, offsetof(Based, window), "64", 1, 1 << 24, NULL,
     "tokens that a window shows, its own included"},
};

typedef enum Kind { CONVOLUTION, LONG, TAYLOR, WINDOW } Kind;
enum { MOST_TURNS = 5 };

/* By option `order`. */
static const struct {
    int64_t count;
    Kind kinds[MOST_TURNS];
} orders[] = {
    {2, {CONVOLUTION, TAYLOR}}, {5, {CONVOLUTION, TAYLOR, WINDOW, CONVOLUTION, CONVOLUTION}},
    {2, {TAYLOR, WINDOW}},      {1, {TAYLOR}},
    {2, {CONVOLUTION, LONG}},   {2, {CONVOLUTION, WINDOW}}};

static Kind kind_of(const Based *own, int64_t layer) {
    return orders[own->order].kinds[layer % orders[own->order].count];
}

static TaylorAttention taylor_of(const Backbone *backbone, const Based *own) {
    return (TaylorAttention){.heads = own->heads,
                             .key_width = own->feature_width,
                             .value_width = backbone->width / own->heads,
                             .epsilon = 1e-12};
}

static PatternAttention window_of(const Backbone *backbone, const Based *own) {
    return (PatternAttention){.heads = own->heads,
                              .width = backbone->width / own->heads,
                              .pattern = PATTERN_LOCAL,
                              .length = own->window,
                              .kinds = 1};
}

/* y (u W + b) + u. */
static Tensor *open_with(Tape *tape, const ModelContext *context, Tensor *y, Tensor *u) {
    Tensor *open = backbone_linear(tape, "projection", u, extent(u, 2), true,
                                   backbone_init(context->backbone), NULL);
    return add(tape, multiply(tape, y, open), u);
}

static Tensor *convolve(Tape *tape, const ModelContext *context, Tensor *u) {
    const Based *own = context->options;
    const int64_t B = extent(u, 0), D = extent(u, 2), K = own->taps;
    const Init init = init_uniform(1 / sqrt((double)K));
    Tensor *taps = tape_parameter(tape, "conv.weight", SHAPE(K, D), init, GROUP_DECAY);
    Tensor *bias = tape_parameter(tape, "conv.bias", SHAPE(D), init, GROUP_NO_DECAY);
    Tensor *state = tape_carry(tape, "conv.state", SHAPE(B, K - 1, D)), *next;
    Tensor *y = short_convolution(tape, u, taps, bias,
                                  (ShortConvolution){.activation = ACTIVATION_NONE}, state, &next);
    tape_carry_out(tape, "conv.state", next);
    return open_with(tape, context, y, u);
}

/* -> (length, D); the network's layers start as all projections do. */
static Tensor *long_filter(Tape *tape, const ModelContext *context, int64_t length) {
    enum { FEATURES = 3, HIDDEN = 16 };
    const Init init = backbone_init(context->backbone);
    tape_scope(tape, "filter");
    Tensor *z = tape_parameter(tape, "positions", SHAPE(context->max_length, FEATURES),
                               filter_positions(), (Group){.frozen = true});
    Tensor *hidden =
        backbone_linear(tape, "in", tape_prefix(tape, z, length), HIDDEN, true, init, NULL);
    Tensor *h = backbone_linear(tape, "out", activate(tape, hidden, ACTIVATION_RELU),
                                context->backbone->width, true, init, NULL);
    tape_scope_end(tape);
    return h;
}

static Tensor *convolve_all(Tape *tape, const ModelContext *context, Tensor *u) {
    const bool one = tape_mode(tape) == TAPE_STEP;
    const int64_t D = extent(u, 2);
    Tensor *h = long_filter(tape, context, one ? context->max_length : extent(u, 1));
    Tensor *skip =
        tape_parameter(tape, "skip", SHAPE(D), init_constant(1), (Group){.frozen = true});
    if (!one)
        return open_with(tape, context,
                         long_convolution(tape, u, h, NULL, (ConvolutionGates){.skip = skip}), u);
    Tensor *cache = cache_append(tape, "cache", context->max_length, u, (CacheAppend){0});
    return open_with(tape, context,
                     long_convolution_step(tape, cache, h, skip, tape_position(tape)), u);
}

static Tensor *attend(Tape *tape, const ModelContext *context, Tensor *u) {
    const Backbone *backbone = context->backbone;
    const TaylorAttention heads = taylor_of(backbone, context->options);
    const Init init = backbone_init(backbone);
    const int64_t D = backbone->width, channels = 2 * heads.heads * heads.key_width + D;
    const Shape states = SHAPE(extent(u, 0), heads.heads, taylor_attention_state(&heads));
    Tensor *qkv = backbone_linear(tape, "qkv", u, channels, false, init, NULL), *next;
    Tensor *o = taylor_attention(tape, qkv, tape_carry(tape, "state", states), &heads, &next);
    tape_carry_out(tape, "state", next);
    return backbone_linear(tape, "out", o, D, false, init, NULL);
}

static Tensor *look_back(Tape *tape, const ModelContext *context, Tensor *u) {
    const Backbone *backbone = context->backbone;
    const PatternAttention window = window_of(backbone, context->options);
    const int64_t D = backbone->width;
    Tensor *qkv = backbone_linear(tape, "qkv", u, 3 * D, true, backbone_init(backbone), NULL);
    Tensor *o = pattern_attend(tape, qkv, NULL, &window);
    return backbone_linear(tape, "out", o, D, true, backbone_residual_init(backbone), NULL);
}

/* u (B, L, D) -> (B, L, D). */
static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    static Tensor *(*const mixers[])(Tape *, const ModelContext *, Tensor *) = {
        [CONVOLUTION] = convolve, [LONG] = convolve_all, [TAYLOR] = attend, [WINDOW] = look_back};
    return mixers[kind_of(context->options, context->layer)](tape, context, u);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const Based *own = values;
    int64_t widest = backbone->width;
    for (int64_t layer = 0; layer < backbone->layers; layer++)
        if (kind_of(own, layer) == WINDOW) widest = PATTERN_WIDEST;
    return backbone_check_heads(backbone, own->heads, widest, error);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    const Based *own = values;
    const TaylorAttention taylor = taylor_of(backbone, own);
    const PatternAttention window = window_of(backbone, own);
    const int64_t floats[] = {[CONVOLUTION] = (own->taps - 1) * backbone->width,
                              [LONG] = length * backbone->width,
                              [TAYLOR] = taylor.heads * taylor_attention_state(&taylor),
                              [WINDOW] = pattern_cache_rows(&window, length) * 2 * backbone->width};
    int64_t sum = 0;
    for (int64_t layer = 0; layer < backbone->layers; layer++) sum += floats[kind_of(own, layer)];
    return sum;
}

const Model model_based = {
    .name = "based",
    .title = "Based",
    .paper = {.authors = "Arora, Eyuboglu, Zhang, Timalsina, Alberti, Zinsley, Zou, Rudra, Ré",
              .title = "Simple Linear Attention Language Models Balance the Recall-Throughput "
                       "Tradeoff",
              .venue = "ICML",
              .arxiv = "2402.18668",
              .year = 2024},
    .kind = KIND_HYBRID,
    .note = "of the language models: the wider convolution layers with SiLU, and rotary positions "
            "in the windows",
    .options = {options, sizeof options / sizeof *options, sizeof(Based)},
    .backbone = "mlp=swiglu mlp_ratio=2 norm=rms",
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
