/* Linear attention (Katharopoulos et al. 2020, arXiv 2006.16236, section 3). Softmax attention with
 * its exponential replaced by an inner product of features is a recurrence over one matrix a head:
 *
 *     q, k, v = x Wq + bq, x Wk + bk, x Wv + bv                  (one product: qkv)
 *     S_t = S_{t-1} + phi(k_t) v_t^T,  z_t = z_{t-1} + phi(k_t)  phi(x) = elu(x) + 1
 *     o_t = phi(q_t) S_t / (phi(q_t) z_t + epsilon)              epsilon = 10^-6, no 1 / sqrt(d)
 *     y = o Wo + bo
 *
 * Bidirectional: S and z of the whole sequence, without its padding.
 *
 * The paper: positions=sinusoidal norm_place=post heads of 32 channels. Without the denominator, as
 * the baseline of Sun et al. 2024 (arXiv 2407.04620): feature=identity normalise=no out_norm=layer.
 *
 * Parameters of a layer: 4 D^2 + 4 D; FLOPs a token: twice that, 4 D d for the state (heads of d
 * channels) and 130 D inside chunks of 64 tokens. State: H (d^2 + d) floats a layer. */

#include "engine/ops/linear_attention/linear_attention.h"
#include "models/backbone.h"

typedef enum Positions { POSITIONS_LEARNED, POSITIONS_SINUSOIDAL, POSITIONS_NONE } Positions;

typedef enum OutNorm { OUT_NORM_NONE, OUT_NORM_LAYER, OUT_NORM_RMS } OutNorm;

typedef struct Options {
    int64_t heads;
    int feature, positions, out_norm;
    bool normalise, bias;
    double epsilon;
} Options;

static const Option options[] = {
    {"heads", OPTION_INTEGER, offsetof(Options, heads), "1", 1, 4096, NULL, "heads (H)"},
    {"feature", OPTION_CHOICE, offsetof(Options, feature), "elu1", 0, -1, "identity|elu1|relu",
     "map of queries and keys (phi): x, elu(x) + 1, max(x, 0)"},
    {"normalise", OPTION_SWITCH, offsetof(Options, normalise), "yes", 0, -1, NULL,
     "divide by the sum of all weights"},
    {"sum_epsilon", OPTION_REAL, offsetof(Options, epsilon), "1e-6", 0, 1, NULL,
     "added to that sum"},
    {"out_norm", OPTION_CHOICE, offsetof(Options, out_norm), "none", 0, -1, "none|layer|rms",
     "norm of every head's result"},
    {"positions", OPTION_CHOICE, offsetof(Options, positions), "learned", 0, -1,
     "learned|sinusoidal|none", "how the model knows where a token stands"},
    {"bias", OPTION_SWITCH, offsetof(Options, bias), "yes", 0, -1, NULL,
     "biases in the projections"},
};

static LinearAttention attention_of(const ModelContext *context) {
    const Options *own = context->options;
    const int64_t width = context->backbone->width / own->heads;
    return (LinearAttention){.heads = own->heads,
                             .groups = own->heads,
                             .key_width = width,
                             .value_width = width,
                             .feature = (FeatureMap)own->feature,
                             .scale = 1,
                             .normalise = own->normalise,
                             .epsilon = own->epsilon,
                             .causal = context->causal};
}

static Tensor *prologue(Tape *tape, const ModelContext *context, Tensor *x) {
    const Options *own = context->options;
    if (own->positions == POSITIONS_NONE) return x;
    return backbone_positions(tape, context, own->positions == POSITIONS_LEARNED, x);
}

/* o (B, L, D): every head by itself, with gains that the heads share. */
static Tensor *norm_heads(Tape *tape, const ModelContext *context, int64_t heads, Tensor *o) {
    const Options *own = context->options;
    if (own->out_norm == OUT_NORM_NONE) return o;
    Backbone shared = *context->backbone;
    shared.norm = own->out_norm == OUT_NORM_RMS ? NORM_RMS : NORM_LAYER;
    const Shape shape = o->shape;
    const Shape by_head = SHAPE(extent(o, 0), extent(o, 1) * heads, extent(o, 2) / heads);
    o = backbone_norm(tape, &shared, "out_norm", tape_reshape(tape, o, by_head));
    return tape_reshape(tape, o, shape);
}

/* x (B, L, D) -> (B, L, D). */
static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *x) {
    const Options *own = context->options;
    const Backbone *backbone = context->backbone;
    const LinearAttention heads = attention_of(context);
    Tensor *qkv = backbone_linear(tape, "qkv", x, 3 * backbone->width, own->bias,
                                  backbone_init(backbone), NULL);
    const Shape shape = SHAPE(extent(x, 0), heads.heads, linear_attention_state(&heads));
    const LinearAttentionInputs in = {.q = qkv,
                                      .lengths = context->causal ? NULL : context->lengths,
                                      .state = tape_carry(tape, "state", shape)};
    Tensor *next;
    Tensor *o = linear_attention(tape, &in, &heads, &next);
    tape_carry_out(tape, "state", next);
    o = norm_heads(tape, context, own->heads, o);
    return backbone_linear(tape, "out", o, backbone->width, own->bias,
                           backbone_residual_init(backbone), NULL);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const Options *own = values;
    if (backbone->width % own->heads)
        return error_set(error, STATUS_USAGE,
                         "heads=%lld does not divide width=%lld; every head has the same width",
                         (long long)own->heads, (long long)backbone->width);
    if (own->normalise && own->feature == 0)
        return error_set(error, STATUS_USAGE,
                         "feature=identity gives weights of both signs, whose sum may be zero: add "
                         "normalise=no out_norm=layer, or take feature=elu1");
    return STATUS_OK;
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const LinearAttention heads =
        attention_of(&(ModelContext){.backbone = backbone, .options = values});
    return backbone->layers * heads.heads * linear_attention_state(&heads);
}

const Model model_linear_attention = {
    .name = "linear_attention",
    .title = "Linear attention",
    .paper = {.authors = "Katharopoulos, Vyas, Pappas, Fleuret",
              .title = "Transformers are RNNs: Fast Autoregressive Transformers with Linear "
                       "Attention",
              .venue = "ICML",
              .arxiv = "2006.16236",
              .year = 2020},
    .kind = KIND_ATTENTION,
    .note = "projections and MLP start as GPT-2's and the MLP has GELU, like the Transformer that "
            "it is compared with; no cross-attention, no rotary positions",
    .options = {options, sizeof options / sizeof *options, sizeof(Options)},
    .backbone = "",
    .bidirectional = true,
    .prologue = prologue,
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
