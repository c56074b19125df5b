/* GSS: a gated unit with a narrow diagonal state space in it (Mehta, Gupta, Cutkosky and Neyshabur
 * 2022, arXiv 2206.13947, section 3.2). With F = gate D channels for the gate and H = D /
 * bottleneck for the state space, whose step size is one:
 *
 *     u = gelu(x W_1),  v = gelu(x W_2)                                    (L, F), (L, H)
 *     y = K * v + skip v,   K_l = Re sum_n C_n (e^lambda_n - 1) / lambda_n e^(lambda_n l)
 *     out = (u (y W_3)) W_4 + b
 *
 * lambda = -exp(A_real) + i exp(A_imag), N of them, is shared by all channels. The block has the
 * backbone's norm in front and no MLP behind.
 *
 * Parameters of a layer with the defaults: 9.25 D^2 for the products, D (N / 2 + 1 / 4) + 2 N for
 * the states. FLOPs a token: 18.5 D^2, some D / 4 (10 log2(2L) + 10), and D N / B for the kernel,
 * made once a batch as a product with the powers of e^lambda. State: D N / 2 floats a layer. */
#include <math.h>

#include "engine/ops/linear/linear.h"
#include "engine/ops/pointwise/pointwise.h"
#include "models/backbone.h"
#include "models/diagonal.h"
#include "models/state_space.h"

typedef struct Gss {
    int64_t state, gate, bottleneck;
    bool exponential, inner_norm;
    double state_lr;
} Gss;

static const Option options[] = {
    {"state", OPTION_INTEGER, offsetof(Gss, state), "512", 1, 8192, NULL,
     "complex states of a channel (N), all of them independent"},
    {"gate", OPTION_INTEGER, offsetof(Gss, gate), "4", 1, 64, NULL, "channels of the gate / D"},
    {"bottleneck", OPTION_INTEGER, offsetof(Gss, bottleneck), "4", 1, 1024, NULL,
     "D / channels of the state space"},
    {"exponential", OPTION_SWITCH, offsetof(Gss, exponential), "yes", 0, -1, NULL,
     "imaginary parts are exp(A_imag); no: A_imag"},
    {"inner_norm", OPTION_SWITCH, offsetof(Gss, inner_norm), "no", 0, -1, NULL,
     "a norm in front of the state space"},
    {"state_lr", OPTION_REAL, offsetof(Gss, state_lr), "0.001", 0, 1, NULL,
     "learning rate of A_real and A_imag; 0: constant"},
};

/* activation(x W), PyTorch's start of a linear layer. */
static Tensor *project(Tape *tape, const char *name, Tensor *x, int64_t out,
                       Activation activation) {
    const Init init = init_uniform(1 / sqrt((double)extent(x, 2)));
    tape_scope(tape, "%s", name);
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(extent(x, 2), out), init, GROUP_DECAY);
    Tensor *y = linear(tape, x, weight, NULL, NULL, activation);
    tape_scope_end(tape);
    return y;
}

/* v (B, L, H) -> (B, L, H). */
static Tensor *state_space(Tape *tape, const Gss *own, Tensor *v) {
    const int64_t H = extent(v, 2), N = own->state;
    const Group slow = state_space_group(&(StateSpace){.state_lr = own->state_lr});
    Tensor *real = tape_parameter(tape, "A_real", SHAPE(N), init_normal(1), slow);
    Tensor *imaginary = tape_parameter(tape, "A_imag", SHAPE(N), init_normal(1), slow);
    Tensor *C = tape_parameter(tape, "C", SHAPE(H, N, 2), init_normal(1), GROUP_DECAY);
    const DiagonalParameters modes = {.A_real = tape_reshape(tape, real, SHAPE(1, N)),
                                      .A_imag = tape_reshape(tape, imaginary, SHAPE(1, N)),
                                      .C = scale(tape, C, 0.5)}; /* Re: half of 2 Re */
    const DiagonalForm form = {.discretisation = DISCRETISATION_ZOH,
                               .imaginary = own->exponential ? IMAGINARY_EXP : IMAGINARY_PLAIN};
    Tensor *skip = state_space_skip(tape, H);
    return tape_mode(tape) == TAPE_STEP
               ? diagonal_token(tape, diagonal_modes(tape, modes, form), v, skip)
               : diagonal_convolution(tape, modes, form, NULL, v, skip);
}

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *x) {
    const Gss *own = context->options;
    const int64_t D = extent(x, 2), F = own->gate * D;
    Tensor *u = project(tape, "in_u", x, F, ACTIVATION_GELU);
    Tensor *v = project(tape, "in_v", x, D / own->bottleneck, ACTIVATION_GELU);
    if (own->inner_norm) v = backbone_norm(tape, context->backbone, "inner_norm", v);
    v = project(tape, "up", state_space(tape, own, v), F, ACTIVATION_NONE);
    return state_space_dense(tape, "out", multiply(tape, u, v), D);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const Gss *own = values;
    if (backbone->width % own->bottleneck == 0) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "bottleneck=%lld does not divide width=%lld; choose a divisor",
                     (long long)own->bottleneck, (long long)backbone->width);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const Gss *own = values;
    return backbone->layers * (backbone->width / own->bottleneck) * 2 * own->state;
}

const Model model_gss = {
    .name = "gss",
    .title = "GSS",
    .paper = {.authors = "Mehta, Gupta, Cutkosky, Neyshabur",
              .title = "Long Range Language Modeling via Gated State Spaces",
              .venue = "ICLR",
              .arxiv = "2206.13947",
              .year = 2023},
    .kind = KIND_STATE_SPACE,
    .note = "without the attention over chunks of the hybrid; no code of the authors is public: N "
            "and the start are those of an independent implementation",
    .options = {options, sizeof options / sizeof *options, sizeof(Gss)},
    .backbone = "mlp=none",
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
