#include "bench/report/published.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/common/csv.h"
#include "bench/common/home.h"
#include "engine/memory.h"
#include "engine/option.h"

/* The source up to where it begins to tell how it was read: "..., Fig. 2 (figure stored in ...", or
 * to the end of the brackets in which the paper's number stands. Of a file in a repository, "repo
 * OWNER/NAME, folder/file (2025 update)", the repository and the file's name without folders. */
static void short_citation(const char *source, char *citation, size_t size) {
    const char *comma = strchr(source, ','), *file = strrchr(source, '/');
    if (!strncmp(source, "repo ", strlen("repo ")) && comma && file > comma) {
        snprintf(citation, size, "%.*s, %s", (int)(comma - source - (int)strlen("repo ")),
                 source + strlen("repo "), file + 1);
        return;
    }
    static const char *const asides[] = {" (", ", as listed", ", read in", ") "};
    const char *number = strstr(source, "arXiv");
    size_t length = strlen(source);
    for (size_t i = 0; number && i < sizeof asides / sizeof *asides; i++) {
        const char *aside = strstr(number, asides[i]);
        const size_t kept = aside ? (size_t)(aside - source) + (*asides[i] == ')') : length;
        if (kept < length) length = kept;
    }
    snprintf(citation, size, "%.*s", (int)length, source);
}

/* What a perplexity is of: bits per character stand for bytes; NULL where the source does not say.
 * Perplexities of different tokens are never compared. */
static const char *unit_of(const char *metric, const char *setting, bool bits) {
    if (bits) return "byte";
    if (strstr(metric, "word") || strstr(setting, "word")) return "word";
    return strstr(setting, "GPT-2 tokenizer") ? "bpe" : NULL;
}

/* The number of a row on the scale of our metric; false for rows about something else. */
static bool read_value(const char *metric, const char *setting, double number,
                       PublishedPoint *point) {
    const char *accuracy = strstr(metric, "accuracy");
    if (accuracy) {
        point->value = strchr(accuracy, '%') ? number / 100 : number;
        point->scaled = strstr(metric, "scaled") != NULL;
        snprintf(point->metric, sizeof point->metric, "accuracy");
        return true;
    }
    const bool bits = strstr(metric, "test bpc"), perplexity = strstr(metric, "test ppl");
    const char *unit = unit_of(metric, setting, bits);
    if ((!bits && !perplexity) || !unit) return false;
    point->value = bits ? exp2(number) : number;
    snprintf(point->metric, sizeof point->metric, "perplexity");
    snprintf(point->unit, sizeof point->unit, "%s", unit);
    return true;
}

static PublishedReading reading_of(const char *setting) {
    if (strstr(setting, "bidirectional")) return READS_BOTH_WAYS;
    return strstr(setting, "causal") ? READS_CAUSALLY : READS_UNSTATED;
}

/* "trained at 256, tested at 2^14": 16384; 0 when the setting says nothing of the kind. */
static int64_t tested_at(const char *setting) {
    const char *words = strstr(setting, "tested at 2^");
    const long power = words ? strtol(words + strlen("tested at 2^"), NULL, 10) : 0;
    return power > 0 && power < 40 ? (int64_t)1 << power : 0;
}

/* "recurrent state 2^12.5 bytes", "state size 9400": bytes, 0 when the setting says nothing of the
 * kind. The second form is Zoology's later figure, whose axis has no unit; what both figures have
 * (attention, H3, Mamba) stands at the same numbers. */
static double state_bytes(const char *setting) {
    static const char *const words[] = {"recurrent state ", "state size "};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *at = strstr(setting, words[i]);
        if (!at) continue;
        char *end;
        const double number = strtod(at + strlen(words[i]), &end);
        const double bytes = *end == '^' ? pow(number, strtod(end + 1, NULL)) : number;
        return isfinite(bytes) ? bytes : 0;
    }
    return 0;
}

/* False for rows that are about something else than a measured quality. */
static bool read_point(const Csv *csv, int row, PublishedPoint *point) {
    const char *metric = csv_cell(csv, row, "metric"), *value = csv_cell(csv, row, "value"),
               *setting = csv_cell(csv, row, "setting"), *model = csv_cell(csv, row, "model");
    double number = NAN;
    *point = (PublishedPoint){.failed = !strcmp(value, "FAIL") || !strcmp(value, "X")};
    if (!point->failed && !number_parse(value, &number)) return false;
    if (!read_value(metric, setting, number, point)) return false;
    if (!point->failed && !isfinite(point->value)) return false; /* 1e6 bits are no perplexity */
    published_name(csv_cell(csv, row, "task"), point->task);
    point->test_length = tested_at(setting);
    point->state_bytes = state_bytes(setting);
    point->reading = reading_of(setting);
    short_citation(csv_cell(csv, row, "source"), point->citation, sizeof point->citation);
    snprintf(point->theirs, sizeof point->theirs, "%s", model);
    published_model(model, point->model, point->needs);
    published_facts(csv_cell(csv, row, "params"), setting, point->facts);
    point->uncertain = strstr(csv_cell(csv, row, "note"), "may be permuted") != NULL;
    point->approximate = strstr(csv_cell(csv, row, "note"), "approx") != NULL;
    return true;
}

Status published_read(const char *path, const char *task, Published *published, Error *error) {
    *published = (Published){0};
    static const char *const needed[] = {"source",  "task",   "model", "params",
                                         "setting", "metric", "value", "note"};
    Csv csv;
    Status status = csv_read(path, &csv, error);
    for (size_t i = 0; !status && i < sizeof needed / sizeof *needed; i++) {
        bool found = false;
        for (int c = 0; c < csv.columns; c++) found |= !strcmp(csv.cells[c], needed[i]);
        if (!found) status = error_set(error, STATUS_DATA, "%s: no column '%s'", path, needed[i]);
    }
    char wanted[48];
    published_name(task ? task : "", wanted);
    for (int row = 0; !status && row < csv.rows; row++) {
        PublishedPoint point;
        if (!read_point(&csv, row, &point) || (task && strcmp(point.task, wanted) != 0)) continue;
        const size_t count = (size_t)published->count + 1;
        published->points = memory_resize(published->points, count * sizeof *published->points);
        published->points[published->count++] = point;
    }
    csv_free(&csv);
    return status;
}

Status published_open(const char *file, Published *published, Error *error) {
    char relative[PATH_MAX], path[PATH_MAX];
    *published = (Published){0};
    if (!*file) return STATUS_OK;
    snprintf(relative, sizeof relative, "results/published/%s", file);
    const Status status = home_path(relative, path, sizeof path, error);
    return status == STATUS_OK ? published_read(path, NULL, published, error) : status;
}

void published_free(Published *published) {
    free(published->points);
    *published = (Published){0};
}
