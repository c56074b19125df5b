#include "engine/ops/linear/linear.h"

#include "engine/gemm.h"

static void shape(Tape *tape, OpCall *call) {
    const Linear *attributes = call->attributes;
    const Tensor *x = call->in[0], *weight = call->in[1], *bias = call->in[2];
    const Tensor *residual = call->in[3];
    if (weight->shape.rank != 2 || extent(weight, 0) != extent(x, -1)) {
        tape_fail(tape, call,
                  "the weight must be (inputs, outputs) with %lld inputs, the last "
                  "extent of x, but its first extent is %lld of %d",
                  (long long)extent(x, -1), (long long)extent(weight, 0), weight->shape.rank);
        return;
    }
    Shape out = x->shape;
    out.extent[out.rank - 1] = extent(weight, 1);
    if (bias && tensor_size(bias) != extent(weight, 1)) {
        tape_fail(tape, call, "the bias must have %lld elements, one for each output, but has %lld",
                  (long long)extent(weight, 1), (long long)tensor_size(bias));
        return;
    }
    if (residual && !shape_equal(&residual->shape, &out)) {
        tape_fail(tape, call,
                  "the residual must be shaped like the output, which has %lld elements in rows of "
                  "%lld, but has %lld in rows of %lld",
                  (long long)shape_size(&out), (long long)extent(weight, 1),
                  (long long)tensor_size(residual), (long long)extent(residual, -1));
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, out);
    /* The derivative of an activation is taken at x W + b. */
    if (attributes->activation != ACTIVATION_NONE && tape_mode(tape) == TAPE_TRAIN)
        tape_saved(tape, call, TENSOR_FLOAT, out);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const Linear *attributes = call->attributes;
    const Tensor *x = call->in[0], *weight = call->in[1], *bias = call->in[2];
    const double from = (double)tensor_size(x), to = (double)tensor_size(call->out[0]);
    const double weights = (double)tensor_size(weight);
    const double product = 2.0 * (double)rows_of(x) * weights;
    const ActivationCost value = activation_cost(attributes->activation);
    const bool active = attributes->activation != ACTIVATION_NONE, residual = call->in[3];
    forward->flops = product + to * ((bias ? 1 : 0) + (residual ? 1 : 0) + value.flops);
    forward->specials = to * value.specials;
    forward->bytes_read = 4 * (from + weights + (residual ? to : 0));
    forward->bytes_written = 4 * to * (call->saves ? 2 : 1);
    backward->flops = product * ((x->wants_gradient ? 1 : 0) + (weight->wants_gradient ? 1 : 0)) +
                      to * ((bias ? 1 : 0) + (active ? 1 : 0) + value.flops);
    backward->specials = to * value.specials;
    backward->bytes_read = 4 * (from + weights + to * (active ? 2 : 1));
    backward->bytes_written = 4 * ((x->wants_gradient ? from : 0) + weights);
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const int64_t rows = rows_of(call->in[0]);
    const int64_t inputs = extent(call->in[1], 0), outputs = extent(call->in[1], 1);
    if (phase == PHASE_FORWARD) return gemm_workspace(GEMM_NN, rows, outputs, inputs, threads);
    const int64_t block = linear_block(inputs, outputs), most = rows < block ? rows : block;
    const size_t to_x = gemm_workspace(GEMM_NT, most, inputs, outputs, threads);
    const size_t to_weight = gemm_workspace(GEMM_TN, inputs, outputs, most, threads);
    const int64_t floats = linear_inner_floats(most, outputs) + linear_sum_floats(most, outputs);
    return (to_x > to_weight ? to_x : to_weight) + (size_t)floats * sizeof(float);
}

#define INPUT(...)                                                                                 \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define ABSENT                                                                                     \
    { .fill = FILL_NONE }
#define OF(kind)                                                                                   \
    .attributes = &(const Linear) {                                                                \
        .activation = ACTIVATION_##kind                                                            \
    }
/* x (B, I), W, and the four ways to have a bias and a residual. */
#define PLAIN(B, I, O) .in = {INPUT(B, I), INPUT(I, O)}
#define BIASED(B, I, O) .in = {INPUT(B, I), INPUT(I, O), INPUT(O)}
#define RESIDUAL(B, I, O) .in = {INPUT(B, I), INPUT(I, O), ABSENT, INPUT(B, O)}
#define WHOLE(B, I, O) .in = {INPUT(B, I), INPUT(I, O), INPUT(O), INPUT(B, O)}

static const OpCase cases[] = {
    {.name = "B1I1O1", PLAIN(1, 1, 1), OF(NONE)},
    {.name = "B1I7O13bias", BIASED(1, 7, 13), OF(NONE)},
    {.name = "B2x3I5O31residual",
     .in = {INPUT(2, 3, 5), INPUT(5, 31), ABSENT, INPUT(2, 3, 31)},
     OF(NONE)},
    {.name = "B29I17O33whole", WHOLE(29, 17, 33), OF(NONE)},
    {.name = "B67I64O64gelu", BIASED(67, 64, 64), OF(GELU)},
    {.name = "B131I31O67silu", PLAIN(131, 31, 67), OF(SILU)},
    {.name = "B97I64O1tanh", BIASED(97, 64, 1), OF(TANH)},
    {.name = "B61I1O37softplus", BIASED(61, 1, 37), OF(SOFTPLUS)},
    {.name = "B41I19O23relu_whole", WHOLE(41, 19, 23), OF(RELU)},
    {.name = "B45I19O48sigmoid_residual", RESIDUAL(45, 19, 48), OF(SIGMOID)},
    {.name = "B33I21O40relu2_whole", WHOLE(33, 21, 40), OF(SQUARED_RELU)},
    {.name = "B17I40O520gelu_tanh_whole", WHOLE(17, 40, 520), OF(GELU_TANH)},
    {.name = "B19I24O30gelu_sigmoid_whole", WHOLE(19, 24, 30), OF(GELU_SIGMOID)},
    {.name = "B5I600O9whole", WHOLE(5, 600, 9), OF(NONE)},
    {.name = "B700I130O140gelu_whole", WHOLE(700, 130, 140), OF(GELU)},
    {.name = "B1024I64O64", BIASED(1024, 64, 64), OF(NONE), .benchmark = true},
    {.name = "B1024I64O256gelu", BIASED(1024, 64, 256), OF(GELU), .benchmark = true},
    {.name = "B1024I256O64residual", WHOLE(1024, 256, 64), OF(NONE), .benchmark = true},
    {.name = "B512I512O512", PLAIN(512, 512, 512), OF(NONE), .benchmark = true},
    {.name = "B4096I4096O4096", PLAIN(4096, 4096, 4096), OF(NONE), .gpu = true},
    /* 16384 tokens at width 2048: a Transformer's projections and its MLP. */
    {.name = "B16384I2048O2048residual", WHOLE(16384, 2048, 2048), OF(NONE), .gpu = true},
    {.name = "B16384I2048O6144", BIASED(16384, 2048, 6144), OF(NONE), .gpu = true},
    {.name = "B16384I2048O8192gelu", BIASED(16384, 2048, 8192), OF(GELU), .gpu = true},
    {.name = "B16384I8192O2048residual", WHOLE(16384, 8192, 2048), OF(NONE), .gpu = true},
};

void linear_reference(const ReferenceCall *call);
OP_CPU_DECLARE(linear);

const Op op_linear = {
    .name = "linear",
    .summary = "y = activation(x W + b) + residual",
    .inputs = 4,
    .outputs = 1,
    .attribute_bytes = sizeof(Linear),
    .needs_inputs = 3,
    .passes = 8,
    .gradients = 15,
    .multiplies = true,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(linear),
    .reference = linear_reference,
    OP_CASES(cases),
};

Tensor *linear(Tape *tape, Tensor *x, Tensor *weight, Tensor *bias, Tensor *residual,
               Activation activation) {
    Tensor *in[] = {x, weight, bias, residual};
    return tape_apply(tape, &op_linear, in, 4, &(Linear){activation})->out[0];
}
