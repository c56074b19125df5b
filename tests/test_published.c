/* The CSV reader on awkward files, and the published rows that figures depend on. */
#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench/common/csv.h"
#include "bench/common/home.h"
#include "bench/report/published.h"
#include "models/model.h"

static char written[] = "/tmp/longhaul-csv-XXXXXX";

static void write_bytes(const char *text, size_t bytes) {
    strcpy(written + strlen(written) - 6, "XXXXXX");
    const int descriptor = mkstemp(written);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, text, bytes), bytes);
    close(descriptor);
}

static Status read_bytes(const char *text, size_t bytes, Csv *csv, Error *error) {
    write_bytes(text, bytes);
    const Status status = csv_read(written, csv, error);
    unlink(written);
    return status;
}

static Status read_text(const char *text, Csv *csv, Error *error) {
    return read_bytes(text, strlen(text), csv, error);
}

static void csv_quotes_and_line_ends(void **state) {
    (void)state;
    Csv csv;
    Error error = {0};
    assert_int_equal(read_text("a,b\r\n\"x, \"\"y\"\"\nz\",\r\n,\"\"\r\nlast,1", &csv, &error), 0);
    assert_int_equal(csv.rows, 3);
    assert_string_equal(csv_cell(&csv, 0, "a"), "x, \"y\"\nz");
    assert_string_equal(csv_cell(&csv, 0, "b"), "");
    assert_string_equal(csv_cell(&csv, 1, "a"), "");
    assert_string_equal(csv_cell(&csv, 2, "b"), "1");
    assert_null(csv_cell(&csv, 0, "c"));
    csv_free(&csv);
}

static void csv_names_the_line_of_a_mistake(void **state) {
    (void)state;
    const struct {
        const char *text, *message;
    } rows[] = {{"a,b\n1,2\n3\n", ":3: 1 fields; the heading has 2"},
                {"a\n\"open\n\n", ":2: quote is never closed"},
                {"a\n\"x\"y\n", ":2: expected a comma"},
                {"", ": empty"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Csv csv;
        Error error = {0};
        assert_int_equal(read_text(rows[i].text, &csv, &error), STATUS_DATA);
        assert_non_null(strstr(error.message, rows[i].message));
        csv_free(&csv);
    }
    static const char zero[] = "a\n1\n\0002\n";
    Csv csv;
    Error error = {0};
    assert_int_equal(read_bytes(zero, sizeof zero - 1, &csv, &error), STATUS_DATA);
    assert_non_null(strstr(error.message, ":3: a zero byte"));
    csv_free(&csv);
}

static void csv_field_survives_writing_and_reading(void **state) {
    (void)state;
    const char *awkward = "a \"quoted\", \n thing";
    char *text;
    size_t bytes;
    FILE *file = open_memstream(&text, &bytes);
    fputs("h\n", file);
    csv_write_field(file, awkward);
    fclose(file);
    Csv csv;
    assert_int_equal(read_text(text, &csv, NULL), 0);
    assert_string_equal(csv_cell(&csv, 0, "h"), awkward);
    csv_free(&csv);
    free(text);
}

static void facts_of_settings(void **state) {
    (void)state;
    const struct {
        const char *params, *setting;
        int64_t stated[FACTS];
    } rows[] = {
        {"d_model 64, 2 layers", "length 128, kv pairs 8, vocab 8192", {64, 2, 128, 8, 8192}},
        {"2 layers, D=64", "length 4096, vocab 16, 16 data tokens", {64, 2, 4096, 0, 16, 16}},
        {"2 blocks, d=128", "context <=64", {128, 2}},
        {"", "A100, hidden 2048, length 16k", {0, 0, 16000}},
        {"2 blocks", "CL 756/1024/2048 x KV 48/96/256", {0, 2}},
        {"", "length 64/128, pairs 4..8, vocab <=20", {0}},
        {"", "trained at 256, tested at 2^6", {0, 0, 256}},
        {"", "trained len<=40, tested 40..256", {0}},
        {"d_model 64.5", "wavelength 3, kv pairs, 12", {0}},
        {"12 layers d=512", "ctx 1024", {512, 12, 1024}},
        {"", "ctx 1K", {0, 0, 1000}},
        {"", "50B tokens, seq len 1024", {0, 0, 1024}},
        {"", "GPT-2 tokenizer (50257), ctx not stated", {0}},
        {"153M", "16k context, 8 epochs", {[FACT_LENGTH] = 16000, [FACT_PARAMETERS] = 153000000}},
        {"~358M (listing)",
         "context 2048, 1024 latents",
         {[FACT_LENGTH] = 2048, [FACT_LATENTS] = 1024, [FACT_PARAMETERS] = 358000000}},
        {"137K", "", {[FACT_PARAMETERS] = 137000}},
        {"1.3B", "", {[FACT_PARAMETERS] = 1300000000}},
        {"750-826M", "", {0}},
        {"1e300B", "length 99999999999999999999k, vocab 9223372036854775807", {0}},
        {"6 layers, d=1024, 16 heads, 1024 latents",
         "length 131072, 256 byte values",
         {1024, 6, 131072, [FACT_ALPHABET] = 256, [FACT_LATENTS] = 1024}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        PublishedSize facts[FACTS];
        published_facts(rows[i].params, rows[i].setting, facts);
        for (int f = 0; f < FACTS; f++) assert_int_equal(facts[f].stated, rows[i].stated[f]);
    }
}

/* What a stated size can mean: 131k is 131,072 to those who write it, and 30k is not 32,768. */
static void sizes_have_a_range(void **state) {
    (void)state;
    const struct {
        const char *params, *setting;
        PublishedFact fact;
        int64_t number;
        bool meant;
    } rows[] = {
        {"", "length 131k", FACT_LENGTH, 131072, true},
        {"", "length 131k", FACT_LENGTH, 130000, false},
        {"", "length 64k", FACT_LENGTH, 65536, true},
        {"", "length 64k", FACT_LENGTH, 64000, true},
        {"", "length 30k", FACT_LENGTH, 32768, false},
        {"", "ctx 1K", FACT_LENGTH, 1024, true},
        {"", "ctx 1K", FACT_LENGTH, 512, false},
        {"", "length 32784", FACT_LENGTH, 32768, true},
        {"", "length 20", FACT_LENGTH, 22, true},
        {"", "length 20", FACT_LENGTH, 23, false},
        {"", "length 20", FACT_LENGTH, 19, false},
        {"", "length 20, vocab 10", FACT_VOCABULARY, 11, false},
        {"41M", "", FACT_PARAMETERS, 38000000, true},
        {"41M", "", FACT_PARAMETERS, 36000000, false},
        {"41M", "", FACT_PARAMETERS, 46000000, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        PublishedSize facts[FACTS];
        published_facts(rows[i].params, rows[i].setting, facts);
        const PublishedSize size = facts[rows[i].fact];
        assert_int_equal(rows[i].number >= size.least && rows[i].number <= size.most,
                         rows[i].meant);
    }
}

static void names(void **state) {
    (void)state;
    const char *const rows[][2] = {
        {"LRA/Path-X", "pathx"},   {"LRA/RGB-Image", "rgbimage"},   {"reverse_string", "reverse"},
        {"mirrored copy", "copy"}, {"WikiText-103", "wikitext103"}, {"Attention", "attention"},
        {"MQAR", "mqar"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char ours[48];
        published_name(rows[i][0], ours);
        assert_string_equal(ours, rows[i][1]);
    }
}

static void models(void **state) {
    (void)state;
    const char *const rows[][3] = {
        {"Attention", "transformer", ""},
        {"Full attention", "transformer", ""},
        {"Transformer (re-run by Mega authors)", "transformer", ""},
        {"MHA-RoPE", "transformer", "positions=rotary"},
        {"Linear Transformer", "linear_attention", ""},
        {"Linear attention", "linear_attention", ""},
        {"Mamba-2", "mamba2", ""},
        {"Mamba + S6", "mamba", "block=mamba layer=s6"},
        {"no gate (S4) + S4", "s4", ""},
        {"S4 (v4 configs, approximate)", "s4", "init=legs"},
        {"S4D", "s4d", ""},
        {"S4D-LegS", "s4d", "init=legs"},
        {"DSS (best-val checkpoint)", "dss", "kernel=softmax"},
        {"DSS-EXP", "dss", "kernel=exp"},
        {"Perceiver AR", "perceiver", ""},
        {"RWKV", "rwkv4", ""},
        {"RWKV-4(reg)", "rwkv4", ""},
        {"RWKV-7", "rwkv7", ""},
        {"xLSTM[1:0]", "xlstm", "blocks=1:0"},
        {"xLSTM", "xlstm", "[a:b]"},
        {"Hyena", "hyena", "filter=network filter_window=yes"},
        {"Hyena (CKConv filter)", "hyena", "filter=network filter_window=no"},
        /* other models, or numbers that do not belong to the name */
        {"LSTM (Block)", "lstmblock", ""},
        {"H3 (S4 filter)", "h3s4filter", ""},
        {"Hybrid H3", "hybridh3", ""},
        {"Mega-chunk", "megachunk", ""},
        {"S4-v1", "s4v1", ""},
        {"DSS (as printed)", "dssasprinted", ""},
        {"LSTM [no bias]", "lstm", "[no bias]"},
        {"odd [name", "oddname", ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char ours[48], needs[PUBLISHED_NEEDS];
        published_model(rows[i][0], ours, needs);
        assert_string_equal(ours, rows[i][1]);
        assert_string_equal(needs, rows[i][2]);
    }
}

/* Zoology, figure 2: a curve of 4 widths in each of 4 panels for each of 5 architectures. */
static void zoology_figure_two(void **state) {
    (void)state;
    char path[4096];
    Published published;
    assert_int_equal(home_path("results/published/mqar.csv", path, sizeof path, NULL), 0);
    assert_int_equal(published_read(path, "mqar", &published, NULL), 0);
    const int64_t panels[4][2] = {{64, 4}, {128, 8}, {256, 16}, {512, 64}};
    int found = 0;
    for (int i = 0; i < published.count; i++) {
        const PublishedPoint *point = &published.points[i];
        assert_true(point->value >= 0 && point->value <= 1);
        if (!strstr(point->citation, "2312.04927")) continue;
        assert_string_equal(point->citation,
                            "Arora et al. 2023 (Zoology), arXiv 2312.04927, Fig. 2");
        for (int p = 0; p < 4; p++) {
            found += point->facts[FACT_LENGTH].stated == panels[p][0] &&
                     point->facts[FACT_PAIRS].stated == panels[p][1] &&
                     point->facts[FACT_WIDTH].stated >= 64 && !strcmp(point->model, "hyena");
        }
    }
    assert_int_equal(found, 16);
    published_free(&published);
}

static Published read_file(const char *name, const char *task) {
    char relative[96], path[4096];
    Published published;
    snprintf(relative, sizeof relative, "results/published/%s", name);
    assert_int_equal(home_path(relative, path, sizeof path, NULL), 0);
    assert_int_equal(published_read(path, task, &published, NULL), 0);
    return published;
}

/* Accuracy for bytes of state, from two figures in two ways of writing them. */
static void states_of_the_mixture(void **state) {
    (void)state;
    Published published = read_file("mqar.csv", NULL);
    int powers = 0, plain = 0;
    for (int i = 0; i < published.count; i++) {
        const PublishedPoint *point = &published.points[i];
        if (strncmp(point->task, "mqarmixture", strlen("mqarmixture")) != 0) {
            assert_true(point->state_bytes == 0);
            continue;
        }
        assert_true(point->state_bytes >= 1 << 12 && point->state_bytes <= 1 << 23);
        if (!strcmp(point->model, "based") && point->value == 0.54) {
            assert_true(fabs(point->state_bytes - exp2(12.5)) < 1e-9);
            powers++;
        }
        if (strcmp(point->citation, "HazyResearch/zoology, zoology_results.png (2025 update)") != 0)
            continue;
        plain += !strcmp(point->model, "h3") && point->state_bytes == 8200;
    }
    assert_int_equal(powers, 1);
    assert_int_equal(plain, 1);
    published_free(&published);
}

/* Values on other scales than ours, and tests at lengths of their own. */
static void scales_and_tested_lengths(void **state) {
    (void)state;
    Published formal = read_file("formal_languages.csv", NULL);
    assert_int_equal(formal.count, 60);
    for (int i = 0; i < formal.count; i++) assert_true(formal.points[i].scaled);
    assert_string_equal(formal.points[1].task, "reverse");
    published_free(&formal);

    Published mamba = read_file("selective_copy_induction_mamba.csv", "induction");
    int found = 0;
    for (int i = 0; i < mamba.count; i++) {
        const PublishedPoint *point = &mamba.points[i];
        found +=
            !strcmp(point->model, "mamba") && point->test_length == 1 << 20 && point->value == 1;
        assert_true(!point->scaled && point->test_length >= 64);
    }
    assert_int_equal(found, 1);
    published_free(&mamba);

    Published text = read_file("lm_perplexity.csv", NULL);
    int bytes = 0, words = 0;
    for (int i = 0; i < text.count; i++) {
        const PublishedPoint *point = &text.points[i];
        if (strcmp(point->metric, "perplexity") != 0) continue;
        /* about 1 bit a character is a perplexity of about 2 */
        if (!strcmp(point->unit, "byte")) assert_true(point->value > 1.8 && point->value < 3);
        bytes += !strcmp(point->unit, "byte") && !strcmp(point->task, "enwik8");
        words += !strcmp(point->unit, "word") && !strcmp(point->task, "wikitext103");
    }
    assert_true(bytes >= 8 && words >= 4);
    published_free(&text);

    Published lra = read_file("lra.csv", "text"); /* without how it was read, and never cut off */
    for (int i = 0; i < lra.count; i++) {
        assert_null(strstr(lra.points[i].citation, "read in"));
        assert_null(strstr(lra.points[i].citation, "as listed"));
        assert_true(strlen(lra.points[i].citation) < sizeof lra.points[i].citation - 1);
    }
    published_free(&lra);
}

/* Long Range Arena lets a model see the whole sequence: a number of one of ours says whether it
 * did.
 */
static void long_range_arena_says_how_it_reads(void **state) {
    (void)state;
    Published lra = read_file("lra.csv", NULL);
    int causal = 0, both_ways = 0;
    for (int i = 0; i < lra.count; i++) {
        const PublishedPoint *point = &lra.points[i];
        if (!model_find(point->model) || !strcmp(point->task, "lraavg")) continue;
        if (point->reading == READS_UNSTATED)
            fail_msg("%s of %s, %s: whether it is causal or bidirectional is missing in setting",
                     point->task, point->theirs, point->citation);
        causal += point->reading == READS_CAUSALLY;
        both_ways += point->reading == READS_BOTH_WAYS;
    }
    assert_true(causal >= 30 && both_ways >= 50);
    published_free(&lra);
}

/* What a name needs of ours can be set. */
static void needs_are_settings_of_ours(void **state) {
    (void)state;
    static const char *const names_with_needs[] = {"Llama",
                                                   "MHA-RoPE",
                                                   "MHA-Abs",
                                                   "S4-LegS",
                                                   "S4D-Lin",
                                                   "S4D-Inv",
                                                   "DSS-EXP",
                                                   "DSS-SOFTMAX",
                                                   "xLSTM[1:0]",
                                                   "Hyena",
                                                   "Hyena (CKConv filter)",
                                                   "Hyena (Conv1d filter)",
                                                   "Hyena (FNO filter)",
                                                   "Hyena (S4 filter of H3)",
                                                   "Hyena (transfer function filter)",
                                                   "Mamba",
                                                   "Mamba block + S4",
                                                   "Mamba block + Hyena",
                                                   "H3 block + S6",
                                                   "no gate + S6"};
    for (size_t i = 0; i < sizeof names_with_needs / sizeof *names_with_needs; i++) {
        char ours[48], needs[PUBLISHED_NEEDS], *rest = needs;
        published_model(names_with_needs[i], ours, needs);
        const Model *model = model_find(ours);
        assert_true(model && *needs);
        void *options = calloc(1, model->options.bytes + 1);
        option_defaults(&model->options, options);
        for (char *word; (word = strtok_r(rest, " ", &rest));) {
            char *equals = strchr(word, '=');
            assert_non_null(equals);
            *equals = '\0';
            Error error = {0};
            if (option_set(&model->options, options, word, equals + 1, &error) != STATUS_OK)
                fail_msg("%s: %s", names_with_needs[i], error.message);
        }
        free(options);
    }
}

/* What is no finite number is no point of a figure, whatever strtod takes for one. */
static void only_finite_numbers_count(void **state) {
    (void)state;
    static const char rows[] = "source,task,model,params,setting,metric,value,note\n"
#define ROW(value) "s,copy,LSTM,,state size inf,test accuracy %,\"" value "\",\n"
        ROW("nan") ROW("inf") ROW("0x1p3") ROW("1e999") ROW(" 1") ROW("1,") ROW("FAIL")
            ROW("90") "s,lm,LSTM,,,test bpc,1e6,\n";
#undef ROW
    write_bytes(rows, sizeof rows - 1);
    Published published;
    assert_int_equal(published_read(written, NULL, &published, NULL), STATUS_OK);
    unlink(written);
    assert_int_equal(published.count, 2);
    assert_true(published.points[0].failed && published.points[0].state_bytes == 0);
    assert_true(published.points[1].value == 0.9);
    published_free(&published);
}

/* Every file that comes with the program can be read. */
static void all_files(void **state) {
    (void)state;
    char folder[4096];
    glob_t files;
    assert_int_equal(home_path("results/published", folder, sizeof folder - 8, NULL), 0);
    strcat(folder, "/*.csv");
    assert_int_equal(glob(folder, 0, NULL, &files), 0);
    assert_true(files.gl_pathc >= 9);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        Published published;
        Error error = {0};
        published_read(files.gl_pathv[i], "none", &published, &error);
        assert_string_equal(error.message, "");
        published_free(&published);
    }
    globfree(&files);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(csv_quotes_and_line_ends),
        cmocka_unit_test(csv_names_the_line_of_a_mistake),
        cmocka_unit_test(csv_field_survives_writing_and_reading),
        cmocka_unit_test(facts_of_settings),
        cmocka_unit_test(only_finite_numbers_count),
        cmocka_unit_test(sizes_have_a_range),
        cmocka_unit_test(names),
        cmocka_unit_test(models),
        cmocka_unit_test(zoology_figure_two),
        cmocka_unit_test(states_of_the_mixture),
        cmocka_unit_test(scales_and_tested_lengths),
        cmocka_unit_test(long_range_arena_says_how_it_reads),
        cmocka_unit_test(needs_are_settings_of_ours),
        cmocka_unit_test(all_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
