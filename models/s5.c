/* S5: one linear system with as many inputs and outputs as there are channels, diagonal and
 * complex, computed as a recurrence (Smith, Warrington and Linderman 2023, arXiv 2208.04933,
 * sections 3 and 4). With P = N / 2 modes:
 *
 *     x_t = lambdabar x_{t-1} + phi B u_t,   y_t = 2 Re C x_t + D u_t
 *
 * and lambdabar, phi as in ops/diagonal_scan. The layer's output is one of
 *
 *     full_glu:  (z W_1 + b_1) sigmoid(z W_2 + b_2),   z = gelu(y)
 *     half_glu1: z sigmoid(z W_2 + b_2)
 *     half_glu2: y sigmoid(z W_2 + b_2)
 *     gelu:      z
 *
 * Bidirectional: the same recurrence from the end on the same B u, with a second C; both see the
 * token itself.
 *
 * lambda starts as the eigenvalues of HiPPO-LegS's normal part of size N / blocks, the ones with
 * negative imaginary part, once a block. The authors draw B and C from truncated normal numbers and
 * turn them by the unitary eigenvectors: the result has independent complex entries of the same
 * variance, as eigenvectors of a pair are orthogonal to each other's conjugates, and sums of many;
 * here these are drawn as complex normal numbers.
 *
 * Parameters of a layer: 4 P D + 3 P + D for the system, D^2 + D for half_glu. FLOPs a token: 8 P D
 * + 14 P + 2 D^2. State: N floats a layer, whatever D. */
#include <math.h>

#include "engine/ops/channel_gain/channel_gain.h"
#include "engine/ops/diagonal_scan/diagonal_scan.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/pointwise/pointwise.h"
#include "models/backbone.h"
#include "models/diagonal.h"
#include "models/state_space.h"

typedef enum OutputStart { OUTPUT_LECUN, OUTPUT_TRUNCATED, OUTPUT_COMPLEX } OutputStart;
typedef enum Output { FULL_GLU, HALF_GLU1, HALF_GLU2, PLAIN_GELU } Output;
typedef enum Decay { DECAY_STANDARD, DECAY_B, DECAY_FAST_B, DECAY_NONE } Decay;

typedef struct S5 {
    int64_t state, blocks;
    int discretisation, c_init, output, decay;
    bool clip, global_dt;
    StateSpace layer;
} S5;

static const Option options[] = {
    {"state", OPTION_INTEGER, offsetof(S5, state), "64", 2, 65536, NULL,
     "real states of a layer (N): modes and their conjugates"},
    {"blocks", OPTION_INTEGER, offsetof(S5, blocks), "4", 1, 4096, NULL,
     "parts that start with the same eigenvalues"},
    {"discretisation", OPTION_CHOICE, offsetof(S5, discretisation), "zoh", 0, -1, "zoh|bilinear",
     "from continuous time to tokens"},
    {"c_init", OPTION_CHOICE, offsetof(S5, c_init), "lecun", 0, -1, "lecun|truncated|complex",
     "variance of C's parts at the start: 1 / (D N), 1 / N, 1 / 2"},
    {"output", OPTION_CHOICE, offsetof(S5, output), "half_glu1", 0, -1,
     "full_glu|half_glu1|half_glu2|gelu", "what follows the state space"},
    {"clip_eigenvalues", OPTION_SWITCH, offsetof(S5, clip), "no", 0, -1, NULL,
     "real parts stay below -1e-4"},
    {"decay", OPTION_CHOICE, offsetof(S5, decay), "standard", 0, -1, "standard|b|fast_b|none",
     "B at state_lr without weight decay; with it; as other weights; C and D, too, at state_lr "
     "without it"},
    {"global_dt", OPTION_SWITCH, offsetof(S5, global_dt), "no", 0, -1, NULL,
     "step sizes are trained as other weights"},
    STATE_SPACE_RATES(S5, layer),
};

static Group group_of_B(const S5 *own) {
    Group group = state_space_group(&own->layer);
    if (own->decay == DECAY_FAST_B) return GROUP_DECAY;
    if (own->decay == DECAY_B) group.no_decay = false;
    return group;
}

static Group group_of_C(const S5 *own) {
    return own->decay == DECAY_NONE ? state_space_group(&own->layer) : GROUP_DECAY;
}

/* The recurrence on v = B u (B, L, 2 P). */
typedef struct Modes {
    Tensor *log_dt, *A_real, *A_imag; /* (P) */
    DiagonalForm form;
} Modes;

static Modes modes_of(Tape *tape, const S5 *own) {
    const Shape shape = SHAPE(own->state / 2);
    const Group slow = state_space_group(&own->layer);
    return (Modes){.log_dt = tape_parameter(tape, "log_dt", shape, state_space_steps(&own->layer),
                                            own->global_dt ? GROUP_DECAY : slow),
                   .A_real = tape_parameter(tape, "A_real", shape, init_constant(-0.5), slow),
                   .A_imag =
                       tape_parameter(tape, "A_imag", shape,
                                      diagonal_hippo_imaginary(HIPPO_NEGATIVE, own->blocks), slow),
                   .form = {.discretisation = (Discretisation)own->discretisation,
                            .real = own->clip ? REAL_CLIPPED : REAL_PLAIN}};
}

static Tensor *scan(Tape *tape, Modes modes, Tensor *v, bool reverse) {
    Tensor *state = tape_carry(tape, "state", SHAPE(extent(v, 0), 1, extent(v, 2)));
    Tensor *x = diagonal_scan(tape, v, modes.log_dt, modes.A_real, modes.A_imag, state,
                              (DiagonalScan){modes.form, reverse});
    tape_carry_out(tape, "state", x);
    return x;
}

/* 2 Re C x + y; C (2 P, D): real parts, then imaginary parts negated, a row a mode. */
static Tensor *read(Tape *tape, const S5 *own, const char *name, Tensor *x, Tensor *y) {
    const double N = (double)own->state, D = (double)extent(y, 2);
    const double variance[] = {
        [OUTPUT_LECUN] = 1 / (D * N), [OUTPUT_TRUNCATED] = 1 / N, [OUTPUT_COMPLEX] = 0.5};
    Tensor *C = tape_parameter(tape, name, SHAPE(own->state, extent(y, 2)),
                               init_normal(sqrt(variance[own->c_init])), group_of_C(own));
    return linear(tape, x, scale(tape, C, 2), NULL, y, ACTIVATION_NONE);
}

static Tensor *state_space(Tape *tape, const ModelContext *context, Tensor *u) {
    const S5 *own = context->options;
    const int64_t N = own->state, D = extent(u, 2);
    const Modes modes = modes_of(tape, own);
    Tensor *B =
        tape_parameter(tape, "B", SHAPE(D, N), init_normal(sqrt(0.5 / (double)N)), group_of_B(own));
    Tensor *gain = tape_parameter(tape, "D", SHAPE(D), init_normal(1), group_of_C(own));
    Tensor *v = linear(tape, u, B, NULL, NULL, ACTIVATION_NONE);
    Tensor *y =
        read(tape, own, "C", scan(tape, modes, v, false), channel_gain(tape, u, gain, NULL, NULL));
    return context->causal ? y : read(tape, own, "C_reverse", scan(tape, modes, v, true), y);
}

/* x W + b: LeCun's normal numbers, bias 0. */
static Tensor *dense(Tape *tape, const char *name, Tensor *x) {
    const int64_t D = extent(x, 2);
    return backbone_linear(tape, name, x, D, true, init_normal(1 / sqrt((double)D)), NULL);
}

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    const S5 *own = context->options;
    Tensor *y = state_space(tape, context, state_space_input(tape, context, u));
    Tensor *z = activate(tape, y, ACTIVATION_GELU_TANH);
    z = backbone_dropout(tape, context->backbone, z);
    if (own->output == PLAIN_GELU) return z;
    Tensor *value = own->output == HALF_GLU2 ? y : z;
    if (own->output == FULL_GLU) value = dense(tape, "out.value", z);
    return gate(tape, value, dense(tape, "out.gate", z), ACTIVATION_SIGMOID);
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    (void)backbone;
    const S5 *own = values;
    if (own->state % (2 * own->blocks))
        return error_set(error, STATUS_USAGE,
                         "state=%lld is no multiple of 2 blocks=%lld; every block has pairs of "
                         "states",
                         (long long)own->state, (long long)(2 * own->blocks));
    return state_space_check(&own->layer, error);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const S5 *own = values;
    return backbone->layers * own->state;
}

const Model model_s5 = {
    .name = "s5",
    .title = "S5",
    .paper = {.authors = "Smith, Warrington, Linderman",
              .title = "Simplified State Space Layers for Sequence Modeling",
              .venue = "ICLR",
              .arxiv = "2208.04933",
              .year = 2023},
    .kind = KIND_STATE_SPACE,
    .note = "norm=batch keeps running variances divided by R - 1 instead of R; steps of irregular "
            "length "
            "are left out",
    .options = {options, sizeof options / sizeof *options, sizeof(S5)},
    .backbone = "mlp=none",
    .bidirectional = true,
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
