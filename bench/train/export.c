#include "bench/train/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/train/checkpoint.h"
#include "bench/train/session.h"
#include "engine/memory.h"
#include "engine/safetensors.h"

/* Tensors to be written, with names of their own. */
typedef struct List {
    Safetensor *tensors;
    int count;
} List;

static void append(List *list, const char *prefix, const char *name, SafetensorType type,
                   Shape shape, const void *data) {
    char full[512];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    list->tensors[list->count++] =
        (Safetensor){.name = memory_copy_text(full), .type = type, .shape = shape, .data = data};
}

static void append_parameters(List *list, const Parameters *parameters) {
    for (int i = 0; i < parameters->count; i++) {
        const Tensor *tensor = &parameters->list[i]->tensor;
        append(list, "parameter.", tensor->name, SAFETENSOR_F32, tensor->shape, tensor->host);
        if (tensor->gradient)
            append(list, "gradient.", tensor->name, SAFETENSOR_F32, tensor->shape,
                   tensor->host_gradient);
    }
}

static void append_batch(List *list, const Batch *batch, const Problem *problem) {
    const int64_t n = batch->samples, rows = n * problem->sequences;
    const Shape labels = SHAPE(n, problem->labels);
    if (batch->tokens)
        append(list, "", "tokens", SAFETENSOR_I32, SHAPE(rows, problem->length), batch->tokens);
    if (batch->reals)
        append(list, "", "reals", SAFETENSOR_F32, SHAPE(rows, problem->length, problem->channels),
               batch->reals);
    append(list, "", "lengths", SAFETENSOR_I32, SHAPE(rows), batch->lengths);
    append(list, "", "positions", SAFETENSOR_I32, labels, batch->positions);
    append(list, "", "classes", SAFETENSOR_I32, labels, batch->classes);
    append(list, "", "weights", SAFETENSOR_F32, labels, batch->weights);
}

static Status run_and_write(Session *session, const char *path, Error *error) {
    const Cell *cell = session->cell;
    const Problem *problem = &session->problem;
    Batch batch = batch_open(problem, cell->run.batch);
    batch_fill(&batch, cell, problem, session->data, SPLIT_TRAIN, 0, NULL, cell->run.batch,
               session->threads);
    const int64_t rows = cell->run.batch * problem->labels;
    const int64_t replay_rows = session->micro_batch * problem->labels;
    float *row_loss = memory_take((size_t)rows * sizeof *row_loss);
    float loss = 0;
    const Run run = session_run(session);
    for (int64_t m = 0; m < session->replays; m++) {
        network_load(&session->train, problem, &batch, m * session->micro_batch, batch.labels);
        session->train.loss->host_gradient[0] = 1;
        tape_share(session->train.tape, m == 0, m + 1 == session->replays);
        tape_forward(session->train.tape, &run);
        tape_backward(session->train.tape, &run);
        tape_finish(session->train.tape, NULL); /* a failure stays until parameters_fetch */
        loss += session->train.loss->host[0];
        memcpy(row_loss + m * replay_rows, session->train.row_loss->host,
               (size_t)replay_rows * sizeof(float));
    }
    Status status = parameters_fetch(session->parameters, error);
    List list = {
        .tensors = memory_take((size_t)(2 * session->parameters->count + 16) * sizeof(Safetensor))};
    append_parameters(&list, session->parameters);
    append_batch(&list, &batch, problem);
    append(&list, "", "row_loss", SAFETENSOR_F32, SHAPE(rows), row_loss);
    append(&list, "", "loss", SAFETENSOR_F32, SHAPE(1), &loss);
    char *settings = cell_text(cell);
    const SafetensorNote notes[] = {
        {"settings", settings}, {"model", cell->model->name}, {"task", cell->task->name}};
    if (status == STATUS_OK)
        status = safetensors_write(path, list.tensors, list.count, notes, 3, error);
    for (int i = 0; i < list.count; i++) free((char *)(uintptr_t)list.tensors[i].name);
    free(list.tensors);
    free(settings);
    free(row_loss);
    batch_close(&batch);
    return status;
}

Status export_step(const Cell *cell, const char *weights, const char *path, int threads,
                   Error *error) {
    Session session;
    Status status = session_open(&session, cell, threads, error);
    if (status == STATUS_OK) status = session_allocate(&session, error);
    if (status == STATUS_OK && weights && *weights)
        status = weights_load(weights, session.parameters, error);
    if (status == STATUS_OK) status = parameters_send(session.parameters, error);
    if (status == STATUS_OK) status = run_and_write(&session, path, error);
    session_close(&session);
    return status;
}
