/* Perceiver AR: blocks, what a latent can and cannot see, the Transformer that it is with one
 * block, and the one-token form across blocks. */
/* cmocka wants the four above first */
#include <stdio.h>
#include <stdlib.h>

#include "tests/step_form.h"

enum { B = 2, L = 21, D = 24 };

static void open_kind(Subject *subject, const char *name, const char *more, const Subject *like) {
    char settings[256];
    snprintf(settings, sizeof settings, "width=%d heads=3 %s", D, more);
    open_model(subject, name, settings, (SubjectShape){B, L, L, TAPE_EVALUATE, true, false}, 0.2,
               like);
}

/* float32 sums in another order through three normalised blocks */
static const float rounding = 3e-5f;

/* The stack does not see beyond its block; without a stack (its last weights zero) the cut is no
 * cut. */
static void test_blocks(void **state) {
    (void)state;
    Subject one, cut;
    open_kind(&one, "perceiver", "latents=21", NULL);
    open_kind(&cut, "perceiver", "latents=8", &one);
    subject_forward(&one, 1);
    subject_forward(&cut, 1);
    assert_true(output_difference(&one, &cut, 0, 8) < rounding);
    assert_true(output_difference(&one, &cut, 8, L) > 1e-2f);
    for (int p = 0; p < one.parameters->count; p++) {
        Tensor *tensor = &one.parameters->list[p]->tensor;
        const bool last = strstr(tensor->name, "mixer.out") || strstr(tensor->name, "mlp.down");
        if (last && strncmp(tensor->name, "layers", 6) == 0)
            memset(tensor->data, 0, (size_t)tensor_size(tensor) * sizeof(float));
    }
    subject_forward(&one, 1);
    subject_forward(&cut, 1);
    assert_true(output_difference(&one, &cut, 0, L) < rounding);
    subject_close(&cut);
    subject_close(&one);
}

/* Whole blocks go through another operation than blocks with a rest. */
static void test_whole_blocks(void **state) {
    (void)state;
    Subject whole, rest;
    open_kind(&whole, "perceiver", "latents=7", NULL);
    const SubjectShape shape = {B, L - 1, L, TAPE_EVALUATE, true, false};
    Error error = {0};
    assert_int_equal(subject_open(&rest, model_find("perceiver"), "width=24 heads=3 latents=7",
                                  &shape, &whole, &error),
                     STATUS_OK);
    for (int b = 0; b < B; b++)
        memcpy(rest.x->data + b * (L - 1) * D, whole.x->data + b * L * D,
               sizeof(float) * (L - 1) * D);
    subject_forward(&whole, 1);
    subject_forward(&rest, 1);
    for (int b = 0; b < B; b++)
        for (int i = 0; i < (L - 1) * D; i++)
            assert_true(fabsf(rest.out->data[b * (L - 1) * D + i] -
                              whole.out->data[b * L * D + i]) < rounding);
    subject_close(&rest);
    subject_close(&whole);
}

/* A token that is long past still reaches every latent, through the cross-attention. */
static void test_reads_all(void **state) {
    (void)state;
    Subject before, after;
    open_kind(&before, "perceiver", "latents=4", NULL);
    open_kind(&after, "perceiver", "latents=4", &before);
    subject_forward(&before, 1);
    for (int b = 0; b < B; b++) after.x->data[(b * L + 2) * D] += 1;
    subject_forward(&after, 1);
    assert_true(output_difference(&before, &after, 0, 2) == 0);
    for (int t = 2; t < L; t++) assert_true(output_difference(&before, &after, t, t + 1) > 1e-5f);
    subject_close(&after);
    subject_close(&before);
}

static Tensor *parameter(const Subject *subject, const char *name) {
    Parameter *found = parameters_find(subject->parameters, name);
    if (!found) fail_msg("no parameter %s", name);
    return &found->tensor;
}

static void copy(const Subject *to, const char *name, const Subject *from, const char *source) {
    const Tensor *values = parameter(from, source);
    memcpy(parameter(to, name)->data, values->data, (size_t)tensor_size(values) * sizeof(float));
}

/* One block, Wz the identity and one norm for both sides of the cross-attention: the Transformer of
 * one block more. */
static void test_is_a_transformer(void **state) {
    (void)state;
    Subject perceiver, plain;
    open_kind(&plain, "transformer", "layers=2 positions=none mlp=relu2", NULL);
    open_kind(&perceiver, "perceiver", "layers=1 latents=30 rotary_fraction=0", NULL);
    Tensor *z = parameter(&perceiver, "z.weight");
    for (int i = 0; i < D * D; i++) z->data[i] = i % (D + 1) == 0;
    memset(parameter(&perceiver, "z.bias")->data, 0, D * sizeof(float));
    for (int p = 0; p < plain.parameters->count; p++) {
        const char *name = plain.parameters->list[p]->tensor.name;
        char to[128];
        const char *rest = strstr(name, ".mixer.qkv");
        if (strncmp(name, "layers.0.", 9) == 0) {
            if (rest) continue;
            snprintf(to, sizeof to, "cross.%s", name);
        } else if (strncmp(name, "layers.1.", 9) == 0) {
            snprintf(to, sizeof to, "layers.0.%s", name + 9);
        } else {
            snprintf(to, sizeof to, "%s", name);
        }
        copy(&perceiver, to, &plain, name);
    }
    copy(&perceiver, "cross.layers.0.mixer.norm_kv.gamma", &plain, "layers.0.norm1.gamma");
    copy(&perceiver, "cross.layers.0.mixer.norm_kv.beta", &plain, "layers.0.norm1.beta");
    static const char *const kinds[] = {"weight", "bias"};
    for (int k = 0; k < 2; k++) {
        char name[64];
        snprintf(name, sizeof name, "layers.0.mixer.qkv.%s", kinds[k]);
        const float *qkv = parameter(&plain, name)->data;
        snprintf(name, sizeof name, "cross.layers.0.mixer.q.%s", kinds[k]);
        float *q = parameter(&perceiver, name)->data;
        snprintf(name, sizeof name, "cross.layers.0.mixer.kv.%s", kinds[k]);
        float *kv = parameter(&perceiver, name)->data;
        for (int i = 0; i < (k ? 1 : D); i++) {
            memcpy(q + i * D, qkv + i * 3 * D, D * sizeof(float));
            memcpy(kv + i * 2 * D, qkv + i * 3 * D + D, 2 * D * sizeof(float));
        }
    }
    subject_forward(&plain, 1);
    subject_forward(&perceiver, 1);
    assert_true(output_difference(&plain, &perceiver, 0, L) < rounding);
    subject_close(&perceiver);
    subject_close(&plain);
}

static void test_step(void **state) {
    (void)state;
    static const char *const kinds[] = {"latents=5", "latents=1 rotary_fraction=1", "latents=64"};
    for (int k = 0; k < 3; k++) {
        char settings[256];
        snprintf(settings, sizeof settings, "width=%d heads=3 %s", D, kinds[k]);
        step_form_agrees("perceiver", settings, L, 0.2, rounding);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blocks),    cmocka_unit_test(test_whole_blocks),
        cmocka_unit_test(test_reads_all), cmocka_unit_test(test_is_a_transformer),
        cmocka_unit_test(test_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
