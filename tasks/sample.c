#include "tasks/sample.h"

#include <stdlib.h>

#include "tasks/sampling.h"

void sample_open(const Problem *problem, Sample *sample) {
    const size_t positions = (size_t)(problem->sequences * problem->length);
    const size_t labels = (size_t)problem->labels;
    *sample = (Sample){
        .tokens = scratch_open(positions * sizeof(int32_t)),
        .reals = scratch_open(positions * (size_t)problem->channels * sizeof(float)),
        .lengths = scratch_open((size_t)problem->sequences * sizeof(int32_t)),
        .positions = scratch_open(labels * sizeof(int32_t)),
        .classes = scratch_open(labels * sizeof(int32_t)),
        .weights = scratch_open(labels * sizeof(float)),
        .value = scratch_open(labels * sizeof(float)),
    };
}

void sample_close(Sample *sample) {
    free(sample->tokens);
    free(sample->reals);
    free(sample->lengths);
    free(sample->positions);
    free(sample->classes);
    free(sample->weights);
    free(sample->value);
    *sample = (Sample){0};
}
