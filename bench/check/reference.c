#include "bench/check/reference.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/tape_internal.h"

struct Reference {
    Tape *tape;
    const Run *run;
    double **tensors;    /* by tensor number; views point at their base's */
    double **parameters; /* by parameter number */
    double *slopes;      /* that were computed, in their order, once remembering is on */
    int slope_count, next_slope;
    bool remembers;
};

static double *doubles_of(const Tensor *tensor) {
    const int64_t size = tensor_size(tensor);
    double *values = memory_take_zeroed((size_t)size + 1, sizeof *values);
    if (tensor->type == TENSOR_FLOAT && tensor->role != ROLE_ACTIVATION &&
        tensor->role != ROLE_SAVED)
        for (int64_t i = 0; i < size; i++) values[i] = (double)tensor->host[i];
    return values;
}

Reference *reference_open(Tape *tape, const Run *run) {
    Reference *reference = memory_take_zeroed(1, sizeof *reference);
    reference->tape = tape;
    reference->run = run;
    reference->tensors = memory_take_zeroed((size_t)tape->tensor_count + 1, sizeof(double *));
    reference->parameters =
        memory_take_zeroed((size_t)tape->parameters->count + 1, sizeof(double *));
    for (int i = 0; i < tape->tensor_count; i++)
        if (!tape->tensors[i]->base) reference->tensors[i] = doubles_of(tape->tensors[i]);
    for (int i = 0; i < tape->parameters->count; i++)
        reference->parameters[i] = doubles_of(&tape->parameters->list[i]->tensor);
    return reference;
}

void reference_close(Reference *reference) {
    if (!reference) return;
    for (int i = 0; i < reference->tape->tensor_count; i++) free(reference->tensors[i]);
    for (int i = 0; i < reference->tape->parameters->count; i++) free(reference->parameters[i]);
    free(reference->tensors);
    free(reference->parameters);
    free(reference->slopes);
    free(reference);
}

void reference_again(Reference *reference) {
    reference->remembers = true;
    reference->next_slope = 0;
}

double *reference_values(Reference *reference, const Tensor *tensor) {
    const Tensor *owner = tensor->base ? tensor->base : tensor;
    return owner->role == ROLE_PARAMETER ? reference->parameters[owner->number]
                                         : reference->tensors[owner->number];
}

void reference_forward(Reference *reference) {
    for (int c = 0; c < reference->tape->call_count; c++) {
        const OpCall *call = reference->tape->calls[c];
        ReferenceCall plain = {.call = call, .run = reference->run};
        for (int i = 0; i < call->inputs; i++)
            if (call->in[i] && call->in[i]->type == TENSOR_FLOAT)
                plain.in[i] = reference_values(reference, call->in[i]);
        for (int j = 0; j < call->outputs; j++)
            plain.out[j] = reference_values(reference, call->out[j]);
        call->op->reference(&plain);
    }
}

/* The loss after changing leaf by step * direction (size of leaf); leaf is restored. */
static double shifted_loss(Reference *reference, const Tensor *leaf, const double *direction,
                           double step, const Seeds *seeds) {
    double *values = reference_values(reference, leaf);
    const int64_t size = tensor_size(leaf);
    double *original = memory_take((size_t)size * sizeof *original);
    memcpy(original, values, (size_t)size * sizeof *original);
    for (int64_t i = 0; i < size; i++) values[i] += step * direction[i];
    reference_forward(reference);
    memcpy(values, original, (size_t)size * sizeof *original);
    free(original);
    double sum = 0;
    for (int j = 0; j < seeds->count; j++) {
        const double *out = reference_values(reference, seeds->tensor[j]);
        for (int64_t i = 0; i < tensor_size(seeds->tensor[j]); i++)
            sum += (double)seeds->cotangent[j][i] * out[i];
    }
    return sum;
}

static double root_mean_square(const double *values, int64_t size) {
    double sum = 0;
    for (int64_t i = 0; i < size; i++) sum += values[i] * values[i];
    return sqrt(sum / (double)(size ? size : 1));
}

double worse(double a, double b) {
    return isnan(a) || a > b ? a : b;
}

double reference_error(const float *actual, const double *expected, int64_t size) {
    const double scale = root_mean_square(expected, size);
    double worst = 0;
    for (int64_t i = 0; i < size; i++) {
        if (isinf(expected[i]) && (double)actual[i] == expected[i]) continue;
        const double error = fabs((double)actual[i] - expected[i]);
        if (!isfinite(error)) return INFINITY;
        if (error == 0) continue;
        const double relative = error / (fabs(expected[i]) + scale);
        if (relative > worst) worst = relative;
    }
    return worst;
}

/* Step of the central difference: error terms are step^2 and 1e-16 / step, both about 1e-10 here.
 */
static const double difference_step = 1e-5;

static double slope(Reference *reference, const Tensor *leaf, const double *direction,
                    const Seeds *seeds) {
    const double h = difference_step;
    if (reference->next_slope < reference->slope_count)
        return reference->slopes[reference->next_slope++];
    const double value = (shifted_loss(reference, leaf, direction, h, seeds) -
                          shifted_loss(reference, leaf, direction, -h, seeds)) /
                         (2 * h);
    if (!reference->remembers) return value;
    reference->slopes = memory_resize(reference->slopes, ((size_t)reference->slope_count + 1) *
                                                             sizeof *reference->slopes);
    reference->slopes[reference->slope_count++] = value;
    reference->next_slope = reference->slope_count;
    return value;
}

/* A gradient far below this counts as zero. Gradients of networks are of order 1; one that is zero
 * by symmetry, like that of an offset of softmax's keys, is the rounding of a sum. In Mega up to
 * 5e-9 was seen, beside gradients of 1e-6: it differs from machine to machine and is no error. */
static const double zero_gradient = 1e-5;

double reference_gradient_error(Reference *reference, const Tensor *leaf, const Seeds *seeds,
                                int probes) {
    const int64_t size = tensor_size(leaf);
    const float *gradient = leaf->host_gradient;
    double *direction = memory_take_zeroed((size_t)size, sizeof *direction);
    double scale = 0;
    for (int64_t i = 0; i < size; i++) scale += (double)gradient[i] * (double)gradient[i];
    scale = sqrt(scale / (double)size);

    Random random = random_open(1, random_stream("check/probes"), (uint64_t)leaf->number);
    double worst = 0;
    for (int p = 0; p < probes; p++) {
        int64_t i = (int64_t)random_below(&random, (uint64_t)size);
        if (p == 0) i = 0;
        if (p == 1) i = size - 1;
        direction[i] = 1;
        const double expected = slope(reference, leaf, direction, seeds);
        direction[i] = 0;
        const double error =
            fabs((double)gradient[i] - expected) / (fabs(expected) + scale + zero_gradient);
        worst = worse(worst, error);
    }
    double along = 0, weight = 0;
    for (int64_t i = 0; i < size; i++) {
        direction[i] = random_normal(&random) / sqrt((double)size);
        along += direction[i] * (double)gradient[i];
        weight += direction[i] * direction[i];
    }
    const double expected = slope(reference, leaf, direction, seeds);
    const double error =
        fabs(along - expected) / (fabs(expected) + scale * sqrt(weight) + zero_gradient);
    worst = worse(worst, error);
    free(direction);
    return worst;
}
