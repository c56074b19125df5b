#include "engine/parameter.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Each parameter starts on a cache line, so that vector loads never straddle two of them. */
enum { ALIGNMENT = 16 };

Parameters *parameters_open(void) {
    return calloc(1, sizeof(Parameters));
}

static size_t array_bytes(const Parameters *parameters) {
    return (size_t)parameters->size * sizeof(float);
}

void parameters_close(Parameters *parameters) {
    if (!parameters) return;
    float *const arrays[] = {parameters->values, parameters->gradients, parameters->moments1,
                             parameters->moments2};
    for (int i = 0; i < 4; i++)
        if (arrays[i])
            parameters->device->kind->release(parameters->device, arrays[i],
                                              array_bytes(parameters));
    for (int i = 0; i < parameters->count; i++) {
        free((char *)(uintptr_t)parameters->list[i]->tensor.name);
        free(parameters->list[i]);
    }
    free(parameters->list);
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
        parameters->list =
            realloc(parameters->list, (size_t)parameters->capacity * sizeof *parameters->list);
    }
    parameter = calloc(1, sizeof *parameter);
    *parameter = (Parameter){
        .tensor = {.name = strdup(name),
                   .type = TENSOR_FLOAT,
                   .role = ROLE_PARAMETER,
                   .shape = shape,
                   .wants_gradient = !group.frozen,
                   .number = parameters->count},
        .init = init,
        .group = group,
        .offset = parameters->size,
    };
    const int64_t size = shape_size(&shape);
    parameters->size += (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (!group.frozen) parameters->trained += size;
    parameters->list[parameters->count++] = parameter;
    return parameter;
}

static void initialise(Parameter *parameter, uint64_t seed) {
    char stream[512];
    snprintf(stream, sizeof stream, "weights/%s", parameter->tensor.name);
    Random random = random_open(seed, random_stream(stream), 0);
    const Init *init = &parameter->init;
    float *data = parameter->tensor.data;
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

Status parameters_allocate(Parameters *parameters, Device *device, bool training, uint64_t seed,
                           Error *error) {
    assert(!parameters->values && "parameters are allocated once");
    parameters->device = device;
    float **const arrays[] = {&parameters->values, &parameters->gradients, &parameters->moments1,
                              &parameters->moments2};
    for (int i = 0; i < (training ? 4 : 1); i++) {
        void *memory = NULL;
        if (device->kind->allocate(device, array_bytes(parameters), &memory, error) != STATUS_OK)
            return error_context(error, "parameters");
        *arrays[i] = memory;
    }
    for (int i = 0; i < parameters->count; i++) {
        Parameter *parameter = parameters->list[i];
        parameter->tensor.data = parameters->values + parameter->offset;
        if (training && !parameter->group.frozen) {
            parameter->tensor.gradient = parameters->gradients + parameter->offset;
            parameter->moment1 = parameters->moments1 + parameter->offset;
            parameter->moment2 = parameters->moments2 + parameter->offset;
        }
        initialise(parameter, seed);
    }
    return STATUS_OK;
}
