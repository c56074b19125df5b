/* Transformer-XL (Dai, Yang, Yang, Carbonell, Le and Salakhutdinov 2019, arXiv 1901.02860): a
 * sequence is read segment by segment, and what a layer has been given for the `memory` positions
 * before a segment is attended to, without gradient. Scores know positions by their distance only,
 * section 3.3:
 *
 *     q = h Wq,   k, v = [stopped(memory), h] Wkv,   r_t = sinusoid_t Wr        (no biases)
 *     S_ij = ((q_i + u) . k_j + (q_i + w) . r_{i-j}) / sqrt(d)       j <= i, and not before the
 * memory h = norm(h + softmax(S) v Wo),   h = norm(h + relu(h W1 + b1) W2 + b2)
 *
 * with u and w, one vector a head, shared by all layers. Here the segments of a sequence are
 * computed at once: in one step the layer inputs of all of them are known, and those of earlier
 * ones are the memory. A token at a time, keys and values of segment and memory are kept in a ring.
 * Segment and memory may be others in validation, test and decoding than in training, as in the
 * paper's tables, and distances there may be clamped: r_t of any t beyond the clamp is r_clamp.
 *
 * Parameters of a layer: 5 D^2 + 2 D (ratio) D. FLOPs a token: 8 D^2 + 4 D (ratio) D, 4 D^2 for
 * keys and values of the memory, and 6 D a visible key, of which there are memory + segment / 2.
 * State: keys and values of segment + memory tokens of evaluation, 2 D floats a token and layer. */
#include <math.h>

#include "engine/ops/cache_append/cache_append.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/pattern_attention/pattern_attention.h"
#include "engine/ops/pointwise/pointwise.h"
#include "models/backbone.h"

typedef struct TransformerXl {
    int64_t heads, segment, memory, evaluation_segment, evaluation_memory, evaluation_clamp;
    bool memory_gradient, embedding_scale;
} TransformerXl;

static const Option options[] = {
    {"heads", OPTION_INTEGER, offsetof(TransformerXl, heads), "4", 1, 4096, NULL,
     "attention heads (H)"},
    {"segment", OPTION_INTEGER, offsetof(TransformerXl, segment), "64", 1, 1 << 24, NULL,
     "tokens that learn from each other"},
    {"memory", OPTION_INTEGER, offsetof(TransformerXl, memory), "64", 0, 1 << 24, NULL,
     "tokens before the segment that are only read"},
    {"evaluation_segment", OPTION_INTEGER, offsetof(TransformerXl, evaluation_segment), "0", 0,
     1 << 24, NULL, "segment in validation, test and decoding; 0: as in training"},
    {"evaluation_memory", OPTION_INTEGER, offsetof(TransformerXl, evaluation_memory), "-1", -1,
     1 << 24, NULL, "memory in validation, test and decoding; -1: as in training"},
    {"evaluation_clamp", OPTION_INTEGER, offsetof(TransformerXl, evaluation_clamp), "0", 0, 1 << 24,
     NULL, "distances beyond it count as it in validation, test and decoding; 0: as they are"},
    {"memory_gradient", OPTION_SWITCH, offsetof(TransformerXl, memory_gradient), "no", 0, -1, NULL,
     "gradients flow into the memory too (the paper stops them)"},
    {"embedding_scale", OPTION_SWITCH, offsetof(TransformerXl, embedding_scale), "yes", 0, -1, NULL,
     "multiply embeddings by sqrt(width)"},
};

/* What all layers share. */
typedef struct Shared {
    TransformerXl own;
    PatternAttention pattern;
    Tensor
        *distances; /* (segment + memory, D), sinusoids, as many rows as the tape has distances */
    Tensor *u, *w;
} Shared;

/* Whether evaluation is anything else than training. */
static bool evaluates_otherwise(const TransformerXl *own) {
    return own->evaluation_segment > 0 || own->evaluation_memory >= 0 || own->evaluation_clamp > 0;
}

static PatternAttention pattern_of(const Backbone *backbone, const TransformerXl *own,
                                   bool training) {
    const bool own_segment = training || own->evaluation_segment == 0,
               own_memory = training || own->evaluation_memory < 0;
    return (PatternAttention){.heads = own->heads,
                              .width = backbone->width / own->heads,
                              .pattern = PATTERN_SEGMENTS,
                              .length = own_segment ? own->segment : own->evaluation_segment,
                              .memory = own_memory ? own->memory : own->evaluation_memory};
}

/* sin(t f_i) in the first half of the channels, cos(t f_i) in the second, f_i = 10000^(-2 i / D);
 * of t = clamp where t is beyond it and clamp is not 0. */
static void fill_distances(float *table, const Shape *shape, Random *random, double clamp,
                           double b) {
    (void)random, (void)b;
    const int64_t D = shape->extent[1], half = (D + 1) / 2;
    for (int64_t t = 0; t < shape->extent[0]; t++)
        for (int64_t c = 0; c < D; c++) {
            const double distance = clamp > 0 ? fmin((double)t, clamp) : (double)t;
            const double angle = distance * pow(1e4, -2.0 * (double)(c % half) / (double)D);
            table[t * D + c] = (float)(c < half ? sin(angle) : cos(angle));
        }
}

static Tensor *weight(Tape *tape, const ModelContext *context, const char *name, int64_t out) {
    tape_scope(tape, "%s", name);
    Tensor *w = tape_parameter(tape, "weight", SHAPE(context->backbone->width, out),
                               backbone_init(context->backbone), GROUP_DECAY);
    tape_scope_end(tape);
    return w;
}

/* x (B, L, D) -> (B, L, D). */
static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *x) {
    const Shared *shared = context->options;
    const TransformerXl *own = &shared->own;
    const int64_t D = context->backbone->width;
    Tensor *wq = weight(tape, context, "q", D), *wkv = weight(tape, context, "kv", 2 * D);
    Tensor *wr = weight(tape, context, "r", D);
    Tensor *q = linear(tape, x, wq, NULL, NULL, ACTIVATION_NONE);
    Tensor *kv = linear(tape, x, wkv, NULL, NULL, ACTIVATION_NONE), *memory = NULL;
    const RelativeScores relative = {
        .r = linear(tape, shared->distances, wr, NULL, NULL, ACTIVATION_NONE),
        .u = shared->u,
        .v = shared->w};
    Tensor *o;
    if (tape_mode(tape) == TAPE_STEP) {
        const int64_t rows = pattern_cache_rows(&shared->pattern, tape_horizon(tape));
        Tensor *cache = cache_append(tape, "cache", rows, kv, (CacheAppend){.ring = true});
        o = pattern_attention_step(tape, q, cache, tape_position(tape), &relative,
                                   &shared->pattern);
    } else {
        const bool stops = tape_mode(tape) == TAPE_TRAIN && !own->memory_gradient;
        if (stops && own->memory > 0 && extent(x, 1) > own->segment)
            memory = linear(tape, tape_detach(tape, x), wkv, NULL, NULL, ACTIVATION_NONE);
        o = pattern_attention(tape, q, kv, memory, &relative, &shared->pattern);
    }
    return linear(tape, o, weight(tape, context, "out", D), NULL, NULL, ACTIVATION_NONE);
}

static Tensor *prologue(Tape *tape, const ModelContext *context, Tensor *x) {
    const TransformerXl *own = context->options;
    return own->embedding_scale ? scale(tape, x, sqrt((double)context->backbone->width)) : x;
}

static Tensor *stack(Tape *tape, const ModelContext *context, Tensor *x) {
    const Model layers = {.mixer = mixer};
    const int64_t D = context->backbone->width, L = extent(x, 1);
    const bool step = tape_mode(tape) == TAPE_STEP, training = tape_mode(tape) == TAPE_TRAIN;
    Shared shared = {.own = *(const TransformerXl *)context->options};
    const bool other = !training && evaluates_otherwise(&shared.own);
    shared.pattern = pattern_of(context->backbone, &shared.own, training);
    int64_t most = shared.pattern.length + shared.pattern.memory;
    if (most > context->max_length) most = context->max_length;
    const Init start = backbone_init(context->backbone);
    shared.u = tape_parameter(tape, "u", SHAPE(D), start, GROUP_NO_DECAY);
    shared.w = tape_parameter(tape, "w", SHAPE(D), start, GROUP_NO_DECAY);
    const double clamp = other ? (double)shared.own.evaluation_clamp : 0;
    shared.distances =
        tape_parameter(tape, other ? "evaluation_distances" : "distances", SHAPE(most, D),
                       init_fill(fill_distances, clamp, 0), (Group){.frozen = true});
    if (!step && L < most) shared.distances = tape_prefix(tape, shared.distances, L);
    if (!step) shared.distances = backbone_dropout(tape, context->backbone, shared.distances);
    ModelContext inner = *context;
    inner.options = &shared;
    return backbone_blocks(tape, &layers, &inner, x);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const TransformerXl *own = values;
    return backbone_check_heads(backbone, own->heads, PATTERN_WIDEST, error);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    const PatternAttention pattern = pattern_of(backbone, values, false);
    return backbone->layers * pattern_cache_rows(&pattern, length) * 2 * backbone->width;
}

const Model model_transformer_xl = {
    .name = "transformer_xl",
    .title = "Transformer-XL",
    .paper = {.authors = "Dai, Yang, Yang, Carbonell, Le, Salakhutdinov",
              .title = "Transformer-XL: Attentive Language Models beyond a Fixed-Length Context",
              .venue = "ACL",
              .arxiv = "1901.02860",
              .year = 2019},
    .kind = KIND_ATTENTION,
    .note = "memory spans the segments of one sequence, not those of one batch to the next; no "
            "adaptive softmax, no dropout inside the MLP, no mask that lets every query see "
            "equally many keys in tests; gains start at 1, the MLP's second weights smaller by "
            "sqrt(2 layers)",
    .options = {options, sizeof options / sizeof *options, sizeof(TransformerXl)},
    .backbone = "mlp=relu norm_place=post",
    .prologue = prologue,
    .stack = stack,
    .validate = validate,
    .state_floats = state_floats,
};
