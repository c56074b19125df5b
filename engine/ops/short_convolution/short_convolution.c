#include "engine/ops/short_convolution/short_convolution.h"

#include "engine/ops/short_convolution/short_convolution_plan.h"

enum { X, W, BIAS, STATE };

static void shape(Tape *tape, OpCall *call) {
    const ShortConvolution *attributes = call->attributes;
    const Tensor *x = call->in[X], *w = call->in[W], *bias = call->in[BIAS],
                 *state = call->in[STATE];
    if (x->shape.rank != 3 || w->shape.rank != 2 || extent(w, 1) != extent(x, 2)) {
        tape_fail(tape, call, "x must be (B, L, E) and the taps (K, E) with the same E");
        return;
    }
    const int64_t B = extent(x, 0), E = extent(x, 2), K = extent(w, 0);
    if (K < 2 || K > SHORT_CONVOLUTION_TAPS)
        tape_fail(tape, call,
                  "%lld taps: 2 to %d are possible; longer filters are long_convolution",
                  (long long)K, SHORT_CONVOLUTION_TAPS);
    if (attributes->activation != ACTIVATION_NONE && attributes->activation != ACTIVATION_SILU)
        tape_fail(tape, call, "activation %s is not fused here: none or silu",
                  activation_name(attributes->activation));
    if (bias && (bias->shape.rank != 1 || extent(bias, 0) != E))
        tape_fail(tape, call, "the bias must be (E) with E = %lld", (long long)E);
    if (state && attributes->centred)
        tape_fail(tape, call, "a centred convolution sees the future and so has no state");
    if (state && !shape_equal(&state->shape, &SHAPE(B, K - 1, E)))
        tape_fail(tape, call, "the state must be (B, K-1, E) = (%lld, %lld, %lld)", (long long)B,
                  (long long)(K - 1), (long long)E);
    tape_output(tape, call, TENSOR_FLOAT, x->shape);
    if (state) tape_output(tape, call, TENSOR_FLOAT, state->shape);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const double elements = (double)tensor_size(call->in[X]), taps = (double)extent(call->in[W], 0);
    const ShortConvolution *attributes = call->attributes;
    const bool silu = attributes->activation == ACTIVATION_SILU;
    *forward = (Cost){.flops = elements * (2 * taps + silu),
                      .specials = silu ? 2 * elements : 0, /* exp, division */
                      .bytes_read = 4 * elements,
                      .bytes_written = 4 * elements};
    /* Gradients of x and of the taps; the pre-activation is computed again and not saved. */
    *backward = (Cost){.flops = elements * (4 * taps + (silu ? 2 * taps + 5 : 0)),
                       .specials = forward->specials,
                       .bytes_read = 8 * elements,
                       .bytes_written = 4 * elements};
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const Plan plan = short_convolution_plan(call);
    int64_t floats = threads * plan.window;
    if (phase == PHASE_BACKWARD)
        floats += threads * plan.local + plan.K * plan.E + plan.groups * plan.partial;
    return (size_t)floats * sizeof(float);
}

static const ShortConvolution plain = {.activation = ACTIVATION_NONE},
                              silu = {.activation = ACTIVATION_SILU},
                              centred = {.activation = ACTIVATION_NONE, .centred = true};

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define TAPS(K, E)                                                                                 \
    { .shape = SHAPE(K, E), .fill = FILL_NORMAL, .a = 0.5 }
static const OpCase cases[] = {
    {"B1L1E1K2", {NORMAL(1, 1, 1), TAPS(2, 1)}, .attributes = &plain},
    {"B2L3E5K4", {NORMAL(2, 3, 5), TAPS(4, 5), NORMAL(5)}, .attributes = &silu},
    {"B3L67E17K3", {NORMAL(3, 67, 17), TAPS(3, 17)}, .attributes = &plain},
    {"B2L131E33K4", {NORMAL(2, 131, 33), TAPS(4, 33), NORMAL(33)}, .attributes = &silu},
    {"B1L40E19K16", {NORMAL(1, 40, 19), TAPS(16, 19), NORMAL(19)}, .attributes = &silu},
    {"carried-L1", {NORMAL(2, 1, 7), TAPS(4, 7), NORMAL(7), NORMAL(2, 3, 7)}, .attributes = &silu},
    {"carried-L2",
     {NORMAL(2, 2, 7), TAPS(4, 7), NORMAL(7), NORMAL(2, 3, 7)},
     .attributes = &silu,
     .seeds = 3u},
    {"carried-L70",
     {NORMAL(2, 70, 7), TAPS(3, 7), {0}, NORMAL(2, 2, 7)},
     .attributes = &plain,
     .seeds = 3u},
    {"centred-K3", {NORMAL(2, 67, 5), TAPS(3, 5), NORMAL(5)}, .attributes = &centred},
    {"centred-K4", {NORMAL(1, 2, 5), TAPS(4, 5)}, .attributes = &centred},
    {"carried-L2E8",
     {NORMAL(2, 2, 8), TAPS(4, 8), NORMAL(8), NORMAL(2, 3, 8)},
     .attributes = &silu,
     .seeds = 3u},
    {"carried-L131E8",
     {NORMAL(2, 131, 8), TAPS(4, 8), NORMAL(8), NORMAL(2, 3, 8)},
     .attributes = &silu},
    {"carried-L70E12K2",
     {NORMAL(3, 70, 12), TAPS(2, 12), {0}, NORMAL(3, 1, 12)},
     .attributes = &plain},
    {"centred-L131E132K4",
     {NORMAL(2, 131, 132), TAPS(4, 132), NORMAL(132)},
     .attributes = &centred},
    {"centred-L67E5K7", {NORMAL(2, 67, 5), TAPS(7, 5), NORMAL(5)}, .attributes = &centred},
    {"mamba-d128", {NORMAL(1, 256, 256), TAPS(4, 256), NORMAL(256)}, &silu, .benchmark = true},
    {"mamba-L1024", {NORMAL(2, 1024, 256), TAPS(4, 256), NORMAL(256)}, &silu, .benchmark = true},
    {"plain-L2", {NORMAL(1, 256, 256), TAPS(4, 256), NORMAL(256)}, &plain, .benchmark = true},
    {"hyena-L1024", {NORMAL(1, 1024, 384), TAPS(3, 384), NORMAL(384)}, &plain, .benchmark = true},
    {"mamba-B8L2048E2048",
     {NORMAL(8, 2048, 2048), TAPS(4, 2048), NORMAL(2048)},
     &silu,
     .gpu = true},
    {"hyena-B8L2048E6144",
     {NORMAL(8, 2048, 6144), TAPS(3, 6144), NORMAL(6144)},
     &plain,
     .gpu = true},
};

OP_CPU_DECLARE(short_convolution);
void short_convolution_reference(const ReferenceCall *call);

const Op op_short_convolution = {
    .name = "short_convolution",
    .summary = "y[t] = act(bias + sum_j w[j] x[t - past + j]), per channel",
    .inputs = 4,
    .outputs = 2,
    .attribute_bytes = sizeof(ShortConvolution),
    .needs_inputs = 1u << X | 1u << W | 1u << BIAS | 1u << STATE,
    .gradients = 1u << X | 1u << W | 1u << BIAS | 1u << STATE,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(short_convolution),
    .reference = short_convolution_reference,
    OP_CASES(cases),
};

Tensor *short_convolution(Tape *tape, Tensor *x, Tensor *w, Tensor *bias,
                          ShortConvolution attributes, Tensor *state, Tensor **next) {
    Tensor *in[] = {x, w, bias, state};
    const OpCall *call = tape_apply(tape, &op_short_convolution, in, 4, &attributes);
    if (next) *next = state ? call->out[1] : NULL;
    return call->out[0];
}
