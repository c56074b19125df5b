/* Crossovers of made-up measurements, the papers' points in our units, the figures made of both,
 * and one real case of a few milliseconds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/speed_figure.h"

enum { LENGTHS = 4 };
static const int64_t lengths[LENGTHS] = {100, 1000, 10000, 100000};

/* Rows of one model with these seconds a token in all phases; a negative one: skipped. */
static void add_rows(SpeedReport *report, const char *model, const double *seconds) {
    for (int i = 0; i < LENGTHS; i++) {
        SpeedRow *row = &report->rows[report->count++];
        *row = (SpeedRow){.width = 64, .length = lengths[i]};
        strcpy(row->model, model);
        if (seconds[i] < 0) strcpy(row->skipped, "too long");
        for (int p = 0; p < SPEED_PHASES && seconds[i] > 0; p++)
            row->speed.phase[p] = (Timing){.count = 1, .tokens = 2, .median = 2 * seconds[i]};
        row->speed.bytes = 1 << 20;
    }
}

static SpeedReport made_up(SpeedRow *rows) {
    static const double attention[] = {1, 2, 11, 101}, flat[] = {5, 5, 5, 5},
                        low[] = {0.5, 1, 2, 3}, high[] = {9, 9, 90, 900}, gap[] = {5, 5, -1, 5},
                        dip[] = {0.5, 5, 5, 5};
    SpeedReport report = {.threads = 1, .against = "transformer", .rows = rows};
    add_rows(&report, "transformer", attention);
    add_rows(&report, "mamba", flat);
    add_rows(&report, "s4d", low);
    add_rows(&report, "lstm", high);
    add_rows(&report, "hyena", gap);
    add_rows(&report, "gru", dip);
    return report;
}

static double crossover(const char *model) {
    SpeedRow rows[6 * LENGTHS];
    const SpeedReport report = made_up(rows);
    return speed_crossover(&report, model, 64, SPEED_TRAIN);
}

static void test_crossover(void **state) {
    (void)state;
    /* 5 of 2 at 1000 and of 11 at 10000: the line between log 2.5 and log 5/11 meets 0 there. */
    const double expected = exp(log(1000) + log(10) * log(2.5) / (log(2.5) + log(2.2)));
    assert_true(fabs(crossover("mamba") - expected) < 1e-6 * expected);
    assert_true(crossover("s4d") <= 0);    /* cheaper everywhere */
    assert_true(isinf(crossover("lstm"))); /* nowhere */
    assert_true(isnan(crossover("absent")));
    /* A skipped length is bridged. */
    const double bridged = exp(log(1000) + log(100) * log(2.5) / (log(2.5) + log(20.2)));
    assert_true(fabs(crossover("hyena") - bridged) < 1e-6 * bridged);
    /* Cheaper, then dearer, then cheaper for good: only the last counts. */
    assert_true(fabs(crossover("gru") - expected) < 1e-6 * expected);
}

static void test_published_points(void **state) {
    (void)state;
    SpeedPublished published;
    Error error = {0};
    assert_int_equal(speed_published_read(&published, &error), STATUS_OK);
    bool attention = false, decode = false;
    for (int i = 0; i < published.count; i++) {
        const SpeedPoint *point = &published.points[i];
        assert_true(point->length > 0 && point->value > 0 && point->value < 1e12);
        /* 41.7 ms for 64 sequences of 1024; 1340 tokens a second. */
        if (strcmp(point->theirs, "standard attention") == 0)
            attention = fabs(point->value - 41.7e-3 / 65536) < 1e-12;
        if (strcmp(point->theirs, "Transformer 1.3B") == 0 && point->length == 512)
            decode = fabs(point->value - 1 / 1340.0) < 1e-12;
    }
    assert_true(attention && decode);
    speed_published_free(&published);
}

static void test_figures(void **state) {
    (void)state;
    SpeedRow rows[6 * LENGTHS];
    const SpeedReport report = made_up(rows);
    SpeedPublished published;
    Error error = {0};
    assert_int_equal(speed_published_read(&published, &error), STATUS_OK);
    Chart chart = speed_chart(&report, &published, 0);
    assert_int_equal(chart.count, 3);
    int own = 0, dotted = 0;
    for (int s = 0; s < chart.panels[0].count; s++) {
        const Series *series = &chart.panels[0].series[s];
        own += series->kind == SERIES_MEAN;
        dotted += series->kind == SERIES_PUBLISHED;
        if (strcmp(series->model, "hyena") == 0) assert_int_equal(series->count, LENGTHS - 1);
    }
    assert_int_equal(own, 6);
    assert_int_equal(dotted, 2); /* attention, standard and Flash */
    assert_non_null(strstr(chart.sources, "Dao et al. 2022"));
    chart_free(&chart);
    chart = speed_chart(&report, &published, 2); /* no model says what state it has */
    assert_int_equal(chart.count, 0);
    chart_free(&chart);
    speed_published_free(&published);
}

static Status measure(const char *const pairs[][2], int count, const char *models,
                      SpeedReport *report, Error *error) {
    Settings settings = {0};
    for (int i = 0; i < count; i++)
        assert_int_equal(settings_add(&settings, pairs[i][0], pairs[i][1], "test", NULL),
                         STATUS_OK);
    const SpeedRequest request = {.models = models,
                                  .device = "cpu",
                                  .against = "transformer",
                                  .settings = &settings,
                                  .threads = 1,
                                  .seconds = 1e-3,
                                  .limit = 10};
    const Status status = speed_grid(report, &request, error);
    settings_free(&settings);
    return status;
}

static void test_measures(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"width", "8,16"}, {"length", "32,64"}, {"batch", "2"}, {"transformer.heads", "2"}};
    SpeedReport report;
    Error error = {0};
    assert_int_equal(measure(pairs, 4, "transformer,lstm", &report, &error), STATUS_OK);
    assert_int_equal(report.count, 8);
    for (int i = 0; i < report.count; i++) {
        const SpeedRow *row = &report.rows[i];
        assert_string_equal(row->skipped, "");
        assert_int_equal(row->speed.batch, 2);
        for (int p = 0; p < SPEED_PHASES; p++)
            assert_true(speed_token_seconds(&row->speed, (SpeedPhase)p) > 0);
        const double share = speed_utilisation(&report, row);
        assert_true(share > 0);
    }
    speed_report_free(&report);
}

/* What does not fit or takes too long is a row with its reason; the others are measured. */
static void test_skips_with_reason(void **state) {
    (void)state;
    static const char *const pairs[][2] = {{"length", "64,1048576"}, {"width", "8"}};
    static const char *const huge[][2] = {{"length", "1048576"}, {"width", "65536"}};
    static const char *const wrong[][2] = {{"width", "sixty"}};
    SpeedReport report;
    Error error = {0};
    assert_int_equal(measure(pairs, 2, "transformer", &report, &error), STATUS_OK);
    assert_string_equal(report.rows[0].skipped, "");
    assert_non_null(strstr(report.rows[1].skipped, "--limit"));
    speed_report_free(&report);
    assert_int_equal(measure(huge, 2, "lstm", &report, &error), STATUS_USAGE);
    assert_non_null(strstr(error.message, "no case could be measured"));
    speed_report_free(&report);
    error = (Error){0};
    assert_int_equal(measure(wrong, 1, "lstm", &report, &error), STATUS_USAGE);
    assert_non_null(strstr(error.message, "width=sixty"));
    speed_report_free(&report);
    error = (Error){0};
    assert_int_equal(measure(huge, 2, "no*", &report, &error), STATUS_USAGE);
    speed_report_free(&report);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crossover),         cmocka_unit_test(test_published_points),
        cmocka_unit_test(test_figures),           cmocka_unit_test(test_measures),
        cmocka_unit_test(test_skips_with_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
