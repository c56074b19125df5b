/* What the RG-LRU must do by its definition, how Griffin begins, which blocks attend and how far
 * they see, and the one-token form of sequences longer than the window. */
/* cmocka wants the four above first */
#include <stdio.h>

#include "engine/ops/rg_lru/rg_lru.h"
#include "tests/bench.h"
#include "tests/step_form.h"

enum { L = 3 };

typedef struct Channel {
    Bench bench;
    Tensor *x, *recurrence, *input, *lambda, *h;
} Channel;

/* One channel whose gates are half open. */
static void open_channel(Channel *own, float lambda) {
    bench_open(&own->bench, TAPE_TRAIN);
    Tape *tape = own->bench.tape;
    const Shape row = SHAPE(1, L, 1), one = SHAPE(1);
    own->x = tape_input(tape, "x", TENSOR_FLOAT, row, true);
    own->recurrence = tape_input(tape, "recurrence", TENSOR_FLOAT, row, true);
    own->input = tape_input(tape, "input", TENSOR_FLOAT, row, true);
    own->lambda = tape_input(tape, "lambda", TENSOR_FLOAT, one, true);
    own->h = rg_lru(tape, &(RgLru){.x = own->x,
                                   .recurrence = own->recurrence,
                                   .input = own->input,
                                   .recurrence_bias = bench_input(&own->bench, one),
                                   .input_bias = bench_input(&own->bench, one),
                                   .lambda = own->lambda});
    tape_seed(tape, own->h);
    bench_plan(&own->bench);
    for (int t = 0; t < L; t++) {
        own->x->data[t] = 1;
        own->recurrence->data[t] = own->input->data[t] = 0;
    }
    own->lambda->data[0] = lambda;
}

/* Two in a million are forgotten in a token: sqrt(1 - a^2) is 2e-3, of which 1 - a^2 in floats
 * would lose the third digit. */
static void forgets_slowly(void **state) {
    (void)state;
    const double rate = 2e-6, a = exp(-rate), root = sqrt(-expm1(-2 * rate));
    Channel own;
    open_channel(&own, (float)log(expm1(rate / 4))); /* log a = -8 / 2 softplus(lambda) */
    bench_run(&own.bench);
    double h = 0.5;
    for (int t = 0; t < L; t++) {
        if (t > 0) h = a * h + root * 0.5;
        near("h", (double)own.h->data[t], h, 1e-7);
    }
    bench_close(&own.bench);
}

/* Where a is 1 in floats the root's derivative is 1000 and not infinite. */
static void derivative_is_bounded(void **state) {
    (void)state;
    static const float lambdas[] = {-30, -200};
    for (int n = 0; n < 2; n++) {
        Channel own;
        open_channel(&own, lambdas[n]);
        bench_run(&own.bench);
        for (int t = 0; t < L; t++) own.h->gradient[t] = t == 1;
        tape_backward(own.bench.tape, &(Run){.threads = 1});
        /* d h_1 / d log a = h_0 - 2 . 1000 i x_1 */
        const double expected = (0.5 - 1000) * -4 / (1 + exp(-(double)lambdas[n]));
        near("lambda's gradient", (double)own.lambda->gradient[0], expected,
             1e-5 * fabs(expected) + 1e-30);
        for (int t = 0; t < L; t++) assert_true(fabsf(own.recurrence->gradient[t]) < 1e-9f);
        bench_close(&own.bench);
    }
}

static const Tensor *parameter(const Subject *subject, const char *name) {
    for (int p = 0; p < subject->parameters->count; p++)
        if (strcmp(subject->parameters->list[p]->tensor.name, name) == 0)
            return &subject->parameters->list[p]->tensor;
    return NULL;
}

static const SubjectShape eight = {1, 8, 8, TAPE_EVALUATE, true, false};

/* exp(-softplus(lambda)) squared is uniform in 0.81 .. 0.998. */
static void lambda_begins_on_a_ring(void **state) {
    (void)state;
    Subject subject;
    open_model(&subject, "griffin", "width=384 layers=1 pattern=r", eight, 0, NULL);
    const Tensor *lambda = parameter(&subject, "layers.0.mixer.lambda");
    assert_non_null(lambda);
    assert_int_equal(tensor_size(lambda), 512);
    double mean = 0;
    for (int e = 0; e < 512; e++) {
        const double square = exp(-2 * log1p(exp((double)lambda->data[e])));
        assert_true(square > 0.8099 && square < 0.9981);
        mean += square / 512;
    }
    near("mean", mean, 0.904, 0.01);
    subject_close(&subject);
}

/* Two recurrent blocks and one of attention; the last letters where there are fewer layers. */
static void pattern_names_the_blocks(void **state) {
    (void)state;
    static const struct {
        const char *settings, *blocks;
    } rows[] = {{"layers=4", "rrar"}, {"layers=2", "ra"}, {"layers=2 pattern=r", "rr"}};
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        char settings[64], name[64];
        snprintf(settings, sizeof settings, "width=24 %s", rows[n].settings);
        Subject subject;
        open_model(&subject, "griffin", settings, eight, 0, NULL);
        int64_t floats = 0;
        for (int layer = 0; rows[n].blocks[layer]; layer++) {
            const bool attends = rows[n].blocks[layer] == 'a';
            snprintf(name, sizeof name, "layers.%d.mixer.%s", layer,
                     attends ? "kv.weight" : "lambda");
            assert_non_null(parameter(&subject, name));
            floats += attends ? 8 * 24 : 4 * 32; /* 8 tokens of a head of 12; 32 channels */
        }
        assert_int_equal(subject.model->state_floats(&subject.backbone, subject.options, 8),
                         floats);
        subject_close(&subject);
    }
    Subject subject;
    Error error = {0};
    assert_int_equal(
        subject_open(&subject, model_find("griffin"), "width=24 pattern=rxa", &eight, NULL, &error),
        STATUS_USAGE);
    subject_close(&subject);
}

/* A block of attention sees `window` tokens before the present one. */
static void window_ends(void **state) {
    (void)state;
    static const char settings[] = "width=24 layers=1 pattern=a attention_window=5 mlp=none";
    Subject a, b;
    open_model(&a, "griffin", settings, eight, 0.1, NULL);
    open_model(&b, "griffin", settings, eight, 0, &a);
    b.x->data[0] += 1;
    subject_forward(&a, 1);
    subject_forward(&b, 1);
    for (int t = 0; t < 8; t++) assert_int_equal(output_difference(&a, &b, t, t + 1) > 0, t <= 5);
    subject_close(&b);
    subject_close(&a);
}

static void one_token_form(void **state) {
    (void)state;
    step_form_agrees("griffin", "width=24 layers=3 attention_window=5", 23, 0.1, 2e-5f);
    step_form_agrees("griffin", "width=24 layers=2 pattern=a attention_window=1 heads=3", 9, 0.1,
                     2e-5f);
    step_form_agrees("griffin", "width=20 layers=2 pattern=r heads=5 convolution=2", 23, 0.1,
                     2e-5f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forgets_slowly),
        cmocka_unit_test(derivative_is_bounded),
        cmocka_unit_test(lambda_begins_on_a_ring),
        cmocka_unit_test(pattern_names_the_blocks),
        cmocka_unit_test(window_ends),
        cmocka_unit_test(one_token_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
