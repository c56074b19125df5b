#include "engine/ops/squared_error/squared_error.h"

static void shape(Tape *tape, OpCall *call) {
    const int64_t rows = tensor_size(call->in[0]);
    for (int i = 1; i < 3; i++)
        if (tensor_size(call->in[i]) != rows) {
            tape_fail(tape, call, "%s must have one value per prediction, %lld, but has %lld",
                      i == 1 ? "target" : "weights", (long long)rows,
                      (long long)tensor_size(call->in[i]));
            return;
        }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(1));
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(rows));
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double rows = (double)tensor_size(call->in[0]);
    forward->flops = 4 * rows;
    forward->bytes_read = 12 * rows;
    forward->bytes_written = 4 * rows;
    backward->flops = 3 * rows;
    backward->bytes_read = 12 * rows;
    backward->bytes_written = 4 * rows;
}

#define VALUES(R)                                                                                  \
    { .shape = SHAPE(R), .fill = FILL_NORMAL, .a = 2 }
#define WEIGHTS(R)                                                                                 \
    { .shape = SHAPE(R), .fill = FILL_UNIFORM, .a = 0, .b = 1 }

static const OpCase cases[] = {
    {.name = "R1", .in = {VALUES(1), VALUES(1), WEIGHTS(1)}},
    {.name = "R67", .in = {VALUES(67), VALUES(67), WEIGHTS(67)}, .seeds = 3u},
    {.name = "R1009", .in = {VALUES(1009), VALUES(1009), WEIGHTS(1009)}},
};

void squared_error_reference(const ReferenceCall *call);
OP_CPU_DECLARE(squared_error);

const Op op_squared_error = {
    .name = "squared_error",
    .summary = "loss = sum of weights (prediction - target)^2",
    .inputs = 3,
    .outputs = 2,
    .needs_inputs = 7,
    .gradients = 1,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(squared_error),
    .reference = squared_error_reference,
    OP_CASES(cases),
};

SquaredError squared_error(Tape *tape, Tensor *prediction, Tensor *target, Tensor *weights) {
    Tensor *in[] = {prediction, target, weights};
    const OpCall *call = tape_apply(tape, &op_squared_error, in, 3, NULL);
    return (SquaredError){.loss = call->out[0], .row_loss = call->out[1]};
}
