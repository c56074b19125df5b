/* Associative recall, induction heads and selective copying: oracles from the tokens alone, and the
 * laws of the published generators. */
#include "tests/task_case.h"

#include <math.h>

static void recall_is_answered_by_the_pairs(void **state) {
    (void)state;
    static const char *const settings[] = {"", "length=42 vocabulary=20", "length=4 vocabulary=4",
                                           "length=1026 vocabulary=41 loss=answer"};
    for (int k = 0; k < 4; k++) {
        TaskCase c;
        case_open(&c, "recall", settings[k]);
        const int64_t length = c.problem.length, vocabulary = c.problem.vocabulary;
        const int64_t keys = (vocabulary - 2) / 2;
        for (int64_t index = 0; index < 300; index++) {
            case_draw(&c, 5, SPLIT_TEST, index);
            const int32_t *tokens = c.sample.tokens;
            assert_int_equal(c.sample.positions[0], length - 1);
            assert_int_equal(tokens[length - 2], vocabulary - 1);
            int64_t found = 0;
            for (int64_t i = 0; i < length - 2; i += 2) {
                assert_in_range(tokens[i], 1, keys);
                assert_in_range(tokens[i + 1], keys + 1, vocabulary - 2);
                if (tokens[i] != tokens[length - 1]) continue;
                assert_int_equal(tokens[i + 1], c.sample.classes[0]);
                found++;
            }
            assert_true(found > 0);
            for (int64_t j = 1; j < c.problem.labels; j++) assert_true(c.sample.weights[j] == 0);
        }
        case_close(&c);
    }
}

/* Training keeps its length where the test has another one; both are answered by their pairs. */
static void recall_is_tested_at_another_length(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "recall", "length=22 test_length=42");
    assert_true(c.problem.length == 22 && c.problem.evaluation_length == 42 && !c.problem.padded);
    for (int64_t index = 0; index < 300; index++) {
        const Split split = (Split)(index % 3);
        const int length = split == SPLIT_TRAIN ? 22 : 42;
        case_draw(&c, 5, split, index);
        const int32_t *tokens = c.sample.tokens;
        const int64_t slot = split == SPLIT_TRAIN ? 21 : 0; /* of the answer */
        assert_int_equal(c.sample.lengths[0], length);
        assert_int_equal(c.sample.positions[slot], length - 1);
        assert_int_equal(tokens[length - 2], 9);
        int t = 0;
        while (tokens[t] != tokens[length - 1]) t += 2;
        assert_true(t < length - 2);
        assert_int_equal(tokens[t + 1], c.sample.classes[slot]);
    }
    case_close(&c);
}

/* Lowest training loss for V = 10, N = 20, by a predictor that knows the generator: 0.865 nats a
 * position (known from a simulation of the authors' generator). The standard deviation of a
 * sample's mean is below 0.1, so 6 standard errors of 40,000 samples are 0.003; the figure has
 * 0.0005 of rounding. */
static void recall_has_the_known_lowest_loss(void **state) {
    (void)state;
    enum { SAMPLES = 40000 };
    TaskCase c;
    case_open(&c, "recall", "");
    double nats = 0;
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 5, SPLIT_TRAIN, index);
        int32_t value_of[5] = {0};
        int shown = 0;
        for (int j = 0; j < 22; j++) {
            assert_int_equal(c.sample.positions[j], j);
            assert_int_equal(c.sample.classes[j],
                             j < 21 ? c.sample.tokens[j + 1] : value_of[c.sample.tokens[21]]);
            const int32_t key = c.sample.tokens[j];
            if (j == 20) nats += log(shown);          /* which key is asked */
            if (j % 2 == 1 && j < 19) nats += log(4); /* the next key */
            if (j % 2 == 0 && j < 20 && value_of[key] == 0) {
                nats += log(4); /* a value seen for the first time */
                shown++;
            }
            if (j % 2 == 0 && j < 20) value_of[key] = c.sample.classes[j];
        }
    }
    assert_true(fabs(nats / SAMPLES / 22 - 0.865) < 0.0035);
    case_close(&c);
}

static void recall_asks_each_shown_key_equally(void **state) {
    (void)state;
    enum { SAMPLES = 60000 };
    TaskCase c;
    case_open(&c, "recall", "length=8 vocabulary=6"); /* 3 pairs of 2 keys */
    double rarer = 0, both = 0;
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        const int32_t *tokens = c.sample.tokens;
        const int ones = (tokens[0] == 1) + (tokens[2] == 1) + (tokens[4] == 1);
        if (ones % 3 == 0) continue;
        both += 1;
        rarer += tokens[7] == (ones == 1 ? 1 : 2);
    }
    /* asked by appearance it would be 1/3; 6 standard deviations */
    assert_true(fabs(both / SAMPLES - 0.75) < 6 * sqrt(0.75 * 0.25 / SAMPLES));
    assert_true(fabs(rarer / both - 0.5) < 6 * sqrt(0.25 / both));
    case_close(&c);
}

static void induction_repeats_what_followed(void **state) {
    (void)state;
    static const char *const settings[] = {"", "length=4", "length=256 vocabulary=16 loss=answer",
                                           "length=60 span=3 triggers=6",
                                           "length=14 span=6 triggers=64"};
    for (int k = 0; k < 5; k++) {
        TaskCase c;
        case_open(&c, "induction", settings[k]);
        const int64_t span = k < 3 ? 1 : k == 3 ? 3 : 6, length = c.problem.length;
        const int32_t special = (int32_t)c.problem.vocabulary - 1;
        for (int64_t index = 0; index < 300; index++) {
            case_draw(&c, 5, SPLIT_TEST, index);
            const int32_t *tokens = c.sample.tokens;
            assert_int_equal(tokens[length - span], special);
            for (int64_t t = 0; t < length - span; t++) {
                assert_in_range(tokens[t], 1, special);
                if (tokens[t] != special) continue;
                for (int64_t i = 0; i < span; i++)
                    assert_int_equal(tokens[t + 1 + i], c.sample.classes[i]);
            }
            for (int64_t i = 0; i < span; i++) {
                assert_int_equal(c.sample.positions[i], length - span + i);
                assert_in_range(c.sample.classes[i], 1, special - 1);
                if (i > 0) assert_int_equal(tokens[length - span + i], c.sample.classes[i - 1]);
            }
        }
        case_close(&c);
    }
}

/* One trigger lies anywhere in 0 .. N-3; with up to three, half of the samples keep one. */
static void induction_places_its_triggers_as_published(void **state) {
    (void)state;
    enum { SAMPLES = 60000, PLACES = 8 };
    TaskCase c;
    case_open(&c, "induction", "length=11"); /* N = 10: places 0 .. 7 */
    double places[PLACES] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        int t = 0;
        while (c.sample.tokens[t] != 19) t++;
        assert_in_range(t, 0, PLACES - 1);
        places[t] += 1;
    }
    for (int i = 0; i < PLACES; i++) /* binomial, 6 standard deviations */
        assert_true(fabs(places[i] - SAMPLES / 8.0) < 6 * sqrt(SAMPLES * 7.0 / 64));
    case_close(&c);

    case_open(&c, "induction", "length=11 triggers=2");
    double doubles = 0;
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        int triggers = 0;
        for (int t = 0; t < 10; t++) triggers += c.sample.tokens[t] == 19;
        doubles += triggers == 2;
    }
    /* two draws on 8 places are both kept unless they are equal or neighbours: 1 - 8/64 - 14/64 */
    const double p = 0.5 * 42 / 64;
    assert_true(fabs(doubles / SAMPLES - p) < 6 * sqrt(p * (1 - p) / SAMPLES));
    case_close(&c);
}

/* Test samples have each octave equally often, are padded with zeros, and are solved like others;
 * training keeps its one length. */
static void induction_is_tested_at_octaves(void **state) {
    (void)state;
    enum { SAMPLES = 4000 };
    TaskCase c;
    case_open(&c, "induction", "length=12 vocabulary=16 test_shortest=8 test_longest=64");
    assert_int_equal(c.problem.evaluation_length, 64);
    double lengths[65] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 5, index % 2 ? SPLIT_TEST : SPLIT_VALIDATION, index);
        const int32_t *tokens = c.sample.tokens;
        const int length = c.sample.lengths[0];
        assert_in_range(length, 8, 64);
        lengths[length] += 1;
        int32_t t = 0;
        while (tokens[t] != 15) t++;
        assert_int_equal(tokens[t + 1], c.sample.classes[0]);
        assert_int_equal(tokens[length - 1], 15);
        assert_int_equal(c.sample.positions[0], length - 1);
        for (int i = length; i < 64; i++) assert_int_equal(tokens[i], 0);
        case_draw(&c, 5, SPLIT_TRAIN, index);
        assert_int_equal(c.sample.lengths[0], 12);
    }
    for (int length = 8; length <= 64; length *= 2) /* binomial, 6 standard deviations */
        assert_true(fabs(lengths[length] - SAMPLES / 4.0) < 6 * sqrt(SAMPLES * 3.0 / 16));
    assert_true(lengths[8] + lengths[16] + lengths[32] + lengths[64] == SAMPLES);
    case_close(&c);
}

static void selective_copying_keeps_order(void **state) {
    (void)state;
    static const char *const settings[] = {"", "length=40 symbols=20", "length=64 symbols=5",
                                           "length=120 symbols=10 vocabulary=10 variable=no"};
    for (int k = 0; k < 4; k++) {
        TaskCase c;
        case_open(&c, "selective_copy", settings[k]);
        const int64_t symbols = c.problem.labels, markers = c.problem.length - symbols;
        for (int64_t index = 0; index < 200; index++) {
            case_draw(&c, 5, SPLIT_TRAIN, index);
            int64_t found = 0;
            for (int64_t t = 0; t < markers; t++) {
                if (c.sample.tokens[t] == 0) continue;
                assert_in_range(c.sample.tokens[t], 1, c.problem.vocabulary - 2);
                if (k == 3) assert_true(t < symbols);
                assert_int_equal(c.sample.classes[found], c.sample.tokens[t]);
                assert_int_equal(c.sample.positions[found], markers + found);
                assert_int_equal(c.sample.tokens[markers + found], c.problem.vocabulary - 1);
                found++;
            }
            assert_int_equal(found, symbols);
        }
        case_close(&c);
    }
}

/* Every place is used equally often, and every pair of places. */
static void selective_copying_scatters_evenly(void **state) {
    (void)state;
    enum { SAMPLES = 60000, PLACES = 7 };
    TaskCase c;
    case_open(&c, "selective_copy", "length=10 symbols=3"); /* 3 of 7 places */
    double counts[PLACES][PLACES] = {{0}};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        for (int i = 0; i < PLACES; i++)
            for (int j = 0; j < PLACES; j++)
                counts[i][j] += c.sample.tokens[i] != 0 && c.sample.tokens[j] != 0;
    }
    for (int i = 0; i < PLACES; i++)
        for (int j = 0; j < PLACES; j++) {
            const double p = i == j ? 3.0 / 7 : 3.0 * 2 / (7 * 6);
            /* 28 different counts, 6 standard deviations */
            assert_true(fabs(counts[i][j] - SAMPLES * p) < 6 * sqrt(SAMPLES * p * (1 - p)));
        }
    case_close(&c);
}

static void impossible_settings_are_refused(void **state) {
    (void)state;
    case_refused("recall", "length=21", STATUS_USAGE, "length=22");
    case_refused("recall", "test_length=41", STATUS_USAGE, "test_length=42");
    case_refused("recall", "test_length=2", STATUS_USAGE, "test_length=4");
    case_refused("induction", "test_shortest=16 test_longest=48", STATUS_USAGE, "32 or 64");
    case_refused("induction", "test_shortest=3", STATUS_USAGE, "test_shortest");
    case_refused("induction", "length=7 span=3", STATUS_USAGE, "8 or more");
    case_refused("selective_copy", "length=31 symbols=16", STATUS_USAGE, "length=32");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recall_is_answered_by_the_pairs),
        cmocka_unit_test(recall_is_tested_at_another_length),
        cmocka_unit_test(recall_has_the_known_lowest_loss),
        cmocka_unit_test(recall_asks_each_shown_key_equally),
        cmocka_unit_test(induction_repeats_what_followed),
        cmocka_unit_test(induction_places_its_triggers_as_published),
        cmocka_unit_test(induction_is_tested_at_octaves),
        cmocka_unit_test(selective_copying_keeps_order),
        cmocka_unit_test(selective_copying_scatters_evenly),
        cmocka_unit_test(impossible_settings_are_refused),
    };
    return cmocka_run_group_tests_name("recall", tests, NULL, NULL);
}
