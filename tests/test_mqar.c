/* MQAR: an oracle that answers every question from the tokens alone, the laws of keys, values and
 * gaps, and the refusals. */
#include "tests/task_case.h"

#include <math.h>

/* Reads the context and answers each labelled position; also checks what the format promises. */
static void oracle_solves(const char *settings, bool zero_filler) {
    TaskCase c;
    case_open(&c, "mqar", settings);
    const int64_t n = c.problem.labels, length = c.problem.length, half = c.problem.vocabulary / 2;
    for (int64_t index = 0; index < 200; index++) {
        case_draw(&c, 5, SPLIT_TRAIN, index);
        const Sample *s = &c.sample;
        assert_int_equal(s->lengths[0], length);
        int64_t answered = 0;
        for (int64_t j = 0; j < n; j++) {
            const int64_t position = s->positions[j];
            assert_true(position >= 2 * n && position < length && position % 2 == 0);
            int64_t pair = 0;
            while (pair < n && s->tokens[2 * pair] != s->tokens[position]) pair++;
            assert_true(pair < n);
            assert_int_equal(s->tokens[2 * pair + 1], s->classes[j]);
            assert_true(s->weights[j] == 1.0f);
            answered += pair; /* each key once: the pairs add up to 0 + 1 + ... + n-1 */
        }
        assert_int_equal(answered, n * (n - 1) / 2);
        for (int64_t j = 0; j < n; j++) {
            assert_in_range(s->tokens[2 * j], 1, half - 1);
            assert_in_range(s->tokens[2 * j + 1], half, c.problem.vocabulary - 1);
            for (int64_t i = 0; i < j; i++) {
                assert_int_not_equal(s->tokens[2 * i], s->tokens[2 * j]);
                assert_int_not_equal(s->tokens[2 * i + 1], s->tokens[2 * j + 1]);
            }
        }
        int64_t zeros = 0;
        for (int64_t t = 0; t < length; t++) {
            assert_in_range(s->tokens[t], 0, c.problem.vocabulary - 1);
            zeros += s->tokens[t] == 0;
        }
        if (zero_filler) assert_int_equal(zeros, length - 3 * n);
    }
    case_close(&c);
}

static void every_question_has_its_answer(void **state) {
    (void)state;
    oracle_solves("length=64 pairs=4", true);
    oracle_solves("length=64 pairs=16 vocabulary=34", true); /* every key, every slot */
    oracle_solves("length=512 pairs=64 alpha=1", true);
    oracle_solves("length=128 pairs=8 filler=any", false);
    oracle_solves("length=128 pairs=8 filler=disjoint vocabulary=20", false);
    oracle_solves("length=4 pairs=1 vocabulary=4", true);
}

static void disjoint_filler_avoids_keys_and_values(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "mqar", "length=128 pairs=8 vocabulary=40 filler=disjoint");
    bool ids[40] = {false};
    for (int64_t index = 0; index < 500; index++) {
        case_draw(&c, 5, SPLIT_TRAIN, index);
        const int32_t *tokens = c.sample.tokens;
        for (int64_t t = 16; t < 128; t++) {
            bool question = false;
            for (int j = 0; j < 8; j++) question |= c.sample.positions[j] == t;
            for (int j = 0; !question && j < 16; j++) assert_int_not_equal(tokens[t], tokens[j]);
            if (!question) ids[tokens[t]] = true;
        }
    }
    for (int i = 0; i < 40; i++) assert_true(ids[i]); /* no id is never used */
    case_close(&c);
}

/* Probability that successive sampling draws i first and j second. */
static double pair_probability(const double *weights, double total, int i, int j) {
    return weights[i] / total * weights[j] / (total - weights[i]);
}

/* Slots of the first two keys against the closed form, cell by cell. Six standard deviations of a
 * binomial count: over 650 cells a wrong failure has probability about 1e-6. */
static void gaps_are_drawn_successively(void **state) {
    (void)state;
    enum { SAMPLES = 100000, SLOTS = 12 };
    static const double alphas[] = {0.01, 1.0, 2.5};
    for (int a = 0; a < 3; a++) {
        char settings[64];
        snprintf(settings, sizeof settings, "length=36 pairs=6 alpha=%g", alphas[a]);
        TaskCase c;
        case_open(&c, "mqar", settings);
        static double counts[SLOTS][SLOTS];
        memset(counts, 0, sizeof counts);
        for (int64_t index = 0; index < SAMPLES; index++) {
            case_draw(&c, 9, SPLIT_VALIDATION, index);
            int first = 0, second = 0;
            for (int j = 0; j < 6; j++) {
                const int slot = (c.sample.positions[j] - 12) / 2;
                if (c.sample.classes[j] == c.sample.tokens[1]) first = slot;
                if (c.sample.classes[j] == c.sample.tokens[3]) second = slot;
            }
            counts[first][second] += 1;
        }
        double weights[SLOTS], total = 0;
        for (int i = 0; i < SLOTS; i++) total += weights[i] = pow(i + 1, alphas[a] - 1);
        for (int i = 0; i < SLOTS; i++)
            for (int j = 0; j < SLOTS; j++) {
                const double p = i == j ? 0 : pair_probability(weights, total, i, j);
                assert_true(fabs(counts[i][j] - SAMPLES * p) <= 6 * sqrt(SAMPLES * p * (1 - p)));
            }
        case_close(&c);
    }
}

/* Every key and value id is used equally at the first pair: chi-square within six standard
 * deviations of its mean. */
static void keys_and_values_are_uniform(void **state) {
    (void)state;
    enum { SAMPLES = 60000, HALF = 32 };
    TaskCase c;
    case_open(&c, "mqar", "length=64 pairs=10 vocabulary=64");
    double keys[HALF] = {0}, values[HALF] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 3, SPLIT_TRAIN, index);
        keys[c.sample.tokens[0]] += 1;
        values[c.sample.tokens[1] - HALF] += 1;
    }
    double key_chi = 0, value_chi = 0;
    for (int i = 1; i < HALF; i++) {
        const double expected = SAMPLES / (HALF - 1.0);
        key_chi += (keys[i] - expected) * (keys[i] - expected) / expected;
    }
    for (int i = 0; i < HALF; i++) {
        const double expected = SAMPLES / (double)HALF;
        value_chi += (values[i] - expected) * (values[i] - expected) / expected;
    }
    assert_true(fabs(key_chi - (HALF - 2)) < 6 * sqrt(2.0 * (HALF - 2)));
    assert_true(fabs(value_chi - (HALF - 1)) < 6 * sqrt(2.0 * (HALF - 1)));
    case_close(&c);
}

static void impossible_settings_are_refused(void **state) {
    (void)state;
    case_refused("mqar", "length=129", STATUS_USAGE, "length=130");
    case_refused("mqar", "length=64 pairs=17", STATUS_USAGE, "pairs=16");
    case_refused("mqar", "length=64 pairs=16 vocabulary=33", STATUS_USAGE, "vocabulary=34");
}

/* Every sample is one of the settings', drawn by their shares; its questions can be answered, and
 * what lies behind it is padding. */
static void mixed_samples_keep_to_their_settings(void **state) {
    (void)state;
    enum { SAMPLES = 4000 };
    static const int settings[3][3] = {
        {16, 2, 5}, {16, 4, 1}, {32, 8, 2}}; /* length, pairs, share */
    TaskCase c;
    case_open(&c, "mqar", "mix=16x2:5+16x4+32x8:2 test_mix=64x16 vocabulary=64 filler=any");
    assert_true(c.problem.length == 32 && c.problem.labels == 8 && c.problem.padded);
    assert_true(c.problem.evaluation_length == 64 && c.problem.evaluation_labels == 16);
    double drawn[3] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 5, SPLIT_TRAIN, index);
        const Sample *s = &c.sample;
        int n = 0, k = 0;
        while (n < 8 && s->weights[n] == 1) n++;
        while (k < 3 && settings[k][1] != n) k++;
        assert_true(k < 3);
        assert_int_equal(s->lengths[0], settings[k][0]);
        drawn[k] += 1;
        for (int j = n; j < 8; j++) assert_true(s->weights[j] == 0 && s->positions[j] == 0);
        for (int t = s->lengths[0]; t < 32; t++) assert_int_equal(s->tokens[t], 0);
        for (int j = 0; j < n; j++) {
            int pair = 0;
            while (pair < n && s->tokens[2 * pair] != s->tokens[s->positions[j]]) pair++;
            assert_true(pair < n && s->positions[j] < s->lengths[0]);
            assert_int_equal(s->tokens[2 * pair + 1], s->classes[j]);
        }
    }
    for (int k = 0; k < 3; k++) { /* binomial counts, 6 standard deviations */
        const double p = settings[k][2] / 8.0;
        assert_true(fabs(drawn[k] - SAMPLES * p) < 6 * sqrt(SAMPLES * p * (1 - p)));
    }
    for (int64_t index = 0; index < 20; index++) {
        case_draw(&c, 5, SPLIT_VALIDATION, index);
        assert_int_equal(c.sample.lengths[0], 64);
        for (int j = 0; j < 16; j++) assert_true(c.sample.weights[j] == 1);
    }
    case_close(&c);
}

/* SHARE samples of one setting, then of the next, and again from the first; each split by its own
 * list. */
static void listed_segments_come_in_order(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "mqar",
              "mix=16x2:3+16x4+32x8:2 test_mix=8x1+64x16:2 vocabulary=64 "
              "segments=listed");
    static const int train[] = {2, 2, 2, 4, 8, 8}, test[] = {1, 16, 16};
    for (int64_t index = 0; index < 60; index++)
        for (int split = SPLIT_TRAIN; split <= SPLIT_TEST; split++) {
            case_draw(&c, 5, (Split)split, index);
            double labels = 0;
            for (int64_t j = 0; j < c.drawn.labels; j++) labels += (double)c.sample.weights[j];
            assert_true(labels == (split == SPLIT_TRAIN ? train[index % 6] : test[index % 3]));
        }
    case_close(&c);
}

static void impossible_mixes_are_refused(void **state) {
    (void)state;
    case_refused("mqar", "mix=64x4+16x8", STATUS_USAGE, "pairs=8 do not fit length=16");
    case_refused("mqar", "test_mix=15x2", STATUS_USAGE, "length=15 is odd");
    case_refused("mqar", "mix=64", STATUS_USAGE, "mix=64: expected");
    case_refused("mqar", "mix=64x4+", STATUS_USAGE, "mix=64x4+: expected");
    case_refused("mqar", "test_mix=64x4:0", STATUS_USAGE, "test_mix=64x4:0: expected");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mixed_samples_keep_to_their_settings),
        cmocka_unit_test(listed_segments_come_in_order),
        cmocka_unit_test(impossible_mixes_are_refused),
        cmocka_unit_test(every_question_has_its_answer),
        cmocka_unit_test(disjoint_filler_avoids_keys_and_values),
        cmocka_unit_test(gaps_are_drawn_successively),
        cmocka_unit_test(keys_and_values_are_uniform),
        cmocka_unit_test(impossible_settings_are_refused),
    };
    return cmocka_run_group_tests_name("mqar", tests, NULL, NULL);
}
