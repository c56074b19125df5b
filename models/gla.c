/* GLA, gated linear attention (Yang et al. 2024, arXiv 2312.06635, section 4). Linear attention
 * that forgets each channel of its keys at a rate that the token chooses; in every head
 *
 *     q, k, v, r = x Wq, x Wk, x Wv, x Wr
 *     a = sigmoid((x W1) W2 + b)^(1/16)                        W1 to 16 numbers, tau = 16
 *     S_t = diag(a_t) S_{t-1} + k_t v_t^T;  o_t = q_t S_t / sqrt(d)
 *     y = (rms_norm(o) silu(r)) Wo                             norm of every head
 *
 * The root keeps a near one: at the start, where the sigmoid is 1/2, a token's half-life is 16
 * tokens. d = D / (2 H) channels a head of q and k, D / H of v.
 *
 * Parameters of a layer: 4 D^2 + 24 D + D / 2 + D / H, and 8 D^2 + 2 D for the MLP and the norms;
 * FLOPs a token: twice that, 2 D^2 / H for the state and some 100 D inside chunks of 64 tokens.
 * State: D^2 / (2 H) floats a layer. */
#include <math.h>

#include "engine/ops/gated_linear_attention/gated_linear_attention.h"
#include "engine/ops/pointwise/pointwise.h"
#include "models/backbone.h"

typedef struct Gla {
    int64_t heads, rank;
    double expand_k, expand_v, temperature;
} Gla;

static const Option options[] = {
    {"heads", OPTION_INTEGER, offsetof(Gla, heads), "4", 1, 1024, NULL, "heads (H)"},
    {"expand_k", OPTION_REAL, offsetof(Gla, expand_k), "0.5", 0.01, 64, NULL,
     "channels of queries and keys / D, then rounded up to a multiple of the heads"},
    {"expand_v", OPTION_REAL, offsetof(Gla, expand_v), "1", 0.01, 64, NULL,
     "channels of the values / D, then rounded up to a multiple of the heads"},
    {"gate_rank", OPTION_INTEGER, offsetof(Gla, rank), "16", 1, 65536, NULL,
     "rank of the map to the decays"},
    {"temperature", OPTION_REAL, offsetof(Gla, temperature), "16", 0.01, 1e6, NULL,
     "root that the decays' sigmoid takes (tau); larger ones remember longer"},
};

/* Channels of all heads together. */
static int64_t channels(const Backbone *backbone, const Gla *own, double expand) {
    const double head = expand * (double)backbone->width / (double)own->heads;
    return own->heads * (int64_t)ceil(head - 1e-6);
}

/* log a, from log sigmoid(z) = -softplus(-z). */
static Tensor *log_decay(Tape *tape, const ModelContext *context, Tensor *x, int64_t keys) {
    const Gla *own = context->options;
    const Init init = backbone_init(context->backbone);
    Tensor *low = backbone_linear(tape, "decay_down", x, own->rank, false, init, NULL);
    Tensor *z = backbone_linear(tape, "decay_up", low, keys, true, init, NULL);
    Tensor *y = activate(tape, scale(tape, z, -1), ACTIVATION_SOFTPLUS);
    return scale(tape, y, -1 / own->temperature);
}

/* x (B, L, D) -> (B, L, D). */
static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *x) {
    const Gla *own = context->options;
    const Backbone *backbone = context->backbone;
    const int64_t H = own->heads, keys = channels(backbone, own, own->expand_k);
    const int64_t values = channels(backbone, own, own->expand_v);
    const Init init = backbone_init(backbone);
    const Shape state = SHAPE(extent(x, 0), H, keys / H * (values / H));
    const GatedLinearAttentionInputs in = {
        .q = backbone_linear(tape, "q", x, keys, false, init, NULL),
        .k = backbone_linear(tape, "k", x, keys, false, init, NULL),
        .v = backbone_linear(tape, "v", x, values, false, init, NULL),
        .log_decay = log_decay(tape, context, x, keys),
        .state = tape_carry(tape, "state", state)};
    Tensor *r = backbone_linear(tape, "gate", x, values, false, init, NULL), *next;
    const double d = (double)(keys / H);
    Tensor *o = gated_linear_attention(tape, &in, &(GatedLinearAttention){H, 1 / sqrt(d)}, &next);
    tape_carry_out(tape, "state", next);
    o = gate(tape, backbone_head_norm(tape, H, o), r, ACTIVATION_SILU);
    return backbone_linear(tape, "out", o, backbone->width, false, backbone_residual_init(backbone),
                           NULL);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const Gla *own = values;
    return backbone->layers * channels(backbone, own, own->expand_k) *
           channels(backbone, own, own->expand_v) / own->heads;
}

const Model model_gla = {
    .name = "gla",
    .title = "GLA",
    .paper = {.authors = "Yang, Wang, Shen, Panda, Kim",
              .title = "Gated Linear Attention Transformers with Hardware-Efficient Training",
              .venue = "ICML",
              .arxiv = "2312.06635",
              .year = 2024},
    .kind = KIND_RECURRENT,
    .note = "projections start as GPT-2's, which the released code has as an option; its short "
            "convolution, feature maps, shared key heads and clamped decays",
    .options = {options, sizeof options / sizeof *options, sizeof(Gla)},
    .backbone = "mlp=swiglu mlp_ratio=2.6667 norm=rms",
    .mixer = mixer,
    .state_floats = state_floats,
};
