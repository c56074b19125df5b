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
    int64_t length, vocabulary, span, triggers, test_shortest, test_longest;
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
    {"test_shortest", OPTION_INTEGER, offsetof(Induction, test_shortest), "0", 0, (1 << 24) + 1,
     NULL, "positions of the shortest sample in validation and test; 0: length"},
    {"test_longest", OPTION_INTEGER, offsetof(Induction, test_longest), "0", 0, (1 << 24) + 1, NULL,
     "positions of the longest one: the shortest, doubled some number of times; 0: test_shortest"},
};

/* Validation and test samples have shortest, 2 shortest, 4 shortest ... longest positions, each
 * equally often. */
typedef struct Octaves {
    int64_t shortest, longest;
    int count; /* of different lengths */
} Octaves;

static Octaves octaves_of(const Induction *induction) {
    Octaves octaves = {.shortest = induction->test_shortest, .count = 1};
    if (octaves.shortest == 0) octaves.shortest = induction->length;
    octaves.longest = octaves.shortest;
    for (; octaves.longest * 2 <= induction->test_longest; octaves.count++) octaves.longest *= 2;
    return octaves;
}

static Status induction_problem(const void *values, Problem *problem, Error *error) {
    const Induction *induction = values;
    const int64_t least = 2 * induction->span + 2;
    const Octaves test = octaves_of(induction);
    const bool short_test = induction->length >= least;
    if (induction->length < least || test.shortest < least)
        return error_set(error, STATUS_USAGE,
                         "task induction: %slength=%lld has no room for the special token and "
                         "span=%lld tokens after it, twice; use %lld or more",
                         short_test ? "test_shortest as " : "",
                         (long long)(short_test ? test.shortest : induction->length),
                         (long long)induction->span, (long long)least);
    if (induction->test_longest && test.longest != induction->test_longest)
        return error_set(error, STATUS_USAGE,
                         "task induction: test_longest=%lld is not test_shortest=%lld doubled some "
                         "number of times; %lld or %lld would be",
                         (long long)induction->test_longest, (long long)test.shortest,
                         (long long)test.longest, 2 * (long long)test.longest);
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = induction->vocabulary,
        .length = induction->length,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .classes = induction->vocabulary,
        .padded = test.count > 1,
        .labels = induction->loss == LOSS_ALL ? induction->length : induction->span,
        .evaluation_length = test.longest,
        .evaluation_labels = induction->loss == LOSS_ALL ? test.longest : induction->span,
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
    const Octaves test = octaves_of(induction);
    const int32_t special = (int32_t)induction->vocabulary - 1;
    Random random = task_random(&task_induction, seed, split, index);
    const bool train = split == SPLIT_TRAIN;
    const int64_t room = train ? induction->length : test.longest, span = induction->span;
    int64_t length = train ? induction->length : test.shortest;
    if (!train && test.count > 1) length <<= random_below(&random, (uint64_t)test.count);
    const int64_t n = length - span;
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
    label_next(sample, stream, length, all && train ? length : span, all ? room : span);
    for (int64_t t = length; t < room; t++) sample->tokens[t] = 0;
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
