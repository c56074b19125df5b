/* Majority and counting: each answer counted again from the tokens alone, the law of the samples,
 * and what the best guess is worth. */
#include "tests/task_case.h"

#include <math.h>

enum { SHOWN_MOST = 512, KINDS_MOST = 512 };

/* How often each ordinary token comes, counted token by token; returns how many tokens have the
 * largest count, which goes to *largest, one of them to *token. */
static int recount(const TaskCase *c, int64_t *largest, int32_t *token) {
    const int64_t shown = c->problem.length - 1;
    const int32_t kinds = (int32_t)c->problem.vocabulary - 2;
    int with_largest = 0;
    *largest = 0;
    for (int32_t kind = 1; kind <= kinds; kind++) {
        int64_t count = 0;
        for (int64_t t = 0; t < shown; t++) count += c->sample.tokens[t] == kind;
        if (count < *largest) continue;
        if (count > *largest) with_largest = 0;
        with_largest++;
        *largest = count;
        *token = kind;
    }
    return with_largest;
}

static const char *const counted[] = {"", "length=3 vocabulary=6", "length=34 vocabulary=12",
                                      "length=200 vocabulary=400", "length=500 vocabulary=4"};
enum { COUNTED = sizeof counted / sizeof *counted };

static void the_question_mark_asks_for_the_mode(void **state) {
    (void)state;
    static const char *const names[] = {"majority", "counting"};
    for (int n = 0; n < 2; n++)
        for (int k = 0; k < COUNTED; k++) {
            TaskCase c;
            case_open(&c, names[n], counted[k]);
            const int64_t shown = c.problem.length - 1;
            const int32_t mark = (int32_t)c.problem.vocabulary - 1;
            assert_int_equal(c.problem.labels, 1);
            int ties = 0;
            for (int64_t index = 0; index < 300; index++) {
                case_draw(&c, 5, SPLIT_TEST, index);
                for (int64_t t = 0; t < shown; t++)
                    assert_in_range(c.sample.tokens[t], 1, mark - 1);
                assert_int_equal(c.sample.tokens[shown], mark);
                assert_int_equal(c.sample.positions[0], shown);
                int64_t largest;
                int32_t token;
                ties += recount(&c, &largest, &token) > 1;
                assert_int_equal(c.sample.classes[0], n == 0 ? token : largest);
            }
            /* with 2 kinds and 499 tokens there is no tie, with the others often */
            assert_true(n == 0 || k == 4 ? ties == 0 : ties > 0);
            case_close(&c);
        }
}

/* Each token is the answer equally often and each place has each token equally often: what is not
 * so changes the chance level. Redrawn ties keep both, as no token is special. */
static void majority_prefers_no_token(void **state) {
    (void)state;
    enum { SAMPLES = 60000, KINDS = 5, SHOWN = 7 };
    TaskCase c;
    case_open(&c, "majority", "length=8 vocabulary=7");
    double answers[KINDS] = {0}, places[SHOWN][KINDS] = {{0}};
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        answers[c.sample.classes[0] - 1]++;
        for (int t = 0; t < SHOWN; t++) places[t][c.sample.tokens[t] - 1]++;
    }
    /* 40 binomial counts, 6 standard deviations: wrong failures below 1e-6 */
    const double most = 6 * sqrt(SAMPLES * 0.2 * 0.8);
    for (int kind = 0; kind < KINDS; kind++) {
        assert_true(fabs(answers[kind] - SAMPLES * c.problem.chance) < most);
        for (int t = 0; t < SHOWN; t++) assert_true(fabs(places[t][kind] - SAMPLES / 5.0) < most);
    }
    case_close(&c);
}

/* Share of the samples with the commonest answer, from a list of all V^N samples. */
static double listed_likeliest(int shown, int kinds) {
    double with[SHOWN_MOST] = {0}, samples = pow(kinds, shown), likeliest = 0;
    for (int64_t code = 0; code < (int64_t)samples; code++) {
        int counts[KINDS_MOST] = {0}, largest = 0;
        int64_t rest = code;
        for (int t = 0; t < shown; t++, rest /= kinds) {
            const int count = ++counts[rest % kinds];
            if (count > largest) largest = count;
        }
        with[largest]++;
    }
    for (int c = 0; c <= shown; c++) likeliest = fmax(likeliest, with[c]);
    return likeliest / samples;
}

static void counting_knows_its_likeliest_count(void **state) {
    (void)state;
    static const int sizes[][2] = {{2, 2}, {3, 8}, {3, 2}, {4, 2}, {7, 5}, {9, 4}, {16, 2}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        char settings[64];
        snprintf(settings, sizeof settings, "length=%d vocabulary=%d", sizes[k][0] + 1,
                 sizes[k][1] + 2);
        TaskCase c;
        case_open(&c, "counting", settings);
        assert_int_equal(c.problem.classes, sizes[k][0] + 1);
        /* chance is rounded to 1e-9 */
        assert_true(fabs(c.problem.chance - listed_likeliest(sizes[k][0], sizes[k][1])) < 1e-9);
        case_close(&c);
    }
    enum { SAMPLES = 40000 };
    for (int k = 0; k < COUNTED; k++) {
        TaskCase c;
        case_open(&c, "counting", counted[k]);
        double with[SHOWN_MOST] = {0}, likeliest = 0;
        for (int64_t index = 0; index < SAMPLES; index++) {
            case_draw(&c, 6, SPLIT_TRAIN, index);
            with[c.sample.classes[0]]++;
        }
        for (int64_t count = 0; count < c.problem.length; count++)
            likeliest = fmax(likeliest, with[count] / SAMPLES);
        /* binomial, 6 standard deviations; the largest of several may be another's excess */
        const double deviation = sqrt(c.problem.chance * (1 - c.problem.chance) / SAMPLES);
        assert_true(fabs(likeliest - c.problem.chance) < 6 * deviation);
        case_close(&c);
    }
}

/* The largest settings: chance is a probability still, and not long in coming. By the normal
 * approximation for two kinds and N = 65,536 tokens the largest count is N / 2 + d with
 * probability 2 phi(2 d / sqrt(N)) 2 / sqrt(N), likeliest at d = 1: 4 / sqrt(2 pi N) = 0.00623; the
 * approximation's error is of order 1 / N of that. */
static void counting_knows_it_for_long_samples(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "counting", "length=65537 vocabulary=4");
    assert_true(fabs(c.problem.chance - 4 / sqrt(2 * acos(-1) * 65536)) < 1e-6);
    case_close(&c);
    case_open(&c, "counting", "length=65537 vocabulary=65536");
    assert_true(c.problem.chance > 0.1 && c.problem.chance < 1);
    case_close(&c);
}

static void rare_pairs_are_refused(void **state) {
    (void)state;
    /* 16 tokens have 120 pairs, 17 have 136: a fourth of 512 kinds is 128 */
    case_refused("majority", "length=17 vocabulary=514", STATUS_USAGE, "length=18 or more");
    case_refused("counting", "length=17 vocabulary=514", STATUS_USAGE, "task counting");
    TaskCase c; /* what the message names is taken */
    case_open(&c, "majority", "length=18 vocabulary=514");
    case_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_question_mark_asks_for_the_mode),
        cmocka_unit_test(majority_prefers_no_token),
        cmocka_unit_test(counting_knows_its_likeliest_count),
        cmocka_unit_test(counting_knows_it_for_long_samples),
        cmocka_unit_test(rare_pairs_are_refused),
    };
    return cmocka_run_group_tests_name("most frequent", tests, NULL, NULL);
}
