#include "bench/report/table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"

static NumberFormat metric_format(const Study *study) {
    return strcmp(study->metric, "accuracy") ? NUMBER_PLAIN : NUMBER_SHARE;
}

static void metric_text(const Study *study, const Row *row, char text[256]) {
    char mean_text[24], half[24];
    format_number(metric_format(study), row->mean, mean_text, sizeof mean_text);
    format_number(metric_format(study), row->interval.high - row->mean, half, sizeof half);
    if (isnan(row->interval.high)) {
        snprintf(text, 256, "%s", mean_text);
    } else {
        snprintf(text, 256, "%s ± %s", mean_text, half);
    }
}

static void list_seeds(const Row *row, NumberFormat format, char text[256]) {
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < row->seed_count && used < 240; i++) {
        char one[24];
        format_number(format, row->metrics[i], one, sizeof one);
        used += (size_t)snprintf(text + used, 256 - used, "%s%s", i ? " " : "", one);
    }
}

static void seeds_text(const Study *study, const Row *row, char text[256]) {
    list_seeds(row, metric_format(study), text);
}

/* As exact as the other numbers that programs get. */
static void exact_seeds_text(const Study *study, const Row *row, char text[256]) {
    (void)study;
    list_seeds(row, NUMBER_EXACT, text);
}

static void outcome_text(const Study *study, const Row *row, char text[256]) {
    (void)study;
    const struct {
        const char *what;
        int seeds;
    } flags[] = {
        {"solved", row->solved}, {"at chance", row->at_chance}, {"diverged", row->diverged}};
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < 3; i++) {
        if (!flags[i].seeds) continue;
        used += (size_t)snprintf(text + used, 256 - used, "%s%s %d/%d", used ? ", " : "",
                                 flags[i].what, flags[i].seeds, row->seed_count);
        if (i == 0 && !isnan(row->budget_share)) {
            used +=
                (size_t)snprintf(text + used, 256 - used, " at %.0f %%", 100 * row->budget_share);
        }
    }
}

static void published_text(const Study *study, const Row *row, char text[256]) {
    (void)study;
    snprintf(text, 256, "%s", row->published);
}

static void reading_text(const Study *study, const Row *row, char text[256]) {
    (void)study;
    const char *reading = row->sees_ahead ? "both ways" : "causal";
    snprintf(text, 256, "%s", row->reading_varies ? "varies" : reading);
}

typedef enum SourceKind {
    FROM_REAL,
    FROM_REAL_IF_VARIED, /* left out where all rows have the same value */
    FROM_REAL_IF_KNOWN,  /* the column is left out where no row has a value */
    FROM_INTEGER,
    FROM_TEXT,
    FROM_TEXT_IF_VARIED,
    FROM_TEXT_IF_KNOWN
} SourceKind;

/* Where a column's value comes from: a double or int of Row, or a text that is put together. */
typedef struct Source {
    SourceKind kind;
    size_t offset;
    void (*text)(const Study *study, const Row *row, char text[256]);
} Source;

/* Columns after model and axes, in order. The metric's title is the name of the metric. */
static const struct {
    const char *key, *title;
    Audience audience;
    NumberFormat format;
    Source source;
} measured[] = {
    {"metric", "", READ_BY_PEOPLE, 0, {FROM_TEXT, 0, metric_text}},
    {"metric_mean", "", READ_BY_PROGRAMS, 0, {FROM_REAL, offsetof(Row, mean), NULL}},
    {"metric_low", "", READ_BY_PROGRAMS, 0, {FROM_REAL, offsetof(Row, interval.low), NULL}},
    {"metric_high", "", READ_BY_PROGRAMS, 0, {FROM_REAL, offsetof(Row, interval.high), NULL}},
    {"metric_seeds", "each seed", READ_BY_PEOPLE, 0, {FROM_TEXT, 0, seeds_text}},
    {"metric_seeds", "", READ_BY_PROGRAMS, 0, {FROM_TEXT, 0, exact_seeds_text}},
    {"early_validation",
     "early",
     READ_BY_ALL,
     NUMBER_PLAIN,
     {FROM_REAL_IF_KNOWN, offsetof(Row, early), NULL}},
    {"reads", "reads", READ_BY_ALL, 0, {FROM_TEXT_IF_VARIED, 0, reading_text}},
    {"published", "published", READ_BY_ALL, 0, {FROM_TEXT_IF_KNOWN, 0, published_text}},
    {"chance",
     "chance",
     READ_BY_ALL,
     NUMBER_SHARE,
     {FROM_REAL_IF_VARIED, offsetof(Row, chance), NULL}},
    {"most_frequent",
     "commonest answer",
     READ_BY_ALL,
     NUMBER_SHARE,
     {FROM_REAL_IF_KNOWN, offsetof(Row, most_frequent), NULL}},
    {"first_token",
     "first token",
     READ_BY_ALL,
     NUMBER_SHARE,
     {FROM_REAL_IF_KNOWN, offsetof(Row, first_token), NULL}},
    {"last_label",
     "at the end",
     READ_BY_ALL,
     NUMBER_PLAIN,
     {FROM_REAL_IF_KNOWN, offsetof(Row, last_label), NULL}},
    {"validation_mean", "", READ_BY_PROGRAMS, 0, {FROM_REAL, offsetof(Row, validation), NULL}},
    {"best_possible",
     "best possible",
     READ_BY_ALL,
     NUMBER_PLAIN,
     {FROM_REAL_IF_KNOWN, offsetof(Row, best_possible), NULL}},
    {"nats_above_best",
     "nats above it",
     READ_BY_ALL,
     NUMBER_PLAIN,
     {FROM_REAL_IF_KNOWN, offsetof(Row, nats_above_best), NULL}},
    {"bits_per_byte",
     "bits/byte",
     READ_BY_ALL,
     NUMBER_PLAIN,
     {FROM_REAL_IF_KNOWN, offsetof(Row, bits_per_byte), NULL}},
    {"word_perplexity",
     "a word",
     READ_BY_ALL,
     NUMBER_PLAIN,
     {FROM_REAL_IF_KNOWN, offsetof(Row, word_perplexity), NULL}},
    {"seeds", "", READ_BY_PROGRAMS, NUMBER_COUNT, {FROM_INTEGER, offsetof(Row, seed_count), NULL}},
    {"cells", "cells", READ_BY_ALL, NUMBER_COUNT, {FROM_INTEGER, offsetof(Row, cells), NULL}},
    {"parameters", "params", READ_BY_ALL, NUMBER_SI, {FROM_REAL, offsetof(Row, parameters), NULL}},
    {"state_bytes",
     "state",
     READ_BY_ALL,
     NUMBER_BYTES,
     {FROM_REAL, offsetof(Row, state_bytes), NULL}},
    {"flops", "FLOPs", READ_BY_ALL, NUMBER_SI, {FROM_REAL, offsetof(Row, flops), NULL}},
    {"wall_seconds",
     "wall-clock",
     READ_BY_ALL,
     NUMBER_SECONDS,
     {FROM_REAL, offsetof(Row, wall_seconds), NULL}},
    {"step_seconds",
     "a step",
     READ_BY_ALL,
     NUMBER_SECONDS,
     {FROM_REAL, offsetof(Row, step_seconds), NULL}},
    {"peak_bytes",
     "memory",
     READ_BY_ALL,
     NUMBER_BYTES,
     {FROM_REAL, offsetof(Row, peak_bytes), NULL}},
    {"outcome", "outcome", READ_BY_ALL, 0, {FROM_TEXT, 0, outcome_text}},
    {"solved", "", READ_BY_PROGRAMS, NUMBER_COUNT, {FROM_INTEGER, offsetof(Row, solved), NULL}},
    {"solved_budget_share",
     "",
     READ_BY_PROGRAMS,
     NUMBER_SHARE,
     {FROM_REAL, offsetof(Row, budget_share), NULL}},
    {"at_chance",
     "",
     READ_BY_PROGRAMS,
     NUMBER_COUNT,
     {FROM_INTEGER, offsetof(Row, at_chance), NULL}},
    {"diverged", "", READ_BY_PROGRAMS, NUMBER_COUNT, {FROM_INTEGER, offsetof(Row, diverged), NULL}},
};

enum { MEASURED = sizeof measured / sizeof *measured };
_Static_assert(1 + 2 * STUDY_KEYS + MEASURED <= TABLE_COLUMNS, "columns fit");

static double real_of(const Source *source, const Row *row) {
    return *(const double *)((const char *)row + source->offset);
}

/* Averages, which stand last, know few of the values: they count for none. */
static bool shows(const Source *source, const Row *row, const Row *first) {
    char text[256], other[256];
    switch (source->kind) {
    case FROM_REAL_IF_VARIED:
        return row->seeds && real_of(source, row) != real_of(source, first);
    case FROM_REAL_IF_KNOWN:
        return !isnan(real_of(source, row));
    case FROM_TEXT_IF_VARIED:
        source->text(NULL, row, text);
        source->text(NULL, first, other);
        return strcmp(text, other) != 0;
    case FROM_TEXT_IF_KNOWN:
        source->text(NULL, row, text);
        return *text != '\0';
    default:
        return true;
    }
}

static bool is_shown(int column, const Summary *summary) {
    for (int r = 0; r < summary->count; r++)
        if (shows(&measured[column].source, &summary->rows[r], &summary->rows[0])) return true;
    return false;
}

static bool is_text(const Source *source) {
    return source->kind == FROM_TEXT || source->kind == FROM_TEXT_IF_VARIED ||
           source->kind == FROM_TEXT_IF_KNOWN;
}

static void add_text_column(Table *table, const char *key) {
    Column *column = &table->columns[table->column_count++];
    *column = (Column){.audience = READ_BY_ALL};
    snprintf(column->key, sizeof column->key, "%s", key);
    snprintf(column->title, sizeof column->title, "%s", key);
}

static void name_columns(Table *table, const Study *study, const Summary *summary) {
    add_text_column(table, "model");
    for (int i = 0; i < study->axis_count; i++) add_text_column(table, study->axes[i]);
    for (int i = 0; i < MEASURED; i++) {
        if (!is_shown(i, summary)) continue;
        Column *column = &table->columns[table->column_count++];
        *column = (Column){.audience = measured[i].audience,
                           .is_number = !is_text(&measured[i].source),
                           .format = measured[i].format};
        snprintf(column->key, sizeof column->key, "%s", measured[i].key);
        snprintf(column->title, sizeof column->title, "%s",
                 i == 0 ? study->metric : measured[i].title);
    }
    for (int i = 0; i < study->tuned_count; i++) add_text_column(table, study->tuned[i]);
}

static void set_text(Value *value, const char *text) {
    snprintf(value->text, sizeof value->text, "%s", text);
}

static void fill_row(Table *table, const Study *study, const Summary *summary, int index) {
    const Row *row = &summary->rows[index];
    Value *value = &table->values[index * table->column_count];
    for (int i = 0; i < table->column_count; i++) value[i].number = NAN;
    set_text(value++, row->name);
    for (int i = 0; i < study->axis_count; i++) set_text(value++, row->values[i]);
    for (int i = 0; i < MEASURED; i++) {
        if (!is_shown(i, summary)) continue;
        const Source *source = &measured[i].source;
        const char *field = (const char *)row + source->offset;
        if (is_text(source)) source->text(study, row, value->text);
        if (source->kind == FROM_REAL || source->kind == FROM_REAL_IF_KNOWN ||
            source->kind == FROM_REAL_IF_VARIED)
            value->number = real_of(source, row);
        if (source->kind == FROM_INTEGER) value->number = *(const int *)field;
        value++;
    }
    for (int i = 0; i < study->tuned_count; i++) set_text(value++, row->tuned[i]);
}

Table table_build(const Study *study, const Summary *summary) {
    Table table = {.rows = summary->count};
    snprintf(table.name, sizeof table.name, "%s", study->suite);
    table_caption(&table, study, summary);
    name_columns(&table, study, summary);
    const size_t rows = summary->count ? (size_t)summary->count : 1;
    table.values = memory_take_zeroed(rows * (size_t)table.column_count, sizeof *table.values);
    table.best = memory_take_zeroed(rows, sizeof *table.best);
    table.cases = memory_take_zeroed(rows, sizeof *table.cases);
    for (int i = 0; i < table.rows; i++) {
        fill_row(&table, study, summary, i);
        table.best[i] = summary->rows[i].best;
        if (i == 0) continue;
        const bool same = !memcmp(summary->rows[i].values, summary->rows[i - 1].values,
                                  sizeof summary->rows[i].values);
        table.cases[i] = table.cases[i - 1] + !same;
    }
    return table;
}

void table_free(Table *table) {
    free(table->values);
    free(table->best);
    free(table->cases);
    *table = (Table){0};
}

const Value *table_value(const Table *table, int row, int column) {
    return &table->values[row * table->column_count + column];
}

void table_text(const Table *table, int row, int column, char text[256]) {
    const Value *value = table_value(table, row, column);
    if (table->columns[column].is_number) {
        format_number(table->columns[column].format, value->number, text, 256);
    } else {
        snprintf(text, 256, "%s", value->text[0] ? value->text : "-");
    }
}
