/* Tensors: contiguous, row-major, up to five extents, no strides. A tensor on a tape has no memory
 * of its own until the tape's plan places it; parameters live outside every tape. */
#ifndef LONGHAUL_TENSOR_H
#define LONGHAUL_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_RANK = 5 };

typedef struct Shape {
    int rank;
    int64_t extent[MAX_RANK];
} Shape;

/* SHAPE(B, L, D): a shape from its extents. */
#define SHAPE(...)                                                                                 \
    ((Shape){.rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                    \
             .extent = {__VA_ARGS__}})

typedef enum TensorType {
    TENSOR_FLOAT,   /* float32 */
    TENSOR_INTEGER, /* int32 */
    TENSOR_BF16     /* the plan's choice for float32 that every reader would round to bfloat16 */
} TensorType;

typedef enum TensorRole {
    ROLE_INPUT,      /* written by the caller before a replay; keeps its memory all the time */
    ROLE_PARAMETER,  /* owned by a Parameters, shared by tapes */
    ROLE_ACTIVATION, /* written by an operation; lives from its producer to its last reader */
    ROLE_SAVED       /* an operation's own note from forward to backward */
} TensorRole;

typedef struct Tensor {
    const char *name; /* owned by the tape or the Parameters; never NULL */
    TensorType type;
    TensorRole role;
    Shape shape;
    union {
        float *data;       /* TENSOR_FLOAT; set when the tape is allocated */
        int32_t *integers; /* TENSOR_INTEGER */
        uint16_t *rounded; /* TENSOR_BF16 */
    };
    float *gradient; /* NULL: nobody wants it. Same shape as data */
    /* Where the program reads and writes the values of inputs, parameters and kept results: data
     * itself when the device's memory is the host's, otherwise a copy that replays refresh. */
    union {
        float *host;
        int32_t *host_integers;
    };
    float *host_gradient;
    bool wants_gradient;
    struct Tensor *base; /* a view's owner of the memory; NULL for an owner */
    int number;          /* index in its tape or Parameters */
} Tensor;

static inline int64_t shape_size(const Shape *shape) {
    int64_t size = 1;
    for (int i = 0; i < shape->rank; i++) size *= shape->extent[i];
    return size;
}

static inline int64_t tensor_size(const Tensor *tensor) {
    return shape_size(&tensor->shape);
}

/* Extent i; negative i counts from the end: extent(x, -1) is the last. */
static inline int64_t extent(const Tensor *tensor, int i) {
    return tensor->shape.extent[i < 0 ? tensor->shape.rank + i : i];
}

/* Rows of a tensor seen as a matrix whose columns are the last extent. */
static inline int64_t rows_of(const Tensor *tensor) {
    const int64_t last = extent(tensor, -1);
    return last ? tensor_size(tensor) / last : 0;
}

static inline size_t tensor_bytes(const Tensor *tensor) {
    return (size_t)tensor_size(tensor) * (tensor->type == TENSOR_BF16 ? 2 : 4);
}

static inline bool shape_equal(const Shape *a, const Shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->extent[i] != b->extent[i]) return false;
    return true;
}

#endif
