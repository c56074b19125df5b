#include "bench/check/subject.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"

/* One key=value into the table that knows the key. */
static Status set_one(Subject *subject, char *pair, Error *error) {
    char *value = strchr(pair, '=');
    if (!value)
        return error_set(error, STATUS_USAGE, "setting '%s' is not of the form key=value", pair);
    *value++ = '\0';
    if (option_find(&backbone_options, pair))
        return option_set(&backbone_options, &subject->backbone, pair, value, error);
    return option_set(&subject->model->options, subject->options, pair, value, error);
}

static Status set_all(Subject *subject, const char *settings, Error *error) {
    char *text = memory_copy_text(settings), *rest = text;
    Status status = STATUS_OK;
    for (char *pair; status == STATUS_OK && (pair = strsep(&rest, " "));)
        if (*pair) status = set_one(subject, pair, error);
    free(text);
    return status;
}

Status subject_open(Subject *subject, const Model *model, const char *settings,
                    const SubjectShape *shape, const Subject *like, Error *error) {
    return subject_open_on(NULL, subject, model, settings, shape, like, error);
}

Status subject_open_on(Device *device, Subject *subject, const Model *model, const char *settings,
                       const SubjectShape *shape, const Subject *like, Error *error) {
    *subject = (Subject){.model = model, .owns_parameters = !like};
    subject->options = memory_take(model->options.bytes + 1);
    option_defaults(&backbone_options, &subject->backbone);
    option_defaults(&model->options, subject->options);
    if (set_all(subject, model->backbone, error) != STATUS_OK ||
        set_all(subject, settings, error) != STATUS_OK)
        return error->status;
    if (model->validate &&
        model->validate(&subject->backbone, subject->options, error) != STATUS_OK)
        return error->status;
    subject->device = device ? device : &subject->own;
    if (!device && device_open(&subject->own, "cpu", error) != STATUS_OK) return error->status;

    subject->parameters = like ? like->parameters : parameters_open();
    subject->tape = tape_open(subject->parameters, shape->mode);
    tape_set_horizon(subject->tape, shape->max_length);
    if (shape->padded)
        subject->lengths =
            tape_input(subject->tape, "lengths", TENSOR_INTEGER, SHAPE(shape->batch), false);
    const ModelContext context = {.backbone = &subject->backbone,
                                  .options = subject->options,
                                  .max_length = shape->max_length,
                                  .causal = shape->causal,
                                  .lengths = subject->lengths};
    subject->x = tape_input(subject->tape, "x", TENSOR_FLOAT,
                            SHAPE(shape->batch, shape->length, subject->backbone.width), true);
    subject->out = model_record(subject->tape, model, &context, subject->x);
    tape_keep(subject->tape, subject->out);
    if (shape->mode == TAPE_TRAIN) tape_seed(subject->tape, subject->out);
    tape_set_device(subject->tape, subject->device, PRODUCTS_FLOAT);
    if (tape_plan(subject->tape, 3, error) != STATUS_OK) return error->status;
    if (!like && parameters_allocate(subject->parameters, subject->device, true, 1, error))
        return error->status;
    if (tape_allocate(subject->tape, subject->device, error) != STATUS_OK) return error->status;
    tape_record(subject->tape);
    return STATUS_OK;
}

void subject_close(Subject *subject) {
    tape_close(subject->tape);
    if (subject->owns_parameters) parameters_close(subject->parameters);
    free(subject->options);
    device_close(&subject->own);
    *subject = (Subject){0};
}

void subject_disturb(Subject *subject, double deviation) {
    Random random = random_open(1, random_stream("check/disturb"), 0);
    for (int p = 0; p < subject->parameters->count; p++) {
        Parameter *parameter = subject->parameters->list[p];
        const bool average = parameter->group.average > 0;
        if (parameter->group.frozen && !average) continue;
        for (int64_t i = 0; i < tensor_size(&parameter->tensor); i++) {
            const double change = deviation * random_normal(&random);
            parameter->tensor.host[i] += (float)(average ? fabs(change) : change);
        }
    }
    subject_send(subject);
}

static void insist(Status status, const Error *error) {
    if (status == STATUS_OK) return;
    fprintf(stderr, "longhaul: %s\n", error->message);
    exit((int)status);
}

void subject_send(Subject *subject) {
    Error error = {0};
    insist(parameters_send(subject->parameters, &error), &error);
}

void subject_forward(Subject *subject, int threads) {
    const Run run = {.threads = threads, .seed = 1};
    Error error = {0};
    tape_forward(subject->tape, &run);
    insist(tape_finish(subject->tape, &error), &error);
}

void subject_backward(Subject *subject, const float *cotangent, int threads) {
    const Run run = {.threads = threads, .seed = 1};
    Parameters *parameters = subject->parameters;
    Error error = {0};
    memset(parameters->host_gradients, 0, (size_t)parameters->size * sizeof(float));
    subject_send(subject);
    subject_forward(subject, threads);
    memcpy(subject->out->host_gradient, cotangent,
           (size_t)tensor_size(subject->out) * sizeof(float));
    tape_backward(subject->tape, &run);
    insist(parameters_fetch(parameters, &error), &error);
}
