/* RetNet (Sun et al. 2023, arXiv 2307.08621, section 2). Linear attention whose weights decay with
 * age, at a rate of its own in every head h = 0 .. H-1:
 *
 *     q, k, v, g = x Wq, x Wk, x Wv, x Wg          q, k rotated (rotary positions)
 *     S_t = gamma_h S_{t-1} + k_t v_t^T            gamma_h = 1 - 2^(-5-h)
 *     o_t = q_t S_t / sqrt(d)                      d channels a head of q and k, 2 d of v
 *     y = (rms_norm(o) silu(g)) Wo                 norm of every head, no biases
 *
 * The norm makes the paper's other factors (of the decays' sums and of the weights) disappear.
 *
 * Parameters of a layer: 8 D^2 + 2 D / H and 4 D^2 + 3 D for an MLP of half the usual width; FLOPs
 * a token: twice that, 8 D d for the state and some 200 D inside chunks of 64 tokens. State: 2 D^2
 * / H floats a layer. */
#include <math.h>

#include "engine/ops/linear_attention/linear_attention.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/rotary/rotary.h"
#include "models/backbone.h"

typedef struct Retnet {
    int64_t heads;
    double expand;
} Retnet;

static const Option options[] = {
    {"heads", OPTION_INTEGER, offsetof(Retnet, heads), "2", 1, 64, NULL, "heads (H)"},
    {"expand", OPTION_REAL, offsetof(Retnet, expand), "2", 0.01, 64, NULL,
     "channels of the values / D, then rounded up to a multiple of the heads"},
};

static LinearAttention attention_of(const Backbone *backbone, const Retnet *own) {
    const int64_t d = backbone->width / own->heads;
    const double values = own->expand * (double)backbone->width / (double)own->heads;
    return (LinearAttention){.heads = own->heads,
                             .groups = own->heads,
                             .key_width = d,
                             .value_width = (int64_t)ceil(values - 1e-6),
                             .feature = FEATURE_IDENTITY,
                             .scale = 1 / sqrt((double)d),
                             .causal = true};
}

static void fill_log_decay(float *log_decay, const Shape *shape, Random *random, double a,
                           double b) {
    (void)random, (void)a, (void)b;
    for (int64_t h = 0; h < shape->extent[0]; h++)
        log_decay[h] = (float)log1p(-exp2(-5 - (double)h));
}

/* Xavier's uniform start with the paper's gain 2^-2.5. */
static Tensor *project(Tape *tape, const char *name, Tensor *x, int64_t out) {
    const double bound = exp2(-2.5) * sqrt(6.0 / (double)(extent(x, -1) + out));
    return backbone_linear(tape, name, x, out, false, init_uniform(bound), NULL);
}

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *x) {
    const Retnet *own = context->options;
    const int64_t D = context->backbone->width, B = extent(x, 0);
    const LinearAttention heads = attention_of(context->backbone, own);
    const int64_t values = heads.heads * heads.value_width;
    const Rotary turns = {.heads = heads.heads, .width = heads.key_width, .theta = 10000};
    Tensor *position = tape_mode(tape) == TAPE_STEP ? tape_position(tape) : NULL, *next;
    Tensor *q = rotary(tape, project(tape, "q", x, D), position, &turns);
    Tensor *k = rotary(tape, project(tape, "k", x, D), position, &turns);
    Tensor *v = project(tape, "v", x, values), *g = project(tape, "gate", x, values);
    const LinearAttentionInputs in = {
        .q = q,
        .k = k,
        .v = v,
        .log_decay = tape_parameter(tape, "log_decay", SHAPE(heads.heads),
                                    init_fill(fill_log_decay, 0, 0), (Group){.frozen = true}),
        .state = tape_carry(tape, "state", SHAPE(B, heads.heads, linear_attention_state(&heads)))};
    Tensor *o = linear_attention(tape, &in, &heads, &next);
    tape_carry_out(tape, "state", next);
    return project(tape, "out",
                   gate(tape, backbone_head_norm(tape, heads.heads, o), g, ACTIVATION_SILU), D);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const Retnet *own = values;
    if (backbone->width % (2 * own->heads) == 0) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "width=%lld in heads=%lld; rotary positions need heads of an even number of "
                     "channels",
                     (long long)backbone->width, (long long)own->heads);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const LinearAttention heads = attention_of(backbone, values);
    return backbone->layers * heads.heads * linear_attention_state(&heads);
}

const Model model_retnet = {
    .name = "retnet",
    .title = "RetNet",
    .paper = {.authors = "Sun, Dong, Huang, Ma, Xia, Xue, Wang, Wei",
              .title = "Retentive Network: A Successor to Transformer for Large Language Models",
              .venue = "arXiv",
              .arxiv = "2307.08621",
              .year = 2023},
    .kind = KIND_RECURRENT,
    .note = "the scaled rotation (xPos) of the keys; a gain in the norm of the heads as later code "
            "has it",
    .options = {options, sizeof options / sizeof *options, sizeof(Retnet)},
    .backbone = "mlp_ratio=2",
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
