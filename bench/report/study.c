#include "bench/report/study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report/palette.h"
#include "engine/memory.h"

static void *allocate(int count, size_t size) {
    return memory_take_zeroed((size_t)count, size);
}

/* The name of a record's row. */
static const char *name_of(const Record *record) {
    return *record->name ? record->name : record->model;
}

const char *study_value(const Record *record, const char *key) {
    const char *value = record_setting(record, key);
    return value ? value : "";
}

int value_order(const char *a, const char *b) {
    char *end_a, *end_b;
    const double x = strtod(a, &end_a), y = strtod(b, &end_b);
    const bool number_a = end_a != a && !*end_a, number_b = end_b != b && !*end_b;
    if (number_a && number_b) return (x > y) - (x < y);
    if (number_a != number_b) return number_a ? -1 : 1;
    return strcmp(a, b);
}

/* Test metric of a record as it enters means. */
static double metric_of(const Record *record) {
    const double metric = record->result.test_metric;
    return isfinite(metric) ? metric : record->chance;
}

int study_labels(const Row *row, int64_t labels[BREAKDOWN_POSITIONS]) {
    int count = 0;
    for (int i = 0; i < row->seed_count && count == 0; i++) {
        const SampleGroup *groups = row->seeds[i]->result.test.label_counts;
        for (int g = 0; g < BREAKDOWN_POSITIONS; g++)
            if (groups[g].samples > 0) labels[count++] = groups[g].from;
    }
    return count > 1 ? count : 0;
}

double study_labels_accuracy(const Row *row, int seed, int64_t labels) {
    const SampleGroup *groups = row->seeds[seed]->result.test.label_counts;
    for (int g = 0; g < BREAKDOWN_POSITIONS; g++)
        if (groups[g].samples > 0 && groups[g].from == labels)
            return sample_group_accuracy(&groups[g]);
    return row->seeds[seed]->chance;
}

/* May every position see the whole sequence? True of architectures that can, in tasks where nothing
 * has to be predicted; false for names that are no longer known. */
static bool sees_ahead(const Record *record) {
    const Model *model = model_find(record->model);
    const Task *task = task_find(record->task);
    if (!model || !task || !model->bidirectional) return false;
    if (!strcmp(study_value(record, "causal"), "yes")) return false;
    /* Whether a task is causal does not depend on its options (tested), which need files. */
    void *options = allocate(1, task->options.bytes + 1);
    option_defaults(&task->options, options);
    Problem problem;
    Error error = {0};
    const bool known = task->problem(options, &problem, &error) == STATUS_OK;
    free(options);
    return known && !problem.causal;
}

static bool same_value(const Record *a, const Record *b, const char *key) {
    return !strcmp(study_value(a, key), study_value(b, key));
}

static bool same_values(const Record *a, const Record *b, const char keys[][STUDY_VALUE],
                        int count) {
    for (int i = 0; i < count; i++) {
        if (!same_value(a, b, keys[i])) return false;
    }
    return true;
}

bool study_in_row(const Study *study, const Record *a, const Record *b) {
    return !strcmp(name_of(a), name_of(b)) && same_values(a, b, study->axes, study->axis_count);
}

void study_tasks(const Study *study, char *text, size_t size) {
    snprintf(text, size, "%s v%d", study->task, study->task_version);
    for (int i = 1; i < study->count; i++) {
        const Record *record = &study->records[i];
        bool known = false;
        for (int k = 0; k < i && !known; k++) known = !strcmp(study->records[k].task, record->task);
        const size_t used = strlen(text);
        if (!known)
            snprintf(text + used, size - used, ", %s v%d", record->task, record->task_version);
    }
}

bool study_chance_varies(const Study *study) {
    for (int i = 1; i < study->count; i++) {
        if (study->records[i].chance != study->records[0].chance) return true;
    }
    return false;
}

/* ---- which records are alike, in one go: there may be thousands ---- */

typedef struct Likeness {
    char *text; /* what records that are alike have in common */
    int number; /* of the record */
} Likeness;

static int by_text(const void *a, const void *b) {
    const Likeness *x = a, *y = b;
    const int order = strcmp(x->text, y->text);
    return order ? order : (x->number > y->number) - (x->number < y->number);
}

/* What to compare records by. */
typedef struct Alike {
    bool model, seed, tuned; /* beside the case */
} Alike;

static char *text_of(const Study *study, const Record *record, Alike alike) {
    char *text;
    size_t bytes;
    FILE *out = memory_stream(&text, &bytes);
    if (alike.model) fprintf(out, "%s", name_of(record));
    if (alike.seed) fprintf(out, "\n%s", study_value(record, "seed"));
    for (int i = 0; i < study->axis_count; i++)
        fprintf(out, "\n%s", study_value(record, study->axes[i]));
    for (int i = 0; i < study->tuned_count && alike.tuned; i++)
        fprintf(out, "\n%s", study_value(record, study->tuned[i]));
    fclose(out);
    return text;
}

/* For each record the number of the first that is like it. Free it. */
static int *first_alike(const Study *study, Alike alike) {
    Likeness *all = allocate(study->count, sizeof *all);
    int *first = allocate(study->count, sizeof *first);
    for (int i = 0; i < study->count; i++)
        all[i] = (Likeness){text_of(study, &study->records[i], alike), i};
    qsort(all, (size_t)study->count, sizeof *all, by_text);
    for (int i = 0; i < study->count; i++) {
        const bool same = i > 0 && strcmp(all[i - 1].text, all[i].text) == 0;
        first[all[i].number] = same ? first[all[i - 1].number] : all[i].number;
    }
    for (int i = 0; i < study->count; i++) free(all[i].text);
    free(all);
    return first;
}

bool study_same_data(const Study *study) {
    int *first = first_alike(study, (Alike){.seed = true});
    bool same = true;
    for (int i = 0; i < study->count; i++)
        same &= study->records[i].result.data_hash == study->records[first[i]].result.data_hash;
    free(first);
    return same;
}

void study_close(Study *study) {
    for (int i = 0; i < study->count; i++) record_close(&study->records[i]);
    free(study->records);
    study->records = NULL;
    study->count = 0;
}

/* ---- rows ---- */

/* Validation metric that selection compares: larger is better, an unfinished one is worst. */
static double merit(const Study *study, const Record *record) {
    const double metric = record->result.best_validation_metric;
    const double value = isfinite(metric) ? metric : record->chance;
    return study->higher_is_better ? value : -value;
}

/* The first record of each record's row, and of those that have its tuned values, too. */
typedef struct Grouping {
    int *row, *tuned;
} Grouping;

/* The record whose tuned values were selected, of the row that begins with record `first`. The
 * first seed of each decides. */
static int select_values(const Study *study, const Grouping *grouping, int first, int *cells) {
    const Record *records = study->records;
    int choice = -1;
    for (int i = first; i < study->count; i++) {
        if (grouping->row[i] != first) continue;
        (*cells)++;
        if (grouping->tuned[i] != i) continue;
        const double more =
            choice < 0 ? 1 : merit(study, &records[i]) - merit(study, &records[choice]);
        if (more > 0 || (more == 0 && records[i].result.flops < records[choice].result.flops))
            choice = i;
    }
    return choice;
}

/* The first validation at the task's solved level, whether or not training stopped there; NULL:
 * there was none. */
static const CurvePoint *solved_point(const Study *study, const Record *record) {
    for (int i = 0; i < record->result.curve_count; i++) {
        const CurvePoint *point = &record->result.curve[i];
        const double above = point->validation_metric - record->solved;
        if (study->higher_is_better ? above >= 0 : above <= 0) return point;
    }
    return NULL;
}

/* Share of the budget that a cell had used there, by the unit of its budget; NAN when that unit is
 * not counted in results (epochs). */
static double budget_share(const Record *record, const CurvePoint *point) {
    Budget budget;
    Error unknown = {0};
    if (budget_parse(study_value(record, "budget"), &budget, &unknown)) return NAN;
    const double spent[] = {
        [BUDGET_FLOP] = point->flops,   [BUDGET_SECOND] = point->seconds,
        [BUDGET_TOKEN] = point->tokens, [BUDGET_STEP] = (double)point->step,
        [BUDGET_EPOCH] = NAN,
    };
    return spent[budget.unit] / budget.amount;
}

/* The first validation from a tenth of the budget on, and before a quarter of it: what tells early
 * whether a run is healthy. NAN when there is none, as in cells that validate rarely. */
static double early_metric(const Record *record) {
    const double from = 0.1 - 1e-9, to = 0.25 + 1e-9;
    const char *evaluations = record_setting(record, "evaluations");
    for (int i = 0; i < record->result.curve_count; i++) {
        double share = budget_share(record, &record->result.curve[i]);
        if (isnan(share) && evaluations) share = (i + 1) / atof(evaluations); /* evenly spread */
        if (share >= from) return share <= to ? record->result.curve[i].validation_metric : NAN;
    }
    return NAN;
}

static int seed_order(const void *a, const void *b) {
    return value_order(study_value(*(const Record *const *)a, "seed"),
                       study_value(*(const Record *const *)b, "seed"));
}

/* Perplexity on other scales. A seed that diverged has no test and leaves these means alone: its
 * row shows it by the metric. */
static void measure_language(Row *row) {
    const int n = row->seed_count;
    double bits = 0, words = 0, nats = 0;
    int tested = 0;
    row->best_possible = row->seeds[0]->best > 0 ? row->seeds[0]->best : NAN;
    for (int i = 0; i < n; i++) {
        const Breakdown *test = &row->seeds[i]->result.test;
        if (!(test->labels > 0)) continue;
        bits += breakdown_bits_per_byte(test);
        words += breakdown_word_perplexity(test);
        nats += test->nats / test->labels;
        tested++;
    }
    row->bits_per_byte = tested ? bits / tested : NAN;
    row->word_perplexity = tested ? words / tested : NAN;
    row->nats_above_best = tested ? nats / tested - log(row->best_possible) : NAN;
}

/* Parts of the test that some tasks have. A seed that diverged has none. */
static void measure_parts(Row *row) {
    double last = 0, frequent = 0, first = 0;
    int apart = 0, guessed = 0;
    for (int i = 0; i < row->seed_count; i++) {
        const Breakdown *test = &row->seeds[i]->result.test;
        const bool has_last = test->last.samples > 0, has_guesses = test->guesses.samples > 0;
        apart += has_last;
        guessed += has_guesses;
        if (has_last) last += breakdown_last(test);
        frequent += test->guesses.most_frequent;
        first += test->guesses.first_token;
    }
    row->last_label = apart ? last / apart : NAN;
    row->most_frequent = guessed ? frequent / guessed : NAN;
    row->first_token = guessed ? first / guessed : NAN;
}

static void measure_row(const Study *study, Row *row) {
    const int n = row->seed_count;
    double *steps = allocate(n, sizeof *steps);
    double share = 0;
    for (int i = 0; i < n; i++) {
        const Result *result = &row->seeds[i]->result;
        row->metrics[i] = metric_of(row->seeds[i]);
        row->flops += result->flops / n;
        row->wall_seconds += result->wall_seconds / n;
        row->early += early_metric(row->seeds[i]) / n;
        row->validation += result->best_validation_metric / n;
        steps[i] = result->step_seconds_median;
        row->peak_bytes = fmax(row->peak_bytes, (double)result->peak_bytes);
        const CurvePoint *solved = solved_point(study, row->seeds[i]);
        row->solved += solved != NULL;
        row->diverged += result->outcome == OUTCOME_DIVERGED;
        row->at_chance += result->at_chance && result->outcome != OUTCOME_DIVERGED;
        if (solved) share += budget_share(row->seeds[i], solved);
    }
    row->budget_share = row->solved ? share / row->solved : NAN;
    row->step_seconds = median(steps, n);
    row->parameters = (double)row->seeds[0]->result.parameters;
    row->state_bytes = (double)row->seeds[0]->result.state_floats * (double)sizeof(float);
    row->chance = row->seeds[0]->chance;
    row->sees_ahead = sees_ahead(row->seeds[0]);
    row->mean = mean(row->metrics, n);
    row->interval = student_interval(row->metrics, n, STUDY_CONFIDENCE_PERCENT / 100.0);
    measure_language(row);
    measure_parts(row);
    free(steps);
}

static void copy_value(char value[STUDY_VALUE], const Record *record, const char *key) {
    snprintf(value, STUDY_VALUE, "%s", study_value(record, key));
}

/* The row whose lowest record is `first`. */
static Row make_row(const Study *study, const Grouping *grouping, int first) {
    Row row = {0};
    const int chosen = select_values(study, grouping, first, &row.cells);
    const Record *choice = &study->records[chosen];
    snprintf(row.model, sizeof row.model, "%s", choice->model);
    snprintf(row.name, sizeof row.name, "%s", name_of(choice));
    for (int i = 0; i < study->axis_count; i++) {
        copy_value(row.values[i], choice, study->axes[i]);
    }
    for (int i = 0; i < study->tuned_count; i++) {
        copy_value(row.tuned[i], choice, study->tuned[i]);
    }
    row.seeds = allocate(row.cells, sizeof *row.seeds);
    row.metrics = allocate(row.cells, sizeof *row.metrics);
    for (int i = chosen; i < study->count; i++)
        if (grouping->tuned[i] == chosen) row.seeds[row.seed_count++] = &study->records[i];
    qsort(row.seeds, (size_t)row.seed_count, sizeof *row.seeds, seed_order);
    measure_row(study, &row);
    return row;
}

static int case_order(const Row *a, const Row *b) {
    for (int i = 0; i < STUDY_KEYS; i++) {
        const int order = value_order(a->values[i], b->values[i]);
        if (order) return order;
    }
    return 0;
}

static int falling(const void *a, const void *b) {
    const Row *x = a, *y = b;
    const int order = case_order(x, y);
    if (order) return order;
    if (x->mean != y->mean) return x->mean < y->mean ? 1 : -1;
    return strcmp(x->name, y->name);
}

static int rising(const void *a, const void *b) {
    const Row *x = a, *y = b;
    const int order = case_order(x, y);
    if (order) return order;
    if (x->mean != y->mean) return x->mean > y->mean ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* Names in the suite's order, so that every figure of it has the same styles. */
static void choose_styles(const Study *study, Summary *summary) {
    enum { MOST = 64 };
    const char *names[MOST], *models[MOST];
    int slots[MOST], count = 0;
    for (int i = 0; i < study->count && count < MOST; i++) {
        bool known = false;
        for (int k = 0; k < count; k++) known |= !strcmp(names[k], name_of(&study->records[i]));
        if (known) continue;
        names[count] = name_of(&study->records[i]);
        models[count++] = study->records[i].model;
    }
    palette_slots(names, models, count, slots);
    for (int r = 0; r < summary->count; r++)
        for (int k = 0; k < count; k++)
            if (!strcmp(names[k], summary->rows[r].name)) summary->rows[r].slot = slots[k];
}

Summary study_summarise(const Study *study) {
    Summary summary = {0};
    if (study->count == 0) return summary;
    summary.rows = allocate(study->count, sizeof *summary.rows);
    const Grouping grouping = {first_alike(study, (Alike){.model = true}),
                               first_alike(study, (Alike){.model = true, .tuned = true})};
    for (int i = 0; i < study->count; i++)
        if (grouping.row[i] == i) summary.rows[summary.count++] = make_row(study, &grouping, i);
    free(grouping.row);
    free(grouping.tuned);
    qsort(summary.rows, (size_t)summary.count, sizeof *summary.rows,
          study->higher_is_better ? falling : rising);
    choose_styles(study, &summary);
    for (int i = 0; i < summary.count; i++) {
        Row *row = &summary.rows[i];
        const bool first = i == 0 || case_order(row - 1, row) != 0;
        row->best = first || (row[-1].best && row[-1].mean == row->mean);
    }
    return summary;
}

void summary_free(Summary *summary) {
    for (int i = 0; i < summary->count; i++) {
        free(summary->rows[i].seeds);
        free(summary->rows[i].metrics);
    }
    free(summary->rows);
    *summary = (Summary){0};
}
