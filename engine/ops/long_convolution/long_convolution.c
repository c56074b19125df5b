#include "engine/ops/long_convolution/long_convolution.h"

#include <math.h>

#include "engine/ops/long_convolution/long_convolution_plan.h"

static const Tensor *input(const OpCall *call, int i) {
    return i < call->inputs ? call->in[i] : NULL;
}

static void check_shape(Tape *tape, const OpCall *call, int i, const char *what, Shape expected) {
    const Tensor *tensor = input(call, i);
    if (tensor && !shape_equal(&tensor->shape, &expected))
        tape_fail(tape, call, "%s has another shape than the input u asks for", what);
}

static void shape(Tape *tape, OpCall *call) {
    const Tensor *u = call->in[LONG_CONVOLUTION_U];
    const Tensor *filter = call->in[LONG_CONVOLUTION_FILTER];
    if (u->shape.rank != 3) {
        tape_fail(tape, call, "u must be (B, L, D), not of rank %d", u->shape.rank);
        return;
    }
    const int64_t D = extent(u, 2), K = extent(filter, 0);
    if (K > extent(u, 1) || K < 1)
        tape_fail(tape, call, "the filter has %lld taps, the sequence %lld tokens: expected 1 to L",
                  (long long)K, (long long)extent(u, 1));
    check_shape(tape, call, LONG_CONVOLUTION_FILTER, "the filter (K, D)", SHAPE(K, D));
    check_shape(tape, call, LONG_CONVOLUTION_REVERSE, "the reverse filter (K, D)", SHAPE(K, D));
    check_shape(tape, call, LONG_CONVOLUTION_SKIP, "skip (D)", SHAPE(D));
    check_shape(tape, call, LONG_CONVOLUTION_PRE, "the gate pre (B, L, D)", u->shape);
    check_shape(tape, call, LONG_CONVOLUTION_POST, "the gate post (B, L, D)", u->shape);
    tape_output(tape, call, TENSOR_FLOAT, u->shape);
    if (input(call, LONG_CONVOLUTION_POST) && tape_mode(tape) == TAPE_TRAIN)
        tape_saved(tape, call, TENSOR_FLOAT, u->shape);
}

/* The FLOPs that the field counts for a convolution by real transforms: 2.5 n log2 n each, two
 * for the sequence and one for the filter, six a frequency for the product; or two a tap. Backward:
 * one transform more for the sequence and one more for the filter, and twice the products. */
static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const Tensor *u = call->in[LONG_CONVOLUTION_U];
    const double B = (double)extent(u, 0), L = (double)extent(u, 1), D = (double)extent(u, 2);
    const double K = (double)extent(call->in[LONG_CONVOLUTION_FILTER], 0);
    const double sides = input(call, LONG_CONVOLUTION_REVERSE) ? 2 : 1;
    const double gates = (input(call, LONG_CONVOLUTION_SKIP) ? 2 : 0) +
                         (input(call, LONG_CONVOLUTION_PRE) ? 1 : 0) +
                         (input(call, LONG_CONVOLUTION_POST) ? 1 : 0);
    if (long_convolution_is_direct(extent(u, 1), extent(call->in[LONG_CONVOLUTION_FILTER], 0))) {
        const double taps = sides * (K - K * (K - 1) / (2 * L)); /* that meet the sequence */
        forward->flops = B * L * D * (2 * taps + gates);
        backward->flops = B * L * D * (4 * taps + 2 * gates);
    } else {
        const double n = 2 * (double)long_convolution_points(extent(u, 1));
        const double transform = 2.5 * n * log2(n), product = 3 * n;
        forward->flops = D * (B * (2 * transform + product) + transform) + B * L * D * gates;
        backward->flops =
            D * (B * (3 * transform + 2 * product) + 2 * transform) + 2 * B * L * D * gates;
    }
    const double sequences = 1 + (input(call, LONG_CONVOLUTION_PRE) ? 1 : 0) +
                             (input(call, LONG_CONVOLUTION_POST) ? 1 : 0);
    const double token = 4 * B * L * D, filter = 4 * sides * K * D;
    forward->bytes_read = token * sequences + filter;
    forward->bytes_written = token * (call->saves ? 2 : 1);
    backward->bytes_read = token * (sequences + 1 + (call->saves ? 1 : 0)) + filter;
    backward->bytes_written = token * sequences + filter;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    const int64_t L = extent(call->in[LONG_CONVOLUTION_U], 1);
    const int64_t K = extent(call->in[LONG_CONVOLUTION_FILTER], 0);
    if (long_convolution_is_direct(L, K))
        return (size_t)(threads * direct_vectors(L, K)) * FFT_LANES * sizeof(float);
    const Fft fft = fft_layout(long_convolution_points(L));
    const int64_t B = extent(call->in[LONG_CONVOLUTION_U], 0);
    const int64_t D = extent(call->in[LONG_CONVOLUTION_U], 2);
    int64_t lines = 0; /* of all threads; fewer threads than planned may take more lines */
    for (int count = 1; count <= threads; count++) {
        const int64_t own = count * long_convolution_lines(&fft, D, count, phase);
        lines = lines > own ? lines : own;
    }
    return (size_t)long_convolution_table_floats(&fft) * sizeof(float) +
           (size_t)(lines * long_convolution_buffers(B, phase)) * fft_buffer_bytes(&fft);
}

#define SEQUENCE(B, L, D)                                                                          \
    { SHAPE(B, L, D), FILL_NORMAL, 1, 0 }
/* Filters of L taps that leave the output near 1. */
#define FILTER(K, D)                                                                               \
    { SHAPE(K, D), FILL_NORMAL, 0.1, 0 }
#define SKIP(D)                                                                                    \
    { SHAPE(D), FILL_NORMAL, 1, 0 }
#define NONE                                                                                       \
    { {0}, FILL_NONE, 0, 0 }
#define GATED(label, B, L, D)                                                                      \
    {                                                                                              \
        .name = label, .in = {SEQUENCE(B, L, D), FILTER(L, D),      NONE,                          \
                              SKIP(D),           SEQUENCE(B, L, D), SEQUENCE(B, L, D)},            \
        .gpu = true                                                                                \
    }

static const OpCase cases[] = {
    {.name = "B1L1D1", .in = {SEQUENCE(1, 1, 1), FILTER(1, 1), NONE, SKIP(1)}},
    {.name = "B2L7D5K3", .in = {SEQUENCE(2, 7, 5), FILTER(3, 5)}},
    {.name = "B3L64D17gated",
     .in = {SEQUENCE(3, 64, 17), FILTER(64, 17), NONE, SKIP(17), SEQUENCE(3, 64, 17),
            SEQUENCE(3, 64, 17)}},
    {.name = "B2L37D20reverse",
     .in = {SEQUENCE(2, 37, 20), FILTER(37, 20), FILTER(37, 20), SKIP(20)}},
    {.name = "B1L600D3K30reverse",
     .in = {SEQUENCE(1, 600, 3), FILTER(30, 3), FILTER(30, 3), NONE, SEQUENCE(1, 600, 3)}},
    {.name = "B1L65D1", .in = {SEQUENCE(1, 65, 1), FILTER(65, 1)}},
    {.name = "B1L128D40gated",
     .in = {SEQUENCE(1, 128, 40), FILTER(128, 40), NONE, SKIP(40), SEQUENCE(1, 128, 40),
            SEQUENCE(1, 128, 40)}},
    {.name = "B3L131D16gated",
     .in = {SEQUENCE(3, 131, 16), FILTER(131, 16), NONE, SKIP(16), SEQUENCE(3, 131, 16),
            SEQUENCE(3, 131, 16)}},
    {.name = "B2L256D37reverse",
     .in = {SEQUENCE(2, 256, 37), FILTER(256, 37), FILTER(256, 37), SKIP(37), NONE,
            SEQUENCE(2, 256, 37)}},
    {.name = "B3L301D70K90reverse",
     .in = {SEQUENCE(3, 301, 70), FILTER(90, 70), FILTER(90, 70), SKIP(70)}},
    {.name = "B2L512D33", .in = {SEQUENCE(2, 512, 33), FILTER(512, 33)}},
    {.name = "B1L1024D2", .in = {SEQUENCE(1, 1024, 2), FILTER(1024, 2), NONE, SKIP(2)}},
    {.name = "B1L2049D2", .in = {SEQUENCE(1, 2049, 2), FILTER(2049, 2)}},
    {.name = "B2L1500D5", .in = {SEQUENCE(2, 1500, 5), FILTER(70, 5), NONE, SKIP(5)}},
    /* Longer than a block of a GPU transforms at a time, for every pair of factors up to 512 x 512;
     * then more units of work than its ring has slots. */
    {.name = "B2L4100D3K80gated",
     .in = {SEQUENCE(2, 4100, 3), FILTER(80, 3), NONE, SKIP(3), SEQUENCE(2, 4100, 3),
            SEQUENCE(2, 4100, 3)}},
    {.name = "B1L8200D3K60reverse",
     .in = {SEQUENCE(1, 8200, 3), FILTER(60, 3), FILTER(60, 3), SKIP(3), SEQUENCE(1, 8200, 3),
            SEQUENCE(1, 8200, 3)}},
    {.name = "B1L16400D2K66", .in = {SEQUENCE(1, 16400, 2), FILTER(66, 2)}},
    {.name = "B1L32800D1K60", .in = {SEQUENCE(1, 32800, 1), FILTER(60, 1)}},
    {.name = "B1L65600D2K9", .in = {SEQUENCE(1, 65600, 2), FILTER(9, 2)}},
    {.name = "B1L131100D1K60", .in = {SEQUENCE(1, 131100, 1), FILTER(60, 1)}},
    {.name = "B16L2049D17K9gated",
     .in = {SEQUENCE(16, 2049, 17), FILTER(9, 17), FILTER(9, 17), SKIP(17), SEQUENCE(16, 2049, 17),
            SEQUENCE(16, 2049, 17)}},
    {.name = "B1L2049D480K9", .in = {SEQUENCE(1, 2049, 480), FILTER(9, 480)}},
    {.name = "B64L64D64",
     .in = {SEQUENCE(64, 64, 64), FILTER(64, 64), NONE, SKIP(64), SEQUENCE(64, 64, 64),
            SEQUENCE(64, 64, 64)},
     .benchmark = true},
    {.name = "B2L1024D64",
     .in = {SEQUENCE(2, 1024, 64), FILTER(1024, 64), NONE, SKIP(64), SEQUENCE(2, 1024, 64),
            SEQUENCE(2, 1024, 64)},
     .benchmark = true},
    {.name = "B4L16384D64",
     .in = {SEQUENCE(4, 16384, 64), FILTER(16384, 64), NONE, SKIP(64), SEQUENCE(4, 16384, 64),
            SEQUENCE(4, 16384, 64)},
     .benchmark = true},
    {.name = "B1L131072D32",
     .in = {SEQUENCE(1, 131072, 32), FILTER(131072, 32), NONE, SKIP(32), SEQUENCE(1, 131072, 32),
            SEQUENCE(1, 131072, 32)},
     .benchmark = true},
    GATED("B16L1024D2048", 16, 1024, 2048),
    GATED("B1L16384D2048", 1, 16384, 2048),
    GATED("B1L131072D256", 1, 131072, 256),
};

OP_CPU_DECLARE(long_convolution);

/* Backward reads u, the filters, skip and the gates, not the output. */
const Op op_long_convolution = {
    .name = "long_convolution",
    .summary = "y = post (h * (pre u) + skip pre u), * causal or two-sided",
    .inputs = LONG_CONVOLUTION_INPUTS,
    .outputs = 1,
    .needs_inputs = (1u << LONG_CONVOLUTION_INPUTS) - 1,
    .gradients = (1u << LONG_CONVOLUTION_INPUTS) - 1,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(long_convolution),
    .reference = long_convolution_reference,
    OP_CASES(cases),
};

Tensor *long_convolution(Tape *tape, Tensor *u, Tensor *filter, Tensor *reverse,
                         ConvolutionGates gates) {
    Tensor *const in[] = {u, filter, reverse, gates.skip, gates.pre, gates.post};
    return tape_apply(tape, &op_long_convolution, in, LONG_CONVOLUTION_INPUTS, NULL)->out[0];
}
