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

#include "bench/speed/speed_figure.h"

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
    bool attention = false, generation = false;
    for (int i = 0; i < published.count; i++) {
        const SpeedPoint *point = &published.points[i];
        assert_true(point->length > 0 && point->value > 0 && point->value < 1e12);
        /* 41.7 ms for 64 sequences of 1024; 1340 tokens a second of 64 sequences. */
        if (strcmp(point->theirs, "standard attention") == 0)
            attention = fabs(point->value - 41.7e-3 / 65536) < 1e-12;
        if (strcmp(point->theirs, "Transformer 1.3B") == 0 && point->length == 512)
            generation = point->batch == 64 && fabs(point->value - 1340) < 1e-9;
    }
    assert_true(attention && generation);
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

/* generate: tokens after each prompt, or 0. */
static Status measure_with(const char *const pairs[][2], int count, const char *models,
                           int64_t generate, SpeedReport *report, Error *error) {
    Settings settings = {0};
    for (int i = 0; i < count; i++)
        assert_int_equal(settings_add(&settings, pairs[i][0], pairs[i][1], "test", NULL),
                         STATUS_OK);
    const SpeedRequest request = {.models = models,
                                  .device = "cpu",
                                  .generate = generate,
                                  .against = "transformer",
                                  .settings = &settings,
                                  .threads = 1,
                                  .seconds = 1e-3,
                                  .limit = 10};
    const Status status = speed_grid(report, &request, error);
    settings_free(&settings);
    return status;
}

static Status measure(const char *const pairs[][2], int count, const char *models,
                      SpeedReport *report, Error *error) {
    return measure_with(pairs, count, models, 0, report, error);
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
        for (int p = 0; p < SPEED_GENERATE; p++)
            assert_true(speed_token_seconds(&row->speed, (SpeedPhase)p) > 0);
        assert_int_equal(row->speed.phase[SPEED_GENERATE].count, 0);
        const double share = speed_utilisation(&report, row);
        assert_true(share > 0);
    }
    speed_report_free(&report);
}

static void test_generates(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"width", "8"}, {"length", "24,32"}, {"batch", "1,6"}, {"transformer.heads", "2"}};
    SpeedReport report;
    Error error = {0};
    if (measure_with(pairs, 4, "transformer,lstm", 8, &report, &error) != STATUS_OK)
        fail_msg("%s", error.message);
    assert_int_equal(report.count, 8);
    for (int i = 0; i < report.count; i++) {
        const SpeedRow *row = &report.rows[i];
        const Speed *speed = &row->speed;
        assert_string_equal(row->skipped, "");
        assert_true(row->batch == (i % 2 ? 6 : 1) && speed->batch == row->batch);
        assert_true(row->length == (i % 4 < 2 ? 24 : 32) && speed->length == row->length);
        assert_true(speed->phase[SPEED_GENERATE].tokens == 8.0 * (double)row->batch);
        assert_true(speed->phase[SPEED_DECODE].tokens == 7.0 * (double)row->batch);
        assert_int_equal(speed->phase[SPEED_TRAIN].count, 0);
        const double all = speed->phase[SPEED_GENERATE].median,
                     tokens = speed->phase[SPEED_DECODE].median;
        assert_true(tokens > 0 && all > 0);
        /* Two layers of keys and values of every token, or h and c. */
        const bool attention = strcmp(row->model, "transformer") == 0;
        assert_int_equal(speed->state_bytes, 4 * 2 * 2 * 8 * (attention ? row->length + 8 : 1));
    }
    speed_report_free(&report);
}

/* The GPU's path, with its kernels on the CPU: without the grid, which would time its ceilings. */
static void test_generates_on_a_device(void **state) {
    (void)state;
    static const char *const pairs[][2] = {{"task", "mqar"}, {"model", "lstm"},
                                           {"length", "40"}, {"width", "8"},
                                           {"batch", "3"},   {"vocabulary", "64"}};
    Device device;
    Settings settings = {0};
    Cell cell;
    Speed speed;
    Error error = {0};
    if (device_open(&device, "cuda-emulated", &error) != STATUS_OK) skip();
    device_close(&device);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        settings_add(&settings, pairs[i][0], pairs[i][1], "test", &error);
    assert_int_equal(cell_build(&cell, &settings, &error), STATUS_OK);
    strcpy(cell.device, "cuda-emulated");
    const SpeedLimit limit = {1e-3, 10, 1e9};
    if (speed_generate(&speed, &cell, 1, 4, &limit, &error) != STATUS_OK)
        fail_msg("%s", error.message);
    assert_true(speed.length == 36 && speed.batch == 3);
    assert_true(speed_token_seconds(&speed, SPEED_GENERATE) > 0);
    assert_true(speed_token_seconds(&speed, SPEED_DECODE) > 0);
    speed_free(&speed);
    cell_close(&cell);
    settings_free(&settings);
}

/* Who cannot generate is a row with its reason; a published point stands at its batch, beside
 * prompts of its own length. */
static void test_generation_figure(void **state) {
    (void)state;
    static const char *const unfit[][2] = {{"width", "8"}, {"length", "32"}, {"batch", "2"}};
    SpeedReport report;
    Error error = {0};
    assert_int_equal(measure_with(unfit, 3, "ckconv", 4, &report, &error), STATUS_USAGE);
    if (!strstr(error.message, "one token at a time")) fail_msg("%s", error.message);
    speed_report_free(&report);
    SpeedRow rows[4];
    for (int i = 0; i < 4; i++) {
        rows[i] = (SpeedRow){.width = 64, .length = i < 2 ? 512 : 2048, .batch = i % 2 ? 64 : 1};
        strcpy(rows[i].model, "transformer");
        rows[i].speed.phase[SPEED_GENERATE] =
            (Timing){.count = 1, .tokens = 128.0 * (double)rows[i].batch, .median = 1 + i};
    }
    report = (SpeedReport){
        .threads = 1, .generated = 128, .against = "transformer", .rows = rows, .count = 4};
    SpeedPublished published;
    error = (Error){0};
    assert_int_equal(speed_published_read(&published, &error), STATUS_OK);
    for (int c = 0; c < SPEED_CHARTS; c++) {
        Chart chart = speed_chart(&report, &published, c);
        const bool generation = strcmp(chart.name, "generation") == 0;
        assert_int_equal(chart.count, generation ? 2 : 0);
        if (generation) {
            const Panel *panel = &chart.panels[0];
            assert_string_equal(panel->title, "prompts of 512, 128 tokens");
            assert_int_equal(panel->count, 2);
            assert_true(panel->series[0].points[1].x == 64 && panel->series[0].points[1].y == 4096);
            assert_int_equal(panel->series[1].kind, SERIES_PUBLISHED);
            assert_int_equal(panel->series[1].count, 1);
            assert_true(panel->series[1].points[0].x == 64 && panel->series[1].points[0].y == 1340);
            assert_int_equal(chart.panels[1].count, 1); /* nobody's prompts were that long */
            assert_non_null(strstr(chart.sources, "arXiv 2212.14052"));
        }
        chart_free(&chart);
    }
    speed_published_free(&published);
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
        cmocka_unit_test(test_crossover),
        cmocka_unit_test(test_published_points),
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_measures),
        cmocka_unit_test(test_skips_with_reason),
        cmocka_unit_test(test_generates),
        cmocka_unit_test(test_generates_on_a_device),
        cmocka_unit_test(test_generation_figure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
