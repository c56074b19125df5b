#include "engine/ops/dense_convolution/dense_convolution.h"

#include <math.h>

#include "engine/ops/dense_convolution/dense_convolution_plan.h"

static void shape(Tape *tape, OpCall *call) {
    const Tensor *x = call->in[DENSE_CONVOLUTION_X];
    const Tensor *filter = call->in[DENSE_CONVOLUTION_FILTER];
    const Tensor *bias = call->in[DENSE_CONVOLUTION_BIAS];
    if (x->shape.rank != 3 || filter->shape.rank != 3 || extent(filter, 1) != extent(x, 2)) {
        tape_fail(
            tape, call,
            "expected x (B, L, I) and a filter (K, I, O), but x has rank %d and %lld channels "
            "and the filter has rank %d and %lld inputs",
            x->shape.rank, (long long)extent(x, -1), filter->shape.rank,
            (long long)extent(filter, 1));
        return;
    }
    if (extent(filter, 0) > extent(x, 1)) {
        tape_fail(tape, call, "the filter has %lld taps, the sequence %lld tokens: expected 1 to L",
                  (long long)extent(filter, 0), (long long)extent(x, 1));
        return;
    }
    if (bias && tensor_size(bias) != extent(filter, 2)) {
        tape_fail(tape, call, "the bias must have %lld elements, one for each output, but has %lld",
                  (long long)extent(filter, 2), (long long)tensor_size(bias));
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, SHAPE(extent(x, 0), extent(x, 1), extent(filter, 2)));
}

/* As the field counts transforms, 2.5 n log2 n for n = 2 L real points: one for every input, output
 * and pair of the filter; a complex product is 8 a frequency. Backward: one more for each output
 * and twice for the filter, and two products. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const Tensor *x = call->in[DENSE_CONVOLUTION_X], *filter = call->in[DENSE_CONVOLUTION_FILTER];
    const double B = (double)extent(x, 0), L = (double)extent(x, 1), I = (double)extent(x, 2);
    const double O = (double)extent(filter, 2), n = 2 * (double)dense_points(extent(x, 1));
    const double transform = 2.5 * n * log2(n), product = 4 * n * B * I * O;
    const double out = B * L * O, bias = call->in[DENSE_CONVOLUTION_BIAS] ? out : 0;
    const double in_bytes = 4 * B * L * I, filter_bytes = 4 * (double)tensor_size(filter);
    forward->flops = transform * (B * (I + O) + I * O) + product + bias;
    forward->bytes_read = in_bytes + filter_bytes;
    forward->bytes_written = 4 * out;
    backward->flops = transform * (B * (2 * I + O) + 2 * I * O) + 2 * product + bias;
    backward->bytes_read = in_bytes + filter_bytes + 4 * out;
    backward->bytes_written = in_bytes + filter_bytes;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const Tensor *x = call->in[DENSE_CONVOLUTION_X], *filter = call->in[DENSE_CONVOLUTION_FILTER];
    const int64_t B = extent(x, 0), I = extent(x, 2), O = extent(filter, 2);
    const Fft fft = fft_layout(dense_points(extent(x, 1)));
    (void)phase;
    const int64_t spectra = dense_spectra_floats(&fft, B, I, FFT_LANES) +
                            dense_spectra_floats(&fft, B + I, O, FFT_LANES);
    const int64_t table = dense_padded(fft_factor_floats(&fft), FFT_LANES);
    const int64_t sums = B * dense_padded(O, FFT_LANES);
    return (size_t)(table + spectra + sums + threads * dense_panel_floats(B, I, O, FFT_LANES)) *
           sizeof(float);
}

Tensor *dense_convolution(Tape *tape, Tensor *x, Tensor *filter, Tensor *bias) {
    Tensor *in[] = {x, filter, bias};
    return tape_apply(tape, &op_dense_convolution, in, DENSE_CONVOLUTION_INPUTS, NULL)->out[0];
}

#define NORMAL(...)                                                                                \
    { SHAPE(__VA_ARGS__), FILL_NORMAL, 1, 0 }
/* Filters that leave the output near 1. */
#define FILTER(K, I, O)                                                                            \
    { SHAPE(K, I, O), FILL_NORMAL, 0.1, 0 }

static const OpCase cases[] = {
    {.name = "B1L1I1O1", .in = {NORMAL(1, 1, 1), FILTER(1, 1, 1), NORMAL(1)}},
    {.name = "B2L7I3O5K4", .in = {NORMAL(2, 7, 3), FILTER(4, 3, 5), NORMAL(5)}},
    {.name = "B5L130I4O3", .in = {NORMAL(5, 130, 4), FILTER(130, 4, 3)}},
    {.name = "B3L37I17O19", .in = {NORMAL(3, 37, 17), FILTER(37, 17, 19), NORMAL(19)}},
    /* More tokens than a GPU transforms at a time. */
    {.name = "B1L4500I2O1K4200", .in = {NORMAL(1, 4500, 2), FILTER(4200, 2, 1), NORMAL(1)}},
    /* Widths of the published networks. */
    {.name = "B64L2048I30O30",
     .in = {NORMAL(64, 2048, 30), FILTER(2048, 30, 30), NORMAL(30)},
     .benchmark = true},
    {.name = "B16L784I100O100",
     .in = {NORMAL(16, 784, 100), FILTER(784, 100, 100), NORMAL(100)},
     .benchmark = true},
    {.name = "B64L1024I100O100",
     .in = {NORMAL(64, 1024, 100), FILTER(1024, 100, 100), NORMAL(100)},
     .gpu = true},
    {.name = "B4L16384I30O30",
     .in = {NORMAL(4, 16384, 30), FILTER(16384, 30, 30), NORMAL(30)},
     .gpu = true},
};

OP_CPU_DECLARE(dense_convolution);

const Op op_dense_convolution = {
    .name = "dense_convolution",
    .summary = "y_o = bias_o + sum over inputs i of h_io * x_i, * causal",
    .inputs = DENSE_CONVOLUTION_INPUTS,
    .outputs = 1,
    .needs_inputs = 1u << DENSE_CONVOLUTION_X | 1u << DENSE_CONVOLUTION_FILTER,
    .gradients = (1u << DENSE_CONVOLUTION_INPUTS) - 1,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(dense_convolution),
    .reference = dense_convolution_reference,
    OP_CASES(cases),
};
