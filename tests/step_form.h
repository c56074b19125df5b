/* The parallel form against the one-token form, for settings that `longhaul check` does not run. */
#ifndef LONGHAUL_TESTS_STEP_FORM_H
#define LONGHAUL_TESTS_STEP_FORM_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "bench/subject.h"

/* L tokens of one sequence, all parameters disturbed. */
static inline void step_form_agrees(const char *model, const char *settings, int64_t L) {
    const SubjectShape whole = {1, L, L, TAPE_EVALUATE, true, false},
                       one = {1, 1, L, TAPE_STEP, true, false};
    Error error = {0};
    Subject subject, step;
    if (subject_open(&subject, model_find(model), settings, &whole, NULL, &error))
        fail_msg("%s", error.message);
    subject_disturb(&subject, 0.05);
    if (subject_open(&step, model_find(model), settings, &one, &subject, &error))
        fail_msg("%s", error.message);
    const int64_t D = subject.backbone.width;
    for (int64_t i = 0; i < L * D; i++) subject.x->data[i] = (float)sin(0.7 * (double)(i * i));
    subject_forward(&subject, 1);
    tape_reset_state(step.tape);
    for (int64_t t = 0; t < L; t++) {
        memcpy(step.x->data, subject.x->data + t * D, (size_t)D * sizeof(float));
        subject_forward(&step, 1);
        for (int64_t d = 0; d < D; d++) /* normalised features; as `longhaul check` allows */
            if (!(fabsf(step.out->data[d] - subject.out->data[t * D + d]) < 2e-4f))
                fail_msg("%s %s: token %d, channel %d: step %.6f, whole %.6f", model, settings,
                         (int)t, (int)d, (double)step.out->data[d],
                         (double)subject.out->data[t * D + d]);
    }
    subject_close(&step);
    subject_close(&subject);
}

#endif
