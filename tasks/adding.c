/* The adding problem: a row of random numbers, two of them marked; the model gives their sum.
 *
 * Source: Hochreiter and Schmidhuber 1997, "Long short-term memory", section 5.4, in the form of
 * the long-memory papers (Romero et al. 2021, CKConv, arXiv 2102.02611): numbers uniform on [0, 1),
 * marks at two different uniform positions, squared error of the sum. halves=yes puts one mark in
 * each half, as the S4 authors' generator does. Guess to compare with: 1/6 for always 1. */
#include "tasks/labels.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

enum { CHANNELS = 2 }; /* number, mark */

typedef struct Adding {
    int64_t length;
    bool halves;
} Adding;

static const Option options[] = {
    {"length", OPTION_INTEGER, offsetof(Adding, length), "1000", 2, 1 << 24, NULL,
     "positions of a sample"},
    {"halves", OPTION_SWITCH, offsetof(Adding, halves), "no", 0, -1, NULL,
     "one mark in each half; no: anywhere"},
};

static Status adding_problem(const void *values, Problem *problem, Error *error) {
    (void)error;
    const Adding *adding = values;
    *problem = (Problem){
        .input = INPUT_REALS,
        .channels = CHANNELS,
        .length = adding->length,
        .sequences = 1,
        .target = TARGET_REAL,
        .labels = 1,
        .causal = true,
        .chance = 1.0 / 6,
        .solved = 0.01,
        .higher_is_better = false,
        .metric = "squared error",
        .measure = MEASURE_SQUARED_ERROR,
    };
    return STATUS_OK;
}

extern const Task task_adding;

static void adding_sample(const void *values, const void *data, uint64_t seed, Split split,
                          int64_t index, Sample *sample) {
    (void)data;
    const Adding *adding = values;
    const int64_t length = adding->length;
    Random random = task_random(&task_adding, seed, split, index);
    int32_t marks[2];
    if (adding->halves) {
        marks[0] = (int32_t)random_below(&random, (uint64_t)(length / 2));
        marks[1] =
            (int32_t)(length / 2 + (int64_t)random_below(&random, (uint64_t)(length - length / 2)));
    } else {
        sample_distinct(&random, length, 2, marks);
    }
    for (int64_t t = 0; t < length; t++) {
        sample->reals[CHANNELS * t] = (float)(random_u32(&random) >> 8) * 0x1p-24f;
        sample->reals[CHANNELS * t + 1] = 0;
    }
    float sum = 0;
    for (int m = 0; m < 2; m++) {
        sample->reals[CHANNELS * marks[m] + 1] = 1;
        sum += sample->reals[CHANNELS * marks[m]];
    }
    sample->value[0] = sum;
    label_set(sample, 0, length - 1, 0);
    sample->lengths[0] = (int32_t)length;
}

const Task task_adding = {
    .name = "adding",
    .title = "Adding problem",
    .paper = "Hochreiter and Schmidhuber 1997; Romero et al. 2021 (CKConv), arXiv 2102.02611",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Adding)},
    .problem = adding_problem,
    .count = count_endless,
    .sample = adding_sample,
};
