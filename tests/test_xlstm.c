/* The memories of xLSTM where they are another known operation, and which blocks are of which kind.
 */
/* cmocka wants step_form.h's first four before it */
#include <stdio.h>
#include <stdlib.h>

#include "engine/ops/mlstm/mlstm.h"
#include "engine/ops/slstm/slstm.h"
#include "engine/random.h"
#include "models/model.h"
#include "tests/bench.h"
#include "tests/step_form.h"

enum { L = 150, DK = 6, DV = 5 };

typedef struct Memory {
    float q[L * DK], k[L * DK], v[L * DV], gates[L * 2], h[L * DV];
} Memory;

/* Positive queries and keys, so that n . q never cancels. */
static void fill(Memory *memory, float input, float forget) {
    Random random = random_open(1, random_stream("test/xlstm"), 0);
    for (int i = 0; i < L * DK; i++) memory->q[i] = (float)(0.2 + random_real(&random));
    for (int i = 0; i < L * DK; i++) memory->k[i] = (float)(0.2 + random_real(&random));
    for (int i = 0; i < L * DV; i++) memory->v[i] = (float)random_normal(&random);
    for (int t = 0; t < L; t++) {
        memory->gates[2 * t] = input;
        memory->gates[2 * t + 1] = forget;
    }
}

static Tensor *input(Tape *tape, int64_t width) {
    return tape_input(tape, "in", TENSOR_FLOAT, SHAPE(1, L, width), false);
}

/* A tape of one operation, run once. */
static void run_on(Bench *bench, Tensor *const *in, const float *const *values, int inputs,
                   Tensor *out, float *result) {
    tape_keep(bench->tape, out);
    bench_plan(bench);
    for (int i = 0; i < inputs; i++) give(in[i], values[i]);
    bench_run(bench);
    memcpy(result, out->data, (size_t)tensor_size(out) * sizeof(float));
    bench_close(bench);
}

static void run(Memory *memory) {
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    Tape *tape = bench.tape;
    Tensor *in[] = {input(tape, DK), input(tape, DK), input(tape, DV), input(tape, 2)};
    const float *values[] = {memory->q, memory->k, memory->v, memory->gates};
    Tensor *h = mlstm(tape, in[0], in[1], in[2], in[3], 1);
    run_on(&bench, in, values, 4, h, memory->h);
}

static double product(const Memory *memory, int t, int j) {
    double sum = 0;
    for (int a = 0; a < DK; a++)
        sum += (double)memory->q[t * DK + a] * (double)memory->k[j * DK + a];
    return sum / sqrt(DK);
}

/* h_t is the mean of values with weights product(t, j) decay^(t - j), or their sum where `least`
 * exceeds the sum of weights. */
static void expect_weighted_mean(const Memory *memory, double decay, double input, double least) {
    for (int t = 0; t < L; t++)
        for (int c = 0; c < DV; c++) {
            double sum = 0, total = 0;
            for (int j = 0; j <= t; j++) {
                const double weight = product(memory, t, j) * pow(decay, t - j) * input;
                sum += weight * (double)memory->v[j * DV + c];
                total += weight;
            }
            /* float32 sums of 150 terms; epsilon adds 1e-6 e^m, m <= 1 */
            const double expected = sum / fmax(total, least);
            assert_true(fabs((double)memory->h[t * DV + c] - expected) <
                        1e-5 * (1 + fabs(expected)));
        }
}

/* Forget gates wide open: linear attention, with its normaliser. */
static void open_gates_are_linear_attention(void **state) {
    (void)state;
    Memory memory;
    fill(&memory, 1, 40);
    run(&memory);
    expect_weighted_mean(&memory, 1, exp(1), 1);
}

/* A fixed forget gate: retention, sums with weights decay^(t - j). Small inputs leave 1 for the
 * normaliser. */
static void fixed_gates_are_retention(void **state) {
    (void)state;
    Memory memory;
    fill(&memory, -6, 2);
    run(&memory);
    expect_weighted_mean(&memory, 1 / (1 + exp(-2)), exp(-6), 1);
}

/* The normaliser cancels what all input gates have in common. */
static void common_input_gate_cancels(void **state) {
    (void)state;
    Memory one, other;
    fill(&one, 3, 1.5f);
    fill(&other, 9, 1.5f);
    run(&one);
    run(&other);
    for (int i = 0; i < L * DV; i++) /* epsilon is 1e-6 of n . q, at least 0.2 */
        assert_true(fabsf(one.h[i] - other.h[i]) < 2e-5f * (1 + fabsf(one.h[i])));
}

/* Without recurrent weights a unit of the scalar memory is a matrix memory of one number whose
 * query and key are 1, and whose n, a sum of positive numbers, needs no lower bound. */
static void scalar_memory_is_a_matrix_memory_of_one_number(void **state) {
    (void)state;
    static float gates_if[2 * L], gates_zo[2 * L], z[L], one[L], scalar[L], matrix[L];
    const float r[4] = {0}, bias[4] = {0};
    Random random = random_open(2, random_stream("test/xlstm"), 0);
    for (int t = 0; t < L; t++) {
        gates_if[2 * t] = (float)(20 + 3 * random_normal(&random)); /* n above exp(-m) */
        gates_if[2 * t + 1] = (float)(2 * random_normal(&random));
        gates_zo[2 * t] = (float)random_normal(&random);
        gates_zo[2 * t + 1] = 40; /* open */
        z[t] = tanhf(gates_zo[2 * t]);
        one[t] = 1;
    }
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    Tensor *in[] = {input(bench.tape, 2), input(bench.tape, 2),
                    tape_input(bench.tape, "r", TENSOR_FLOAT, SHAPE(1, 1, 4, 1), false),
                    tape_input(bench.tape, "bias", TENSOR_FLOAT, SHAPE(1, 4, 1), false)};
    const SlstmInputs inputs = {in[0], in[1], in[2], in[3], NULL};
    Tensor *h = slstm(bench.tape, &inputs, NULL);
    run_on(&bench, in, (const float *[]){gates_if, gates_zo, r, bias}, 4, h, scalar);
    bench_open(&bench, TAPE_EVALUATE);
    Tensor *of[] = {input(bench.tape, 1), input(bench.tape, 1), input(bench.tape, 1),
                    input(bench.tape, 2)};
    h = mlstm(bench.tape, of[0], of[1], of[2], of[3], 1);
    run_on(&bench, of, (const float *[]){one, one, z, gates_if}, 4, h, matrix);
    for (int t = 0; t < L; t++) /* epsilon is 1e-6 of n, at least 1; logarithms of 150 gates */
        assert_true(fabsf(scalar[t] - matrix[t]) < 2e-5f);
}

enum { OWN_BYTES = 1024 };

/* Defaults, of blocks without an MLP and 16 channels. */
static void open_options(const Model *model, Backbone *backbone, char own[OWN_BYTES]) {
    assert_true(model->options.bytes <= OWN_BYTES);
    option_defaults(&backbone_options, backbone);
    option_defaults(&model->options, own);
    backbone->mlp = MLP_NONE;
    backbone->width = 16;
}

/* Floats of state tell how many blocks are of which kind: width 16, inner width 64, 4 heads. */
static void mixes_choose_the_blocks(void **state) {
    (void)state;
    static const struct {
        int64_t layers;
        const char *blocks, *slstm_at;
        int64_t scalar; /* sLSTM blocks; -1: refused */
    } cases[] = {{2, "1:0", "", 0},      {2, "0:1", "", 2},      {2, "1:1", "", 1},
                 {5, "1:1", "", 2},      {16, "7:1", "", 2},     {7, "7:1", "", -1},
                 {7, "7:1", "3", 1},     {24, "7:1", "3,20", 2}, {24, "7:1", "3,24", -1},
                 {24, "7:1", "3;4", -1}, {24, "1:0", "-1", -1}};
    const Model *model = model_find("xlstm");
    Error error = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Backbone backbone;
        _Alignas(16) char own[OWN_BYTES];
        open_options(model, &backbone, own);
        backbone.layers = cases[i].layers;
        assert_int_equal(option_set(&model->options, own, "blocks", cases[i].blocks, &error),
                         STATUS_OK);
        assert_int_equal(option_set(&model->options, own, "slstm_at", cases[i].slstm_at, &error),
                         STATUS_OK);
        const Status status = model->validate(&backbone, own, &error);
        assert_int_equal(status, cases[i].scalar < 0 ? STATUS_USAGE : STATUS_OK);
        if (status != STATUS_OK) continue;
        const int64_t matrix = 64 * 16 + 64 + 4 + 3 * 64, scalar = 7 * 16;
        assert_int_equal(model->state_floats(&backbone, own, 1),
                         cases[i].scalar * scalar + (cases[i].layers - cases[i].scalar) * matrix);
    }
}

/* An mLSTM block without a convolution is one whose convolution passes the present token on. */
static void no_convolution_is_one_that_passes_on(void **state) {
    (void)state;
    const SubjectShape shape = {2, 20, 20, TAPE_EVALUATE, true, false};
    Subject with, without;
    open_model(&with, "xlstm", "width=16 layers=2 heads=2 blocks=1:0 convolution=2", shape, 0.2,
               NULL);
    for (int i = 0; i < with.parameters->count; i++) {
        Tensor *tensor = &with.parameters->list[i]->tensor;
        if (!strstr(tensor->name, "convolution")) continue;
        const int64_t size = tensor_size(tensor);
        const bool taps = strstr(tensor->name, "weight") != NULL; /* (2, E): before, present */
        for (int64_t k = 0; k < size; k++) tensor->data[k] = taps && k >= size / 2 ? 1 : 0;
    }
    open_model(&without, "xlstm", "width=16 layers=2 heads=2 blocks=1:0 convolution=0", shape, 0,
               &with);
    subject_forward(&with, 1);
    subject_forward(&without, 1);
    /* SiLU fused into one operation or as its own: a rounding, through two blocks */
    assert_true(output_difference(&with, &without, 0, 20) < 1e-5f);
    subject_close(&without);
    subject_close(&with);
}

static void blocks_without_convolution_step(void **state) {
    (void)state;
    step_form_agrees("xlstm", "width=16 layers=2 heads=2 blocks=0:1 convolution=0", 20, 0.2, 2e-5f);
    step_form_agrees("xlstm", "width=16 layers=2 heads=2 slstm_convolution=0", 20, 0.2, 2e-5f);
}

static int64_t floats_of(const char *key, const char *value, Status expected) {
    const Model *model = model_find("xlstm");
    Error error = {0};
    Backbone backbone;
    _Alignas(16) char own[OWN_BYTES];
    open_options(model, &backbone, own);
    backbone.layers = 2; /* one of each */
    assert_int_equal(option_set(&model->options, own, key, value, &error), STATUS_OK);
    assert_int_equal(model->validate(&backbone, own, &error), expected);
    return model->state_floats(&backbone, own, 1);
}

static void absent_convolutions_remember_nothing(void **state) {
    (void)state;
    const int64_t both = floats_of("heads", "4", STATUS_OK);
    assert_int_equal(both - floats_of("slstm_convolution", "0", STATUS_OK), 3 * 16);
    assert_int_equal(both - floats_of("convolution", "0", STATUS_OK), 3 * 16 + 3 * 64);
    floats_of("convolution", "1", STATUS_USAGE);
    floats_of("slstm_convolution", "1", STATUS_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_gates_are_linear_attention),
        cmocka_unit_test(fixed_gates_are_retention),
        cmocka_unit_test(common_input_gate_cancels),
        cmocka_unit_test(scalar_memory_is_a_matrix_memory_of_one_number),
        cmocka_unit_test(mixes_choose_the_blocks),
        cmocka_unit_test(no_convolution_is_one_that_passes_on),
        cmocka_unit_test(blocks_without_convolution_step),
        cmocka_unit_test(absent_convolutions_remember_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
