/* The sequence mixer of one model alone, to be filled with parameters whose output is known. */
#ifndef LONGHAUL_TESTS_MIXER_ALONE_H
#define LONGHAUL_TESTS_MIXER_ALONE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/device.h"
#include "models/model.h"

typedef struct MixerSetting {
    const char *key, *value;
} MixerSetting;

typedef struct MixerAlone {
    Device device;
    Parameters *parameters;
    Tape *tape;
    Backbone backbone;
    double options[64]; /* the model's, whose type is its own */
    Tensor *u, *y;      /* (1, L, D) */
} MixerAlone;

/* All parameters start at zero. settings end with a key NULL. */
static inline void mixer_open(MixerAlone *own, const char *name, const MixerSetting *settings,
                              int64_t L, int64_t D, bool causal) {
    const Model *model = model_find(name);
    Error error = {0};
    assert_non_null(model);
    assert_true(model->options.bytes <= sizeof own->options);
    option_defaults(&backbone_options, &own->backbone);
    option_defaults(&model->options, own->options);
    own->backbone.width = D;
    for (; settings->key; settings++)
        if (option_set(&model->options, own->options, settings->key, settings->value, &error))
            fail_msg("%s", error.message);
    assert_int_equal(device_open(&own->device, "cpu", &error), STATUS_OK);
    own->parameters = parameters_open();
    own->tape = tape_open(own->parameters, TAPE_EVALUATE);
    tape_set_horizon(own->tape, L);
    const ModelContext context = {
        .backbone = &own->backbone, .options = own->options, .max_length = L, .causal = causal};
    own->u = tape_input(own->tape, "u", TENSOR_FLOAT, SHAPE(1, L, D), false);
    own->y = model->mixer(own->tape, &context, own->u);
    tape_keep(own->tape, own->y);
    if (tape_plan(own->tape, 1, &error) ||
        parameters_allocate(own->parameters, &own->device, false, 1, &error) ||
        tape_allocate(own->tape, &own->device, &error))
        fail_msg("%s", error.message);
    for (int p = 0; p < own->parameters->count; p++) {
        Tensor *tensor = &own->parameters->list[p]->tensor;
        memset(tensor->data, 0, (size_t)tensor_size(tensor) * sizeof(float));
    }
}

static inline void mixer_close(MixerAlone *own) {
    tape_close(own->tape);
    parameters_close(own->parameters);
    device_close(&own->device);
}

static inline Tensor *mixer_parameter(const MixerAlone *own, const char *name) {
    Parameter *found = parameters_find(own->parameters, name);
    if (!found) fail_msg("no parameter %s", name);
    return &found->tensor;
}

/* Every number of a parameter becomes the same. */
static inline void mixer_fill(const MixerAlone *own, const char *name, double value) {
    Tensor *tensor = mixer_parameter(own, name);
    for (int64_t i = 0; i < tensor_size(tensor); i++) tensor->data[i] = (float)value;
}

static inline void mixer_run(const MixerAlone *own) {
    tape_forward(own->tape, &(Run){.threads = 1});
}

#endif
