/* Options: parsing, ranges, canonical text and the advice after a slip. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "engine/option.h"
#include "engine/word.h"

typedef struct Sample {
    int64_t heads;
    double lr;
    bool causal;
    int position;
    char note[OPTION_TEXT_BYTES];
} Sample;

static const Option sample_list[] = {
    {"heads", OPTION_INTEGER, offsetof(Sample, heads), "4", 1, 64, NULL, "attention heads"},
    {"lr", OPTION_REAL, offsetof(Sample, lr), "1e-3", 0, 10, NULL, "peak learning rate"},
    {"causal", OPTION_SWITCH, offsetof(Sample, causal), "yes", 0, 0, NULL, "mask the future"},
    {"position", OPTION_CHOICE, offsetof(Sample, position), "rotary", 0, 0, "learned|rotary|none",
     "position coding"},
    {"note", OPTION_TEXT, offsetof(Sample, note), "", 0, 0, NULL, "free text"}};
static const OptionTable sample_table = {sample_list, 5, sizeof(Sample)};

static void defaults_are_set(void **state) {
    (void)state;
    Sample sample;
    option_defaults(&sample_table, &sample);
    assert_int_equal(sample.heads, 4);
    assert_true(sample.lr == 1e-3 && sample.causal && sample.position == 1);
    assert_string_equal(sample.note, "");
}

static void bad_values_are_refused_and_explained(void **state) {
    (void)state;
    static const struct {
        const char *key, *text, *expected;
    } cases[] = {
        {"heads", "0", "heads=0 is out of range; expected 1 to 64"},
        {"heads", "65", "out of range"},
        {"heads", "4.5", "expected a whole number"},
        {"heads", "0x10", "expected a whole number"},
        {"heads", "1_000", "expected a whole number"},
        {"heads", "99999999999999999999", "expected a whole number"},
        {"heads", "", "expected a whole number"},
        {"heads", "4 ", "expected a whole number"},
        {"lr", "nan", "expected a finite number"},
        {"lr", "inf", "expected a finite number"},
        {"lr", ".inf", "expected a finite number"},
        {"lr", "1e999", "expected a finite number"},
        {"lr", "1,5", "expected a finite number"},
        {"lr", "-1", "lr=-1 is out of range; expected 0 to 10"},
        {"causal", "maybe", "expected yes or no"},
        {"position", "rotari", "expected one of learned|rotary|none"},
        {"position", "learned|rotary", "expected one of learned|rotary|none"},
        {"position", "", "expected one of"},
        {"note", "two\nlines", "control character"},
        {"haeds", "4", "unknown key 'haeds'; did you mean 'heads'?"},
        {"entirely_else", "4", "unknown key 'entirely_else'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Sample sample, before;
        option_defaults(&sample_table, &sample);
        before = sample;
        Error error = {0};
        assert_int_equal(option_set(&sample_table, &sample, cases[i].key, cases[i].text, &error),
                         STATUS_USAGE);
        if (!strstr(error.message, cases[i].expected))
            fail_msg("%s=%s: '%s'", cases[i].key, cases[i].text, error.message);
        assert_memory_equal(&sample, &before, sizeof sample); /* nothing is half set */
    }
}

static void text_is_canonical(void **state) {
    (void)state;
    static const struct {
        const char *key, *text, *canonical;
    } cases[] = {
        {"heads", "010", "10"},    {"heads", "+8", "8"},         {"lr", "1e-3", "0.001"},
        {"lr", "0.0010", "0.001"}, {"lr", "-0.0", "0"},          {"lr", "2.15e-3", "0.00215"},
        {"lr", "1e-7", "1e-7"},    {"lr", "0.1", "0.1"},         {"causal", "true", "yes"},
        {"causal", "off", "no"},   {"position", "none", "none"}, {"note", "as it is", "as it is"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Sample sample;
        option_defaults(&sample_table, &sample);
        Error error = {0};
        assert_int_equal(option_set(&sample_table, &sample, cases[i].key, cases[i].text, &error),
                         STATUS_OK);
        char text[OPTION_VALUE_BYTES];
        option_text(option_find(&sample_table, cases[i].key), &sample, text);
        assert_string_equal(text, cases[i].canonical);
    }
}

static void numbers_read_back_exactly(void **state) {
    (void)state;
    static const double values[] = {0.1,       1.0 / 3, 1.6e12, 5e-324, 1.7976931348623157e308,
                                    1234567.5, -2.5e-7};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char text[NUMBER_TEXT_BYTES];
        double back;
        number_text(values[i], text);
        assert_true(number_parse(text, &back));
        assert_true(back == values[i]);
    }
    char text[NUMBER_TEXT_BYTES];
    number_text(1.6e12, text);
    assert_string_equal(text, "1.6e12");
}

static void distance_counts_slips(void **state) {
    (void)state;
    assert_int_equal(word_distance("width", "width"), 0);
    assert_int_equal(word_distance("widht", "width"), 1); /* swapped neighbours are one slip */
    assert_int_equal(word_distance("", "width"), 5);
    assert_int_equal(word_distance("mamba", "samba"), 1);
    assert_int_equal(word_distance("kitten", "sitting"), 3);
}

static void patterns_select(void **state) {
    (void)state;
    assert_true(word_selected(NULL, "mamba"));
    assert_true(word_selected("m*,s4d", "mamba"));
    assert_false(word_selected("m*,!mamba", "mamba"));
    assert_true(word_selected("!mamba", "lstm"));
    assert_false(word_selected("!mamba", "mamba"));
    assert_true(word_selected("xlstm[1:0]", "xlstm[1:0]")); /* not a class of characters */
    assert_false(word_selected("xlstm[1:0]", "xlstm[0:1]"));
    assert_false(word_selected("x*,!xlstm[1:0]", "xlstm[1:0]"));
    assert_true(word_selected("x*,!xlstm[1:0]", "xlstm[0:1]"));
    assert_false(word_selected("x*", "mamba"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_set),
        cmocka_unit_test(bad_values_are_refused_and_explained),
        cmocka_unit_test(text_is_canonical),
        cmocka_unit_test(numbers_read_back_exactly),
        cmocka_unit_test(distance_counts_slips),
        cmocka_unit_test(patterns_select),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
