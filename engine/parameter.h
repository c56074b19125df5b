/* Parameters of a network: names, initial values, optimiser groups and one contiguous allocation
 * for values, gradients and moments. Created by recording, shared by every tape of the network. */
#ifndef LONGHAUL_PARAMETER_H
#define LONGHAUL_PARAMETER_H

#include "engine/device.h"
#include "engine/random.h"
#include "engine/status.h"
#include "engine/tensor.h"

typedef enum InitKind { INIT_CONSTANT, INIT_NORMAL, INIT_UNIFORM, INIT_FILL } InitKind;

/* A parameter's shape and values, for one that starts from them. */
typedef struct InitSource {
    const Shape *shape;
    const float *values;
} InitSource;

enum { INIT_SOURCES = 6 };

/* How a parameter starts. fill, when set, writes all values itself. derive, when set, changes what
 * was drawn by what other parameters, declared before this one, have started as. */
typedef struct Init {
    InitKind kind;
    double a, b; /* constant a; normal mean a deviation b; uniform [a, b); free use by fill */
    void (*fill)(float *data, const Shape *shape, Random *random, double a, double b);
    void (*derive)(float *data, const Shape *shape, const InitSource *sources, double argument);
    const Tensor *sources[INIT_SOURCES]; /* NULL behind the last */
    double argument;
} Init;

static inline Init init_constant(double value) {
    return (Init){.kind = INIT_CONSTANT, .a = value};
}
static inline Init init_normal(double deviation) {
    return (Init){.kind = INIT_NORMAL, .b = deviation};
}
static inline Init init_uniform(double bound) { /* U[-bound, bound) */
    return (Init){.kind = INIT_UNIFORM, .a = -bound, .b = bound};
}
static inline Init init_fill(void (*fill)(float *, const Shape *, Random *, double, double),
                             double a, double b) {
    return (Init){.kind = INIT_FILL, .a = a, .b = b, .fill = fill};
}

/* How the optimiser treats a parameter. */
typedef struct Group {
    double rate_factor; /* learning rate = this x the scheduled rate; 0 is read as 1 */
    double
        fixed_rate; /* > 0: peak rate of its own, following the schedule's shape (S4's A, B, dt) */
    bool no_decay;  /* weight decay off */
    bool frozen;    /* not trained at all */
    double average; /* > 0: a running average; see group_average */
} Group;

#define GROUP_DECAY ((Group){0})
#define GROUP_NO_DECAY ((Group){.no_decay = true})

/* A running average of a statistic of batches. What backward kernels add to its gradient is no
 * derivative but that statistic, once a replay; of the sum a step takes the mean over its replays
 * and moves the value by this part of the way there. No moments, no decay, not in the gradient's
 * norm. So it is summed over micro-batches and processes, kept, exported and read as weights are.
 */
static inline Group group_average(double part) {
    return (Group){.frozen = true, .average = part};
}

typedef struct Parameter {
    Tensor tensor; /* role ROLE_PARAMETER */
    Init init;
    Group group;
    float *host_moment1, *host_moment2; /* see parameters_fetch */
    /* Elements from the start of the flat arrays, a multiple of 16; of a running average from the
     * first of them until all are known and it is allocated. */
    int64_t offset;
} Parameter;

typedef struct Parameters {
    Parameter **list;
    int count, capacity;
    int64_t size;     /* floats in each flat array, padding included */
    int64_t averages; /* of these at the end: running averages */
    int64_t trained;  /* numbers that count as parameters, no padding */
    float *values, *gradients, *moments1, *moments2; /* NULL until allocated; 64-byte aligned */
    /* The same arrays where the program may read and write them: the same memory, or copies. */
    float *host_values, *host_gradients, *host_moments1, *host_moments2;
    AdamWPart *parts; /* room for one a parameter: optimizer_step */
    Device *device;
} Parameters;

Parameters *parameters_open(void);
void parameters_close(Parameters *parameters);

/* Finds name or declares it. A second declaration must have the same shape (assert). */
Parameter *parameters_declare(Parameters *parameters, const char *name, Shape shape, Init init,
                              Group group);
Parameter *parameters_find(const Parameters *parameters, const char *name);

/* Allocates the flat arrays (moments and gradients only if training), then initialises every value
 * from stream "weights/NAME" of the seed, so that an initial value depends on its name and the seed
 * alone. STATUS_USAGE when memory is short, with needed and available bytes. */
Status parameters_allocate(Parameters *parameters, Device *device, bool training, uint64_t seed,
                           Error *error);

/* Values, gradients and moments from the device to the host's arrays, and back. Nothing to do where
 * the two share their memory. STATUS_IO when the device has failed. */
Status parameters_fetch(Parameters *parameters, Error *error);
Status parameters_send(Parameters *parameters, Error *error);

size_t parameters_bytes(const Parameters *parameters, bool training);

#endif
