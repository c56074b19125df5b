/* Parameters to and from a safetensors file. */
#include <stdlib.h>
#include <string.h>

#include "bench/checkpoint.h"
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
