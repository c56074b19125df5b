/* A suite with very many finished cells: plan, sweep and table look through them in seconds. No
 * command lists a folder of results, so cells of other suites and presets cost nothing. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench/cell/result.h"
#include "bench/cell/store.h"
#include "bench/commands/program.h"
#include "bench/common/document.h"
#include "bench/sweep/suite.h"
#include "engine/file.h"
#include "tests/made_up.h"

/* Files of 100,000 cells would take a minute to make: these are as many as the largest suite has.
 * RECORDS are in memory, enough for what grows with the square of the number to take minutes. */
enum { WIDTHS = 50, RATES = 2, SEEDS = 20, RUNS = WIDTHS * RATES * SEEDS, RECORDS = 20000 };
/* Of one processor, several times what a slow one needs. */
static const double most_seconds = 10;

/* The files need not survive a power cut. */
int fsync(int descriptor) {
    (void)descriptor;
    return 0;
}

static char work[] = "/tmp/longhaul-many-XXXXXX", file[PATH_MAX], results[PATH_MAX];

static Suite open_suite(void) {
    Suite suite;
    Error error = {0};
    const SuiteRequest request = {.suite = file, .preset = "quick"};
    if (suite_open(&suite, &request, &error) != STATUS_OK) fail_msg("%s", error.message);
    return suite;
}

/* A result as a cell leaves it, to be changed into those of the others. */
static json_t *template_of(const SuiteCell *cell) {
    char path[PATH_MAX];
    CurvePoint curve[20] = {{.step = 5, .validation_metric = 0.5}};
    double seconds[100] = {0.01};
    const Result result = {.outcome = OUTCOME_FINISHED,
                           .test_metric = 0.5,
                           .best_validation_metric = 0.5,
                           .curve = curve,
                           .curve_count = 20,
                           .step_seconds = seconds,
                           .step_seconds_count = 100};
    json_t *object = NULL;
    Error error = {0};
    if (record_write(work, &cell->cell, &cell->settings, &result, &error) != STATUS_OK ||
        path_join(path, work, "result.json", &error) != STATUS_OK ||
        document_read(path, &object, &error) != STATUS_OK)
        fail_msg("%s", error.message);
    json_object_del(object, "sha256");
    return object;
}

static void write_result(const SuiteCell *cell, json_t *object) {
    char folder[PATH_MAX], path[PATH_MAX];
    Error error = {0};
    json_t *settings = json_object_get(object, "settings");
    for (int i = 0; i < cell->settings.count; i++) {
        const Setting *one = settings_find(&cell->settings, cell->settings.list[i].key);
        json_t *entry = json_object_get(settings, one->key);
        if (entry) json_object_set_new(entry, "value", json_string(one->value));
    }
    json_object_set_new(object, "identity", json_string(cell->identity));
    if (store_folder(folder, results, "many", &cell->cell, &error) != STATUS_OK ||
        folder_make(folder, &error) != STATUS_OK ||
        path_join(path, folder, "result.json", &error) != STATUS_OK ||
        document_write(path, object, &error) != STATUS_OK)
        fail_msg("%s", error.message);
}

static int make_runs(void **state) {
    (void)state;
    if (!mkdtemp(work)) return -1;
    snprintf(file, sizeof file, "%s/many.yaml", work);
    snprintf(results, sizeof results, "%s/results", work);
    FILE *out = fopen(file, "w");
    if (!out) return -1;
    fputs(
        "title: Many\ntask: mqar\nset: {length: 8, pairs: 2, vocabulary: 16, layers: 1, batch: 2,\n"
        "  budget: 1step}\nmodels: [lstm]\npresets:\n  quick:\n    grid: {width: [",
        out);
    for (int i = 1; i <= WIDTHS; i++) fprintf(out, "%s%d", i > 1 ? ", " : "", i);
    fputs("]}\n    tune: {lr: [1e-3, 1e-2]}\n    seeds: [", out);
    for (int i = 1; i <= SEEDS; i++) fprintf(out, "%s%d", i > 1 ? ", " : "", i);
    fputs("]\n", out);
    if (fclose(out) != 0) return -1;
    Suite suite = open_suite();
    assert_int_equal(suite.count, RUNS);
    json_t *object = template_of(&suite.cells[0]);
    for (int i = 0; i < suite.count; i++) /* all seeds of the first rate, which is as good */
        if (suite.cells[i].repeat == 0 || suite.cells[i].variant == 0)
            write_result(&suite.cells[i], object);
    json_decref(object);
    suite_close(&suite);
    return 0;
}

static int remove_runs(void **state) {
    (void)state;
    folder_remove(work);
    return 0;
}

/* Of this process: other tests run beside it. */
static double processor_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Runs the command with its output in a file; fails when it takes long. */
static void runs_in_seconds(const char *command, const char *part) {
    const char *const words[] = {"longhaul", command, file, "--results", results, NULL};
    char path[PATH_MAX], *text;
    size_t bytes;
    snprintf(path, sizeof path, "%s/out", work);
    fflush(stdout);
    const int before = dup(STDOUT_FILENO), out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    dup2(out, STDOUT_FILENO);
    const double start = processor_seconds();
    const int status = program_run(5, (char **)(uintptr_t)words);
    const double took = processor_seconds() - start;
    dup2(before, STDOUT_FILENO);
    close(before);
    close(out);
    assert_int_equal(status, 0);
    assert_int_equal(file_read(path, &text, &bytes, NULL), STATUS_OK);
    if (!strstr(text, part)) fail_msg("longhaul %s does not say '%s'", command, part);
    free(text);
    if (took > most_seconds)
        fail_msg("longhaul %s took %.1f s for %d cells", command, took, (int)RUNS);
}

static void planned_in_seconds(void **state) {
    (void)state;
    runs_in_seconds("plan", "1050 cells: 50 models and cases");
}

static void swept_in_seconds(void **state) {
    (void)state;
    runs_in_seconds("sweep", "1050 of 1050 cells done");
}

static void tabled_in_seconds(void **state) {
    (void)state;
    runs_in_seconds("table", "1050 of 1050 cells finished");
}

static void summarised_in_seconds(void **state) {
    (void)state;
    Study study = made_up_study();
    for (int i = 0; i < RECORDS; i++) {
        char settings[160];
        snprintf(settings, sizeof settings,
                 "model=lstm length=64 pairs=4 width=%d lr=%d seed=%d budget=1step", i / 400,
                 i / 200 % RATES, i % 200);
        made_up_cell(&study, settings, 0.5, 0.5);
    }
    const double start = processor_seconds();
    Summary summary = study_summarise(&study);
    assert_true(study_same_data(&study));
    const double took = processor_seconds() - start;
    assert_int_equal(summary.count, RECORDS / 400);
    assert_int_equal(summary.rows[0].cells, 400);
    assert_int_equal(summary.rows[0].seed_count, 200);
    if (took > most_seconds) fail_msg("%.1f s for %d records", took, (int)RECORDS);
    summary_free(&summary);
    study_close(&study);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(summarised_in_seconds),
        cmocka_unit_test(planned_in_seconds),
        cmocka_unit_test(swept_in_seconds),
        cmocka_unit_test(tabled_in_seconds),
    };
    return cmocka_run_group_tests(tests, make_runs, remove_runs);
}
