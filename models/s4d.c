/* S4D: diagonal state spaces as long convolutions (Gu, Gupta, Goel and Re 2022, arXiv 2206.11893;
 * the layer around them is S4's, arXiv 2111.00396, section 3.4). Every channel is a linear system
 * of its own, N real states held as M = N / 2 complex modes:
 *
 *     K_l = 2 Re sum_n C_n Bbar_n lambdabar_n^l,   y = gelu(K * u + skip u)
 *     out = (y W_value + b_value) sigmoid(y W_gate + b_gate)
 *
 * with lambda = -exp(A_real) + i A_imag, discretised at the step size exp(log_dt) of the channel.
 * B is one, but for init=legs: S4D-LegS is HiPPO-LegS's normal part in the coordinates of its
 * eigenvectors, where B is not one; it starts there and is trained like A.
 * Bidirectional: a second C gives the filter that looks ahead, from the next token on; padding is
 * zero in front of every convolution.
 *
 * Parameters of a layer: 2 D^2 + 2 D for the output, D (2 N + 2) for the states (M each of A_real,
 * A_imag, N of C; with init=legs N of B). FLOPs a token: 4 D^2, some D (10 log2(2L) + 40), and 2 D
 * N / B for the kernel, which is made once a batch. State: N D floats a layer. */
#include <math.h>

#include "models/diagonal.h"
#include "models/state_space.h"

typedef enum Spectrum {
    SPECTRUM_LIN,
    SPECTRUM_INV,
    SPECTRUM_INV2,
    SPECTRUM_QUAD,
    SPECTRUM_RAND,
    SPECTRUM_REAL,
    SPECTRUM_LEGS
} Spectrum;

typedef struct S4D {
    int64_t state;
    int init, discretisation;
    StateSpace layer;
} S4D;

static const Option options[] = {
    {"state", OPTION_INTEGER, offsetof(S4D, state), "64", 2, 8192, NULL,
     "real states of a channel (N), even"},
    {"init", OPTION_CHOICE, offsetof(S4D, init), "lin", 0, -1, "lin|inv|inv2|quad|rand|real|legs",
     "initial eigenvalues (the paper's section 4); legs: those of HiPPO-LegS, with a trained B"},
    {"discretisation", OPTION_CHOICE, offsetof(S4D, discretisation), "zoh", 0, -1, "zoh|bilinear",
     "from continuous time to tokens"},
    STATE_SPACE_OPTIONS(S4D, layer),
};

/* log(-Re lambda): 1/2 in every mode, and n + 1 in the real spectrum. */
static void fill_A_real(float *A_real, const Shape *shape, Random *random, double spectrum,
                        double b) {
    (void)random, (void)b;
    const int64_t M = shape->extent[1];
    for (int64_t i = 0; i < shape->extent[0] * M; i++)
        A_real[i] = (float)log((int)spectrum == SPECTRUM_REAL ? (double)(i % M + 1) : 0.5);
}

/* Imaginary parts of the paper's section 4 (N states, mode n) and of its released code. */
static double imaginary_lin(double n, double N) {
    (void)N;
    return M_PI * n;
}
static double imaginary_inv(double n, double N) {
    return N / M_PI * (N / (2 * n + 1) - 1);
}
static double imaginary_inv2(double n, double N) {
    return N / M_PI * (N / (n + 1) - 1);
}
static double imaginary_quad(double n, double N) {
    (void)N;
    return (1 + 2 * n) * (1 + 2 * n) / M_PI;
}
static double imaginary_real(double n, double N) {
    (void)n, (void)N;
    return 0;
}

static void fill_A_imag(float *A_imag, const Shape *shape, Random *random, double spectrum,
                        double b) {
    (void)b;
    static double (*const imaginary[])(double, double) = {
        [SPECTRUM_LIN] = imaginary_lin,   [SPECTRUM_INV] = imaginary_inv,
        [SPECTRUM_INV2] = imaginary_inv2, [SPECTRUM_QUAD] = imaginary_quad,
        [SPECTRUM_RAND] = NULL,           [SPECTRUM_REAL] = imaginary_real};
    const int64_t M = shape->extent[1];
    for (int64_t i = 0; i < shape->extent[0] * M; i++) {
        double (*const part)(double, double) = imaginary[(int)spectrum];
        A_imag[i] =
            (float)(part ? part((double)(i % M), 2.0 * (double)M) : exp(random_normal(random)));
    }
}

static DiagonalParameters parameters(Tape *tape, const S4D *own, int64_t D) {
    const int64_t M = own->state / 2;
    const Group slow = state_space_group(&own->layer);
    const bool legs = own->init == SPECTRUM_LEGS;
    const Init imaginary =
        legs ? diagonal_hippo_imaginary(HIPPO_POSITIVE, 1) : init_fill(fill_A_imag, own->init, 0);
    return (DiagonalParameters){
        .log_dt = state_space_log_dt(tape, &own->layer, D),
        .A_real =
            tape_parameter(tape, "A_real", SHAPE(D, M), init_fill(fill_A_real, own->init, 0), slow),
        .A_imag = tape_parameter(tape, "A_imag", SHAPE(D, M), imaginary, slow),
        .C = tape_parameter(tape, "C", SHAPE(D, M, 2), diagonal_complex_normal(), GROUP_DECAY),
        .B = legs ? tape_parameter(tape, "B", SHAPE(D, M, 2), diagonal_hippo_input(), slow) : NULL};
}

static DiagonalForm form(const S4D *own) {
    return (DiagonalForm){.discretisation = (Discretisation)own->discretisation};
}

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    const S4D *own = context->options;
    const DiagonalParameters modes = parameters(tape, own, extent(u, 2));
    u = state_space_input(tape, context, u);
    Tensor *skip = state_space_skip(tape, extent(u, 2));
    Tensor *ahead = NULL, *y;
    if (!context->causal)
        ahead = tape_parameter(tape, "C_reverse", modes.C->shape, diagonal_complex_normal(),
                               GROUP_DECAY);
    if (tape_mode(tape) == TAPE_STEP)
        y = diagonal_token(tape, diagonal_modes(tape, modes, form(own)), u, skip);
    else
        y = diagonal_convolution(tape, modes, form(own), ahead, u, skip);
    return state_space_output(tape, context, &own->layer, y);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    (void)backbone;
    const S4D *own = values;
    const Status even = state_space_check_even(own->state, error);
    return even == STATUS_OK ? state_space_check(&own->layer, error) : even;
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const S4D *own = values;
    return backbone->layers * backbone->width * own->state;
}

const Model model_s4d = {
    .name = "s4d",
    .title = "S4D",
    .paper = {.authors = "Gu, Gupta, Goel, Ré",
              .title = "On the Parameterization and Initialization of Diagonal State Space Models",
              .venue = "NeurIPS",
              .arxiv = "2206.11893",
              .year = 2022},
    .kind = KIND_STATE_SPACE,
    .note = "B is one, as in the authors' minimal version (init=legs: HiPPO's, trained)",
    .options = {options, sizeof options / sizeof *options, sizeof(S4D)},
    .backbone = "mlp=none",
    .bidirectional = true,
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
