#include "engine/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/file.h"
#include "engine/memory.h"
#include "engine/shape_text.h"

enum { PREFIX_BYTES = 8, DATA_ALIGNMENT = 64 };
static const uint64_t longest_header = 100u << 20; /* the limit of the reference reader */

static const struct {
    const char *name;
    int bytes;
} types[] = {[SAFETENSOR_F32] = {"F32", 4},
             [SAFETENSOR_F64] = {"F64", 8},
             [SAFETENSOR_I32] = {"I32", 4},
             [SAFETENSOR_I64] = {"I64", 8},
             [SAFETENSOR_U8] = {"U8", 1}};
enum { TYPES = sizeof types / sizeof *types };

static Status broken(const Safetensors *file, Error *error, const char *what) {
    return error_set(error, STATUS_DATA,
                     "%s is not a whole safetensors file: %s; it was truncated or changed, restore "
                     "it or make it again",
                     file->path, what);
}

/* Reads "shape"; false when it is no list of up to MAX_RANK sizes or the product overflows. */
static bool read_shape(const json_t *list, Shape *shape, int64_t *count) {
    if (!json_is_array(list) || json_array_size(list) > MAX_RANK) return false;
    *shape = (Shape){.rank = (int)json_array_size(list)};
    *count = 1;
    for (int i = 0; i < shape->rank; i++) {
        const json_t *extent = json_array_get(list, (size_t)i);
        if (!json_is_integer(extent) || json_integer_value(extent) < 0) return false;
        shape->extent[i] = json_integer_value(extent);
        if (__builtin_mul_overflow(*count, shape->extent[i], count)) return false;
    }
    return true;
}

/* Checks one entry of the header against the size of the data part. */
static bool read_tensor(const json_t *entry, const char *data, uint64_t data_bytes,
                        Safetensor *tensor) {
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    int type = 0;
    while (dtype && type < TYPES && strcmp(types[type].name, dtype) != 0) type++;
    int64_t count, bytes;
    if (!dtype || type == TYPES || json_array_size(offsets) != 2) return false;
    if (!read_shape(json_object_get(entry, "shape"), &tensor->shape, &count)) return false;
    const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
    if (!json_is_integer(first) || !json_is_integer(last)) return false;
    const int64_t begin = json_integer_value(first), end = json_integer_value(last);
    if (begin < 0 || end < begin || (uint64_t)end > data_bytes) return false;
    if (__builtin_mul_overflow(count, types[type].bytes, &bytes)) return false;
    if (bytes != end - begin || begin % types[type].bytes != 0) return false;
    tensor->type = (SafetensorType)type;
    tensor->data = data + begin;
    return true;
}

static uint64_t bytes_of(const Safetensor *tensor) {
    return (uint64_t)shape_size(&tensor->shape) * (uint64_t)types[tensor->type].bytes;
}

/* By place in the file; an empty tensor comes before the one that starts at the same byte. */
static int compare_data(const void *a, const void *b) {
    const Safetensor *first = a, *second = b;
    const char *here = first->data, *there = second->data;
    if (here != there) return here > there ? 1 : -1;
    return (bytes_of(first) > bytes_of(second)) - (bytes_of(first) < bytes_of(second));
}

/* The data of all tensors must fill the data part without gaps or overlaps. */
static bool data_tile(const Safetensors *file, const char *data, uint64_t data_bytes) {
    const char *at = data;
    for (int i = 0; i < file->count; i++) {
        if (file->tensors[i].data != at) return false;
        at += bytes_of(&file->tensors[i]);
    }
    return at == data + data_bytes;
}

static Status read_notes(Safetensors *file, json_t *notes, Error *error) {
    const char *key;
    json_t *text;
    json_object_foreach(notes, key, text) {
        if (!json_is_string(text)) return broken(file, error, "__metadata__ holds a non-string");
        file->notes[file->note_count++] = (SafetensorNote){key, json_string_value(text)};
    }
    return STATUS_OK;
}

static Status read_header(Safetensors *file, const char *data, uint64_t data_bytes, Error *error) {
    json_t *notes = json_object_get(file->header, "__metadata__");
    if (!json_is_object(file->header) || (notes && !json_is_object(notes)))
        return broken(file, error, "the header is not a JSON object");
    file->tensors = memory_take_zeroed(json_object_size(file->header) + 1, sizeof *file->tensors);
    file->notes = memory_take_zeroed(json_object_size(notes) + 1, sizeof *file->notes);
    if (read_notes(file, notes, error) != STATUS_OK) return error->status;
    const char *name;
    json_t *entry;
    json_object_foreach(file->header, name, entry) {
        if (entry == notes) continue;
        Safetensor *tensor = &file->tensors[file->count++];
        tensor->name = name;
        if (!read_tensor(entry, data, data_bytes, tensor)) {
            char what[256];
            snprintf(what, sizeof what, "type, shape or offsets of tensor '%.100s' are wrong",
                     name);
            return broken(file, error, what);
        }
    }
    qsort(file->tensors, (size_t)file->count, sizeof *file->tensors, compare_data);
    if (!data_tile(file, data, data_bytes))
        return broken(file, error, "tensors overlap, leave gaps or end before the file does");
    return STATUS_OK;
}

static Status parse(Safetensors *file, size_t size, Error *error) {
    if (size < PREFIX_BYTES) return broken(file, error, "it is shorter than 8 bytes");
    uint64_t header_bytes = 0;
    for (int i = 0; i < PREFIX_BYTES; i++)
        header_bytes |= (uint64_t)(unsigned char)file->memory[i] << (8 * i);
    if (header_bytes > longest_header || header_bytes > size - PREFIX_BYTES)
        return broken(file, error, "the header is longer than the file");
    json_error_t problem;
    file->header =
        json_loadb(file->memory + PREFIX_BYTES, header_bytes, JSON_REJECT_DUPLICATES, &problem);
    if (!file->header) return broken(file, error, problem.text);
    /* Headers of other programs end anywhere: the numbers move to where their type may lie. */
    const size_t data_bytes = size - PREFIX_BYTES - header_bytes;
    char *data = file->memory + PREFIX_BYTES + header_bytes;
    if (header_bytes % PREFIX_BYTES) data = memmove(file->memory, data, data_bytes);
    return read_header(file, data, data_bytes, error);
}

Status safetensors_open(Safetensors *file, const char *path, Error *error) {
    Error own = {0}; /* so that an earlier error of the caller's cannot be taken for one of ours */
    error = error ? error : &own;
    *file = (Safetensors){.path = memory_copy_text(path)};
    size_t size;
    Status status = file_read(path, &file->memory, &size, error);
    if (status == STATUS_OK) status = parse(file, size, error);
    if (status != STATUS_OK) safetensors_close(file);
    return status;
}

void safetensors_close(Safetensors *file) {
    json_decref(file->header);
    free(file->tensors);
    free(file->notes);
    free(file->memory);
    free(file->path);
    *file = (Safetensors){0};
}

const Safetensor *safetensors_find(const Safetensors *file, const char *name) {
    for (int i = 0; i < file->count; i++)
        if (strcmp(file->tensors[i].name, name) == 0) return &file->tensors[i];
    return NULL;
}

const char *safetensors_note(const Safetensors *file, const char *key) {
    for (int i = 0; i < file->note_count; i++)
        if (strcmp(file->notes[i].key, key) == 0) return file->notes[i].text;
    return NULL;
}

Status safetensors_floats(const Safetensors *file, const char *name, const Shape *shape,
                          const float **data, Error *error) {
    char want[SHAPE_TEXT_BYTES], have[SHAPE_TEXT_BYTES];
    shape_text(shape, want);
    const Safetensor *tensor = safetensors_find(file, name);
    if (!tensor)
        return error_set(error, STATUS_DATA, "%s: no tensor '%s'; expected one of F32 %s",
                         file->path, name, want);
    shape_text(&tensor->shape, have);
    if (tensor->type != SAFETENSOR_F32 || !shape_equal(&tensor->shape, shape))
        return error_set(error, STATUS_DATA, "%s: tensor '%s' is %s %s; expected F32 %s",
                         file->path, name, types[tensor->type].name, have, want);
    *data = tensor->data;
    return STATUS_OK;
}

static json_t *notes_object(const SafetensorNote *notes, int note_count) {
    json_t *object = json_object();
    for (int i = 0; i < note_count; i++)
        json_object_set_new(object, notes[i].key, json_string(notes[i].text));
    return object;
}

static json_t *tensor_object(const Safetensor *tensor, uint64_t begin) {
    json_t *shape = json_array();
    for (int i = 0; i < tensor->shape.rank; i++)
        json_array_append_new(shape, json_integer(tensor->shape.extent[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", types[tensor->type].name, "shape", shape,
                     "data_offsets", (json_int_t)begin, (json_int_t)(begin + bytes_of(tensor)));
}

/* Calls visit for every tensor in file order: 8-byte types, then 4, then 1. */
typedef Status (*Visit)(void *context, const Safetensor *tensor, Error *error);
static Status in_file_order(const Safetensor *tensors, int count, Visit visit, void *context,
                            Error *error) {
    for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < count; i++) {
            if (types[tensors[i].type].bytes != width) continue;
            const Status status = visit(context, &tensors[i], error);
            if (status != STATUS_OK) return status;
        }
    return STATUS_OK;
}

typedef struct Header {
    json_t *object;
    uint64_t offset;
} Header;

static Status describe(void *context, const Safetensor *tensor, Error *error) {
    Header *header = context;
    if (json_object_set_new(header->object, tensor->name, tensor_object(tensor, header->offset)))
        return error_set(error, STATUS_IO, "out of memory");
    header->offset += bytes_of(tensor);
    return STATUS_OK;
}

static Status append(void *context, const Safetensor *tensor, Error *error) {
    return file_append(context, tensor->data, bytes_of(tensor), error);
}

/* Length prefix and header text, padded with spaces so that the data start on DATA_ALIGNMENT. */
static Status append_header(FileWriter *writer, const json_t *object, Error *error) {
    char *text = json_dumps(object, JSON_COMPACT);
    if (!text) return error_set(error, STATUS_IO, "out of memory");
    const size_t length = strlen(text);
    const size_t padding =
        (DATA_ALIGNMENT - (PREFIX_BYTES + length) % DATA_ALIGNMENT) % DATA_ALIGNMENT;
    unsigned char prefix[PREFIX_BYTES];
    for (int i = 0; i < PREFIX_BYTES; i++)
        prefix[i] = (unsigned char)((uint64_t)(length + padding) >> (8 * i));
    char spaces[DATA_ALIGNMENT];
    memset(spaces, ' ', sizeof spaces);
    Status status = file_append(writer, prefix, sizeof prefix, error);
    if (status == STATUS_OK) status = file_append(writer, text, length, error);
    if (status == STATUS_OK) status = file_append(writer, spaces, padding, error);
    free(text);
    return status;
}

Status safetensors_write(const char *path, const Safetensor *tensors, int count,
                         const SafetensorNote *notes, int note_count, Error *error) {
    Header header = {.object = json_object()};
    json_object_set_new(header.object, "__metadata__", notes_object(notes, note_count));
    FileWriter writer = {.descriptor = -1};
    Status status = in_file_order(tensors, count, describe, &header, error);
    if (status == STATUS_OK) status = file_begin(&writer, path, error);
    if (status == STATUS_OK) status = append_header(&writer, header.object, error);
    if (status == STATUS_OK) status = in_file_order(tensors, count, append, &writer, error);
    if (status == STATUS_OK) status = file_commit(&writer, error);
    file_abandon(&writer);
    json_decref(header.object);
    return status;
}
