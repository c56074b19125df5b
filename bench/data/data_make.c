#include "bench/data/data_make.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/file.h"
#include "tasks/data.h"
#include "tasks/sample.h"
#include "tasks/sampling.h"

/* A task with its standard options, and where its samples go. */
struct Maker {
    const StandIn *stand_in;
    const Task *task;
    void *options, *data;
    Problem problem;
    Sample sample;
    char folder[PATH_MAX];
    int64_t counts[3]; /* samples by split */
};

static void draw(Maker *maker, Split split, int64_t index) {
    maker->task->sample(maker->options, maker->data, 1, split, index, &maker->sample);
}

/* A new file below the folder, its folders made. NULL after an error. */
static FILE *create(const Maker *maker, const char *name, Error *error) {
    char path[PATH_MAX], folder[PATH_MAX];
    if (path_join(path, maker->folder, name, error) != STATUS_OK) return NULL;
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    if (folder_make(folder, error) != STATUS_OK) return NULL;
    FILE *file = fopen(path, "wb");
    if (!file) error_set(error, STATUS_IO, "creating %s: %s", path, strerror(errno));
    return file;
}

static Status finish(FILE *file, const char *name, Error *error) {
    const bool good = !ferror(file);
    if (fclose(file) == 0 && good) return STATUS_OK;
    return error_set(error, STATUS_IO, "writing %s: %s; free some space and run again", name,
                     strerror(errno));
}

/* Bytes of a sequence whose ids are byte + 1. */
static void put_bytes(const Maker *maker, int sequence, FILE *file) {
    const int32_t *tokens = maker->sample.tokens + sequence * maker->problem.length;
    for (int32_t t = 0; t < maker->sample.lengths[sequence]; t++) fputc(tokens[t] - 1, file);
}

/* ---- formats ---- */

/* aclImdb: one file a review, named NUMBER_RATING. Validation reviews are part of train there. */
static Status write_reviews(Maker *maker, Error *error) {
    static const char *const folders[] = {"train", "train", "test"};
    for (int split = 0; split < 3; split++)
        for (int64_t i = 0; i < maker->counts[split]; i++) {
            char name[96];
            draw(maker, (Split)split, i);
            const bool good = maker->sample.classes[0] == 1;
            const int64_t number = split == SPLIT_VALIDATION ? maker->counts[0] + i : i;
            snprintf(name, sizeof name, "aclImdb/%s/%s/%lld_%d.txt", folders[split],
                     good ? "pos" : "neg", (long long)number, good ? 10 : 1);
            FILE *file = create(maker, name, error);
            if (!file) return error->status;
            put_bytes(maker, 0, file);
            if (finish(file, name, error) != STATUS_OK) return error->status;
        }
    return STATUS_OK;
}

/* label, two ids, two texts, separated by tabs. */
static Status write_pairs(Maker *maker, Error *error) {
    static const char *const names[] = {"tsv_data/new_aan_pairs.train.tsv",
                                        "tsv_data/new_aan_pairs.eval.tsv",
                                        "tsv_data/new_aan_pairs.test.tsv"};
    for (int split = 0; split < 3; split++) {
        FILE *file = create(maker, names[split], error);
        if (!file) return error->status;
        for (int64_t i = 0; i < maker->counts[split]; i++) {
            draw(maker, (Split)split, i);
            fprintf(file, "%d.0\tA%lld\tB%lld\t", maker->sample.classes[0], (long long)i,
                    (long long)i);
            put_bytes(maker, 0, file);
            fputc('\t', file);
            put_bytes(maker, 1, file);
            fputc('\n', file);
        }
        if (finish(file, names[split], error) != STATUS_OK) return error->status;
    }
    return STATUS_OK;
}

/* A label and three equal planes. */
static void put_picture(Maker *maker, Split split, int64_t index, uint8_t *grey, FILE *file) {
    draw(maker, split, index);
    maker->task->picture(maker->options, &maker->sample, grey);
    fputc(maker->sample.classes[0], file);
    for (int plane = 0; plane < 3; plane++) fwrite(grey, 1, (size_t)maker->problem.length, file);
}

/* CIFAR-10's binary version. Validation pictures are the end of the training files there. */
static Status write_pictures(Maker *maker, Error *error) {
    enum { FILES = 6, TRAIN_FILES = 5 };
    uint8_t *grey = scratch_open((size_t)maker->problem.length);
    const int64_t train = maker->counts[SPLIT_TRAIN];
    const int64_t all = train + maker->counts[SPLIT_VALIDATION];
    Status status = STATUS_OK;
    for (int k = 0; k < FILES && status == STATUS_OK; k++) {
        char name[64];
        const bool test = k == TRAIN_FILES;
        snprintf(name, sizeof name,
                 test ? "cifar-10-batches-bin/test_batch.bin"
                      : "cifar-10-batches-bin/data_batch_%d.bin",
                 k + 1);
        FILE *file = create(maker, name, error);
        if (!file) break;
        const int64_t from = test ? 0 : all * k / TRAIN_FILES;
        const int64_t to = test ? maker->counts[SPLIT_TEST] : all * (k + 1) / TRAIN_FILES;
        for (int64_t i = from; i < to; i++)
            put_picture(maker,
                        test        ? SPLIT_TEST
                        : i < train ? SPLIT_TRAIN
                                    : SPLIT_VALIDATION,
                        test || i < train ? i : i - train, grey, file);
        status = finish(file, name, error);
    }
    free(grey);
    return error->status == STATUS_OK ? status : error->status;
}

/* WikiText: a line of words for each document, blanks around every word. */
static Status write_words(Maker *maker, Error *error) {
    static const char *const names[] = {"wiki.train.tokens", "wiki.valid.tokens",
                                        "wiki.test.tokens"};
    for (int split = 0; split < 3; split++) {
        FILE *file = create(maker, names[split], error);
        if (!file) return error->status;
        for (int64_t i = 0; i < maker->counts[split]; i++) {
            draw(maker, (Split)split, i);
            for (int64_t t = 0; t < maker->problem.length; t++) {
                char word[TASK_SPELL_BYTES];
                maker->task->spell(maker->options, maker->data, maker->sample.tokens[t], word);
                fprintf(file, " %s", word);
            }
            fprintf(file, " \n");
        }
        if (finish(file, names[split], error) != STATUS_OK) return error->status;
    }
    return STATUS_OK;
}

/* ---- */

static const StandIn stand_ins[] = {
    {"image-synthetic", "image_synthetic", "CIFAR-10, binary version", write_pictures},
    {"lm-synthetic", "lm_synthetic", "WikiText", write_words},
    {"retrieval-synthetic", "retrieval_synthetic", "LRA Retrieval", write_pairs},
    {"text-synthetic", "text_synthetic", "IMDB reviews", write_reviews},
};
enum { STAND_INS = sizeof stand_ins / sizeof *stand_ins };

const StandIn *stand_in_list(int *count) {
    *count = STAND_INS;
    return stand_ins;
}

const StandIn *stand_in_find(const char *name) {
    for (int i = 0; i < STAND_INS; i++)
        if (strcmp(stand_ins[i].name, name) == 0) return &stand_ins[i];
    return NULL;
}

static Status open_maker(Maker *maker, int64_t samples, Error *error) {
    const Task *task = maker->task = task_find(maker->stand_in->task);
    const int64_t few = samples / 10 > 10 ? samples / 10 : 10;
    maker->counts[SPLIT_TRAIN] = samples;
    maker->counts[SPLIT_VALIDATION] = maker->counts[SPLIT_TEST] = few;
    maker->options = scratch_open(task->options.bytes + 1);
    option_defaults(&task->options, maker->options);
    if (task->problem(maker->options, &maker->problem, error) != STATUS_OK) return error->status;
    if (task->open && task->open(maker->options, &maker->data, error) != STATUS_OK)
        return error->status;
    sample_open(&maker->problem, &maker->sample);
    return STATUS_OK;
}

static void close_maker(Maker *maker) {
    if (maker->data && maker->task->close) maker->task->close(maker->data);
    sample_close(&maker->sample);
    free(maker->options);
}

/* So that nobody takes them for the real thing. */
static Status write_notice(Maker *maker, Error *error) {
    FILE *file = create(maker, "README", error);
    if (!file) return error->status;
    fprintf(file,
            "%s: generated by longhaul data make (task %s version %d), in the format of: %s.\n"
            "This is not that data set, and results on it cannot be compared with results on it.\n",
            maker->stand_in->name, maker->task->name, maker->task->version,
            maker->stand_in->format);
    return finish(file, "README", error);
}

Status stand_in_make(const StandIn *stand_in, int64_t samples, Error *error) {
    Maker maker = {.stand_in = stand_in};
    char final[PATH_MAX];
    if (path_join(final, data_folder(), stand_in->name, error) != STATUS_OK) return error->status;
    if (file_exists(final))
        return error_set(error, STATUS_USAGE, "%s is there already; remove it to make it again",
                         final);
    if (snprintf(maker.folder, sizeof maker.folder, "%s.%ld" FILE_PARTIAL, final, (long)getpid()) >=
        PATH_MAX)
        return error_set(error, STATUS_IO, "path is too long: %.80s...", final);
    Status status = open_maker(&maker, samples, error);
    if (status == STATUS_OK) status = write_notice(&maker, error);
    if (status == STATUS_OK) status = stand_in->write(&maker, error);
    if (status == STATUS_OK && rename(maker.folder, final) != 0)
        status = error_set(error, STATUS_IO, "renaming %s to %s: %s", maker.folder, final,
                           strerror(errno));
    if (status != STATUS_OK) folder_remove(maker.folder);
    close_maker(&maker);
    return status;
}
