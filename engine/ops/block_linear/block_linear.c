#include "engine/ops/block_linear/block_linear.h"

#include "engine/gemm.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *x = call->in[0], *w = call->in[1];
    if (w->shape.rank != 3 || extent(w, 0) * extent(w, 1) != extent(x, -1)) {
        tape_fail(tape, call, "x must be (.., G I) and the weight (G, I, O)");
        return;
    }
    Shape out = x->shape;
    out.extent[out.rank - 1] = extent(w, 0) * extent(w, 2);
    tape_output(tape, call, TENSOR_FLOAT, out);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const Tensor *x = call->in[0], *w = call->in[1];
    const double from = (double)tensor_size(x), to = (double)tensor_size(call->out[0]);
    const double weights = (double)tensor_size(w), product = 2 * from * (double)extent(w, 2);
    *forward =
        (Cost){.flops = product, .bytes_read = 4 * (from + weights), .bytes_written = 4 * to};
    *backward =
        (Cost){.flops = product * ((x->wants_gradient ? 1 : 0) + (w->wants_gradient ? 1 : 0)),
               .bytes_read = 4 * (from + to + weights),
               .bytes_written = 4 * ((x->wants_gradient ? from : 0) + weights)};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const Tensor *x = call->in[0], *w = call->in[1];
    const int64_t rows = rows_of(x), chunk = block_linear_rows(rows);
    const int64_t I = extent(w, 1), O = extent(w, 2);
    if (!block_linear_narrow(w)) {
        const int64_t most = rows < chunk ? rows : chunk;
        if (phase == PHASE_FORWARD) return gemm_workspace(GEMM_NN, most, O, I, threads);
        const size_t to_x = gemm_workspace(GEMM_NT, most, I, O, threads);
        const size_t to_w = gemm_workspace(GEMM_TN, I, O, rows, threads);
        return to_x > to_w ? to_x : to_w;
    }
    const int64_t widest = 16; /* lanes: columns are padded to it */
    const int64_t packed = (extent(x, -1) + widest - 1) / widest * widest * NARROW_BLOCK;
    const int64_t sums = phase == PHASE_BACKWARD ? (rows + chunk - 1) / chunk : 0;
    return (size_t)(packed * (1 + sums)) * sizeof(float);
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }

static const OpCase cases[] = {
    {"R1G1I1O1", .in = {NORMAL(1, 1), NORMAL(1, 1, 1)}},
    {"R3G2I5O3", .in = {NORMAL(3, 10), NORMAL(2, 5, 3)}},
    {"R2x7G3I16O32", .in = {NORMAL(2, 7, 48), NORMAL(3, 16, 32)}},
    {"R131G2I33O17", .in = {NORMAL(131, 66), NORMAL(2, 33, 17)}},
    {"R1G1I4O4", .in = {NORMAL(1, 4), NORMAL(1, 4, 4)}},
    {"R7G5I4O4", .in = {NORMAL(7, 20), NORMAL(5, 4, 4)}},
    {"R2x67G19I4O4", .in = {NORMAL(2, 67, 76), NORMAL(19, 4, 4)}},
    {"R130G8I4O4", .in = {NORMAL(130, 32), NORMAL(8, 4, 4)}},
    {"R1024G32I4O4", .in = {NORMAL(1024, 128), NORMAL(32, 4, 4)}, .benchmark = true},
    {"R1024G4I16O32", .in = {NORMAL(1024, 64), NORMAL(4, 16, 32)}, .benchmark = true},
    {"R16384G384I4O4", .in = {NORMAL(16384, 1536), NORMAL(384, 4, 4)}, .gpu = true},
    {"R16384G4I192O384", .in = {NORMAL(16384, 768), NORMAL(4, 192, 384)}, .gpu = true},
};

OP_CPU_DECLARE(block_linear);

const Op op_block_linear = {
    .name = "block_linear",
    .summary = "y[.., g O + o] = sum_i x[.., g I + i] w[g, i, o]",
    .inputs = 2,
    .outputs = 1,
    .needs_inputs = 3,
    .gradients = 3,
    .multiplies = true,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(block_linear),
    .reference = block_linear_reference,
    OP_CASES(cases),
};

Tensor *block_linear(Tape *tape, Tensor *x, Tensor *w) {
    Tensor *in[] = {x, w};
    return tape_apply(tape, &op_block_linear, in, 2, NULL)->out[0];
}
