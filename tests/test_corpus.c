/* Corpora and units: where splits and documents begin, what becomes a token, what a token covers.
 */
#include "tests/data_case.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tasks/corpus.h"
#include "tasks/pieces.h"

/* Joins the spelled tokens and the last target of a sample's window. */
static void spell_window(const TaskCase *c, char *text, size_t size) {
    size_t used = 0;
    const int64_t length = c->sample.lengths[0];
    text[0] = '\0';
    for (int64_t t = 0; t <= length && used < size; t++) {
        char one[TASK_SPELL_BYTES];
        int64_t id = t < length ? c->sample.tokens[t] : 0;
        for (int64_t j = 0; t == length && j < length; j++)
            if (c->sample.weights[j] == 1 && c->sample.positions[j] == length - 1)
                id = c->sample.classes[j];
        c->task->spell(c->options, c->data, id, one);
        used += (size_t)snprintf(text + used, size - used, "%s%s", t > 0 ? " " : "", one);
    }
}

static void expect_window(const TaskCase *c, const char *expected) {
    char text[4096];
    spell_window(c, text, sizeof text);
    assert_string_equal(text, expected);
}

static void write_wikitext(const char *folder) {
    static const char *const names[] = {"train", "valid", "test"};
    static const char *const texts[] = {
        (" \n = First = \n \n the cat saw the dog . \n \n = = Part = = \n \n the end \n"
         " \n = Second = \n \n the rare cat . \n"),
        " \n = Third = \n \n the cat saw the bird . \n",
        " \n = Fourth = \n \n the dog saw a bird . \n"};
    for (int split = 0; split < 3; split++) {
        char name[128];
        snprintf(name, sizeof name, "%s/wiki.%s.tokens", folder, names[split]);
        data_case_text(name, texts[split]);
    }
}

static void words_follow_wikitext(void **state) {
    (void)state;
    write_wikitext("wikitext-2");
    TaskCase c;
    case_open(&c, "lm", "corpus=wikitext-2 unit=word length=11");
    assert_int_equal(c.problem.vocabulary, 33278);
    case_draw(&c, 1, SPLIT_VALIDATION, 0);
    expect_window(&c, "<eos> = <unk> = <eos> <eos> the cat saw the <unk> .");
    /* ids are in the order of frequency: <eos> comes 12 times in training */
    assert_int_equal(c.sample.tokens[0], 0);
    assert_int_equal(c.task->frequency(c.options, c.data, 0), 12);
    case_close(&c);
    case_open(&c, "lm", "corpus=wikitext-2 unit=word vocabulary=5 length=11");
    case_draw(&c, 1, SPLIT_VALIDATION, 0);
    expect_window(&c, "<eos> = <unk> = <eos> <eos> the <unk> <unk> the <unk> .");
    int64_t sum = 0;
    for (int id = 0; id < 5; id++) sum += c.task->frequency(c.options, c.data, id);
    assert_int_equal(sum, 35); /* words and line ends of the training text */
    case_close(&c);
}

static void documents_can_be_kept_apart(void **state) {
    (void)state;
    write_wikitext("wikitext-2");
    TaskCase c;
    case_open(&c, "lm", "corpus=wikitext-2 unit=word length=8 documents=apart stride=3");
    assert_true(c.problem.padded);
    int first = 0, second = 0;
    for (int64_t index = 0; index < 200; index++) {
        case_draw(&c, 1, SPLIT_TRAIN, index);
        char text[4096];
        spell_window(&c, text, sizeof text);
        first += strstr(text, "First") != NULL;
        second += strstr(text, "Second") != NULL;
        assert_false(strstr(text, "First") && strstr(text, "Second"));
        assert_false(strstr(text, "end") && strstr(text, "Second"));
    }
    assert_true(first > 0 && second > 0);
    case_close(&c);
    /* a document shorter than the window is one short window, padded */
    case_open(&c, "lm", "corpus=wikitext-2 unit=word length=30 documents=apart");
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_TEST), 1);
    case_draw(&c, 1, SPLIT_TEST, 0);
    assert_int_equal(c.sample.lengths[0], 12);
    float scored = 0;
    for (int j = 0; j < 30; j++) scored += c.sample.weights[j];
    assert_true(scored == 12);
    case_close(&c);
}

/* Extents add up to the text but its first token, whatever unit, window and stride. */
static void extents_tile_the_text(void **state) {
    (void)state;
    write_wikitext("wikitext-2");
    static const char *const settings[] = {"unit=byte length=7 stride=2", "unit=word length=3",
                                           "unit=word length=5 stride=1",
                                           "unit=byte length=4 evaluation_length=9"};
    for (int k = 0; k < 4; k++) {
        char all[160];
        TaskCase c;
        snprintf(all, sizeof all, "corpus=wikitext-2 %s", settings[k]);
        case_open(&c, "lm", all);
        Extent sum = {0};
        for (int64_t i = 0; i < c.task->count(c.options, c.data, SPLIT_VALIDATION); i++) {
            const Extent one = c.task->extent(c.options, c.data, SPLIT_VALIDATION, i);
            sum.bytes += one.bytes;
            sum.words += one.words;
            sum.lines += one.lines;
        }
        /* the first token is " ", or, as a word, " \n" */
        const bool bytes = strstr(settings[k], "byte") != NULL;
        assert_true(sum.bytes == (bytes ? 40 : 39));
        assert_true(sum.words == 9);
        assert_true(sum.lines == (bytes ? 4 : 3));
        case_close(&c);
    }
}

static void evaluation_windows_have_their_own_length(void **state) {
    (void)state;
    write_wikitext("wikitext-2");
    TaskCase c;
    case_open(&c, "lm", "corpus=wikitext-2 length=4 evaluation_length=20");
    const Problem test = problem_for(&c.problem, SPLIT_TEST);
    const Problem train = problem_for(&c.problem, SPLIT_TRAIN);
    assert_int_equal(train.length, 4);
    assert_int_equal(test.length, 20);
    assert_int_equal(test.labels, 20);
    assert_int_equal(problem_longest(&test), problem_longest(&train));
    case_draw(&c, 1, SPLIT_TRAIN, 0);
    assert_int_equal(c.sample.lengths[0], 4);
    case_draw(&c, 1, SPLIT_TEST, 0);
    assert_int_equal(c.sample.lengths[0], 20);
    case_close(&c);
}

/* ---- forms of corpora ---- */

static void folders_and_files_become_splits(void **state) {
    (void)state;
    Corpus corpus;
    Error error = {0};
    data_case_text("books/b.txt", "bbbbb");
    data_case_text("books/a.txt", "aaaaaaaaaaaaaaa");
    if (corpus_read_path("books", &corpus, &error) != STATUS_OK) fail_msg("%s", error.message);
    assert_int_equal(corpus.splits[SPLIT_TRAIN].count, 18); /* a.txt first, then a part of b.txt */
    assert_int_equal(corpus.splits[SPLIT_TRAIN].documents, 2);
    assert_int_equal(corpus.splits[SPLIT_TRAIN].starts[1], 15);
    assert_memory_equal(corpus.splits[SPLIT_TRAIN].bytes, "aaaaaaaaaaaaaaabbb", 18);
    assert_int_equal(corpus.splits[SPLIT_TEST].count, 1);
    corpus_close(&corpus);
    data_case_text("split/train/1.txt", "one");
    data_case_text("split/train/2.txt", "two");
    data_case_text("split/valid/3.txt", "three");
    data_case_text("split/test.txt", "four");
    if (corpus_read_path("split", &corpus, &error) != STATUS_OK) fail_msg("%s", error.message);
    assert_int_equal(corpus.splits[SPLIT_TRAIN].documents, 2);
    assert_memory_equal(corpus.splits[SPLIT_TRAIN].bytes, "onetwo", 6);
    assert_memory_equal(corpus.splits[SPLIT_VALIDATION].bytes, "three", 5);
    assert_memory_equal(corpus.splits[SPLIT_TEST].bytes, "four", 4);
    corpus_close(&corpus);
    data_case_text("pg19/train/1.txt", "first book");
    data_case_text("pg19/validation/2.txt", "second book");
    data_case_text("pg19/test/3.txt", "third book");
    TaskCase c;
    case_open(&c, "lm", "corpus=pg19 length=5");
    case_close(&c);
}

static void a_test_text_can_be_done_without(void **state) {
    (void)state;
    data_case_text("penn-treebank/ptb.train.txt", " a b \n");
    data_case_text("penn-treebank/ptb.valid.txt", " c d \n e f \n");
    data_case_refused("lm", "corpus=ptb length=2", STATUS_DATA, "test=validation does without");
    TaskCase c;
    case_open(&c, "lm", "corpus=ptb length=2 test=validation");
    case_draw(&c, 1, SPLIT_TEST, 0);
    expect_window(&c, "_ e _");
    case_close(&c);
    case_refused("lm", "corpus=enwik8 test=validation", STATUS_USAGE, "cut in three anyway");
}

static void bad_corpora_are_refused(void **state) {
    (void)state;
    write_wikitext("wikitext-2");
    data_case_write("wikitext-2/wiki.test.tokens", "", 0);
    data_case_refused("lm", "corpus=wikitext-2 length=5", STATUS_DATA, "is empty");
    char zeros[5000] = {0};
    data_case_write("wikitext-2/wiki.test.tokens", zeros, sizeof zeros);
    data_case_refused("lm", "corpus=wikitext-2 length=5", STATUS_DATA, "not UTF-8");
    memset(zeros, '\n', sizeof zeros);
    memcpy(zeros, "a text and nothing behind it", 28);
    data_case_write("wikitext-2/wiki.test.tokens", zeros, sizeof zeros);
    data_case_refused("lm", "corpus=wikitext-2 length=5", STATUS_DATA,
                      "4972 of its 5000 bytes are 0x0A");
    data_case_text("wikitext-2/wiki.test.tokens", " x \n");
    data_case_refused("lm", "corpus=wikitext-2 unit=word length=5", STATUS_DATA,
                      "test split has 2 tokens");
    data_case_remove("wikitext-2/wiki.train.tokens");
    data_case_refused("lm", "corpus=wikitext-2 length=5", STATUS_DATA,
                      "longhaul data fetch wikitext-2");
    assert_int_equal(folder_make(getenv("LONGHAUL_DATA"), NULL), STATUS_OK);
    data_case_text("none/.hidden", "x");
    data_case_refused("lm", "data=none", STATUS_DATA, "has no files");
    data_case_refused("lm", "data=nowhere", STATUS_DATA, "no file or folder");
    data_case_text("short.txt", "a few words");
    data_case_refused("lm", "data=short.txt length=100", STATUS_DATA, "one window of 100");
    case_refused("lm", "data=short.txt unit=word", STATUS_USAGE, "needs vocabulary=N");
    case_refused("lm", "data=short.txt unit=word vocabulary=1", STATUS_USAGE, "use 2 or more");
    case_refused("lm", "data=short.txt unit=bpe", STATUS_USAGE, "needs bpe=FOLDER");
    case_refused("lm", "data=short.txt unit=bpe bpe=none", STATUS_DATA, "vocab.json");
    case_refused("lm", "stride=3", STATUS_USAGE, "without a corpus");
    case_refused("lm", "corpus=synthetic unit=word", STATUS_USAGE, "without a corpus");
}

/* ---- byte pairs ---- */

/* A vocabulary of all bytes, with some merges and the separator. */
static void write_bpe(const char *merges) {
    char json[8192] = "{", name[16];
    size_t used = 1;
    int next = 0x100;
    for (int byte = 0; byte < 256; byte++) {
        const bool prints = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
        const int character = prints ? byte : next;
        next += !prints;
        if (character < 0x80)
            snprintf(name, sizeof name, "%s%c", strchr("\"\\", character) ? "\\" : "", character);
        else
            snprintf(name, sizeof name, "\\u%04x", (unsigned)character);
        used += (size_t)snprintf(json + used, sizeof json - used, "\"%s\": %d, ", name, byte);
    }
    snprintf(json + used, sizeof json - used,
             "\"th\": 256, \"the\": 257, \"\\u0120the\": 258, \"aa\": 259, \"\\u0120t\": 260, "
             "\"<|endoftext|>\": 261}");
    data_case_text("bpe/vocab.json", json);
    data_case_text("bpe/merges.txt", merges);
}

static void byte_pairs_merge_by_rank(void **state) {
    (void)state;
    write_bpe("#version: 0.2\nt h\nth e\na a\n\xC4\xA0 the\n\xC4\xA0 t\n");
    data_case_text("joined/train.txt", "some training text");
    data_case_text("joined/valid.txt", "the theaaa the\xC3\xA9 's't 12");
    data_case_text("joined/test.txt", "some test text with blanks");
    TaskCase c;
    case_open(&c, "lm", "data=joined unit=bpe bpe=bpe length=14");
    assert_int_equal(c.problem.vocabulary, 262);
    case_draw(&c, 1, SPLIT_VALIDATION, 0);
    static const int expected[] = {257, 258,  259, 'a',  258, 0xC3, 0xA9,
                                   ' ', '\'', 's', '\'', 't', ' ',  '1'};
    for (int t = 0; t < 14; t++) assert_int_equal(c.sample.tokens[t], expected[t]);
    assert_int_equal(c.sample.classes[13], '2');
    const Extent extent = c.task->extent(c.options, c.data, SPLIT_VALIDATION, 0);
    assert_true(extent.bytes == 21 && extent.words == 4);
    case_close(&c);
    /* the separator stands between documents, and is no byte */
    data_case_text("apart/train/1.txt", "some training text");
    data_case_text("apart/valid/1.txt", "ab");
    data_case_text("apart/valid/2.txt", "cd");
    data_case_text("apart/test/1.txt", "some test text");
    case_open(&c, "lm", "data=apart unit=bpe bpe=bpe length=4");
    case_draw(&c, 1, SPLIT_VALIDATION, 0);
    static const int joined[] = {'a', 'b', 261, 'c'};
    for (int t = 0; t < 4; t++) assert_int_equal(c.sample.tokens[t], joined[t]);
    assert_true(c.task->extent(c.options, c.data, SPLIT_VALIDATION, 0).bytes == 3);
    case_close(&c);
}

static void byte_pair_files_are_checked(void **state) {
    (void)state;
    data_case_text("text.txt", "some text that is long enough for one window of each split");
    static const char settings[] = "data=text.txt unit=bpe bpe=bpe length=1";
    write_bpe("t h\nq q\n");
    data_case_refused("lm", settings, STATUS_DATA, "merges.txt line 2: 'q q'");
    write_bpe("th\n");
    data_case_refused("lm", settings, STATUS_DATA, "a blank between them");
    data_case_remove("bpe/merges.txt");
    data_case_refused("lm", settings, STATUS_DATA, "no merges.txt or vocab.bpe");
    data_case_text("bpe/vocab.json", "{\"a\": 0, \"b\": 7}");
    data_case_refused("lm", settings, STATUS_DATA, "has no id of its own below 2");
    data_case_text("bpe/vocab.json", "{\"a\": 0, \"b\": 1}");
    data_case_refused("lm", settings, STATUS_DATA, "no token for the byte");
    data_case_text("bpe/vocab.json", "{\"a\": 0,\n \"b\"");
    case_refused("lm", settings, STATUS_DATA, "line 2");
    data_case_text("bpe/vocab.json", "[1, 2]");
    case_refused("lm", settings, STATUS_DATA, "expected an object");
}

/* ---- tokens that are kept ---- */

enum { MOST_CACHED = 8 };

/* Names of the token files in the cache, and how many. */
static int cached(char names[MOST_CACHED][300]) {
    DIR *folder = opendir(getenv("LONGHAUL_CACHE"));
    int count = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (strncmp(entry->d_name, "tokens-", 7) == 0 && count < MOST_CACHED)
            snprintf(names[count++], 300, "%s/%s", getenv("LONGHAUL_CACHE"), entry->d_name);
    if (folder) closedir(folder);
    return count;
}

static uint64_t first_windows(const char *settings) {
    TaskCase c;
    case_open(&c, "lm", settings);
    uint64_t hash = 0;
    for (int k = 0; k < 60; k++) {
        const Split split = (Split)(k % 3);
        case_draw(&c, 1, split, k / 3);
        hash = case_hash(&c, hash);
        if (split == SPLIT_TRAIN) continue;
        const Extent extent = c.task->extent(c.options, c.data, split, k / 3);
        hash = hash * 31 + (uint64_t)extent.bytes;
    }
    case_close(&c);
    return hash;
}

/* Tokens read from the cache are those that encoding gives; a damaged file is noticed and made
 * again; other settings, another vocabulary or another text have files of their own. */
static void kept_tokens_are_the_same(void **state) {
    (void)state;
    enum { LETTERS = 1200000 };
    char *text = malloc(LETTERS), names[MOST_CACHED][300];
    for (int i = 0; i < LETTERS; i++)
        text[i] =
            i % 5 == 4 ? (i % 50 == 49 ? '\n' : ' ') : (char)('a' + i / 5 % 977 * (i % 5) % 26);
    data_case_write("kept/train.txt", text, LETTERS); /* the others are too short to be kept */
    data_case_write("kept/valid.txt", text + 1000, 4000);
    data_case_write("kept/test.txt", text + 9000, 4000);
    static const char words[] = "data=kept unit=word vocabulary=300 length=20";
    const int before = cached(names);
    const uint64_t made = first_windows(words);
    assert_int_equal(cached(names), before + 1);
    const struct timespec long_ago[2] = {{1, 0}, {1, 0}};
    struct stat facts;
    assert_int_equal(utimensat(AT_FDCWD, names[0], long_ago, 0), 0);
    assert_true(first_windows(words) == made);
    assert_int_equal(stat(names[0], &facts), 0);
    assert_int_equal(facts.st_mtim.tv_sec, 1); /* it was read, not written again */
    FILE *file = fopen(names[0], "r+b");
    fseek(file, 5000, SEEK_SET);
    fputc(fgetc(file) ^ 1, file);
    fclose(file);
    for (int damage = 0; damage < 2; damage++) {
        assert_int_equal(utimensat(AT_FDCWD, names[0], long_ago, 0), 0);
        assert_true(first_windows(words) == made);
        assert_int_equal(stat(names[0], &facts), 0);
        assert_true(facts.st_mtim.tv_sec > 1); /* made again */
        assert_int_equal(truncate(names[0], 5000), 0);
    }
    first_windows("data=kept unit=word vocabulary=200 length=20");
    assert_int_equal(cached(names), before + 2);
    write_bpe("#version: 0.2\nt h\nth e\na a\n\xC4\xA0 the\n\xC4\xA0 t\n");
    first_windows("data=kept unit=bpe bpe=bpe length=20");
    assert_int_equal(cached(names), before + 3);
    write_bpe("#version: 0.2\na a\nt h\nth e\n\xC4\xA0 the\n\xC4\xA0 t\n");
    first_windows("data=kept unit=bpe bpe=bpe length=20");
    assert_int_equal(cached(names), before + 4);
    text[7] ^= 1;
    data_case_write("kept/train.txt", text, LETTERS);
    first_windows(words);
    assert_int_equal(cached(names), before + 5);
    first_windows("data=kept unit=byte length=20"); /* bytes are read as quickly as a cache */
    assert_int_equal(cached(names), before + 5);
    free(text);
}

static void pieces_are_those_of_the_pattern(void **state) {
    (void)state;
    static const struct {
        const char *text, *pieces; /* separated by '|' */
    } cases[] = {
        {"don't stop", "don|'t| stop"},
        {"it's  2nd", "it|'s| | 2|nd"},
        {"a  \n\n b", "a|  \n\n| b"},
        {"x\n\ny ", "x|\n|\n|y| "},
        {"Hi!!! (yes)", "Hi|!!!| (|yes|)"},
        {"\xC3\xA9t\xC3\xA9 \xE4\xBD\xA0\xD9\xA3", "\xC3\xA9t\xC3\xA9| \xE4\xBD\xA0|\xD9\xA3"},
        {"a\xC2\xA0 b", "a|\xC2\xA0| b"},
        {"  ", "  "},
        {"a 's", "a| '|s"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char found[256] = "";
        const char *text = cases[i].text;
        for (const char *at = text; *at;) {
            const int64_t bytes = piece_bytes((const uint8_t *)at, (int64_t)strlen(at));
            snprintf(found + strlen(found), sizeof found - strlen(found), "%s%.*s",
                     at > text ? "|" : "", (int)bytes, at);
            at += bytes;
        }
        assert_string_equal(found, cases[i].pieces);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_follow_wikitext),
        cmocka_unit_test(documents_can_be_kept_apart),
        cmocka_unit_test(extents_tile_the_text),
        cmocka_unit_test(evaluation_windows_have_their_own_length),
        cmocka_unit_test(folders_and_files_become_splits),
        cmocka_unit_test(a_test_text_can_be_done_without),
        cmocka_unit_test(bad_corpora_are_refused),
        cmocka_unit_test(byte_pairs_merge_by_rank),
        cmocka_unit_test(byte_pair_files_are_checked),
        cmocka_unit_test(kept_tokens_are_the_same),
        cmocka_unit_test(pieces_are_those_of_the_pattern),
    };
    return cmocka_run_group_tests_name("corpus", tests, data_case_begin, data_case_end);
}
