/* From what a user writes to a cell: budgets, settings, YAML files; every mistake is answered with
 * its place and what was expected. */
#include <stdio.h>

#include "bench/cell/cell.h"
#include "bench/cell/config.h"
#include "tests/written_file.h"

static void budgets(void **state) {
    (void)state;
    static const struct {
        const char *text, *canonical; /* NULL: refused */
    } cases[] = {{"1.6e12flop", "1.6e12flop"},
                 {"90s", "90s"},
                 {"5min", "300s"},
                 {"2h", "7200s"},
                 {"1e6token", "1000000token"},
                 {"1000step", "1000step"},
                 {"3epoch", "3epoch"},
                 {"12", NULL},
                 {"12 flop", NULL},
                 {"flop", NULL},
                 {"0flop", NULL},
                 {"-1s", NULL},
                 {"nanflop", NULL},
                 {"1e400flop", NULL},
                 {"1e31flop", NULL},
                 {"1e308h", NULL},
                 {"12FLOP", NULL},
                 {"3parsec", NULL},
                 {"", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Budget budget;
        Error error = {0};
        const Status status = budget_parse(cases[i].text, &budget, &error);
        assert_int_equal(status, cases[i].canonical ? STATUS_OK : STATUS_USAGE);
        if (!cases[i].canonical) {
            assert_says(&error, "flop, s, min, h, token, step, epoch", cases[i].text);
            continue;
        }
        char text[OPTION_TEXT_BYTES];
        budget_text(&budget, text);
        assert_string_equal(text, cases[i].canonical);
    }
}

/* A key must mean one thing in a cell: cell_set takes the first table that knows it. */
static void keys_are_unique(void **state) {
    (void)state;
    int tasks, models, count;
    const Task *const *task = task_list(&tasks);
    const Model *const *model = model_list(&models);
    assert_true(tasks > 0 && models > 0);
    for (int i = 0; i < tasks; i++)
        for (int j = 0; j < models; j++) {
            Cell cell;
            Error error = {0};
            assert_int_equal(cell_open(&cell, task[i]->name, model[j]->name, &error), STATUS_OK);
            CellValue *values = cell_values(&cell, &count);
            for (int a = 0; a < count; a++)
                for (int b = a + 1; b < count; b++)
                    if (strcmp(values[a].key, values[b].key) == 0)
                        fail_msg("task %s, model %s: two keys '%s'", task[i]->name, model[j]->name,
                                 values[a].key);
            free(values);
            cell_close(&cell);
        }
}

/* Builds a cell from "key=value key=value ..." and gives its identity. */
static Status identity_of(const char *text, const char *device, char identity[17], Error *error) {
    char words[512], *rest = words;
    snprintf(words, sizeof words, "%s", text);
    Settings settings = {0};
    for (char *word; (word = strtok_r(rest, " ", &rest));)
        assert_int_equal(settings_parse(&settings, word, "test", error), STATUS_OK);
    Cell cell;
    Problem problem;
    Status status = cell_build(&cell, &settings, error);
    if (status == STATUS_OK) {
        snprintf(cell.device, sizeof cell.device, "%s", device);
        cell_identity(&cell, identity);
        status = cell_validate(&cell, &problem, error);
        cell_close(&cell);
    }
    settings_free(&settings);
    return status;
}

static void identity_is_the_configuration(void **state) {
    (void)state;
    static const char *const base = "task=mqar model=lstm lr=1e-3 budget=5min";
    static const struct {
        const char *text, *device;
        bool same;
    } cases[] = {
        {"budget=300s lr=0.001 model=lstm task=mqar", "cpu", true},
        {"task=mqar model=lstm lr=2 lr=1e-3 budget=5min", "cpu", true},
        {"task=mqar model=lstm lr=1e-3 budget=5min checkpoint_every=7", "cpu", true},
        {"task=mqar model=lstm lr=1e-3 budget=5min", "cuda", true},
        {"task=mqar model=lstm lr=1e-3 budget=5min replicas=1", "cpu", true},
        {"task=mqar model=lstm lr=1e-3 budget=5min replicas=2", "cpu", false},
        {"task=mqar model=lstm lr=1e-3 budget=5min warmup=1e-1", "cpu", true},
        {"task=mqar model=lstm lr=1e-3 budget=5min warmup=30s", "cpu", false},
        {"task=mqar model=lstm lr=1e-3 budget=5min lr_floor=0 restarts=0", "cpu", true},
        {"task=mqar model=lstm lr=1e-3 budget=5min lr_floor=1e-4", "cpu", false},
        {"task=mqar model=lstm lr=1e-3 budget=5min restarts=3", "cpu", false},
        {"task=mqar model=lstm lr=1e-3 budget=5min shuffle=yes segments=mixed", "cpu", true},
        {"task=mqar model=lstm lr=1e-3 budget=5min shuffle=no", "cpu", false},
        {"task=mqar model=lstm lr=1e-3 budget=5min segments=listed", "cpu", false},
        {"task=mqar model=lstm lr=1e-3 budget=5min norm_momentum=0.1", "cpu", true},
        {"task=mqar model=lstm lr=1e-3 budget=5min norm_momentum=0.05", "cpu", false},
        {"task=mqar model=lstm lr=1e-3 budget=6min", "cpu", false},
        {"task=mqar model=lstm lr=1e-3 budget=5min seed=2", "cpu", false},
        {"task=mqar model=transformer lr=1e-3 budget=5min", "cpu", false},
        {"task=copy model=lstm lr=1e-3 budget=5min", "cpu", false}};
    Error error = {0};
    char expected[17], identity[17];
    assert_int_equal(identity_of(base, "cpu", expected, &error), STATUS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(identity_of(cases[i].text, cases[i].device, identity, &error), STATUS_OK);
        if ((strcmp(identity, expected) == 0) != cases[i].same) fail_msg("%s", cases[i].text);
    }
}

/* Cells from before there were these settings keep their folders. */
static void later_settings_are_not_in_the_identity(void **state) {
    (void)state;
    static const struct {
        const char *model, *key, *text;
    } cases[] = {{"lstm", "replicas", "2"},
                 {"lstm", "lr_floor", "1e-5"},
                 {"lstm", "restarts", "3"},
                 {"lstm", "plateau_factor", "0.5"},
                 {"lstm", "plateau_patience", "7"},
                 {"lstm", "norm_momentum", "0.05"},
                 {"lstm", "shuffle", "no"},
                 {"lstm", "segments", "listed"},
                 {"s4", "fast_dt", "yes"},
                 {"s4", "slow_c", "yes"},
                 {"xlstm", "slstm_convolution", "0"},
                 {"transformer_xl", "evaluation_segment", "4"},
                 {"transformer_xl", "evaluation_memory", "0"},
                 {"transformer_xl", "evaluation_clamp", "9"},
                 {"hyena", "filter", "taps"},
                 {"hyena", "filter_size", "8"},
                 {"mamba", "block", "h3"},
                 {"mamba", "layer", "s4d"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Cell cell;
        Error error = {0};
        char line[64];
        assert_int_equal(cell_open(&cell, "mqar", cases[i].model, &error), STATUS_OK);
        char *text = cell_text(&cell);
        snprintf(line, sizeof line, "\n%s: ", cases[i].key);
        assert_null(strstr(text, line));
        free(text);
        assert_int_equal(cell_set(&cell, cases[i].key, cases[i].text, &error), STATUS_OK);
        text = cell_text(&cell);
        snprintf(line, sizeof line, "%s: %s\n", cases[i].key, cases[i].text);
        assert_non_null(strstr(text, line));
        free(text);
        cell_close(&cell);
    }
}

static void bad_settings_are_explained(void **state) {
    (void)state;
    static const struct {
        const char *settings, *expected;
    } cases[] = {
        {"task=mqar", "no model given"},
        {"model=lstm", "no task given"},
        {"task=mqr model=lstm", "unknown task 'mqr'; did you mean 'mqar'?"},
        {"task=mqar model=lstn", "unknown model 'lstn'; did you mean 'lstm'?"},
        {"task=mqar model=lstm widht=64", "unknown key 'widht' for task mqar with model lstm; did"},
        {"task=mqar model=lstm lr=nan", "lr=nan: expected a finite number"},
        {"task=mqar model=lstm lr=fast", "lr=fast: expected a finite number"},
        {"task=mqar model=lstm batch=0", "batch=0 is out of range; expected 1 to"},
        {"task=mqar model=lstm seed=-1", "seed=-1 is out of range"},
        {"task=mqar model=lstm budget=12", "budget=12: no unit"},
        {"task=mqar model=lstm schedule=cosin", "expected one of constant|cosine|"},
        {"task=mqar model=lstm warmup=2", "warmup=2: no share"},
        {"task=mqar model=lstm budget=5step warmup=3s", "give both in time or neither"},
        {"task=mqar model=lstm budget=5min warmup=3step", "give both in time or neither"},
        {"task=mqar model=lstm budget=5step warmup=1epoch",
         "warmup=1epoch: task mqar never repeats"},
        {"task=mqar model=lstm schedule=linear restarts=1", "restarts=1 has no effect"},
        {"task=mqar model=lstm batch=64 micro_batch=24", "micro_batch=24 does not divide batch=64"},
        {"task=mqar model=lstm batch=64 replicas=5", "replicas=5 does not divide batch=64"},
        {"task=mqar model=lstm batch=64 replicas=4 micro_batch=32",
         "micro_batch=32 does not divide batch=16 (that of one of the replicas)"},
        {"task=mqar model=lstm budget=3epoch", "never repeats a sample, so it has no epochs"},
        {"task=mqar model=lstm vocabulary=8 pairs=8", "vocabulary=8"},
        {"task=mqar model=transformer width=64 heads=3", "heads=3"},
        {"task=copy model=lstm length=16777216 batch=16777216 width=65536",
         "16777216 samples of 16777216 positions and width 65536 at once are 68719476736 GiB"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error error = {0};
        char identity[17];
        assert_int_equal(identity_of(cases[i].settings, "cpu", identity, &error), STATUS_USAGE);
        assert_says(&error, cases[i].expected, cases[i].settings);
    }
}

static void bad_yaml_is_explained(void **state) {
    (void)state;
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"", "is empty"},
        {"a: 1\nb: [1, 2\n", "line 3: "},
        {"a: 1\n\tb: 2\n", "line 2: "},
        {"a: 1\na: 2\n", "line 2: key 'a' is there already in line 1"},
        {"a: 1\n---\nb: 2\n", "line 3: a second document begins"},
        {"a: &x 1\nb: *x\n", "this node has an alias"},
        {"a: \"\\0\"\n", "line 1: a word holds a zero byte"},
        {"[a, b]: 1\n", "line 1: a key must be one word"},
        {"a: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]\n", "nested deeper than 16"},
        {"a: [1, 2]\n", "line 1: a is a list [a, b]; expected a word"},
        {"- a\n- b\n", "expected a mapping"},
        {"a: {value: 1, sauce: x}\n", "line 1: unknown key 'sauce' of a setting; did you mean "
                                      "'source'?"},
        {"a: \xff\xfe\n", "line 1: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(cases[i].text);
        Settings settings = {0};
        Error error = {0};
        assert_int_equal(config_read(path, &settings, &error), STATUS_USAGE);
        assert_says(&error, cases[i].expected, cases[i].text);
        assert_says(&error, path, cases[i].text);
        settings_free(&settings);
    }
    char *many = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&many, &bytes);
    for (int i = 0; i < 3000; i++) fprintf(out, "k%d: 1\n", i);
    fclose(out);
    write_text(many);
    free(many);
    Yaml *yaml;
    Error too_many = {0};
    assert_int_equal(yaml_open(&yaml, path, &too_many), STATUS_USAGE);
    assert_says(&too_many, "line 1: a mapping of 3000 keys", "many keys");
    write_text("\xef\xbb\xbflr: 010\r\nnote: no # said so\r\nbatch: {value: 4, source: there}\r\n");
    Settings settings = {0};
    Error error = {0};
    assert_int_equal(config_read(path, &settings, &error), STATUS_OK);
    assert_string_equal(settings_find(&settings, "lr")->value, "010");
    assert_string_equal(settings_find(&settings, "note")->value, "no");
    assert_string_equal(settings_find(&settings, "batch")->source, "there");
    settings_free(&settings);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(budgets),
        cmocka_unit_test(keys_are_unique),
        cmocka_unit_test(identity_is_the_configuration),
        cmocka_unit_test(later_settings_are_not_in_the_identity),
        cmocka_unit_test(bad_settings_are_explained),
        cmocka_unit_test(bad_yaml_is_explained),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
