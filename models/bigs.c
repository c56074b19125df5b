/* BiGS: two state spaces that read a sequence from both ends, multiplied, in a gated unit (Wang,
 * Yan, Gu and Rush 2022, arXiv 2212.10544, section 3.2 and figure 1). With F = gate D:
 *
 *     v = gelu(x W_v + b_v)                                                          (L, F)
 *     f = (K_f * gelu(x W_uf + b_uf)) W_cf + b_cf                                    (L, D)
 *     b = (K_b * gelu(x W_ub + b_ub)) W_cb + b_cb,   from the end of the sequence    (L, D)
 *     out = (gelu((f b) W_l + b_l) v) W_o + b_o
 *
 * * includes a skip term, and both directions see the token itself. A filter is the same for all
 * channels: K_l = Re sum_n C_n (e^(dt lambda_n) - 1) / lambda_n e^(dt lambda_n l), with N complex
 * lambda = min(A_real, -1e-4) + i A_imag and one step size.
 *
 * Causal: f alone in the place of the product f b. gelu is its tanh form, as in the authors' JAX
 * code.
 *
 * Parameters of a layer, gate = 3: 13 D^2 + 11 D and twice 4 N + 2. FLOPs a token: 26 D^2 and some
 * 2 D (10 log2(2L) + 10); the filters cost 8 N L once a batch. State (causal): 2 N D floats a
 * layer. */
#include <math.h>

#include "engine/ops/flip/flip.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/long_convolution/long_convolution.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/repeat/repeat.h"
#include "models/backbone.h"
#include "models/diagonal.h"
#include "models/state_space.h"

typedef enum Start { START_HIPPO, START_LIN } Start;

typedef struct Bigs {
    int64_t state, gate;
    int init;
    double state_rate, dt_min, dt_max;
} Bigs;

static const Option options[] = {
    {"state", OPTION_INTEGER, offsetof(Bigs, state), "64", 2, 4096, NULL,
     "complex states of a direction (N), even"},
    {"gate", OPTION_INTEGER, offsetof(Bigs, gate), "3", 1, 64, NULL, "channels of the gate / D"},
    {"init", OPTION_CHOICE, offsetof(Bigs, init), "hippo", 0, -1, "hippo|lin",
     "initial eigenvalues"},
    {"state_rate", OPTION_REAL, offsetof(Bigs, state_rate), "1", 1e-6, 1, NULL,
     "factor on the learning rate of eigenvalues and step size, which below 1 have no weight decay "
     "(the authors' layer asks for 0.1, their training for 1)"},
    {"dt_min", OPTION_REAL, offsetof(Bigs, dt_min), "0.01", 1e-8, 1e3, NULL,
     "smallest initial step size"},
    {"dt_max", OPTION_REAL, offsetof(Bigs, dt_max), "1", 1e-8, 1e3, NULL,
     "largest initial step size"},
};

/* activation(x W + b): N(0, 0.02), bias 0. */
static Tensor *project(Tape *tape, const ModelContext *context, const char *name, Tensor *x,
                       int64_t out, Activation activation) {
    tape_scope(tape, "%s", name);
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(extent(x, 2), out),
                                    backbone_init(context->backbone), GROUP_DECAY);
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(out), init_constant(0), GROUP_NO_DECAY);
    Tensor *y = linear(tape, x, weight, bias, NULL, activation);
    tape_scope_end(tape);
    return y;
}

static DiagonalParameters parameters(Tape *tape, const Bigs *own) {
    const int64_t N = own->state;
    const Group group = {.rate_factor = own->state_rate, .no_decay = own->state_rate < 1};
    const StateSpace steps = {.dt_min = own->dt_min, .dt_max = own->dt_max};
    Tensor *C = tape_parameter(tape, "C", SHAPE(1, N, 2), diagonal_complex_normal(), GROUP_DECAY);
    return (DiagonalParameters){
        .log_dt = tape_parameter(tape, "log_dt", SHAPE(1), state_space_steps(&steps), group),
        .A_real = tape_parameter(tape, "A_real", SHAPE(1, N), init_constant(-0.5), group),
        .A_imag = tape_parameter(tape, "A_imag", SHAPE(1, N),
                                 own->init == START_LIN ? diagonal_lin_imaginary()
                                                        : diagonal_hippo_imaginary(HIPPO_BOTH, 1),
                                 group),
        .C = scale(tape, C, 0.5)}; /* Re: half of 2 Re */
}

/* u (B, L, D) with the filter of one direction. */
static Tensor *convolve(Tape *tape, const Bigs *own, const char *name, Tensor *u) {
    const int64_t D = extent(u, 2), N = own->state;
    const DiagonalForm form = {.discretisation = DISCRETISATION_ZOH, .real = REAL_CLIPPED};
    tape_scope(tape, "%s", name);
    const DiagonalParameters modes = parameters(tape, own);
    Tensor *one = tape_parameter(tape, "skip", SHAPE(1), init_constant(1), GROUP_DECAY);
    Tensor *skip = tape_reshape(tape, repeat_rows(tape, one, D), SHAPE(D)), *y;
    if (tape_mode(tape) == TAPE_STEP) {
        Tensor *table = tape_reshape(tape, diagonal_modes(tape, modes, form), SHAPE(4 * N));
        table = tape_reshape(tape, repeat_rows(tape, table, D), SHAPE(D, 4, N));
        y = diagonal_token(tape, table, u, skip);
    } else {
        Tensor *filter = repeat_columns(tape, vandermonde(tape, modes, form, extent(u, 1)), D);
        y = long_convolution(tape, u, filter, NULL, (ConvolutionGates){.skip = skip});
    }
    tape_scope_end(tape);
    return y;
}

/* What one end sees of x (B, L, D). */
static Tensor *from_the_start(Tape *tape, const ModelContext *context, Tensor *x) {
    const int64_t D = extent(x, 2);
    Tensor *u = project(tape, context, "u_forward", x, D, ACTIVATION_GELU_TANH);
    u = convolve(tape, context->options, "forward", u);
    return project(tape, context, "c_forward", u, D, ACTIVATION_NONE);
}

static Tensor *from_the_end(Tape *tape, const ModelContext *context, Tensor *x) {
    const int64_t D = extent(x, 2);
    Tensor *u = project(tape, context, "u_backward", x, D, ACTIVATION_GELU_TANH);
    u = flip(tape, state_space_input(tape, context, u));
    u = flip(tape, convolve(tape, context->options, "backward", u));
    return project(tape, context, "c_backward", u, D, ACTIVATION_NONE);
}

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *x) {
    const Bigs *own = context->options;
    const int64_t D = extent(x, 2), F = own->gate * D;
    Tensor *v = project(tape, context, "v", x, F, ACTIVATION_GELU_TANH);
    Tensor *y = from_the_start(tape, context, x);
    if (!context->causal) y = multiply(tape, y, from_the_end(tape, context, x));
    y = project(tape, context, "up", y, F, ACTIVATION_GELU_TANH);
    return project(tape, context, "out", multiply(tape, y, v), D, ACTIVATION_NONE);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    (void)backbone;
    const Bigs *own = values;
    if (own->state % 2)
        return error_set(error, STATUS_USAGE,
                         "state=%lld is odd; eigenvalues start in conjugate pairs: use %lld",
                         (long long)own->state, (long long)own->state + 1);
    return state_space_check(&(StateSpace){.dt_min = own->dt_min, .dt_max = own->dt_max}, error);
}

/* Of the causal form. */
static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const Bigs *own = values;
    return backbone->layers * backbone->width * 2 * own->state;
}

const Model model_bigs = {
    .name = "bigs",
    .title = "BiGS",
    .paper = {.authors = "Wang, Yan, Gu, Rush",
              .title = "Pretraining Without Attention",
              .venue = "Findings of EMNLP",
              .arxiv = "2212.10544",
              .year = 2023},
    .kind = KIND_STATE_SPACE,
    .note = "as a causal mixer, which the paper does not have, the backward half is left out; "
            "padding is zero for the backward half, and norms have the backbone's epsilon",
    .options = {options, sizeof options / sizeof *options, sizeof(Bigs)},
    .backbone = "mlp=none",
    .bidirectional = true,
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
