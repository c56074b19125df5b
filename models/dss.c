/* DSS: diagonal state spaces whose kernel is an exponential sum or a softmax over time (Gupta, Gu
 * and Berant 2022, arXiv 2203.14343, propositions 1 and 2). N complex eigenvalues lambda are shared
 * by all channels; a channel has two step sizes and N complex weights W:
 *
 *     a_n = dt_0 Re lambda_n + i dt_1 Im lambda_n
 *     exp:      K_l = Re sum_n W_n (e^(a_n) - 1) / lambda_n e^(a_n l)
 *     softmax:  K_l = Re sum_n W_n / lambda_n softmax_l(a_n l),   l = 0 .. Lmax-1
 *     y = gelu(K * u + skip u),   out = y W' + b
 *
 * Eigenvalues are free with the softmax, which is computed with the largest exponent at zero; its
 * kernel depends on the longest length. In the one-token form a growing eigenvalue starts from
 * e^(-a Lmax), which float32 holds up to Re a Lmax = 87. With exp Re lambda = -exp(A_real). They
 * start as -1/2 + i w with the frequencies w of HiPPO's skew part of size 2 N, or from normal
 * numbers.
 *
 * Bidirectional: a second W gives the filter that looks ahead, as in S4D.
 *
 * Parameters of a layer: D^2 + D for the output, D (2 N + 3) + 2 N for the states. FLOPs a token:
 * 2 D^2, some D (10 log2(2L) + 20), and 4 D N / B for the kernel, made once a batch. State: 2 N D
 * floats a layer. */
#include <math.h>

#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/repeat/repeat.h"
#include "models/diagonal.h"
#include "models/state_space.h"

typedef enum Kernel { KERNEL_SOFTMAX, KERNEL_EXP } Kernel;
typedef enum Start { START_HIPPO, START_NORMAL } Start;

typedef struct Dss {
    int64_t state;
    int kernel, init;
    bool separate_dt;
    double dt_lr;
    StateSpace layer;
} Dss;

static const Option options[] = {
    {"state", OPTION_INTEGER, offsetof(Dss, state), "64", 1, 4096, NULL,
     "complex states of a channel (N), all of them independent"},
    {"kernel", OPTION_CHOICE, offsetof(Dss, kernel), "softmax", 0, -1, "softmax|exp",
     "normalised over time, or an exponential sum"},
    {"init", OPTION_CHOICE, offsetof(Dss, init), "hippo", 0, -1, "hippo|normal",
     "initial eigenvalues"},
    {"separate_dt", OPTION_SWITCH, offsetof(Dss, separate_dt), "yes", 0, -1, NULL,
     "step sizes of their own for real and imaginary parts"},
    {"dt_lr", OPTION_REAL, offsetof(Dss, dt_lr), "0.001", 0, 1, NULL,
     "learning rate of the step sizes (ListOps, IMDB: 0.02); 0: constant"},
    {"glu", OPTION_SWITCH, offsetof(Dss, layer.glu), "no", 0, -1, NULL,
     "gated output layer; no: a plain one"},
    STATE_SPACE_RATES(Dss, layer),
};

/* Both step sizes of a channel start the same. */
static Tensor *log_dt(Tape *tape, const Dss *own, int64_t D) {
    StateSpace steps = own->layer;
    steps.state_lr = own->dt_lr;
    return own->separate_dt ? state_space_log_dt_pairs(tape, &steps, D)
                            : state_space_log_dt(tape, &steps, D);
}

/* The real part itself with the softmax, the logarithm of its opposite with exp. */
static Init real_init(const Dss *own) {
    if (own->init == START_NORMAL) return init_normal(1);
    return init_constant(own->kernel == KERNEL_EXP ? log(0.5) : -0.5);
}

/* W (D, N, 2) of the real part of a sum: half of twice it. */
static Tensor *weights(Tape *tape, const Dss *own, const char *name, int64_t D) {
    return scale(tape,
                 tape_parameter(tape, name, SHAPE(D, own->state, 2), init_normal(1),
                                state_space_group(&own->layer)),
                 0.5);
}

static DiagonalParameters parameters(Tape *tape, const Dss *own, int64_t D) {
    const int64_t N = own->state;
    const Group slow = state_space_group(&own->layer);
    Tensor *real = tape_parameter(tape, "A_real", SHAPE(N), real_init(own), slow);
    Tensor *imaginary = tape_parameter(
        tape, "A_imag", SHAPE(N),
        own->init == START_NORMAL ? init_normal(1) : diagonal_hippo_imaginary(HIPPO_POSITIVE, 1),
        slow);
    return (DiagonalParameters){.log_dt = log_dt(tape, own, D),
                                .A_real = repeat_rows(tape, real, D),
                                .A_imag = repeat_rows(tape, imaginary, D),
                                .C = weights(tape, own, "W", D)};
}

static DiagonalForm form(const Dss *own, int64_t max_length) {
    if (own->kernel == KERNEL_EXP) return (DiagonalForm){.discretisation = DISCRETISATION_ZOH};
    return (DiagonalForm){
        .discretisation = DISCRETISATION_SOFTMAX, .real = REAL_PLAIN, .period = max_length};
}

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    const Dss *own = context->options;
    const int64_t D = extent(u, 2);
    const DiagonalParameters modes = parameters(tape, own, D);
    const DiagonalForm rule = form(own, context->max_length);
    u = state_space_input(tape, context, u);
    Tensor *skip = state_space_skip(tape, D), *ahead = NULL, *y;
    if (!context->causal) ahead = weights(tape, own, "W_reverse", D);
    if (tape_mode(tape) == TAPE_STEP)
        y = diagonal_token(tape, diagonal_modes(tape, modes, rule), u, skip);
    else
        y = diagonal_convolution(tape, modes, rule, ahead, u, skip);
    return state_space_output(tape, context, &own->layer, y);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    (void)backbone;
    const Dss *own = values;
    return state_space_check(&own->layer, error);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const Dss *own = values;
    return backbone->layers * backbone->width * 2 * own->state;
}

const Model model_dss = {
    .name = "dss",
    .title = "DSS",
    .paper = {.authors = "Gupta, Gu, Berant",
              .title = "Diagonal State Spaces are as Effective as Structured State Spaces",
              .venue = "NeurIPS",
              .arxiv = "2203.14343",
              .year = 2022},
    .kind = KIND_STATE_SPACE,
    .note = "the softmax of growing eigenvalues has its exact gradient, where the released code "
            "leaves one term out; without that code's clipped and unscaled kernels",
    .options = {options, sizeof options / sizeof *options, sizeof(Dss)},
    .backbone = "mlp=none",
    .bidirectional = true,
    .exempt = EXEMPT_PREFIX | EXEMPT_LONGER, /* of the softmax, the default */
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
