#include "engine/ops/gabor/gabor.h"

OP_CPU_DECLARE(gabor);
void gabor_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const Tensor *bank = call->in[1];
    if (bank->shape.rank != 2 || extent(bank, 0) != GABOR_ROWS) {
        tape_fail(tape, call,
                  "the bank must be (4, H): rates, centres, frequencies and phases of H filters");
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(tensor_size(call->in[0]), extent(bank, 1)));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double n = (double)tensor_size(call->out[0]);
    *forward = (Cost){.flops = 7 * n, .specials = 2 * n, .bytes_written = 4 * n};
    *backward = (Cost){.flops = 20 * n, .specials = 3 * n, .bytes_read = 4 * n};
}

Tensor *gabor(Tape *tape, Tensor *positions, Tensor *bank) {
    Tensor *in[] = {positions, bank};
    return tape_apply(tape, &op_gabor, in, 2, NULL)->out[0];
}

#define POSITIONS(K)                                                                               \
    { SHAPE(K), FILL_UNIFORM, -1, 1 }
#define BANK(H)                                                                                    \
    { SHAPE(GABOR_ROWS, H), FILL_NORMAL, 2, 0 }

static const OpCase cases[] = {
    {.name = "K1H1", .in = {POSITIONS(1), BANK(1)}},
    {.name = "K13H7", .in = {POSITIONS(13), BANK(7)}},
    {.name = "K131H37", .in = {POSITIONS(131), BANK(37)}},
    {.name = "K1024H32", .in = {POSITIONS(1024), BANK(32)}, .benchmark = true},
};

const Op op_gabor = {
    .name = "gabor",
    .summary = "y = exp(-(rate (s - centre))^2 / 2) sin(frequency s + phase)",
    .inputs = 2,
    .outputs = 1,
    .needs_inputs = 3,
    .gradients = 2,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(gabor),
    .reference = gabor_reference,
    OP_CASES(cases),
};
