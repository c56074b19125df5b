/* Induction heads: random tokens with a special token somewhere; when it comes again at the end,
 * the model repeats what followed it the first time.
 *
 * Source: Fu et al. 2023 (H3), "Hungry hungry hippos", arXiv 2212.14052, section 3.1 (V = 20,
 * N = 30); Gu and Dao 2023 (Mamba), arXiv 2312.00752, section 3.2 and table 11 (V = 16, length 256
 * in training, 2^6 to 2^20 in test; their generator is unpublished, so this one stands for it, with
 * loss=answer). Details from the generator of H3's authors: next-token loss over all positions in
 * training, only the answer in validation and test. */
#include <stdlib.h>

#include "tasks/labels.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

typedef enum Loss { LOSS_ALL, LOSS_ANSWER } Loss;

enum { MOST_TRIGGERS = 64 };

typedef struct Induction {
    int64_t length, vocabulary, span, triggers;
    int loss;
} Induction;

static const Option options[] = {
    {"length", OPTION_INTEGER, offsetof(Induction, length), "31", 4, (1 << 24) + 1, NULL,
     "positions of a sample: the paper's N plus span"},
    {"vocabulary", OPTION_INTEGER, offsetof(Induction, vocabulary), "20", 4, 1 << 20, NULL,
     "ids: 0 unused, ordinary tokens, the special token last"},
    {"span", OPTION_INTEGER, offsetof(Induction, span), "1", 1, 1 << 16, NULL, "tokens to repeat"},
    {"triggers", OPTION_INTEGER, offsetof(Induction, triggers), "1", 1, MOST_TRIGGERS, NULL,
     "most appearances of the special token before the end; half of the samples have one"},
    {"loss", OPTION_CHOICE, offsetof(Induction, loss), "all", 0, -1, "all|answer",
     "positions that count in training"},
};

static Status induction_problem(const void *values, Problem *problem, Error *error) {
    const Induction *induction = values;
    const int64_t shortest = 2 * induction->span + 2;
    if (induction->length < shortest)
        return error_set(error, STATUS_USAGE,
                         "task induction: length=%lld has no room for the special token and "
                         "span=%lld tokens after it, twice; use length=%lld or more",
                         (long long)induction->length, (long long)induction->span,
                         (long long)shortest);
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = induction->vocabulary,
        .length = induction->length,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .classes = induction->vocabulary,
        .labels = induction->loss == LOSS_ALL ? induction->length : induction->span,
        .causal = true,
        .chance = 1.0 / (double)(induction->vocabulary - 2),
        .solved = 0.97,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

static int compare_positions(const void *a, const void *b) {
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

extern const Task task_induction;

static void induction_sample(const void *values, const void *data, uint64_t seed, Split split,
                             int64_t index, Sample *sample) {
    (void)data;
    const Induction *induction = values;
    const int64_t length = induction->length, span = induction->span, n = length - span;
    const int32_t special = (int32_t)induction->vocabulary - 1;
    Random random = task_random(&task_induction, seed, split, index);
    int32_t *stream = scratch_open((size_t)(length + 1) * sizeof *stream);
    for (int64_t t = 0; t < n; t++)
        stream[t] = 1 + (int32_t)random_below(&random, (uint64_t)induction->vocabulary - 2);
    stream[n] = special;

    const int64_t triggers = random_below(&random, 2) == 0 ? 1 : induction->triggers;
    int32_t places[MOST_TRIGGERS];
    for (int64_t q = 0; q < triggers; q++)
        places[q] = (int32_t)random_below(&random, (uint64_t)(n - 1 - span));
    qsort(places, (size_t)triggers, sizeof *places, compare_positions);
    int32_t *answer = stream + n + 1;
    for (int64_t i = 0; i < span; i++) answer[i] = stream[places[0] + 1 + i];
    int64_t free_from = 0;
    for (int64_t q = 0; q < triggers; q++) {
        if (places[q] < free_from) continue;
        free_from = places[q] + span + 1;
        stream[places[q]] = special;
        for (int64_t i = 0; i < span; i++) stream[places[q] + 1 + i] = answer[i];
    }
    const bool all = induction->loss == LOSS_ALL;
    label_next(sample, stream, length, all && split == SPLIT_TRAIN ? length : span,
               all ? length : span);
    free(stream);
}

const Task task_induction = {
    .name = "induction",
    .title = "Induction heads",
    .paper = "Fu et al. 2023 (H3), arXiv 2212.14052; Gu and Dao 2023 (Mamba), arXiv 2312.00752",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Induction)},
    .problem = induction_problem,
    .count = count_endless,
    .sample = induction_sample,
};
