/* Griffin and Hawk (De, Smith et al. 2024, arXiv 2402.19427, section 2). Blocks that mix tokens by
 * a gated linear recurrence take turns with blocks of local attention. A recurrent one, with E
 * channels inside (figure 2 and section 2.4):
 *
 *     y = gelu(n Wy + by),  x = convolution(n Wx + bx)        K causal taps, no activation
 *     r, i = sigmoid(x Wr + br), sigmoid(x Wi + bi)           block-diagonal, a block a head
 *     log a = -8 r softplus(lambda)
 *     h <- a h + sqrt(1 - a^2) (i x)                          ops/rg_lru; h = i x at the beginning
 *     out(h y)
 *
 * An attention block has H heads of queries and one head of keys and values, rotary positions on
 * the first half of a head's channels, and sees the present token and `window` before it:
 *
 *     o_t = sum_s softmax_s(q_t . k_s / sqrt(d)) v_s,  t - window <= s <= t;  out(o)
 *
 * Either is followed by a gated MLP, down(gelu(n W1 + b1) (n W2 + b2)), with 3 D channels inside.
 * Griffin is pattern=rra, Hawk pattern=r, and pattern=a the paper's baseline but for its window.
 *
 * Parameters of a recurrent layer: 3 D E + 2 E^2 / H + (K + 6) E + D, of an attention layer: 2 D^2
 * + 2 D d + D with d = D / H, of the MLP 9 D^2 + 7 D. FLOPs a token: twice the products, 13 E for
 * the recurrence, 4 D min(window, L / 2) for attention. State: K E floats a recurrent layer, 2 d
 * (window + 1) an attention layer. */
#include <math.h>
#include <string.h>

#include "engine/ops/block_linear/block_linear.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/rg_lru/rg_lru.h"
#include "engine/ops/rotary/rotary.h"
#include "engine/ops/short_convolution/short_convolution.h"
#include "models/backbone.h"
#include "models/pattern_parts.h"

typedef struct Griffin {
    char pattern[OPTION_TEXT_BYTES];
    int64_t heads, window, convolution;
    double expand;
} Griffin;

static const Option options[] = {
    {"pattern", OPTION_TEXT, offsetof(Griffin, pattern), "rra", 0, -1, NULL,
     "blocks in turns, r recurrent and a attention; fewer layers than letters: the last letters"},
    {"heads", OPTION_INTEGER, offsetof(Griffin, heads), "2", 1, 4096, NULL,
     "heads of attention, and blocks of the gates' weights (H)"},
    {"attention_window", OPTION_INTEGER, offsetof(Griffin, window), "1024", 1, 1 << 24, NULL,
     "tokens before the present one that attention sees"},
    {"expand", OPTION_REAL, offsetof(Griffin, expand), "1.3333", 0.01, 64, NULL,
     "channels of the recurrence / D, then rounded up to a multiple of 4 H (E)"},
    {"convolution", OPTION_INTEGER, offsetof(Griffin, convolution), "4", 2, SHORT_CONVOLUTION_TAPS,
     NULL, "taps of the short convolution (K)"},
};

/* The margin as for the MLP's hidden width (backbone.c). */
static int64_t inner_width(const Backbone *backbone, const Griffin *own) {
    const double groups = own->expand * (double)backbone->width / (double)(4 * own->heads);
    return 4 * own->heads * (int64_t)fmax(1, ceil(groups - 0.01));
}

static bool is_attention(const Backbone *backbone, const Griffin *own, int64_t layer) {
    const int64_t letters = (int64_t)strlen(own->pattern);
    const int64_t skipped = letters > backbone->layers ? letters - backbone->layers : 0;
    return own->pattern[(skipped + layer) % letters] == 'a';
}

/* The published starts: what reads n channels N(0, 1 / n); what ends a branch, by the number of
 * layers less. */
static Init in_init(int64_t n) {
    return init_normal(1 / sqrt((double)n));
}
static Init out_init(const Backbone *backbone, int64_t n) {
    return init_normal(sqrt(2 / ((double)backbone->layers * (double)n)));
}

/* ---- the recurrent block ---- */

static Tensor *convolve(Tape *tape, const Griffin *own, Tensor *x) {
    const int64_t B = extent(x, 0), E = extent(x, 2), K = own->convolution;
    tape_scope(tape, "convolution");
    Tensor *taps = tape_parameter(tape, "weight", SHAPE(K, E), init_normal(0.1 / sqrt((double)K)),
                                  GROUP_DECAY);
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(E), init_constant(0), GROUP_NO_DECAY);
    Tensor *state = tape_carry(tape, "state", SHAPE(B, K - 1, E)), *next;
    x = short_convolution(tape, x, taps, bias, (ShortConvolution){.activation = ACTIVATION_NONE},
                          state, &next);
    tape_carry_out(tape, "state", next);
    tape_scope_end(tape);
    return x;
}

/* A gate before its sigmoid. *bias: its bias, which the recurrence adds. */
static Tensor *gate_of(Tape *tape, const char *name, Tensor *x, int64_t blocks, Tensor **bias) {
    const int64_t E = extent(x, 2), width = E / blocks;
    tape_scope(tape, "%s", name);
    Tensor *weight =
        tape_parameter(tape, "weight", SHAPE(blocks, width, width), in_init(width), GROUP_DECAY);
    *bias = tape_parameter(tape, "bias", SHAPE(E), init_constant(0), GROUP_NO_DECAY);
    Tensor *y = block_linear(tape, x, weight);
    tape_scope_end(tape);
    return y;
}

/* e^-softplus(lambda), the eighth root of a where the gate is open, as if drawn evenly from a ring
 * of the plane: its square is uniform. */
static void fill_lambda(float *lambda, const Shape *shape, Random *random, double inner,
                        double outer) {
    for (int64_t e = 0; e < shape->extent[0]; e++) {
        const double low = inner * inner, high = outer * outer;
        const double square = low + (high - low) * random_real(random) + 1e-8;
        lambda[e] = (float)log(expm1(-0.5 * log(square)));
    }
}

static Tensor *recurrent(Tape *tape, const ModelContext *context, Tensor *n) {
    const Griffin *own = context->options;
    const Backbone *backbone = context->backbone;
    const int64_t D = backbone->width, E = inner_width(backbone, own);
    Tensor *y = backbone_linear(tape, "in_y", n, E, true, in_init(D), NULL);
    Tensor *x = convolve(tape, own, backbone_linear(tape, "in_x", n, E, true, in_init(D), NULL));
    RgLru in = {.x = x, .position = tape_mode(tape) == TAPE_STEP ? tape_position(tape) : NULL};
    in.recurrence = gate_of(tape, "recurrence", x, own->heads, &in.recurrence_bias);
    in.input = gate_of(tape, "input", x, own->heads, &in.input_bias);
    in.lambda = tape_parameter(tape, "lambda", SHAPE(E), init_fill(fill_lambda, 0.9, 0.999),
                               GROUP_NO_DECAY);
    in.state = tape_carry(tape, "state", SHAPE(extent(n, 0), 1, E));
    Tensor *h = rg_lru(tape, &in);
    tape_carry_out(tape, "state", h);
    return backbone_linear(tape, "out", gate(tape, h, y, ACTIVATION_GELU_TANH), D, true,
                           out_init(backbone, E), NULL);
}

/* ---- the attention block ---- */

static PatternAttention local_attention(const Backbone *backbone, const Griffin *own) {
    return (PatternAttention){.heads = own->heads,
                              .width = backbone->width / own->heads,
                              .pattern = PATTERN_LOCAL,
                              .length = own->window + 1};
}

static Tensor *attention(Tape *tape, const ModelContext *context, Tensor *n) {
    const Griffin *own = context->options;
    const Backbone *backbone = context->backbone;
    const int64_t D = backbone->width, H = own->heads, d = D / H;
    const PatternAttention pattern = local_attention(backbone, own);
    const Rotary queries = {.heads = H, .width = d, .theta = 10000, .turned = d / 2};
    Rotary keys = queries;
    keys.heads = 1; /* values follow */
    Tensor *position = tape_mode(tape) == TAPE_STEP ? tape_position(tape) : NULL;
    Tensor *q = backbone_linear(tape, "q", n, D, false, in_init(D), NULL);
    Tensor *kv = backbone_linear(tape, "kv", n, 2 * d, false, in_init(D), NULL);
    q = rotary(tape, q, position, &queries);
    kv = rotary(tape, kv, position, &keys);
    Tensor *o = pattern_attend(tape, q, kv, &pattern);
    return backbone_linear(tape, "out", o, D, true, out_init(backbone, D), NULL);
}

/* n (B, L, D), normalised -> (B, L, D). */
static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *n) {
    const bool attends = is_attention(context->backbone, context->options, context->layer);
    return (attends ? attention : recurrent)(tape, context, n);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const Griffin *own = values;
    if (!*own->pattern || own->pattern[strspn(own->pattern, "ra")])
        return error_set(error, STATUS_USAGE,
                         "pattern=%s: expected letters r (recurrent) and a (attention), as rra for "
                         "Griffin and r for Hawk",
                         own->pattern);
    bool attends = false;
    for (int64_t layer = 0; layer < backbone->layers; layer++)
        attends |= is_attention(backbone, own, layer);
    if (!attends) return STATUS_OK;
    if (backbone_check_heads(backbone, own->heads, PATTERN_WIDEST, error) != STATUS_OK)
        return error->status;
    if (backbone->width / own->heads % 4)
        return error_set(error, STATUS_USAGE,
                         "heads=%lld make heads of %lld channels; half of a head is rotated in "
                         "pairs, so that 4 must divide them",
                         (long long)own->heads, (long long)(backbone->width / own->heads));
    return STATUS_OK;
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    const Griffin *own = values;
    const PatternAttention pattern = local_attention(backbone, own);
    int64_t floats = 0;
    for (int64_t layer = 0; layer < backbone->layers; layer++)
        floats += is_attention(backbone, own, layer)
                      ? 2 * pattern.width * pattern_cache_rows(&pattern, length)
                      : own->convolution * inner_width(backbone, own);
    return floats;
}

const Model model_griffin = {
    .name = "griffin",
    .title = "Griffin",
    .paper = {.authors = "De, Smith, Fernando, Botev, Cristian-Muraru, Gu, Haroun, Berrada, Chen, "
                         "Srinivasan, Desjardins, Doucet, Budden, Teh, Pascanu, De Freitas, "
                         "Gulcehre",
              .title = "Griffin: Mixing Gated Linear Recurrences with Local Attention for "
                       "Efficient Language Models",
              .venue = "arXiv",
              .arxiv = "2402.19427",
              .year = 2024},
    .kind = KIND_HYBRID,
    .note =
        "the window has a token more than its number, as in the authors' code; the state is not "
        "reset inside a sequence, as no task packs documents; RecurrentGemma's soft cap of "
        "logits",
    .options = {options, sizeof options / sizeof *options, sizeof(Griffin)},
    .backbone = "mlp=geglu mlp_ratio=3 norm=rms init_deviation=0",
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
