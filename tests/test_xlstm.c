/* The matrix memory of xLSTM: where its gates are fixed it is another known operation. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/device.h"
#include "engine/ops/mlstm/mlstm.h"
#include "engine/random.h"

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

static void run(Memory *memory) {
    Device device;
    Error error = {0};
    assert_int_equal(device_open(&device, "cpu", &error), STATUS_OK);
    Parameters *parameters = parameters_open();
    Tape *tape = tape_open(parameters, TAPE_EVALUATE);
    Tensor *in[] = {input(tape, DK), input(tape, DK), input(tape, DV), input(tape, 2)};
    const float *values[] = {memory->q, memory->k, memory->v, memory->gates};
    Tensor *h = mlstm(tape, in[0], in[1], in[2], in[3], 1);
    tape_keep(tape, h);
    assert_int_equal(tape_plan(tape, 1, &error), STATUS_OK);
    assert_int_equal(tape_allocate(tape, &device, &error), STATUS_OK);
    for (int i = 0; i < 4; i++)
        memcpy(in[i]->data, values[i], (size_t)tensor_size(in[i]) * sizeof(float));
    tape_forward(tape, &(Run){.threads = 1});
    memcpy(memory->h, h->data, sizeof memory->h);
    tape_close(tape);
    parameters_close(parameters);
    device_close(&device);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_gates_are_linear_attention),
        cmocka_unit_test(fixed_gates_are_retention),
        cmocka_unit_test(common_input_gate_cancels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
