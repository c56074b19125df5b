/* Stand-ins of public data sets: every sample is solved by an oracle that only reads it, classes
 * are balanced, and what `longhaul data make` writes is read by the tasks of the real sets. */
#include "tests/data_case.h"

#include <math.h>

#include "bench/data/data_make.h"

enum { SAMPLES = 400 };

/* The text of a sequence of byte tokens. */
static void read_text(const TaskCase *c, int sequence, char *text) {
    const int32_t *tokens = c->sample.tokens + sequence * c->problem.length;
    for (int32_t t = 0; t < c->sample.lengths[sequence]; t++) text[t] = (char)(tokens[t] - 1);
    text[c->sample.lengths[sequence]] = '\0';
}

static void expect_balance(int64_t ones) {
    assert_true(fabs((double)ones - SAMPLES / 2.0) < 4 * sqrt(SAMPLES / 4.0));
}

/* Number of a word of two syllables. */
static int word_number(const char *word) {
    static const char consonants[] = "bdfgklmnprstvz", vowels[] = "aeiou";
    int number = 0;
    for (int digit = 1; digit >= 0; digit--) {
        const char *c = strchr(consonants, word[2 * digit]);
        const char *v = strchr(vowels, word[2 * digit + 1]);
        assert_true(c && v && *c && *v);
        number = 70 * number + 5 * (int)(c - consonants) + (int)(v - vowels);
    }
    return number;
}

/* Kind words are numbers 0 to 23, harsh ones 24 to 47; "not" turns one around. */
static void reviews_are_what_most_judgements_say(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "text_synthetic", "length=1000");
    int64_t good = 0, shortest = 1000, longest = 0;
    for (int64_t i = 0; i < SAMPLES; i++) {
        char text[1001], *rest = text;
        case_draw(&c, 1, SPLIT_TRAIN, i);
        read_text(&c, 0, text);
        int kind = 0, harsh = 0;
        bool negated = false;
        for (char *word; (word = strtok_r(rest, " .", &rest));) {
            if (strcmp(word, "not") == 0) {
                negated = true;
                continue;
            }
            assert_int_equal(strlen(word), 4); /* no word is cut */
            const int number = word_number(word);
            if (number < 48) (number < 24) != negated ? kind++ : harsh++;
            negated = false;
        }
        assert_true((kind + harsh) % 2 == 1 && kind + harsh >= 3 && kind + harsh <= 15);
        assert_int_equal(c.sample.classes[0], kind > harsh);
        good += c.sample.classes[0];
        const int64_t length = c.sample.lengths[0];
        if (length < shortest) shortest = length;
        if (length > longest) longest = length;
    }
    expect_balance(good);
    assert_true(shortest < 500 && longest > 700);
    case_close(&c);
}

static void papers_are_linked_when_one_cites_the_other(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "retrieval_synthetic", "length=1500");
    int64_t links = 0, same_subject_unlinked = 0;
    for (int64_t i = 0; i < SAMPLES; i++) {
        char first[1501], second[1501], cites[32];
        case_draw(&c, 1, SPLIT_TEST, i);
        read_text(&c, 0, first);
        read_text(&c, 1, second);
        const char *own = strstr(second, "paper "), *other = strstr(first, "paper ");
        assert_true(own && other && !strstr(own + 1, "paper "));
        snprintf(cites, sizeof cites, "see %.4s.", own + 6);
        assert_int_equal(c.sample.classes[0], strstr(first, cites) != NULL);
        links += c.sample.classes[0];
        const int a = (word_number(own + 6) - 2280) / 64, b = (word_number(other + 6) - 2280) / 64;
        if (c.sample.classes[0] == 1) assert_int_equal(a, b);
        same_subject_unlinked += c.sample.classes[0] == 0 && a == b;
        int cited = 0;
        for (const char *at = first; (at = strstr(at, "see ")); at++) cited++;
        assert_int_equal(cited, 12);
    }
    expect_balance(links);
    const double expected = (double)(SAMPLES - links) / 4;
    assert_true(fabs((double)same_subject_unlinked - expected) < 4 * sqrt(expected));
    case_close(&c);
}

/* Every class comes as often as it should, and a shape differs from its ground: the spread of grey
 * levels is far above that of the noise. */
static void pictures_show_something(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "image_synthetic", "");
    int64_t classes[10] = {0};
    for (int64_t i = 0; i < SAMPLES; i++) {
        case_draw(&c, 1, SPLIT_TRAIN, i);
        classes[c.sample.classes[0]]++;
        double sum = 0, squares = 0;
        for (int t = 0; t < 1024; t++) {
            const double grey = (double)c.sample.reals[t] * 61 + 122.6;
            assert_true(grey > -0.5 && grey < 255.5 && fabs(grey - round(grey)) < 1e-3);
            sum += grey / 1024;
            squares += grey * grey / 1024;
        }
        assert_true(sqrt(squares - sum * sum) > 8);
    }
    for (int k = 0; k < 10; k++) assert_in_range(classes[k], 16, 70);
    case_close(&c);
}

/* The first training sample of a task of the real set, read from what was made. */
static void what_is_made_is_read_by_the_real_tasks(void **state) {
    (void)state;
    static const struct {
        const char *name, *task, *settings;
    } made[] = {{"text-synthetic", "text", ""},
                {"retrieval-synthetic", "retrieval", ""},
                {"image-synthetic", "image", ""},
                {"lm-synthetic", "lm", "data=lm-synthetic unit=word vocabulary=513 length=30"}};
    char *folder = strdup(getenv("LONGHAUL_DATA")), below[PATH_MAX];
    for (int i = 0; i < 4; i++) {
        Error error = {0};
        const StandIn *stand_in = stand_in_find(made[i].name);
        assert_non_null(stand_in);
        if (stand_in_make(stand_in, 500, &error) != STATUS_OK) fail_msg("%s", error.message);
        assert_int_equal(stand_in_make(stand_in, 500, &error), STATUS_USAGE);
        snprintf(below, sizeof below, "%s/%s", folder, made[i].name);
        if (!*made[i].settings) setenv("LONGHAUL_DATA", below, 1);
        TaskCase c, own;
        case_open(&c, made[i].task, made[i].settings);
        case_open(&own, stand_in->task, "");
        if (own.problem.target == TARGET_SEQUENCE) {
            int64_t total = 0;
            for (int split = 0; split < 3; split++)
                total += c.task->count(c.options, c.data, (Split)split);
            assert_int_equal(total, 600);
        }
        if (i == 1 || i == 2) { /* same order as made: the very same sample */
            case_draw(&c, 1, SPLIT_TEST, 7);
            case_draw(&own, 1, SPLIT_TEST, 7);
            assert_true(case_hash(&c, 0) == case_hash(&own, 0));
        }
        case_close(&c);
        case_close(&own);
        setenv("LONGHAUL_DATA", folder, 1);
    }
    free(folder);
    assert_null(stand_in_find("imdb"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reviews_are_what_most_judgements_say),
        cmocka_unit_test(papers_are_linked_when_one_cites_the_other),
        cmocka_unit_test(pictures_show_something),
        cmocka_unit_test(what_is_made_is_read_by_the_real_tasks),
    };
    return cmocka_run_group_tests_name("stand-in", tests, data_case_begin, data_case_end);
}
