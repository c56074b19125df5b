/* Associative recall: pairs of a key and its value, then a key seen before; the model names its
 * value. Pairs repeat, so a long sample has more hints, not more to remember.
 *
 * Source: Fu et al. 2023 (H3), "Hungry hungry hippos", arXiv 2212.14052, section 3.1, and Poli et
 * al. 2023 (Hyena), arXiv 2302.10866, section 4.1; details from the authors' generator: next-token
 * loss over all positions in training, only the answer in validation and test. So training accuracy
 * cannot reach 1: a layer that gets there sees the future. H3 also tests at twice the training
 * length (test_length). Left out: their removal of duplicates within a split (a repeat is rarer
 * than 1e-6 at the published sizes) and the `allow_dot` variant, which no published setting uses.
 */
#include <stdlib.h>

#include "tasks/labels.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

typedef enum Loss { LOSS_ALL, LOSS_ANSWER } Loss;

typedef struct Recall {
    int64_t length, vocabulary, test_length;
    int loss;
} Recall;

static const Option options[] = {
    {"length", OPTION_INTEGER, offsetof(Recall, length), "22", 4, (1 << 24) + 2, NULL,
     "positions of a sample, even: the paper's N plus 2"},
    {"vocabulary", OPTION_INTEGER, offsetof(Recall, vocabulary), "10", 4, 1 << 20, NULL,
     "ids: 0 unused, keys, as many values, the question mark last"},
    {"loss", OPTION_CHOICE, offsetof(Recall, loss), "all", 0, -1, "all|answer",
     "positions that count in training"},
    {"test_length", OPTION_INTEGER, offsetof(Recall, test_length), "0", 0, (1 << 24) + 2, NULL,
     "positions of a sample in validation and test, even; 0: length"},
};

static int64_t key_count(const Recall *recall) {
    return (recall->vocabulary - 2) / 2; /* ids 1 .. K */
}

static int64_t value_count(const Recall *recall) {
    return recall->vocabulary - 2 - key_count(recall); /* ids K+1 .. V-2 */
}

/* name: of the option. */
static Status check_length(const char *name, int64_t length, Error *error) {
    const long long fits = length < 4 ? 4 : length + length % 2;
    if (fits == length) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "task recall: %s=%lld is %s, but a sample is pairs, a question mark and a "
                     "key; use %s=%lld",
                     name, (long long)length, length < 4 ? "too short" : "odd", name, fits);
}

static Status recall_problem(const void *values, Problem *problem, Error *error) {
    const Recall *recall = values;
    const bool all = recall->loss == LOSS_ALL;
    const int64_t test = recall->test_length;
    Status status = check_length("length", recall->length, error);
    if (status == STATUS_OK && test > 0) status = check_length("test_length", test, error);
    if (status != STATUS_OK) return status;
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = recall->vocabulary,
        .length = recall->length,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .classes = recall->vocabulary,
        .labels = all ? recall->length : 1,
        .evaluation_length = test,
        .evaluation_labels = all ? test : 1,
        .causal = true,
        .chance = 1.0 / (double)value_count(recall),
        .solved = 0.97,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

extern const Task task_recall;

static void recall_sample(const void *values, const void *data, uint64_t seed, Split split,
                          int64_t index, Sample *sample) {
    (void)data;
    const Recall *recall = values;
    const bool train = split == SPLIT_TRAIN;
    const int64_t length = train || !recall->test_length ? recall->length : recall->test_length;
    const int64_t pairs = length / 2 - 1, keys = key_count(recall);
    Random random = task_random(&task_recall, seed, split, index);
    int32_t *stream = scratch_open((size_t)(length + 1 + 2 * keys) * sizeof *stream);
    int32_t *value_of = stream + length + 1, *shown = value_of + keys;
    uint64_t *seen = scratch_open(set_bytes(keys));
    for (int64_t k = 0; k < keys; k++)
        value_of[k] =
            (int32_t)(keys + 1 + (int64_t)random_below(&random, (uint64_t)value_count(recall)));
    uint64_t different = 0;
    for (int64_t i = 0; i < pairs; i++) {
        const int32_t key = (int32_t)random_below(&random, (uint64_t)keys);
        if (!set_has(seen, key)) shown[different++] = key;
        set_add(seen, key);
        stream[2 * i] = 1 + key;
        stream[2 * i + 1] = value_of[key];
    }
    const int32_t asked = shown[random_below(&random, different)];
    stream[length - 2] = (int32_t)recall->vocabulary - 1;
    stream[length - 1] = 1 + asked;
    stream[length] = value_of[asked];
    const bool all = recall->loss == LOSS_ALL;
    label_next(sample, stream, length, all && train ? length : 1, all ? length : 1);
    free(seen);
    free(stream);
}

const Task task_recall = {
    .name = "recall",
    .title = "Associative recall",
    .paper = "Fu et al. 2023 (H3), arXiv 2212.14052; Poli et al. 2023 (Hyena), arXiv 2302.10866",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Recall)},
    .problem = recall_problem,
    .count = count_endless,
    .sample = recall_sample,
};
