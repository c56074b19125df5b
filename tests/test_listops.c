/* ListOps: every expression is evaluated again by recursion; lengths and answers have the law of
 * the published grammar; files are read, and bad ones refused. */
#include "tests/data_case.h"

#include <math.h>

static int compare_integers(const void *a, const void *b) {
    const int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* Value of the expression at tokens[*at]; counts operators and the deepest nesting. */
static int evaluate(const int32_t *tokens, int *at, int depth, int *operators, int *deepest) {
    if (depth > *deepest) *deepest = depth;
    const int32_t token = tokens[(*at)++];
    if (token <= 10) return token - 1;
    int values[64], count = 0, sum = 0;
    ++*operators;
    while (tokens[*at] != 15) {
        assert_in_range(tokens[*at], 1, 14);
        values[count++] = evaluate(tokens, at, depth + 1, operators, deepest);
        sum += values[count - 1];
    }
    ++*at;
    assert_in_range(count, 2, 10);
    qsort(values, (size_t)count, sizeof *values, compare_integers);
    if (token == 11) return values[0];
    if (token == 12) return values[count - 1];
    if (token == 14) return sum % 10;
    return count % 2 == 1 ? values[count / 2] : (values[count / 2] + values[count / 2 - 1]) / 2;
}

/* Reference figures: 4,000 trees of the official generator (acceptance, lengths, answers), so
 * their own sampling error is included: bounds are 6 standard errors of the difference. */
static void expressions_follow_the_published_law(void **state) {
    (void)state;
    enum { SAMPLES = 8000 };
    TaskCase c;
    case_open(&c, "listops", "");
    static int lengths[SAMPLES];
    double answers[10] = {0}, roots[16] = {0}, operators = 0, length = 0, first_rule = 0;
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        int at = 0, used = 0, deepest = 0;
        const int value = evaluate(c.sample.tokens, &at, 1, &used, &deepest);
        assert_int_equal(value, c.sample.classes[0]);
        assert_int_equal(at, c.sample.lengths[0]);
        assert_in_range(at, 501, 1999);
        assert_int_equal(deepest, 10);
        for (int64_t t = at; t < c.problem.length; t++) assert_int_equal(c.sample.tokens[t], 0);
        lengths[index] = at;
        length += at;
        operators += used;
        answers[value] += 1;
        const int root = c.sample.tokens[0];
        roots[root] += 1;
        first_rule += (root == 11 && value == 0) || (root == 12 && value == 9) ||
                      (root == 13 && value == 4) || (root == 14 && value == 0);
    }
    case_close(&c);
    qsort(lengths, SAMPLES, sizeof *lengths, compare_integers);
    const double error = sqrt(1.0 / SAMPLES + 1.0 / 4000);
    assert_true(fabs(length / SAMPLES - 1043) < 6 * 390 * error); /* deviation 390 tokens */
    assert_true(fabs(operators / SAMPLES - 148) < 6 * 60 * error);
    /* a quantile's error: sqrt(p (1 - p)) / density, density read from the deciles */
    assert_true(fabs(lengths[SAMPLES / 2] - 966.0) < 6 * 0.5 / 0.0011 * error);
    assert_true(fabs(lengths[SAMPLES / 10] - 583.0) < 6 * 0.3 / 0.0012 * error);
    assert_true(fabs(lengths[SAMPLES * 9 / 10] - 1641.0) < 6 * 0.3 / 0.0004 * error);
    assert_true(fabs(answers[0] / SAMPLES - 0.166) < 6 * 0.372 * error);
    assert_true(fabs(answers[9] / SAMPLES - 0.173) < 6 * 0.378 * error);
    assert_true(fabs(first_rule / SAMPLES - 0.366) < 6 * 0.482 * error);
    for (int a = 1; a < 9; a++) assert_true(answers[a] / SAMPLES > 0.05);
    for (int r = 11; r <= 14; r++) assert_true(fabs(roots[r] / SAMPLES - 0.25) < 6 * 0.433 * error);
}

static void small_expressions_are_solved(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "listops", "shortest=3 longest=40 depth=4 arguments=5");
    for (int64_t index = 0; index < 2000; index++) {
        case_draw(&c, 6, SPLIT_TEST, index);
        int at = 0, used = 0, deepest = 0;
        assert_int_equal(evaluate(c.sample.tokens, &at, 1, &used, &deepest), c.sample.classes[0]);
        assert_in_range(at, 4, 39);
        assert_in_range(deepest, 2, 4);
    }
    case_close(&c);
}

#define FOLDER "lra_release/lra_release/listops-1000/"
static const char good[] = "Source\tTarget\r\n"
                           "( ( ( [MED 4 ) 7 ) ] )\t5\r\n"
                           "( ( ( ( [SM 9 ) ( ( ( [MIN 3 ) 8 ) ] ) ) 8 ) ] )\t0\r\n"
                           "7\t7\r\n";

static const char others[] = "Source\tTarget\r\n6\t6\r\n( ( ( [MED 4 ) 6 ) ] )\t5\r\n";

static void write_good_files(void) {
    data_case_text(FOLDER "basic_train.tsv", "Source\tTarget\r\n5\t5\r\n");
    data_case_text(FOLDER "basic_val.tsv", good);
    data_case_text(FOLDER "basic_test.tsv", others);
}

static void released_files_are_read(void **state) {
    (void)state;
    write_good_files();
    TaskCase c;
    case_open(&c, "listops", "source=files longest=16");
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_VALIDATION), 3);
    case_splits_disjoint(&c, SPLIT_TEST);
    case_draw(&c, 1, SPLIT_VALIDATION, 1);
    static const int32_t tokens[] = {14, 10, 11, 4, 9, 15, 9, 15, 0};
    assert_memory_equal(c.sample.tokens, tokens, sizeof tokens);
    assert_int_equal(c.sample.classes[0], 0);
    assert_int_equal(c.sample.lengths[0], 8);
    case_close(&c);
}

static void bad_files_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"", "first line"},
        {"7\t7\n", "first line"},
        {"Source\tTarget\n", "no examples"},
        {"Source\tTarget\n7\t7\n( ( [MIN 2 ) 3", "line 3: expected an expression"},
        {"Source\tTarget\n7\t12\n", "line 2: expected an expression"},
        {"Source\tTarget\n( ( ( [AVG 2 ) 3 ) ] )\t2\n", "'[AVG'"},
        {"Source\tTarget\n( ( [MIN 2 ) 3 )\t2\n", "brackets"},
        {"Source\tTarget\n2 3\t2\n", "brackets"},
        {"Source\tTarget\n[MIN ]\t2\n", "brackets"},
        {"Source\tTarget\n( ( ( [MIN 2 ) 3 ) ] )\t3\n", "mislabelled"},
        {"Source\tTarget\n[MIN 1 2 3 4 5 6 7 8 9 1 2 3 4 5 ]\t1\n", "longest=16"},
    };
    write_good_files();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        data_case_text(FOLDER "basic_val.tsv", bad[i].text);
        data_case_refused("listops", "source=files longest=15", STATUS_DATA, bad[i].words);
    }
    static const char zero[] = "Source\tTarget\n1\t1\n7\t7\0 8\n";
    data_case_write(FOLDER "basic_val.tsv", zero, sizeof zero - 1);
    data_case_refused("listops", "source=files", STATUS_DATA, "line 3: a zero byte");
    data_case_text(FOLDER "basic_val.tsv", "Source\tTarget\n1\t1\n6\t6\n");
    data_case_refused("listops", "source=files longest=15", STATUS_DATA,
                      "1 expressions of basic_test.tsv are in basic_val.tsv");
    data_case_remove(FOLDER "basic_val.tsv");
    data_case_refused("listops", "source=files", STATUS_DATA, "source=generated");
}

/* What is known of the published grammar is said of no other. */
static void chance_is_of_the_grammar(void **state) {
    (void)state;
    TaskCase c;
    case_open(&c, "listops", "");
    assert_true(c.problem.chance == 0.173 && c.problem.guessable);
    case_close(&c);
    case_open(&c, "listops", "shortest=8 longest=64 depth=4 arguments=4");
    assert_true(c.problem.chance == 0.1);
    case_close(&c);
}

static void impossible_settings_are_refused(void **state) {
    (void)state;
    case_refused("listops", "shortest=500 longest=501", STATUS_USAGE, "longest=502");
    case_refused("listops", "depth=2", STATUS_USAGE, "shortest=19");
    case_refused("listops", "depth=64 arguments=64", STATUS_USAGE,
                 "of 10000 expressions at depth=64");
    TaskCase deepest;
    assert_int_equal(case_check(&deepest, "listops", "depth=64 shortest=40"), STATUS_OK);
    case_close(&deepest);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expressions_follow_the_published_law),
        cmocka_unit_test(small_expressions_are_solved),
        cmocka_unit_test(released_files_are_read),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(chance_is_of_the_grammar),
        cmocka_unit_test(impossible_settings_are_refused),
    };
    return cmocka_run_group_tests_name("listops", tests, data_case_begin, data_case_end);
}
