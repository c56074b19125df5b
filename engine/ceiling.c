#include "engine/ceiling.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

extern const CeilingKernels ceiling_portable, ceiling_avx2, ceiling_avx512;
static const CeilingKernels *const kernels[ISA_COUNT] = {&ceiling_portable, &ceiling_avx2,
                                                         &ceiling_avx512};

enum { BURSTS = 9 };
static const double burst_seconds = 4e-3;

typedef enum Burst {
    BURST_MULTIPLY_ADD,
    BURST_MULTIPLY_PAIRS,
    BURST_READ,
    BURST_COPY,
    BURST_EXPONENTIAL
} Burst;

typedef struct Work {
    const CeilingKernels *kernels;
    Burst burst;
    float *from, *to;
    int64_t n;
} Work;

/* Does the work `rounds` times; returns FLOPs, bytes or exponentials done. */
static double perform(const Work *work, int64_t rounds) {
    float sink[64];
    double done = 0;
    if (work->burst == BURST_MULTIPLY_ADD) return work->kernels->multiply_add(rounds * 1000);
    if (work->burst == BURST_MULTIPLY_PAIRS) return work->kernels->multiply_pairs(rounds * 1000);
    for (int64_t r = 0; r < rounds; r++) {
        switch (work->burst) {
        case BURST_READ:
            work->kernels->read(work->from, work->n, sink);
            done += 4.0;
            break;
        case BURST_COPY:
            work->kernels->copy(work->from, work->to, work->n);
            done += 8.0;
            break;
        default:
            work->kernels->exponential(work->from, work->to, work->n);
            done += 1.0;
            break;
        }
    }
    return done * (double)work->n;
}

/* Work per second of one burst on this thread, of so many rounds as are needed from these on. */
static double rate(const Work *work, int64_t *rounds) {
    for (;;) {
        const double start = omp_get_wtime();
        const double done = perform(work, *rounds);
        const double seconds = omp_get_wtime() - start;
        if (seconds >= burst_seconds) return done / seconds;
        *rounds *= seconds < burst_seconds / 8 ? 4 : 2;
    }
}

/* Best burst; with several threads all of them at once, summed. */
static double best_rate(const CeilingKernels *set, Burst burst, size_t bytes, int threads) {
    double best = 0;
    const int64_t n = (int64_t)(bytes / sizeof(float) / (burst == BURST_READ ? 1 : 2));
    float *memory = aligned_alloc(64, (size_t)threads * bytes + 64);
    memset(memory, 0, (size_t)threads * bytes);
    int64_t rounds = 1;
    for (int b = 0; b < BURSTS; b++) {
        double sum = 0;
        int64_t needed = 1;
#pragma omp parallel num_threads(threads) reduction(+ : sum) reduction(max : needed)
        {
            float *own = memory + (size_t)omp_get_thread_num() * (bytes / sizeof(float));
            const Work work = {set, burst, own, own + n, n};
            needed = rounds;
            sum += rate(&work, &needed);
        }
        rounds = needed;
        if (sum > best) best = sum;
    }
    free(memory);
    return best;
}

void ceiling_measure(Ceiling *ceiling, Isa isa, int threads) {
    static const CeilingLevel levels[CEILING_LEVELS] = {
        {"L1", 24u << 10, 0, 0},
        {"L2", 512u << 10, 0, 0},
        {"L3", 8u << 20, 0, 0},
        {"memory", 96u << 20, 0, 0},
    };
    const CeilingKernels *set = kernels[isa];
    *ceiling = (Ceiling){.threads = threads, .levels = CEILING_LEVELS};
    ceiling->flops = best_rate(set, BURST_MULTIPLY_ADD, 4096, threads);
    if (set->multiply_pairs(1) > 0)
        ceiling->matrix[PRODUCTS_BF16] = best_rate(set, BURST_MULTIPLY_PAIRS, 4096, threads);
    ceiling->specials = best_rate(set, BURST_EXPONENTIAL, 16384, threads);
    for (int i = 0; i < CEILING_LEVELS; i++) {
        CeilingLevel *level = &ceiling->level[i];
        *level = levels[i];
        level->read = best_rate(set, BURST_READ, level->bytes, threads);
        level->copy = best_rate(set, BURST_COPY, level->bytes, threads);
    }
}

static double larger(double a, double b) {
    return a > b ? a : b;
}

void ceiling_keep_best(Ceiling *ceiling, const Ceiling *other) {
    ceiling->flops = larger(ceiling->flops, other->flops);
    ceiling->specials = larger(ceiling->specials, other->specials);
    for (int i = 0; i < PRODUCTS_COUNT; i++)
        ceiling->matrix[i] = larger(ceiling->matrix[i], other->matrix[i]);
    for (int i = 0; i < ceiling->levels; i++) {
        CeilingLevel *level = &ceiling->level[i];
        level->read = larger(level->read, other->level[i].read);
        level->copy = larger(level->copy, other->level[i].copy);
    }
}

double ceiling_probe(Isa isa) {
    const Work work = {kernels[isa], BURST_MULTIPLY_ADD, NULL, NULL, 0};
    int64_t rounds = 1;
    return rate(&work, &rounds);
}

double ceiling_bandwidth(const CeilingLevel *level) {
    return larger(level->copy, level->read);
}

double ceiling_seconds(const Ceiling *ceiling, const Cost *cost, double flops, size_t bytes,
                       const char **bound) {
    int i = ceiling->cold ? ceiling->levels - 1 : 0;
    while (i + 1 < ceiling->levels &&
           bytes / (size_t)ceiling->threads > ceiling->level[i].bytes * 4 / 3)
        i++;
    const CeilingLevel *level = &ceiling->level[i];
    const double by_flops = cost->flops / flops;
    const double by_specials = cost->specials / ceiling->specials;
    const double by_bytes = (cost->bytes_read + cost->bytes_written) / ceiling_bandwidth(level);
    if (by_flops >= by_specials && by_flops >= by_bytes) {
        *bound = "arithmetic";
        return by_flops;
    }
    *bound = by_specials >= by_bytes ? "specials" : level->name;
    return by_specials >= by_bytes ? by_specials : by_bytes;
}
