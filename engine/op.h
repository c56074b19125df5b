/* What an operation is: a constant descriptor. It checks shapes, states its cost, names what its
 * backward reads, and holds one kernel pair per instruction set (and, loaded at run time, per
 * device). The list of all operations is engine/ops/ops.def, one line each. */
#ifndef LONGHAUL_OP_H
#define LONGHAUL_OP_H

#include "engine/tensor.h"

enum { MAX_INPUTS = 13, MAX_OUTPUTS = 4, MAX_SAVED = 6 };

typedef struct Tape Tape;
typedef struct Op Op;

/* Work of one kernel call, from shapes alone.
 * flops: additions and multiplications that the equations need (masked halves not counted);
 * specials: exp, log, tanh, sin, sqrt, division ...; bytes: what must be moved at least, in and
 * out. */
typedef struct Cost {
    double flops, specials, bytes_read, bytes_written;
} Cost;

/* What matrix products round their inputs to (TF32: on GPUs); sums are always kept in float32. */
typedef enum Products { PRODUCTS_FLOAT, PRODUCTS_TF32, PRODUCTS_BF16 } Products;
enum { PRODUCTS_COUNT = PRODUCTS_BF16 + 1 };

/* How a replay runs: the same for every call of one replay. */
typedef struct Run {
    int threads;   /* OpenMP threads inside a kernel; never changes a bit of the result */
    bool training; /* dropout active */
    uint64_t seed; /* seed of the cell, for dropout */
    uint64_t pass; /* number of this forward pass in the training run: step x micro-batches + i */
    Products products;
    void *device; /* Device.state of the device that runs it; the tape sets it */
} Run;

/* One recorded operation. in[i] is NULL where an optional input was left out. */
typedef struct OpCall {
    const Op *op;
    int inputs, outputs, saves;
    Tensor *in[MAX_INPUTS];
    Tensor *out[MAX_OUTPUTS];
    Tensor *saved[MAX_SAVED]; /* written by forward, read by backward */
    const void *attributes;   /* the op's own struct, copied by the tape; NULL if it has none */
    uint32_t needs_inputs;  /* bit i: backward reads in[i]'s data. From the Op; shape may change */
    uint32_t needs_outputs; /* bit j: backward reads out[j]'s data */
    uint32_t passes; /* bit i: out[0]'s gradient is in[i]'s gradient contribution, unchanged */
    int shares;      /* 1 + i: out[0] is written in place over in[i] (gradient-free tapes) */
    /* Set by the plan, for backward kernels: */
    bool accumulate[MAX_INPUTS]; /* add to in[i]->gradient; otherwise overwrite all of it */
    bool passed[MAX_INPUTS];     /* in[i]->gradient already is out[0]->gradient: leave it alone */
    void *scratch;               /* scratch(call, threads, phase) bytes, 64-byte aligned */
    /* Set by the plan, for devices with memory of their own: */
    Products products; /* of every Run */
    size_t kept_bytes; /* Kept.bytes; 0: nothing is kept */
    void *kept;
    uint32_t has_copy;   /* bit i: copies[i] is there, and backward does not read in[i]'s data */
    uint32_t makes_copy; /* bit i: this call's forward is the first that reads it, and makes it */
    uint16_t *copies[MAX_INPUTS]; /* in[i] in bfloat16, shared by all calls that round it */
    int number;                   /* place on the tape; addresses the call's random stream */
    const char *scope;            /* "layers.1.mixer": for messages and profiles */
    int segment;                  /* recompute segment, -1 for none */
} OpCall;

/* in[i], and its data; NULL where it was left out. */
static inline const Tensor *input_of(const OpCall *call, int i) {
    return i < call->inputs ? call->in[i] : NULL;
}
static inline const float *data_of(const OpCall *call, int i) {
    const Tensor *in = input_of(call, i);
    return in ? in->data : NULL;
}

typedef enum Phase { PHASE_FORWARD, PHASE_BACKWARD } Phase;

/* What forward leaves for backward beside saved tensors: copies of inputs as products read them. */
typedef struct Kept {
    size_t bytes;
    uint32_t instead; /* bit i: backward then does not read in[i]'s data */
} Kept;

/* With PRODUCTS_BF16. inputs, bit i: in[i] is read only after rounding, in both phases, so that it
 * may as well be TENSOR_BF16; copies: where it is not, a rounded copy is read (OpCall.copies);
 * outputs, bit j: out[j] can be written as TENSOR_BF16. */
typedef struct Roundable {
    uint32_t inputs, copies, outputs;
} Roundable;

/* backward reads out[j]->gradient (never NULL for j = 0; NULL means zero for j > 0) and writes
 * every in[i]->gradient that is not NULL, obeying accumulate[i] and passed[i]. */
typedef struct OpKernels {
    void (*forward)(const OpCall *call, const Run *run);
    void (*backward)(const OpCall *call, const Run *run);
} OpKernels;

/* The same call in double precision, plain loops, forward only: gradients are checked against its
 * differences. in[i] is NULL for integer inputs (read call->in[i]->integers) and absent ones. */
typedef struct ReferenceCall {
    const OpCall *call;
    const Run *run;
    const double *in[MAX_INPUTS];
    double *out[MAX_OUTPUTS];
} ReferenceCall;

/* One row of an op's test and benchmark table. */
typedef enum Fill {
    FILL_NONE,    /* optional input left out */
    FILL_NORMAL,  /* a * N(0, 1) + b */
    FILL_UNIFORM, /* U[a, b) */
    FILL_INTEGER, /* uniform integers a .. b-1 */
    FILL_COUNT    /* integers a, a+1, a+2, ... (distinct positions) */
} Fill;

typedef struct CaseInput {
    Shape shape;
    Fill fill;
    double a, b;
} CaseInput;

typedef struct OpCase {
    const char *name; /* "L64D16": pasted back as a filter it names this case */
    CaseInput in[MAX_INPUTS];
    const void *attributes;
    double tolerance;   /* 0: the standard one; otherwise a reason stands beside it */
    bool benchmark;     /* measured by `longhaul kernels` */
    bool gpu;           /* only measured, only on a GPU: too large to be checked */
    bool gradient_free; /* forward only: the call works in place or has no gradient */
    uint32_t seeds;     /* bit j: backward begins at out[j], too; 0: at out[0] alone */
} OpCase;

typedef enum Isa { ISA_PORTABLE, ISA_AVX2, ISA_AVX512, ISA_COUNT } Isa;

struct Op {
    const char *name;
    const char *summary; /* the equation in one line */
    int inputs, outputs; /* at most */
    size_t attribute_bytes;
    uint32_t needs_inputs, needs_outputs, passes; /* defaults of the OpCall's fields */
    uint32_t gradients;                           /* bit i: differentiable in in[i] */
    bool multiplies; /* its FLOPs are matrix products, which obey Run.products */
    bool draws;      /* random numbers that differ from pass to pass */
    /* Checks in[] and attributes, creates out[] (and saved[]) with tape_output / tape_saved; a
     * wrong shape is reported with tape_fail. */
    void (*shape)(Tape *tape, OpCall *call);
    void (*cost)(const OpCall *call, Cost *forward, Cost *backward);
    size_t (*scratch)(const OpCall *call, int threads, Phase phase); /* NULL: none */
    const OpKernels *cpu[ISA_COUNT];
    void (*reference)(const ReferenceCall *call);
    const OpCase *cases;
    int case_count;
};

/* In NAME_cpu.c, which is compiled once per instruction set with LONGHAUL_ISA set:
 *     const OpKernels ISA(name_cpu) = {forward, backward};
 * In NAME.c: OP_CPU_DECLARE(name); ... .cpu = OP_CPU(name). */
#define ISA_JOIN_(name, isa) name##_##isa
#define ISA_JOIN(name, isa) ISA_JOIN_(name, isa)
#define ISA(name) ISA_JOIN(name, LONGHAUL_ISA)
#define OP_CPU_DECLARE(name)                                                                       \
    extern const OpKernels name##_cpu_portable, name##_cpu_avx2, name##_cpu_avx512
#define OP_CPU(name)                                                                               \
    { &name##_cpu_portable, &name##_cpu_avx2, &name##_cpu_avx512 }
#define OP_CASES(table) .cases = (table), .case_count = (int)(sizeof(table) / sizeof((table)[0]))

/* All registered operations, in the order of engine/ops/ops.def; *count receives how many. */
const Op *const *op_list(int *count);

/* The widest instruction set of this processor that the build has; Isa names for messages. */
Isa isa_best(void);
const char *isa_name(Isa isa);

const char *products_name(Products products); /* "float", "tf32", "bf16" */

#endif
