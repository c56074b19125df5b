/* Language modelling: windows cover a text exactly once; bad texts are refused; the made-up
 * language has the entropy that is claimed for it. */
#include "tests/data_case.h"

#include <math.h>

enum { BYTES = 4000 };

static char letter(int64_t at) {
    return (char)('a' + (at * at / 7 + at) % 26);
}

static void write_text(const char *name) {
    char text[BYTES];
    for (int i = 0; i < BYTES; i++) text[i] = i % 9 == 8 ? ' ' : letter(i);
    data_case_write(name, text, sizeof text);
}

/* Every byte of the split but its first is scored once, with its true successor. */
static void windows_cover_the_text_once(void **state) {
    (void)state;
    write_text("book.txt");
    static const char *const settings[] = {"length=50", "length=50 stride=7", "length=199",
                                           "length=64 stride=1", "length=1"};
    static const int64_t context[] = {1, 44, 1, 64, 1}; /* least bytes seen before a scored one */
    for (int k = 0; k < 5; k++) {
        char all[128];
        snprintf(all, sizeof all, "corpus=file data=book.txt %s", settings[k]);
        TaskCase c;
        case_open(&c, "lm", all);
        const int64_t length = c.problem.length, start = 3800; /* of the test split */
        int scored[200] = {0};
        int64_t at = 0;
        for (int64_t index = 0; index < c.task->count(c.options, c.data, SPLIT_TEST); index++) {
            case_draw(&c, 1, SPLIT_TEST, index);
            /* find the window in the text by its first scored byte */
            for (int64_t j = 0; j < length && c.sample.weights[j] == 1; j++) {
                const int64_t t = c.sample.positions[j], byte = start + ++at;
                scored[at]++;
                assert_int_equal(c.sample.classes[j], byte % 9 == 8 ? ' ' : letter(byte));
                for (int64_t u = 0; u <= t; u++) {
                    const int64_t before = byte - 1 - t + u;
                    assert_int_equal(c.sample.tokens[u], before % 9 == 8 ? ' ' : letter(before));
                }
                if (index > 0) assert_true(t + 1 >= context[k]);
            }
        }
        assert_int_equal(at, 199);
        for (int i = 1; i < 200; i++) assert_int_equal(scored[i], 1);
        case_close(&c);
    }
}

static void training_windows_lie_in_the_training_text(void **state) {
    (void)state;
    write_text("text8");
    TaskCase c;
    case_open(&c, "lm", "corpus=text8 length=100");
    assert_int_equal(c.problem.vocabulary, 27);
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_TRAIN), 0);
    for (int64_t index = 0; index < 300; index++) {
        case_draw(&c, 1, SPLIT_TRAIN, index);
        int64_t at = 0, t = 0;
        for (; at <= 3600 - 101 && t < 101; at++)
            for (t = 0; t < 101; t++) {
                const int id = t < 100 ? c.sample.tokens[t] : c.sample.classes[99];
                if (id != ((at + t) % 9 == 8 ? 0 : letter(at + t) - 'a' + 1)) break;
            }
        assert_int_equal(t, 101);
    }
    case_close(&c);
}

static void bad_texts_are_refused(void **state) {
    (void)state;
    char text[BYTES];
    memset(text, 'x', sizeof text);
    text[100] = '\n';
    text[200] = '\xff';
    data_case_write("bad.txt", text, sizeof text);
    data_case_refused("lm", "corpus=file data=bad.txt", STATUS_DATA, "line 2: byte 200");
    memcpy(text + 200, "\xed\xa0\x80", 3); /* half of a surrogate pair */
    data_case_write("bad.txt", text, sizeof text);
    data_case_refused("lm", "corpus=file data=bad.txt", STATUS_DATA, "byte 200");
    memset(text + 200, 0, 3);
    data_case_write("bad.txt", text, sizeof text);
    data_case_refused("lm", "corpus=file data=bad.txt", STATUS_DATA, "byte 200");
    memcpy(text + 200, "\xe2\x80\x94", 3);
    data_case_write("bad.txt", text, sizeof text);
    data_case_refused("lm", "corpus=file data=bad.txt length=200", STATUS_DATA, "length=199");
    data_case_write("text8", "abc DEF", 7);
    data_case_refused("lm", "corpus=text8", STATUS_DATA, "byte 4 is 'D'");
    data_case_refused("lm", "corpus=file data=none.txt", STATUS_DATA, "none.txt");
    data_case_refused("lm", "corpus=enwik8", STATUS_DATA, "enwik8.zip");
    case_refused("lm", "corpus=file", STATUS_USAGE, "data=PATH");
    case_refused("lm", "corpus=enwik8 data=book.txt", STATUS_USAGE, "go together");
    case_refused("lm", "corpus=enwik8 length=10 stride=11", STATUS_USAGE, "stride=10");
}

/* ---- the made-up language ---- */

enum { TOPIC = 8, CLASS = 6, GENDER = 4, WORDS = 62, ENTITY = 9, ATTRIBUTE = 73, WORD = 137 };

static float counts[TOPIC][CLASS][GENDER][WORDS];

/* Walks through a document with nothing but the format's description. Learns word frequencies, or,
 * scoring, sums the nats of a predictor that uses what was learned. */
static double walk(const TaskCase *c, bool scoring, double facts) {
    const int64_t length = c->problem.length;
    int attribute_of[64] = {0}, class = 0, gender = 0, entity = -1;
    const int topic = c->sample.tokens[1] - 1;
    double nats = log(TOPIC);
    assert_int_equal(c->sample.tokens[0], 0);
    assert_in_range(topic, 0, TOPIC - 1);
    for (int64_t t = 2; t <= length; t++) {
        const int id = t < length ? c->sample.tokens[t] : c->sample.classes[length - 1];
        if (entity >= 0) {
            assert_in_range(id, ATTRIBUTE, WORD - 1);
            if (attribute_of[entity] == 0)
                nats += log(64);
            else
                assert_int_equal(attribute_of[entity], id); /* facts never change */
            attribute_of[entity] = id;
            entity = -1;
        } else if (id < WORD) {
            assert_true(class == 0);
            assert_in_range(id, ENTITY, ATTRIBUTE - 1);
            entity = id - ENTITY;
            nats -= log(facts / 64);
        } else {
            const int word = id - WORD - class * WORDS;
            assert_in_range(word, 0, WORDS - 1);
            if (class == 0) {
                nats -= log(1 - facts);
                gender = 0;
            }
            float *cell = counts[topic][class][gender];
            if (scoring) {
                double sum = 0;
                for (int w = 0; w < WORDS; w++) sum += cell[w] + 0.5;
                nats -= log((cell[word] + 0.5) / sum);
            } else {
                cell[word] += 1;
            }
            gender = word % GENDER;
            class = (class + 1) % CLASS;
        }
    }
    return nats;
}

/* The predictor has seen some 11,000 tables' entries about 170 times each, which costs it below 0.3
 * % of perplexity; its sampling error over 300 documents is below 0.5 %. */
static void the_language_has_the_claimed_entropy(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "lm_synthetic", "");
    for (int64_t index = 0; index < 8000; index++) {
        case_draw(&c, 1, SPLIT_TRAIN, index);
        walk(&c, false, 0.4);
    }
    double nats = 0;
    for (int64_t index = 0; index < 300; index++) {
        case_draw(&c, 1, SPLIT_TEST, index);
        nats += walk(&c, true, 0.4);
    }
    const double perplexity = exp(nats / 300 / (double)c.problem.length);
    if (!(fabs(perplexity / c.problem.best - 1) < 0.008))
        fail_msg("perplexity %g, claimed %g", perplexity, c.problem.best);
    case_close(&c);
}

static void impossible_languages_are_refused(void **state) {
    (void)state;
    case_refused("lm_synthetic", "vocabulary=128", STATUS_USAGE, "vocabulary=185");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_cover_the_text_once),
        cmocka_unit_test(training_windows_lie_in_the_training_text),
        cmocka_unit_test(bad_texts_are_refused),
        cmocka_unit_test(the_language_has_the_claimed_entropy),
        cmocka_unit_test(impossible_languages_are_refused),
    };
    return cmocka_run_group_tests_name("lm", tests, data_case_begin, data_case_end);
}
