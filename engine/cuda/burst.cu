/* Bandwidths, multiply-adds and exponentials of the device at its best, and how its caches are
 * emptied. Every kernel keeps all threads of all multiprocessors busy with independent work. */
#include <cstdio>

#include "engine/cuda/burst.h"
#include "engine/cuda/elements.cuh"
#include "engine/cuda/product.h"

constexpr int THREADS = 256, BLOCKS_EACH = 8, CHAINS = 8;
constexpr int64_t SQUARE = 8192; /* of matrices whose products no longer gain by size */

/* A sum that is needed for nothing but must be computed: nothing is this large. */
__device__ static inline void use(float sum, float *sink) {
    if (sum > 3e38f) *sink = sum;
}

/* CHAINS independent multiply-adds a thread hide their latency. */
KERNEL void __launch_bounds__(THREADS)
    multiply_add(float *sink, float factor, float addend, int64_t rounds) {
    float sum[CHAINS];
    for (int i = 0; i < CHAINS; i++) sum[i] = (float)i;
#pragma unroll 16
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * factor + addend;
    for (int i = 1; i < CHAINS; i++) sum[0] += sum[i];
    use(sum[0], sink);
}

KERNEL void __launch_bounds__(THREADS) exponential(float *sink, float start, int64_t rounds) {
    float x[CHAINS];
    for (int i = 0; i < CHAINS; i++) x[i] = start + (float)i;
#pragma unroll 4
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < CHAINS; i++) x[i] = expf(-x[i]); /* tends to 0.567 */
    for (int i = 1; i < CHAINS; i++) x[0] += x[i];
    use(x[0], sink);
}

/* Reads everything `rounds` times. From round to round the blocks change places, so that what a
 * multiprocessor has in its own cache is of no use to it. */
KERNEL void __launch_bounds__(THREADS)
    read_all(const Four *__restrict__ data, int64_t n, int64_t rounds, float *sink) {
    const int64_t step = (int64_t)gridDim.x * THREADS;
    float sum = 0;
    for (int64_t r = 0; r < rounds; r++) {
        const int64_t block = (blockIdx.x + r * 37) % gridDim.x;
#pragma unroll 4
        for (int64_t i = block * THREADS + threadIdx.x; i < n; i += step) {
            const Four four = data[i];
            sum += four.of[0] + four.of[1] + four.of[2] + four.of[3];
        }
    }
    use(sum, sink);
}

KERNEL void __launch_bounds__(THREADS)
    copy_all(const Four *__restrict__ from, Four *__restrict__ to, int64_t n) {
    const int64_t step = (int64_t)gridDim.x * THREADS;
#pragma unroll 4
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += step) to[i] = from[i];
}

static unsigned blocks_of(const CudaState *state) {
    return (unsigned)state->processors * BLOCKS_EACH;
}

bool flush_caches(void *state) {
    CudaState *own = static_cast<CudaState *>(state);
    char message[256];
    const size_t bytes = 2 * own->cache_bytes;
    if (!own->cold && !backend.allocate(state, bytes, &own->cold, message, sizeof message))
        return false;
    Run run = {};
    run.threads = 1;
    run.device = &own;
    LAUNCH(&run, read_all, blocks_of(own), THREADS, 0, static_cast<const Four *>(own->cold),
           (int64_t)(bytes / sizeof(Four)), 1, reinterpret_cast<float *>(own->partials));
    return true;
}

static void measure_arithmetic(const Run *run, Ceiling *ceiling) {
    const CudaState *state = state_of(run);
    const unsigned blocks = blocks_of(state);
    float *sink = reinterpret_cast<float *>(state->partials);
    const double each = (double)blocks * (int)THREADS * (int)CHAINS;
    ceiling->flops = best_rate(run, [&](int64_t rounds) {
        LAUNCH(run, multiply_add, blocks, THREADS, 0, sink, 0.999f, 1e-3f, rounds * 16);
        return (double)rounds * 16 * 2 * each;
    });
    ceiling->specials = best_rate(run, [&](int64_t rounds) {
        LAUNCH(run, exponential, blocks, THREADS, 0, sink, 0.5f, rounds);
        return (double)rounds * each;
    });
}

static void measure_level(const Run *run, CeilingLevel *level, unsigned char *memory) {
    CudaState *state = state_of(run);
    const unsigned blocks = blocks_of(state);
    const size_t half = level->bytes / 2;
    const Four *from = reinterpret_cast<const Four *>(memory);
    Four *to = reinterpret_cast<Four *>(memory + half);
    float *sink = reinterpret_cast<float *>(state->partials);
    level->read = best_rate(run, [&](int64_t rounds) {
        LAUNCH(run, read_all, blocks, THREADS, 0, from, (int64_t)(level->bytes / sizeof(Four)),
               rounds, sink);
        return (double)rounds * (double)level->bytes;
    });
    level->copy = best_rate(run, [&](int64_t rounds) {
        for (int64_t r = 0; r < rounds; r++)
            LAUNCH(run, copy_all, blocks, THREADS, 0, from, to, (int64_t)(half / sizeof(Four)));
        return (double)rounds * 2 * (double)half;
    });
    const double by_driver = best_rate(run, [&](int64_t rounds) {
        for (int64_t r = 0; r < rounds; r++) backend.copy(state, to, from, half);
        return (double)rounds * 2 * (double)half;
    });
    if (by_driver > level->copy) level->copy = by_driver;
}

/* Products of square matrices that are both read along k; 0: could not be measured, or there is
 * nothing but our own emulation to multiply with. */
static double matrix_rate(const Run *run, Products products) {
    CudaState *state = state_of(run);
    const int64_t n = SQUARE * SQUARE;
    const size_t bytes = 3 * carved(n, sizeof(float)) + 2 * rounded_space(SQUARE, SQUARE);
    char message[256];
    void *memory = NULL;
    if (backend.toolkit == 0 || !backend.allocate(state, bytes, &memory, message, sizeof message))
        return 0;
    Carver carver = {static_cast<unsigned char *>(memory)};
    float *const a = carver.take<float>(n), *const b = carver.take<float>(n);
    for_each(run, 2 * n, [=] __device__(int64_t i) {
        /* In [-1, 1) without order: products of zeros draw less power and so run faster. */
        uint32_t x = (uint32_t)i * 2654435761u; /* the golden ratio: multiplicative hashing */
        x ^= x >> 15;
        a[i] = (float)(x & 0xFFFF) / 32768.0f - 1.0f; /* b lies behind a */
    });
    Run own = *run;
    own.products = products;
    Product p = {};
    p.transposed_b = true;
    p.m = p.n = p.k = p.lda = p.ldb = p.ldc = SQUARE;
    p.a = a;
    p.b = b;
    p.c = carver.take<float>(n);
    p.rounded_a = rounded(&own, a, SQUARE, SQUARE, SQUARE, &carver);
    p.rounded_b = rounded(&own, b, SQUARE, SQUARE, SQUARE, &carver);
    const double rate = best_rate(run, [&](int64_t rounds) {
        for (int64_t r = 0; r < rounds; r++) product(&own, p);
        return (double)rounds * 2 * (double)n * (double)SQUARE;
    });
    backend.release(state, memory, bytes);
    return rate;
}

bool measure_ceiling(void *state, Ceiling *ceiling, char *message, size_t bytes) {
    CudaState *own = static_cast<CudaState *>(state);
    Run run = {};
    run.threads = 1;
    run.device = &own;
    *ceiling = {};
    ceiling->threads = 1;
    ceiling->cold = true;
    ceiling->levels = 2;
    /* A quarter of the cache stays in its near half on GPUs that have two; 16 times is memory. */
    ceiling->level[0] = {"L2", own->cache_bytes / 4, 0, 0};
    ceiling->level[1] = {"memory", 16 * own->cache_bytes, 0, 0};
    void *memory = NULL;
    if (!backend.allocate(state, ceiling->level[1].bytes, &memory, message, bytes)) return false;
    measure_arithmetic(&run, ceiling);
    for (int i = 0; i < ceiling->levels; i++)
        measure_level(&run, &ceiling->level[i], static_cast<unsigned char *>(memory));
    backend.release(state, memory, ceiling->level[1].bytes);
    const Products kinds[] = {PRODUCTS_TF32, PRODUCTS_BF16};
    for (Products kind : kinds) ceiling->matrix[kind] = matrix_rate(&run, kind);
    return backend.synchronise(state, message, bytes);
}
