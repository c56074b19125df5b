/* MAD's skills: answers found from the tokens alone, and the laws of the published generators. */
#include "tests/task_case.h"

#include <math.h>

/* In test samples every labelled position is a key whose value was shown, and no other is
 * labelled. */
static void recall_is_answered_by_earlier_pairs(void **state) {
    (void)state;
    static const struct {
        const char *settings;
        int ids; /* that are not noise */
    } cases[] = {{"skill=recall", 16},
                 {"skill=recall vocabulary=128 length=256", 128},
                 {"skill=noisy_recall", 16},
                 {"skill=noisy_recall vocabulary=48 noise=0.8", 32},
                 {"skill=noisy_recall length=4 noise=0.9", 16}};
    for (int k = 0; k < 5; k++) {
        TaskCase c;
        case_open(&c, "mad", cases[k].settings);
        const int keys = cases[k].ids / 2;
        for (int64_t index = 0; index < 300; index++) {
            case_draw(&c, 5, SPLIT_TEST, index);
            const int32_t *tokens = c.sample.tokens;
            const int64_t length = c.problem.length;
            int64_t slot = 0;
            for (int64_t t = 0; t < length; t += 2) {
                if (tokens[t] >= cases[k].ids) continue; /* noise */
                assert_in_range(tokens[t], 0, keys - 1);
                int64_t earlier = t - 2;
                while (earlier >= 0 && tokens[earlier] != tokens[t]) earlier -= 2;
                if (t + 1 < length) assert_in_range(tokens[t + 1], keys, cases[k].ids - 1);
                if (earlier < 0) continue;
                assert_int_equal(c.sample.positions[slot], t);
                assert_int_equal(c.sample.classes[slot], tokens[earlier + 1]);
                if (t + 1 < length) assert_int_equal(tokens[t + 1], tokens[earlier + 1]);
                slot++;
            }
            assert_true(slot > 0 && c.sample.positions[slot - 1] == length - 1);
            for (; slot < c.problem.labels; slot++) assert_true(c.sample.weights[slot] == 0);
        }
        case_close(&c);
    }
}

static void training_names_every_next_token(void **state) {
    (void)state;
    static const char *const settings[] = {"skill=recall", "skill=noisy_recall",
                                           "skill=fuzzy_recall"};
    for (int k = 0; k < 3; k++) {
        TaskCase c;
        case_open(&c, "mad", settings[k]);
        case_draw(&c, 5, SPLIT_TRAIN, 3);
        for (int64_t t = 0; t < c.problem.length; t++) {
            assert_int_equal(c.sample.positions[t], t);
            assert_true(c.sample.weights[t] == 1);
            if (t + 1 < c.problem.length)
                assert_int_equal(c.sample.classes[t], c.sample.tokens[t + 1]);
        }
        case_close(&c);
    }
}

static void noise_has_its_share(void **state) {
    (void)state;
    enum { SAMPLES = 2000 };
    TaskCase c;
    case_open(&c, "mad", "skill=noisy_recall noise=0.4");
    double noise = 0, ids[16] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        for (int t = 0; t < 126; t++)
            if (c.sample.tokens[t] >= 16) {
                noise += 1;
                ids[c.sample.tokens[t] - 16] += 1;
            }
    }
    /* 63 slots of two tokens; the protected one is the last of 64 with probability 1/64 */
    const double p = 0.4 * (63 - 63.0 / 64) / 63, slots = 63.0 * SAMPLES;
    assert_true(fabs(noise / 2 / slots - p) < 6 * sqrt(p * (1 - p) / slots));
    for (int i = 0; i < 16; i++) /* 16 binomial counts, 6 standard deviations */
        assert_true(fabs(ids[i] - noise / 16) < 6 * sqrt(noise * 15 / 256));
    case_close(&c);
}

/* Splits a fuzzy sample into motifs: runs of key ids and of value ids alternate. */
static void fuzzy_recall_is_answered_by_earlier_motifs(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "mad", "skill=fuzzy_recall");
    const int keys = 7, pad = 15;
    int unanswerable = 0, answered = 0;
    for (int64_t index = 0; index < 1000; index++) {
        case_draw(&c, 5, SPLIT_TEST, index);
        const int32_t *tokens = c.sample.tokens;
        const int64_t length = c.problem.length;
        int64_t start = 0, slot = 0;
        while (tokens[start] == pad) start++;
        int64_t key_at[64], value_at[64], end_at[64];
        int pairs = 0;
        for (int64_t t = start; t < length; pairs++) {
            key_at[pairs] = t;
            while (t < length && tokens[t] < keys) t++;
            value_at[pairs] = t;
            while (t < length && tokens[t] >= keys) assert_int_not_equal(tokens[t++], pad);
            end_at[pairs] = t;
            assert_int_equal(value_at[pairs] - key_at[pairs], 3);
            assert_in_range(end_at[pairs] - value_at[pairs], t == length ? 0 : 1, 3);
        }
        for (int i = 0; i < pairs; i++) {
            int j = 0;
            while (memcmp(tokens + key_at[j], tokens + key_at[i], 3 * sizeof *tokens) != 0) j++;
            const bool last = i == pairs - 1;
            if (j == i && !last) continue;
            /* value tokens are named one position ahead, the first at the key's end */
            int64_t t = value_at[i] - 1;
            for (int64_t v = value_at[j]; j < i && v < end_at[j]; v++, t++) {
                assert_int_equal(c.sample.positions[slot], t);
                assert_int_equal(c.sample.classes[slot], tokens[v]);
                slot++;
                answered++;
            }
            unanswerable += j == i;
            if (j == i) /* the probe never came: its value is asked all the same */
                while (slot < c.problem.labels && c.sample.weights[slot] == 1) slot++;
        }
        for (; slot < c.problem.labels; slot++) assert_true(c.sample.weights[slot] == 0);
    }
    /* the generator's loop stops 6 + |probe| short of the end, its probe may be placed up to
     * 2 |probe| short of it: rare, not never */
    assert_true(answered > 1000);
    assert_true(unanswerable < 60);
    case_close(&c);
}

static void copying_keeps_order(void **state) {
    (void)state;
    static const char *const settings[] = {"skill=copying", "skill=copying symbols=96",
                                           "skill=copying length=12 symbols=5 vocabulary=3"};
    for (int k = 0; k < 3; k++) {
        TaskCase c;
        case_open(&c, "mad", settings[k]);
        const int64_t n = c.problem.labels, length = c.problem.length;
        const int32_t blank = (int32_t)c.problem.vocabulary - 2;
        for (int64_t index = 0; index < 200; index++) {
            case_draw(&c, 5, SPLIT_TRAIN, index);
            int64_t found = 0;
            for (int64_t t = 0; t < length - n - 1; t++) {
                if (c.sample.tokens[t] == blank) continue;
                assert_in_range(c.sample.tokens[t], 0, blank - 1);
                assert_int_equal(c.sample.classes[found], c.sample.tokens[t]);
                assert_int_equal(c.sample.positions[found], length - n + found);
                found++;
            }
            assert_int_equal(found, n);
            assert_int_not_equal(c.sample.tokens[length - n - 2], blank);
            assert_int_equal(c.sample.tokens[length - n - 1], blank + 1);
            for (int64_t t = length - n; t < length; t++)
                assert_int_equal(c.sample.tokens[t], blank);
        }
        case_close(&c);
    }
}

/* One dictionary for all splits and seeds, one-to-one, over all keys. */
static void memorization_has_one_dictionary(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "mad", "skill=memorization");
    int value_of[127], users[256] = {0}, known = 0;
    memset(value_of, -1, sizeof value_of);
    for (int64_t index = 0; index < 500; index++) {
        case_draw(&c, (uint64_t)index, (Split)(index % 3), index);
        for (int i = 0; i < 16; i++) {
            const int key = c.sample.tokens[2 * i], value = c.sample.classes[i];
            assert_in_range(key, 0, 126);
            assert_in_range(value, 127, 254);
            assert_int_equal(c.sample.tokens[2 * i + 1], 255);
            assert_int_equal(c.sample.positions[i], 2 * i + 1);
            if (value_of[key] < 0) {
                value_of[key] = value;
                known++;
                assert_int_equal(users[value]++, 0);
            }
            assert_int_equal(value_of[key], value);
        }
    }
    assert_int_equal(known, 127);
    case_close(&c);
}

/* Every token is its own label, the constant last one too; the others are uniform over the ids but
 * the last (binomial counts, 6 standard deviations). */
static void compression_names_every_token(void **state) {
    (void)state;
    enum { SAMPLES = 4000, IDS = 15 };
    TaskCase c;
    case_open(&c, "mad", "skill=compression");
    assert_true(c.problem.bottleneck && c.problem.length == 32 && c.problem.labels == 32);
    assert_true(fabs(c.problem.chance - (1 + 31 / 15.0) / 32) < 1e-12);
    double counts[IDS] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, (Split)(index % 3), index);
        for (int t = 0; t < 32; t++) {
            assert_int_equal(c.sample.positions[t], t);
            assert_int_equal(c.sample.classes[t], c.sample.tokens[t]);
            assert_true(c.sample.weights[t] == 1);
            if (t < 31) assert_in_range(c.sample.tokens[t], 0, IDS - 1);
        }
        assert_int_equal(c.sample.tokens[31], IDS);
        counts[c.sample.tokens[7]] += 1;
    }
    const double p = 1.0 / IDS;
    for (int k = 0; k < IDS; k++)
        assert_true(fabs(counts[k] - SAMPLES * p) < 6 * sqrt(SAMPLES * p * (1 - p)));
    case_close(&c);
}

/* Keys are uniform over the first half of the ids, with replacement; a key's value, which the first
 * pair shows, over the second half. Copied tokens are uniform over what is neither blank nor
 * marker. Binomial counts within 6 standard deviations. */
static void symbols_are_uniform(void **state) {
    (void)state;
    enum { SAMPLES = 20000, KEYS = 8, DATA = 14 };
    TaskCase c;
    case_open(&c, "mad", "skill=recall length=16 vocabulary=16");
    double keys[KEYS] = {0}, values[KEYS] = {0}, repeats = 0;
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        keys[c.sample.tokens[4]] += 1; /* the third pair's */
        values[c.sample.tokens[1] - KEYS] += 1;
        repeats += c.sample.tokens[2] == c.sample.tokens[0];
    }
    const double p = 1.0 / KEYS, room = 6 * sqrt(SAMPLES * p * (1 - p));
    for (int k = 0; k < KEYS; k++) {
        assert_true(fabs(keys[k] - SAMPLES * p) < room);
        assert_true(fabs(values[k] - SAMPLES * p) < room);
    }
    assert_true(fabs(repeats - SAMPLES * p) < room);
    case_close(&c);
    case_open(&c, "mad", "skill=copying length=32 symbols=4 vocabulary=16");
    double data[DATA] = {0};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        assert_in_range(c.sample.classes[1], 0, DATA - 1);
        data[c.sample.classes[1]] += 1;
    }
    for (int k = 0; k < DATA; k++)
        assert_true(fabs(data[k] - SAMPLES / 14.0) < 6 * sqrt(SAMPLES * 13.0 / 196));
    case_close(&c);
}

static void impossible_settings_are_refused(void **state) {
    (void)state;
    case_refused("mad", "skill=recall length=5", STATUS_USAGE, "even length");
    case_refused("mad", "skill=noisy_recall vocabulary=17", STATUS_USAGE, "at least 18");
    case_refused("mad", "skill=fuzzy_recall vocabulary=6", STATUS_USAGE, "2 motif + 1");
    case_refused("mad", "skill=copying length=33", STATUS_USAGE, "2 symbols + 1");
    case_refused("mad", "skill=compression length=1", STATUS_USAGE, "at least 2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recall_is_answered_by_earlier_pairs),
        cmocka_unit_test(training_names_every_next_token),
        cmocka_unit_test(noise_has_its_share),
        cmocka_unit_test(fuzzy_recall_is_answered_by_earlier_motifs),
        cmocka_unit_test(copying_keeps_order),
        cmocka_unit_test(memorization_has_one_dictionary),
        cmocka_unit_test(compression_names_every_token),
        cmocka_unit_test(symbols_are_uniform),
        cmocka_unit_test(impossible_settings_are_refused),
    };
    return cmocka_run_group_tests_name("mad", tests, NULL, NULL);
}
