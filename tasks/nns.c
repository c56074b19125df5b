/* Nearest-neighbour search: the first position shows a reference direction, each later one a
 * candidate direction with a value; at every candidate the model gives the value of the one nearest
 * to the reference so far. It must change its mind whenever a nearer one comes.
 *
 * Source: Beck et al. 2024 (xLSTM), arXiv 2405.04517, figure 2 left and appendix B: unit vectors of
 * the plane, values uniform on [0, 1), length uniform up to 64, mean squared error. The paper gives
 * no shortest length; 2 is the shortest with a candidate. Its appendix scores every position, its
 * caption the last one: `scored` chooses for validation and test, training uses all. With
 * scored=all the error at the last candidate is reported apart, too.
 * Guesses to compare with: 0.083 = 1/12 for always 0.5, 0.147 for the newest value. */
#include <math.h>

#include "tasks/labels.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

typedef enum Scored { SCORED_ALL, SCORED_LAST } Scored;

enum { CHANNELS = 3 }; /* direction (2), value */

typedef struct Nns {
    int64_t length, shortest;
    int scored;
} Nns;

static const Option options[] = {
    {"length", OPTION_INTEGER, offsetof(Nns, length), "64", 2, 1 << 24, NULL,
     "most positions of a sample: the reference and the candidates"},
    {"shortest", OPTION_INTEGER, offsetof(Nns, shortest), "2", 2, 1 << 24, NULL,
     "fewest positions of a sample; lengths are uniform"},
    {"scored", OPTION_CHOICE, offsetof(Nns, scored), "all", 0, -1, "all|last",
     "candidates that count in validation and test"},
};

static Status nns_problem(const void *values, Problem *problem, Error *error) {
    const Nns *nns = values;
    if (nns->shortest > nns->length)
        return error_set(error, STATUS_USAGE,
                         "task nns: shortest=%lld is above length=%lld; use shortest=%lld or less",
                         (long long)nns->shortest, (long long)nns->length, (long long)nns->length);
    *problem = (Problem){
        .input = INPUT_REALS,
        .channels = CHANNELS,
        .length = nns->length,
        .padded = nns->shortest < nns->length,
        .sequences = 1,
        .target = TARGET_REALS,
        .labels = nns->length - 1,
        .causal = true,
        .chance = 1.0 / 12,
        .solved = 0.005,
        .higher_is_better = false,
        .metric = "squared error",
        .measure = MEASURE_SQUARED_ERROR,
        .last_apart = nns->scored == SCORED_ALL,
    };
    return STATUS_OK;
}

/* 24 bits, so that it is below 1 in single precision too. */
static float uniform(Random *random) {
    return (float)(random_u32(random) >> 8) * 0x1p-24f;
}

static void direction(Random *random, float vector[2]) {
    const double angle = 2 * M_PI * random_real(random);
    vector[0] = (float)cos(angle);
    vector[1] = (float)sin(angle);
}

extern const Task task_nns;

static void nns_sample(const void *values, const void *data, uint64_t seed, Split split,
                       int64_t index, Sample *sample) {
    (void)data;
    const Nns *nns = values;
    Random random = task_random(&task_nns, seed, split, index);
    const int64_t length =
        nns->shortest + (int64_t)random_below(&random, (uint64_t)(nns->length - nns->shortest) + 1);
    float *reals = sample->reals;
    direction(&random, reals);
    reals[2] = 0;
    double nearest = -2; /* inner product, below any */
    float answer = 0;
    const bool last_only = nns->scored == SCORED_LAST && split != SPLIT_TRAIN;
    int64_t labels = 0;
    for (int64_t t = 1; t < length; t++) {
        float *candidate = reals + CHANNELS * t;
        direction(&random, candidate);
        candidate[2] = uniform(&random);
        const double product = (double)candidate[0] * reals[0] + (double)candidate[1] * reals[1];
        if (product > nearest) {
            nearest = product;
            answer = candidate[2];
        }
        if (last_only && t < length - 1) continue;
        sample->value[labels] = answer;
        label_set(sample, labels++, t, 0);
    }
    label_unused(sample, labels, nns->length - 1);
    for (; labels < nns->length - 1; labels++) sample->value[labels] = 0;
    for (int64_t i = CHANNELS * length; i < CHANNELS * nns->length; i++) reals[i] = 0;
    sample->lengths[0] = (int32_t)length;
}

const Task task_nns = {
    .name = "nns",
    .title = "Nearest-neighbour search",
    .paper = "Beck et al. 2024 (xLSTM), arXiv 2405.04517",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Nns)},
    .problem = nns_problem,
    .count = count_endless,
    .sample = nns_sample,
};
