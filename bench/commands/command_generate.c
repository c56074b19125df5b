/* longhaul generate: samples of a task, to look at or to use elsewhere. */
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/cli/command.h"
#include "bench/commands/generate_time.h"
#include "bench/common/show.h"
#include "bench/common/terminal.h"
#include "engine/file.h"
#include "engine/memory.h"
#include "engine/safetensors.h"
#include "engine/word.h"
#include "tasks/png_file.h"
#include "tasks/sample.h"
#include "tasks/sampling.h"

/* A task with its options and data, and what the user wants to see of it. */
typedef struct Display {
    const Task *task;
    void *options, *data;
    Problem problem;
    uint64_t seed;
    Split split;
    int64_t first, samples;
} Display;

static Status find_task(Display *display, const char *name, Error *error) {
    display->task = task_find(name);
    if (display->task) return STATUS_OK;
    Nearest nearest = {.wanted = name};
    int count;
    const Task *const *tasks = task_list(&count);
    for (int i = 0; i < count; i++) nearest_offer(&nearest, tasks[i]->name);
    char advice[128];
    nearest_advice(&nearest, advice, sizeof advice);
    return error_set(error, STATUS_USAGE, "unknown task '%s'%s (longhaul list tasks)", name,
                     advice);
}

static Status open_display(Display *display, const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    if (find_task(display, invocation->arguments[0], error) != STATUS_OK) return error->status;
    const Task *task = display->task;
    display->seed = (uint64_t)flags->seed;
    display->split = flag_split(flags, SPLIT_TRAIN);
    display->first = flags->first;
    display->samples = flags->n;
    display->options = scratch_open(task->options.bytes);
    option_defaults(&task->options, display->options);
    for (int i = 0; i < invocation->settings.count; i++) {
        const Setting *setting = &invocation->settings.list[i];
        if (option_set(&task->options, display->options, setting->key, setting->value, error) !=
            STATUS_OK)
            return error_context(error, "task %s", task->name);
    }
    if (task->problem(display->options, &display->problem, error) != STATUS_OK)
        return error->status;
    display->problem = problem_for(&display->problem, display->split);
    if (task->open && task->open(display->options, &display->data, error) != STATUS_OK)
        return error->status;
    const int64_t exist = task->count(display->options, display->data, display->split);
    if (exist == 0) return STATUS_OK;
    if (display->first >= exist)
        return error_set(error, STATUS_USAGE,
                         "--first %lld: the %s split of %s has samples 0 to %lld",
                         (long long)display->first, split_name(display->split), task->name,
                         (long long)exist - 1);
    if (display->samples > exist - display->first) display->samples = exist - display->first;
    return STATUS_OK;
}

static void close_display(Display *display) {
    if (display->data && display->task->close) display->task->close(display->data);
    free(display->options);
}

static void draw(const Display *display, int64_t i, Sample *sample) {
    display->task->sample(display->options, display->data, display->seed, display->split,
                          display->first + i, sample);
}

static void print_picture(const Display *display, const Sample *sample, int columns, FILE *file) {
    uint8_t *grey = scratch_open((size_t)display->problem.length);
    const int64_t width = display->task->picture(display->options, sample, grey);
    show_picture(file, grey, width, display->problem.length / width, columns);
    fprintf(file, "class %d of %lld\n", sample->classes[0], (long long)display->problem.classes);
    free(grey);
}

static void print_samples(const Display *display, int columns, FILE *file) {
    Sample sample;
    sample_open(&display->problem, &sample);
    const ShownTask shown = {display->task, display->options, display->data, &display->problem};
    for (int64_t i = 0; i < display->samples; i++) {
        draw(display, i, &sample);
        int64_t labels = 0;
        for (int64_t j = 0; j < display->problem.labels; j++) labels += sample.weights[j] != 0;
        fprintf(file, "%s%s, %s sample %lld, seed %llu: %d positions, %lld labelled\n",
                i > 0 ? "\n" : "", display->task->name, split_name(display->split),
                (long long)(display->first + i), (unsigned long long)display->seed,
                sample.lengths[0], (long long)labels);
        if (display->task->picture)
            print_picture(display, &sample, columns, file);
        else
            show_sample(file, &shown, &sample, columns);
    }
    sample_close(&sample);
}

static Status write_text(const Display *display, const char *path, Error *error) {
    enum { COLUMNS = 100 };
    char *text = NULL;
    size_t bytes = 0;
    FILE *memory = memory_stream(&text, &bytes);
    print_samples(display, COLUMNS, memory);
    fclose(memory);
    const Status status = file_write(path, text, bytes, error);
    free(text);
    if (status == STATUS_OK)
        fprintf(stderr, "%s: %lld samples\n", path, (long long)display->samples);
    return status;
}

/* A float or integer array of all samples, one row each. */
typedef struct Column {
    const char *name;
    SafetensorType type;
    int64_t items;
    bool used;
    size_t field; /* offset of the pointer in Sample */
} Column;

static Status write_samples(const Display *display, const char *path, Error *error) {
    const Problem *p = &display->problem;
    const bool reals = p->input == INPUT_REALS;
    const bool values = p->target == TARGET_REAL || p->target == TARGET_REALS;
    const int64_t positions = p->sequences * p->length;
    const Column columns[] = {
        {"tokens", SAFETENSOR_I32, positions, !reals, offsetof(Sample, tokens)},
        {"reals", SAFETENSOR_F32, positions * p->channels, reals, offsetof(Sample, reals)},
        {"lengths", SAFETENSOR_I32, p->sequences, true, offsetof(Sample, lengths)},
        {"positions", SAFETENSOR_I32, p->labels, true, offsetof(Sample, positions)},
        {"classes", SAFETENSOR_I32, p->labels, !values, offsetof(Sample, classes)},
        {"weights", SAFETENSOR_F32, p->labels, true, offsetof(Sample, weights)},
        {"values", SAFETENSOR_F32, p->labels, values, offsetof(Sample, value)},
    };
    enum { COLUMNS = sizeof columns / sizeof *columns };
    Safetensor tensors[COLUMNS];
    char *memory[COLUMNS];
    int count = 0;
    Sample sample;
    sample_open(p, &sample);
    for (int c = 0; c < COLUMNS; c++)
        if (columns[c].used) {
            memory[count] = scratch_open((size_t)(display->samples * columns[c].items) * 4);
            tensors[count] = (Safetensor){columns[c].name, columns[c].type,
                                          SHAPE(display->samples, columns[c].items), memory[count]};
            count++;
        }
    for (int64_t i = 0; i < display->samples; i++) {
        draw(display, i, &sample);
        for (int c = 0, used = 0; c < COLUMNS; c++) {
            if (!columns[c].used) continue;
            const void *from = *(void *const *)((const char *)&sample + columns[c].field);
            const size_t bytes = (size_t)columns[c].items * 4;
            memcpy(memory[used++] + (size_t)i * bytes, from, bytes);
        }
    }
    const SafetensorNote notes[] = {{"task", display->task->name},
                                    {"split", split_name(display->split)}};
    const Status status = safetensors_write(path, tensors, count, notes, 2, error);
    for (int c = 0; c < count; c++) free(memory[c]);
    sample_close(&sample);
    if (status == STATUS_OK)
        fprintf(stderr, "%s: %lld samples\n", path, (long long)display->samples);
    return status;
}

/* All pictures on one sheet, row by row, with a grey line between them. Small ones are enlarged so
 * that one can see them. */
static Status write_sheet(const Display *display, const char *path, Error *error) {
    enum { LINE = 2, LINE_GREY = 96, SEEN = 128 };
    if (!display->task->picture)
        return error_set(error, STATUS_USAGE,
                         "task %s has no pictures, so %s cannot be written; without --show, "
                         "samples are shown as text, and --output NAME.safetensors or NAME.txt "
                         "writes them",
                         display->task->name, path);
    Sample sample;
    sample_open(&display->problem, &sample);
    const int64_t width = display->task->picture(display->options, &sample, NULL);
    const int64_t height = display->problem.length / width;
    const int64_t zoom = width < SEEN ? SEEN / width : 1;
    int64_t across = 1;
    while (across * across < display->samples) across++;
    const int64_t down = (display->samples + across - 1) / across;
    const int64_t sheet_width = across * (zoom * width + LINE) - LINE;
    const int64_t sheet_height = down * (zoom * height + LINE) - LINE;
    uint8_t *sheet = scratch_open((size_t)(sheet_width * sheet_height));
    uint8_t *grey = scratch_open((size_t)(width * height));
    memset(sheet, LINE_GREY, (size_t)(sheet_width * sheet_height));
    for (int64_t i = 0; i < display->samples; i++) {
        draw(display, i, &sample);
        display->task->picture(display->options, &sample, grey);
        const int64_t top = i / across * (zoom * height + LINE);
        uint8_t *corner = sheet + top * sheet_width + i % across * (zoom * width + LINE);
        for (int64_t y = 0; y < zoom * height; y++)
            for (int64_t x = 0; x < zoom * width; x++)
                corner[y * sheet_width + x] = grey[y / zoom * width + x / zoom];
    }
    const Status status = png_write(path, (int)sheet_width, (int)sheet_height, sheet, error);
    free(grey);
    free(sheet);
    sample_close(&sample);
    if (status == STATUS_OK)
        fprintf(stderr, "%s: %lld samples\n", path, (long long)display->samples);
    return status;
}

static bool ends_in(const char *text, const char *end) {
    return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

/* Where the contact sheet goes when no file was named. */
static Status sheet_path(const Invocation *invocation, char path[PATH_MAX], Error *error) {
    const Flags *flags = &invocation->flags;
    if (flags->output[0]) {
        snprintf(path, PATH_MAX, "%s", flags->output);
        return STATUS_OK;
    }
    char name[96];
    snprintf(name, sizeof name, "%.80s.png", invocation->arguments[0]);
    const Status status = folder_make(flags->plots, error);
    return status == STATUS_OK ? path_join(path, flags->plots, name, error) : status;
}

static Status write_output(const Display *display, const char *output, Error *error) {
    if (ends_in(output, ".png")) return write_sheet(display, output, error);
    if (ends_in(output, ".txt")) return write_text(display, output, error);
    if (ends_in(output, ".safetensors")) return write_samples(display, output, error);
    return error_set(error, STATUS_USAGE,
                     "--output %s: the name says what is written; expected NAME.safetensors "
                     "(arrays), NAME.txt (as shown here) or NAME.png (pictures)",
                     output);
}

static Status generate(const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    if (flags->time) return generate_time(invocation, error);
    Display display = {0};
    char path[PATH_MAX];
    Status status = open_display(&display, invocation, error);
    if (status == STATUS_OK && flags->show) {
        status = sheet_path(invocation, path, error);
        if (status == STATUS_OK) status = write_sheet(&display, path, error);
    } else if (status == STATUS_OK && flags->output[0]) {
        status = write_output(&display, flags->output, error);
    } else if (status == STATUS_OK) {
        print_samples(&display, terminal_columns(STDOUT_FILENO, 100), stdout);
    }
    close_display(&display);
    return status;
}

const Command command_generate = {
    .name = "generate",
    .arguments = "TASK",
    .summary = "samples of a task: tokens with targets below them, or a file",
    .detail = "Settings are the task's own (longhaul list settings). A position without a target "
              "does not count; rows without any have no target line; '*' stands for rows like the "
              "one above. --output NAME.safetensors writes arrays instead, one row for each "
              "sample: tokens or reals, lengths, positions, classes or values, weights; NAME.txt "
              "the text, NAME.png a sheet of pictures, as --show does. --time tells samples a "
              "second for each task that fits TASK ('*': all), one core, and how often the "
              "quickest architecture (two default blocks of width 64) could be fed.",
    .flags = "first n output plots seconds seed show split time",
    .least_arguments = 1,
    .most_arguments = 1,
    .takes_settings = true,
    .run = generate,
};
