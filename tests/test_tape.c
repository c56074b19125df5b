/* The tape on its own, with two toy operations: placement without collisions, gradients through
 * residual sums, passed gradients, recomputation with equal bits, state in place, what is computed
 * once for several replays, and what devices with memory of their own ask of a plan. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/tape_internal.h"

enum { N = 40 };

/* y = a * a + 0.5 b, and its scratch and notes must survive whatever lies beside them. */
static void square_shape(Tape *tape, OpCall *call) {
    tape_output(tape, call, TENSOR_FLOAT, call->in[0]->shape);
    tape_saved(tape, call, TENSOR_FLOAT, SHAPE(N));
}
static void no_cost(const OpCall *call, Cost *forward, Cost *backward) {
    (void)call;
    *forward = (Cost){.flops = 3 * N};
    *backward = (Cost){.flops = 4 * N};
}
static size_t some_scratch(const OpCall *call, int threads, Phase phase) {
    (void)call;
    return phase == PHASE_BACKWARD ? (size_t)threads * 256 : 64;
}
static void square_forward(const OpCall *call, const Run *run) {
    (void)run;
    memset(call->scratch, 0xFF, 64);
    for (int i = 0; i < N; i++) {
        const float a = call->in[0]->data[i];
        call->saved[0]->data[i] = 2 * a;
        call->out[0]->data[i] = a * a + 0.5f * call->in[1]->data[i];
    }
}
static void put(const OpCall *call, int input, int i, float value) {
    float *gradient = call->in[input]->gradient;
    if (!gradient || call->passed[input]) return;
    gradient[i] = call->accumulate[input] ? gradient[i] + value : value;
}
static void square_backward(const OpCall *call, const Run *run) {
    memset(call->scratch, 0xFF, (size_t)run->threads * 256);
    for (int i = 0; i < N; i++) {
        const float g = call->out[0]->gradient[i];
        put(call, 0, i, g * call->saved[0]->data[i]);
        put(call, 1, i, g * 0.5f);
    }
}
static const OpKernels square_kernels = {square_forward, square_backward};
static const Op square = {.name = "square",
                          .inputs = 2,
                          .outputs = 1,
                          .gradients = 3,
                          .shape = square_shape,
                          .cost = no_cost,
                          .scratch = some_scratch,
                          .cpu = {&square_kernels, &square_kernels, &square_kernels}};

/* y = a + b: gradients pass unchanged. */
static void sum_shape(Tape *tape, OpCall *call) {
    tape_output(tape, call, TENSOR_FLOAT, call->in[0]->shape);
}
static void sum_forward(const OpCall *call, const Run *run) {
    (void)run;
    for (int i = 0; i < N; i++) call->out[0]->data[i] = call->in[0]->data[i] + call->in[1]->data[i];
}
static void sum_backward(const OpCall *call, const Run *run) {
    (void)run;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < N; i++) put(call, k, i, call->out[0]->gradient[i]);
}
static const OpKernels sum_kernels = {sum_forward, sum_backward};
static const Op sum = {.name = "sum",
                       .inputs = 2,
                       .outputs = 1,
                       .gradients = 3,
                       .passes = 3,
                       .shape = sum_shape,
                       .cost = no_cost,
                       .cpu = {&sum_kernels, &sum_kernels, &sum_kernels}};

static Tensor *apply(Tape *tape, const Op *op, Tensor *a, Tensor *b) {
    return tape_apply(tape, op, (Tensor *[]){a, b}, 2, NULL)->out[0];
}

typedef struct Net {
    Device device;
    Parameters *parameters;
    Tape *tape;
    Tensor *x, *out;
} Net;

static Tensor *open_net(Net *net, TapeMode mode) {
    Error error = {0};
    assert_int_equal(device_open(&net->device, "cpu", &error), STATUS_OK);
    net->parameters = parameters_open();
    net->tape = tape_open(net->parameters, mode);
    return net->x = tape_input(net->tape, "x", TENSOR_FLOAT, SHAPE(N), true);
}

static void plan_net(Net *net, Tensor *out, bool repeat) {
    Error error = {0};
    net->out = out;
    tape_keep(net->tape, out);
    if (tape_mode(net->tape) == TAPE_TRAIN) tape_seed(net->tape, out);
    if (repeat) tape_repeat(net->tape);
    assert_int_equal(tape_plan(net->tape, 2, &error), STATUS_OK);
    assert_int_equal(parameters_allocate(net->parameters, &net->device, true, 1, &error), 0);
}

static void allocate_net(Net *net, Net *host) {
    Error error = {0};
    const Status status = host ? tape_allocate_in(net->tape, host->tape, &error)
                               : tape_allocate(net->tape, &net->device, &error);
    assert_int_equal(status, STATUS_OK);
}

/* Residual blocks x = x + square(square(x, w), x), each a recompute segment on request. */
static void record(Net *net, TapeMode mode, int blocks, bool recompute) {
    Tensor *x = open_net(net, mode);
    for (int b = 0; b < blocks; b++) {
        tape_scope(net->tape, "block.%d", b);
        if (recompute) tape_segment(net->tape);
        Tensor *w = tape_parameter(net->tape, "w", SHAPE(N), init_normal(0.3), GROUP_DECAY);
        Tensor *view = tape_reshape(net->tape, x, SHAPE(N / 2, 2));
        Tensor *inner = apply(net->tape, &square, view, w);
        inner = tape_reshape(net->tape, inner, SHAPE(N));
        x = apply(net->tape, &sum, x, apply(net->tape, &square, inner, x));
        if (recompute) tape_segment_end(net->tape);
        tape_scope_end(net->tape);
    }
    plan_net(net, x, false);
    allocate_net(net, NULL);
}

static void close_net(Net *net) {
    tape_close(net->tape);
    parameters_close(net->parameters);
    device_close(&net->device);
}

/* Residual blocks x = x + square(square(x, filter), filter) + w with filter = w + square(square(v,
 * w), filter of the block before), which depend on parameters alone. */
static void record_filters(Net *net, TapeMode mode, bool recompute, bool repeat) {
    Tensor *x = open_net(net, mode);
    Tensor *last = tape_parameter(net->tape, "first", SHAPE(N), init_normal(0.3), GROUP_DECAY);
    for (int b = 0; b < 3; b++) {
        tape_scope(net->tape, "block.%d", b);
        if (recompute) tape_segment(net->tape);
        Tensor *v = tape_parameter(net->tape, "v", SHAPE(N), init_normal(0.3), GROUP_DECAY);
        Tensor *w = tape_parameter(net->tape, "w", SHAPE(N), init_normal(0.3), GROUP_DECAY);
        Tensor *inner = apply(net->tape, &square, apply(net->tape, &square, v, w), last);
        Tensor *filter = last = apply(net->tape, &sum, inner, w);
        Tensor *y = apply(net->tape, &square, x, filter);
        y = apply(net->tape, &square, y, tape_reshape(net->tape, filter, SHAPE(N)));
        x = apply(net->tape, &sum, x, apply(net->tape, &sum, y, w));
        if (recompute) tape_segment_end(net->tape);
        tape_scope_end(net->tape);
    }
    plan_net(net, x, repeat);
}

static void run_net(Net *net, const float *x) {
    const Run run = {.threads = 2};
    memcpy(net->x->data, x, N * sizeof(float));
    memset(net->parameters->gradients, 0, (size_t)net->parameters->size * sizeof(float));
    tape_forward(net->tape, &run);
    if (tape_mode(net->tape) != TAPE_TRAIN) return;
    for (int i = 0; i < N; i++) net->out->gradient[i] = 1;
    tape_backward(net->tape, &run);
}

static double total(const Net *net) {
    double result = 0;
    for (int i = 0; i < N; i++) result += (double)net->out->data[i];
    return result;
}

static void start(float *x) {
    for (int i = 0; i < N; i++) x[i] = 0.2f * sinf((float)i);
}

static void test_placement(void **state) {
    (void)state;
    for (int recompute = 0; recompute < 2; recompute++) {
        Net net;
        record(&net, TAPE_TRAIN, 5, recompute);
        const Tape *tape = net.tape;
        int compared = 0;
        for (int a = 0; a < tape->buffer_count; a++)
            for (int b = 0; b < a; b++) {
                const Buffer *x = &tape->buffers[a], *y = &tape->buffers[b];
                bool together = false;
                for (int i = 0; i < x->intervals; i++)
                    for (int j = 0; j < y->intervals; j++)
                        together |= x->first[i] <= y->last[j] && y->first[j] <= x->last[i];
                if (!together) continue;
                compared++;
                assert_true(x->offset + x->bytes <= y->offset || y->offset + y->bytes <= x->offset);
            }
        assert_true(compared > 50);
        close_net(&net);
    }
}

static void test_gradient(void **state) {
    (void)state;
    float x[N];
    start(x);
    Net net;
    record(&net, TAPE_TRAIN, 3, false);
    run_net(&net, x);
    float gradient[N];
    memcpy(gradient, net.x->gradient, sizeof gradient);
    for (int i = 0; i < N; i += 7) {
        const float h = 3e-3f;
        x[i] += h;
        run_net(&net, x);
        const double above = total(&net);
        x[i] -= 2 * h;
        run_net(&net, x);
        const double below = total(&net);
        x[i] += h;
        /* Rounding of a sum of 40 over 2h: 1e-3; curvature times h^2: less. */
        assert_true(fabs((above - below) / (2 * (double)h) - (double)gradient[i]) < 5e-3);
    }
    close_net(&net);
}

static void test_recompute_same_bits(void **state) {
    (void)state;
    float x[N];
    start(x);
    Net kept, again;
    record(&kept, TAPE_TRAIN, 6, false);
    record(&again, TAPE_TRAIN, 6, true);
    for (int round = 0; round < 2;
         round++) { /* the second replay meets the first one's leftovers */
        run_net(&kept, x);
        run_net(&again, x);
        assert_memory_equal(kept.parameters->gradients, again.parameters->gradients,
                            (size_t)kept.parameters->size * sizeof(float));
        assert_memory_equal(kept.x->gradient, again.x->gradient, N * sizeof(float));
    }
    assert_true(tape_bytes(again.tape) < tape_bytes(kept.tape));
    const TapeCost plain = tape_cost(kept.tape, 1), more = tape_cost(again.tape, 1);
    assert_true(plain.forward.flops == more.forward.flops);
    assert_true(more.executed_forward.flops > more.forward.flops);
    close_net(&kept);
    close_net(&again);
}

enum { REPLAYS = 3 };

static void share_net(Net *net, int replay, const float *x) {
    const Run run = {.threads = 2};
    for (int i = 0; i < N; i++) net->x->data[i] = x[i] * (float)(replay + 1);
    tape_share(net->tape, replay == 0, replay == REPLAYS - 1);
    tape_forward(net->tape, &run);
    if (tape_mode(net->tape) != TAPE_TRAIN) return;
    for (int i = 0; i < N; i++) net->out->gradient[i] = 1;
    tape_backward(net->tape, &run);
}

/* Each replay gives the bits that it gives by itself; the gradients of the parameters are those of
 * separate replays up to the order of a sum. Twice: the second step meets what the first left. */
static void check_repeated(bool recompute) {
    float x[N];
    start(x);
    Net plain, repeated;
    record_filters(&plain, TAPE_TRAIN, recompute, false);
    record_filters(&repeated, TAPE_TRAIN, recompute, true);
    allocate_net(&plain, NULL);
    allocate_net(&repeated, NULL);
    const int64_t size = plain.parameters->size;
    float *a = plain.parameters->gradients, *b = repeated.parameters->gradients;
    for (int step = 0; step < 2; step++) {
        memset(a, 0, (size_t)size * sizeof *a);
        memset(b, 0, (size_t)size * sizeof *b);
        for (int replay = 0; replay < REPLAYS; replay++) {
            share_net(&plain, replay, x);
            share_net(&repeated, replay, x);
            assert_memory_equal(plain.out->data, repeated.out->data, N * sizeof(float));
            assert_memory_equal(plain.x->gradient, repeated.x->gradient, N * sizeof(float));
        }
        for (int64_t i = 0; i < size; i++) /* sums of ten terms, which may cancel a little */
            assert_true(fabsf(a[i] - b[i]) <= 1e-5f * (1 + fabsf(a[i])));
        for (int p = 0; p < repeated.parameters->count; p++) { /* the next step has other weights */
            float *weights = repeated.parameters->list[p]->tensor.data;
            for (int i = 0; i < N; i++)
                plain.parameters->list[p]->tensor.data[i] = weights[i] *= 1.1f;
        }
    }
    const double once = tape_cost(plain.tape, 1).forward.flops;
    const TapeCost a_cost = tape_cost(plain.tape, REPLAYS),
                   b_cost = tape_cost(repeated.tape, REPLAYS);
    const double saved = (REPLAYS - 1) * 3 * 3 * (3 * N); /* 3 blocks, 3 calls a filter */
    assert_true(a_cost.forward.flops == REPLAYS * once - saved);
    assert_true(b_cost.forward.flops == a_cost.forward.flops);
    assert_true(b_cost.executed_backward.flops < a_cost.executed_backward.flops);
    if (!recompute) {
        assert_true(a_cost.executed_forward.flops == REPLAYS * once);
        assert_true(b_cost.executed_forward.flops == REPLAYS * once - saved);
    }
    close_net(&plain);
    close_net(&repeated);
}

static void test_repeated(void **state) {
    (void)state;
    check_repeated(false);
    check_repeated(true);
}

/* What parameters alone decide is computed in the first replay only: later ones do not see that
 * they have changed. */
static void test_computed_once(void **state) {
    (void)state;
    float x[N], before[N];
    start(x);
    Net net;
    record_filters(&net, TAPE_EVALUATE, false, true);
    allocate_net(&net, NULL);
    share_net(&net, 0, x);
    share_net(&net, 1, x);
    memcpy(before, net.out->data, sizeof before);
    for (int p = 0; p < net.parameters->count; p++)
        if (strchr(net.parameters->list[p]->tensor.name, 'v'))
            memset(net.parameters->list[p]->tensor.data, 0, N * sizeof(float));
    share_net(&net, 1, x);
    assert_memory_equal(before, net.out->data, N * sizeof(float));
    for (int i = 0; i < N; i++) net.x->data[i] = 2 * x[i];
    tape_forward(net.tape, &(Run){.threads = 2}); /* without tape_share: a first one */
    assert_memory_not_equal(before, net.out->data, N * sizeof(float));
    close_net(&net);
}

/* Two tapes in one memory take turns: what the other overwrote is computed again. */
static void test_repeated_guest(void **state) {
    (void)state;
    float x[N];
    start(x);
    Net host, guest, alone;
    record_filters(&host, TAPE_EVALUATE, false, true);
    record_filters(&guest, TAPE_EVALUATE, false, true);
    record_filters(&alone, TAPE_EVALUATE, false, false);
    allocate_net(&host, NULL);
    allocate_net(&guest, &host);
    allocate_net(&alone, NULL);
    for (int replay = 0; replay < REPLAYS; replay++) {
        share_net(&alone, replay, x);
        share_net(&host, replay, x);
        assert_memory_equal(alone.out->data, host.out->data, N * sizeof(float));
        memset(host.tape->arena, 0xFF, tape_bytes(host.tape)); /* as if by another network */
        share_net(&guest, replay, x);
        assert_memory_equal(alone.out->data, guest.out->data, N * sizeof(float));
        memset(host.tape->arena, 0xFF, tape_bytes(host.tape));
    }
    close_net(&guest);
    close_net(&host);
    close_net(&alone);
}

/* y = (a a + 0.5 a) with the second a detached: only the square is differentiated. */
static void test_detach(void **state) {
    (void)state;
    Parameters *parameters = parameters_open();
    Tape *tape = tape_open(parameters, TAPE_TRAIN);
    Tensor *x = tape_input(tape, "x", TENSOR_FLOAT, SHAPE(N), true);
    Tensor *in[] = {x, tape_detach(tape, x)};
    Tensor *y = tape_apply(tape, &square, in, 2, NULL)->out[0];
    tape_seed(tape, y);
    Error error = {0};
    Device device;
    assert_int_equal(device_open(&device, "cpu", &error), STATUS_OK);
    assert_int_equal(tape_plan(tape, 1, &error), STATUS_OK);
    assert_int_equal(tape_allocate(tape, &device, &error), STATUS_OK);
    start(x->data);
    const Run run = {.threads = 1};
    tape_forward(tape, &run);
    for (int i = 0; i < N; i++) y->gradient[i] = 1;
    tape_backward(tape, &run);
    for (int i = 0; i < N; i++) {
        assert_true(y->data[i] == x->data[i] * x->data[i] + 0.5f * x->data[i]);
        assert_true(x->gradient[i] == 2 * x->data[i]);
    }
    tape_close(tape);
    parameters_close(parameters);
    device_close(&device);
}

static void test_evaluation_needs_less(void **state) {
    (void)state;
    float x[N];
    start(x);
    Net train, evaluate;
    record(&train, TAPE_TRAIN, 6, false);
    record(&evaluate, TAPE_EVALUATE, 6, false);
    run_net(&train, x);
    run_net(&evaluate, x);
    assert_memory_equal(train.out->data, evaluate.out->data, N * sizeof(float));
    assert_true(tape_bytes(evaluate.tape) < tape_bytes(train.tape) / 2);
    close_net(&train);
    close_net(&evaluate);
}

static void test_initial_values_depend_on_name_only(void **state) {
    (void)state;
    Net small, large;
    record(&small, TAPE_TRAIN, 2, false);
    record(&large, TAPE_TRAIN, 4, false);
    const Parameter *a = parameters_find(small.parameters, "block.1.w");
    const Parameter *b = parameters_find(large.parameters, "block.1.w");
    assert_non_null(a);
    assert_non_null(b);
    assert_memory_equal(a->tensor.data, b->tensor.data, N * sizeof(float));
    close_net(&small);
    close_net(&large);
}

static void test_too_much_memory(void **state) {
    (void)state;
    Error error = {0};
    Device device;
    void *memory;
    assert_int_equal(device_open(&device, "cpu", &error), STATUS_OK);
    assert_int_equal(device.kind->allocate(&device, (size_t)1 << 50, &memory, &error),
                     STATUS_USAGE);
    assert_non_null(strstr(error.message, "available"));
    Error unknown = {0};
    assert_int_equal(device_open(&device, "abacus", &unknown), STATUS_USAGE);
    assert_non_null(strstr(unknown.message, "cpu"));
}

/* A device with memory of its own, as far as planning goes: square may read a rounded first input,
 * can write its output rounded, and keeps a copy of its second input instead of that input. */
static size_t no_scratch(const Device *device, const OpCall *call, Phase phase) {
    (void)device, (void)call, (void)phase;
    return 0;
}
static Kept keep_second(const Device *device, const OpCall *call) {
    (void)device;
    return call->op == &square ? (Kept){N * sizeof(float), 2} : (Kept){0};
}
static Roundable round_first(const Device *device, const OpCall *call) {
    (void)device;
    return call->op == &square ? (Roundable){1, 1, 1} : (Roundable){0};
}
static const DeviceRemote planned_remote = {
    .scratch = no_scratch, .kept = keep_second, .roundable = round_first};
static const DeviceKind planned_kind = {.name = "planned", .remote = &planned_remote};

/* A tape with an input x, to be planned for a device that is never opened. */
static Net open_planned(const DeviceKind *kind) {
    Net net = {.device = {.kind = kind}, .parameters = parameters_open()};
    net.tape = tape_open(net.parameters, TAPE_TRAIN);
    net.x = tape_input(net.tape, "x", TENSOR_FLOAT, SHAPE(N), true);
    return net;
}
static void plan_from(Net *net, Tensor *out, Products products) {
    Error error = {0};
    net->out = out;
    tape_seed(net->tape, out);
    tape_set_device(net->tape, &net->device, products);
    assert_int_equal(tape_plan(net->tape, 1, &error), STATUS_OK);
}
static void close_planned(Net *net) {
    tape_close(net->tape);
    parameters_close(net->parameters);
}

enum { USED_BY_SUM = 1, USED_AS_SECOND = 2, USED_AS_VIEW = 4, USED_BY_CALLER = 8 };

/* The type that the plan gives the result of a square which a square reads, with other uses. */
static TensorType planned_type(Products products, const DeviceKind *kind, unsigned uses) {
    Net net = open_planned(kind);
    Tape *tape = net.tape;
    Tensor *x = net.x, *a = apply(tape, &square, x, x);
    Tensor *out = apply(tape, &square, a, x);
    if (uses & USED_BY_SUM) out = apply(tape, &sum, a, out);
    if (uses & USED_AS_SECOND) out = apply(tape, &square, out, a);
    if (uses & USED_AS_VIEW) out = apply(tape, &square, tape_reshape(tape, a, SHAPE(N)), out);
    if (uses & USED_BY_CALLER) tape_keep(tape, a);
    plan_from(&net, out, products);
    const TensorType type = a->type;
    assert_int_equal(x->type, TENSOR_FLOAT);
    assert_int_equal(out->type, TENSOR_FLOAT);
    close_planned(&net);
    return type;
}

/* Half the memory, only where nobody sees a number that he would not have rounded. */
static void test_rounded_results(void **state) {
    (void)state;
    Device cpu;
    assert_int_equal(device_open(&cpu, "cpu", NULL), STATUS_OK);
    assert_int_equal(planned_type(PRODUCTS_BF16, &planned_kind, 0), TENSOR_BF16);
    assert_int_equal(planned_type(PRODUCTS_BF16, cpu.kind, 0), TENSOR_FLOAT);
    assert_int_equal(planned_type(PRODUCTS_FLOAT, &planned_kind, 0), TENSOR_FLOAT);
    for (unsigned use = USED_BY_SUM; use <= USED_BY_CALLER; use *= 2)
        assert_int_equal(planned_type(PRODUCTS_BF16, &planned_kind, use), TENSOR_FLOAT);
    device_close(&cpu);
}

/* A tensor that several calls round has one copy, from its first reader to the first call's
 * backward, and who reads the copy needs the tensor no more. */
static void test_shared_copies(void **state) {
    (void)state;
    Net net = open_planned(&planned_kind);
    Tape *tape = net.tape;
    Tensor *x = net.x;
    Tensor *odd = tape_input(tape, "odd", TENSOR_FLOAT, SHAPE(N / 5, 5), true);
    Tensor *out = apply(tape, &square, x, apply(tape, &square, x, apply(tape, &square, odd, x)));
    plan_from(&net, out, PRODUCTS_BF16);
    const OpCall *none = tape_call(tape, 0), *first = tape_call(tape, 1);
    const OpCall *second = tape_call(tape, 2);
    assert_int_equal(none->has_copy, 0); /* rows of 5 numbers */
    assert_int_equal(first->has_copy & first->makes_copy, 1);
    assert_int_equal(second->has_copy, 1);
    assert_int_equal(second->makes_copy, 0);
    assert_int_equal(tape->copies[1][0], tape->copies[2][0]);
    const Buffer *copy = &tape->buffers[tape->copies[1][0]];
    assert_int_equal(copy->bytes, (N * 2 + 63) / 64 * 64);
    assert_int_equal(copy->first[0], 1);
    assert_int_equal(copy->last[0], tape->step_count - 2);
    close_planned(&net);
}

/* What a device keeps lives from the call's forward to its backward, apart from all else. */
static void test_kept_by_device(void **state) {
    (void)state;
    Net net = open_planned(&planned_kind);
    Tape *tape = net.tape;
    Tensor *x = net.x;
    const Op reader = {.name = "reader",
                       .inputs = 2,
                       .outputs = 1,
                       .needs_inputs = 3,
                       .gradients = 3,
                       .shape = sum_shape,
                       .cost = no_cost,
                       .cpu = {&sum_kernels, &sum_kernels, &sum_kernels}};
    Tensor *out = apply(tape, &reader, x, apply(tape, &square, x, x));
    tape_segment(tape);
    out = apply(tape, &square, out, out);
    tape_segment_end(tape);
    plan_from(&net, out, PRODUCTS_FLOAT);
    const OpCall *call = tape_call(tape, 0);
    assert_int_equal(call->kept_bytes, N * sizeof(float));
    assert_int_equal(tape_call(tape, 1)->kept_bytes, 0);
    assert_int_equal(tape_call(tape, 1)->needs_inputs, 3);
    assert_int_equal(tape_call(tape, 2)->kept_bytes, 0); /* it would have to run again for it */
    const Buffer *kept = &tape->buffers[tape->kept[0]];
    assert_int_equal(kept->first[0], 0);
    assert_int_equal(kept->last[0], tape->step_count - 1); /* the first call's backward is last */
    for (int b = 0; b < tape->buffer_count; b++) {
        const Buffer *other = &tape->buffers[b];
        if (other != kept && other->intervals)
            assert_true(other->offset >= kept->offset + kept->bytes ||
                        kept->offset >= other->offset + other->bytes);
    }
    close_planned(&net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_placement),
        cmocka_unit_test(test_gradient),
        cmocka_unit_test(test_recompute_same_bits),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_computed_once),
        cmocka_unit_test(test_repeated_guest),
        cmocka_unit_test(test_detach),
        cmocka_unit_test(test_evaluation_needs_less),
        cmocka_unit_test(test_initial_values_depend_on_name_only),
        cmocka_unit_test(test_too_much_memory),
        cmocka_unit_test(test_rounded_results),
        cmocka_unit_test(test_shared_copies),
        cmocka_unit_test(test_kept_by_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
