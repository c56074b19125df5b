/* The test loss of language modelling taken apart: groups, totals, JSON, columns; and that a real
 * cell's parts add up to its loss. */
#include "tests/data_case.h"

#include <jansson.h>
#include <math.h>

#include "bench/cell/result.h"
#include "bench/report/figure.h"
#include "bench/report/table.h"
#include "bench/train/train.h"
#include "tests/made_up.h"

static void groups_hold_what_they_say(void **state) {
    (void)state;
    static Breakdown b;
    for (int64_t position = 0; position < 70000; position += position < 2000 ? 1 : 97)
        breakdown_add(&b, position, position, 1);
    double places = 0, counts = 0;
    int64_t next = 0;
    for (int g = 0; g < BREAKDOWN_POSITIONS; g++) {
        const LossGroup *group = &b.positions[g];
        places += group->labels;
        if (group->labels == 0) continue;
        assert_int_equal(group->from, next); /* no gaps, no overlap */
        assert_true(group->to >= group->from);
        assert_true((double)(group->to - group->from) <= 0.25 * (double)group->from);
        next = group->to + 1;
    }
    next = 0;
    for (int g = 0; g < BREAKDOWN_FREQUENCIES; g++) {
        const LossGroup *group = &b.frequencies[g];
        counts += group->labels;
        if (group->labels == 0) continue;
        assert_int_equal(group->from, next);
        next = group->to + 1;
    }
    assert_int_equal(b.frequencies[1].to, 9);
    assert_int_equal(b.frequencies[2].labels, 90);
    assert_true(places == b.labels && counts == b.labels && b.nats == b.labels);
    breakdown_add(&b, (int64_t)1 << 40, INT64_MAX, 1); /* beyond the last group: kept in it */
    breakdown_add(&b, 5, -1, 1);                       /* not known how often */
    assert_true(b.frequencies[BREAKDOWN_FREQUENCIES - 1].to == INT64_MAX);
    counts = 0;
    for (int g = 0; g < BREAKDOWN_FREQUENCIES; g++) counts += b.frequencies[g].labels;
    assert_true(counts == b.labels - 1);
}

static void conventions_follow_from_the_totals(void **state) {
    (void)state;
    static Breakdown b, back;
    assert_true(isnan(breakdown_bits_per_byte(&b)) && isnan(breakdown_word_perplexity(&b)));
    for (int i = 0; i < 10; i++) breakdown_add(&b, i, 3, 2 * log(2));
    const Extent extent = {.bytes = 40, .words = 3, .lines = 2};
    breakdown_add_extent(&b, &extent);
    assert_true(fabs(breakdown_bits_per_byte(&b) - 0.5) < 1e-12); /* 20 bits, 40 bytes */
    assert_true(fabs(breakdown_word_perplexity(&b) - 16) < 1e-9); /* 4 bits each of 5 */
    json_t *json = breakdown_to_json(&b);
    assert_true(breakdown_from_json(json, &back));
    assert_memory_equal(&b, &back, sizeof b);
    json_object_set_new(json, "nats", json_string("many"));
    assert_false(breakdown_from_json(json, &back));
    json_decref(json);
    assert_true(breakdown_from_json(NULL, &back)); /* results from before have none */
    assert_true(back.labels == 0);
}

static void lengths_survive_writing_and_reading(void **state) {
    (void)state;
    static Breakdown b, back;
    for (int64_t length = 3; length < 5000; length = 2 * length - 1)
        sample_group_add(b.lengths, length, 0.25, 1);
    sample_group_add(b.lengths, 3, 1, 1);
    sample_group_add(b.label_counts, 7, 0.5, 1);
    sample_group_add(b.label_counts, 7, 0.25, 2); /* two labels, half of one right */
    assert_true(sample_group_accuracy(&b.label_counts[7]) == 1.0 / 3);
    b.last = (LastLabels){.samples = 4, .loss = 3};
    b.guesses = (Guesses){.samples = 8, .most_frequent = 0.25, .first_token = 0.5};
    assert_int_equal(b.lengths[3].from, 3);
    assert_true(b.lengths[3].samples == 2 && b.lengths[3].accuracy == 1.25);
    json_t *json = breakdown_to_json(&b);
    assert_true(breakdown_from_json(json, &back));
    assert_memory_equal(&b, &back, sizeof b);
    json_object_set_new(json, "by_length", json_integer(3));
    assert_false(breakdown_from_json(json, &back));
    json_decref(json);
}

static void write_book(void) {
    char text[8000];
    for (int i = 0; i < 8000; i++)
        text[i] = i % 6 == 5 ? (i % 60 == 59 ? '\n' : ' ') : (char)('a' + (i * i / 11) % 9);
    data_case_write("book.txt", text, sizeof text);
}

static Result train_cell(const char *task, const char *settings) {
    Cell cell;
    Error error = {0};
    char copy[512];
    snprintf(copy, sizeof copy,
             "width=8 layers=1 batch=4 budget=2step evaluations=1 validation_samples=4 "
             "test_samples=1000 %s",
             settings);
    if (cell_open(&cell, task, "lstm", &error) != STATUS_OK) fail_msg("%s", error.message);
    for (char *rest = copy, *word; (word = strtok_r(rest, " ", &rest));) {
        char *value = strchr(word, '=');
        *value++ = '\0';
        if (cell_set(&cell, word, value, &error) != STATUS_OK) fail_msg("%s", error.message);
    }
    const TrainOptions options = {.threads = 1};
    Result result = {0};
    if (cell_train(&cell, &options, &result, &error) != STATUS_OK) fail_msg("%s", error.message);
    cell_close(&cell);
    return result;
}

static void parts_of_a_test_add_up(void **state) {
    (void)state;
    write_book();
    static const char *const settings[] = {"data=book.txt length=16",
                                           "data=book.txt length=16 evaluation_length=40 stride=8",
                                           "data=book.txt length=7 unit=word vocabulary=20"};
    for (int k = 0; k < 3; k++) {
        const bool words = k == 2;
        const Result result = train_cell("lm", settings[k]);
        const Breakdown *test = &result.test;
        /* the test text is the last 400 bytes; its first token is context only */
        assert_true(test->labels == (words ? 68 + 7 - 1 : 399));
        assert_true(fabs(test->nats / test->labels - result.test_loss) < 1e-9);
        double labels = 0, nats = 0;
        for (int g = 0; g < BREAKDOWN_POSITIONS; g++) {
            labels += test->positions[g].labels;
            nats += test->positions[g].nats;
        }
        assert_true(labels == test->labels && fabs(nats - test->nats) < 1e-6);
        if (!words) assert_true(test->extent.bytes == 399);
        assert_true(test->extent.words >= 66 && test->extent.lines == 7);
        /* Only the first window scores tokens with less context than the window less the stride. */
        if (k == 1) assert_true(test->positions[0].labels == 1);
    }
}

/* A test at several lengths: every sample is in the group of its length, and the groups' mean is
 * the test metric. A test at one length has no such groups. */
static void lengths_of_a_test_add_up(void **state) {
    (void)state;
    const Result several = train_cell("induction", "length=8 test_shortest=8 test_longest=32");
    double samples = 0, accuracy = 0;
    for (int g = 0; g < BREAKDOWN_POSITIONS; g++) {
        const SampleGroup *group = &several.test.lengths[g];
        if (group->samples > 0)
            assert_true(group->from == 8 || group->from == 16 || group->from == 32);
        samples += group->samples;
        accuracy += group->accuracy;
    }
    assert_true(samples == 1000 && fabs(accuracy / samples - several.test_metric) < 1e-9);
    json_t *json = result_to_json(&several);
    Result back = {0};
    char field[64];
    assert_true(result_from_json(json, &back, field, sizeof field));
    assert_memory_equal(&back.test.lengths, &several.test.lengths, sizeof back.test.lengths);
    result_free(&back);
    json_decref(json);
    const Result one = train_cell("induction", "length=8");
    for (int g = 0; g < BREAKDOWN_POSITIONS; g++) assert_true(one.test.lengths[g].samples == 0);
}

/* Samples of several settings: each in the group of its number of labels, too. */
static void label_counts_of_a_test_add_up(void **state) {
    (void)state;
    const Result mixed = train_cell("mqar", "mix=16x2+16x4 test_mix=16x1+16x4 vocabulary=16");
    const SampleGroup *groups = mixed.test.label_counts;
    assert_true(groups[1].samples > 0 && groups[4].samples > 0 && groups[2].samples == 0);
    assert_true(groups[1].samples + groups[4].samples == 1000);
    const double accuracy = (groups[1].accuracy + groups[4].accuracy) / 1000;
    assert_true(fabs(accuracy - mixed.test_metric) < 1e-9);
}

/* The same training scored twice. Words of reverse have 1 to 3 labels here, and a length for each
 * number of them, so the accuracies of words by length, weighted with their labels, are those of
 * tokens. */
static void all_labels_may_count_alike(void **state) {
    (void)state;
    static const char *const settings = "language=reverse shortest=3 longest=7 test_shortest=3 "
                                        "test_longest=7 budget=60step lr=0.03";
    char of_words[256];
    snprintf(of_words, sizeof of_words, "%s average=words", settings);
    const Result tokens = train_cell("formal", settings), words = train_cell("formal", of_words);
    assert_true(tokens.test_loss == words.test_loss);
    double labels = 0, right = 0, samples = 0, shares = 0;
    for (int k = 1; k <= 3; k++) {
        const SampleGroup *group = &words.test.lengths[2 * k], *same = &tokens.test.lengths[2 * k];
        assert_true(group->samples > 100 && group->weight == group->samples);
        assert_true(same->samples == group->samples && same->weight == k * group->samples);
        assert_true(fabs(sample_group_accuracy(same) - sample_group_accuracy(group)) < 1e-12);
        samples += group->samples;
        shares += group->accuracy;
        labels += k * group->samples;
        right += k * group->accuracy;
    }
    assert_true(samples == 1000); /* both are shares of some 2,000: sums differ by rounding */
    assert_true(fabs(words.test_metric - shares / samples) < 1e-12);
    assert_true(fabs(tokens.test_metric - right / labels) < 1e-12);
    assert_true(fabs(tokens.test_metric - words.test_metric) > 1e-3);
}

/* The error at the last candidate is the same number whether it is reported beside the error at all
 * of them or alone; the two differ. Sums of 1,000 single-precision losses in the same order. */
static void the_last_label_is_reported_apart(void **state) {
    (void)state;
    const Result all = train_cell("nns", "length=6"),
                 last = train_cell("nns", "length=6 scored=last");
    assert_true(all.test.last.samples == 1000);
    assert_true(fabs(breakdown_last(&all.test) - last.test_loss) < 1e-12);
    assert_true(fabs(breakdown_last(&all.test) - all.test_loss) > 1e-4);
    assert_true(isnan(breakdown_last(&last.test)));
}

/* The same training scored twice: two digits a sample are 0, 1 or 2 right, and a sum is right where
 * both are. With P1 and P2 the shares of samples with one and both right, accuracy by digits is
 * P1 / 2 + P2 and by sums P2: less, but not below twice the first less 1, as P1 + P2 <= 1. */
static void whole_answers_are_right_or_wrong(void **state) {
    (void)state;
    const Result digits = train_cell("digit_addition", "digits=1 budget=100step");
    const Result sums = train_cell("digit_addition", "digits=1 budget=100step right=sum");
    assert_true(digits.test_loss == sums.test_loss);
    assert_true(sums.test_metric > 0 && sums.test_metric < digits.test_metric);
    assert_true(sums.test_metric > 2 * digits.test_metric - 1);
    const double count = sums.test_metric * 1000; /* of 1,000 samples, to the rounding of a sum */
    assert_true(fabs(count - round(count)) < 1e-9);
}

/* The distance from the entropy stands in the row of the language whose entropy is known, and in
 * no other; tables of other tasks have no such column. */
static void tables_show_the_distance_from_the_entropy(void **state) {
    (void)state;
    Study study = made_up_study();
    made_up_cell(&study, "model=lstm length=64 pairs=4 width=64 lr=1e-3 seed=1", 20, 20);
    made_up_cell(&study, "model=lstm length=128 pairs=4 width=64 lr=1e-3 seed=1", 20, 20);
    for (int known = 0; known < 2; known++) {
        for (int i = 0; i < 2; i++) {
            Breakdown *test = &study.records[i].result.test;
            *test = (Breakdown){0};
            if (!known) continue;
            breakdown_add(test, 0, 5, log(20));
            if (i == 1) test->extent = (Extent){10, 1, 1};
        }
        study.records[0].best = known ? 10 : NAN;
        study.records[1].best = NAN;
        Summary summary = study_summarise(&study);
        Table table = table_build(&study, &summary);
        int column = 0;
        while (column < table.column_count &&
               strcmp(table.columns[column].key, "nats_above_best") != 0)
            column++;
        assert_int_equal(column < table.column_count, known);
        if (known) {
            assert_true(fabs(table_value(&table, 0, column)->number - log(2)) < 1e-12);
            assert_true(isnan(table_value(&table, 1, column)->number));
        }
        int figures, panels = 0;
        const Figure *list = figure_list(&figures);
        for (int f = 0; f < figures; f++) {
            Chart chart = figure_chart(&list[f], &study, &summary, &(Published){0});
            if (strcmp(list[f].name, "frequency") == 0) panels = chart.count;
            chart_free(&chart);
        }
        assert_int_equal(panels, known ? 2 : 0);
        table_free(&table);
        summary_free(&summary);
    }
    study_close(&study);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_hold_what_they_say),
        cmocka_unit_test(conventions_follow_from_the_totals),
        cmocka_unit_test(lengths_survive_writing_and_reading),
        cmocka_unit_test(parts_of_a_test_add_up),
        cmocka_unit_test(lengths_of_a_test_add_up),
        cmocka_unit_test(label_counts_of_a_test_add_up),
        cmocka_unit_test(all_labels_may_count_alike),
        cmocka_unit_test(the_last_label_is_reported_apart),
        cmocka_unit_test(whole_answers_are_right_or_wrong),
        cmocka_unit_test(tables_show_the_distance_from_the_entropy),
    };
    return cmocka_run_group_tests_name("breakdown", tests, data_case_begin, data_case_end);
}
