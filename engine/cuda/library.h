/* What the program and liblonghaul_cuda.so say to each other: one table, found by name after the
 * library has been loaded. The emulated library, which the tests load, offers the same table. */
#ifndef LONGHAUL_CUDA_LIBRARY_H
#define LONGHAUL_CUDA_LIBRARY_H

#include "engine/adamw.h"
#include "engine/ceiling.h"
#include "engine/op.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Raised with every change to a structure that both sides know. */
enum { CUDA_INTERFACE = 4 };

typedef struct CudaOp {
    const char *name; /* of the Op */
    OpKernels kernels;
    size_t (*scratch)(const OpCall *call, Phase phase); /* NULL: none */
    Kept (*kept)(const OpCall *call);                   /* NULL: nothing */
    Roundable (*roundable)(const OpCall *call);         /* NULL: nothing */
} CudaOp;

/* Functions that can fail return false and write what is wrong and what to do into message. */
typedef struct CudaLibrary {
    int interface;
    size_t call_bytes;         /* sizeof(OpCall): a library of another build is refused */
    int toolkit;               /* 13000: CUDA 13.0; 0: emulated */
    const char *architectures; /* machine code in it: "sm_80 sm_90 compute_90" */
    const CudaOp *(*find)(const char *op); /* NULL: the operation has no kernel yet */
    bool (*open)(void **state, char *message, size_t bytes);
    void (*close)(void *state);
    bool (*allocate)(void *state, size_t bytes, void **memory, char *message, size_t length);
    void (*release)(void *state, void *memory, size_t bytes);
    int64_t (*available)(void *state);
    void (*describe)(void *state, char *text, size_t bytes);
    bool (*pin)(void *state, size_t bytes, void **memory, char *message, size_t length);
    void (*unpin)(void *state, void *memory);
    void (*upload)(void *state, void *to, const void *from, size_t bytes);
    void (*download)(void *state, void *to, const void *from, size_t bytes);
    void (*copy)(void *state, void *to, const void *from, size_t bytes);
    void (*zero)(void *state, void *memory, size_t bytes);
    void (*prepare)(void *state, const Run *run);
    bool (*synchronise)(void *state, char *message, size_t bytes);
    bool (*failed)(void *state);
    void (*update)(void *state, const AdamWFlat *flat, const AdamWPart *parts, int count,
                   double clip, double *norm);
    bool (*record)(void *state);
    void *(*recorded)(void *state);
    void (*launch)(void *state, void *recording);
    void (*forget)(void *state, void *recording);
    void *(*mark)(void *state, void *old);
    bool (*wait)(void *state, void *mark, char *message, size_t bytes);
    double (*between)(void *state, void *first, void *second);
    void (*drop)(void *state, void *mark);
    bool (*flush)(void *state);
    bool (*ceiling)(void *state, Ceiling *ceiling, char *message, size_t bytes);
    void (*address)(void *state, char *text, size_t bytes);
} CudaLibrary;

#define CUDA_LIBRARY_SYMBOL "longhaul_cuda_library"

#ifdef __cplusplus
}
#endif

#endif
