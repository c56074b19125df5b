/* Parameters to and from a safetensors file. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/train/checkpoint.h"
#include "engine/memory.h"
#include "engine/safetensors.h"

Status weights_save(const char *path, const Parameters *parameters, const SafetensorNote *notes,
                    int note_count, Error *error) {
    Safetensor *tensors = memory_take_zeroed((size_t)parameters->count + 1, sizeof *tensors);
    for (int i = 0; i < parameters->count; i++) {
        const Tensor *tensor = &parameters->list[i]->tensor;
        tensors[i] = (Safetensor){tensor->name, SAFETENSOR_F32, tensor->shape, tensor->host};
    }
    const Status status =
        safetensors_write(path, tensors, parameters->count, notes, note_count, error);
    free(tensors);
    return status;
}

/* Refuses tensors that no parameter has asked for. */
static Status check_names(const Safetensors *file, const Parameters *parameters, Error *error) {
    for (int i = 0; i < file->count; i++)
        if (!parameters_find(parameters, file->tensors[i].name))
            return error_set(error, STATUS_DATA,
                             "%s: tensor '%s' belongs to no parameter of this configuration",
                             file->path, file->tensors[i].name);
    return STATUS_OK;
}

Status weights_load(const char *path, Parameters *parameters, Error *error) {
    Safetensors file;
    Status status = safetensors_open(&file, path, error);
    if (status != STATUS_OK) return status;
    const float **data = memory_take_zeroed((size_t)parameters->count + 1, sizeof *data);
    status = check_names(&file, parameters, error);
    for (int i = 0; i < parameters->count && status == STATUS_OK; i++) {
        const Tensor *tensor = &parameters->list[i]->tensor;
        status = safetensors_floats(&file, tensor->name, &tensor->shape, &data[i], error);
    }
    for (int i = 0; i < parameters->count && status == STATUS_OK; i++) { /* all fit: take them */
        Tensor *tensor = &parameters->list[i]->tensor;
        memcpy(tensor->host, data[i], (size_t)tensor_size(tensor) * sizeof(float));
    }
    free(data);
    safetensors_close(&file);
    return status;
}

/* Tables of sines and the like may differ in a last bit where another C library made them. */
static const float same_table = 1e-6f;

/* Whether a table that is longer or shorter in the file begins alike. */
static bool begins_alike(const Tensor *own, const Safetensor *stored) {
    Shape a = own->shape, b = stored->shape;
    if (a.rank != b.rank || a.rank == 0 || stored->type != SAFETENSOR_F32) return false;
    if (b.extent[0] < a.extent[0]) a.extent[0] = b.extent[0];
    b.extent[0] = a.extent[0];
    if (!shape_equal(&a, &b)) return false;
    const float *values = stored->data;
    for (int64_t i = 0; i < shape_size(&a); i++)
        if (!(fabsf(own->host[i] - values[i]) <= same_table * fmaxf(1, fabsf(values[i]))))
            return false;
    return true;
}

bool starts_alike(const Parameter *a, const Parameter *b) {
    const Init *x = &a->init, *y = &b->init;
    return x->kind == y->kind && x->a == y->a && x->b == y->b && x->fill == y->fill &&
           x->derive == y->derive && x->argument == y->argument;
}

/* Whether a frozen parameter stays as it starts, without a look at the file. */
static bool is_new(const Parameter *parameter, const Parameters *as_trained) {
    const Parameter *before = parameters_find(as_trained, parameter->tensor.name);
    return parameter->group.frozen && (!before || !starts_alike(parameter, before));
}

static Status fit_one(const Safetensors *file, Parameter *parameter, Error *error) {
    Tensor *own = &parameter->tensor;
    const Safetensor *stored = safetensors_find(file, own->name);
    if (parameter->group.frozen && stored && !shape_equal(&stored->shape, &own->shape)) {
        if (begins_alike(own, stored)) return STATUS_OK;
        return error_set(error, STATUS_DATA,
                         "%s: the fixed numbers '%s' would be others than in training, not only "
                         "more or fewer of them",
                         file->path, own->name);
    }
    const float *data;
    const Status status = safetensors_floats(file, own->name, &own->shape, &data, error);
    if (status == STATUS_OK) memcpy(own->host, data, (size_t)tensor_size(own) * sizeof(float));
    return status;
}

Status weights_fit(const char *path, Parameters *parameters, const Parameters *as_trained,
                   Error *error) {
    Safetensors file;
    Status status = safetensors_open(&file, path, error);
    if (status != STATUS_OK) return status;
    for (int i = 0; i < parameters->count && status == STATUS_OK; i++)
        if (!is_new(parameters->list[i], as_trained))
            status = fit_one(&file, parameters->list[i], error);
    safetensors_close(&file);
    return status;
}
