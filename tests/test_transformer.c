/* The Transformer's flavours: the one-token form against the whole sequence, recomputed blocks
 * against kept ones, an encoder without positions against a permuted one, refused settings. */
/* cmocka wants the four above first */
#include <stdio.h>
#include <stdlib.h>

#include "tests/step_form.h"

enum { B = 2, L = 45, D = 24 }; /* longer than a tile of queries */

static const char *const flavours[] = {
    "heads=2 mlp=gelu_tanh",
    "heads=4 kv_heads=2 positions=rotary bias=no norm=rms mlp=swiglu mlp_ratio=2.6667",
    "heads=2 positions=rotary rotary_interleaved=yes norm_place=post",
    "heads=3 positions=sinusoidal qkv_width=12 mlp=none",
    "heads=1 mlp=identity",
};
enum { FLAVOURS = sizeof flavours / sizeof *flavours };

static void open_subject(Subject *subject, const char *flavour, const char *more, TapeMode mode,
                         bool causal, const Subject *like) {
    char settings[256];
    snprintf(settings, sizeof settings, "width=%d layers=2 %s %s", D, flavour, more);
    open_model(subject, "transformer", settings, (SubjectShape){B, L, L, mode, causal, false}, 0.2,
               like);
}

/* Decoding attends with channels in the lanes, the whole sequence with queries: two orders of the
 * same sums, through two normalised blocks. */
static void test_step(void **state) {
    (void)state;
    for (int f = 0; f < FLAVOURS; f++) {
        char settings[256];
        snprintf(settings, sizeof settings, "width=%d layers=2 %s", D, flavours[f]);
        step_form_agrees("transformer", settings, L, 0.2, 2e-5f);
    }
}

static void train(Subject *subject) {
    const Run run = {.threads = 2, .training = true, .seed = 5, .pass = 7};
    memset(subject->parameters->gradients, 0, (size_t)subject->parameters->size * sizeof(float));
    tape_forward(subject->tape, &run);
    for (int64_t i = 0; i < tensor_size(subject->out); i++)
        subject->out->gradient[i] = (float)(i % 7) - 3;
    tape_backward(subject->tape, &run);
}

/* Recomputing draws the same dropout and repeats the same arithmetic: not a bit may differ. */
static void test_recompute(void **state) {
    (void)state;
    for (int f = 0; f < FLAVOURS; f++) {
        Subject kept, again;
        open_subject(&kept, flavours[f], "dropout=0.2 attention_dropout=0.1", TAPE_TRAIN, true,
                     NULL);
        open_subject(&again, flavours[f], "dropout=0.2 attention_dropout=0.1 recompute=yes",
                     TAPE_TRAIN, true, NULL);
        assert_true(tape_bytes(again.tape) < tape_bytes(kept.tape));
        train(&kept);
        train(&again);
        const size_t bytes = (size_t)tensor_size(kept.out) * sizeof(float);
        assert_memory_equal(kept.out->data, again.out->data, bytes);
        assert_memory_equal(kept.x->gradient, again.x->gradient, bytes);
        assert_memory_equal(kept.parameters->gradients, again.parameters->gradients,
                            (size_t)kept.parameters->size * sizeof(float));
        subject_close(&kept);
        subject_close(&again);
    }
}

/* Numbers dropped right behind the embedding take no gradient; dropped on a branch, they do. */
static void test_dropout_places(void **state) {
    (void)state;
    static const struct {
        const char *settings;
        double dropped; /* share of x */
    } cases[] = {{"dropout=0", 0},
                 {"dropout=0.3", 0.3},
                 {"dropout=0.3 embedding_dropout=0", 0},
                 {"dropout=0 embedding_dropout=0.3", 0.3}};
    for (int i = 0; i < 4; i++) {
        Subject subject;
        open_subject(&subject, "heads=2", cases[i].settings, TAPE_TRAIN, true, NULL);
        train(&subject);
        int zeros = 0;
        for (int j = 0; j < B * L * D; j++) zeros += subject.x->gradient[j] == 0;
        /* 2160 numbers: one deviation of the share is 0.01 */
        assert_true(fabs(zeros / (double)(B * L * D) - cases[i].dropped) < 0.04);
        assert_true(cases[i].dropped > 0 || zeros == 0);
        subject_close(&subject);
    }
}

/* An encoder that is told nothing of positions treats a sequence as a set: reversed in, reversed
 * out, up to the order of the sums over keys. */
static void test_encoder_permutes(void **state) {
    (void)state;
    Subject forward, reversed;
    open_subject(&forward, "heads=2 positions=none", "", TAPE_EVALUATE, false, NULL);
    open_subject(&reversed, "heads=2 positions=none", "", TAPE_EVALUATE, false, &forward);
    for (int row = 0; row < B * L; row++)
        memcpy(reversed.x->data + row * D, forward.x->data + (row / L * L + L - 1 - row % L) * D,
               D * sizeof(float));
    subject_forward(&forward, 1);
    subject_forward(&reversed, 1);
    for (int i = 0; i < B * L * D; i++) {
        const int row = i / D, mirrored = row / L * L + L - 1 - row % L;
        assert_true(fabsf(reversed.out->data[i] - forward.out->data[mirrored * D + i % D]) < 2e-5f);
    }
    subject_close(&reversed);
    subject_close(&forward);
}

static void test_refused(void **state) {
    (void)state;
    static const char *const refused[][2] = {
        {"width=64 heads=3", "heads=3 does not divide width=64"},
        {"width=64 heads=2 qkv_width=15", "heads=2 does not divide qkv_width=15"},
        {"width=64 heads=4 kv_heads=3", "kv_heads=3 does not divide heads=4"},
        {"width=36 heads=4 positions=rotary", "even width"},
    };
    const Model *model = model_find("transformer");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        Subject subject;
        Error error = {0};
        const SubjectShape shape = {B, L, L, TAPE_EVALUATE, true, false};
        const Status status = subject_open(&subject, model, refused[i][0], &shape, NULL, &error);
        assert_int_equal(status, STATUS_USAGE);
        if (!strstr(error.message, refused[i][1]))
            fail_msg("'%s' does not say '%s'", error.message, refused[i][1]);
        free(subject.options);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_step),           cmocka_unit_test(test_recompute),
        cmocka_unit_test(test_dropout_places), cmocka_unit_test(test_encoder_permutes),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
