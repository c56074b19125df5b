#include "engine/parameter.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"

/* Each parameter starts on a cache line, so that vector loads never straddle two of them. */
enum { ALIGNMENT = 16 };

Parameters *parameters_open(void) {
    return memory_take_zeroed(1, sizeof(Parameters));
}

static size_t array_bytes(const Parameters *parameters) {
    return (size_t)parameters->size * sizeof(float);
}

/* The four flat arrays, on the device and on the host. */
enum { ARRAYS = 4 };
static void arrays_of(Parameters *parameters, float **device[ARRAYS], float **host[ARRAYS]) {
    float **const on_device[] = {&parameters->values, &parameters->gradients, &parameters->moments1,
                                 &parameters->moments2};
    float **const on_host[] = {&parameters->host_values, &parameters->host_gradients,
                               &parameters->host_moments1, &parameters->host_moments2};
    memcpy(device, on_device, sizeof on_device);
    memcpy(host, on_host, sizeof on_host);
}

void parameters_close(Parameters *parameters) {
    if (!parameters) return;
    float **device[ARRAYS], **host[ARRAYS];
    arrays_of(parameters, device, host);
    for (int i = 0; i < ARRAYS; i++) {
        const DeviceKind *kind = parameters->device ? parameters->device->kind : NULL;
        if (*host[i] && *host[i] != *device[i]) kind->remote->unpin(parameters->device, *host[i]);
        if (*device[i]) kind->release(parameters->device, *device[i], array_bytes(parameters));
    }
    for (int i = 0; i < parameters->count; i++) {
        free((char *)(uintptr_t)parameters->list[i]->tensor.name);
        free(parameters->list[i]);
    }
    free(parameters->list);
    free(parameters->parts);
    free(parameters);
}

Parameter *parameters_find(const Parameters *parameters, const char *name) {
    for (int i = 0; i < parameters->count; i++)
        if (strcmp(parameters->list[i]->tensor.name, name) == 0) return parameters->list[i];
    return NULL;
}

Parameter *parameters_declare(Parameters *parameters, const char *name, Shape shape, Init init,
                              Group group) {
    Parameter *parameter = parameters_find(parameters, name);
    if (parameter) {
        assert(shape_equal(&parameter->tensor.shape, &shape) &&
               "a parameter was declared twice with different shapes");
        return parameter;
    }
    assert(!parameters->values && "a parameter was declared after allocation");
    if (parameters->count == parameters->capacity) {
        parameters->capacity = parameters->capacity ? 2 * parameters->capacity : 64;
        parameters->list = memory_resize(parameters->list,
                                         (size_t)parameters->capacity * sizeof *parameters->list);
    }
    const int64_t size = shape_size(&shape);
    const int64_t room = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    const bool average = group.average > 0;
    parameter = memory_take_zeroed(1, sizeof *parameter);
    *parameter = (Parameter){
        .tensor = {.name = memory_copy_text(name),
                   .type = TENSOR_FLOAT,
                   .role = ROLE_PARAMETER,
                   .shape = shape,
                   .wants_gradient = !group.frozen || average,
                   .number = parameters->count},
        .init = init,
        .group = group,
        .offset = average ? parameters->averages : parameters->size - parameters->averages,
    };
    parameters->size += room;
    if (average) parameters->averages += room;
    if (!group.frozen) parameters->trained += size;
    parameters->list[parameters->count++] = parameter;
    return parameter;
}

static void derive(Parameter *parameter) {
    const Init *init = &parameter->init;
    InitSource sources[INIT_SOURCES] = {{0}};
    for (int i = 0; i < INIT_SOURCES && init->sources[i]; i++) {
        assert(init->sources[i]->number < parameter->tensor.number && "sources come first");
        sources[i] = (InitSource){&init->sources[i]->shape, init->sources[i]->host};
    }
    init->derive(parameter->tensor.host, &parameter->tensor.shape, sources, init->argument);
}

static void draw(Parameter *parameter, uint64_t seed) {
    char stream[512];
    snprintf(stream, sizeof stream, "weights/%s", parameter->tensor.name);
    Random random = random_open(seed, random_stream(stream), 0);
    const Init *init = &parameter->init;
    float *data = parameter->tensor.host;
    const int64_t size = tensor_size(&parameter->tensor);
    if (init->kind == INIT_FILL) {
        init->fill(data, &parameter->tensor.shape, &random, init->a, init->b);
        return;
    }
    for (int64_t i = 0; i < size; i++) {
        double value = init->a;
        if (init->kind == INIT_NORMAL) value += init->b * random_normal(&random);
        if (init->kind == INIT_UNIFORM) value += (init->b - init->a) * random_real(&random);
        data[i] = (float)value;
    }
}

size_t parameters_bytes(const Parameters *parameters, bool training) {
    return array_bytes(parameters) * (training ? 4 : 1);
}

static Status allocate_array(Parameters *parameters, float **device, float **host, Error *error) {
    const DeviceKind *kind = parameters->device->kind;
    const size_t bytes = array_bytes(parameters);
    void *memory = NULL;
    if (kind->allocate(parameters->device, bytes, &memory, error) != STATUS_OK)
        return error->status;
    *device = *host = memory;
    if (!kind->remote) return STATUS_OK;
    *host = NULL;
    memory = NULL;
    if (kind->remote->pin(parameters->device, bytes, &memory, error) != STATUS_OK)
        return error->status;
    *host = memory;
    return STATUS_OK;
}

Status parameters_allocate(Parameters *parameters, Device *device, bool training, uint64_t seed,
                           Error *error) {
    assert(!parameters->values && "parameters are allocated once");
    parameters->device = device;
    float **arrays[ARRAYS], **host[ARRAYS];
    arrays_of(parameters, arrays, host);
    parameters->parts =
        memory_take_zeroed((size_t)parameters->count + 1, sizeof *parameters->parts);
    for (int i = 0; i < (training ? ARRAYS : 1); i++)
        if (allocate_array(parameters, arrays[i], host[i], error) != STATUS_OK)
            return error_context(error, "parameters");
    for (int i = 0; i < parameters->count; i++) {
        Parameter *parameter = parameters->list[i];
        if (parameter->group.average > 0)
            parameter->offset += parameters->size - parameters->averages;
        const int64_t offset = parameter->offset;
        parameter->tensor.data = parameters->values + offset;
        parameter->tensor.host = parameters->host_values + offset;
        if (training && parameter->tensor.wants_gradient) {
            parameter->tensor.gradient = parameters->gradients + offset;
            parameter->tensor.host_gradient = parameters->host_gradients + offset;
        }
        if (training && !parameter->group.frozen) {
            parameter->host_moment1 = parameters->host_moments1 + offset;
            parameter->host_moment2 = parameters->host_moments2 + offset;
        }
        draw(parameter, seed);
        if (parameter->init.derive) derive(parameter);
    }
    return parameters_send(parameters, error);
}

Status parameters_fetch(Parameters *parameters, Error *error) {
    if (!parameters->device->kind->remote) return STATUS_OK;
    float **device[ARRAYS], **host[ARRAYS];
    arrays_of(parameters, device, host);
    for (int i = 0; i < ARRAYS; i++)
        if (*device[i])
            device_download(parameters->device, *host[i], *device[i], array_bytes(parameters));
    return device_synchronise(parameters->device, error);
}

Status parameters_send(Parameters *parameters, Error *error) {
    if (!parameters->device->kind->remote) return STATUS_OK;
    float **device[ARRAYS], **host[ARRAYS];
    arrays_of(parameters, device, host);
    for (int i = 0; i < ARRAYS; i++)
        if (*device[i])
            device_upload(parameters->device, *device[i], *host[i], array_bytes(parameters));
    return device_synchronise(parameters->device, error);
}
