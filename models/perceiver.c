/* Perceiver AR (Hawthorne, Jaegle, Cangea, Borgeaud, Nash et al. 2022, arXiv 2202.07765): only the
 * last M positions of a sequence, its latents, pass through the stack; one cross-attention lets
 * them read all others first, sections 3.2 and 3.3. With e the embeddings and all attention causal:
 *
 *     z = e Wz + bz                                          at the latents
 *     z = z + attend(norm(z), norm(e)),   z = z + relu(norm(z) W1 + b1)^2 W2 + b2      keys: all
 * positions z = z + attend(norm(z)),            z = z + relu(norm(z) W1 + b1)^2 W2 + b2 `layers`
 * times, keys: latents
 *
 * Queries and keys are rotated on a part of each head, with frequencies W^(-j / (n - 1)), j = 0 ..
 * n-1. Tasks here have labels at any position, so the sequence is cut into blocks of M and the
 * model is run on every prefix that ends with a block, all at once: each position is a latent one
 * time, the cross-attention is causal over the whole sequence, and the stack is blind beyond its
 * block. With M >= L there is one block.
 *
 * Parameters: (layers + 1) (4 D^2 + 2 D (ratio) D) + D^2. FLOPs a token: twice that + 2 L D for the
 * cross-attention and 2 M D a layer. State: keys and values of all tokens once, and of one block in
 * each layer. */
#include <math.h>

#include "engine/ops/attention/attention.h"
#include "engine/ops/cache_append/cache_append.h"
#include "engine/ops/pattern_attention/pattern_attention.h"
#include "engine/ops/rotary/rotary.h"
#include "models/backbone.h"

typedef struct Perceiver {
    int64_t heads, latents, wavelength;
    double rotary_fraction;
} Perceiver;

static const Option options[] = {
    {"heads", OPTION_INTEGER, offsetof(Perceiver, heads), "4", 1, 4096, NULL,
     "attention heads (H)"},
    {"latents", OPTION_INTEGER, offsetof(Perceiver, latents), "64", 1, 1 << 24, NULL,
     "positions of a block (M)"},
    {"rotary_fraction", OPTION_REAL, offsetof(Perceiver, rotary_fraction), "0.5", 0, 1, NULL,
     "of a head's channels that are rotated, rounded down to pairs; 0: no positions"},
    {"wavelength", OPTION_INTEGER, offsetof(Perceiver, wavelength), "8192", 1, 1 << 30, NULL,
     "of the slowest rotation, in radians (W), above the longest sequence"},
};

static Attention heads_of(const Backbone *backbone, const Perceiver *own) {
    return (Attention){.heads = own->heads,
                       .kv_heads = own->heads,
                       .width = backbone->width / own->heads,
                       .causal = true};
}

static PatternAttention block_of(const Backbone *backbone, const Perceiver *own) {
    return (PatternAttention){.heads = own->heads,
                              .width = backbone->width / own->heads,
                              .pattern = PATTERN_SEGMENTS,
                              .length = own->latents};
}

/* The first `heads` heads of x, rotated. */
static Tensor *rotate(Tape *tape, const Perceiver *own, const Attention *of, Tensor *x,
                      int64_t heads) {
    const int64_t pairs = (int64_t)(own->rotary_fraction * (double)of->width / 2);
    if (pairs < 1) return x;
    /* theta^(-j / n) = W^(-j / (n - 1)) */
    const double power = pairs > 1 ? (double)pairs / (double)(pairs - 1) : 1;
    const Rotary attributes = {.heads = heads,
                               .width = of->width,
                               .theta = pow((double)own->wavelength, power),
                               .interleaved = true,
                               .turned = 2 * pairs};
    Tensor *position = tape_mode(tape) == TAPE_STEP ? tape_position(tape) : NULL;
    return rotary(tape, x, position, &attributes);
}

/* What the two kinds of blocks are told. */
typedef struct Recorder {
    const Perceiver *own;
    Tensor *e;
} Recorder;

static Tensor *project(Tape *tape, const ModelContext *context, const char *name, Tensor *x,
                       int64_t out) {
    return backbone_linear(tape, name, x, out, true, backbone_init(context->backbone), NULL);
}

/* z (B, L, D), normalised -> (B, L, D). */
static Tensor *cross(Tape *tape, const ModelContext *context, Tensor *z) {
    const Recorder *recorder = context->options;
    const Perceiver *own = recorder->own;
    const int64_t D = context->backbone->width;
    const Attention heads = heads_of(context->backbone, own);
    Tensor *e = backbone_norm(tape, context->backbone, "norm_kv", recorder->e);
    Tensor *q = rotate(tape, own, &heads, project(tape, context, "q", z, D), own->heads);
    Tensor *kv = rotate(tape, own, &heads, project(tape, context, "kv", e, 2 * D), own->heads);
    Tensor *o;
    if (tape_mode(tape) == TAPE_STEP)
        o = attention_step(
            tape, q,
            cache_append(tape, "cache", tape_horizon(tape), kv, (CacheAppend){.ring = true}),
            tape_position(tape), &heads);
    else
        o = attention(tape, q, kv, NULL, NULL, &heads);
    return project(tape, context, "out", o, D);
}

/* Attention inside blocks. Whole ones are sequences of their own. */
static Tensor *attend_in_blocks(Tape *tape, const ModelContext *context, const Perceiver *own,
                                Tensor *qkv) {
    const int64_t B = extent(qkv, 0), L = extent(qkv, 1), D = context->backbone->width;
    const Attention heads = heads_of(context->backbone, own);
    if (L <= own->latents) return attention_packed(tape, qkv, NULL, &heads);
    if (L % own->latents) {
        const PatternAttention block = block_of(context->backbone, own);
        return pattern_attention(tape, qkv, NULL, NULL, NULL, &block);
    }
    const int64_t M = own->latents, blocks = B * (L / M);
    qkv = tape_reshape(tape, qkv, SHAPE(blocks, M, 3 * D));
    return tape_reshape(tape, attention_packed(tape, qkv, NULL, &heads), SHAPE(B, L, D));
}

static Tensor *self(Tape *tape, const ModelContext *context, Tensor *z) {
    const Recorder *recorder = context->options;
    const Perceiver *own = recorder->own;
    const int64_t D = context->backbone->width;
    const Attention heads = heads_of(context->backbone, own);
    const PatternAttention block = block_of(context->backbone, own);
    Tensor *qkv =
        rotate(tape, own, &heads, project(tape, context, "qkv", z, 3 * D), 2 * own->heads);
    Tensor *o;
    if (tape_mode(tape) == TAPE_STEP)
        o = pattern_attention_step(tape, qkv,
                                   cache_append(tape, "cache",
                                                pattern_cache_rows(&block, tape_horizon(tape)), qkv,
                                                (CacheAppend){.column = D, .ring = true}),
                                   tape_position(tape), NULL, &block);
    else
        o = attend_in_blocks(tape, context, own, qkv);
    return project(tape, context, "out", o, D);
}

static Tensor *stack(Tape *tape, const ModelContext *context, Tensor *x) {
    const Model crossing = {.mixer = cross}, layers = {.mixer = self};
    const Recorder recorder = {.own = context->options, .e = x};
    Backbone one = *context->backbone;
    one.layers = 1;
    ModelContext inner = *context;
    inner.options = &recorder;
    Tensor *z = project(tape, context, "z", x, context->backbone->width);
    inner.backbone = &one;
    tape_scope(tape, "cross");
    z = backbone_blocks(tape, &crossing, &inner, z);
    tape_scope_end(tape);
    inner.backbone = context->backbone;
    return backbone_blocks(tape, &layers, &inner, z);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const Perceiver *own = values;
    return backbone_check_heads(backbone, own->heads, PATTERN_WIDEST, error);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    const PatternAttention block = block_of(backbone, values);
    const int64_t rows = length + backbone->layers * pattern_cache_rows(&block, length);
    return rows * 2 * backbone->width;
}

const Model model_perceiver = {
    .name = "perceiver",
    .title = "Perceiver AR",
    .paper = {.authors =
                  "Hawthorne, Jaegle, Cangea, Borgeaud, Nash, Malinowski, Dieleman, Vinyals, "
                  "Botvinick, Simon, Sheahan, Zeghidour, Alayrac, Carreira, Engel",
              .title = "General-purpose, long-context autoregressive modeling with Perceiver AR",
              .venue = "ICML",
              .arxiv = "2202.07765",
              .year = 2022},
    .kind = KIND_ATTENTION,
    .note = "every block of `latents` positions is predicted, not the last alone; positions "
            "counted from the "
            "start; no dropped inputs or latents, no z-loss; decoding starts each block without "
            "latents; not Perceiver or Perceiver IO, which are not autoregressive; weights start "
            "normal, not cut off at two deviations, the MLP's second ones smaller",
    .options = {options, sizeof options / sizeof *options, sizeof(Perceiver)},
    .backbone = "mlp=relu2 init_deviation=0",
    .stack = stack,
    .validate = validate,
    .state_floats = state_floats,
};
