/* Papers' numbers in the rows of a table: only beside the same problem at the sizes they state. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/beside.h"
#include "tests/made_up.h"

static void publish(const char *file, Summary *summary, const Study *study) {
    Published published;
    Error error = {0};
    if (published_open(file, &published, &error)) fail_msg("%s", error.message);
    published_beside_rows(summary, study, &published);
    published_free(&published);
}

/* The column of one cell with these settings, as a table of the preset has it. */
static void expect(const char *file, const char *preset, const char *settings, const char *task,
                   const char *wanted) {
    Study study = made_up_study();
    strcpy(study.preset, preset);
    Record *record = made_up_cell(&study, settings, 0.5, 0.5);
    snprintf(record->task, sizeof record->task, "%s", task);
    Summary summary = study_summarise(&study);
    publish(file, &summary, &study);
    assert_string_equal(summary.rows[0].published, wanted);
    summary_free(&summary);
    study_close(&study);
}

/* H3's table 2: 2 layers, "input length 20, vocab 10", which are 22 positions here. */
static void the_same_sizes(void **state) {
    (void)state;
    const char *file = "synthetics_h3_hyena.csv", *h3 = "0.860 (arXiv 2212.14052)";
    expect(file, "quick", "model=s4d seed=1 layers=2 length=22 vocabulary=10", "recall", h3);
    expect(file, "paper", "model=s4d seed=1 layers=2 length=20 vocabulary=10", "recall", h3);
    expect(file, "paper", "model=s4d seed=1 layers=2 length=24 vocabulary=10", "recall", "");
    expect(file, "paper", "model=s4d seed=1 layers=2 length=22 vocabulary=20", "recall", "");
    expect(file, "paper", "model=s4d seed=1 layers=3 length=22 vocabulary=10", "recall", "");
    expect(file, "paper", "model=s4d seed=1 layers=2 length=22 vocabulary=10", "induction", "");
    expect(file, "paper", "model=mamba seed=1 layers=2 length=22 vocabulary=10", "recall", "");
    /* Hyena's table C.1 has this length, and a width. */
    const char *hyena = "model=hyena seed=1 layers=2 length=2050 vocabulary=30 width=64";
    expect(file, "paper", hyena, "recall", "0.980 (arXiv 2302.10866)");
    hyena = "model=hyena seed=1 layers=2 length=2050 vocabulary=30 width=128";
    expect(file, "paper", hyena, "recall", "");
}

/* The sources of Long Range Arena state no sizes: the preset must be the published one, and what
 * the benchmark fixes must be as it fixes it. Some architectures failed on Path-X. */
static void no_sizes_stated(void **state) {
    (void)state;
    Study study = made_up_study();
    strcpy(study.preset, "paper");
    Record *record = made_up_cell(&study, "model=transformer seed=1 longest=2000", 0.5, 0.5);
    strcpy(record->task, "listops");
    Summary summary = study_summarise(&study);
    publish("lra.csv", &summary, &study);
    assert_non_null(strstr(summary.rows[0].published, "0.364 (arXiv 2011.04006)"));
    summary_free(&summary);
    study_close(&study);

    expect("lra.csv", "quick", "model=transformer seed=1 longest=2000", "listops", "");
    expect("lra.csv", "paper", "model=transformer seed=1 longest=64", "listops", "");
    expect("lra.csv", "paper", "model=transformer seed=1 size=128 difficulty=toy", "pathfinder",
           "");
}

static void what_failed(void **state) {
    (void)state;
    Study study = made_up_study();
    strcpy(study.preset, "paper");
    Record *record =
        made_up_cell(&study, "model=transformer seed=1 size=128 difficulty=hard", 0.5, 0.5);
    strcpy(record->task, "pathfinder");
    Summary summary = study_summarise(&study);
    publish("lra.csv", &summary, &study);
    assert_non_null(strstr(summary.rows[0].published, "failed (arXiv 2011.04006)"));
    summary_free(&summary);
    study_close(&study);
}

/* A value that another paper repeats adds nothing; one that is a part of another, or of a paper's
 * number, does. */
static void each_value_once(void **state) {
    (void)state;
    Row row = {0};
    row_add_published(&row, "22.1", "Fu et al. 2023, arXiv 2212.14052, Table 2");
    row_add_published(&row, "2.1", "Gu et al. 2022, arXiv 2111.00396");
    row_add_published(&row, "22.1", "Poli et al. 2023, arXiv 2302.10866");
    row_add_published(&row, "12.1", "Poli et al. 2023, arXiv 2302.10866");
    assert_string_equal(row.published,
                        "22.1 (arXiv 2212.14052), 2.1 (arXiv 2111.00396), 12.1 (arXiv 2302.10866)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_sizes),
        cmocka_unit_test(no_sizes_stated),
        cmocka_unit_test(what_failed),
        cmocka_unit_test(each_value_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
