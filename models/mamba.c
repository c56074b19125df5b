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
 * Parameters of a layer: 3 D E + E (2 R + 2 N) + E N + E (K + 3), some 6 D^2; FLOPs a token: twice
 * the products and 6 E N + E N exponentials for the scan. State: E (N + K - 1) floats a layer. */
#include <math.h>

#include "engine/ops/selective_scan/selective_scan.h"
#include "engine/ops/short_convolution/short_convolution.h"
#include "models/mamba_parts.h"

typedef struct Mamba {
    int64_t state, convolution, expand, dt_rank;
    double dt_min, dt_max;
} Mamba;

static const Option options[] = {
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
    return own->expand * backbone->width;
}

/* x, z (B, L, E) -> (B, L, E): the selective state space and the gate. */
static Tensor *scan(Tape *tape, const ModelContext *context, Tensor *x, Tensor *z) {
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

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    const Mamba *own = context->options;
    const Backbone *backbone = context->backbone;
    const int64_t D = backbone->width, E = inner_width(backbone, own);
    Tensor *x = backbone_linear(tape, "in_x", u, E, false, fan_in(D), NULL);
    Tensor *z = backbone_linear(tape, "in_z", u, E, false, fan_in(D), NULL);
    x = mamba_convolution(tape, x, own->convolution, true);
    Tensor *y = scan(tape, context, x, z);
    /* One branch a block adds to the residual stream: divided by sqrt(layers), as released. */
    const Init init = init_uniform(1 / sqrt((double)(E * backbone->layers)));
    return backbone_linear(tape, "out", y, D, false, init, NULL);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    (void)backbone;
    const Mamba *own = values;
    return mamba_check_steps(own->dt_min, own->dt_max, error);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const Mamba *own = values;
    return backbone->layers * inner_width(backbone, own) * (own->state + own->convolution - 1);
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
