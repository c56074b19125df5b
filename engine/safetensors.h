/* Reading and writing safetensors files, so that other tools can read our weights and we theirs.
 * Format: 8 bytes little-endian header length, a JSON header (name -> dtype, shape, data_offsets;
 * "__metadata__" -> strings), then the data. A file is somebody else's until proven whole: every
 * length, offset and type is checked before it is used. */
#ifndef LONGHAUL_SAFETENSORS_H
#define LONGHAUL_SAFETENSORS_H

#include "engine/status.h"
#include "engine/tensor.h"

typedef enum SafetensorType {
    SAFETENSOR_F32,
    SAFETENSOR_F64,
    SAFETENSOR_I32,
    SAFETENSOR_I64,
    SAFETENSOR_U8
} SafetensorType;

typedef struct Safetensor {
    const char *name;
    SafetensorType type;
    Shape shape; /* rank 0: one value */
    const void *data;
} Safetensor;

typedef struct SafetensorNote { /* one string of "__metadata__" */
    const char *key, *text;
} SafetensorNote;

/* A file in memory, which owns every name, text and datum below. */
typedef struct Safetensors {
    char *path;
    Safetensor *tensors; /* in the order of their data */
    int count;
    SafetensorNote *notes;
    int note_count;
    char *memory;
    struct json_t *header; /* parsed JSON (jansson) */
} Safetensors;

/* Errors: STATUS_DATA for a missing, truncated or inconsistent file, STATUS_IO when reading fails;
 * all name the file. Nothing to close after an error. */
Status safetensors_open(Safetensors *file, const char *path, Error *error);
void safetensors_close(Safetensors *file);

/* NULL when there is none of that name. */
const Safetensor *safetensors_find(const Safetensors *file, const char *name);
const char *safetensors_note(const Safetensors *file, const char *key);

/* The data of a float32 tensor of exactly this shape; STATUS_DATA names the file, the tensor and
 * what was expected. */
Status safetensors_floats(const Safetensors *file, const char *name, const Shape *shape,
                          const float **data, Error *error);

/* Writes the file as engine/file.h promises. Wider types are stored first, so that all data are
 * aligned. Names must differ. STATUS_IO. */
Status safetensors_write(const char *path, const Safetensor *tensors, int count,
                         const SafetensorNote *notes, int note_count, Error *error);

#endif
