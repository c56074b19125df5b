/* What a processor or GPU can do at best, measured now: the roofs that kernels are compared with.
 */
#ifndef LONGHAUL_CEILING_H
#define LONGHAUL_CEILING_H

#include "engine/op.h"

enum { CEILING_LEVELS = 4 };

/* Bandwidth of a working set of `bytes` per thread, all threads together. */
typedef struct CeilingLevel {
    const char *name; /* "L1", "L2", "L3", "memory" by size of the working set */
    size_t bytes;
    double read, copy; /* bytes/s; copy counts bytes read plus bytes written */
} CeilingLevel;

typedef struct Ceiling {
    int threads;
    double flops;                  /* multiply-adds from registers, FLOP/s */
    double specials;               /* exponentials/s, in cache */
    double matrix[PRODUCTS_COUNT]; /* FLOP/s of products that round so: large matrices
                                      on tensor cores, bf16 from registers on a CPU; 0: none */
    bool cold; /* caches are emptied before every sample, so that the last level binds */
    int levels;
    CeilingLevel level[CEILING_LEVELS]; /* the fastest first */
} Ceiling;

/* Best of several short bursts of each, about half a second in all. */
void ceiling_measure(Ceiling *ceiling, Isa isa, int threads);

/* Keeps the better of two measurements of the same machine and number of threads: one of them may
 * have fallen into a minute in which the machine was slow. */
void ceiling_keep_best(Ceiling *ceiling, const Ceiling *other);

/* FLOP/s of one short burst on this thread: a probe of how disturbed the machine is just now. */
double ceiling_probe(Isa isa);

/* Least seconds that work of this cost on a working set of `bytes` can take, and what binds.
 * flops: the arithmetic roof of this work, FLOP/s. */
double ceiling_seconds(const Ceiling *ceiling, const Cost *cost, double flops, size_t bytes,
                       const char **bound);

/* Read or copy, whichever is faster, bytes/s. */
double ceiling_bandwidth(const CeilingLevel *level);

/* Kernels of the bursts; one constant per instruction set (engine/ceiling_cpu.c). */
typedef struct CeilingKernels {
    double (*multiply_add)(int64_t rounds);   /* FLOPs done */
    double (*multiply_pairs)(int64_t rounds); /* of bf16; 0 without an instruction for them */
    void (*read)(const float *data, int64_t n, float *sink);
    void (*copy)(const float *from, float *to, int64_t n);
    void (*exponential)(const float *from, float *to, int64_t n);
} CeilingKernels;

#endif
