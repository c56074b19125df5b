#include "engine/ops/diagonal_scan/diagonal_scan.h"

#include "engine/ops/diagonal_scan/diagonal_scan_plan.h"

OP_CPU_DECLARE(diagonal_scan);

static void shape(Tape *tape, OpCall *call) {
    const DiagonalScan *attributes = call->attributes;
    const Tensor *v = call->in[DIAGONAL_SCAN_V];
    const Tensor *state = call->inputs > DIAGONAL_SCAN_STATE ? call->in[DIAGONAL_SCAN_STATE] : NULL;
    const int64_t P = tensor_size(call->in[DIAGONAL_SCAN_A_REAL]);
    bool fits = v->shape.rank == 3 && extent(v, 2) == 2 * P;
    for (int i = DIAGONAL_SCAN_LOG_DT; i <= DIAGONAL_SCAN_A_IMAG; i++)
        fits = fits && call->in[i]->shape.rank == 1 && tensor_size(call->in[i]) == P;
    if (fits && state) {
        const Shape first = SHAPE(extent(v, 0), 1, 2 * P);
        fits = shape_equal(&state->shape, &first);
    }
    if (!fits || attributes->form.discretisation == DISCRETISATION_SOFTMAX)
        tape_fail(tape, call,
                  "expected v (B, L, 2 P), log_dt, A_real and A_imag (P) and a state (B, 1, 2 P), "
                  "by zero-order hold or the bilinear rule");
    tape_output(tape, call, TENSOR_FLOAT, v->shape);
}

/* A step is two complex products; backward has the adjoint, v's gradient and two sums. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->in[DIAGONAL_SCAN_V]); /* two a mode */
    const double P = (double)tensor_size(call->in[DIAGONAL_SCAN_A_REAL]);
    *forward =
        (Cost){.flops = 7 * n, .specials = 5 * P, .bytes_read = 4 * n, .bytes_written = 4 * n};
    *backward =
        (Cost){.flops = 15 * n, .specials = 5 * P, .bytes_read = 12 * n, .bytes_written = 4 * n};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)threads;
    const int64_t groups = diagonal_scan_groups(tensor_size(call->in[DIAGONAL_SCAN_A_REAL]));
    const size_t table = (size_t)(groups * DIAGONAL_SCAN_UNIT * DIAGONAL_SCAN_TABLE);
    const size_t sums = (size_t)(extent(call->in[DIAGONAL_SCAN_V], 0) * groups *
                                 DIAGONAL_SCAN_UNIT * DIAGONAL_SCAN_SUMS);
    return table * sizeof(float) + (phase == PHASE_BACKWARD ? sums * sizeof(double) : 0);
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
/* Steps from e^-6 to e^-2, real parts near -1/2, up to 60 radians a unit of time. */
#define MODES(P)                                                                                   \
    {SHAPE(P), FILL_UNIFORM, -6, -2}, {SHAPE(P), FILL_UNIFORM, -1, -0.25}, {                       \
        SHAPE(P), FILL_UNIFORM, -60, 0                                                             \
    }
#define ROW(label, rule, B, L, P)                                                                  \
    .name = label, .in = {MODES(P), NORMAL(B, L, 2 * P)}, .attributes = &rule

static const DiagonalScan zoh = {.form = {.real = REAL_PLAIN}},
                          back = {.form = {.real = REAL_CLIPPED}, .reverse = true},
                          bilinear = {.form = {.discretisation = DISCRETISATION_BILINEAR,
                                               .real = REAL_PLAIN}};

static const OpCase cases[] = {
    {ROW("B1L1P1", zoh, 1, 1, 1)},
    {ROW("B2L7P3", zoh, 2, 7, 3)},
    {ROW("B3L67P37bilinear", bilinear, 3, 67, 37)},
    {ROW("B2L131P70reverse", back, 2, 131, 70)},
    {ROW("B1L301P5reverse", back, 1, 301, 5)},
    {.name = "B2L1P19state",
     .in = {MODES(19), NORMAL(2, 1, 38), NORMAL(2, 1, 38)},
     .attributes = &zoh,
     .gradient_free = true},
    {.name = "B2L70P3state",
     .in = {MODES(3), NORMAL(2, 70, 6), NORMAL(2, 1, 6)},
     .attributes = &zoh},
    {ROW("B1L1024P64", zoh, 1, 1024, 64), .benchmark = true},
    {ROW("B8L1024P128", zoh, 8, 1024, 128), .benchmark = true},
    {ROW("B8L2048P1024", zoh, 8, 2048, 1024), .gpu = true},
};

const Op op_diagonal_scan = {
    .name = "diagonal_scan",
    .summary = "x_t = lambdabar x_(t-1) + phi v_t, complex and diagonal",
    .inputs = DIAGONAL_SCAN_INPUTS,
    .outputs = 1,
    .attribute_bytes = sizeof(DiagonalScan),
    .needs_inputs = (1u << DIAGONAL_SCAN_INPUTS) - 1,
    .needs_outputs = 1,
    .gradients = (1u << DIAGONAL_SCAN_STATE) - 1,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(diagonal_scan),
    .reference = diagonal_scan_reference,
    OP_CASES(cases),
};

Tensor *diagonal_scan(Tape *tape, Tensor *v, Tensor *log_dt, Tensor *A_real, Tensor *A_imag,
                      Tensor *state, DiagonalScan attributes) {
    Tensor *const in[] = {log_dt, A_real, A_imag, v, state};
    return tape_apply(tape, &op_diagonal_scan, in, DIAGONAL_SCAN_INPUTS, &attributes)->out[0];
}
