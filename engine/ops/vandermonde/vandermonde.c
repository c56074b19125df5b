#include "engine/ops/vandermonde/vandermonde.h"

#include "engine/ops/vandermonde/vandermonde_plan.h"

static bool has_shape(const Tensor *tensor, Shape shape) {
    return !tensor || shape_equal(&tensor->shape, &shape);
}

void diagonal_check_shapes(Tape *tape, const OpCall *call, DiagonalForm form) {
    const Tensor *A = call->in[DIAGONAL_A_REAL], *log_dt = call->in[DIAGONAL_LOG_DT];
    if (A->shape.rank != 2) {
        tape_fail(tape, call, "A_real must be (D, M), not of rank %d", A->shape.rank);
        return;
    }
    const int64_t S = extent(A, 0), M = extent(A, 1), D = extent(call->in[DIAGONAL_C], 0);
    const bool two =
        form.discretisation != DISCRETISATION_BILINEAR && has_shape(log_dt, SHAPE(S, 2));
    if (!(has_shape(log_dt, SHAPE(S)) || two) || !(S == D || S == 1) ||
        !has_shape(call->in[DIAGONAL_A_IMAG], SHAPE(S, M)) ||
        !has_shape(call->in[DIAGONAL_C], SHAPE(D, M, 2)) ||
        !has_shape(call->in[DIAGONAL_B], SHAPE(S, M, 2)))
        tape_fail(tape, call,
                  "with A_real (%lld, %lld) expected log_dt (S), or (S, 2) unless bilinear, A_imag "
                  "(S, M), C (D, M, 2) and B (S, M, 2), where S is D or 1",
                  (long long)S, (long long)M);
}

static void shape(Tape *tape, OpCall *call) {
    const Vandermonde *attributes = call->attributes;
    diagonal_check_shapes(tape, call, attributes->form);
    if (attributes->length < 1) tape_fail(tape, call, "the kernel's length must be positive");
    if (attributes->form.discretisation == DISCRETISATION_SOFTMAX &&
        attributes->length > attributes->form.period)
        tape_fail(tape, call, "the kernel is longer than the softmax, %lld",
                  (long long)attributes->form.period);
    tape_output(tape, call, TENSOR_FLOAT,
                SHAPE(attributes->length, extent(call->in[DIAGONAL_C], 0)));
}

/* A complex product with real result is four operations; backward has two complex sums of a real
 * factor. exp, sin and cos for each mode, and for dt and A_real. Shared modes save powers, not
 * these. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const Vandermonde *attributes = call->attributes;
    const double L = (double)attributes->length;
    const double SM = (double)tensor_size(call->in[DIAGONAL_A_REAL]);
    const double DM = (double)tensor_size(call->in[DIAGONAL_C]) / 2;
    const double S = (double)extent(call->in[DIAGONAL_A_REAL], 0);
    const double D = (double)extent(call->in[DIAGONAL_C], 0);
    forward->flops = 4 * L * DM;
    backward->flops = 8 * L * DM;
    forward->specials = backward->specials = 4 * SM + S;
    forward->bytes_read = backward->bytes_written = 4 * (S + 2 * SM + 2 * DM);
    forward->bytes_written = 4 * L * D;
    backward->bytes_read = forward->bytes_read + 4 * L * D;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const Vandermonde *attributes = call->attributes;
    const int64_t M = extent(call->in[DIAGONAL_A_REAL], 1), D = extent(call->in[DIAGONAL_C], 0);
    if (vandermonde_shared(call))
        return (size_t)(shared_common_floats(D, M, phase) + threads * shared_own_floats(D, phase)) *
               sizeof(float);
    return (size_t)(threads * vandermonde_scratch_floats(attributes->length, M)) * sizeof(float);
}

/* dt in e^-3 .. e^-2 or so, A_real near log 1/2, A_imag over the range of S4D-Lin. */
#define MODES(D, M, IMAG)                                                                          \
    {SHAPE(D), FILL_UNIFORM, -4, -2}, {SHAPE(D, M), FILL_UNIFORM, -1, 0},                          \
        {SHAPE(D, M), FILL_UNIFORM, 0, IMAG}, {                                                    \
        SHAPE(D, M, 2), FILL_NORMAL, 1, 0                                                          \
    }

/* The same with modes that all channels share, and steps of real and imaginary parts. */
#define SHARED(M, D, IMAG)                                                                         \
    {SHAPE(1, 2), FILL_UNIFORM, -4, -2}, {SHAPE(1, M), FILL_UNIFORM, -1, 0},                       \
        {SHAPE(1, M), FILL_UNIFORM, 0, IMAG}, {                                                    \
        SHAPE(D, M, 2), FILL_NORMAL, 1, 0                                                          \
    }

#define FORM(L, ...)                                                                               \
    &(const Vandermonde) {                                                                         \
        {__VA_ARGS__}, L                                                                           \
    }
#define ZOH(L) FORM(L, .discretisation = DISCRETISATION_ZOH)
#define BILINEAR(L) FORM(L, .discretisation = DISCRETISATION_BILINEAR)
#define SOFTMAX(L, P)                                                                              \
    FORM(L, .discretisation = DISCRETISATION_SOFTMAX, .real = REAL_PLAIN, .period = P)
/* Steps of real and imaginary parts; real parts of both signs, away from zero. */
#define DSS(D, M, REAL)                                                                            \
    {SHAPE(D, 2), FILL_UNIFORM, -4, -2}, {SHAPE(D, M), FILL_UNIFORM, REAL, REAL + 0.5},            \
        {SHAPE(D, M), FILL_UNIFORM, 0, 30}, {                                                      \
        SHAPE(D, M, 2), FILL_NORMAL, 1, 0                                                          \
    }

static const OpCase cases[] = {
    {.name = "L1D1M1", .in = {MODES(1, 1, 3)}, .attributes = ZOH(1)},
    {.name = "L8D1M2bilinear", .in = {MODES(1, 2, 3)}, .attributes = BILINEAR(8)},
    {.name = "L64D16M32", .in = {MODES(16, 32, 100)}, .attributes = ZOH(64)},
    {.name = "L67D5M3B",
     .in = {MODES(5, 3, 30), {SHAPE(5, 3, 2), FILL_NORMAL, 1, 0}},
     .attributes = ZOH(67)},
    {.name = "L101D37M7Bbilinear",
     .in = {MODES(37, 7, 30), {SHAPE(37, 7, 2), FILL_NORMAL, 1, 0}},
     .attributes = BILINEAR(101)},
    {.name = "L1000D3M5", .in = {MODES(3, 5, 100)}, .attributes = ZOH(1000)},
    {.name = "L40001D2M3slow",
     /* modes that live for the whole length and turn by up to 1000 radians */
     .in = {{SHAPE(2), FILL_UNIFORM, -9, -8},
            {SHAPE(2, 3), FILL_UNIFORM, -1, 0},
            {SHAPE(2, 3), FILL_UNIFORM, 0, 100},
            {SHAPE(2, 3, 2), FILL_NORMAL, 1, 0}},
     .attributes = ZOH(40001)},
    {.name = "L67D5M3steps",
     .in = {DSS(5, 3, -1)},
     .attributes = FORM(67, .real = REAL_PLAIN, .imaginary = IMAGINARY_PLAIN)},
    {.name = "L131D18M70exp",
     /* more modes than a table holds, steps of 1, imaginary parts e^-1 .. e^1 */
     .in = {{{0}, FILL_NONE, 0, 0},
            {SHAPE(18, 70), FILL_UNIFORM, -4, 0},
            {SHAPE(18, 70), FILL_UNIFORM, -1, 1},
            {SHAPE(18, 70, 2), FILL_NORMAL, 1, 0}},
     .attributes = FORM(131, .imaginary = IMAGINARY_EXP)},
    {.name = "L50D1M9clipped",
     .in = {{SHAPE(1), FILL_UNIFORM, -4, -2},
            {SHAPE(1, 9), FILL_UNIFORM, -0.5, 0.5},
            {SHAPE(1, 9), FILL_UNIFORM, 0, 30},
            {SHAPE(1, 9, 2), FILL_NORMAL, 1, 0}},
     .attributes = FORM(50, .real = REAL_CLIPPED)},
    /* Modes that all channels share; of the first, more channels and modes than are taken together.
     */
    {.name = "L300D70M67shared",
     .in = {{{0}, FILL_NONE, 0, 0},
            {SHAPE(1, 67), FILL_UNIFORM, -4, 0},
            {SHAPE(1, 67), FILL_UNIFORM, -1, 1},
            {SHAPE(70, 67, 2), FILL_NORMAL, 1, 0}},
     .attributes = FORM(300, .imaginary = IMAGINARY_EXP)},
    {.name = "L131D2M1Bsharedbilinear",
     .in = {{SHAPE(1), FILL_UNIFORM, -4, -2},
            {SHAPE(1, 1), FILL_UNIFORM, -1, 0},
            {SHAPE(1, 1), FILL_UNIFORM, 0, 30},
            {SHAPE(2, 1, 2), FILL_NORMAL, 1, 0},
            {SHAPE(1, 1, 2), FILL_NORMAL, 1, 0}},
     .attributes = BILINEAR(131)},
    {.name = "L129D5M17sharedsteps",
     .in = {SHARED(17, 5, 100)},
     .attributes = FORM(129, .real = REAL_CLIPPED)},
    {.name = "L300D3M2sharedsoftmaxgrowing",
     .in = {{SHAPE(1, 2), FILL_UNIFORM, -4, -2},
            {SHAPE(1, 2), FILL_UNIFORM, 0.1, 0.6},
            {SHAPE(1, 2), FILL_UNIFORM, 0, 30},
            {SHAPE(3, 2, 2), FILL_NORMAL, 1, 0}},
     .attributes = SOFTMAX(300, 333)},
    {.name = "L61D17M5softmax", .in = {DSS(17, 5, -1)}, .attributes = SOFTMAX(61, 61)},
    {.name = "L300D3M2softmaxgrowing", .in = {DSS(3, 2, 0.1)}, .attributes = SOFTMAX(300, 333)},
    {.name = "L1024D64M32", .in = {MODES(64, 32, 100)}, .attributes = ZOH(1024), .benchmark = true},
    {.name = "L16384D64M32",
     .in = {MODES(64, 32, 100)},
     .attributes = ZOH(16384),
     .benchmark = true},
    {.name = "L1024D32M512shared",
     .in = {SHARED(512, 32, 3)},
     .attributes = ZOH(1024),
     .benchmark = true},
};

OP_CPU_DECLARE(vandermonde);

const Op op_vandermonde = {
    .name = "vandermonde",
    .summary = "K[l] = 2 Re sum_n C_n Bbar_n lambdabar_n^l of a diagonal state space",
    .inputs = DIAGONAL_INPUTS,
    .outputs = 1,
    .attribute_bytes = sizeof(Vandermonde),
    .needs_inputs = (1u << DIAGONAL_INPUTS) - 1,
    .gradients = (1u << DIAGONAL_INPUTS) - 1,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(vandermonde),
    .reference = vandermonde_reference,
    OP_CASES(cases),
};

Tensor *vandermonde(Tape *tape, DiagonalParameters p, DiagonalForm form, int64_t length) {
    const Vandermonde attributes = {form, length};
    Tensor *const in[] = {p.log_dt, p.A_real, p.A_imag, p.C, p.B};
    return tape_apply(tape, &op_vandermonde, in, DIAGONAL_INPUTS, &attributes)->out[0];
}
