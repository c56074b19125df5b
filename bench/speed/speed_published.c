#include "bench/speed/speed_published.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/common/csv.h"
#include "bench/common/home.h"
#include "engine/memory.h"

/* Quantities whose unit can be turned into ours. scale: to seconds, bytes or tokens a second. */
static const struct {
    const char *task, *metric;
    SpeedMeasure measure;
    double scale;
    bool needs_batch;   /* else the point cannot be placed */
    bool a_batch;       /* the value is for batch x length tokens */
    const char *length; /* word before the length */
    const char *what;   /* was measured, in a few words beside the citation */
} quantities[] = {
    {"attention time", "ms", MEASURE_TRAIN_TOKEN, 1e-3, true, true, "length ",
     "one attention layer, A100"},
    {"inference throughput", "tokens/s", MEASURE_GENERATION, 1, true, false, "prompt ",
     "models of 1.3B, GPU"},
    {"attention memory", "MB", MEASURE_MEMORY, 1e6, false, false, "length ",
     "one attention layer, batch 16, A100"},
};
enum { QUANTITIES = sizeof quantities / sizeof *quantities };

/* Which of our architectures their implementation is one of. */
static const struct {
    const char *theirs, *ours;
} implementations[] = {
    {"standard attention", "transformer"},
    {"PyTorch attention", "transformer"},
    {"FlashAttention", "transformer"},
    {"Transformer 1.3B", "transformer"},
    {"Hybrid H3 1.3B", "h3"},
    {"Linformer", "linformer"},
};
enum { IMPLEMENTATIONS = sizeof implementations / sizeof *implementations };

/* The number after a word: 1024 of "batch 16, length 1024"; 0 when there is none. */
static int64_t number_after(const char *text, const char *word) {
    const char *at = strstr(text, word);
    return at ? strtoll(at + strlen(word), NULL, 10) : 0;
}

static bool read_point(const Csv *csv, int row, SpeedPoint *point) {
    const char *task = csv_cell(csv, row, "task"), *metric = csv_cell(csv, row, "metric");
    const char *model = csv_cell(csv, row, "model"), *setting = csv_cell(csv, row, "setting");
    const char *params = csv_cell(csv, row, "params"), *source = csv_cell(csv, row, "source");
    const char *value = csv_cell(csv, row, "value");
    if (!task || !metric || !model || !setting || !params || !source || !value) return false;
    int q = 0, m = 0;
    while (q < QUANTITIES &&
           (strcmp(task, quantities[q].task) || strcmp(metric, quantities[q].metric)))
        q++;
    while (m < IMPLEMENTATIONS && strcmp(model, implementations[m].theirs) != 0) m++;
    char *end;
    const double number = strtod(value, &end);
    if (q == QUANTITIES || m == IMPLEMENTATIONS || end == value || *end || !(number > 0))
        return false;
    int64_t batch = number_after(setting, "batch ");
    if (!batch) batch = number_after(params, "batch ");
    *point = (SpeedPoint){.measure = quantities[q].measure,
                          .length = number_after(setting, quantities[q].length),
                          .batch = batch,
                          .generated = number_after(setting, "generate "),
                          .value = number * quantities[q].scale};
    if (!point->length || (quantities[q].needs_batch && !batch)) return false;
    if (quantities[q].a_batch) point->value /= (double)(batch * point->length);
    const char *aside = strstr(source, ", read in");
    snprintf(point->citation, sizeof point->citation, "%.*s (%s)",
             (int)(aside ? aside - source : (ptrdiff_t)strlen(source)), source, quantities[q].what);
    snprintf(point->theirs, sizeof point->theirs, "%s", model);
    snprintf(point->model, sizeof point->model, "%s", implementations[m].ours);
    return true;
}

Status speed_published_read(SpeedPublished *published, Error *error) {
    *published = (SpeedPublished){0};
    char path[PATH_MAX];
    Csv csv;
    if (home_path("results/published/speed.csv", path, sizeof path, error) != STATUS_OK)
        return error->status;
    const Status status = csv_read(path, &csv, error);
    if (status == STATUS_OK) {
        published->points = memory_take_zeroed((size_t)csv.rows + 1, sizeof *published->points);
        for (int row = 0; row < csv.rows; row++)
            published->count += read_point(&csv, row, &published->points[published->count]);
    }
    csv_free(&csv);
    return status;
}

void speed_published_free(SpeedPublished *published) {
    free(published->points);
    *published = (SpeedPublished){0};
}
