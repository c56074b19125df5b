/* Models on normally distributed features, to compare two of them, and the parallel form with the
 * one-token form for settings that `longhaul check` does not run. */
#ifndef LONGHAUL_TESTS_STEP_FORM_H
#define LONGHAUL_TESTS_STEP_FORM_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bench/check/reference.h"
#include "bench/check/subject.h"

/* like: the model has its parameters; NULL: its own, all of them disturbed. Equal shapes have equal
 * features. */
static inline void open_model(Subject *subject, const char *name, const char *settings,
                              SubjectShape shape, double disturbance, const Subject *like) {
    Error error = {0};
    if (subject_open(subject, model_find(name), settings, &shape, like, &error))
        fail_msg("%s %s: %s", name, settings, error.message);
    if (!like) subject_disturb(subject, disturbance);
    Random random = random_open(1, random_stream("test/x"), 0);
    for (int64_t i = 0; i < tensor_size(subject->x); i++)
        subject->x->data[i] = (float)random_normal(&random);
}

/* Largest difference of outputs of tokens from .. to-1; not-a-number where one is in them. */
static inline double output_difference(const Subject *a, const Subject *b, int64_t from,
                                       int64_t to) {
    const int64_t B = extent(a->out, 0), L = extent(a->out, 1), D = extent(a->out, 2);
    double worst = 0;
    for (int64_t s = 0; s < B; s++)
        for (int64_t i = (s * L + from) * D; i < (s * L + to) * D; i++)
            worst = worse(worst, (double)fabsf(a->out->data[i] - b->out->data[i]));
    return worst;
}

/* Two causal sequences of L tokens, all parameters disturbed; every feature to `allowed`, which is
 * 2e-4 in `longhaul check`. */
static inline void step_form_agrees(const char *model, const char *settings, int64_t L,
                                    double disturbance, float allowed) {
    enum { B = 2 };
    Subject whole, step;
    open_model(&whole, model, settings, (SubjectShape){B, L, L, TAPE_EVALUATE, true, false},
               disturbance, NULL);
    open_model(&step, model, settings, (SubjectShape){B, 1, L, TAPE_STEP, true, false}, 0, &whole);
    const int64_t D = whole.backbone.width;
    subject_forward(&whole, 1);
    tape_reset_state(step.tape);
    for (int64_t t = 0; t < L; t++) {
        for (int64_t b = 0; b < B; b++)
            memcpy(step.x->data + b * D, whole.x->data + (b * L + t) * D,
                   (size_t)D * sizeof(float));
        subject_forward(&step, 1);
        for (int64_t i = 0; i < B * D; i++) {
            const float expected = whole.out->data[(i / D * L + t) * D + i % D];
            if (!(fabsf(step.out->data[i] - expected) < allowed))
                fail_msg("%s %s: token %d channel %d is %g, expected %g", model, settings, (int)t,
                         (int)(i % D), (double)step.out->data[i], (double)expected);
        }
    }
    subject_close(&step);
    subject_close(&whole);
}

#endif
