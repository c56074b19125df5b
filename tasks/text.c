/* Text: is a film review, read byte by byte, good or bad?
 *
 * Source: Maas et al. 2011, "Learning word vectors for sentiment analysis" (IMDB reviews); as bytes
 * Tay et al. 2021, "Long Range Arena", arXiv 2011.04006: the first 4,000 bytes (its released
 * settings say 1,000, its paper and everybody since 4,000), markup kept. The set has no validation
 * split; published numbers choose the best step on the test set (validation=test), so they are
 * best-on-test. The default holds out a tenth of the training reviews instead. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/file.h"
#include "tasks/byte_text.h"
#include "tasks/data.h"
#include "tasks/labels.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

typedef enum Validation { VALIDATION_HELD_OUT, VALIDATION_TEST } Validation;

typedef struct Text {
    int64_t length;
    int validation;
} Text;

typedef struct Reviews {
    Records records;
    int32_t *order; /* mixes good and bad ones; the same for every seed */
} Reviews;

typedef struct TextData {
    Reviews train, test;
} TextData;

static const Option options[] = {
    {"length", OPTION_INTEGER, offsetof(Text, length), "4000", 1, 1 << 20, NULL,
     "bytes of a review that are read"},
    {"validation", OPTION_CHOICE, offsetof(Text, validation), "held_out", 0, -1, "held_out|test",
     "a tenth of the training reviews, or the test reviews as published"},
};

static Status text_problem(const void *values, Problem *problem, Error *error) {
    (void)error;
    const Text *text = values;
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = BYTE_IDS,
        .length = text->length,
        .padded = true,
        .sequences = 1,
        .target = TARGET_SEQUENCE,
        .classes = 2,
        .labels = 1,
        .causal = false,
        .chance = 0.5,
        .solved = 0.9,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

static int is_review(const struct dirent *entry) {
    const size_t length = strlen(entry->d_name);
    return length > 4 && strcmp(entry->d_name + length - 4, ".txt") == 0;
}

static int by_number(const struct dirent **a, const struct dirent **b) {
    const long x = strtol((*a)->d_name, NULL, 10), y = strtol((*b)->d_name, NULL, 10);
    return x != y ? (x > y) - (x < y) : strcmp((*a)->d_name, (*b)->d_name);
}

static Status read_review(const char *folder, const char *name, int label, int64_t length,
                          Records *records, Error *error) {
    char path[PATH_MAX], *bytes;
    size_t count;
    if (path_join(path, folder, name, error) != STATUS_OK) return error->status;
    if (file_read(path, &bytes, &count, error) != STATUS_OK) return error->status;
    const int64_t kept = (int64_t)count < length ? (int64_t)count : length;
    const bool zeros = count > 0 && memchr(bytes, 0, count) != NULL;
    if (count > 0 && !zeros) records_add(records, (uint8_t *)bytes, kept, label);
    free(bytes);
    if (zeros)
        return error_set(error, STATUS_DATA,
                         "%s has zero bytes, so it is no text; unpack the archive again", path);
    return count > 0 ? STATUS_OK
                     : error_set(error, STATUS_DATA, "%s is empty; unpack the archive again", path);
}

static Status read_folder(const char *root, const char *name, int label, int64_t length,
                          Records *records, Error *error) {
    char folder[PATH_MAX];
    struct dirent **entries;
    if (path_join(folder, root, name, error) != STATUS_OK) return error->status;
    const int count = scandir(folder, &entries, is_review, by_number);
    if (count < 0) return error_set(error, STATUS_DATA, "%s: %s", folder, strerror(errno));
    Status status = count > 0
                        ? STATUS_OK
                        : error_set(error, STATUS_DATA,
                                    "%s has no reviews (*.txt); unpack the archive again", folder);
    for (int i = 0; i < count; i++) {
        if (status == STATUS_OK)
            status = read_review(folder, entries[i]->d_name, label, length, records, error);
        free(entries[i]);
    }
    free(entries);
    return status;
}

static Status read_reviews(const char *root, const char *split, int64_t length, Reviews *reviews,
                           Error *error) {
    char folder[PATH_MAX];
    if (path_join(folder, root, split, error) != STATUS_OK ||
        read_folder(folder, "neg", 0, length, &reviews->records, error) != STATUS_OK ||
        read_folder(folder, "pos", 1, length, &reviews->records, error) != STATUS_OK)
        return error->status;
    const int64_t count = reviews->records.count;
    reviews->order = scratch_open((size_t)count * sizeof *reviews->order);
    for (int64_t i = 0; i < count; i++) reviews->order[i] = (int32_t)i;
    Random random = random_open(0, random_stream("task/text/order"), 0);
    sample_shuffle(&random, count, reviews->order);
    return STATUS_OK;
}

static void text_close(void *data) {
    TextData *d = data;
    records_free(&d->train.records);
    records_free(&d->test.records);
    free(d->train.order);
    free(d->test.order);
    free(d);
}

static int64_t held_out(const Text *text, const TextData *d) {
    return text->validation == VALIDATION_HELD_OUT ? d->train.records.count / 10 : 0;
}

/* A split of no samples would stand for one without end. */
static Status check_held_out(const Text *text, const TextData *d, const char *root, Error *error) {
    if (text->validation == VALIDATION_TEST || held_out(text, d) > 0) return STATUS_OK;
    return error_set(
        error, STATUS_DATA,
        "%s/train: %lld reviews, of which no tenth can be held out; expected 10 or more", root,
        (long long)d->train.records.count);
}

static Status text_open(const void *values, void **data, Error *error) {
    const Text *text = values;
    char root[PATH_MAX];
    if (data_find("imdb", "aclImdb", DATA_FOLDER, root, error) != STATUS_OK) return error->status;
    TextData *d = scratch_open(sizeof *d);
    if (read_reviews(root, "train", text->length, &d->train, error) != STATUS_OK ||
        read_reviews(root, "test", text->length, &d->test, error) != STATUS_OK ||
        check_held_out(text, d, root, error) != STATUS_OK) {
        text_close(d);
        return error->status;
    }
    *data = d;
    return STATUS_OK;
}

static int64_t text_count(const void *values, const void *data, Split split) {
    const Text *text = values;
    const TextData *d = data;
    if (split == SPLIT_TRAIN) return d->train.records.count - held_out(text, d);
    if (split == SPLIT_VALIDATION && text->validation == VALIDATION_HELD_OUT)
        return held_out(text, d);
    return d->test.records.count;
}

static void text_sample(const void *values, const void *data, uint64_t seed, Split split,
                        int64_t index, Sample *sample) {
    (void)seed;
    const Text *text = values;
    const TextData *d = data;
    const bool train = split == SPLIT_TRAIN ||
                       (split == SPLIT_VALIDATION && text->validation == VALIDATION_HELD_OUT);
    const Reviews *reviews = train ? &d->train : &d->test;
    if (train && split == SPLIT_VALIDATION) index += text_count(values, data, SPLIT_TRAIN);
    const int64_t record = reviews->order[index];
    const int32_t length =
        byte_tokens(record_bytes(&reviews->records, record),
                    record_length(&reviews->records, record), text->length, sample->tokens);
    label_set(sample, 0, length - 1, reviews->records.classes[record]);
    sample->lengths[0] = length;
}

const Task task_text = {
    .name = "text",
    .title = "IMDB reviews as bytes (Long Range Arena)",
    .paper = "Tay et al. 2021, arXiv 2011.04006; Maas et al. 2011",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Text)},
    .problem = text_problem,
    .open = text_open,
    .close = text_close,
    .count = text_count,
    .sample = text_sample,
    .spell = byte_spell,
};
