/* Text and Retrieval: files written here in the published formats are read back byte for byte; bad
 * ones are refused. */
#include "tests/data_case.h"

static void write_reviews(void) {
    for (int i = 0; i < 20; i++) {
        char name[64], body[64];
        const char *split = i % 2 ? "train" : "test", *kind = i % 4 < 2 ? "neg" : "pos";
        snprintf(name, sizeof name, "aclImdb/%s/%s/%d_%d.txt", split, kind, i / 4,
                 i % 4 < 2 ? 2 : 9);
        snprintf(body, sizeof body, "%s %s %d<br />\xc3\xa9", split, kind, i / 4);
        data_case_text(name, body);
    }
}

static void read_back(const TaskCase *c, int sequence, char text[]) {
    const int64_t length = c->problem.length;
    for (int64_t t = 0; t < c->sample.lengths[sequence]; t++)
        text[t] = (char)(c->sample.tokens[sequence * length + t] - 1);
    text[c->sample.lengths[sequence]] = '\0';
    for (int64_t t = c->sample.lengths[sequence]; t < length; t++)
        assert_int_equal(c->sample.tokens[sequence * length + t], 0);
}

/* Each review comes once, in the right split and class, whatever the order. */
static void reviews_are_read_byte_by_byte(void **state) {
    (void)state;
    write_reviews();
    TaskCase c;
    char text[4001], expected[64];
    case_open(&c, "text", "");
    int seen[2][2][5] = {{{0}}};
    static const int64_t counts[] = {9, 1, 10};
    for (int split = 0; split < 3; split++) {
        assert_int_equal(c.task->count(c.options, c.data, (Split)split), counts[split]);
        for (int64_t index = 0; index < counts[split]; index++) {
            case_draw(&c, 1, (Split)split, index);
            read_back(&c, 0, text);
            const int kind = c.sample.classes[0], test = split == SPLIT_TEST;
            const int number = text[strlen(text) - 9] - '0';
            assert_in_range(number, 0, 4);
            snprintf(expected, sizeof expected, "%s %s %d<br />\xc3\xa9", test ? "test" : "train",
                     kind ? "pos" : "neg", number);
            assert_string_equal(text, expected);
            seen[test][kind][number]++;
        }
    }
    for (int test = 0; test < 2; test++)
        for (int kind = 0; kind < 2; kind++)
            for (int number = 0; number < 5; number++)
                assert_int_equal(seen[test][kind][number], 1);
    case_splits_disjoint(&c, SPLIT_TEST);
    case_close(&c);
    case_open(&c, "text", "length=5 validation=test");
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_TRAIN), 10);
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_VALIDATION), 10);
    case_draw(&c, 1, SPLIT_VALIDATION, 3);
    read_back(&c, 0, text);
    assert_string_equal(text, "test ");
    case_close(&c);
}

static void bad_reviews_are_refused(void **state) {
    (void)state;
    data_case_text("aclImdb/test/pos/3_9.txt", "");
    data_case_refused("text", "", STATUS_DATA, "test/pos/3_9.txt is empty");
    data_case_write("aclImdb/test/pos/3_9.txt", "\0\0\0\0", 4);
    data_case_refused("text", "", STATUS_DATA, "test/pos/3_9.txt has zero bytes");
    write_reviews();
    data_case_remove("aclImdb/train/neg/0_2.txt");
    data_case_refused("text", "", STATUS_DATA, "train: 9 reviews, of which no tenth");
    for (int i = 1; i < 5; i++) {
        char name[64];
        snprintf(name, sizeof name, "aclImdb/train/neg/%d_2.txt", i);
        data_case_remove(name);
    }
    data_case_refused("text", "", STATUS_DATA, "no reviews");
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s/aclImdb/train/neg", getenv("LONGHAUL_DATA"));
    assert_int_equal(rmdir(folder), 0);
    data_case_refused("text", "", STATUS_DATA, "train/neg");
}

#define PAIRS "lra_release/lra_release/tsv_data/new_aan_pairs."
static const char pairs[] = "1.0\tA\tB\tfirst \"paper\tsecond\n"
                            "0.0\tC\tD\tthird\tfourth \xe2\x80\x94 paper\n";

/* Splits share texts, but no pair. */
static void write_pairs(void) {
    data_case_text(PAIRS "train.tsv", pairs);
    data_case_text(PAIRS "eval.tsv", "1.0\tA\tB\tfirst\tsecond\n0.0\tC\tD\tfirst\tfourth\n");
    data_case_text(PAIRS "test.tsv", "0.0\tA\tB\tfirst \"paper\tfourth\n"
                                     "1.0\tC\tD\tsecond\tfirst\n");
}

static void pairs_are_read_byte_by_byte(void **state) {
    (void)state;
    write_pairs();
    TaskCase c;
    char text[4001];
    case_open(&c, "retrieval", "length=16");
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_VALIDATION), 2);
    case_draw(&c, 1, SPLIT_TRAIN, 0);
    read_back(&c, 0, text);
    assert_string_equal(text, "first \"paper"); /* a bare quotation mark quotes nothing */
    read_back(&c, 1, text);
    assert_string_equal(text, "second");
    assert_int_equal(c.sample.classes[0], 1);
    case_draw(&c, 1, SPLIT_TRAIN, 1);
    read_back(&c, 1, text);
    assert_string_equal(text, "fourth \xe2\x80\x94 paper");
    assert_int_equal(c.sample.classes[0], 0);
    case_draw(&c, 1, SPLIT_TEST, 1);
    read_back(&c, 0, text);
    assert_string_equal(text, "second");
    case_splits_disjoint(&c, SPLIT_TEST);
    case_close(&c);
}

static void bad_pairs_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"", "0 pairs"},
        {"1.0\tA\tB\tx\ty\n", "both kinds"},
        {"1.0\tA\tB\tx\ty\n0.0\tC\tD\tz", "line 2: 4 fields"},
        {"2.0\tA\tB\tx\ty\n", "label '2.0'"},
        {"label\tA\tB\tx\ty\n", "label 'label'"},
        {"1.0\tA\tB\t\ty\n", "text 1 is empty"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        write_pairs();
        data_case_text(PAIRS "eval.tsv", bad[i].text);
        data_case_refused("retrieval", "", STATUS_DATA, bad[i].words);
    }
    data_case_text(PAIRS "eval.tsv", pairs);
    data_case_refused("retrieval", "", STATUS_DATA,
                      "all pairs of new_aan_pairs.eval.tsv are in new_aan_pairs.train.tsv");
    data_case_remove(PAIRS "eval.tsv");
    data_case_refused("retrieval", "", STATUS_DATA, "lra_release.gz");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reviews_are_read_byte_by_byte),
        cmocka_unit_test(bad_reviews_are_refused),
        cmocka_unit_test(pairs_are_read_byte_by_byte),
        cmocka_unit_test(bad_pairs_are_refused),
    };
    return cmocka_run_group_tests_name("documents", tests, data_case_begin, data_case_end);
}
