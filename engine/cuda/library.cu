/* The library's table: the backend's functions, the operations it has kernels for, and what is the
 * same on every backend. */
#include <cstring>

#include "engine/cuda/backend.h"
#include "engine/cuda/burst.h"

/* An operation without a NAME.cu leaves its entry undefined: NULL here. */
#define OP(name) extern "C" const CudaOp cuda_op_##name __attribute__((weak));
#include "engine/ops/ops.def"
#undef OP

static const CudaOp *find(const char *name) {
#define OP(op)                                                                                     \
    if (strcmp(name, #op) == 0) return &cuda_op_##op;
#include "engine/ops/ops.def"
#undef OP
    return NULL;
}

KERNEL void set_values(RunValues *values, uint64_t seed, uint64_t pass) {
    if (threadIdx.x != 0) return;
    values->seed = seed;
    values->pass = pass;
}

static void prepare(void *state, const Run *run) {
    LAUNCH(run, set_values, 1, WARP, 0, static_cast<CudaState *>(state)->values, run->seed,
           run->pass);
}

static void update(void *state, const AdamWFlat *flat, const AdamWPart *parts, int count,
                   double clip, double *norm) {
    CudaState *own = static_cast<CudaState *>(state);
    Run run = {};
    run.threads = 1;
    run.device = &own;
    launch_norm(&run, flat, clip);
    launch_update(&run, flat, parts, count);
    if (norm) backend.download(state, norm, &own->norm->norm, sizeof *norm);
}

static bool open_state(void **state, char *message, size_t bytes) {
    if (!backend.open(state, message, bytes)) return false;
    CudaState *own = static_cast<CudaState *>(*state);
    void *memory[3] = {};
    const bool good =
        backend.allocate(own, sizeof(RunValues), &memory[0], message, bytes) &&
        backend.allocate(own, NORM_BLOCKS * sizeof(double), &memory[1], message, bytes) &&
        backend.allocate(own, sizeof(NormResult), &memory[2], message, bytes);
    own->values = static_cast<RunValues *>(memory[0]);
    own->partials = static_cast<double *>(memory[1]);
    own->norm = static_cast<NormResult *>(memory[2]);
    if (!good) backend.close(*state); /* releases them with everything else */
    return good;
}

static void close_state(void *state) {
    CudaState *own = static_cast<CudaState *>(state);
    backend.release(state, own->values, sizeof(RunValues));
    backend.release(state, own->partials, NORM_BLOCKS * sizeof(double));
    backend.release(state, own->norm, sizeof(NormResult));
    if (own->cold) backend.release(state, own->cold, 2 * own->cache_bytes);
    backend.close(state);
}

static CudaLibrary whole() {
    CudaLibrary library = backend;
    library.open = open_state;
    library.close = close_state;
    library.find = find;
    library.prepare = prepare;
    library.update = update;
    library.flush = flush_caches;
    library.ceiling = measure_ceiling;
    return library;
}

extern "C" const CudaLibrary longhaul_cuda_library;
const CudaLibrary longhaul_cuda_library = whole();
