#include "models/s4_layer.h"

#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/dplr_modes/dplr_modes.h"
#include "engine/ops/dplr_modes/dplr_system.h"
#include "engine/ops/dplr_step/dplr_step.h"
#include "engine/ops/long_convolution/long_convolution.h"
#include "models/hippo_matrix.h"

/* ---- the start ---- */

/* Smallest -Re lambda whose logarithm is taken. */
static const double least_decay = 1e-4;

typedef struct Modes {
    double *lambda, *P, *B;
} Modes;

static Modes modes_open(double measure, double state) {
    const int64_t M = (int64_t)state / 2;
    double *lambda = memory_take((size_t)(M * (4 + 2 * HIPPO_MOST_RANK)) * sizeof *lambda);
    const Modes modes = {lambda, lambda + 4 * M, lambda + 2 * M};
    hippo_modes((HippoMeasure)measure, (int64_t)state, modes.lambda, modes.P, modes.B);
    return modes;
}

/* The same numbers (.., M, parts) for each of the S sets, one array behind the other for each rank.
 */
static void repeat(float *to, const double *from, int64_t ranks, int64_t S, int64_t size) {
    for (int64_t r = 0; r < ranks; r++)
        for (int64_t i = 0; i < S * size; i++)
            to[r * S * size + i] = (float)from[r * size + i % size];
}

static void fill_A_real(float *A_real, const Shape *shape, Random *random, double measure,
                        double state) {
    (void)random;
    const int64_t S = shape->extent[0], M = shape->extent[1];
    const Modes modes = modes_open(measure, state);
    for (int64_t i = 0; i < S * M; i++)
        A_real[i] = (float)log(fmax(-modes.lambda[2 * (i % M)], least_decay));
    free(modes.lambda);
}
static void fill_A_imag(float *A_imag, const Shape *shape, Random *random, double measure,
                        double state) {
    (void)random;
    const int64_t S = shape->extent[0], M = shape->extent[1];
    const Modes modes = modes_open(measure, state);
    for (int64_t i = 0; i < S * M; i++) A_imag[i] = (float)modes.lambda[2 * (i % M) + 1];
    free(modes.lambda);
}
static void fill_P(float *P, const Shape *shape, Random *random, double measure, double state) {
    (void)random;
    const int64_t R = shape->extent[0], S = shape->extent[1], M = shape->extent[2];
    const Modes modes = modes_open(measure, state);
    repeat(P, modes.P, R, S, 2 * M);
    free(modes.lambda);
}
static void fill_B(float *B, const Shape *shape, Random *random, double measure, double state) {
    (void)random;
    const int64_t S = shape->extent[0], M = shape->extent[1];
    const Modes modes = modes_open(measure, state);
    repeat(B, modes.B, 1, S, 2 * M);
    free(modes.lambda);
}

/* C (D, M, 2) <- c (1 - Abar^period). */
static void truncate_C(float *C, const Shape *shape, const InitSource *sources, double period) {
    const int64_t D = shape->extent[0], M = shape->extent[1];
    const int64_t R = sources[DPLR_P].shape->extent[0], S = sources[DPLR_P].shape->extent[1];
    double *space = memory_take(
        (size_t)(dplr_space_doubles(M) + M * (4 + 2 * R + dplr_rows((int)R))) * sizeof *space);
    double *numbers = space + dplr_space_doubles(M), *rows = numbers + M * (4 + 2 * R);
    const float *parameters[DPLR_INPUTS] = {0};
    for (int i = DPLR_LOG_DT; i <= DPLR_B; i++) parameters[i] = sources[i].values;
    for (int64_t d = 0; d < D; d++) {
        const DplrSystem system = dplr_system_of(parameters, d, S, M, (int)R, numbers);
        double *c = rows + (4 + 4 * R) * M;
        float *own = C + 2 * d * M;
        dplr_fill_rows(&system, rows);
        for (int64_t n = 0; n < M; n++) {
            c[n] = (double)own[2 * n];
            c[M + n] = -(double)own[2 * n + 1];
        }
        dplr_truncate(rows, M, (int)R, (int64_t)period, dplr_square_best(), c, space);
        for (int64_t n = 0; n < M; n++) {
            own[2 * n] = (float)c[n];
            own[2 * n + 1] = -(float)c[M + n];
        }
    }
    free(space);
}

static int64_t period_of(const ModelContext *context) {
    int64_t period = 2;
    while (period < context->max_length) period *= 2;
    return period;
}

/* A complex normal number of mean square 1, truncated. */
static Tensor *output_vector(Tape *tape, const ModelContext *context, const S4Layer *own,
                             const char *name, const DplrParameters *p) {
    Init init = init_normal(sqrt(0.5));
    init.derive = truncate_C;
    const Tensor *const sources[] = {p->log_dt, p->A_real, p->A_imag, p->P, p->B};
    for (int i = 0; i < 5; i++) init.sources[i] = sources[i];
    init.argument = (double)period_of(context);
    const Shape shape = SHAPE(extent(p->log_dt, 0), extent(p->A_real, 1), 2);
    Group group = own->slow_c ? state_space_group(&own->layer) : GROUP_DECAY;
    group.no_decay = false;
    return tape_parameter(tape, name, shape, init, group);
}

DplrParameters s4_parameters(Tape *tape, const ModelContext *context, const S4Layer *own,
                             int64_t D) {
    const int64_t S = own->sets ? own->sets : D, M = own->state / 2;
    const int64_t R = hippo_rank((HippoMeasure)own->init);
    const Group slow = state_space_group(&own->layer);
    DplrParameters p = {.log_dt = state_space_log_dt(tape, &own->layer, D)};
    p.A_real = tape_parameter(tape, "A_real", SHAPE(S, M),
                              init_fill(fill_A_real, own->init, (double)own->state), slow);
    p.A_imag = tape_parameter(tape, "A_imag", SHAPE(S, M),
                              init_fill(fill_A_imag, own->init, (double)own->state), slow);
    p.P = tape_parameter(tape, "P", SHAPE(R, S, M, 2),
                         init_fill(fill_P, own->init, (double)own->state), slow);
    p.B = tape_parameter(tape, "B", SHAPE(S, M, 2),
                         init_fill(fill_B, own->init, (double)own->state), slow);
    p.C = output_vector(tape, context, own, "C", &p);
    if (!context->causal) p.C_reverse = output_vector(tape, context, own, "C_reverse", &p);
    return p;
}

/* ---- the layer ---- */

/* u (B, 1, D): the next state and its output. */
static Tensor *step(Tape *tape, const ModelContext *context, DplrParameters p, Tensor *u,
                    Tensor *skip) {
    const Shape shape = SHAPE(extent(u, 0), extent(u, 2), 2, extent(p.A_real, 1));
    Tensor *table = dplr_modes(tape, p, period_of(context)), *next;
    Tensor *y = dplr_step(tape, tape_carry(tape, "state", shape), u, table, skip, &next);
    tape_carry_out(tape, "state", next);
    return y;
}

Tensor *s4_system(Tape *tape, const ModelContext *context, DplrParameters p, Tensor *u) {
    Tensor *skip = state_space_skip(tape, extent(u, 2)), *ahead;
    if (tape_mode(tape) == TAPE_STEP) return step(tape, context, p, u, skip);
    Tensor *kernel = dplr_kernel(tape, p, (DplrKernel){period_of(context), extent(u, 1)}, &ahead);
    return long_convolution(tape, u, kernel, ahead, (ConvolutionGates){.skip = skip});
}

Status s4_check(const Backbone *backbone, const S4Layer *own, Error *error) {
    if (own->init == HIPPO_FOUT && own->state % 2)
        return error_set(
            error, STATUS_USAGE,
            "state=%lld is odd; init=fout has a sine and a cosine for each frequency: use %lld",
            (long long)own->state, (long long)own->state + 1);
    if (own->sets && backbone->width % own->sets)
        return error_set(
            error, STATUS_USAGE,
            "sets=%lld does not divide width=%lld; every set serves equally many channels",
            (long long)own->sets, (long long)backbone->width);
    return state_space_check(&own->layer, error);
}

int64_t s4_state_floats(const Backbone *backbone, const S4Layer *own) {
    return backbone->layers * backbone->width * (own->state / 2 * 2);
}
