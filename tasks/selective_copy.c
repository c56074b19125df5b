/* Selective copying: data tokens scattered among blanks, in order; then, at as many markers, the
 * model repeats them. Gaps vary, so a fixed convolution cannot do it.
 *
 * Source: Gu and Dao 2023 (Mamba), "Mamba: Linear-time sequence modeling with selective state
 * spaces", arXiv 2312.00752, section 3.1 and appendix E.1 (length 4,096, 16 ids, 16 data tokens).
 * Their code is unpublished; the S4 authors' copying generator with variable gaps, which they name
 * as its source, gives the details. variable=no puts the data first: the classic copying memory
 * task. */
#include <stdlib.h>

#include "tasks/labels.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

typedef struct SelectiveCopy {
    int64_t length, symbols, vocabulary;
    bool variable;
} SelectiveCopy;

static const Option options[] = {
    {"length", OPTION_INTEGER, offsetof(SelectiveCopy, length), "4096", 2, 1 << 24, NULL,
     "positions of a sample, the markers included"},
    {"symbols", OPTION_INTEGER, offsetof(SelectiveCopy, symbols), "16", 1, 1 << 20, NULL,
     "data tokens to remember; as many markers"},
    {"vocabulary", OPTION_INTEGER, offsetof(SelectiveCopy, vocabulary), "16", 4, 1 << 20, NULL,
     "ids: 0 blank, data, the marker last"},
    {"variable", OPTION_SWITCH, offsetof(SelectiveCopy, variable), "yes", 0, -1, NULL,
     "random gaps between the data tokens; no: data first, then blanks"},
};

static Status selective_copy_problem(const void *values, Problem *problem, Error *error) {
    const SelectiveCopy *copy = values;
    if (2 * copy->symbols > copy->length)
        return error_set(error, STATUS_USAGE,
                         "task selective_copy: symbols=%lld and as many markers do not fit "
                         "length=%lld; use length=%lld or more",
                         (long long)copy->symbols, (long long)copy->length,
                         2 * (long long)copy->symbols);
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = copy->vocabulary,
        .length = copy->length,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .classes = copy->vocabulary,
        .labels = copy->symbols,
        .causal = true,
        .chance = 1.0 / (double)(copy->vocabulary - 2),
        .solved = 0.97,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

extern const Task task_selective_copy;

static void selective_copy_sample(const void *values, const void *data, uint64_t seed, Split split,
                                  int64_t index, Sample *sample) {
    (void)data;
    const SelectiveCopy *copy = values;
    const int64_t symbols = copy->symbols, markers = copy->length - symbols;
    Random random = task_random(&task_selective_copy, seed, split, index);
    int32_t *places = scratch_open((size_t)symbols * sizeof *places);
    if (copy->variable)
        sample_subset(&random, markers, symbols, places);
    else
        for (int64_t i = 0; i < symbols; i++) places[i] = (int32_t)i;
    for (int64_t t = 0; t < markers; t++) sample->tokens[t] = 0;
    for (int64_t i = 0; i < symbols; i++) {
        const int32_t token = 1 + (int32_t)random_below(&random, (uint64_t)copy->vocabulary - 2);
        sample->tokens[places[i]] = token;
        sample->tokens[markers + i] = (int32_t)copy->vocabulary - 1;
        label_set(sample, i, markers + i, token);
    }
    sample->lengths[0] = (int32_t)copy->length;
    free(places);
}

const Task task_selective_copy = {
    .name = "selective_copy",
    .title = "Selective copying",
    .paper = "Gu and Dao 2023 (Mamba), arXiv 2312.00752",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(SelectiveCopy)},
    .problem = selective_copy_problem,
    .count = count_endless,
    .sample = selective_copy_sample,
};
