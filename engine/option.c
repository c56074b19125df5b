#include "engine/option.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/word.h"

static void *field_of(const Option *option, void *values) {
    return (char *)values + option->offset;
}

void number_text(double value, char text[NUMBER_TEXT_BYTES]) {
    value += 0.0; /* -0 is written as 0 */
    if (value == floor(value) && fabs(value) < 1e7) {
        snprintf(text, NUMBER_TEXT_BYTES, "%.0f", value);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, NUMBER_TEXT_BYTES, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    char *exponent = strchr(text, 'e'); /* e+09 and e-05 become e9 and e-5 */
    if (!exponent) return;
    const int power = atoi(exponent + 1);
    snprintf(exponent, (size_t)(text + NUMBER_TEXT_BYTES - exponent), "e%d", power);
}

bool number_parse(const char *text, double *value) {
    if (!*text || text[strspn(text, "0123456789+-.eE")]) return false;
    char *end;
    *value = strtod(text, &end);
    return !*end && isfinite(*value);
}

static bool integer_parse(const char *text, int64_t *value) {
    if (!*text || text[strspn(text, "0123456789+-")]) return false;
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    return !*end && errno == 0;
}

static bool switch_parse(const char *text, bool *value) {
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i]) == 0) {
            *value = i % 2 == 1;
            return true;
        }
    return false;
}

/* Index of word in "a|b|c", or -1. */
static int choice_find(const char *choices, const char *word) {
    const size_t length = strlen(word);
    int index = 0;
    for (const char *at = choices; length && at; index++) {
        if (strncmp(at, word, length) == 0 && (at[length] == '|' || at[length] == '\0'))
            return index;
        at = strchr(at, '|');
        if (at) at++;
    }
    return -1;
}

static Status check_range(const Option *option, double value, const char *text, Error *error) {
    if (option->maximum < option->minimum) return STATUS_OK;
    if (value >= option->minimum && value <= option->maximum) return STATUS_OK;
    char low[NUMBER_TEXT_BYTES], high[NUMBER_TEXT_BYTES];
    number_text(option->minimum, low);
    number_text(option->maximum, high);
    return error_set(error, STATUS_USAGE, "%s=%s is out of range; expected %s to %s (%s)",
                     option->name, text, low, high, option->help);
}

static Status wrong_type(const Option *option, const char *text, const char *expected,
                         Error *error) {
    return error_set(error, STATUS_USAGE, "%s=%s: expected %s (%s)", option->name, text, expected,
                     option->help);
}

static Status set_integer(const Option *option, void *field, const char *text, Error *error) {
    int64_t value;
    if (!integer_parse(text, &value)) return wrong_type(option, text, "a whole number", error);
    const Status status = check_range(option, (double)value, text, error);
    if (status == STATUS_OK) *(int64_t *)field = value;
    return status;
}

static Status set_real(const Option *option, void *field, const char *text, Error *error) {
    double value;
    if (!number_parse(text, &value)) return wrong_type(option, text, "a finite number", error);
    const Status status = check_range(option, value, text, error);
    if (status == STATUS_OK) *(double *)field = value;
    return status;
}

static Status set_switch(const Option *option, void *field, const char *text, Error *error) {
    return switch_parse(text, field) ? STATUS_OK : wrong_type(option, text, "yes or no", error);
}

static Status set_choice(const Option *option, void *field, const char *text, Error *error) {
    const int index = strchr(text, '|') ? -1 : choice_find(option->choices, text);
    if (index < 0)
        return error_set(error, STATUS_USAGE, "%s=%s: expected one of %s (%s)", option->name, text,
                         option->choices, option->help);
    *(int *)field = index;
    return STATUS_OK;
}

static Status set_text(const Option *option, void *field, const char *text, Error *error) {
    if (strlen(text) >= OPTION_TEXT_BYTES)
        return error_set(error, STATUS_USAGE, "%s: text of %zu bytes; expected at most %d",
                         option->name, strlen(text), OPTION_TEXT_BYTES - 1);
    for (const char *at = text; *at; at++)
        if ((unsigned char)*at < ' ')
            return error_set(error, STATUS_USAGE,
                             "%s: character %d of the text is a control character; expected one "
                             "printable line",
                             option->name, (int)(at - text) + 1);
    snprintf(field, OPTION_TEXT_BYTES, "%s", text);
    return STATUS_OK;
}

/* In the order of OptionType. */
static Status (*const setters[])(const Option *, void *, const char *, Error *) = {
    set_integer, set_real, set_switch, set_choice, set_text};

const Option *option_find(const OptionTable *table, const char *key) {
    for (int i = 0; i < table->count; i++)
        if (strcmp(table->options[i].name, key) == 0) return &table->options[i];
    return NULL;
}

Status option_set(const OptionTable *table, void *values, const char *key, const char *text,
                  Error *error) {
    const Option *option = option_find(table, key);
    if (option) return setters[option->type](option, field_of(option, values), text, error);
    Nearest nearest = {.wanted = key};
    for (int i = 0; i < table->count; i++) nearest_offer(&nearest, table->options[i].name);
    char advice[OPTION_TEXT_BYTES];
    nearest_advice(&nearest, advice, sizeof advice);
    return error_set(error, STATUS_USAGE, "unknown key '%s'%s", key, advice);
}

void option_defaults(const OptionTable *table, void *values) {
    memset(values, 0, table->bytes);
    for (int i = 0; i < table->count; i++) {
        const Option *option = &table->options[i];
        Error error = {0};
        option_set(table, values, option->name, option->standard, &error);
        if (error.status == STATUS_OK) continue;
        fprintf(stderr, "default of option %s: %s\n", option->name, error.message);
        abort();
    }
}

void option_text(const Option *option, const void *values, char text[OPTION_VALUE_BYTES]) {
    const void *field = (const char *)values + option->offset;
    switch (option->type) {
    case OPTION_INTEGER:
        snprintf(text, OPTION_VALUE_BYTES, "%lld", (long long)*(const int64_t *)field);
        break;
    case OPTION_REAL:
        number_text(*(const double *)field, text);
        break;
    case OPTION_SWITCH:
        snprintf(text, OPTION_VALUE_BYTES, "%s", *(const bool *)field ? "yes" : "no");
        break;
    case OPTION_CHOICE: {
        const char *at = option->choices;
        for (int i = *(const int *)field; i > 0; i--) at = strchr(at, '|') + 1;
        snprintf(text, OPTION_VALUE_BYTES, "%.*s", (int)strcspn(at, "|"), at);
        break;
    }
    case OPTION_TEXT:
        snprintf(text, OPTION_VALUE_BYTES, "%s", (const char *)field);
        break;
    }
}
