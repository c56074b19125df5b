/* Pathfinder and, at 128 x 128 pixels, Path-X: do two discs lie on the same dashed curve? The image
 * is read pixel by pixel.
 *
 * Source: Linsley et al. 2018, "Learning long-range spatial dependencies with horizontal gated
 * recurrent units", arXiv 1805.08315; as sequences Tay et al. 2021, "Long Range Arena", arXiv
 * 2011.04006: 32 x 32 (1,024 positions), 128 x 128 (16,384), contours of 14 dashes (level hard).
 * Generated images follow the published program pixel for pixel in law, a quirk included: on the
 * small sizes most orientations cannot start a curve, because of how its dilation treats the edge,
 * so first dashes point up and left and most distractors find no place. source=files reads the
 * released images, split 80/10/10 in their order.
 *
 * Pixels are numbers in [0, 1] (S4's released settings; Gu et al. 2022), in [-1, 1] (the code of
 * DSS, Liquid-S4, S5 and Mega) or tokens 0 .. 255 (Long Range Arena). */
#include <stdio.h>
#include <stdlib.h>

#include "tasks/data.h"
#include "tasks/labels.h"
#include "tasks/pathfinder.h"
#include "tasks/pathfinder_files.h"
#include "tasks/png_file.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

enum { DIFFICULTY_TOY = 3 }; /* index of the choice */
typedef enum Source { SOURCE_GENERATED, SOURCE_FILES } Source;
typedef enum Pixels { PIXELS_REAL, PIXELS_TOKEN, PIXELS_CENTRED } Pixels;

typedef struct PathfinderOptions {
    int size, difficulty, source, pixels;
} PathfinderOptions;

static const int sizes[] = {32, 64, 128, 256};
static const int contours[] = {14, 9, 6, 3};

static const Option options[] = {
    {"size", OPTION_CHOICE, offsetof(PathfinderOptions, size), "32", 0, -1, "32|64|128|256",
     "pixels along an edge; 128 is Path-X"},
    {"difficulty", OPTION_CHOICE, offsetof(PathfinderOptions, difficulty), "hard", 0, -1,
     "hard|intermediate|easy|toy",
     "curves of 14, 9 or 6 dashes; toy is ours, not published: 3 dashes, nothing else in sight"},
    {"source", OPTION_CHOICE, offsetof(PathfinderOptions, source), "generated", 0, -1,
     "generated|files", "fresh images, or the Long Range Arena's files"},
    {"pixels", OPTION_CHOICE, offsetof(PathfinderOptions, pixels), "real", 0, -1,
     "real|token|centred", "numbers in [0, 1], ids 0 to 255, or numbers in [-1, 1]"},
};

static Status pathfinder_problem(const void *values, Problem *problem, Error *error) {
    const PathfinderOptions *o = values;
    if (o->source == SOURCE_FILES && o->difficulty == DIFFICULTY_TOY)
        return error_set(error, STATUS_USAGE,
                         "task pathfinder: difficulty=toy was never released as files; use "
                         "source=generated, or difficulty=easy");
    const int64_t size = sizes[o->size];
    const bool tokens = o->pixels == PIXELS_TOKEN;
    *problem = (Problem){
        .input = tokens ? INPUT_TOKENS : INPUT_REALS,
        .vocabulary = tokens ? 256 : 0,
        .channels = tokens ? 0 : 1,
        .length = size * size,
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

typedef struct PathfinderData {
    Pathfinder *generator; /* or NULL */
    Records records;
} PathfinderData;

static void close_data(void *data) {
    PathfinderData *d = data;
    if (d->generator) pathfinder_close(d->generator);
    records_free(&d->records);
    free(d);
}

/* First image of a split: 80, 10 and 10 % of the files. */
static int64_t split_start(int64_t count, int split) {
    static const int tenths[] = {0, 8, 9, 10};
    return count * tenths[split] / 10;
}

static Status read_files(const PathfinderOptions *o, Records *records, Error *error) {
    static const char *const levels[] = {"curv_contour_length_14", "curv_contour_length_9",
                                         "curv_baseline"};
    char name[64], folder[PATH_MAX];
    snprintf(name, sizeof name, "pathfinder%d/%s", sizes[o->size], levels[o->difficulty]);
    if (data_find("pathfinder", name, DATA_FOLDER, folder, error) != STATUS_OK)
        return error->status;
    if (pathfinder_read(folder, sizes[o->size], records, error) != STATUS_OK) return error->status;
    const int64_t count = records->count;
    if (split_start(count, SPLIT_TEST) > split_start(count, SPLIT_VALIDATION)) return STATUS_OK;
    return error_set(
        error, STATUS_DATA,
        "%s: %lld images, of which no tenth can be for validation; expected 10 or more", folder,
        (long long)count);
}

static Status pathfinder_open_data(const void *values, void **data, Error *error) {
    const PathfinderOptions *o = values;
    PathfinderData *d = scratch_open(sizeof *d);
    if (o->source == SOURCE_GENERATED)
        d->generator = pathfinder_open(sizes[o->size], contours[o->difficulty]);
    else if (read_files(o, &d->records, error) != STATUS_OK) {
        close_data(d);
        return error->status;
    }
    *data = d;
    return STATUS_OK;
}

static int64_t pathfinder_count(const void *values, const void *data, Split split) {
    const PathfinderOptions *o = values;
    if (o->source == SOURCE_GENERATED) return 0;
    const int64_t count = ((const PathfinderData *)data)->records.count;
    return split_start(count, (int)split + 1) - split_start(count, (int)split);
}

/* A grey level of 0 to 1 as the input that it becomes, and back. */
static float from_grey(int pixels, float level) {
    return pixels == PIXELS_CENTRED ? 2 * level - 1 : level;
}
static float to_grey(int pixels, float input) {
    return pixels == PIXELS_CENTRED ? (input + 1) / 2 : input;
}

extern const Task task_pathfinder;

static void pathfinder_sample(const void *values, const void *data, uint64_t seed, Split split,
                              int64_t index, Sample *sample) {
    const PathfinderOptions *o = values;
    const PathfinderData *d = data;
    const int size = sizes[o->size], pixels = size * size;
    uint8_t *grey = scratch_open((size_t)pixels);
    int label;
    if (o->source == SOURCE_GENERATED) {
        Random random = task_random(&task_pathfinder, seed, split, index);
        label = pathfinder_draw(d->generator, &random, grey, NULL);
    } else {
        const int64_t record = split_start(d->records.count, (int)split) + index;
        Error error = {0};
        label = d->records.classes[record];
        if (png_decode(record_bytes(&d->records, record),
                       (size_t)record_length(&d->records, record), size, size, grey,
                       &error) != STATUS_OK) {
            error_context(&error, "Pathfinder image %lld", (long long)record);
            data_damaged(&error);
        }
    }
    for (int i = 0; i < pixels; i++) {
        if (o->pixels == PIXELS_TOKEN)
            sample->tokens[i] = grey[i];
        else
            sample->reals[i] = from_grey(o->pixels, (float)grey[i] / 255.0f);
    }
    free(grey);
    label_set(sample, 0, pixels - 1, label);
    sample->lengths[0] = pixels;
}

static int64_t pathfinder_picture(const void *values, const Sample *sample, uint8_t *grey) {
    const PathfinderOptions *o = values;
    const int64_t size = sizes[o->size];
    for (int64_t i = 0; grey && i < size * size; i++)
        grey[i] = o->pixels == PIXELS_TOKEN
                      ? (uint8_t)sample->tokens[i]
                      : (uint8_t)(to_grey(o->pixels, sample->reals[i]) * 255.0f + 0.5f);
    return size;
}

const Task task_pathfinder = {
    .name = "pathfinder",
    .title = "Pathfinder and Path-X (Long Range Arena)",
    .paper = "Linsley et al. 2018, arXiv 1805.08315; Tay et al. 2021, arXiv 2011.04006",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(PathfinderOptions)},
    .problem = pathfinder_problem,
    .open = pathfinder_open_data,
    .close = close_data,
    .count = pathfinder_count,
    .sample = pathfinder_sample,
    .picture = pathfinder_picture,
};
