/* What linear attention must do by its definition, in chunks and token by token. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/device.h"
#include "engine/ops/linear_attention/linear_attention.h"
#include "engine/random.h"
#include "tests/bench.h"

enum { B = 2, L = 150, H = 2, D = 3, M = 5, STATE = D * M + D, KEYS = H * D, VALUES = H * M };

typedef struct Inputs {
    float q[B * L * KEYS], k[B * L * KEYS], v[B * L * VALUES], log_decay[B * L * H];
    float state[B * H * STATE];
} Inputs;

typedef struct Results {
    float out[B * L * VALUES], state[B * H * STATE];
} Results;

static Inputs *random_inputs(void) {
    Inputs *in = calloc(1, sizeof *in);
    Random random = random_open(1, 0, 0);
    for (size_t i = 0; i < sizeof in->q / sizeof(float); i++) {
        in->q[i] = (float)random_normal(&random);
        in->k[i] = (float)random_normal(&random);
    }
    for (size_t i = 0; i < sizeof in->v / sizeof(float); i++)
        in->v[i] = (float)random_normal(&random);
    for (size_t i = 0; i < sizeof in->log_decay / sizeof(float); i++)
        in->log_decay[i] = (float)-random_real(&random) / 4;
    return in;
}

/* Tokens first .. first+length-1 from the state in `in` with causal, which receives the next one.
 */
static void run(Inputs *in, const LinearAttention *attributes, bool decays, int first, int length,
                Results *results) {
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    Tape *tape = bench.tape;
    const int64_t widths[] = {KEYS, KEYS, VALUES, H};
    const float *from[] = {in->q, in->k, in->v, in->log_decay};
    Tensor *tensors[4], *state = NULL, *next = NULL;
    for (int i = 0; i < 4; i++) tensors[i] = bench_input(&bench, SHAPE(B, length, widths[i]));
    if (attributes->causal) state = bench_input(&bench, SHAPE(B, H, STATE));
    const LinearAttentionInputs call = {.q = tensors[0],
                                        .k = tensors[1],
                                        .v = tensors[2],
                                        .log_decay = decays ? tensors[3] : NULL,
                                        .state = state};
    Tensor *out = linear_attention(tape, &call, attributes, &next);
    tape_keep(tape, out);
    if (next) tape_keep(tape, next);
    bench_plan(&bench);
    for (int i = 0; i < 4; i++)
        for (int b = 0; b < B; b++)
            memcpy(tensors[i]->data + b * length * widths[i], from[i] + (b * L + first) * widths[i],
                   (size_t)(length * widths[i]) * sizeof(float));
    if (state) memcpy(state->data, in->state, sizeof in->state);
    bench_run(&bench);
    for (int b = 0; b < B; b++)
        memcpy(results->out + (b * L + first) * VALUES, out->data + b * length * VALUES,
               (size_t)(length * VALUES) * sizeof(float));
    if (next) memcpy(in->state, next->data, sizeof in->state);
    memcpy(results->state, in->state, sizeof in->state);
    bench_close(&bench);
}

/* Sums of 150 numbers of order one in float32, in two orders. */
static const double allowed = 2e-5;

static void expect_equal(const float *actual, const float *expected, size_t count) {
    for (size_t i = 0; i < count; i++)
        assert_true(fabs((double)(actual[i] - expected[i])) <
                    allowed * (1 + fabs((double)expected[i])));
}

static const LinearAttention causal = {H, H, D, M, FEATURE_ELU, 1, true, 0, true};
static const LinearAttention both = {H, H, D, M, FEATURE_ELU, 1, true, 0, false};

/* Three chunks against 150 steps, results and state; with and without decays. */
static void chunks_are_steps(void **state) {
    (void)state;
    for (int decays = 0; decays < 2; decays++) {
        Inputs *in = random_inputs();
        Results *chunks = calloc(1, sizeof *chunks), *steps = calloc(1, sizeof *steps);
        run(in, &causal, decays, 0, L, chunks);
        memset(in->state, 0, sizeof in->state);
        for (int t = 0; t < L; t++) run(in, &causal, decays, t, 1, steps);
        expect_equal(chunks->out, steps->out, B * L * VALUES);
        expect_equal(chunks->state, steps->state, B * H * STATE);
        free(in), free(chunks), free(steps);
    }
}

/* Weights sum to one: of equal values the mean is that value, whatever queries, keys, decays. */
static void means_of_equal_values(void **state) {
    (void)state;
    Inputs *in = random_inputs();
    Results *results = calloc(1, sizeof *results);
    for (size_t i = 0; i < sizeof in->v / sizeof(float); i++) in->v[i] = (float)(1 + i % VALUES);
    float expected[B * L * VALUES];
    memcpy(expected, in->v, sizeof expected);
    run(in, &causal, true, 0, L, results);
    expect_equal(results->out, expected, B * L * VALUES);
    run(in, &both, false, 0, L, results);
    expect_equal(results->out, expected, B * L * VALUES);
    free(in), free(results);
}

/* The last query of the causal form sees what every query of the bidirectional one does. */
static void last_query_sees_all(void **state) {
    (void)state;
    Inputs *in = random_inputs();
    Results *one = calloc(1, sizeof *one), *other = calloc(1, sizeof *other);
    run(in, &causal, false, 0, L, one);
    run(in, &both, false, 0, L, other);
    for (int b = 0; b < B; b++) {
        const size_t last = (size_t)(b * L + L - 1) * VALUES;
        expect_equal(one->out + last, other->out + last, VALUES);
    }
    free(in), free(one), free(other);
}

/* Decays of one are none, bit by bit; of zero they leave the token itself. */
static void limits_of_decay(void **state) {
    (void)state;
    Inputs *in = random_inputs();
    Results *one = calloc(1, sizeof *one), *other = calloc(1, sizeof *other);
    memset(in->log_decay, 0, sizeof in->log_decay);
    run(in, &causal, true, 0, L, one);
    memset(in->state, 0, sizeof in->state);
    run(in, &causal, false, 0, L, other);
    assert_memory_equal(one->out, other->out, sizeof one->out);
    memset(in->state, 0, sizeof in->state);
    for (size_t i = 0; i < sizeof in->log_decay / sizeof(float); i++) in->log_decay[i] = -200;
    run(in, &causal, true, 0, L, one);
    expect_equal(one->out, in->v, B * L * VALUES);
    free(in), free(one), free(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_are_steps),
        cmocka_unit_test(means_of_equal_values),
        cmocka_unit_test(last_query_sees_all),
        cmocka_unit_test(limits_of_decay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
