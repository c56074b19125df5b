#include "engine/ops/pointwise/pointwise.h"

/* What the plan must know about each function. */
typedef struct Row {
    int inputs;
    uint32_t needs_inputs, passes;
    double forward, backward; /* additions and multiplications per element, activations apart */
} Row;

static const Row rows[POINTWISE_COUNT] = {
    [POINTWISE_ADD] = {.inputs = 2, .passes = 3, .forward = 1},
    [POINTWISE_MULTIPLY] = {.inputs = 2, .needs_inputs = 3, .forward = 1, .backward = 2},
    [POINTWISE_GATE] = {.inputs = 2, .needs_inputs = 3, .forward = 1, .backward = 3},
    [POINTWISE_ACTIVATE] = {.inputs = 1, .needs_inputs = 1, .backward = 1},
    [POINTWISE_SCALE] = {.inputs = 1, .forward = 1, .backward = 1},
};

static void shape(Tape *tape, OpCall *call) {
    const Pointwise *attributes = call->attributes;
    const Row *row = &rows[attributes->function];
    const Tensor *a = call->in[0], *b = row->inputs > 1 ? call->in[1] : a;
    if (!shape_equal(&a->shape, &b->shape)) {
        tape_fail(tape, call,
                  "both inputs must have the same shape, but %s has %d extents with %lld elements "
                  "and %s %d with %lld; reshape one of them",
                  a->name, a->shape.rank, (long long)tensor_size(a), b->name, b->shape.rank,
                  (long long)tensor_size(b));
        return;
    }
    call->needs_inputs = row->needs_inputs;
    call->passes = row->passes;
    tape_output(tape, call, TENSOR_FLOAT, a->shape);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const Pointwise *attributes = call->attributes;
    const Row *row = &rows[attributes->function];
    const double n = (double)tensor_size(call->out[0]);
    const ActivationCost value = activation_cost(attributes->activation);
    forward->flops = n * (row->forward + value.flops);
    forward->specials = n * value.specials;
    forward->bytes_read = 4 * n * row->inputs;
    forward->bytes_written = 4 * n;
    /* The derivative costs about what the value costs; a gate needs both. */
    const double both = attributes->function == POINTWISE_GATE ? 2 : 1;
    backward->flops = n * (row->backward + both * value.flops);
    backward->specials = n * value.specials;
    backward->bytes_read = 4 * n * (1 + (row->needs_inputs ? row->inputs : 0));
    backward->bytes_written = 4 * n * row->inputs;
}

#define ELEMENTS(...)                                                                              \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1.5 }
#define OF(f, kind, c)                                                                             \
    &(const Pointwise) {                                                                           \
        .function = POINTWISE_##f, .activation = ACTIVATION_##kind, .factor = c                    \
    }
#define ONE(label, f, kind, c, ...)                                                                \
    .name = label, .in = {ELEMENTS(__VA_ARGS__)}, .attributes = OF(f, kind, c)
#define TWO(label, f, kind, ...)                                                                   \
    .name = label, .in = {ELEMENTS(__VA_ARGS__), ELEMENTS(__VA_ARGS__)},                           \
    .attributes = OF(f, kind, 0)

static const OpCase cases[] = {
    {TWO("add1", ADD, NONE, 1)},
    {TWO("add2x3x5x7", ADD, NONE, 2, 3, 5, 7)},
    {TWO("multiply67", MULTIPLY, NONE, 67)},
    {ONE("scale1009", SCALE, NONE, -3, 1009)},
    {ONE("relu3x67", ACTIVATE, RELU, 0, 3, 67)},
    {ONE("squared_relu3x67", ACTIVATE, SQUARED_RELU, 0, 3, 67)},
    {ONE("gelu3x67", ACTIVATE, GELU, 0, 3, 67)},
    {.name = "gelu_far1001",
     .in = {{.shape = SHAPE(1001), .fill = FILL_NORMAL, .a = 8}},
     .attributes = OF(ACTIVATE, GELU, 0)},
    {ONE("gelu_tanh3x67", ACTIVATE, GELU_TANH, 0, 3, 67)},
    {ONE("gelu_sigmoid3x67", ACTIVATE, GELU_SIGMOID, 0, 3, 67)},
    {ONE("silu3x67", ACTIVATE, SILU, 0, 3, 67)},
    {ONE("sigmoid3x67", ACTIVATE, SIGMOID, 0, 3, 67)},
    {ONE("tanh3x67", ACTIVATE, TANH, 0, 3, 67)},
    {ONE("softplus3x67", ACTIVATE, SOFTPLUS, 0, 3, 67)},
    {ONE("exp3x67", ACTIVATE, EXP, 0, 3, 67)},
    {TWO("relu_gate131", GATE, RELU, 131)},
    {TWO("gelu_gate131", GATE, GELU, 131)},
    {TWO("silu_gate131", GATE, SILU, 131)},
    {TWO("sigmoid_gate131", GATE, SIGMOID, 131)},
    {TWO("tanh_gate131", GATE, TANH, 131)},
    {TWO("add40000", ADD, NONE, 40000)},
    {TWO("add4x512x128", ADD, NONE, 4, 512, 128), .benchmark = true},
    {TWO("multiply4x512x128", MULTIPLY, NONE, 4, 512, 128), .benchmark = true},
    {TWO("silu_gate4x512x128", GATE, SILU, 4, 512, 128), .benchmark = true},
    {ONE("gelu4x512x256", ACTIVATE, GELU, 0, 4, 512, 256), .benchmark = true},
    {TWO("add8x2048x2048", ADD, NONE, 8, 2048, 2048), .gpu = true},
    {TWO("silu_gate8x2048x2048", GATE, SILU, 8, 2048, 2048), .gpu = true},
    {ONE("gelu8x2048x8192", ACTIVATE, GELU, 0, 8, 2048, 8192), .gpu = true},
};

void pointwise_reference(const ReferenceCall *call);
OP_CPU_DECLARE(pointwise);

const Op op_pointwise = {
    .name = "pointwise",
    .summary = "y = a + b, a b, a f(b), f(a) or c a, element by element",
    .inputs = 2,
    .outputs = 1,
    .attribute_bytes = sizeof(Pointwise),
    .gradients = 3,
    .shape = shape,
    .cost = cost,
    .cpu = OP_CPU(pointwise),
    .reference = pointwise_reference,
    OP_CASES(cases),
};

static Tensor *apply(Tape *tape, Tensor *a, Tensor *b, Pointwise attributes) {
    Tensor *in[] = {a, b};
    return tape_apply(tape, &op_pointwise, in, rows[attributes.function].inputs, &attributes)
        ->out[0];
}

Tensor *add(Tape *tape, Tensor *a, Tensor *b) {
    return apply(tape, a, b, (Pointwise){.function = POINTWISE_ADD});
}

Tensor *multiply(Tape *tape, Tensor *a, Tensor *b) {
    return apply(tape, a, b, (Pointwise){.function = POINTWISE_MULTIPLY});
}

Tensor *gate(Tape *tape, Tensor *a, Tensor *b, Activation activation) {
    return apply(tape, a, b, (Pointwise){.function = POINTWISE_GATE, .activation = activation});
}

Tensor *activate(Tape *tape, Tensor *a, Activation activation) {
    return apply(tape, a, NULL,
                 (Pointwise){.function = POINTWISE_ACTIVATE, .activation = activation});
}

Tensor *scale(Tape *tape, Tensor *a, double factor) {
    return apply(tape, a, NULL, (Pointwise){.function = POINTWISE_SCALE, .factor = (float)factor});
}
