#include "bench/report/average.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/common/format.h"
#include "bench/report/beside.h"
#include "engine/memory.h"

enum { MOST_CASES = 128 };

/* What one average is over: a row of each case for their names, and the suite that adds one. */
typedef struct Parts {
    const SuiteAverage *average;
    const Summary *cases, *more;
    const Row *first[MOST_CASES]; /* of each case */
    double share[MOST_CASES];     /* its weight; with further_share they add up to 1 */
    double further_share;         /* of the other suite's case */
    int count, groups;            /* groups: values of the key `by` */
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
        theirs.of_another = true;
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

/* How many of the first `count` cases have the value that case `number` has of an axis. */
static int same_value(const Parts *parts, int axis, int number, int count) {
    int same = 0;
    for (int i = 0; i < count; i++)
        same += !strcmp(parts->first[i]->values[axis], parts->first[number]->values[axis]);
    return same;
}

/* Every value of the key `by` weighs alike, and so does every case of it; without such a key every
 * case. What another suite adds is one more of them. */
static void weigh_cases(Parts *parts, const Study *study) {
    int axis = -1;
    for (int i = 0; i < study->axis_count; i++)
        if (!strcmp(study->axes[i], parts->average->by)) axis = i;
    assert(axis >= 0 || !*parts->average->by);
    for (int i = 0; i < parts->count; i++)
        parts->groups += axis < 0 || same_value(parts, axis, i, i) == 0;
    const double share = 1.0 / (parts->groups + (*parts->average->suite != '\0'));
    parts->further_share = *parts->average->suite ? share : 0;
    for (int i = 0; i < parts->count; i++)
        parts->share[i] = axis < 0 ? share : share / same_value(parts, axis, i, parts->count);
}

static const Row *row_of(const Parts *parts, int number, const char *name) {
    const Row *end = parts->cases->rows + parts->cases->count;
    for (const Row *row = parts->first[number]; row < end && same_case(row, parts->first[number]);
         row++)
        if (!strcmp(row->name, name)) return row;
    return NULL;
}

static const Row *further_row(const Parts *parts, const char *name) {
    for (int r = 0; parts->more && r < parts->more->count; r++) {
        const Row *row = &parts->more->rows[r];
        if (!strcmp(row->name, name) && has_settings(row, &parts->average->where)) return row;
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
static bool average_row(const Parts *parts, const Row *model, Row *average) {
    const Row *rows[MOST_CASES + 1];
    double shares[MOST_CASES + 1];
    bool by_seed = true;
    *average = (Row){.chance = NAN,
                     .budget_share = NAN,
                     .flops = NAN,
                     .wall_seconds = NAN,
                     .step_seconds = NAN,
                     .parameters = NAN,
                     .state_bytes = NAN,
                     .peak_bytes = NAN,
                     .early = NAN,
                     .validation = NAN,
                     .best_possible = NAN,
                     .nats_above_best = NAN,
                     .bits_per_byte = NAN,
                     .word_perplexity = NAN,
                     .last_label = NAN,
                     .most_frequent = NAN,
                     .first_token = NAN,
                     .interval = {NAN, NAN}};
    int count = 0;
    for (; count < parts->count; count++) {
        if (!(rows[count] = row_of(parts, count, model->name))) return false;
        shares[count] = parts->share[count];
    }
    const Row *further = parts->further_share > 0 ? further_row(parts, model->name) : NULL;
    const double failed = further ? 0 : parts->further_share * parts->average->failed;
    if (further) {
        rows[count] = further;
        shares[count++] = parts->further_share;
    }

    memcpy(average->model, model->model, sizeof average->model);
    memcpy(average->name, model->name, sizeof average->name);
    average->slot = model->slot;
    snprintf(average->values[0], sizeof average->values[0], "%s", parts->average->name);
    average->sees_ahead = rows[0]->sees_ahead;
    average->mean = failed;
    for (int i = 0; i < count; i++) {
        average->mean += shares[i] * rows[i]->mean;
        average->cells += rows[i]->cells;
        average->reading_varies |= rows[i]->sees_ahead != rows[0]->sees_ahead;
        by_seed &= same_seeds(rows[i], rows[0]);
    }
    if (!by_seed) return true;
    const int seeds = rows[0]->seed_count;
    average->metrics = memory_take_zeroed((size_t)seeds, sizeof *average->metrics);
    average->seed_count = seeds;
    for (int s = 0; s < seeds; s++) {
        average->metrics[s] = failed;
        for (int i = 0; i < count; i++) average->metrics[s] += shares[i] * rows[i]->metrics[s];
    }
    average->interval = student_interval(average->metrics, seeds, STUDY_CONFIDENCE_PERCENT / 100.0);
    return true;
}

/* The same architecture's point on the problem in the same paper; NULL: it has none. */
static const PublishedPoint *point_of(const Published *published, const PublishedPoint *paper,
                                      const char *problem) {
    for (int i = 0; i < published->count; i++) {
        const PublishedPoint *point = &published->points[i];
        if (!strcmp(point->citation, paper->citation) && !strcmp(point->theirs, paper->theirs) &&
            !strcmp(point->task, problem))
            return point;
    }
    return NULL;
}

/* The average of a paper's points that stand beside the rows of the model of that name;
 * not-a-number when one of them has none. */
static double published_average(const Parts *parts, const Study *study, const Published *published,
                                const PublishedPoint *paper, const char *model) {
    const SuiteAverage *average = parts->average;
    double sum = 0;
    char name[sizeof paper->task];
    for (int i = 0; i < parts->count; i++) {
        const Row *row = row_of(parts, i, model);
        row_problem(row, name);
        const PublishedPoint *point = point_of(published, paper, name);
        if (!point || point->failed || !point_is_beside(point, row, study)) return NAN;
        sum += parts->share[i] * point->value;
    }
    if (!*average->suite) return sum;
    published_name(average->suite, name);
    const PublishedPoint *point = point_of(published, paper, name);
    if (!point || point->reading != paper->reading) return NAN;
    return sum + parts->further_share * (point->failed ? average->failed : point->value);
}

static void add_published(const Parts *parts, const Study *study, const Published *published,
                          Row *row) {
    for (int i = 0; i < published->count; i++) {
        const PublishedPoint *paper = &published->points[i];
        if (strcmp(paper->model, row->model) != 0 || !strstr(paper->citation, "arXiv ")) continue;
        char value[24];
        const double mean = published_average(parts, study, published, paper, row->name);
        format_number(NUMBER_SHARE, mean, value, sizeof value);
        if (!isnan(mean)) row_add_published(row, value, paper->citation);
    }
}

static int better_first(const void *a, const void *b) {
    const Row *x = a, *y = b;
    if (x->mean != y->mean) return x->mean < y->mean ? 1 : -1;
    return strcmp(x->name, y->name);
}

static void describe(const Parts *parts, char text[512]) {
    const SuiteAverage *average = parts->average;
    const size_t used = strlen(text);
    snprintf(text + used, 512 - used, "%s%s: mean over the %d ", used ? "; " : "", average->name,
             parts->groups);
    const size_t begun = strlen(text);
    if (*average->by)
        snprintf(text + begun, 512 - begun, "values of %s, of each the mean over its cases (%d)",
                 average->by, parts->count);
    else
        snprintf(text + begun, 512 - begun, "cases");
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
        weigh_cases(&parts, study);
        const int begin = summary->count;
        for (int r = 0; r < cases.count && same_case(&cases.rows[r], &cases.rows[0]); r++) {
            Row *row = &rows[summary->count];
            if (!average_row(&parts, &cases.rows[r], row)) continue;
            add_published(&parts, study, published, row);
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
