/* Copy: SOS, h random symbols, the same symbols again (reversed, or in order), EOS: L = 2 h + 2.
 * At each position of the first copy's end and after it the model names the next token, which is
 * known from the first half alone. Mirrored, the distance to the source grows from 1 in the middle
 * to L - 3 at the end; forward, it is h everywhere.
 *
 * Source: Hawthorne et al. 2022, "General-purpose, long-context autoregressive modeling with
 * Perceiver AR", arXiv 2202.07765, section 5.1.1, and the authors' RandomMirroredDataset: h =
 * 65,535 bytes, L = 131,072, the loss on 1,024 positions. Left out: their random crops, which exist
 * because that model sees a limited window; here the loss window moves instead. */
#include "tasks/labels.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

typedef enum Direction { DIRECTION_REVERSE, DIRECTION_FORWARD } Direction;

enum { ID_PAD, ID_EOS, ID_SOS, ID_SYMBOL }; /* pad is unused: all samples have the same length */

typedef struct Copy {
    int64_t length, alphabet, window;
    int direction;
} Copy;

static const Option options[] = {
    {"length", OPTION_INTEGER, offsetof(Copy, length), "512", 4, 1 << 24, NULL,
     "positions of a sample, even: two halves, start and end token"},
    {"direction", OPTION_CHOICE, offsetof(Copy, direction), "reverse", 0, -1, "reverse|forward",
     "order of the second half"},
    {"alphabet", OPTION_INTEGER, offsetof(Copy, alphabet), "256", 2, 1 << 20, NULL,
     "different symbols"},
    {"window", OPTION_INTEGER, offsetof(Copy, window), "0", 0, 1 << 23, NULL,
     "labelled positions in a row, placed at random in the second half; 0: all of it"},
};

static int64_t half(const Copy *copy) {
    return copy->length / 2 - 1;
}

static Status copy_problem(const void *values, Problem *problem, Error *error) {
    const Copy *copy = values;
    if (copy->length % 2 != 0)
        return error_set(error, STATUS_USAGE,
                         "task copy: length=%lld is odd, but a sample is a start token, two equal "
                         "halves and an end token; use length=%lld",
                         (long long)copy->length, (long long)copy->length + 1);
    if (copy->window > half(copy))
        return error_set(error, STATUS_USAGE,
                         "task copy: window=%lld is longer than the copied half of length=%lld; "
                         "use at most window=%lld, or window=0 for all of it",
                         (long long)copy->window, (long long)copy->length, (long long)half(copy));
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = copy->alphabet + ID_SYMBOL,
        .length = copy->length,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .classes = copy->alphabet + ID_SYMBOL,
        .labels = copy->window > 0 ? copy->window : half(copy),
        .causal = true,
        .chance = 1.0 / (double)copy->alphabet,
        .solved = 0.999,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

extern const Task task_copy;

static void copy_sample(const void *values, const void *data, uint64_t seed, Split split,
                        int64_t index, Sample *sample) {
    (void)data;
    const Copy *copy = values;
    const int64_t h = half(copy), labels = copy->window > 0 ? copy->window : h;
    Random random = task_random(&task_copy, seed, split, index);
    int32_t *first = sample->tokens + 1, *second = first + h;
    for (int64_t i = 0; i < h; i++)
        first[i] = ID_SYMBOL + (int32_t)random_below(&random, (uint64_t)copy->alphabet);
    for (int64_t i = 0; i < h; i++)
        second[i] = copy->direction == DIRECTION_REVERSE ? first[h - 1 - i] : first[i];
    sample->tokens[0] = ID_SOS;
    sample->tokens[2 * h + 1] = ID_EOS;
    /* Position t names token t + 1: the copy starts at token h + 1. */
    const int64_t start = h + (int64_t)random_below(&random, (uint64_t)(h - labels) + 1);
    for (int64_t i = 0; i < labels; i++)
        label_set(sample, i, start + i, sample->tokens[start + i + 1]);
    sample->lengths[0] = (int32_t)copy->length;
}

const Task task_copy = {
    .name = "copy",
    .title = "Copying a random string",
    .paper = "Hawthorne et al. 2022 (Perceiver AR), arXiv 2202.07765",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Copy)},
    .problem = copy_problem,
    .count = count_endless,
    .sample = copy_sample,
};
