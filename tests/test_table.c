/* Selection, intervals and every exporter on made-up results. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench/common/csv.h"
#include "bench/report/table.h"
#include "tests/made_up.h"

/* Two models at one case; hyena has two learning rates of two seeds, of which the one that is
 * worse on test is better on the validation of the first seed. */
static Study small_study(void) {
    Study study = made_up_study();
    made_up_cell(&study, "model=hyena seed=1 lr=0.01 length=64 pairs=4 width=64", 0.80, 0.72);
    made_up_cell(&study, "model=hyena seed=2 lr=0.01 length=64 pairs=4 width=64", 0.10, 0.70);
    made_up_cell(&study, "model=hyena seed=1 lr=0.001 length=64 pairs=4 width=64", 0.79, 0.95);
    made_up_cell(&study, "model=hyena seed=2 lr=0.001 length=64 pairs=4 width=64", 0.79, 0.95);
    made_up_cell(&study, "model=transformer seed=1 lr=0.01 length=64 pairs=4 width=64", 1, 0.996);
    return study;
}

static void selection_uses_validation_only(void **state) {
    (void)state;
    Study study = small_study();
    Summary summary = study_summarise(&study);
    assert_int_equal(summary.count, 2);
    const Row *first = &summary.rows[0], *second = &summary.rows[1];
    assert_string_equal(first->model, "transformer");
    assert_true(first->best && !second->best);
    assert_int_equal(first->solved, 1);
    assert_true(isnan(first->interval.low));
    assert_string_equal(second->tuned[0], "0.01");
    assert_int_equal(second->cells, 4);
    assert_int_equal(second->seed_count, 2);
    /* Seeds in order, and the interval of two values: 12.706 x half their distance. */
    assert_true(second->metrics[0] == 0.72 && second->metrics[1] == 0.70);
    assert_true(fabs(second->mean - 0.71) < 1e-12);
    assert_true(fabs(second->interval.high - 0.71 - 12.7062047362 * 0.01) < 1e-9);
    summary_free(&summary);
    study_close(&study);
}

static void lower_is_better_turns_selection_and_order_round(void **state) {
    (void)state;
    Study study = small_study();
    study.higher_is_better = false;
    Summary summary = study_summarise(&study);
    assert_string_equal(summary.rows[0].model, "hyena");
    assert_string_equal(summary.rows[0].tuned[0], "0.001");
    summary_free(&summary);
    study_close(&study);
}

/* Whether or not training stopped there: the share is that of the first validation at the level. */
static void solved_is_read_off_the_curve(void **state) {
    (void)state;
    Study study = made_up_study();
    const char *settings = "model=lstm seed=1 lr=0.01 length=64 pairs=4 width=64 budget=1.2e12flop";
    Record *record = made_up_cell(&study, settings, 1, 0.98);
    assert_int_equal(record->result.outcome, OUTCOME_FINISHED);
    int first = 0;
    while (record->result.curve[first].validation_metric < study.solved) first++;
    made_up_cell(&study, "model=s4d seed=1 lr=0.01 length=64 pairs=4 width=64", 0.98, 0.97);
    Summary summary = study_summarise(&study);
    assert_int_equal(summary.rows[0].solved, 1);
    assert_true(first > 0 && first < 9);
    assert_true(fabs(summary.rows[0].budget_share - (first + 1) / 10.0) < 1e-12);
    assert_int_equal(summary.rows[1].solved, 0);
    assert_true(isnan(summary.rows[1].budget_share));
    summary_free(&summary);
    study_close(&study);
}

/* The score that tells early whether a run is healthy: near a tenth of the budget or not at all. */
static void early_score_is_read_off_the_curve(void **state) {
    (void)state;
    static const struct {
        const char *budget, *evaluations;
        double curve_flops; /* of the first point; the others follow in steps as large */
        int point;          /* that is shown; -1: none */
    } cases[] = {{"1.2e12flop", "10", 1.2e11, 0}, {"2.4e12flop", "20", 1.2e11, 1},
                 {"1.2e12flop", "10", 2.9e11, 0}, {"1.2e12flop", "10", 3.1e11, -1},
                 {"12epoch", "25", 1.2e11, 2},    {"12epoch", "10", 1.2e11, 0},
                 {"12epoch", "3", 1.2e11, -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Study study = made_up_study();
        char settings[160];
        snprintf(settings, sizeof settings,
                 "model=lstm seed=1 lr=0.01 length=64 pairs=4 width=64 budget=%s evaluations=%s",
                 cases[i].budget, cases[i].evaluations);
        Record *record = made_up_cell(&study, settings, 1, 0.98);
        for (int k = 0; k < record->result.curve_count; k++)
            record->result.curve[k].flops = cases[i].curve_flops * (k + 1);
        Summary summary = study_summarise(&study);
        const double early = summary.rows[0].early;
        if (cases[i].point < 0)
            assert_true(isnan(early));
        else
            assert_true(early == record->result.curve[cases[i].point].validation_metric);
        summary_free(&summary);
        study_close(&study);
    }
}

static void diverged_seed_counts_as_chance(void **state) {
    (void)state;
    Study study = made_up_study();
    made_up_cell(&study, "model=lstm seed=1 lr=0.01 length=64 pairs=4 width=64", 0.5, 0.5);
    Record *record =
        made_up_cell(&study, "model=lstm seed=2 lr=0.01 length=64 pairs=4 width=64", NAN, NAN);
    record->result.outcome = OUTCOME_DIVERGED;
    Summary summary = study_summarise(&study);
    assert_int_equal(summary.rows[0].diverged, 1);
    assert_true(fabs(summary.rows[0].mean - (0.5 + study.chance) / 2) < 1e-12);
    summary_free(&summary);
    study_close(&study);
}

static void cases_are_in_numeric_order(void **state) {
    (void)state;
    Study study = made_up_study();
    made_up_cell(&study, "model=lstm seed=1 lr=0.01 length=128 pairs=8 width=64", 0.5, 0.5);
    made_up_cell(&study, "model=lstm seed=1 lr=0.01 length=64 pairs=4 width=128", 0.6, 0.6);
    made_up_cell(&study, "model=lstm seed=1 lr=0.01 length=64 pairs=4 width=64", 0.7, 0.7);
    Summary summary = study_summarise(&study);
    assert_int_equal(summary.count, 3);
    assert_string_equal(summary.rows[0].values[2], "64");
    assert_string_equal(summary.rows[1].values[2], "128");
    assert_string_equal(summary.rows[2].values[0], "128");
    assert_true(summary.rows[0].best && summary.rows[1].best && summary.rows[2].best);
    summary_free(&summary);
    study_close(&study);
}

static void name_cells(Study *study, int from, const char *name) {
    for (int i = from; i < study->count; i++)
        snprintf(study->records[i].name, sizeof study->records[i].name, "%s", name);
}

/* Two kinds of one architecture are rows of their own, each tuned for itself, under their names in
 * every format. */
static void kinds_have_rows_of_their_own(void **state) {
    (void)state;
    Study study = made_up_study();
    const char *const cells[] = {"model=xlstm seed=1 lr=0.01 length=64 pairs=4 width=64",
                                 "model=xlstm seed=1 lr=0.001 length=64 pairs=4 width=64"};
    for (int i = 0; i < 2; i++) made_up_cell(&study, cells[i], 0.5 + 0.1 * i, 0.5 + 0.1 * i);
    for (int i = 0; i < 2; i++) made_up_cell(&study, cells[i], 0.9 - 0.1 * i, 0.9 - 0.1 * i);
    name_cells(&study, 2, "xlstm[1:0]");
    snprintf(study.named, sizeof study.named, "xlstm[1:0] is xlstm with blocks 1:0");
    Summary summary = study_summarise(&study);
    assert_int_equal(summary.count, 2);
    assert_string_equal(summary.rows[0].name, "xlstm[1:0]");
    assert_string_equal(summary.rows[0].model, "xlstm");
    assert_string_equal(summary.rows[0].tuned[0], "0.01");
    assert_string_equal(summary.rows[1].name, "xlstm");
    assert_string_equal(summary.rows[1].tuned[0], "0.001");
    Table table = table_build(&study, &summary);
    static const struct {
        const char *format, *name;
    } shown[] = {{"console", "xlstm[1:0]"},
                 {"md", "xlstm[1:0]"},
                 {"tex", "xlstm[1:0]"},
                 {"csv", "xlstm[1:0]"},
                 {"json", "\"xlstm[1:0]\""}};
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        char *text;
        size_t bytes;
        FILE *file = open_memstream(&text, &bytes);
        exporter_find(shown[i].format)->write(&table, &(TableStyle){0}, file);
        fclose(file);
        assert_non_null(strstr(text, shown[i].name));
        free(text);
    }
    bool said = false;
    for (int i = 0; i < table.caption_lines; i++)
        said |= !strcmp(table.caption[i], "xlstm[1:0] is xlstm with blocks 1:0.");
    assert_true(said);
    table_free(&table);
    summary_free(&summary);
    study_close(&study);
}

static void different_data_is_noticed(void **state) {
    (void)state;
    Study study = small_study();
    assert_true(study_same_data(&study));
    study.records[4].result.data_hash ^= 1;
    assert_false(study_same_data(&study));
    Summary summary = study_summarise(&study);
    Table table = table_build(&study, &summary);
    assert_non_null(strstr(table.caption[table.caption_lines - 1], "WARNING"));
    table_free(&table);
    summary_free(&summary);
    study_close(&study);
}

/* True when a line of the caption of the study's table has the words. */
static bool caption_has(const Study *study, const char *words) {
    Summary summary = study_summarise(study);
    Table table = table_build(study, &summary);
    bool found = false;
    for (int i = 0; i < table.caption_lines; i++) found |= strstr(table.caption[i], words) != NULL;
    table_free(&table);
    summary_free(&summary);
    return found;
}

static void captions_say_from_where_a_case_is_solved(void **state) {
    (void)state;
    Study study = small_study();
    assert_true(caption_has(&study, ", solved from 0.99."));
    study.records[study.count - 1].solved = 0.97;
    assert_true(caption_has(&study, ", solved from 0.97 to 0.99 by case."));
    study.solved = NAN; /* no such level */
    for (int i = 0; i < study.count; i++) study.records[i].solved = NAN;
    assert_false(caption_has(&study, "solved from"));
    study_close(&study);
}

static char *export_text(const char *name, TableStyle style) {
    Study study = small_study();
    Summary summary = study_summarise(&study);
    Table table = table_build(&study, &summary);
    char *text;
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);
    exporter_find(name)->write(&table, &style, file);
    fclose(file);
    table_free(&table);
    summary_free(&summary);
    study_close(&study);
    return text;
}

static void exporters_show_the_same_numbers(void **state) {
    (void)state;
    const struct {
        const char *name, *mean, *seeds;
    } rows[] = {
        {"console", "0.710 ± 0.127", "0.720 0.700"},  {"md", "0.710 ± 0.127", "0.720 0.700"},
        {"tex", "0.710 $\\pm$ 0.127", "0.720 0.700"}, {"csv", "0.71,", "0.72 0.7,"},
        {"json", "0.70999999", "\"0.72 0.7\""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *text = export_text(rows[i].name, (TableStyle){.unicode = true});
        assert_non_null(strstr(text, rows[i].seeds));
        assert_true(strstr(text, rows[i].mean) || strstr(text, "\"metric_mean\": 0.71"));
        assert_non_null(strstr(text, "transformer"));
        free(text);
    }
    assert_null(exporter_find("xls"));
}

static void console_is_aligned_in_both_alphabets(void **state) {
    (void)state;
    char *ascii = export_text("console", (TableStyle){0});
    for (const char *at = ascii; *at; at++) assert_true((unsigned char)*at < 128);
    free(ascii);
    char *text = export_text("console", (TableStyle){.unicode = true});
    /* What follows the metric with its two-byte sign begins at the same column in every row. */
    const char *const marks[] = {"each seed", "0.996 ", "0.720 0.700"};
    int columns[3] = {0}, found = 0;
    for (char *rest = text, *line; found < 3 && (line = strtok_r(rest, "\n", &rest));) {
        const char *mark = strstr(line, marks[found]);
        if (!mark) continue;
        if (found == 1) mark = strstr(mark + 1, marks[found]); /* the first is the mean */
        for (const char *at = line; at < mark; at++) columns[found] += (*at & 0xC0) != 0x80;
        found++;
    }
    assert_int_equal(found, 3);
    assert_int_equal(columns[0], columns[1]);
    assert_int_equal(columns[1], columns[2]);
    free(text);
}

static void saved_files_are_whole(void **state) {
    (void)state;
    char folder[] = "/tmp/longhaul-table-XXXXXX", path[4096];
    assert_non_null(mkdtemp(folder));
    Study study = small_study();
    Summary summary = study_summarise(&study);
    Table table = table_build(&study, &summary);
    assert_int_equal(table_save(&table, folder, NULL), 0);
    Csv csv;
    snprintf(path, sizeof path, "%s/table.csv", folder);
    assert_int_equal(csv_read(path, &csv, NULL), 0);
    assert_int_equal(csv.rows, 2);
    assert_string_equal(csv_cell(&csv, 1, "model"), "hyena");
    assert_string_equal(csv_cell(&csv, 1, "cells"), "4");
    assert_string_equal(csv_cell(&csv, 0, "metric_low"), "");
    csv_free(&csv);
    int count;
    const Exporter *list = exporter_list(&count);
    for (int i = 0; i < count; i++) {
        if (!list[i].extension) continue;
        snprintf(path, sizeof path, "%s/table.%s", folder, list[i].extension);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(folder), 0); /* nothing else was left there */
    Error error = {0};
    assert_int_equal(table_save(&table, folder, &error), STATUS_IO);
    assert_non_null(strstr(error.message, folder));
    table_free(&table);
    summary_free(&summary);
    study_close(&study);
}

static void numbers_for_people(void **state) {
    (void)state;
    const struct {
        NumberFormat format;
        double value;
        const char *text;
    } rows[] = {
        {NUMBER_SHARE, 0.99349, "0.993"},
        {NUMBER_COUNT, 131072, "131072"},
        {NUMBER_COUNT, 12345678, "12.3 M"},
        {NUMBER_SI, 1.6e12, "1.60 T"},
        {NUMBER_SI, 999.6e9, "1.00 T"},
        {NUMBER_SI, 870, "870"},
        {NUMBER_BYTES, 512, "512 B"},
        {NUMBER_BYTES, 65536, "64.0 KiB"},
        {NUMBER_SECONDS, 0.0031, "3.10 ms"},
        {NUMBER_SECONDS, 0.00009996, "100 us"},
        {NUMBER_SECONDS, 59.96, "60.0 s"},
        {NUMBER_SECONDS, 245, "4 min 05 s"},
        {NUMBER_SECONDS, 7620, "2 h 07 min"},
        {NUMBER_PLAIN, 14.2567, "14.26"},
        {NUMBER_PLAIN, NAN, "-"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[24];
        format_number(rows[i].format, rows[i].value, text, sizeof text);
        assert_string_equal(text, rows[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selection_uses_validation_only),
        cmocka_unit_test(lower_is_better_turns_selection_and_order_round),
        cmocka_unit_test(solved_is_read_off_the_curve),
        cmocka_unit_test(early_score_is_read_off_the_curve),
        cmocka_unit_test(diverged_seed_counts_as_chance),
        cmocka_unit_test(cases_are_in_numeric_order),
        cmocka_unit_test(different_data_is_noticed),
        cmocka_unit_test(kinds_have_rows_of_their_own),
        cmocka_unit_test(captions_say_from_where_a_case_is_solved),
        cmocka_unit_test(exporters_show_the_same_numbers),
        cmocka_unit_test(console_is_aligned_in_both_alphabets),
        cmocka_unit_test(saved_files_are_whole),
        cmocka_unit_test(numbers_for_people),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
