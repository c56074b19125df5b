#include "bench/train/checkpoint.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/common/document.h"
#include "engine/file.h"
#include "engine/memory.h"

#define MANIFEST "checkpoint.json"

/* Two sets of file names take turns: the set that the manifest does not name may be overwritten. */
enum { SETS = 2 };
static const char *const weight_names[SETS] = {"checkpoint.a.safetensors",
                                               "checkpoint.b.safetensors"};
static const char *const moment_names[SETS] = {"optimizer.a.safetensors",
                                               "optimizer.b.safetensors"};

/* The set named by the manifest; -1 when there is none or it cannot be read. */
static int current_set(const char *manifest) {
    json_t *object;
    if (document_read(manifest, &object, NULL) != STATUS_OK) return -1;
    const char *name = json_string_value(json_object_get(object, "weights"));
    int set = SETS - 1;
    while (set >= 0 && !(name && strcmp(weight_names[set], name) == 0)) set--;
    json_decref(object);
    return set;
}

/* Both moments of every trained parameter, as views "moment1.NAME" and "moment2.NAME". */
typedef struct Moments {
    Safetensor *tensors;
    char (*names)[256];
    int count;
} Moments;

static void moments_open(Moments *moments, const Parameters *parameters) {
    const size_t most = 2 * (size_t)parameters->count + 1;
    *moments = (Moments){memory_take_zeroed(most, sizeof *moments->tensors),
                         memory_take_zeroed(most, sizeof *moments->names), 0};
    for (int i = 0; i < parameters->count; i++) {
        const Parameter *parameter = parameters->list[i];
        if (parameter->group.frozen) continue;
        const float *const data[2] = {parameter->host_moment1, parameter->host_moment2};
        for (int which = 0; which < 2; which++) {
            char *name = moments->names[moments->count];
            snprintf(name, sizeof *moments->names, "moment%d.%s", which + 1,
                     parameter->tensor.name);
            moments->tensors[moments->count++] =
                (Safetensor){name, SAFETENSOR_F32, parameter->tensor.shape, data[which]};
        }
    }
}

static void moments_close(Moments *moments) {
    free(moments->tensors);
    free(moments->names);
}

static Status moments_save(const char *path, const Parameters *parameters, Error *error) {
    Moments moments;
    moments_open(&moments, parameters);
    const Status status = safetensors_write(path, moments.tensors, moments.count, NULL, 0, error);
    moments_close(&moments);
    return status;
}

static Status moments_load(const char *path, Parameters *parameters, Error *error) {
    Safetensors file;
    Status status = safetensors_open(&file, path, error);
    if (status != STATUS_OK) return status;
    for (int i = 0; i < parameters->count && status == STATUS_OK; i++) {
        const Parameter *parameter = parameters->list[i];
        if (parameter->group.frozen) continue;
        float *const into[2] = {parameter->host_moment1, parameter->host_moment2};
        for (int which = 0; which < 2 && status == STATUS_OK; which++) {
            char name[256];
            const float *data;
            snprintf(name, sizeof name, "moment%d.%s", which + 1, parameter->tensor.name);
            status = safetensors_floats(&file, name, &parameter->tensor.shape, &data, error);
            if (status == STATUS_OK)
                memcpy(into[which], data, (size_t)tensor_size(&parameter->tensor) * sizeof(float));
        }
    }
    safetensors_close(&file);
    return status;
}

static Status manifest_save(const char *path, const CheckpointState *state, int set,
                            const char *weight_digest, const char *moment_digest, Error *error) {
    json_t *object = json_object();
    json_object_set_new(object, "identity", json_string(state->identity));
    json_object_set_new(object, "step", json_integer(state->step));
    json_object_set_new(object, "weights", json_string(weight_names[set]));
    json_object_set_new(object, "weights_sha256", json_string(weight_digest));
    json_object_set_new(object, "moments", json_string(moment_names[set]));
    json_object_set_new(object, "moments_sha256", json_string(moment_digest));
    json_object_set_new(object, "loss_sum", json_real(state->loss_sum));
    json_object_set_new(object, "loss_steps", json_integer(state->loss_steps));
    json_object_set_new(object, "so_far", result_to_json(&state->so_far));
    const Status status = document_write(path, object, error);
    json_decref(object);
    return status;
}

/* Full paths of one checkpoint's three files. */
typedef struct Paths {
    char manifest[PATH_MAX], weights[PATH_MAX], moments[PATH_MAX];
} Paths;

static Status paths_of(Paths *paths, const char *folder, const char *weights, const char *moments,
                       Error *error) {
    Status status = path_join(paths->manifest, folder, MANIFEST, error);
    if (status == STATUS_OK) status = path_join(paths->weights, folder, weights, error);
    if (status == STATUS_OK) status = path_join(paths->moments, folder, moments, error);
    return status;
}

Status checkpoint_save(const char *folder, const Parameters *parameters,
                       const CheckpointState *state, Error *error) {
    Paths paths, old;
    Status status = path_join(paths.manifest, folder, MANIFEST, error);
    if (status != STATUS_OK) return status;
    const int previous = current_set(paths.manifest), set = previous == 0 ? 1 : 0;
    char weight_digest[DIGEST_BYTES], moment_digest[DIGEST_BYTES];
    status = paths_of(&paths, folder, weight_names[set], moment_names[set], error);
    if (status == STATUS_OK) status = weights_save(paths.weights, parameters, NULL, 0, error);
    if (status == STATUS_OK) status = moments_save(paths.moments, parameters, error);
    if (status == STATUS_OK) status = file_digest(paths.weights, weight_digest, error);
    if (status == STATUS_OK) status = file_digest(paths.moments, moment_digest, error);
    if (status == STATUS_OK)
        status = manifest_save(paths.manifest, state, set, weight_digest, moment_digest, error);
    if (status != STATUS_OK) return error_context(error, "saving a checkpoint");
    if (previous >= 0 &&
        paths_of(&old, folder, weight_names[previous], moment_names[previous], NULL) == STATUS_OK) {
        unlink(old.weights);
        unlink(old.moments);
    }
    return STATUS_OK;
}

static Status check_digest(const char *path, const json_t *expected, Error *error) {
    char digest[DIGEST_BYTES];
    const Status status = file_digest(path, digest, error);
    if (status != STATUS_OK) return status;
    if (json_is_string(expected) && strcmp(digest, json_string_value(expected)) == 0)
        return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s does not fit the checksum in " MANIFEST
                     ": it was truncated or changed; restore it, or remove " MANIFEST
                     " beside it to start this cell again",
                     path);
}

static Status manifest_load(const json_t *object, const char *path, const char *identity,
                            CheckpointState *state, Error *error) {
    const char *own = json_string_value(json_object_get(object, "identity"));
    const json_t *step = json_object_get(object, "step"),
                 *loss_sum = json_object_get(object, "loss_sum"),
                 *loss_steps = json_object_get(object, "loss_steps");
    if (!own || !json_is_integer(step) || !json_is_real(loss_sum) || !json_is_integer(loss_steps) ||
        json_integer_value(step) < 0 || json_integer_value(loss_steps) < 0)
        return error_set(error, STATUS_DATA,
                         "%s lacks identity, step or losses, or they are no numbers from 0 on",
                         path);
    if (strcmp(own, identity) != 0)
        return error_set(error, STATUS_DATA,
                         "%s belongs to another configuration (%s, this cell is %s); use another "
                         "folder, or remove it to start this cell again",
                         path, own, identity);
    char field[64];
    if (!result_from_json(json_object_get(object, "so_far"), &state->so_far, field, sizeof field))
        return error_set(error, STATUS_DATA, "%s: field '%s' is missing or of the wrong type", path,
                         field);
    snprintf(state->identity, sizeof state->identity, "%s", own);
    state->step = json_integer_value(step);
    state->loss_sum = json_real_value(loss_sum);
    state->loss_steps = json_integer_value(loss_steps);
    return STATUS_OK;
}

Status checkpoint_load(const char *folder, Parameters *parameters, const char *identity,
                       CheckpointState *state, bool *found, Error *error) {
    char manifest[PATH_MAX];
    *found = false;
    *state = (CheckpointState){0};
    Status status = path_join(manifest, folder, MANIFEST, error);
    if (status != STATUS_OK || !file_exists(manifest)) return status;
    json_t *object;
    status = document_read(manifest, &object, error);
    if (status != STATUS_OK) return status;
    status = manifest_load(object, manifest, identity, state, error);
    const char *weights = json_string_value(json_object_get(object, "weights"));
    const char *moments = json_string_value(json_object_get(object, "moments"));
    Paths paths;
    if (status == STATUS_OK && !(weights && moments))
        status = error_set(error, STATUS_DATA, "%s does not name its files", manifest);
    if (status == STATUS_OK) status = paths_of(&paths, folder, weights, moments, error);
    if (status == STATUS_OK)
        status = check_digest(paths.weights, json_object_get(object, "weights_sha256"), error);
    if (status == STATUS_OK)
        status = check_digest(paths.moments, json_object_get(object, "moments_sha256"), error);
    if (status == STATUS_OK) status = weights_load(paths.weights, parameters, error);
    if (status == STATUS_OK) status = moments_load(paths.moments, parameters, error);
    json_decref(object);
    *found = status == STATUS_OK;
    if (!*found) result_free(&state->so_far);
    return status;
}

Status checkpoint_weights(const char *folder, CheckpointWeights *weights, Error *error) {
    char manifest[PATH_MAX];
    json_t *object;
    Status status = path_join(manifest, folder, MANIFEST, error);
    if (status != STATUS_OK) return status;
    if (!file_exists(manifest))
        return error_set(error, STATUS_DATA,
                         "%s holds no checkpoint (" MANIFEST "): the cell has not been trained, or "
                         "not yet for a minute",
                         folder);
    status = document_read(manifest, &object, error);
    if (status != STATUS_OK) return status;
    const char *identity = json_string_value(json_object_get(object, "identity"));
    const char *name = json_string_value(json_object_get(object, "weights"));
    const json_t *step = json_object_get(object, "step");
    if (!identity || !name || !json_is_integer(step))
        status = error_set(error, STATUS_DATA, "%s lacks identity, weights or step", manifest);
    if (status == STATUS_OK) {
        snprintf(weights->identity, sizeof weights->identity, "%s", identity);
        weights->step = json_integer_value(step);
        status = path_join(weights->path, folder, name, error);
    }
    if (status == STATUS_OK)
        status = check_digest(weights->path, json_object_get(object, "weights_sha256"), error);
    json_decref(object);
    return status;
}
