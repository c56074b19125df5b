/* From a suite file and the command line to cells; every mistake is answered with its place and
 * what was expected. */
#include <glob.h>
#include <math.h>
#include <stdio.h>

#include "bench/common/home.h"
#include "bench/common/yaml.h"
#include "bench/sweep/suite.h"
#include "tests/written_file.h"

static const char suite_text[] = "title: T\ntask: mqar\nset: {layers: 2}\n"
                                 "models: [transformer, lstm]\n"
                                 "model:\n  transformer: {heads: 2}\n"
                                 "presets:\n  quick:\n"
                                 "    set: {budget: 1e9flop}\n"
                                 "    cases:\n      - {length: 64, pairs: 4}\n"
                                 "      - {length: 128, pairs: 8}\n"
                                 "    grid: {width: [16, 32]}\n"
                                 "    tune: {lr: [1e-3, 1e-2, 1e-1]}\n"
                                 "    seeds: [1, 2]\n";

static void suites_expand(void **state) {
    (void)state;
    write_text(suite_text);
    Settings more = {0};
    Error error = {0};
    static const struct {
        const char *models, *seeds, *setting;
        int cells, groups, variants, repeats, end;
    } cases[] = {
        /* 2 models x 2 cases x 2 widths = 8 groups of 3 rates and 2 seeds */
        {"", "", NULL, 48, 8, 3, 2, 32},
        {"l*", "", NULL, 24, 4, 3, 2, 16},
        {"!lstm", "1", NULL, 12, 4, 3, 1, 12},
        {"l*,mamba", "", NULL, 48, 8, 3, 2, 32}, /* one that the file does not list */
        {"mamba,!mamba,l*", "", NULL, 24, 4, 3, 2, 16},
        {"", "3", NULL, 72, 8, 3, 3, 40},
        {"", "5,9", NULL, 48, 8, 3, 2, 32},
        {"", "", "lr=1e-4", 16, 8, 1, 2, 16},         /* replaces the tuned values */
        {"", "", "width=16,32,64", 72, 12, 3, 2, 48}, /* replaces an axis */
        {"", "", "batch=8,16", 96, 16, 3, 2, 64},     /* adds one */
        {"", "", "transformer.heads=4", 48, 8, 3, 2, 32},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (cases[i].setting)
            assert_int_equal(settings_parse(&more, cases[i].setting, "test", &error), STATUS_OK);
        const SuiteRequest request = {.suite = path,
                                      .preset = "quick",
                                      .models = cases[i].models,
                                      .seeds = cases[i].seeds,
                                      .settings = &more};
        Suite suite;
        if (suite_open(&suite, &request, &error) != STATUS_OK) fail_msg("%s", error.message);
        assert_int_equal(suite.count, cases[i].cells);
        assert_int_equal(suite.groups, cases[i].groups);
        assert_int_equal(suite.variants, cases[i].variants);
        assert_int_equal(suite.repeats, cases[i].repeats);
        assert_int_equal(suite_cells_in_the_end(&suite), cases[i].end);
        suite_close(&suite);
        settings_free(&more);
    }
}

/* What stands under a case's set goes with it and tells no cases apart; the task may be what does.
 */
static void cases_have_settings_of_their_own(void **state) {
    (void)state;
    write_text("models: [lstm]\npresets:\n  quick:\n    set: {budget: 1e9flop, batch: 8}\n"
               "    cases:\n      - {task: mqar, set: {length: 64, pairs: 4, batch: 16}}\n"
               "      - {task: nns, set: {length: 8, lstm.dropout: 0.5, mamba.state: 4}}\n"
               "      - task: adding\n        model: {'lstm, mamba': {layers: 1, batch: 4}, "
               "mamba: {state: 4}, lstm: {batch: 2}}\n");
    Error error = {0};
    SuiteRequest request = {.suite = path, .preset = "quick"};
    Suite suite;
    if (suite_open(&suite, &request, &error) != STATUS_OK) fail_msg("%s", error.message);
    assert_int_equal(suite.axis_count, 1);
    assert_string_equal(suite.axes[0], "task");
    assert_int_equal(suite.count, 3);
    assert_int_equal(suite.cells[2].cell.backbone.layers, 1);
    assert_int_equal(suite.cells[2].cell.run.batch, 2);
    assert_string_equal(suite.cells[0].label, "lstm task=mqar seed=1");
    assert_int_equal(suite.cells[0].problem.length, 64);
    assert_int_equal(suite.cells[0].cell.run.batch, 16);
    assert_string_equal(suite.cells[1].cell.task->name, "nns");
    assert_int_equal(suite.cells[1].problem.length, 8);
    assert_int_equal(suite.cells[1].cell.run.batch, 8);
    assert_float_equal(suite.cells[0].cell.backbone.dropout, 0, 0);
    assert_float_equal(suite.cells[1].cell.backbone.dropout, 0.5, 0); /* lstm's; not mamba's */
    suite_close(&suite);
    /* With one task alone, keys that the others do not have can be set. */
    Settings pairs = {0};
    assert_int_equal(settings_add(&pairs, "pairs", "8", "test", &error), STATUS_OK);
    SuiteRequest one = {.suite = path, .preset = "quick", .tasks = "mqar", .settings = &pairs};
    if (suite_open(&suite, &one, &error) != STATUS_OK) fail_msg("%s", error.message);
    assert_int_equal(suite.count, 1);
    suite_close(&suite);
    settings_free(&pairs);
    write_text("task: nns\nmodels: [lstm]\npresets:\n  quick:\n    cases:\n"
               "      - {length: 8, set: {mabma.state: 4}}\n");
    assert_int_equal(suite_open(&suite, &request, &error), STATUS_USAGE);
    assert_says(&error, "no model 'mabma'", "a case's setting of an unknown model");
    error = (Error){0};
    write_text("task: nns\nmodels: [lstm]\npresets:\n  quick:\n    cases:\n"
               "      - {length: 8, model: {'lstm, mabma': {layers: 1}}}\n");
    assert_int_equal(suite_open(&suite, &request, &error), STATUS_USAGE);
    assert_says(&error, "no model 'mabma'", "an unknown model under a case's model");
    error = (Error){0};
    write_text("task: nns\nmodels: [lstm]\npresets:\n  quick:\n    cases:\n"
               "      - {set: {length: 8}}\n");
    assert_int_equal(suite_open(&suite, &request, &error), STATUS_USAGE);
    assert_says(&error, "nothing but set", "a case without a name");
}

static const char kinds_text[] =
    "task: mqar\nset: {layers: 2, budget: 1e9flop}\n"
    "models: [lstm, transformer, 'xlstm[1:0]', rotary]\n"
    "model:\n  transformer: {attention_dropout: 0.1, heads: 2}\n"
    "  rotary: {of: transformer, positions: rotary}\n"
    "  xlstm[1:0]: {of: xlstm, blocks: 1:0}\n"
    "  blind: {of: transformer, positions: none}\n"
    "presets:\n  quick:\n    model:\n      rotary: {heads: 4}\n"
    "    cases:\n      - {length: 64, set: {transformer.dropout: 0.5, transformer.heads: 8}}\n"
    "    tune: {lr: [1e-3, 1e-2]}\n";

static void open_kinds(Suite *suite, const char *models, const char *setting) {
    Settings more = {0};
    Error error = {0};
    if (setting) settings_parse(&more, setting, "test", &error);
    const SuiteRequest request = {
        .suite = path, .preset = "quick", .models = models, .settings = &more};
    if (suite_open(suite, &request, &error) != STATUS_OK) fail_msg("%s", error.message);
    settings_free(&more);
}

/* Text of a cell's setting. */
static const char *value_of(const Suite *suite, const char *name, const char *key) {
    static char text[OPTION_VALUE_BYTES];
    for (int i = 0; i < suite->count; i++) {
        if (strcmp(suite->cells[i].name, name) != 0) continue;
        int count;
        CellValue *values = cell_values(&suite->cells[i].cell, &count);
        snprintf(text, sizeof text, "none");
        for (int k = 0; k < count; k++)
            if (!strcmp(values[k].key, key)) snprintf(text, sizeof text, "%s", values[k].text);
        free(values);
        return text;
    }
    fail_msg("no cell of %s", name);
    return NULL;
}

/* A kind of an architecture has a name, a group and tries of its own, and what is set for the
 * architecture unless it sets that itself. */
static void kinds_stand_side_by_side(void **state) {
    (void)state;
    write_text(kinds_text);
    Suite suite;
    open_kinds(&suite, "", NULL);
    assert_int_equal(suite.count, 8);
    assert_int_equal(suite.groups, 4);
    assert_string_equal(suite.cells[4].label, "xlstm[1:0] length=64 lr=1e-3 seed=1");
    assert_string_equal(suite.cells[4].cell.model->name, "xlstm");
    assert_string_equal(value_of(&suite, "xlstm[1:0]", "blocks"), "1:0");
    assert_string_equal(value_of(&suite, "rotary", "model"), "transformer");
    assert_string_equal(value_of(&suite, "rotary", "positions"), "rotary");
    assert_string_equal(value_of(&suite, "rotary", "attention_dropout"), "0.1");
    assert_string_equal(value_of(&suite, "rotary", "dropout"), "0.5"); /* of the case */
    assert_string_equal(value_of(&suite, "rotary", "heads"), "4");     /* its own */
    assert_string_equal(value_of(&suite, "transformer", "positions"), "learned");
    assert_string_equal(value_of(&suite, "transformer", "heads"), "8");
    assert_string_equal(suite.named, "xlstm[1:0] is xlstm with blocks 1:0; rotary is transformer "
                                     "with positions rotary, heads 4");
    suite_close(&suite);
}

/* The name is the suite's: a cell is the same under any. */
static void kinds_are_cells_like_others(void **state) {
    (void)state;
    write_text(kinds_text);
    Suite kind, plain;
    open_kinds(&kind, "xlstm[1:0]", NULL);
    open_kinds(&plain, "xlstm", "xlstm.blocks=1:0");
    assert_int_equal(kind.count, 2);
    assert_string_equal(kind.cells[0].identity, plain.cells[0].identity);
    assert_string_equal(plain.cells[0].name, "xlstm");
    suite_close(&plain);
    suite_close(&kind);
}

static void kinds_are_selected_by_name(void **state) {
    (void)state;
    write_text(kinds_text);
    static const struct {
        const char *models, *setting;
        int cells;
        const char *name, *key, *value; /* expected of the cells of that name */
    } cases[] = {
        {"*r*", NULL, 4, "rotary", "heads", "4"},
        {"x*", NULL, 2, "xlstm[1:0]", "blocks", "1:0"},
        {"!xlstm[1:0]", NULL, 6, "rotary", "heads", "4"},
        {"lstm,blind", NULL, 4, "blind", "positions", "none"}, /* defined, not listed */
        {"t*,rotary", "transformer.dropout=0.25", 4, "rotary", "dropout",
         "0.25"}, /* not the case's */
        {"t*,rotary", "transformer.bias=no", 4, "rotary", "bias", "no"},
        {"t*,rotary", "transformer.positions=none", 4, "rotary", "positions", "rotary"},
        {"t*,rotary", "transformer.positions=none", 4, "transformer", "positions", "none"},
        {"t*,rotary", "rotary.bias=no", 4, "transformer", "bias", "yes"},
        {"t*,rotary", "rotary.rotary_theta=500", 4, "rotary", "rotary_theta", "500"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Suite suite;
        open_kinds(&suite, cases[i].models, cases[i].setting);
        assert_int_equal(suite.count, cases[i].cells);
        assert_string_equal(value_of(&suite, cases[i].name, cases[i].key), cases[i].value);
        suite_close(&suite);
    }
}

/* What an average takes from another suite may have fewer kinds. */
static void another_suite_may_have_fewer_kinds(void **state) {
    (void)state;
    write_text(suite_text);
    Settings more = {0};
    Error error = {0};
    settings_parse(&more, "rotary.bias=no", "test", &error);
    SuiteRequest request = {.suite = path,
                            .preset = "quick",
                            .models = "lstm,rotary",
                            .settings = &more,
                            .of_another = true};
    Suite suite;
    if (suite_open(&suite, &request, &error) != STATUS_OK) fail_msg("%s", error.message);
    assert_int_equal(suite.groups, 4);
    suite_close(&suite);
    request.models = "rotary";
    assert_int_equal(suite_open(&suite, &request, &error), STATUS_DATA);
    settings_free(&more);
}

static void bad_kinds_are_explained(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *expected; /* one replacement in the good suite */
    } cases[] = {
        {"rotary: {of: transformer, ", "lstm: {of: transformer, ",
         "line 6: 'lstm' is an architecture; a kind of one needs a name of its own"},
        {"rotary: {of: transformer,", "rotary: {of: transfromer,",
         "line 6: unknown model 'transfromer'; did you mean 'transformer'?"},
        {"rotary: {of: transformer,", "rotary: {of: blind,",
         "line 6: of: 'blind' has its name from this suite, too"},
        {"{of: transformer, positions: none}", "{of: transformer}",
         "line 8: 'blind' sets nothing, so it is transformer under another name"},
        {"blind: {of: transformer, ", "blind: {", "line 8: unknown model 'blind' (a kind of one"},
        {"blind:", "b.ind:", "'b.ind' cannot be the name of a model: '.' is in it"},
        {"blind:", "-lind:", "begin with no -"},
        {"rotary: {heads: 4}", "rotary: {of: transformer}", "stands in line 6 already"},
        {"positions: rotary", "position: rotary", "line 6: unknown key 'position'"},
        {"'xlstm[1:0]', rotary", "'xlstm[0:1]', rotary",
         "line 3: unknown model 'xlstm[0:1]'; did you mean 'xlstm[1:0]'?"},
        {"transformer.dropout", "rotari.dropout", "'rotari.dropout': no model 'rotari'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        const char *place = strstr(kinds_text, cases[i].from);
        assert_non_null(place);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(place - kinds_text), kinds_text, cases[i].to,
                 place + strlen(cases[i].from));
        write_text(text);
        const SuiteRequest request = {.suite = path, .preset = "quick"};
        Suite suite;
        Error error = {0};
        const Status status = suite_open(&suite, &request, &error);
        if (status != STATUS_USAGE) fail_msg("%s: %s", cases[i].to, error.message);
        assert_says(&error, cases[i].expected, cases[i].to);
    }
}

/* Two names for one cell would be one row under either. */
static void equal_kinds_are_refused(void **state) {
    (void)state;
    write_text("task: mqar\nmodels: [lstm, same]\nmodel: {same: {of: lstm, layers: 2}}\n"
               "presets:\n  quick:\n    set: {layers: 2, budget: 1e9flop}\n");
    const SuiteRequest request = {.suite = path, .preset = "quick"};
    Suite suite;
    Error error = {0};
    assert_int_equal(suite_open(&suite, &request, &error), STATUS_USAGE);
    assert_says(&error, "models 'lstm' and 'same'", "equal kinds");
    error = (Error){0};
    write_text(kinds_text);
    const SuiteRequest slip = {.suite = path, .preset = "quick", .models = "xlstm[1:1]"};
    assert_int_equal(suite_open(&suite, &slip, &error), STATUS_USAGE);
    assert_says(&error, "; did you mean 'xlstm[1:0]'?", "a kind that is not there");
}

/* Every suite that comes with the program expands in each of its three presets. */
static void suites_of_the_program_expand(void **state) {
    (void)state;
    char pattern[4096];
    glob_t found;
    assert_int_equal(home_path("bench/suites", pattern, sizeof pattern - 16, NULL), 0);
    strcat(pattern, "/*.yaml");
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= 14);
    static const char *const least[] = {"quick", "standard", "paper"};
    for (size_t i = 0; i < found.gl_pathc; i++) {
        Yaml *yaml;
        Error error = {0};
        assert_int_equal(yaml_open(&yaml, found.gl_pathv[i], &error), STATUS_OK);
        const YamlNode *presets = yaml_get(yaml_root(yaml), "presets");
        assert_non_null(presets);
        for (int p = 0; p < 3; p++) assert_non_null(yaml_get(presets, least[p]));
        for (int p = 0; p < presets->count; p++) {
            const SuiteRequest request = {.suite = found.gl_pathv[i],
                                          .preset = presets->keys[p].word};
            Suite suite;
            if (suite_open(&suite, &request, &error) != STATUS_OK)
                fail_msg("%s, %s: %s", found.gl_pathv[i], presets->keys[p].word, error.message);
            assert_true(suite.title[0] && suite.note[0]);
            suite_close(&suite);
        }
        yaml_close(yaml);
    }
    globfree(&found);
}

/* Settings of the command line may make cells of the file equal: they run once. */
static void equal_cells_are_one(void **state) {
    (void)state;
    write_text(suite_text);
    Settings more = {0};
    Error error = {0};
    settings_parse(&more, "length=64", "test", &error);
    settings_parse(&more, "pairs=4", "test", &error);
    const SuiteRequest request = {.suite = path, .preset = "quick", .settings = &more};
    Suite suite;
    assert_int_equal(suite_open(&suite, &request, &error), STATUS_OK);
    assert_int_equal(suite.count, 24);
    assert_int_equal(suite.groups, 4);
    suite_close(&suite);
    settings_free(&more);
}

static void selection(void **state) {
    (void)state;
    write_text(suite_text);
    Error error = {0};
    const SuiteRequest request = {.suite = path, .preset = "quick"};
    Suite suite;
    assert_int_equal(suite_open(&suite, &request, &error), STATUS_OK);
    Tried tried[48] = {0};
    assert_int_equal(suite.count, 48);
    assert_int_equal(suite_select(&suite, 0, tried), -1);
    /* Group 0: cells 0..5 = variants 0, 1, 2 of seeds 1, 2. Only the first seed counts. */
    tried[0] = (Tried){true, 0.5, 100};
    tried[1] = (Tried){true, 0.99, 100};
    assert_int_equal(suite_select(&suite, 0, tried), 0);
    tried[2] = (Tried){true, 0.7, 100};
    assert_int_equal(suite_select(&suite, 0, tried), 1);
    tried[4] = (Tried){true, NAN, 1}; /* diverged */
    assert_int_equal(suite_select(&suite, 0, tried), 1);
    tried[4] = (Tried){true, 0.7, 50}; /* as good, with less */
    assert_int_equal(suite_select(&suite, 0, tried), 2);
    assert_int_equal(suite_select(&suite, 1, tried), -1);
    suite_close(&suite);
}

static void bad_suites_are_explained(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *expected; /* one replacement in the good suite */
    } cases[] = {
        {"title: T", "tilte: T", "line 1: unknown key 'tilte' of a suite; did you mean 'title'?"},
        {"    tune:", "    tuned:",
         "line 14: unknown key 'tuned' of a preset; did you mean 'tune'"},
        {"lstm]", "lstn]", "line 4: unknown model 'lstn'; did you mean 'lstm'?"},
        {"  transformer:", "  transfromer:", "line 6: unknown model 'transfromer'; did you mean"},
        {"{heads: 2}", "{haeds: 2}", "line 6: unknown key 'haeds'"},
        {"{layers: 2}", "{layers: two}", "line 3: layers=two: expected a whole number"},
        {"{layers: 2}", "{layers: 0}", "line 3: layers=0 is out of range"},
        {"{layers: 2}", "{layers: [2, 3]}", "line 3: 'layers' has a list of values; lists belong"},
        {"{layers: 2}", "{seed: 2}", "line 3: 'seed' cannot be set here; list it under 'seeds'"},
        {"{width: [16, 32]}", "{width: []}", "line 13: width has no values"},
        {"{width: [16, 32]}", "{width: [16, [32]]}", "line 13: width is a list"},
        {"{width: [16, 32]}", "{data.dir: [a, b]}", "line 13: data.dir cannot vary"},
        {"1e9flop", "1e9", "line 9: budget=1e9: no unit"},
        {"pairs: 8", "pairs: 80", "pairs=80"},
        {"  quick:", "  quik:", "no preset 'quick'; did you mean 'quik'?"},
        {"models: [transformer, lstm]", "models: []", "selects none of the models"},
        {"task: mqar", "task: mqarr", "line 2: unknown task 'mqarr'"},
        {"    seeds: [1, 2]", "    seeds: [one]", "seed=one: expected a whole number"},
        {"    seeds: [1, 2]", "    averages: {all: {suit: nns}}",
         "unknown key 'suit' of an average"},
        {"    seeds: [1, 2]", "    averages: {all: {suite: nns}}",
         "suite: NAME and failed: METRIC belong together"},
        {"    seeds: [1, 2]", "    averages: {all: {suite: nns, failed: nan}}",
         "failed is the finite number"},
        {"    seeds: [1, 2]", "    averages: {all: {by: pair}}",
         "average 'all': no case has a key 'pair'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024];
        const char *place = strstr(suite_text, cases[i].from);
        assert_non_null(place);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(place - suite_text), suite_text, cases[i].to,
                 place + strlen(cases[i].from));
        write_text(text);
        const SuiteRequest request = {.suite = path, .preset = "quick"};
        Suite suite;
        Error error = {0};
        if (suite_open(&suite, &request, &error) != STATUS_USAGE) fail_msg("%s", cases[i].to);
        assert_says(&error, cases[i].expected, cases[i].to);
    }
}

/* Ranges are lists of whole numbers, for every key that may be one. */
static void ranges_are_lists(void **state) {
    (void)state;
    write_text(suite_text);
    static const struct {
        const char *range, *list;
    } pairs[] = {
        {"seed=2..4", "seed=2,3,4"}, {"width=7..8", "width=7,8"}, {"seed=1..2,9", "seed=1,2,9"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        Suite suites[2];
        for (int k = 0; k < 2; k++) {
            Settings more = {0};
            Error error = {0};
            settings_parse(&more, k ? pairs[i].list : pairs[i].range, "test", &error);
            const SuiteRequest request = {
                .suite = path, .preset = "quick", .models = "lstm", .settings = &more};
            if (suite_open(&suites[k], &request, &error) != STATUS_OK)
                fail_msg("%s", error.message);
            settings_free(&more);
        }
        assert_int_equal(suites[0].count, suites[1].count);
        assert_true(suites[0].count > 0);
        for (int c = 0; c < suites[0].count; c++)
            assert_string_equal(suites[0].cells[c].identity, suites[1].cells[c].identity);
        for (int k = 0; k < 2; k++) suite_close(&suites[k]);
    }
}

static void bad_requests_are_explained(void **state) {
    (void)state;
    write_text(suite_text);
    static const struct {
        SuiteRequest request;
        const char *setting, *expected;
    } cases[] = {
        {{.suite = path, .preset = "quikc"}, NULL, "no preset 'quikc'; did you mean 'quick'?"},
        {{.suite = path, .preset = "quick", .models = "x*"}, NULL, "'x*' selects none"},
        {{.suite = path, .preset = "quick", .models = "lstm,mabma"}, NULL, "mean 'mamba'"},
        {{.suite = path, .preset = "quick", .tasks = "copy"}, NULL, "nothing to run"},
        {{.suite = path, .preset = "quick", .seeds = "0"}, NULL, "--seeds 0"},
        {{.suite = path, .preset = "quick", .seeds = "1000"},
         "batch=1,2,3,4,5",
         "its lists multiply to 120000 cells; expected at most 100000"},
        {{.suite = path, .preset = "quick", .budget = "9"}, NULL, "flag --budget: budget=9"},
        {{.suite = path, .preset = "quick"}, "lr=1,,2", "empty value"},
        {{.suite = path, .preset = "quick"}, "width=4..1", "a range that rises"},
        {{.suite = path, .preset = "quick"}, "seed=1..1001", "at most 1000"},
        {{.suite = path, .preset = "quick", .seeds = "1..x"}, NULL, "--seeds 1..x"},
        {{.suite = path, .preset = "quick"}, "mamba.heads=2", "no model 'mamba' among those"},
        {{.suite = path, .preset = "quick", .models = "lstm,*[1:0]"},
         "transformer.heads=2",
         "no model 'transformer' among those selected"},
        {{.suite = path, .preset = "quick"}, "model=lstm", "chosen by --model"},
        {{.suite = "mqra", .preset = "quick"}, NULL, "no suite 'mqra'; did you mean 'mqar'?"},
        {{.suite = "/nowhere/x.yaml", .preset = "quick"}, NULL, "/nowhere/x.yaml"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Settings more = {0};
        Error error = {0};
        if (cases[i].setting) settings_parse(&more, cases[i].setting, "test", &error);
        SuiteRequest request = cases[i].request;
        request.settings = &more;
        Suite suite;
        assert_int_equal(suite_open(&suite, &request, &error), STATUS_USAGE);
        assert_says(&error, cases[i].expected, cases[i].expected);
        settings_free(&more);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suites_expand),
        cmocka_unit_test(cases_have_settings_of_their_own),
        cmocka_unit_test(kinds_stand_side_by_side),
        cmocka_unit_test(kinds_are_cells_like_others),
        cmocka_unit_test(kinds_are_selected_by_name),
        cmocka_unit_test(another_suite_may_have_fewer_kinds),
        cmocka_unit_test(bad_kinds_are_explained),
        cmocka_unit_test(equal_kinds_are_refused),
        cmocka_unit_test(suites_of_the_program_expand),
        cmocka_unit_test(equal_cells_are_one),
        cmocka_unit_test(selection),
        cmocka_unit_test(bad_suites_are_explained),
        cmocka_unit_test(ranges_are_lists),
        cmocka_unit_test(bad_requests_are_explained),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
