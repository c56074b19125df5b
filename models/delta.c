#include "models/delta.h"

#include "engine/ops/delta_rule/delta_rule.h"
#include "engine/ops/norm/norm.h"
#include "engine/ops/pointwise/pointwise.h"
#include "models/mamba_parts.h"

/* silu(convolution(x W)): SCOPE.name. Taps start as in the released layer by itself, not at the
 * 0.02 of the released models. */
static Tensor *convolve(Tape *tape, const Backbone *backbone, const char *name, Tensor *x,
                        int64_t width, int64_t taps) {
    x = backbone_linear(tape, name, x, width, false, backbone_init(backbone), NULL);
    tape_scope(tape, "%s", name);
    x = mamba_convolution(tape, x, taps, false, ACTIVATION_SILU);
    tape_scope_end(tape);
    return x;
}

/* x (B, L, H d) -> the same, every head of it with length sqrt(d): an RMS norm without gains is the
 * division by |x| / sqrt(d). The released code's epsilon of 1e-6 stands beside |x|^2. */
static Tensor *lengthen(Tape *tape, Tensor *x, int64_t d) {
    const Shape shape = x->shape;
    x = tape_reshape(tape, x, SHAPE(extent(x, 0), extent(x, 1) * extent(x, 2) / d, d));
    return tape_reshape(tape, rms_norm(tape, x, NULL, 1e-6 / (double)d), shape);
}

/* Channels of a head. */
static int64_t head_width(const Backbone *backbone, int64_t heads, double expand) {
    return (int64_t)ceil(expand * (double)backbone->width / (double)heads - 1e-6);
}

Tensor *delta_heads(Tape *tape, const ModelContext *context, Tensor *x, Tensor *log_decay) {
    const DeltaOptions *own = context->options;
    const Backbone *backbone = context->backbone;
    const int64_t B = extent(x, 0), H = own->heads, K = own->convolution;
    const int64_t d = head_width(backbone, H, own->expand_k);
    const int64_t m = head_width(backbone, H, own->expand_v);
    Tensor *q = convolve(tape, backbone, "q", x, H * d, K);
    Tensor *k = convolve(tape, backbone, "k", x, H * d, K);
    Tensor *v = convolve(tape, backbone, "v", x, H * m, K);
    Tensor *beta = backbone_linear(tape, "beta", x, H, false, backbone_init(backbone), NULL);
    beta = activate(tape, beta, ACTIVATION_SIGMOID);
    if (own->negative_eigenvalues) beta = scale(tape, beta, 2);
    const DeltaRuleInputs in = {.q = lengthen(tape, q, d),
                                .k = lengthen(tape, k, d),
                                .v = v,
                                .beta = beta,
                                .log_decay = log_decay,
                                .state = tape_carry(tape, "state", SHAPE(B, H, d * m))};
    /* Keys of length 1, queries of length 1 / sqrt(d). */
    const DeltaRule rule = {.heads = H, .q_scale = 1 / (double)d, .k_scale = 1 / sqrt((double)d)};
    Tensor *next;
    Tensor *o = delta_rule(tape, &in, &rule, &next);
    tape_carry_out(tape, "state", next);
    return o;
}

int64_t delta_floats(const Backbone *backbone, const void *options, int64_t length) {
    (void)length;
    const DeltaOptions *own = options;
    const int64_t d = head_width(backbone, own->heads, own->expand_k);
    const int64_t m = head_width(backbone, own->heads, own->expand_v);
    return backbone->layers * own->heads * (d * m + (own->convolution - 1) * (2 * d + m));
}
