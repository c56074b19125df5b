#include "bench/average.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/beside.h"
#include "bench/format.h"
#include "engine/memory.h"

enum { MOST_CASES = 64 };

/* What one average is over: a row of each case for their names, and the suite that adds one. */
typedef struct Parts {
    const SuiteAverage *average;
    const Summary *cases, *more;
    const Row *first[MOST_CASES]; /* of each case */
    int count;
} Parts;

static bool has_settings(const Row *row, const Settings *where) {
    for (int i = 0; i < where->count; i++)
        if (strcmp(study_value(row->seeds[0], where->list[i].key), where->list[i].value) != 0)
            return false;
    return true;
}

Status average_sources_open(AverageSources *sources, const Suite *suite,
                            const SuiteRequest *request, const char *results, Error *error) {
    *sources = (AverageSources){0};
    for (int i = 0; i < suite->average_count; i++) {
        const char *name = suite->averages[i].suite;
        if (!*name) continue;
        SuiteRequest theirs = *request;
        theirs.suite = name;
        theirs.tasks = NULL;
        Error failure = {0};
        int damaged = 0;
        Status status = suite_open(&sources->suites[i], &theirs, &failure);
        if (status == STATUS_OK)
            status =
                study_open(&sources->studies[i], &sources->suites[i], results, &damaged, &failure);
        if (status == STATUS_DATA) continue; /* nothing has run: counts as failed */
        if (status != STATUS_OK)
            return error_set(error, status, "average %s, suite %s: %s", suite->averages[i].name,
                             name, failure.message);
        sources->rows[i] = study_summarise(&sources->studies[i]);
    }
    return STATUS_OK;
}

void average_sources_close(AverageSources *sources) {
    for (int i = 0; i < SUITE_AVERAGES; i++) {
        summary_free(&sources->rows[i]);
        study_close(&sources->studies[i]);
        suite_close(&sources->suites[i]);
    }
}

static bool same_case(const Row *a, const Row *b) {
    return !memcmp(a->values, b->values, sizeof a->values);
}

static void list_cases(Parts *parts) {
    const Row *rows = parts->cases->rows;
    for (int r = 0; r < parts->cases->count && parts->count < MOST_CASES; r++)
        if (r == 0 || !same_case(&rows[r], &rows[r - 1])) parts->first[parts->count++] = &rows[r];
}

static const Row *row_of(const Parts *parts, int number, const char *model) {
    const Row *end = parts->cases->rows + parts->cases->count;
    for (const Row *row = parts->first[number]; row < end && same_case(row, parts->first[number]);
         row++)
        if (!strcmp(row->model, model)) return row;
    return NULL;
}

static const Row *further_row(const Parts *parts, const char *model) {
    for (int r = 0; parts->more && r < parts->more->count; r++) {
        const Row *row = &parts->more->rows[r];
        if (!strcmp(row->model, model) && has_settings(row, &parts->average->where)) return row;
    }
    return NULL;
}

static bool same_seeds(const Row *a, const Row *b) {
    if (a->seed_count != b->seed_count) return false;
    for (int i = 0; i < a->seed_count; i++)
        if (strcmp(study_value(a->seeds[i], "seed"), study_value(b->seeds[i], "seed")) != 0)
            return false;
    return true;
}

/* False when the model lacks a case. */
static bool average_row(const Parts *parts, const char *model, Row *average) {
    const Row *rows[MOST_CASES + 1];
    const bool more = *parts->average->suite != '\0';
    const double share = 1.0 / (parts->count + more);
    bool by_seed = true;
    *average = (Row){.chance = NAN,
                     .budget_share = NAN,
                     .flops = NAN,
                     .wall_seconds = NAN,
                     .step_seconds = NAN,
                     .parameters = NAN,
                     .state_bytes = NAN,
                     .peak_bytes = NAN,
                     .validation = NAN,
                     .best_possible = NAN,
                     .nats_above_best = NAN,
                     .bits_per_byte = NAN,
                     .word_perplexity = NAN,
                     .interval = {NAN, NAN}};
    int count = 0;
    for (int i = 0; i < parts->count; i++, count++)
        if (!(rows[count] = row_of(parts, i, model))) return false;
    const Row *further = more ? further_row(parts, model) : NULL;
    if (further) rows[count++] = further;
    const double failed = more && !further ? share * parts->average->failed : 0;

    snprintf(average->model, sizeof average->model, "%s", model);
    snprintf(average->values[0], sizeof average->values[0], "%s", parts->average->name);
    average->mean = failed;
    for (int i = 0; i < count; i++) {
        average->mean += share * rows[i]->mean;
        average->cells += rows[i]->cells;
        by_seed &= same_seeds(rows[i], rows[0]);
    }
    if (!by_seed) return true;
    const int seeds = rows[0]->seed_count;
    average->metrics = memory_take_zeroed((size_t)seeds, sizeof *average->metrics);
    average->seed_count = seeds;
    for (int s = 0; s < seeds; s++) {
        average->metrics[s] = failed;
        for (int i = 0; i < count; i++) average->metrics[s] += share * rows[i]->metrics[s];
    }
    average->interval = student_interval(average->metrics, seeds, STUDY_CONFIDENCE_PERCENT / 100.0);
    return true;
}

/* The value of the model's point on the problem in the same paper; NULL: it has none. */
static const PublishedPoint *point_of(const Published *published, const PublishedPoint *paper,
                                      const char *problem) {
    for (int i = 0; i < published->count; i++) {
        const PublishedPoint *point = &published->points[i];
        if (!strcmp(point->citation, paper->citation) && !strcmp(point->model, paper->model) &&
            !strcmp(point->task, problem))
            return point;
    }
    return NULL;
}

/* The average of a paper's points on the same problems; not-a-number when it lacks one. */
static double published_average(const Parts *parts, const Published *published,
                                const PublishedPoint *paper) {
    const SuiteAverage *average = parts->average;
    double sum = 0;
    char name[sizeof paper->task];
    for (int i = 0; i < parts->count; i++) {
        row_problem(parts->first[i], name);
        const PublishedPoint *point = point_of(published, paper, name);
        if (!point || point->failed) return NAN;
        sum += point->value;
    }
    if (!*average->suite) return sum / parts->count;
    published_name(average->suite, name);
    const PublishedPoint *point = point_of(published, paper, name);
    if (!point) return NAN;
    return (sum + (point->failed ? average->failed : point->value)) / (parts->count + 1);
}

static void add_published(const Parts *parts, const Published *published, Row *row) {
    for (int i = 0; i < published->count; i++) {
        const PublishedPoint *paper = &published->points[i];
        if (strcmp(paper->model, row->model) != 0 || !strstr(paper->citation, "arXiv ")) continue;
        char value[24];
        const double mean = published_average(parts, published, paper);
        format_number(NUMBER_SHARE, mean, value, sizeof value);
        if (!isnan(mean)) row_add_published(row, value, paper->citation);
    }
}

static int better_first(const void *a, const void *b) {
    const Row *x = a, *y = b;
    if (x->mean != y->mean) return x->mean < y->mean ? 1 : -1;
    return strcmp(x->model, y->model);
}

static void describe(const Parts *parts, char text[512]) {
    const SuiteAverage *average = parts->average;
    const size_t used = strlen(text);
    snprintf(text + used, 512 - used, "%s%s: mean over the %d cases", used ? "; " : "",
             average->name, parts->count);
    if (!*average->suite) return;
    size_t end = strlen(text);
    snprintf(text + end, 512 - end, " and suite %s", average->suite);
    for (int i = 0; i < average->where.count; i++) {
        end = strlen(text);
        snprintf(text + end, 512 - end, "%s%s %s", i ? ", " : " with ", average->where.list[i].key,
                 average->where.list[i].value);
    }
    end = strlen(text);
    snprintf(text + end, 512 - end, ", %.3g for a model that has no result there", average->failed);
}

void averages_append(Summary *summary, const Study *study, const Suite *suite,
                     const AverageSources *sources, const Published *published) {
    const Summary cases = *summary;
    const size_t most = (size_t)cases.count * (size_t)(1 + suite->average_count);
    if (suite->average_count == 0 || cases.count == 0 || !study->higher_is_better) return;
    Row *rows = memory_take_zeroed(most, sizeof *rows);
    memcpy(rows, cases.rows, (size_t)cases.count * sizeof *rows);
    for (int a = 0; a < suite->average_count; a++) {
        Parts parts = {.average = &suite->averages[a], .cases = &cases, .more = &sources->rows[a]};
        list_cases(&parts);
        if (parts.count != suite->cases) break; /* not all have run */
        const int begin = summary->count;
        for (int r = 0; r < cases.count && same_case(&cases.rows[r], &cases.rows[0]); r++) {
            Row *row = &rows[summary->count];
            if (!average_row(&parts, cases.rows[r].model, row)) continue;
            add_published(&parts, published, row);
            summary->count++;
        }
        qsort(rows + begin, (size_t)(summary->count - begin), sizeof *rows, better_first);
        for (int r = begin; r < summary->count; r++)
            rows[r].best = rows[r].mean == rows[begin].mean;
        if (summary->count > begin) describe(&parts, summary->averages);
    }
    free(cases.rows);
    summary->rows = rows;
}
