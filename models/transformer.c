/* Transformer. Decoder or encoder, by the task.
 *
 *     q, k, v = x Wq + bq, x Wk + bk, x Wv + bv          (one product: qkv)
 *     o_i = sum_j softmax_j(q_i . k_j / sqrt(d)) v_j     head by head, j <= i when causal
 *     y = o Wo + bo
 *
 * GPT-2:  norm=layer mlp=gelu_tanh positions=learned (nanoGPT and Zoology: mlp=gelu)
 * Llama:  norm=rms mlp=swiglu mlp_ratio=2.6667 positions=rotary bias=no, kv_heads for grouped heads
 * MQAR as in Zoology (Arora et al. 2023, figure 2): mlp=identity heads=1 positions=learned
 *
 * Parameters of a block: 4 D^2 + 2 D (ratio) D; FLOPs a token: twice that + 2 L D causal. State:
 * keys and values of all tokens seen, 2 Hk d floats a token and layer. */

#include "engine/ops/attention/attention.h"
#include "engine/ops/cache_append/cache_append.h"
#include "engine/ops/rotary/rotary.h"
#include "models/backbone.h"

typedef enum Positions {
    POSITIONS_LEARNED,
    POSITIONS_ROTARY,
    POSITIONS_SINUSOIDAL,
    POSITIONS_NONE
} Positions;

typedef struct Transformer {
    int64_t heads, kv_heads, qkv_width;
    int positions;
    double rotary_theta;
    bool rotary_interleaved;
    bool bias;
    double attention_dropout;
} Transformer;

static const Option options[] = {
    {"heads", OPTION_INTEGER, offsetof(Transformer, heads), "1", 1, 4096, NULL,
     "attention heads (H)"},
    {"kv_heads", OPTION_INTEGER, offsetof(Transformer, kv_heads), "0", 0, 4096, NULL,
     "heads of keys and values, shared by groups of query heads; 0: as many as heads"},
    {"qkv_width", OPTION_INTEGER, offsetof(Transformer, qkv_width), "0", 0, 65536, NULL,
     "channels of all query heads together; 0: the width"},
    {"positions", OPTION_CHOICE, offsetof(Transformer, positions), "learned", 0, -1,
     "learned|rotary|sinusoidal|none", "how the model knows where a token stands"},
    {"rotary_theta", OPTION_REAL, offsetof(Transformer, rotary_theta), "10000", 1, 1e9, NULL,
     "base of the rotary frequencies"},
    {"rotary_interleaved", OPTION_SWITCH, offsetof(Transformer, rotary_interleaved), "no", 0, -1,
     NULL, "rotate channels (2i, 2i+1) instead of (i, i + d/2)"},
    {"bias", OPTION_SWITCH, offsetof(Transformer, bias), "yes", 0, -1, NULL,
     "biases in the projections of attention"},
    {"attention_dropout", OPTION_REAL, offsetof(Transformer, attention_dropout), "0", 0, 0.99, NULL,
     "probability of dropping an attention weight"},
};

static Attention attention_of(const ModelContext *context) {
    const Transformer *own = context->options;
    const int64_t width = own->qkv_width ? own->qkv_width : context->backbone->width;
    return (Attention){.heads = own->heads,
                       .kv_heads = own->kv_heads ? own->kv_heads : own->heads,
                       .width = width / own->heads,
                       .causal = context->causal,
                       .dropout = own->attention_dropout};
}

static Tensor *prologue(Tape *tape, const ModelContext *context, Tensor *x) {
    const Transformer *own = context->options;
    if (own->positions != POSITIONS_LEARNED && own->positions != POSITIONS_SINUSOIDAL) return x;
    return backbone_positions(tape, context, own->positions == POSITIONS_LEARNED, x);
}

/* x (B, L, D) -> (B, L, D). */
static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *x) {
    const Transformer *own = context->options;
    const Attention heads = attention_of(context);
    const int64_t kv_width = heads.kv_heads * heads.width, q_width = heads.heads * heads.width;
    const bool step = tape_mode(tape) == TAPE_STEP;
    Tensor *position = step ? tape_position(tape) : NULL;

    Tensor *qkv = backbone_linear(tape, "qkv", x, q_width + 2 * kv_width, own->bias,
                                  backbone_init(context->backbone), NULL);
    if (own->positions == POSITIONS_ROTARY)
        qkv = rotary(tape, qkv, position,
                     &(Rotary){.heads = heads.heads + heads.kv_heads,
                               .width = heads.width,
                               .theta = own->rotary_theta,
                               .interleaved = own->rotary_interleaved});
    Tensor *o;
    if (step) { /* keys are cached rotated */
        Tensor *cache =
            cache_append(tape, "cache", tape_horizon(tape), qkv, (CacheAppend){.column = q_width});
        o = attention_step(tape, qkv, cache, position, &heads);
    } else {
        o = attention_packed(tape, qkv, context->causal ? NULL : context->lengths, &heads);
    }
    return backbone_linear(tape, "out", o, context->backbone->width, own->bias,
                           backbone_residual_init(context->backbone), NULL);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const Transformer *own = values;
    const int64_t width = own->qkv_width ? own->qkv_width : backbone->width;
    if (width % own->heads)
        return error_set(error, STATUS_USAGE,
                         "heads=%lld does not divide %s=%lld; every head has the same width",
                         (long long)own->heads, own->qkv_width ? "qkv_width" : "width",
                         (long long)width);
    if (own->kv_heads && own->heads % own->kv_heads)
        return error_set(
            error, STATUS_USAGE,
            "kv_heads=%lld does not divide heads=%lld; each key head serves a group of "
            "query heads",
            (long long)own->kv_heads, (long long)own->heads);
    if (own->positions == POSITIONS_ROTARY && width / own->heads % 2)
        return error_set(error, STATUS_USAGE,
                         "positions=rotary needs heads of even width, but %lld channels in %lld "
                         "heads make %lld each",
                         (long long)width, (long long)own->heads, (long long)(width / own->heads));
    return STATUS_OK;
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    const Attention heads = attention_of(&(ModelContext){.backbone = backbone, .options = values});
    return backbone->layers * length * 2 * heads.kv_heads * heads.width;
}

const Model model_transformer = {
    .name = "transformer",
    .title = "Transformer",
    .paper = {.authors = "Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser, Polosukhin",
              .title = "Attention Is All You Need",
              .venue = "NeurIPS",
              .arxiv = "1706.03762",
              .year = 2017},
    .kind = KIND_ATTENTION,
    .note = "decoder-only or encoder-only; no cross-attention between two stacks",
    .options = {options, sizeof options / sizeof *options, sizeof(Transformer)},
    .backbone = "",
    .bidirectional = true,
    .prologue = prologue,
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
