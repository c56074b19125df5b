#include "engine/ops/hippo_cell/hippo_cell.h"

#include "engine/ops/hippo_cell/hippo_cell_plan.h"

static bool has_shape(const OpCall *call, int i, Shape shape) {
    const Tensor *tensor = i < call->inputs ? call->in[i] : NULL;
    return !tensor || shape_equal(&tensor->shape, &shape);
}

static void shape(Tape *tape, OpCall *call) {
    const Tensor *gates = call->in[HIPPO_GATES], *w_m = call->in[HIPPO_W_M];
    if (gates->shape.rank != 3 || w_m->shape.rank != 2) {
        tape_fail(tape, call, "gates must be (B, L, 2H) and w_m (N, 2H)");
        return;
    }
    const int64_t B = extent(gates, 0), L = extent(gates, 1), H = extent(gates, 2) / 2,
                  N = extent(w_m, 0);
    if (!has_shape(call, HIPPO_DRIVE, SHAPE(B, L, 1)) ||
        !has_shape(call, HIPPO_GATES, SHAPE(B, L, 2 * H)) ||
        !has_shape(call, HIPPO_W_U, SHAPE(H)) || !has_shape(call, HIPPO_W_M, SHAPE(N, 2 * H)) ||
        !has_shape(call, HIPPO_A, SHAPE(N, N)) || !has_shape(call, HIPPO_B, SHAPE(N)) ||
        !has_shape(call, HIPPO_H0, SHAPE(B, H)) || !has_shape(call, HIPPO_M0, SHAPE(B, N)) ||
        !call->in[HIPPO_A] != !call->in[HIPPO_B])
        tape_fail(tape, call,
                  "with gates (%lld, %lld, %lld) and N = %lld expected drive (B, L, 1), w_u (H), "
                  "w_m (N, 2H), A (N, N) "
                  "and b (N) or neither, states (B, H) and (B, N)",
                  (long long)B, (long long)L, (long long)(2 * H), (long long)N);
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(B, L, H));
    if (call->in[HIPPO_H0]) {
        tape_output(tape, call, TENSOR_FLOAT, SHAPE(B, H));
        tape_output(tape, call, TENSOR_FLOAT, SHAPE(B, N));
    }
    if (tape_mode(tape) != TAPE_TRAIN) return;
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(L, B, N));
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(L, B, 2 * H));
}

/* The product with w_m, the memory, the units; backward two products with w_m and two of the
 * memory. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const HippoPlan p = hippo_plan(call, PHASE_FORWARD);
    const double tokens = (double)p.B * (double)p.L, H = (double)p.H, N = (double)p.N;
    const double memory = p.dense ? 2 * N * N + 2 * N : 10 * N;
    const double weights = 4 * (2 * H * N + H + (p.dense ? N * N + N : 0));
    forward->flops = tokens * (4 * H * N + memory + 6 * H);
    backward->flops = tokens * (8 * H * N + memory + 2 * N + 16 * H);
    forward->specials = tokens * (2 * H + (p.dense ? 0 : N / (double)p.B));
    backward->specials = p.dense ? 0 : (double)p.L * N;
    forward->bytes_read = tokens * 4 * (1 + 2 * H) + weights;
    forward->bytes_written = tokens * 4 * (H + (call->saves ? 2 * H + N : 0));
    backward->bytes_read = tokens * 4 * (4 * H + N) + weights;
    backward->bytes_written = tokens * 4 * (1 + 2 * H) + weights;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const HippoPlan p = hippo_plan(call, phase);
    const size_t floats = (size_t)p.floats * sizeof(float);
    if (phase == PHASE_FORWARD) return floats;
    const size_t large = gemm_workspace(GEMM_TN, p.N, 2 * p.H, p.steps * p.B, threads);
    const size_t small = gemm_workspace(GEMM_TN, 1, p.H, p.L, threads);
    return floats + (large > small ? large : small);
}

#define NORMAL(DEVIATION, ...)                                                                     \
    { SHAPE(__VA_ARGS__), FILL_NORMAL, DEVIATION, 0 }
#define NONE                                                                                       \
    { {0}, FILL_NONE, 0, 0 }
/* Weights that keep states near 1. */
#define CELL(B, L, H, N)                                                                           \
    NORMAL(1, B, L, 1), NORMAL(1, B, L, 2 * H), NORMAL(0.1, H), NORMAL(0.2, N, 2 * H)
#define MATRIX(N) NORMAL(0.05, N, N), NORMAL(1, N)
#define PAST                                                                                       \
    &(const HippoCell) {                                                                           \
        0                                                                                          \
    }
#define CLAMP(K)                                                                                   \
    &(const HippoCell) {                                                                           \
        K                                                                                          \
    }

static const OpCase cases[] = {
    {.name = "B1L1H1N1", .in = {CELL(1, 1, 1, 1)}, .attributes = PAST},
    {.name = "B3L7H5N4", .in = {CELL(3, 7, 5, 4)}, .attributes = PAST},
    {.name = "B2L13H9N17clamp", .in = {CELL(2, 13, 9, 17)}, .attributes = CLAMP(5)},
    {.name = "B17L5H8N33", .in = {CELL(17, 5, 8, 33)}, .attributes = PAST},
    {.name = "B3L7H5N4matrix", .in = {CELL(3, 7, 5, 4), MATRIX(4)}, .attributes = PAST},
    {.name = "B19L6H33N19matrix", .in = {CELL(19, 6, 33, 19), MATRIX(19)}, .attributes = PAST},
    {.name = "B2L1H7N5step",
     .in = {CELL(2, 1, 7, 5),
            NONE,
            NONE,
            NORMAL(1, 2, 7),
            NORMAL(1, 2, 5),
            {SHAPE(1), FILL_INTEGER, 3, 9}},
     .attributes = PAST,
     .gradient_free = true},
    {.name = "B16L64H128N128",
     .in = {CELL(16, 64, 128, 128)},
     .attributes = PAST,
     .benchmark = true},
    {.name = "B16L64H128N128matrix",
     .in = {CELL(16, 64, 128, 128), MATRIX(128)},
     .attributes = PAST,
     .benchmark = true},
};

OP_CPU_DECLARE(hippo_cell);

const Op op_hippo_cell = {
    .name = "hippo_cell",
    .summary = "u = drive + h w_u; m = m A + u b; h = (1 - g) h + g tanh(a), (a, g) from m W_m",
    .inputs = HIPPO_INPUTS,
    .outputs = 3,
    .attribute_bytes = sizeof(HippoCell),
    .needs_inputs = 1u << HIPPO_W_U | 1u << HIPPO_W_M | 1u << HIPPO_A | 1u << HIPPO_B,
    .needs_outputs = 1,
    .gradients = 1u << HIPPO_DRIVE | 1u << HIPPO_GATES | 1u << HIPPO_W_U | 1u << HIPPO_W_M,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(hippo_cell),
    .reference = hippo_cell_reference,
    OP_CASES(cases),
};

Tensor *hippo_cell(Tape *tape, Tensor *drive, Tensor *gates, HippoWeights w, HippoCell attributes,
                   const HippoState *state, HippoState *next) {
    Tensor *const in[] = {drive,
                          gates,
                          w.w_u,
                          w.w_m,
                          w.A,
                          w.b,
                          state ? state->h : NULL,
                          state ? state->m : NULL,
                          state ? state->position : NULL};
    OpCall *call = tape_apply(tape, &op_hippo_cell, in, HIPPO_INPUTS, &attributes);
    if (state && next) *next = (HippoState){.h = call->out[1], .m = call->out[2]};
    return call->out[0];
}
