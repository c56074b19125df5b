/* HiPPO: a recurrent unit with a linear memory that projects its input's history onto orthogonal
 * polynomials (Gu, Dao, Ermon, Rudra and Re 2020, arXiv 2008.07669). With H = D units and N
 * coefficients of one signal u:
 *
 *     u_t = x_t w_x + h_{t-1} w_u + b;  m_t = A_t m_{t-1} + B_t u_t
 *     a = x_t W_x + m_t W_m + b_a;  g = sigmoid(x_t V_x + m_t V_m + b_g);  h_t = (1 - g) h_{t-1} +
 * g tanh(a)
 *
 * A_t and B_t are not trained. HiPPO-LegS weighs all of the past alike: step sizes 1 / t,
 * discretised by the bilinear rule (engine/ops/hippo_cell); the others keep a window and are one
 * matrix, discretised at the step size dt. The released code lets t grow to 1024 only: the option
 * clamp.
 *
 * Parameters of a layer: D + H + 1 + 2 H (D + N + 1); FLOPs a token: 4 H (D + N), and 5 N (LegS) or
 * 2 N^2 for the memory. State: H + N floats a layer. */
#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/hippo_cell/hippo_cell.h"
#include "engine/ops/linear/linear.h"
#include "models/backbone.h"
#include "models/hippo_matrix.h"

typedef struct Hippo {
    int64_t order, clamp;
    int measure, discretisation;
    double dt;
} Hippo;

enum { MEASURE_LEGS, MEASURE_LEGT, MEASURE_LAGT, MEASURE_LMU };

static const Option options[] = {
    {"order", OPTION_INTEGER, offsetof(Hippo, order), "0", 0, 4096, NULL,
     "coefficients of the memory (N); 0: D"},
    {"measure", OPTION_CHOICE, offsetof(Hippo, measure), "legs", 0, -1, "legs|legt|lagt|lmu",
     "scaled Legendre, translated Legendre, Laguerre, Legendre as in the LMU"},
    {"clamp", OPTION_INTEGER, offsetof(Hippo, clamp), "1024", 0, 1 << 30, NULL,
     "legs: largest t of the step size 1 / t; 0: none"},
    {"dt", OPTION_REAL, offsetof(Hippo, dt), "0.01", 1e-6, 100, NULL,
     "other measures: step size (published: legt 0.01, lagt 1, lmu 1 / length)"},
    {"discretisation", OPTION_CHOICE, offsetof(Hippo, discretisation), "bilinear", 0, -1,
     "bilinear|zoh", "other measures: from continuous time to tokens"},
};

static int64_t order_of(const Backbone *backbone, const Hippo *own) {
    return own->order ? own->order : backbone->width;
}

/* Columns of tanh and of the gate, normal with deviations of their own. */
static void fill_halves(float *data, const Shape *shape, Random *random, double tanh_deviation,
                        double gate_deviation) {
    const int64_t columns = shape->extent[1];
    for (int64_t i = 0; i < shape->extent[0] * columns; i++)
        data[i] = (float)((i % columns < columns / 2 ? tanh_deviation : gate_deviation) *
                          random_normal(random));
}

/* A of the measure, discretised, transposed: a row of coefficients times it. */
static void fill_both(const Hippo *own, int64_t N, double *A, double *B) {
    static const HippoMeasure of[] = {
        [MEASURE_LEGT] = HIPPO_LEGT, [MEASURE_LAGT] = HIPPO_LAGT, [MEASURE_LMU] = HIPPO_LMU};
    hippo_transition(of[own->measure], N, A, B);
    hippo_discretise(N, own->dt, (HippoRule)own->discretisation, A, B);
}
static Hippo packed(double measure_and_rule, double dt) {
    return (Hippo){.measure = (int)measure_and_rule / 2,
                   .discretisation = (int)measure_and_rule % 2,
                   .dt = dt};
}
static void fill_A(float *data, const Shape *shape, Random *random, double measure_and_rule,
                   double dt) {
    (void)random;
    const int64_t N = shape->extent[0];
    const Hippo own = packed(measure_and_rule, dt);
    double *A = memory_take((size_t)(N * (N + 1)) * sizeof *A);
    fill_both(&own, N, A, A + N * N);
    for (int64_t i = 0; i < N * N; i++) data[i] = (float)A[i % N * N + i / N];
    free(A);
}
static void fill_B(float *data, const Shape *shape, Random *random, double measure_and_rule,
                   double dt) {
    (void)random;
    const int64_t N = shape->extent[0];
    const Hippo own = packed(measure_and_rule, dt);
    double *A = memory_take((size_t)(N * (N + 1)) * sizeof *A);
    fill_both(&own, N, A, A + N * N);
    for (int64_t i = 0; i < N; i++) data[i] = (float)A[N * N + i];
    free(A);
}

static Tensor *dense(Tape *tape, const char *name, Tensor *x, int64_t out, Init weights,
                     double bound) {
    tape_scope(tape, "%s", name);
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(extent(x, 2), out), weights, GROUP_DECAY);
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(out), init_uniform(bound), GROUP_NO_DECAY);
    tape_scope_end(tape);
    return linear(tape, x, weight, bias, NULL, ACTIVATION_NONE);
}

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *x) {
    const Hippo *own = context->options;
    const int64_t B = extent(x, 0), D = extent(x, 2), H = D, N = order_of(context->backbone, own);
    const double written = (double)(D + H), read = (double)(D + N); /* inputs of u, of the units */
    const Init uniform = init_uniform(sqrt(3 / written));
    Tensor *drive = dense(tape, "memory", x, 1, uniform, 1 / sqrt(written));
    Tensor *gates =
        dense(tape, "input", x, 2 * H,
              init_fill(fill_halves, sqrt(2.0 / (double)(D + H)), 1 / sqrt(read)), 1 / sqrt(read));
    HippoWeights weights = {
        .w_u = tape_parameter(tape, "recurrent", SHAPE(H), uniform, GROUP_DECAY),
        .w_m = tape_parameter(tape, "readout", SHAPE(N, 2 * H),
                              init_fill(fill_halves, sqrt(2.0 / (double)(N + H)), 1 / sqrt(read)),
                              GROUP_DECAY)};
    if (own->measure != MEASURE_LEGS) {
        const Group fixed = {.frozen = true};
        const double which = 2 * own->measure + own->discretisation;
        weights.A =
            tape_parameter(tape, "A", SHAPE(N, N), init_fill(fill_A, which, own->dt), fixed);
        weights.b = tape_parameter(tape, "B", SHAPE(N), init_fill(fill_B, which, own->dt), fixed);
    }
    const HippoCell cell = {own->clamp};
    if (tape_mode(tape) != TAPE_STEP)
        return hippo_cell(tape, drive, gates, weights, cell, NULL, NULL);
    const HippoState state = {tape_carry(tape, "h", SHAPE(B, H)),
                              tape_carry(tape, "m", SHAPE(B, N)), tape_position(tape)};
    HippoState next;
    Tensor *h = hippo_cell(tape, drive, gates, weights, cell, &state, &next);
    tape_carry_out(tape, "h", next.h);
    tape_carry_out(tape, "m", next.m);
    return h;
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    return backbone->layers * (backbone->width + order_of(backbone, values));
}

const Model model_hippo = {
    .name = "hippo",
    .title = "HiPPO-RNN",
    .paper = {.authors = "Gu, Dao, Ermon, Rudra, Ré",
              .title = "HiPPO: Recurrent Memory with Optimal Polynomial Projections",
              .venue = "NeurIPS",
              .arxiv = "2008.07669",
              .year = 2020},
    .kind = KIND_RECURRENT,
    .note = "one memory (memory_size 1) and the gate G; no time stamps; in residual blocks instead "
            "of a plain layer",
    .options = {options, sizeof options / sizeof *options, sizeof(Hippo)},
    .backbone = "mlp=none",
    .mixer = mixer,
    .state_floats = state_floats,
};
