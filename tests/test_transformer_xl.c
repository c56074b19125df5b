/* Transformer-XL across segments, which are longer than the sequences of the properties that all
 * models share: segments with enough memory against one segment, the one-token form with its ring,
 * how far back a token can see, where gradients end, and the model without relative scores against
 * a Transformer. */
/* cmocka wants the four above first */
#include <stdio.h>
#include <stdlib.h>

#include "tests/step_form.h"

enum { B = 2, L = 22, D = 24 };

/* float32 sums in another order through two normalised blocks */
static const float rounding = 2e-5f;

static void open_kind(Subject *subject, const char *name, const char *more, TapeMode mode,
                      const Subject *like) {
    char settings[256];
    snprintf(settings, sizeof settings, "width=%d layers=2 heads=3 %s", D, more);
    open_model(subject, name, settings, (SubjectShape){B, L, L, mode, true, false}, 0.2, like);
}

static void open_subject(Subject *subject, const char *more, TapeMode mode, const Subject *like) {
    open_kind(subject, "transformer_xl", more, mode, like);
}

static Tensor *parameter(const Subject *subject, const char *name) {
    Parameter *found = parameters_find(subject->parameters, name);
    if (!found) fail_msg("no parameter %s", name);
    return &found->tensor;
}

static void copy_trained(Subject *to, const Subject *from) {
    for (int p = 0; p < to->parameters->count; p++) {
        const Parameter *own = to->parameters->list[p];
        if (own->group.frozen) continue;
        memcpy(own->tensor.data, parameter(from, own->tensor.name)->data,
               (size_t)tensor_size(&own->tensor) * sizeof(float));
    }
}

/* A layer's memory is what the layer has been given, so with enough of it segments change nothing.
 */
static void test_segments_are_one(void **state) {
    (void)state;
    static const char *const cut[] = {"segment=4 memory=20", "segment=7 memory=21"};
    Subject whole, segments;
    open_subject(&whole, "segment=22 memory=0", TAPE_EVALUATE, NULL);
    subject_forward(&whole, 1);
    for (int i = 0; i < 2; i++) {
        open_subject(&segments, cut[i], TAPE_EVALUATE, &whole);
        subject_forward(&segments, 1);
        assert_true(output_difference(&whole, &segments, 0, L) < rounding);
        subject_close(&segments);
    }
    /* and with less they change what follows the first */
    open_subject(&segments, "segment=8 memory=3", TAPE_EVALUATE, NULL);
    copy_trained(&segments, &whole);
    subject_forward(&segments, 1);
    assert_true(output_difference(&whole, &segments, 0, 8) < rounding);
    assert_true(output_difference(&whole, &segments, 16, L) > 1e-2f);
    subject_close(&segments);
    subject_close(&whole);
}

/* What is evaluated is the model of evaluation's segment and memory, and training knows nothing of
 * them. */
static void test_evaluation_memory(void **state) {
    (void)state;
    static const char other[] =
        "segment=9 memory=0 evaluation_segment=4 evaluation_memory=7 evaluation_clamp=21";
    Subject plain, evaluated, training, as_trained;
    open_subject(&plain, "segment=4 memory=7", TAPE_EVALUATE, NULL);
    open_subject(&evaluated, other, TAPE_EVALUATE, NULL);
    open_subject(&training, other, TAPE_TRAIN, NULL);
    open_subject(&as_trained, "segment=9 memory=0", TAPE_TRAIN, NULL);
    copy_trained(&evaluated, &plain);
    copy_trained(&training, &plain);
    copy_trained(&as_trained, &plain);
    subject_forward(&plain, 1);
    subject_forward(&evaluated, 1);
    subject_forward(&training, 1);
    subject_forward(&as_trained, 1);
    assert_memory_equal(plain.out->data, evaluated.out->data, sizeof(float) * B * L * D);
    assert_memory_equal(training.out->data, as_trained.out->data, sizeof(float) * B * L * D);
    assert_true(output_difference(&plain, &training, 0, L) > 1e-2f);
    subject_close(&as_trained);
    subject_close(&training);
    subject_close(&evaluated);
    subject_close(&plain);
}

/* Rows of distances beyond the clamp are the clamp's, and what attends as far changes. */
static void test_clamp(void **state) {
    (void)state;
    Subject plain, clamped;
    open_subject(&plain, "segment=4 memory=7", TAPE_EVALUATE, NULL);
    open_subject(&clamped, "segment=4 memory=7 evaluation_clamp=5", TAPE_EVALUATE, NULL);
    copy_trained(&clamped, &plain);
    const Tensor *before = parameter(&plain, "distances"),
                 *after = parameter(&clamped, "evaluation_distances");
    assert_int_equal(extent(after, 0), 11);
    for (int t = 0; t < 11; t++)
        assert_memory_equal(after->data + t * D, before->data + (t < 5 ? t : 5) * D,
                            D * sizeof(float));
    subject_forward(&plain, 1);
    subject_forward(&clamped, 1);
    assert_true(output_difference(&plain, &clamped, 0, 6) < rounding);
    assert_true(output_difference(&plain, &clamped, 6, L) > 1e-3f);
    subject_close(&clamped);
    subject_close(&plain);
}

static void test_step(void **state) {
    (void)state;
    static const char *const cut[] = {
        "segment=5 memory=3", "segment=3 memory=8", "segment=6 memory=0", "segment=64 memory=64",
        "segment=9 memory=1 evaluation_segment=2 evaluation_memory=8 evaluation_clamp=6"};
    for (int c = 0; c < 5; c++) {
        char settings[256];
        snprintf(settings, sizeof settings, "width=%d layers=2 heads=3 %s", D, cut[c]);
        step_form_agrees("transformer_xl", settings, L, 0.2, rounding);
    }
}

/* Two layers with 3 tokens of memory each: the segment from 20 on reads tokens from 17 on, which
 * belong to the segment from 16 on and have read tokens from 13 on. */
static void test_reach(void **state) {
    (void)state;
    Subject before, after;
    open_subject(&before, "segment=4 memory=3", TAPE_EVALUATE, NULL);
    open_subject(&after, "segment=4 memory=3", TAPE_EVALUATE, &before);
    subject_forward(&before, 1);
    for (int changed = 12; changed <= 13; changed++) {
        for (int b = 0; b < B; b++) after.x->data[(b * L + changed) * D] += 1;
        subject_forward(&after, 1);
        assert_true((output_difference(&before, &after, 20, L) > 1e-5f) == (changed == 13));
    }
    subject_close(&after);
    subject_close(&before);
}

/* Nothing that a later segment is worth reaches an earlier one, unless asked for; forward is the
 * same. */
static void test_stopped_gradient(void **state) {
    (void)state;
    float cotangent[B * L * D] = {0};
    for (int b = 0; b < B; b++)
        for (int i = (b * L + 20) * D; i < (b + 1) * L * D; i++) cotangent[i] = (float)(i % 5) - 2;
    Subject stops, flows;
    open_subject(&stops, "segment=5 memory=9", TAPE_TRAIN, NULL);
    open_subject(&flows, "segment=5 memory=9 memory_gradient=yes", TAPE_TRAIN, &stops);
    subject_backward(&stops, cotangent, 1);
    float early = 0, own = 0;
    for (int i = 0; i < B * L * D; i++) {
        float *sum = i / D % L < 20 ? &early : &own;
        *sum += fabsf(stops.x->gradient[i]);
    }
    assert_true(early == 0 && own > 1);
    subject_backward(&flows, cotangent, 1);
    for (int i = 0; i < B * L * D; i++)
        if (i / D % L < 20) early += fabsf(flows.x->gradient[i]);
    assert_true(early > 1);
    assert_memory_equal(stops.out->data, flows.out->data, sizeof(float) * B * L * D);
    subject_close(&flows);
    subject_close(&stops);
}

/* Without u, w and Wr nothing is left of positions: a Transformer that is told none. */
static void test_is_a_transformer(void **state) {
    (void)state;
    Subject xl, plain;
    open_subject(&xl, "segment=22 memory=0 embedding_scale=no", TAPE_EVALUATE, NULL);
    open_kind(&plain, "transformer", "positions=none bias=no mlp=relu norm_place=post",
              TAPE_EVALUATE, NULL);
    for (int p = 0; p < plain.parameters->count; p++) {
        Tensor *to = &plain.parameters->list[p]->tensor;
        if (strstr(to->name, "qkv")) continue;
        const Tensor *from = parameter(&xl, to->name);
        memcpy(to->data, from->data, (size_t)tensor_size(to) * sizeof(float));
    }
    for (int layer = 0; layer < 2; layer++) {
        char name[64];
        snprintf(name, sizeof name, "layers.%d.mixer.qkv.weight", layer);
        float *qkv = parameter(&plain, name)->data;
        snprintf(name, sizeof name, "layers.%d.mixer.q.weight", layer);
        const float *q = parameter(&xl, name)->data;
        snprintf(name, sizeof name, "layers.%d.mixer.kv.weight", layer);
        const float *kv = parameter(&xl, name)->data;
        for (int i = 0; i < D; i++) {
            memcpy(qkv + i * 3 * D, q + i * D, D * sizeof(float));
            memcpy(qkv + i * 3 * D + D, kv + i * 2 * D, 2 * D * sizeof(float));
        }
        snprintf(name, sizeof name, "layers.%d.mixer.r.weight", layer);
        memset(parameter(&xl, name)->data, 0, sizeof(float) * D * D);
    }
    memset(parameter(&xl, "u")->data, 0, sizeof(float) * D);
    memset(parameter(&xl, "w")->data, 0, sizeof(float) * D);
    subject_forward(&xl, 1);
    subject_forward(&plain, 1);
    assert_true(output_difference(&xl, &plain, 0, L) < rounding);
    subject_close(&plain);
    subject_close(&xl);
}

static void test_refused(void **state) {
    (void)state;
    static const char *const refused[] = {"width=64 heads=3", "width=512 heads=2"};
    for (int i = 0; i < 2; i++) {
        Subject subject;
        Error error = {0};
        const SubjectShape shape = {B, L, L, TAPE_EVALUATE, true, false};
        assert_int_equal(
            subject_open(&subject, model_find("transformer_xl"), refused[i], &shape, NULL, &error),
            STATUS_USAGE);
        assert_non_null(strstr(error.message, "heads of at most 128 channels"));
        free(subject.options);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments_are_one),
        cmocka_unit_test(test_evaluation_memory),
        cmocka_unit_test(test_clamp),
        cmocka_unit_test(test_step),
        cmocka_unit_test(test_reach),
        cmocka_unit_test(test_stopped_gradient),
        cmocka_unit_test(test_is_a_transformer),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
