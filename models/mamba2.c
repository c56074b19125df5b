/* Mamba-2 (Dao and Gu 2024, arXiv 2405.21060, sections 5 to 7 and figure 6). Mamba's block with one
 * decay a head instead of one a channel and state, so that the state space is linear attention in
 * chunks. With E = expand D channels in heads of P, N states:
 *
 *     z = in_z(u);  C, B, x = silu(convolution(in_CBx(u)));  dt = softplus(in_dt(u) + bias)
 *     S <- exp(dt A) S + dt B x^T;  y = C S + skip x         A = -exp(A_log), head by head
 *     out(rms_norm(y silu(z)))                               the norm over all E channels
 *
 * C and B are shared by all heads. The released code's one in_proj is three parameters here.
 *
 * Parameters of a layer: 3 D E + D (2 N + H) + (E + 2 N) (K + 1) + E + 3 H with H = E / P; FLOPs a
 * token: twice the products, 4 N E for the state and 65 (N H + E) inside chunks of 64 tokens.
 * State: E N + (K - 1) (E + 2 N) floats a layer. */
#include "engine/ops/linear_attention/linear_attention.h"
#include "engine/ops/norm/norm.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/short_convolution/short_convolution.h"
#include "models/mamba_parts.h"

typedef struct Mamba2 {
    int64_t state, convolution, expand, head_width;
    double dt_min, dt_max;
} Mamba2;

static const Option options[] = {
    {"state", OPTION_INTEGER, offsetof(Mamba2, state), "128", 1, 1024, NULL,
     "states of a channel (N)"},
    {"convolution", OPTION_INTEGER, offsetof(Mamba2, convolution), "4", 2, SHORT_CONVOLUTION_TAPS,
     NULL, "taps of the short convolution (K)"},
    {"expand", OPTION_INTEGER, offsetof(Mamba2, expand), "2", 1, 64, NULL,
     "inner channels / D (E / D)"},
    {"head_width", OPTION_INTEGER, offsetof(Mamba2, head_width), "0", 0, 65536, NULL,
     "channels of a head (P); 0: 64, or the next smaller number that divides E"},
    {"dt_min", OPTION_REAL, offsetof(Mamba2, dt_min), "0.001", 1e-8, 1e3, NULL,
     "smallest initial step size"},
    {"dt_max", OPTION_REAL, offsetof(Mamba2, dt_max), "0.1", 1e-8, 1e3, NULL,
     "largest initial step size"},
};

static LinearAttention heads_of(const Backbone *backbone, const Mamba2 *own) {
    const int64_t E = own->expand * backbone->width;
    int64_t P = own->head_width ? own->head_width : 64;
    while (!own->head_width && E % P) P--;
    return (LinearAttention){.heads = E / P,
                             .groups = 1,
                             .key_width = own->state,
                             .value_width = P,
                             .feature = FEATURE_IDENTITY,
                             .scale = 1,
                             .causal = true};
}

/* u (B, L, D), CBx (B, L, 2 N + E) -> (B, L, E): the state space. */
static Tensor *scan(Tape *tape, const ModelContext *context, Tensor *u, Tensor *CBx) {
    const Mamba2 *own = context->options;
    const LinearAttention heads = heads_of(context->backbone, own);
    const int64_t B = extent(u, 0), D = extent(u, 2), H = heads.heads;
    Tensor *dt = mamba_steps(tape, u, fan_in(D), H, own->dt_min, own->dt_max);
    const LinearAttentionInputs in = {
        .q = CBx,
        .log_decay = mamba_log_decay(tape, dt, 1, 16),
        .gain = dt,
        .skip = tape_parameter(tape, "D", SHAPE(H), init_constant(1), GROUP_NO_DECAY),
        .state = tape_carry(tape, "state", SHAPE(B, H, linear_attention_state(&heads)))};
    Tensor *next;
    Tensor *y = linear_attention(tape, &in, &heads, &next);
    tape_carry_out(tape, "state", next);
    return y;
}

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    const Mamba2 *own = context->options;
    const Backbone *backbone = context->backbone;
    const int64_t D = backbone->width, E = own->expand * D;
    Tensor *z = backbone_linear(tape, "in_z", u, E, false, fan_in(D), NULL);
    Tensor *CBx = backbone_linear(tape, "in_CBx", u, 2 * own->state + E, false, fan_in(D), NULL);
    Tensor *y = scan(tape, context, u,
                     mamba_convolution(tape, CBx, own->convolution, true, ACTIVATION_SILU));
    tape_scope(tape, "norm");
    Tensor *gamma = tape_parameter(tape, "gamma", SHAPE(E), init_constant(1), GROUP_NO_DECAY);
    tape_scope_end(tape);
    y = rms_norm(tape, gate(tape, y, z, ACTIVATION_SILU), gamma, 1e-5);
    /* One branch a block adds to the residual stream: divided by sqrt(layers), as released. */
    const Init init = init_uniform(1 / sqrt((double)(E * backbone->layers)));
    return backbone_linear(tape, "out", y, D, false, init, NULL);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const Mamba2 *own = values;
    if (own->head_width && own->expand * backbone->width % own->head_width)
        return error_set(error, STATUS_USAGE,
                         "head_width=%lld does not divide the %lld inner channels (expand x "
                         "width); head_width=0 finds one that does",
                         (long long)own->head_width, (long long)(own->expand * backbone->width));
    return mamba_check_steps(own->dt_min, own->dt_max, error);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const Mamba2 *own = values;
    const int64_t E = own->expand * backbone->width, N = own->state;
    return backbone->layers * (E * N + (own->convolution - 1) * (E + 2 * N));
}

const Model model_mamba2 = {
    .name = "mamba2",
    .title = "Mamba-2",
    .paper = {.authors = "Dao, Gu",
              .title = "Transformers are SSMs: Generalized Models and Efficient Algorithms Through "
                       "Structured State Space Duality",
              .venue = "ICML",
              .arxiv = "2405.21060",
              .year = 2024},
    .kind = KIND_STATE_SPACE,
    .note = "several groups of B and C; skips of single channels; the MLP beside the state space",
    .options = {options, sizeof options / sizeof *options, sizeof(Mamba2)},
    .backbone = "mlp=none norm=rms",
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
