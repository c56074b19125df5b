/* Attention with weights 1 + s + s^2 / 2: both ways of computing it, one token at a time, means of
 * equal values; Based in every order of its layers. */
/* cmocka wants step_form.h's first four before it */
#include <stdio.h>
#include <stdlib.h>

#include "engine/ops/taylor_attention/taylor_attention.h"
#include "tests/bench.h"
#include "tests/step_form.h"

enum { B = 2, L = 150, H = 2, D = 9, M = 5, ROW = H * (2 * D + M), VALUES = H * M };
static const TaylorAttention heads = {H, D, M, 1e-12};

typedef struct Numbers {
    float qkv[B * L * ROW], out[B * L * VALUES];
    float *state; /* NULL: the call has none */
} Numbers;

static Numbers *random_numbers(bool state) {
    Numbers *numbers = calloc(1, sizeof *numbers);
    Random random = random_open(1, random_stream("test/taylor"), 0);
    for (int i = 0; i < B * L * ROW; i++) numbers->qkv[i] = (float)random_normal(&random);
    if (state)
        numbers->state = calloc((size_t)(B * H * taylor_attention_state(&heads)), sizeof(float));
    return numbers;
}
static void discard(Numbers *numbers) {
    free(numbers->state);
    free(numbers);
}

/* Tokens first .. first+length-1, from the state and to the next one. */
static void attend(Numbers *numbers, int first, int length) {
    const int64_t size = taylor_attention_state(&heads);
    Bench bench;
    bench_open(&bench, TAPE_EVALUATE);
    Tensor *qkv = bench_input(&bench, SHAPE(B, length, ROW)), *state = NULL, *next = NULL;
    if (numbers->state) state = bench_input(&bench, SHAPE(B, H, size));
    Tensor *out = taylor_attention(bench.tape, qkv, state, &heads, &next);
    tape_keep(bench.tape, out);
    if (next) tape_keep(bench.tape, next);
    bench_plan(&bench);
    for (int b = 0; b < B; b++)
        memcpy(qkv->data + b * length * ROW, numbers->qkv + (b * L + first) * ROW,
               (size_t)(length * ROW) * sizeof(float));
    if (state) give(state, numbers->state);
    bench_run(&bench);
    for (int b = 0; b < B; b++)
        memcpy(numbers->out + (b * L + first) * VALUES, out->data + b * length * VALUES,
               (size_t)(length * VALUES) * sizeof(float));
    if (next) memcpy(numbers->state, next->data, (size_t)(B * H * size) * sizeof(float));
    bench_close(&bench);
}

/* Sums of 150 weights in another order. */
static void expect_equal(const float *actual, const float *expected) {
    for (int i = 0; i < B * L * VALUES; i++)
        near("result", (double)actual[i], (double)expected[i], 1e-5);
}

/* Without a state 150 tokens are pairs; with one they are three chunks, or 150 steps. */
static void ways_agree(void **state) {
    (void)state;
    Numbers *pairs = random_numbers(false), *chunks = random_numbers(true);
    Numbers *steps = random_numbers(true);
    attend(pairs, 0, L);
    attend(chunks, 0, L);
    for (int t = 0; t < L; t++) attend(steps, t, 1);
    expect_equal(chunks->out, pairs->out);
    expect_equal(steps->out, pairs->out);
    const int64_t size = B * H * taylor_attention_state(&heads);
    for (int64_t i = 0; i < size; i++)
        near("state", (double)steps->state[i], (double)chunks->state[i], 1e-3);
    discard(pairs), discard(chunks), discard(steps);
}

static void means_of_equal_values(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        Numbers *numbers = random_numbers(way);
        for (int t = 0; t < B * L; t++)
            for (int c = 0; c < VALUES; c++) numbers->qkv[t * ROW + 2 * H * D + c] = (float)(1 + c);
        attend(numbers, 0, L);
        for (int i = 0; i < B * L * VALUES; i++)
            near("mean", (double)numbers->out[i], 1 + i % VALUES, 2e-5);
        discard(numbers);
    }
}

static void orders_step(void **state) {
    (void)state;
    static const char *const orders[] = {"mqar",   "language",  "attention",
                                         "taylor", "base_conv", "window"};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        char settings[256];
        snprintf(settings, sizeof settings,
                 "width=24 layers=6 heads=2 feature_width=5 attention_window=7 order=%s",
                 orders[i]);
        step_form_agrees("based", settings, 90, 0.1, 5e-5f);
    }
}

/* The published sizes: 2^13 bytes a sequence for windows of 8 earlier tokens at width 128, beside
 * which we count the token itself and what the convolution remembers. */
static void states_have_the_published_sizes(void **state) {
    (void)state;
    static const struct {
        const char *order, *window;
        int64_t floats;
    } cases[] = {{"window", "9", 128 * (2 + 2 * 9)}, {"base_conv", "9", 128 * (2 + 300)}};
    const Model *model = model_find("based");
    for (int i = 0; i < 2; i++) {
        Backbone backbone;
        _Alignas(16) char own[1024];
        Error error = {0};
        assert_true(model->options.bytes <= sizeof own);
        option_defaults(&backbone_options, &backbone);
        option_defaults(&model->options, own);
        backbone.width = 128;
        backbone.layers = 2;
        assert_int_equal(option_set(&model->options, own, "order", cases[i].order, &error), 0);
        assert_int_equal(
            option_set(&model->options, own, "attention_window", cases[i].window, &error), 0);
        assert_int_equal(model->state_floats(&backbone, own, 300), cases[i].floats);
    }
}

static void wide_windows_are_refused(void **state) {
    (void)state;
    Subject subject;
    Error error = {0};
    const SubjectShape shape = {B, L, L, TAPE_EVALUATE, true, false};
    assert_int_equal(subject_open(&subject, model_find("based"),
                                  "width=256 layers=3 order=language", &shape, NULL, &error),
                     STATUS_USAGE);
    assert_non_null(strstr(error.message, "at most 128 channels"));
    free(subject.options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ways_agree),
        cmocka_unit_test(means_of_equal_values),
        cmocka_unit_test(orders_step),
        cmocka_unit_test(states_have_the_published_sizes),
        cmocka_unit_test(wide_windows_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
