#include "engine/ops/rotary/rotary.h"

OP_CPU_DECLARE(rotary);
void rotary_reference(const ReferenceCall *call);

static void shape(Tape *tape, OpCall *call) {
    const Rotary *a = call->attributes;
    const Tensor *x = call->in[0], *position = call->in[1];
    if (a->period < 0) {
        tape_fail(tape, call, "a period of %ld rows; 0 stands for none", (long)a->period);
        return;
    }
    const int64_t turned = rotary_turned(a);
    if (turned < 2 || turned % 2 || turned > a->width || a->heads < 1) {
        tape_fail(tape, call, "%ld channels of a head's %ld; pairs need an even number of them",
                  (long)turned, (long)a->width);
        return;
    }
    if (x->shape.rank != 3 || a->heads * a->width > extent(x, 2)) {
        tape_fail(tape, call, "x has %ld channels, expected (B, L, E) with E >= %ld heads x %ld",
                  (long)extent(x, -1), (long)a->heads, (long)a->width);
        return;
    }
    if (position && (position->type != TENSOR_INTEGER || tensor_size(position) != 1)) {
        tape_fail(tape, call, "position must be one integer");
        return;
    }
    tape_output(tape, call, TENSOR_FLOAT, x->shape);
}

static void cost(const OpCall *call, Cost *forward, Cost *backward) {
    const Rotary *a = call->attributes;
    const double n = (double)tensor_size(call->in[0]);
    const double rotated = (double)(rows_of(call->in[0]) * a->heads * rotary_turned(a));
    *forward =
        (Cost){3 * rotated, (double)(extent(call->in[0], 1) * rotary_turned(a)), 4 * n, 4 * n};
    *backward = *forward;
}

static size_t scratch(const OpCall *call, int threads, Phase phase) {
    (void)phase;
    const Rotary *a = call->attributes;
    const int64_t length = rotary_positions(a, extent(call->in[0], 1)), span = rotary_span(length);
    return (size_t)((span + length / span + 2 + threads) * a->width) * sizeof(float);
}

Tensor *rotary(Tape *tape, Tensor *x, Tensor *position, const Rotary *attributes) {
    Tensor *in[] = {x, position};
    return tape_apply(tape, &op_rotary, in, 2, attributes)->out[0];
}

#define NORMAL(...)                                                                                \
    { .shape = SHAPE(__VA_ARGS__), .fill = FILL_NORMAL, .a = 1 }
#define POSITION(t)                                                                                \
    { .shape = SHAPE(1), .fill = FILL_COUNT, .a = t }

static const Rotary h1d2 = {1, 2, 1e4, false, 0, 0}, h3d10 = {3, 10, 1e4, false, 0, 0};
static const Rotary h3d10_interleaved = {3, 10, 5e5, true, 0, 0}, h4d64 = {4, 64, 1e4, false, 0, 0};
static const Rotary h2d34_interleaved = {2, 34, 1e4, true, 0, 0},
                    h32d64 = {32, 64, 1e4, false, 0, 0};
static const Rotary h3d10_part = {3, 10, 1e4, true, 6, 0}, h2d16_part = {2, 16, 1e3, true, 8, 0};
static const Rotary h2d7_part = {2, 7, 1e4, false, 2, 0};
static const Rotary h2d8 = {2, 8, 1e4, false, 0, 0}, h2d12_interleaved = {2, 12, 1e4, true, 0, 0};
static const Rotary period16 = {2, 8, 1e4, true, 0, 16}, period45 = {2, 8, 1e4, false, 0, 45};

/* cos and sin come from float tables of two angles, 1e-7 each; angles are exact, in double. */
static const OpCase cases[] = {
    {.name = "L1H1D2", .in = {NORMAL(1, 1, 2)}, .attributes = &h1d2},
    {.name = "L37H3D10_of_41", .in = {NORMAL(2, 37, 41)}, .attributes = &h3d10},
    {.name = "interleaved_L131H3D10", .in = {NORMAL(2, 131, 40)}, .attributes = &h3d10_interleaved},
    {.name = "interleaved_L5H2D34", .in = {NORMAL(3, 5, 68)}, .attributes = &h2d34_interleaved},
    {.name = "L37H2D8_of_20", .in = {NORMAL(2, 37, 20)}, .attributes = &h2d8},
    {.name = "L5H2D8", .in = {NORMAL(2, 5, 16)}, .attributes = &h2d8},
    {.name = "interleaved_L9H2D12_of_28",
     .in = {NORMAL(2, 9, 28)},
     .attributes = &h2d12_interleaved},
    {.name = "interleaved_L9H2D12_of_27",
     .in = {NORMAL(2, 9, 27)},
     .attributes = &h2d12_interleaved},
    {.name = "part_L11H3D10_of_33", .in = {NORMAL(2, 11, 33)}, .attributes = &h3d10_part},
    {.name = "part_L13H2D16_of_40", .in = {NORMAL(3, 13, 40)}, .attributes = &h2d16_part},
    {.name = "part_L5H2D7", .in = {NORMAL(2, 5, 14)}, .attributes = &h2d7_part},
    {.name = "step131071", .in = {NORMAL(3, 1, 40), POSITION(131071)}, .attributes = &h3d10},
    {.name = "period16_L37", .in = {NORMAL(2, 37, 16)}, .attributes = &period16},
    {.name = "period45_L3", .in = {NORMAL(2, 3, 16), POSITION(88)}, .attributes = &period45},
    {.name = "from1000", .in = {NORMAL(1, 70, 40), POSITION(1000)}, .attributes = &h3d10},
    {.name = "L512H4D64_of_384",
     .in = {NORMAL(4, 512, 384)},
     .attributes = &h4d64,
     .benchmark = true},
    {.name = "B8L2048H32D64_of_6144",
     .in = {NORMAL(8, 2048, 6144)},
     .attributes = &h32d64,
     .gpu = true},
};

const Op op_rotary = {
    .name = "rotary",
    .summary = "pairs of channels rotated by position x frequency",
    .inputs = 2,
    .outputs = 1,
    .attribute_bytes = sizeof(Rotary),
    .needs_inputs = 2,
    .gradients = 1,
    .shape = shape,
    .cost = cost,
    .scratch = scratch,
    .cpu = OP_CPU(rotary),
    .reference = rotary_reference,
    OP_CASES(cases),
};
