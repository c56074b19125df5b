#include "bench/speed/speed_grid.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/common/terminal.h"
#include "bench/train/interrupt.h"
#include "engine/memory.h"
#include "engine/word.h"

/* Tokens of a training step: enough to fill a micro-batch, few enough for a quick answer. */
enum { STEP_TOKENS = 16384, MOST_VALUES = 32 };

/* Few labels and a small vocabulary: what is measured is the model, not the head. */
static const char *const standard[][2] = {{"task", "mqar"}, {"pairs", "8"}, {"vocabulary", "256"}};
static const char *const standard_lengths = "64,256,1024,4096,16384,65536,131072";

/* As measured by Gu and Dao 2023 (Mamba), arXiv 2312.00752, appendix E.5. */
static const char *const standard_prompts = "2048", *const standard_batches =
                                                        "1,2,4,8,16,32,64,128";

/* Of the peak, expected of a model of which nothing is known yet. */
static const double first_guess = 0.2;

static int parse_list(const char *text, int64_t values[MOST_VALUES]) {
    int count = 0;
    for (const char *at = text; *at && count < MOST_VALUES;) {
        char *end;
        values[count] = strtoll(at, &end, 10);
        if (end == at || (*end && *end != ',') || values[count] < 1) return 0;
        count++;
        at = *end ? end + 1 : end;
    }
    return count;
}

/* The values of an axis: the user's list, or the standard one. */
static Status axis_values(const SpeedRequest *request, const char *key, const char *otherwise,
                          int64_t values[MOST_VALUES], int *count, Error *error) {
    const Setting *setting = settings_find(request->settings, key);
    *count = parse_list(setting ? setting->value : otherwise, values);
    if (*count) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "%s=%s: expected whole numbers from 1 on, at most %d, such as %s=64,128", key,
                     setting->value, MOST_VALUES, key);
}

static Status add_number(Settings *settings, const char *key, int64_t value, Error *error) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return settings_add(settings, key, text, "longhaul speed", error);
}

/* Keys whose values are axes of the grid. */
static bool is_axis(const SpeedRequest *request, const char *key) {
    return strcmp(key, "width") == 0 || strcmp(key, "length") == 0 ||
           (request->generate && strcmp(key, "batch") == 0);
}

/* "heads=4" for every model, "transformer.heads=4" for one. */
static Status add_given(Settings *settings, const SpeedRequest *request, const char *model,
                        Error *error) {
    const size_t length = strlen(model);
    for (int i = 0; i < request->settings->count; i++) {
        const Setting *given = &request->settings->list[i];
        const char *key = given->key, *dot = strchr(key, '.');
        if (is_axis(request, key)) continue;
        if (dot && (strncmp(key, model, length) != 0 || key[length] != '.')) continue;
        if (settings_add(settings, dot ? dot + 1 : key, given->value, given->source, error))
            return error->status;
    }
    return STATUS_OK;
}

static Status row_cell(const SpeedRow *row, const SpeedRequest *request, Cell *cell, Error *error) {
    Settings settings = {0};
    const int64_t length = row->length ? row->length : STEP_TOKENS;
    const int64_t fitting = length < STEP_TOKENS ? STEP_TOKENS / length : 1;
    /* Another task brings its own defaults. */
    const bool own_task = settings_find(request->settings, "task");
    Status status = settings_add(&settings, "model", row->model, "--model", error);
    for (size_t i = 0; i < 3 && !own_task && status == STATUS_OK; i++)
        status = settings_add(&settings, standard[i][0], standard[i][1], "longhaul speed", error);
    if (status == STATUS_OK && row->length)
        status = add_number(&settings, "batch", row->batch ? row->batch : fitting, error);
    if (status == STATUS_OK) status = add_given(&settings, request, row->model, error);
    if (status == STATUS_OK) status = add_number(&settings, "width", row->width, error);
    if (status == STATUS_OK && row->length)
        status = add_number(&settings, "length", row->length + request->generate, error);
    if (status == STATUS_OK) status = cell_build(cell, &settings, error);
    settings_free(&settings);
    return status;
}

/* The rate of the length before of the same model, which is the best guess there is. */
static double expected_rate(const SpeedReport *report, const SpeedRow *row) {
    const SpeedRow *before = row - 1;
    if (row > report->rows && strcmp(before->model, row->model) == 0 && !before->skipped[0] &&
        before->width == row->width)
        return before->speed.flops /
               before->speed.phase[report->generated ? SPEED_GENERATE : SPEED_TRAIN].median;
    return first_guess * speed_peak(report);
}

/* The peak is what the machine could do at its best moment so far. */
static void raise_peak(SpeedReport *report) {
    if (report->gpu[0] || report->generated) return;
    const double all = ceiling_probe(isa_best()) * report->threads;
    if (all > report->ceiling.flops) report->ceiling.flops = all;
}

static void measure_row(const SpeedReport *report, const SpeedRequest *request, SpeedRow *row) {
    Error error = {0};
    Cell cell = {0};
    const SpeedLimit limit = {request->seconds, request->limit, expected_rate(report, row)};
    Status status = row_cell(row, request, &cell, &error);
    snprintf(cell.device, sizeof cell.device, "%s", request->device);
    if (status == STATUS_OK && request->generate)
        status =
            speed_generate(&row->speed, &cell, request->threads, request->generate, &limit, &error);
    else if (status == STATUS_OK)
        status = speed_measure(&row->speed, &cell, request->threads, &limit, &error);
    if (status == STATUS_OK) row->length = row->speed.length;
    if (status != STATUS_OK) snprintf(row->skipped, sizeof row->skipped, "%s", error.message);
    cell_close(&cell);
}

/* A task without a length to choose is measured at the one it has. */
static bool length_is_free(const SpeedRequest *request) {
    const Setting *setting = settings_find(request->settings, "task");
    const Task *task = setting ? task_find(setting->value) : NULL;
    return !task || option_find(&task->options, "length");
}

/* One row for each model that the pattern lets through, width, length and batch. */
static Status select_rows(SpeedReport *report, const SpeedRequest *request, Error *error) {
    int64_t widths[MOST_VALUES], lengths[MOST_VALUES], batches[MOST_VALUES] = {0};
    int width_count, length_count, batch_count = 1, model_count;
    if (axis_values(request, "width", "64", widths, &width_count, error) != STATUS_OK ||
        axis_values(request, "length", request->generate ? standard_prompts : standard_lengths,
                    lengths, &length_count, error) != STATUS_OK)
        return error->status;
    if (request->generate &&
        axis_values(request, "batch", standard_batches, batches, &batch_count, error) != STATUS_OK)
        return error->status;
    if (!length_is_free(request) && !settings_find(request->settings, "length")) {
        if (request->generate)
            return error_set(error, STATUS_USAGE,
                             "--generate needs prompts of a length that can be chosen, and the "
                             "task has one of its own; use another, such as mqar or lm_synthetic");
        lengths[0] = 0;
        length_count = 1;
    }
    const Model *const *models = model_list(&model_count);
    report->rows = memory_take_zeroed(
        (size_t)(model_count * width_count * length_count * batch_count), sizeof *report->rows);
    for (int m = 0; m < model_count; m++) {
        if (!word_selected(request->models, models[m]->name)) continue;
        for (int w = 0; w < width_count; w++)
            for (int k = 0; k < length_count * batch_count; k++) {
                SpeedRow *row = &report->rows[report->count++];
                row->width = widths[w];
                row->length = lengths[k / batch_count];
                row->batch = batches[k % batch_count];
                snprintf(row->model, sizeof row->model, "%s", models[m]->name);
            }
    }
    if (report->count) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "no model fits --model '%s'; see `longhaul list models`",
                     request->models);
}

static void describe(SpeedReport *report, const SpeedRequest *request) {
    const Setting *task = settings_find(request->settings, "task");
    snprintf(report->task, sizeof report->task, "%.60s", task ? task->value : standard[0][1]);
    snprintf(report->against, sizeof report->against, "%.60s", request->against);
    size_t used = 0;
    for (int i = 0; i < request->settings->count && used < sizeof report->setting; i++) {
        const Setting *given = &request->settings->list[i];
        if (is_axis(request, given->key) || !strcmp(given->key, "task")) continue;
        const int length = snprintf(report->setting + used, sizeof report->setting - used,
                                    "%s%s=%s", used ? " " : "", given->key, given->value);
        used += (size_t)(length > 0 ? length : 0);
    }
}

static Status measure_peak(SpeedReport *report, const SpeedRequest *request, Error *error) {
    Device device;
    if (device_open(&device, request->device, error) != STATUS_OK) return error->status;
    const DeviceRemote *remote = device.kind->remote;
    Status status = STATUS_OK;
    if (remote) {
        device.kind->describe(&device, report->gpu, sizeof report->gpu);
        status = remote->ceiling(&device, &report->ceiling, error);
    } else {
        ceiling_measure(&report->ceiling, isa_best(), request->threads);
    }
    device_close(&device);
    return status;
}

/* What the user asked for, or the default; a wrong value is refused with every cell. */
static Products products_of(const SpeedRequest *request) {
    const Setting *setting = settings_find(request->settings, "products");
    for (int i = 0; setting && i < PRODUCTS_COUNT; i++)
        if (strcmp(setting->value, products_name((Products)i)) == 0) return (Products)i;
    return PRODUCTS_FLOAT;
}

static void show_progress(const SpeedRow *row, int number, int wanted) {
    char line[192], batch[32] = "";
    if (row->batch) snprintf(batch, sizeof batch, ", batch %lld", (long long)row->batch);
    snprintf(line, sizeof line, "[%d/%d] %s, width %lld, length %lld%s", number, wanted, row->model,
             (long long)row->width, (long long)row->length, batch);
    terminal_status(line);
}

Status speed_grid(SpeedReport *report, const SpeedRequest *request, Error *error) {
    *report = (SpeedReport){.threads = request->threads,
                            .generated = request->generate,
                            .products = products_of(request)};
    if (!model_find(request->against))
        return error_set(error, STATUS_USAGE,
                         "--against %s: no such model; see `longhaul list "
                         "models`",
                         request->against);
    if (select_rows(report, request, error) != STATUS_OK) return error->status;
    describe(report, request);
    if (measure_peak(report, request, error) != STATUS_OK) return error->status;
    interrupt_install();
    int measured = 0;
    const int wanted = report->count;
    for (int i = 0; i < wanted; i++) {
        SpeedRow *row = &report->rows[i];
        if (request->progress) show_progress(row, i + 1, wanted);
        measure_row(report, request, row);
        raise_peak(report);
        if (request->progress) terminal_status("");
        measured += !row->skipped[0];
        if (request->row_done) request->row_done(report, row);
        if (!interrupt_asked() || i + 1 == wanted) continue;
        report->count = i + 1;
        return error_set(error, STATUS_INTERRUPTED, "interrupted after %d of %d cases", i + 1,
                         wanted);
    }
    if (measured) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "no case could be measured; the first: %.900s",
                     report->rows[0].skipped);
}

void speed_report_free(SpeedReport *report) {
    for (int i = 0; i < report->count; i++) speed_free(&report->rows[i].speed);
    free(report->rows);
    *report = (SpeedReport){0};
}

bool speed_has_phase(const SpeedReport *report, SpeedPhase phase) {
    if (phase == SPEED_DECODE) return true;
    return (phase == SPEED_GENERATE) == (report->generated > 0);
}

double speed_peak(const SpeedReport *report) {
    const double matrix = report->ceiling.matrix[report->products];
    return matrix > 0 ? matrix : report->ceiling.flops;
}

double speed_utilisation(const SpeedReport *report, const SpeedRow *row) {
    return row->speed.flops / row->speed.phase[SPEED_TRAIN].median / speed_peak(report);
}
