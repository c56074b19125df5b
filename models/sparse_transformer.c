/* Sparse Transformer (Child, Gray, Radford and Sutskever 2019, arXiv 1904.10509): attention to some
 * sqrt(L) of the earlier positions, chosen so that two steps reach all of them. With l the stride,
 * section 4.3:
 *
 *     strided:  A1(i) = {i-l+1 .. i}, A2(i) = {j <= i: (i - j) mod l = 0}
 *     fixed:    A1(i) = {j <= i: j / l = i / l}, A2(i) = {j: j / l < i / l, j mod l >= l - c}
 *
 * Heads either see both sets at once (merged), or blocks take them in turns (alternate, strided
 * only). Blocks are pre-norm residual ones, with the hidden x sigmoid(1.702 x) in the MLP
 * (section 5.3):
 *
 *     h = h + attend(norm(h)) Wp + bp,   h = h + gelu(norm(h) W1 + b1) W2 + b2
 *
 * Parameters of a block: 4 D^2 + 2 D (ratio) D. FLOPs a token: twice that + 4 D (|A1| + |A2|), |A1|
 * = l (fixed: l / 2) and |A2| = L / 2 l (fixed: c L / 2 l). State: keys and values of all tokens, 2
 * D floats a token and block; of l tokens in blocks that are local only. */
#include <math.h>

#include "engine/ops/positions/positions.h"
#include "models/backbone.h"
#include "models/pattern_parts.h"

typedef enum SparsePattern { SPARSE_FIXED, SPARSE_STRIDED } SparsePattern;
typedef enum SparseFactors { FACTORS_MERGED, FACTORS_ALTERNATE } SparseFactors;

typedef struct SparseTransformer {
    int64_t heads, stride, summaries, kinds;
    int pattern, factors;
} SparseTransformer;

static const Option options[] = {
    {"heads", OPTION_INTEGER, offsetof(SparseTransformer, heads), "4", 1, 4096, NULL,
     "attention heads (H)"},
    {"pattern", OPTION_CHOICE, offsetof(SparseTransformer, pattern), "fixed", 0, -1,
     "fixed|strided", "which earlier positions are seen"},
    {"factors", OPTION_CHOICE, offsetof(SparseTransformer, factors), "merged", 0, -1,
     "merged|alternate", "both sets in one softmax, or local and strided blocks in turns"},
    {"pattern_stride", OPTION_INTEGER, offsetof(SparseTransformer, stride), "32", 1, 1 << 24, NULL,
     "length of a segment or window (l), near sqrt(L)"},
    {"summaries", OPTION_INTEGER, offsetof(SparseTransformer, summaries), "8", 1, 1 << 24, NULL,
     "fixed: positions of an earlier segment that are seen (c)"},
    {"kinds", OPTION_INTEGER, offsetof(SparseTransformer, kinds), "1", 1, 4096, NULL,
     "fixed: sets of summaries that heads share out, from the end of the segment"},
};

static PatternAttention pattern_of(const Backbone *backbone, const SparseTransformer *own,
                                   int64_t layer) {
    PatternAttention pattern = {.heads = own->heads,
                                .width = backbone->width / own->heads,
                                .pattern = PATTERN_FIXED,
                                .length = own->stride,
                                .summaries = own->summaries,
                                .kinds = own->kinds};
    if (own->pattern == SPARSE_STRIDED)
        pattern.pattern = own->factors == FACTORS_MERGED ? PATTERN_LOCAL_STRIDED
                          : layer % 2                    ? PATTERN_STRIDED
                                                         : PATTERN_LOCAL;
    return pattern;
}

static Tensor *prologue(Tape *tape, const ModelContext *context, Tensor *x) {
    const Shape shape = SHAPE(context->max_length, context->backbone->width);
    Tensor *position = tape_mode(tape) == TAPE_STEP ? tape_position(tape) : NULL;
    Tensor *table = tape_parameter(tape, "positions", shape, init_normal(0.01), GROUP_DECAY);
    return positions(tape, x, table, position);
}

/* The published start, smaller by the number of blocks. */
static Init out_init(const Backbone *backbone) {
    return init_normal(backbone_init(backbone).b / (double)backbone->layers);
}

/* x (B, L, D) -> (B, L, D). */
static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *x) {
    const int64_t D = context->backbone->width;
    const PatternAttention pattern =
        pattern_of(context->backbone, context->options, context->layer);
    Tensor *qkv =
        backbone_linear(tape, "qkv", x, 3 * D, true, backbone_init(context->backbone), NULL);
    Tensor *o = pattern_attend(tape, qkv, NULL, &pattern);
    return backbone_linear(tape, "out", o, D, true, out_init(context->backbone), NULL);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const SparseTransformer *own = values;
    if (backbone_check_heads(backbone, own->heads, PATTERN_WIDEST, error) != STATUS_OK)
        return error->status;
    if (own->pattern == SPARSE_FIXED && own->factors == FACTORS_ALTERNATE)
        return error_set(
            error, STATUS_USAGE,
            "pattern=fixed needs factors=merged; a block with summaries alone would show "
            "nothing to the first segment");
    if (own->pattern == SPARSE_FIXED && own->summaries * own->kinds > own->stride)
        return error_set(
            error, STATUS_USAGE,
            "summaries=%lld in kinds=%lld are more than pattern_stride=%lld positions; use at "
            "most %lld summaries",
            (long long)own->summaries, (long long)own->kinds, (long long)own->stride,
            (long long)(own->stride / own->kinds));
    return STATUS_OK;
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    int64_t floats = 0;
    for (int64_t layer = 0; layer < backbone->layers; layer++) {
        const PatternAttention pattern = pattern_of(backbone, values, layer);
        floats += pattern_cache_rows(&pattern, length) * 2 * backbone->width;
    }
    return floats;
}

const Model model_sparse_transformer = {
    .name = "sparse_transformer",
    .title = "Sparse Transformer",
    .paper = {.authors = "Child, Gray, Radford, Sutskever",
              .title = "Generating Long Sequences with Sparse Transformers",
              .venue = "arXiv",
              .arxiv = "1904.10509",
              .year = 2019},
    .kind = KIND_ATTENTION,
    .note = "positions by one learned table, as in the authors' example, not by row and column; a "
            "window "
            "has l keys as in the authors' code (the paper: l + 1); recomputation by "
            "recompute=yes; the "
            "MLP's second weights start smaller by sqrt(2 layers)",
    .options = {options, sizeof options / sizeof *options, sizeof(SparseTransformer)},
    .backbone = "mlp=gelu_sigmoid",
    .prologue = prologue,
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
