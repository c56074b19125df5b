#include "bench/commands/generate_time.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/common/format.h"
#include "bench/speed/speed.h"
#include "engine/clock.h"
#include "engine/word.h"
#include "tasks/sample.h"

/* What consumes: two default blocks of width 64, in batches of 16. A training step that is expected
 * to take more than this at this rate is not the quickest. */
enum { BATCH = 16 };
static const char *const consumer[][2] = {{"width", "64"}, {"layers", "2"}, {"batch", "16"}};
static const double longest_step = 20, expected_rate = 2e10;

/* Samples a second of one core, drawn in order as training does. */
static Status time_samples(const Cell *cell, uint64_t seed, double seconds, double *rate,
                           Error *error) {
    const Task *task = cell->task;
    Problem problem;
    void *data = NULL;
    Sample sample;
    if (cell_validate(cell, &problem, error) != STATUS_OK) return error->status;
    if (task->open && task->open(cell->task_options, &data, error) != STATUS_OK)
        return error->status;
    const int64_t exist = task->count(cell->task_options, data, SPLIT_TRAIN);
    sample_open(&problem, &sample);
    int64_t drawn = 0;
    const double start = seconds_now();
    double spent = 0;
    /* Samples of one task differ in work (rejection), so at least a batch. */
    for (; drawn < BATCH || spent < seconds; spent = seconds_now() - start, drawn++)
        task->sample(cell->task_options, data, seed, SPLIT_TRAIN, exist ? drawn % exist : drawn,
                     &sample);
    *rate = (double)drawn / spent;
    sample_close(&sample);
    if (task->close && data) task->close(data);
    return STATUS_OK;
}

static Status build_cell(Cell *cell, const Task *task, const Model *model, const Settings *settings,
                         Error *error) {
    Status status = cell_open(cell, task->name, model->name, error);
    if (status != STATUS_OK) return status;
    for (size_t i = 0; i < sizeof consumer / sizeof *consumer && status == STATUS_OK; i++)
        status = cell_set(cell, consumer[i][0], consumer[i][1], error);
    for (int i = 0; i < settings->count && status == STATUS_OK; i++)
        status = cell_set(cell, settings->list[i].key, settings->list[i].value, error);
    if (status != STATUS_OK) cell_close(cell);
    return status;
}

/* Samples a second of the quickest architecture's training; NULL when none can be measured. */
static const char *quickest(const Task *task, const Settings *settings, double seconds,
                            double *rate) {
    int count;
    const Model *const *models = model_list(&count);
    const char *name = NULL;
    *rate = 0;
    for (int m = 0; m < count; m++) {
        Cell cell;
        Speed speed;
        Error cannot = {0};
        if (build_cell(&cell, task, models[m], settings, &cannot) != STATUS_OK) continue;
        const SpeedLimit limit = {seconds, longest_step, expected_rate};
        const bool fine = speed_measure(&speed, &cell, 1, &limit, &cannot) == STATUS_OK;
        const double here = fine ? (double)speed.batch / speed.phase[SPEED_TRAIN].median : 0;
        if (here > *rate) {
            *rate = here;
            name = models[m]->name;
        }
        speed_free(&speed);
        cell_close(&cell);
    }
    return name;
}

static Status time_task(const Task *task, const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    int count;
    double made = 0, consumed;
    Cell cell;
    Problem problem;
    Status status = build_cell(&cell, task, model_list(&count)[0], &invocation->settings, error);
    if (status != STATUS_OK) return status;
    status = time_samples(&cell, (uint64_t)flags->seed, flags->seconds, &made, error);
    if (status == STATUS_OK) status = cell_validate(&cell, &problem, error);
    cell_close(&cell);
    if (status != STATUS_OK) return status;
    const char *model = quickest(task, &invocation->settings, flags->seconds, &consumed);
    char made_text[24], consumed_text[24], ratio[24];
    format_number(NUMBER_SI, made, made_text, sizeof made_text);
    format_number(NUMBER_SI, consumed, consumed_text, sizeof consumed_text);
    format_number(NUMBER_SI, made / consumed, ratio, sizeof ratio);
    printf("%-20s %9lld %10s %10s  %-12s %8s\n", task->name,
           (long long)(problem.sequences * problem.length), made_text, consumed_text,
           model ? model : "-", ratio);
    fflush(stdout);
    return STATUS_OK;
}

Status generate_time(const Invocation *invocation, Error *error) {
    int count, rows = 0, fitting = 0;
    const Task *const *tasks = task_list(&count);
    for (int i = 0; i < count; i++) {
        if (!word_selected(invocation->arguments[0], tasks[i]->name)) continue;
        if (fitting++ == 0)
            printf("%-20s %9s %10s %10s  %-12s %8s\n", "task", "positions", "made / s",
                   "trained / s", "quickest", "ratio");
        Error why = {0};
        if (time_task(tasks[i], invocation, &why) == STATUS_OK)
            rows++;
        else
            fprintf(stderr, "left out %s: %s\n", tasks[i]->name, why.message);
    }
    if (rows > 0) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "nothing to time: '%s' fits %d tasks, none usable",
                     invocation->arguments[0], fitting);
}
