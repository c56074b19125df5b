/* Mamba: a gated block around a short convolution and a selective state space (Gu and Dao 2023,
 * arXiv 2312.00752, section 3.4 and figure 3). With E = expand D channels, N states a channel:
 *
 *     x, z = in_x(u), in_z(u);  x = silu(convolution(x))
 *     raw = dt(x_dt(x));  B, C = x_B(x), x_C(x)                        token by token
 *     delta = softplus(raw + bias)
 *     s <- exp(delta A) s + delta x B;  y = C s + D x                  A = -exp(A_log)
 *     out(y silu(z))
 *
 * The released code's in_proj and x_proj are two and three parameters here, as their outputs go
 * different ways; nothing else changes.
 *
 * Its table 1 puts other layers into this block, and this layer, S6, into other blocks. y =
 * layer(x) is by option
 *
 *     layer=s6      what stands above
 *     layer=s4d     K * x + skip x, K of N real states, those of H3 (models/diagonal.h)
 *     layer=hyena   h * x + skip x, h the default of Hyena's filters (models/hyena_filter.h)
 *
 * and the block
 *
 *     block=mamba   what stands above
 *     block=h3      q, k, v = in_q(u), in_k(u), in_v(u);  out(q layer(convolution(k) v))
 *     block=none    out(gelu(layer(u))): S4's block without its gate, E = D
 *
 * The paper does not give the sizes of these. H3's own shift of 64 taps is a convolution of K here,
 * as in the paper's figure 3; models/h3.c has it.
 *
 * Parameters of a layer: 3 D E + E (2 R + 2 N) + E N + E (K + 3), some 6 D^2; FLOPs a token: twice
 * the products and 6 E N + E N exponentials for the scan. State: E (N + K - 1) floats a layer. */
#include <math.h>

#include "engine/ops/long_convolution/long_convolution.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/selective_scan/selective_scan.h"
#include "engine/ops/short_convolution/short_convolution.h"
#include "models/diagonal.h"
#include "models/hyena_filter.h"
#include "models/mamba_parts.h"

typedef enum Block { BLOCK_MAMBA, BLOCK_H3, BLOCK_NONE } Block;
typedef enum Layer { LAYER_S6, LAYER_S4D, LAYER_HYENA } Layer;

typedef struct Mamba {
    int block, layer;
    int64_t state, convolution, expand, dt_rank;
    double dt_min, dt_max;
} Mamba;

static const Option options[] = {
    {"block", OPTION_CHOICE, offsetof(Mamba, block), "mamba", 0, -1, "mamba|h3|none",
     "what is around the sequence layer: Mamba's block, H3's, or S4's without its gate"},
    {"layer", OPTION_CHOICE, offsetof(Mamba, layer), "s6", 0, -1, "s6|s4d|hyena",
     "the sequence layer: selective states, states that do not depend on tokens, a long filter"},
    {"state", OPTION_INTEGER, offsetof(Mamba, state), "16", 1, 1024, NULL,
     "states of a channel (N)"},
    {"convolution", OPTION_INTEGER, offsetof(Mamba, convolution), "4", 2, SHORT_CONVOLUTION_TAPS,
     NULL, "taps of the short convolution (K)"},
    {"expand", OPTION_INTEGER, offsetof(Mamba, expand), "2", 1, 64, NULL,
     "inner channels / D (E / D)"},
    {"dt_rank", OPTION_INTEGER, offsetof(Mamba, dt_rank), "0", 0, 65536, NULL,
     "rank of the step size's projection (R); 0: D / 16, rounded up"},
    {"dt_min", OPTION_REAL, offsetof(Mamba, dt_min), "0.001", 1e-8, 1e3, NULL,
     "smallest initial step size"},
    {"dt_max", OPTION_REAL, offsetof(Mamba, dt_max), "0.1", 1e-8, 1e3, NULL,
     "largest initial step size"},
};

/* A = -1, -2, .., -N in every channel (S4D-Real; Gu, Gupta, Goel and Re 2022, arXiv 2206.11893). */
static void fill_A_log(float *A_log, const Shape *shape, Random *random, double a, double b) {
    (void)random, (void)a, (void)b;
    const int64_t N = shape->extent[1];
    for (int64_t i = 0; i < shape->extent[0] * N; i++) A_log[i] = (float)log((double)(i % N + 1));
}

static int64_t inner_width(const Backbone *backbone, const Mamba *own) {
    return own->block == BLOCK_NONE ? backbone->width : own->expand * backbone->width;
}

/* ---- layers: x (B, L, E) -> (B, L, E), times silu(z) where z is not NULL ---- */

static Tensor *selective(Tape *tape, const ModelContext *context, Tensor *x, Tensor *z) {
    const Mamba *own = context->options;
    const int64_t B = extent(x, 0), E = extent(x, 2), N = own->state;
    const int64_t R = own->dt_rank ? own->dt_rank : (context->backbone->width + 15) / 16;
    SelectiveScan in = {.u = x, .z = z};
    Tensor *steps = backbone_linear(tape, "x_dt", x, R, false, fan_in(E), NULL);
    in.B = backbone_linear(tape, "x_B", x, N, false, fan_in(E), NULL);
    in.C = backbone_linear(tape, "x_C", x, N, false, fan_in(E), NULL);
    in.raw = backbone_linear(tape, "dt", steps, E, false, fan_in(R), NULL);
    in.bias = mamba_step_bias(tape, E, own->dt_min, own->dt_max);
    in.A_log =
        tape_parameter(tape, "A_log", SHAPE(E, N), init_fill(fill_A_log, 0, 0), GROUP_NO_DECAY);
    in.D = tape_parameter(tape, "D", SHAPE(E), init_constant(1), GROUP_NO_DECAY);
    in.state = tape_carry(tape, "state", SHAPE(B, E, N));
    Tensor *next;
    Tensor *y = selective_scan(tape, &in, &next);
    tape_carry_out(tape, "state", next);
    return y;
}

static Tensor *gated(Tape *tape, Tensor *y, Tensor *z) {
    return z ? gate(tape, y, z, ACTIVATION_SILU) : y;
}

static Tensor *diagonal(Tape *tape, const ModelContext *context, Tensor *x, Tensor *z) {
    static const DiagonalForm form = {.discretisation = DISCRETISATION_BILINEAR};
    const Mamba *own = context->options;
    const StateSpace start = {.dt_min = own->dt_min, .dt_max = own->dt_max, .state_lr = 0.001};
    const int64_t E = extent(x, 2);
    const DiagonalParameters modes = diagonal_trained(tape, &start, E, own->state / 2);
    Tensor *skip = state_space_skip(tape, E);
    if (tape_mode(tape) == TAPE_STEP)
        return gated(tape, diagonal_token(tape, diagonal_modes(tape, modes, form), x, skip), z);
    return gated(tape, diagonal_convolution(tape, modes, form, NULL, x, skip), z);
}

static Tensor *filtered(Tape *tape, const ModelContext *context, Tensor *x, Tensor *z) {
    const HyenaFilter filter = hyena_filter_default();
    return gated(tape, hyena_convolution(tape, context, &filter, x, NULL, NULL), z);
}

static int64_t own_states(const Mamba *own, int64_t length) {
    (void)length;
    return own->state;
}
static int64_t filter_states(const Mamba *own, int64_t length) {
    (void)own;
    const HyenaFilter filter = hyena_filter_default();
    return hyena_filter_state(&filter, length);
}

static const struct {
    Tensor *(*record)(Tape *tape, const ModelContext *context, Tensor *x, Tensor *z);
    int64_t (*state)(const Mamba *own, int64_t length); /* floats of a channel */
} layers[] = {[LAYER_S6] = {selective, own_states},
              [LAYER_S4D] = {diagonal, own_states},
              [LAYER_HYENA] = {filtered, filter_states}};

static Tensor *layer(Tape *tape, const ModelContext *context, Tensor *x, Tensor *z) {
    return layers[((const Mamba *)context->options)->layer].record(tape, context, x, z);
}

/* ---- blocks: u (B, L, D) -> (B, L, E) in front of the output ---- */

static Tensor *input(Tape *tape, const char *name, Tensor *u, int64_t E) {
    return backbone_linear(tape, name, u, E, false, fan_in(extent(u, 2)), NULL);
}

static Tensor *mamba_block(Tape *tape, const ModelContext *context, Tensor *u) {
    const Mamba *own = context->options;
    const int64_t E = inner_width(context->backbone, own);
    Tensor *x = input(tape, "in_x", u, E), *z = input(tape, "in_z", u, E);
    return layer(tape, context, mamba_convolution(tape, x, own->convolution, true, ACTIVATION_SILU),
                 z);
}

static Tensor *h3_block(Tape *tape, const ModelContext *context, Tensor *u) {
    const Mamba *own = context->options;
    const int64_t E = inner_width(context->backbone, own);
    Tensor *q = input(tape, "in_q", u, E), *k = input(tape, "in_k", u, E);
    Tensor *v = input(tape, "in_v", u, E);
    k = mamba_convolution(tape, k, own->convolution, true, ACTIVATION_NONE);
    return multiply(tape, q, layer(tape, context, multiply(tape, k, v), NULL));
}

static Tensor *no_gate(Tape *tape, const ModelContext *context, Tensor *u) {
    return activate(tape, layer(tape, context, u, NULL), ACTIVATION_GELU);
}

static const struct {
    Tensor *(*record)(Tape *tape, const ModelContext *context, Tensor *u);
    bool convolves;
} blocks[] = {[BLOCK_MAMBA] = {mamba_block, true},
              [BLOCK_H3] = {h3_block, true},
              [BLOCK_NONE] = {no_gate, false}};

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    const Mamba *own = context->options;
    Tensor *y = blocks[own->block].record(tape, context, u);
    /* One branch a block adds to the residual stream: divided by sqrt(layers), as released. */
    const Init init = init_uniform(1 / sqrt((double)(extent(y, 2) * context->backbone->layers)));
    return backbone_linear(tape, "out", y, extent(u, 2), false, init, NULL);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    (void)backbone;
    const Mamba *own = values;
    if (own->layer == LAYER_S4D && state_space_check_even(own->state, error) != STATUS_OK)
        return error->status;
    return mamba_check_steps(own->dt_min, own->dt_max, error);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    const Mamba *own = values;
    const int64_t taps = blocks[own->block].convolves ? own->convolution - 1 : 0;
    return backbone->layers * inner_width(backbone, own) *
           (layers[own->layer].state(own, length) + taps);
}

const Model model_mamba = {
    .name = "mamba",
    .title = "Mamba",
    .paper = {.authors = "Gu, Dao",
              .title = "Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
              .venue = "arXiv",
              .arxiv = "2312.00752",
              .year = 2023},
    .kind = KIND_STATE_SPACE,
    .note = "",
    .options = {options, sizeof options / sizeof *options, sizeof(Mamba)},
    .backbone = "mlp=none norm=rms",
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
