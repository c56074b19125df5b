/* Figures on made-up results: what is drawn where, text plots, and gnuplot good, poor, broken and
 * missing. */
#include <ctype.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench/common/home.h"
#include "bench/report/figure.h"
#include "bench/report/palette.h"
#include "bench/report/table.h"
#include "engine/file.h"
#include "tests/made_up.h"

static void styles_differ(void **state) {
    (void)state;
    for (int a = 0; a < PALETTE_STYLES; a++) {
        for (int b = 0; b < a; b++) {
            const LineStyle x = palette_style(a), y = palette_style(b);
            assert_true(strcmp(x.colour, y.colour) != 0 || x.filled != y.filled);
            assert_true(x.dash != 3 && y.dash != 3); /* dots mean published */
        }
    }
    int count;
    const char *const *names = palette_names(&count);
    for (int i = 0; i < count; i++) assert_int_equal(palette_slot(names[i]), i);
    assert_true(palette_slot("never heard of it") < PALETTE_STYLES);
}

/* Two architectures, lengths 64 and 128, widths 64 and 128 out of order, two seeds. */
static Study grid_study(void) {
    Study study = made_up_study();
    const char *const models[] = {"transformer", "hyena"};
    for (int m = 0; m < 2; m++) {
        for (int c = 3; c >= 0; c--) {
            for (int seed = 1; seed <= 2; seed++) {
                char text[256];
                snprintf(text, sizeof text,
                         "model=%s seed=%d lr=0.01 length=%d pairs=%d width=%d budget=2e12flop",
                         models[m], seed, c / 2 ? 128 : 64, c / 2 ? 8 : 4, c % 2 ? 128 : 64);
                made_up_cell(&study, text, m ? 0.5 : 1, m ? 0.4 + 0.1 * seed : 0.995);
            }
        }
    }
    return study;
}

static Chart build_with(const char *name, Study *study, const char *file) {
    int count;
    const Figure *figures = figure_list(&count);
    Published published;
    char relative[96], path[4096];
    snprintf(relative, sizeof relative, "results/published/%s", file);
    assert_int_equal(home_path(relative, path, sizeof path, NULL), 0);
    assert_int_equal(published_read(path, NULL, &published, NULL), 0);
    Summary summary = study_summarise(study);
    Chart chart = {0};
    for (int i = 0; i < count; i++) {
        if (strcmp(figures[i].name, name) == 0) {
            chart = figure_chart(&figures[i], study, &summary, &published);
        }
    }
    summary_free(&summary);
    published_free(&published);
    study_close(study);
    return chart;
}

static Chart build(const char *name, Study *study) {
    return build_with(name, study, "mqar.csv");
}

static const Series *find(const Panel *panel, const char *model, SeriesKind kind) {
    for (int s = 0; s < panel->count; s++) {
        const Series *series = &panel->series[s];
        if (series->kind == kind && !strcmp(series->model, model)) return series;
    }
    return NULL;
}

static void accuracy_has_a_panel_for_each_length(void **state) {
    (void)state;
    Study study = grid_study();
    Chart chart = build("accuracy", &study);
    assert_int_equal(chart.count, 2);
    assert_string_equal(chart.panels[0].title, "length 64, pairs 4");
    assert_string_equal(chart.x.label, "width");
    const Series *mean = find(&chart.panels[0], "hyena", SERIES_MEAN);
    assert_int_equal(mean->count, 2);
    assert_true(mean->points[0].x == 64 && mean->points[1].x == 128);
    assert_true(fabs(mean->points[0].y - 0.55) < 1e-12 && mean->points[0].low < 0.5);
    assert_int_equal(find(&chart.panels[0], "hyena", SERIES_SEEDS)->count, 4);
    /* Published: the four widths of figure 2, for measured architectures only. */
    const Series *dotted = find(&chart.panels[1], "hyena", SERIES_PUBLISHED);
    assert_int_equal(dotted->count, 4);
    assert_true(dotted->points[3].x == 512 && chart.x.high > 512);
    assert_null(find(&chart.panels[1], "h3", SERIES_PUBLISHED));
    assert_string_equal(chart.sources, "Arora et al. 2023 (Zoology), arXiv 2312.04927, Fig. 2");
    chart_free(&chart);
}

/* One width is one point in each panel, under the published curve; seconds then go by length. */
static void one_width(void **state) {
    (void)state;
    for (int figure = 0; figure < 2; figure++) {
        Study study = made_up_study();
        made_up_cell(&study, "model=hyena seed=1 lr=0.01 length=128 pairs=8 width=64", 0.5, 0.5);
        made_up_cell(&study, "model=hyena seed=1 lr=0.01 length=64 pairs=4 width=64 vocabulary=256",
                     0.7, 0.7);
        Chart chart = build(figure ? "seconds" : "accuracy", &study);
        assert_string_equal(chart.x.label, figure ? "length" : "width");
        assert_int_equal(chart.count, figure ? 1 : 2);
        if (figure) {
            assert_string_equal(chart.panels[0].title, "width 64");
            assert_int_equal(find(&chart.panels[0], "hyena", SERIES_MEAN)->count, 2);
            assert_true(chart.y.low == 20 && chart.y.high == 50); /* 23.5 s, room on both sides */
        } else {
            assert_int_equal(find(&chart.panels[1], "hyena", SERIES_MEAN)->count, 1);
            assert_int_equal(find(&chart.panels[1], "hyena", SERIES_PUBLISHED)->count, 4);
            assert_non_null(strstr(chart.sources, "Fig. 2 (vocabulary 8192, here 256)"));
        }
        chart_free(&chart);
    }
}

static void a_suite_without_width_is_drawn_against_length(void **state) {
    (void)state;
    Study study = made_up_study();
    study.axis_count = 2; /* length, pairs */
    made_up_cell(&study, "model=hyena seed=1 lr=0.01 length=128 pairs=8 width=64", 0.5, 0.5);
    made_up_cell(&study, "model=hyena seed=1 lr=0.01 length=64 pairs=4 width=64", 0.7, 0.7);
    Chart chart = build("accuracy", &study);
    assert_int_equal(chart.count, 1);
    assert_string_equal(chart.x.label, "length");
    const Series *dotted = find(&chart.panels[0], "hyena", SERIES_PUBLISHED);
    assert_int_equal(dotted->count, 2); /* only the settings that were measured */
    assert_true(dotted->points[0].x == 64 && dotted->points[1].x == 128);
    chart_free(&chart);
}

static Record *add_word_cell(Study *study, const char *model, const char *language, double chance,
                             double test) {
    char text[128];
    snprintf(text, sizeof text, "model=%s seed=1 lr=0.01 positions=rotary language=%s", model,
             language);
    Record *record = made_up_cell(study, text, test, test);
    snprintf(record->task, sizeof record->task, "formal");
    record->chance = chance;
    return record;
}

/* Words along x: places in the suite's order, models side by side, a dash of chance at each, and
 * scaled published values on our scale. */
static void words_are_places(void **state) {
    (void)state;
    Study study = made_up_study();
    snprintf(study.axes[0], sizeof study.axes[0], "language");
    study.axis_count = 1;
    add_word_cell(&study, "transformer", "parity", 0.5, 0.6);
    add_word_cell(&study, "transformer", "reverse", 0.1, 0.3);
    add_word_cell(&study, "mamba", "parity", 0.5, 0.7);
    add_word_cell(&study, "mamba", "reverse", 0.1, 0.2);
    Chart chart = build_with("accuracy", &study, "formal_languages.csv");
    assert_int_equal(chart.count, 1);
    assert_int_equal(chart.name_count, 2);
    assert_string_equal(chart.names[0], "parity");
    assert_true(chart.x.low == 0.5 && chart.x.high == 2.5 && isnan(chart.chance));
    const Panel *panel = &chart.panels[0];
    const Series *one = find(panel, "transformer", SERIES_POINTS);
    const Series *two = find(panel, "mamba", SERIES_POINTS);
    assert_true(one->points[0].x < 1 && two->points[0].x > 1); /* around place 1 */
    assert_true(fabs(one->points[1].x - one->points[0].x - 1) < 1e-12);
    assert_true(one->points[1].y == 0.3);
    int dashes = 0;
    for (int s = 0; s < panel->count; s++)
        if (panel->series[s].kind == SERIES_CHANCE) {
            const ChartPoint *ends = panel->series[s].points;
            assert_true(ends[0].y == (ends[0].x < 1.5 ? 0.5 : 0.1) && ends[1].x > ends[0].x);
            dashes++;
        }
    assert_true(dashes >= 2);
    /* Llama, reverse string: scaled 0.06 is 0.1 + 0.06 x 0.9, at the transformer's place. */
    const Series *open = find(panel, "transformer", SERIES_OPEN);
    assert_int_equal(open->count, 1);
    assert_true(open->points[0].x == one->points[1].x);
    assert_true(fabs(open->points[0].y - 0.154) < 1e-9);
    assert_non_null(strstr(chart.sources, "uncertain")); /* its rows were read by machine */
    chart_free(&chart);
}

/* Kinds of one architecture are series of their own, in its colour with other markers, and a
 * paper's point goes to the kind that it names. */
static void kinds_are_series_of_their_own(void **state) {
    (void)state;
    Study study = made_up_study();
    snprintf(study.axes[0], sizeof study.axes[0], "language");
    study.axis_count = 1;
    static const char *const kinds[] = {"1:0", "0:1"};
    add_word_cell(&study, "lstm", "reverse", 0.1, 0.3); /* of xlstm's colour */
    for (int k = 0; k < 2; k++) {
        Record *record = add_word_cell(&study, "xlstm", "reverse", 0.1, 0.2 + 0.1 * k);
        settings_add(&record->settings, "blocks", kinds[k], "test", NULL);
        snprintf(record->name, sizeof record->name, "xlstm[%s]", kinds[k]);
    }
    Chart chart = build_with("accuracy", &study, "formal_languages.csv");
    const Panel *panel = &chart.panels[0];
    const Series *first = find(panel, "xlstm[1:0]", SERIES_POINTS);
    const Series *second = find(panel, "xlstm[0:1]", SERIES_POINTS);
    assert_null(find(panel, "xlstm", SERIES_POINTS));
    const LineStyle own = palette_style(palette_slot("xlstm")), a = palette_style(first->slot),
                    b = palette_style(second->slot);
    assert_string_equal(a.colour, own.colour);
    assert_string_equal(b.colour, own.colour);
    assert_true(first->slot != second->slot && second->slot != palette_slot("lstm"));
    assert_true(first->points[0].x < second->points[0].x);
    /* Reverse string: scaled 0.22 and 0.14 of what is above the chance of 0.1. */
    const Series *open = find(panel, "xlstm[1:0]", SERIES_OPEN);
    assert_true(open->count == 1 && fabs(open->points[0].y - 0.298) < 1e-9);
    assert_true(open->slot == first->slot && open->points[0].x == first->points[0].x);
    open = find(panel, "xlstm[0:1]", SERIES_OPEN);
    assert_true(open->count == 1 && fabs(open->points[0].y - 0.226) < 1e-9);
    chart_free(&chart);
}

/* More kinds than their colour has styles take others' that are free. */
static void kinds_never_look_alike(void **state) {
    (void)state;
    static const char *const names[] = {"lstm", "a", "b", "c", "d", "xlstm"}, *const models[] = {
                                                                                  "lstm",  "xlstm",
                                                                                  "xlstm", "xlstm",
                                                                                  "xlstm", "xlstm"};
    int slots[6];
    palette_slots(names, models, 6, slots);
    assert_int_equal(slots[0], palette_slot("lstm"));
    assert_int_equal(slots[5], palette_slot("xlstm"));
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < i; j++) assert_true(slots[i] != slots[j]);
}

/* Small ListOps says so beside the papers' points; Pathfinder's toy level, which is ours, has none.
 */
static void fixed_sizes_are_said(void **state) {
    (void)state;
    Study study = made_up_study();
    snprintf(study.axes[0], sizeof study.axes[0], "task");
    study.axis_count = 1;
    static const char *const cells[] = {
        "model=transformer seed=1 lr=0.01 task=listops longest=64",
        "model=transformer seed=1 lr=0.01 task=pathfinder size=32 difficulty=toy",
        "model=transformer seed=1 lr=0.01 task=retrieval"};
    for (int i = 0; i < 3; i++) {
        Record *record = made_up_cell(&study, cells[i], 0.5, 0.5);
        snprintf(record->task, sizeof record->task, "%s", study_value(record, "task"));
    }
    Chart chart = build_with("accuracy", &study, "lra.csv");
    assert_non_null(strstr(chart.sources, "(longest 2000, here 64)"));
    const Series *open = find(&chart.panels[0], "transformer", SERIES_OPEN);
    int places[4] = {0};
    for (int i = 0; i < open->count; i++) places[(int)lround(open->points[i].x)]++;
    assert_true(places[1] > 0 && places[2] == 0 && places[3] > 0);
    chart_free(&chart);
}

/* H3's table 2 is at these sizes, Hyena's at others: they stand here only where H3's does not. */
static void exact_sizes_come_first(void **state) {
    (void)state;
    for (int exact = 0; exact < 2; exact++) {
        Study study = made_up_study();
        snprintf(study.axes[0], sizeof study.axes[0], "task");
        study.axis_count = 1;
        char text[128];
        snprintf(text, sizeof text, "model=h3 seed=1 lr=0.01 task=recall length=22 vocabulary=%d",
                 exact ? 10 : 12);
        strcpy(made_up_cell(&study, text, 0.5, 0.5)->task, "recall");
        strcpy(made_up_cell(&study, "model=h3 seed=1 lr=0.01 task=nns", 0.5, 0.5)->task, "nns");
        Chart chart = build_with("accuracy", &study, "synthetics_h3_hyena.csv");
        const Series *open = find(&chart.panels[0], "h3", SERIES_OPEN);
        assert_true(exact ? open->count == 1 && fabs(open->points[0].y - 0.998) < 1e-9
                          : open->count > 1);
        assert_true(!exact == (strstr(chart.sources, "Hyena") != NULL));
        chart_free(&chart);
    }
}

/* A suite of two tasks and two budgets: the note says so, the caption lists the tasks. */
static void several_tasks_are_said(void **state) {
    (void)state;
    Study study = made_up_study();
    study.axis_count = 1;
    made_up_cell(&study, "model=mamba seed=1 lr=0.01 length=64 budget=1e9flop", 0.5, 0.5);
    Record *other =
        made_up_cell(&study, "model=mamba seed=1 lr=0.01 length=8 budget=2e9flop", 0.5, 0.5);
    snprintf(other->task, sizeof other->task, "nns");
    Summary summary = study_summarise(&study);
    Table table = table_build(&study, &summary);
    assert_non_null(strstr(table.caption[1], "Task mqar v1, nns v1;"));
    table_free(&table);
    summary_free(&summary);
    Chart chart = build("accuracy", &study);
    assert_non_null(strstr(chart.note, "suite mqar, preset quick, budget by case"));
    chart_free(&chart);
}

/* Tests at several lengths, with the papers' at lengths in sight. */
static void lengths_have_a_figure(void **state) {
    (void)state;
    Study study = made_up_study();
    study.axis_count = 0;
    Record *record = made_up_cell(&study, "model=mamba seed=1 lr=0.01 length=64", 0.5, 0.5);
    snprintf(record->task, sizeof record->task, "induction");
    for (int64_t length = 64; length <= 256; length *= 2)
        sample_group_add(record->result.test.lengths, length, length == 64, 1);
    Chart chart = build_with("length", &study, "selective_copy_induction_mamba.csv");
    assert_int_equal(chart.count, 1);
    const Series *own = find(&chart.panels[0], "mamba", SERIES_MEAN);
    assert_int_equal(own->count, 3);
    assert_true(own->points[0].x == 64 && own->points[0].y == 1 && own->points[2].y == 0);
    const Series *theirs = find(&chart.panels[0], "mamba", SERIES_PUBLISHED);
    assert_int_equal(theirs->count, 3); /* 2^6, 2^7, 2^8 */
    assert_true(theirs->points[2].x == 256 && theirs->points[2].y == 1);
    assert_non_null(strstr(chart.sources, "Table 11 (length 256, here 64; other parameters)"));
    chart_free(&chart);
}

/* Tests at several numbers of labels. */
static void label_counts_have_a_figure(void **state) {
    (void)state;
    Study study = made_up_study();
    study.axis_count = 0;
    Record *record = made_up_cell(&study, "model=mamba seed=1 lr=0.01", 0.5, 0.5);
    sample_group_add(record->result.test.label_counts, 4, 1, 1);
    Chart one = build("labels", &study);
    assert_int_equal(one.count, 0);
    chart_free(&one);
    study = made_up_study();
    study.axis_count = 0;
    record = made_up_cell(&study, "model=mamba seed=1 lr=0.01", 0.5, 0.5);
    sample_group_add(record->result.test.label_counts, 4, 1, 1);
    sample_group_add(record->result.test.label_counts, 64, 0.25, 1);
    Chart chart = build("labels", &study);
    const Series *own = find(&chart.panels[0], "mamba", SERIES_MEAN);
    assert_int_equal(own->count, 2);
    assert_true(own->points[1].x == 64 && own->points[1].y == 0.25);
    chart_free(&chart);
}

/* One model for several numbers of labels, two widths: a panel for each number, its own published
 * points with it, which have nothing to do beside the mean of all. */
static void widths_have_a_panel_for_each_label_count(void **state) {
    (void)state;
    for (int figure = 0; figure < 2; figure++) {
        Study study = made_up_study();
        snprintf(study.axes[0], sizeof study.axes[0], "width");
        study.axis_count = 1;
        for (int i = 0; i < 6; i++) {
            char text[128];
            const int width = i < 3 ? 128 : 64, seed = 1 + i % 3;
            snprintf(text, sizeof text,
                     "model=hyena seed=%d lr=0.01 width=%d length=128 pairs=8 vocabulary=64", seed,
                     width);
            Record *record = made_up_cell(&study, text, 0.5, 0.5);
            if (i == 5) continue; /* diverged: no test */
            sample_group_add(record->result.test.label_counts, 4, width / 256.0, 1);
            sample_group_add(record->result.test.label_counts, 4, width / 256.0, 1);
            sample_group_add(record->result.test.label_counts, 16, 0.25, 1);
        }
        Chart chart = build(figure ? "accuracy" : "width", &study);
        if (figure) {
            assert_int_equal(chart.count, 1);
            assert_null(find(&chart.panels[0], "hyena", SERIES_PUBLISHED));
            chart_free(&chart);
            continue;
        }
        assert_int_equal(chart.count, 2);
        assert_string_equal(chart.x.label, "width");
        for (int p = 0; p < 2; p++) {
            assert_string_equal(chart.panels[p].title, p ? "16 labels" : "4 labels");
            const Series *own = find(&chart.panels[p], "hyena", SERIES_MEAN);
            const Series *seeds = find(&chart.panels[p], "hyena", SERIES_SEEDS);
            const Series *theirs = find(&chart.panels[p], "hyena", SERIES_PUBLISHED);
            assert_int_equal(own->count, 2);
            assert_true(own->points[0].x == 64 && own->points[1].x == 128);
            const double chance = 1.0 / 4096, low = p ? 0.25 : 64 / 256.0;
            assert_true(fabs(own->points[0].y - (2 * low + chance) / 3) < 1e-12);
            assert_true(own->points[1].y == (p ? 0.25 : 0.5));
            assert_true(own->points[0].low < own->points[0].y && seeds->count == 6);
            assert_int_equal(theirs->count, 4);
            assert_true(theirs->points[3].x == 512);
        }
        assert_true(find(&chart.panels[0], "hyena", SERIES_PUBLISHED)->points[0].y >
                    find(&chart.panels[1], "hyena", SERIES_PUBLISHED)->points[0].y);
        assert_non_null(strstr(chart.sources, "(vocabulary 8192, here 64; a model for each number "
                                              "of pairs, here for all)"));
        chart_free(&chart);
    }
}

/* A suite over widths: the state's bytes lie along x, in a panel for each length. */
static void state_sizes_have_a_figure(void **state) {
    (void)state;
    Study study = grid_study();
    for (int i = 0; i < study.count; i++)
        study.records[i].result.state_floats =
            strtoll(study_value(&study.records[i], "width"), NULL, 10);
    Chart chart = build("state", &study);
    assert_int_equal(chart.count, 2);
    const Series *series = find(&chart.panels[1], "hyena", SERIES_MEAN);
    assert_int_equal(series->count, 2);
    assert_true(series->points[0].x == 4 * 64 && series->points[1].x == 4 * 128);
    chart_free(&chart);
}

/* Trained on a mixture: the papers' points by bytes of state, as open markers; otherwise none. */
static void states_of_a_mixture_have_published_points(void **state) {
    (void)state;
    for (int mixed = 0; mixed < 2; mixed++) {
        Study study = grid_study();
        for (int i = 0; i < study.count; i++) {
            study.records[i].result.state_floats = 1 << 12;
            sample_group_add(study.records[i].result.test.label_counts, 4, 1, 1);
            if (mixed) sample_group_add(study.records[i].result.test.label_counts, 8, 1, 1);
        }
        Chart chart = build("state", &study);
        const Series *theirs = find(&chart.panels[0], "hyena", SERIES_OPEN);
        if (mixed) {
            assert_int_equal(theirs->count, 7);
            assert_true(theirs->points[6].x == 1 << 22 && theirs->points[6].y == 0.505);
            assert_true(chart.x.high > 1 << 22);
            assert_non_null(strstr(chart.sources, "Fig. 2 (a mixture of its own)"));
        } else {
            assert_null(theirs);
        }
        chart_free(&chart);
    }
}

/* The best validation of each tuned value; nothing where there is one value. */
static void tuned_values_have_a_figure(void **state) {
    (void)state;
    for (int values = 1; values <= 2; values++) {
        Study study = made_up_study();
        study.axis_count = 0;
        made_up_cell(&study, "model=mamba seed=1 lr=0.01", 0.5, 0.5);
        if (values == 2) {
            made_up_cell(&study, "model=mamba seed=1 lr=0.1", 0.7, 0.6);
            made_up_cell(&study, "model=mamba seed=2 lr=0.1", 0.9, 0.6);
        }
        Chart chart = build("tuning", &study);
        assert_int_equal(chart.count, values - 1);
        if (values == 2) {
            assert_string_equal(chart.x.label, "lr");
            const Series *series = find(&chart.panels[0], "mamba", SERIES_MEAN);
            assert_int_equal(series->count, 2); /* the second seed was not tuned */
            assert_true(series->points[0].y == 0.5 && series->points[1].y == 0.7);
        }
        chart_free(&chart);
    }
}

static void learning_shows_every_seed_to_its_end(void **state) {
    (void)state;
    Study study = grid_study();
    Chart chart = build("learning", &study);
    assert_int_equal(chart.count, 4);
    assert_string_equal(chart.x.label, "training compute (TFLOP)");
    assert_int_equal(chart.panels[0].count, 4);
    const Series *curve = &chart.panels[0].series[0];
    assert_int_equal(curve->count, 10);
    assert_true(fabs(curve->points[9].x - 1.2) < 1e-12);
    assert_true(isnan(curve->points[8].low) && curve->points[9].low == curve->points[9].y);
    chart_free(&chart);
}

static void text_plot_is_plain_and_narrow(void **state) {
    (void)state;
    Study study = grid_study();
    Chart chart = build("accuracy", &study);
    char *text;
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);
    chart_write_text(&chart, 60, file);
    fclose(file);
    assert_non_null(strstr(text, "A transformer  B hyena"));
    assert_non_null(strstr(text, "length 128, pairs 8"));
    /* The first row of the first panel is accuracy 1: the transformer lies there at both widths. */
    const char *top = strstr(text, "     1 |");
    assert_non_null(top);
    const char *end = strchr(top, '\n');
    int letters = 0;
    for (const char *at = top; at < end; at++) letters += *at == 'A' || *at == '*';
    assert_true(letters >= 2);
    for (char *rest = text, *line; (line = strtok_r(rest, "\n", &rest));) {
        for (const char *at = line; *at; at++) assert_true(isprint((unsigned char)*at));
        if (strchr(line, '|')) assert_true(strlen(line) <= 60);
    }
    free(text);
    chart_free(&chart);
}

/* ---- gnuplot ---- */

/* A folder with a stand-in for gnuplot, put in front of PATH (or made the whole PATH). */
typedef struct Fixture {
    char folder[64], old_path[8192];
    Chart chart;
} Fixture;

static int fixture_open(void **state) {
    Fixture *fixture = calloc(1, sizeof *fixture);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/longhaul figure XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->old_path, sizeof fixture->old_path, "%s", getenv("PATH"));
    Study study = grid_study();
    fixture->chart = build("accuracy", &study);
    assert_int_equal(chart_write_data(&fixture->chart, fixture->folder, NULL), 0);
    *state = fixture;
    return 0;
}

static int fixture_close(void **state) {
    Fixture *fixture = *state;
    char command[256];
    setenv("PATH", fixture->old_path, 1);
    snprintf(command, sizeof command, "rm -rf '%s'", fixture->folder);
    assert_int_equal(system(command), 0);
    chart_free(&fixture->chart);
    free(fixture);
    return 0;
}

static void stand_in(const Fixture *fixture, const char *script) {
    char path[128], search[8400];
    snprintf(path, sizeof path, "%s/gnuplot", fixture->folder);
    assert_int_equal(file_write(path, script, strlen(script), NULL), 0);
    assert_int_equal(chmod(path, 0755), 0);
    snprintf(search, sizeof search, "%s:%s", fixture->folder, fixture->old_path);
    setenv("PATH", search, 1);
}

static Status draw(const Fixture *fixture, char names[1024], Error *error) {
    memset(names, 0, 1024);
    FILE *file = fmemopen(names, 1023, "w");
    *error = (Error){0};
    const Status status = chart_draw(&fixture->chart, fixture->folder, file, error);
    fclose(file);
    return status;
}

static bool has(const Fixture *fixture, const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", fixture->folder, name);
    return file_exists(path);
}

static void gnuplot_draws_every_format(void **state) {
    const Fixture *fixture = *state;
    char names[1024], path[128];
    Error error;
    assert_int_equal(draw(fixture, names, &error), 0);
    assert_non_null(strstr(names, "accuracy.svg\n"));
    snprintf(path, sizeof path, "%s/accuracy.svg", fixture->folder);
    char *svg;
    size_t bytes;
    assert_int_equal(file_read(path, &svg, &bytes, NULL), 0);
    assert_non_null(strstr(svg, "length 128, pairs 8"));
    assert_non_null(strstr(svg, "arXiv 2312.04927"));
    assert_non_null(strstr(svg, "transformer"));
    free(svg);
    assert_false(has(fixture, "accuracy.svg.partial"));
    /* Drawn already: gnuplot is not needed again, until the points change. */
    char first[1024];
    memcpy(first, names, sizeof first);
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(draw(fixture, names, &error), 0);
    assert_string_equal(names, first);
    assert_int_equal(chart_write_data(&fixture->chart, fixture->folder, NULL), 0);
    assert_int_equal(draw(fixture, names, &error), 0);
    fixture->chart.panels[0].series[0].points[0].y = 0.25;
    assert_int_equal(chart_write_data(&fixture->chart, fixture->folder, NULL), 0);
    assert_int_equal(draw(fixture, names, &error), STATUS_IO);
}

static void missing_gnuplot_leaves_the_points(void **state) {
    const Fixture *fixture = *state;
    char names[1024];
    Error error;
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(draw(fixture, names, &error), STATUS_IO);
    assert_non_null(strstr(error.message, "apt-get install gnuplot-nox"));
    assert_non_null(strstr(error.message, "--ascii"));
    assert_true(has(fixture, "accuracy.dat") && has(fixture, "accuracy.gp"));
}

static void failing_gnuplot_keeps_the_older_picture(void **state) {
    const Fixture *fixture = *state;
    char names[1024], path[128];
    Error error;
    snprintf(path, sizeof path, "%s/accuracy.svg", fixture->folder);
    assert_int_equal(file_write(path, "old", 3, NULL), 0);
    const struct timespec long_ago[2] = {{1, 0}, {1, 0}};
    assert_int_equal(utimensat(AT_FDCWD, path, long_ago, 0), 0);
    stand_in(fixture, "#!/bin/sh\ncase \"$*\" in *GPVAL*) echo ' svg pdfcairo ';; *)\n"
                      "echo half > accuracy.svg.partial; echo 'line 7: no such thing'; exit 1;; "
                      "esac\n");
    assert_int_equal(draw(fixture, names, &error), STATUS_IO);
    assert_non_null(strstr(error.message, "line 7: no such thing"));
    assert_string_equal(names, "");
    char *text;
    size_t bytes;
    assert_int_equal(file_read(path, &text, &bytes, NULL), 0);
    assert_string_equal(text, "old");
    free(text);
    assert_false(has(fixture, "accuracy.svg.partial"));
}

static void gnuplot_without_cairo_still_draws_svg(void **state) {
    const Fixture *fixture = *state;
    char names[1024];
    Error error;
    stand_in(fixture, "#!/bin/sh\ncase \"$*\" in *GPVAL*) echo ' dumb svg ';; *)\n"
                      "echo new > accuracy.svg.partial;; esac\n");
    assert_int_equal(draw(fixture, names, &error), 0);
    assert_non_null(strstr(names, "accuracy.svg\n"));
    assert_null(strstr(names, "png"));
    assert_true(has(fixture, "accuracy.svg") && !has(fixture, "accuracy.png"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(styles_differ),
        cmocka_unit_test(accuracy_has_a_panel_for_each_length),
        cmocka_unit_test(one_width),
        cmocka_unit_test(a_suite_without_width_is_drawn_against_length),
        cmocka_unit_test(words_are_places),
        cmocka_unit_test(kinds_are_series_of_their_own),
        cmocka_unit_test(kinds_never_look_alike),
        cmocka_unit_test(exact_sizes_come_first),
        cmocka_unit_test(fixed_sizes_are_said),
        cmocka_unit_test(several_tasks_are_said),
        cmocka_unit_test(lengths_have_a_figure),
        cmocka_unit_test(label_counts_have_a_figure),
        cmocka_unit_test(widths_have_a_panel_for_each_label_count),
        cmocka_unit_test(state_sizes_have_a_figure),
        cmocka_unit_test(states_of_a_mixture_have_published_points),
        cmocka_unit_test(tuned_values_have_a_figure),
        cmocka_unit_test(learning_shows_every_seed_to_its_end),
        cmocka_unit_test(text_plot_is_plain_and_narrow),
        cmocka_unit_test_setup_teardown(gnuplot_draws_every_format, fixture_open, fixture_close),
        cmocka_unit_test_setup_teardown(missing_gnuplot_leaves_the_points, fixture_open,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(failing_gnuplot_keeps_the_older_picture, fixture_open,
                                        fixture_close),
        cmocka_unit_test_setup_teardown(gnuplot_without_cairo_still_draws_svg, fixture_open,
                                        fixture_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
