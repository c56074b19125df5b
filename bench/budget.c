/* Budgets: an amount and a unit, "1.6e12flop". */
#include <stdio.h>
#include <string.h>

#include "bench/cell.h"

static const struct {
    const char *name;
    BudgetUnit unit;
    double
        scale; /* units of BudgetUnit in one of these; the first of a unit is the canonical one */
} units[] = {{"flop", BUDGET_FLOP, 1},   {"s", BUDGET_SECOND, 1},    {"min", BUDGET_SECOND, 60},
             {"h", BUDGET_SECOND, 3600}, {"token", BUDGET_TOKEN, 1}, {"step", BUDGET_STEP, 1},
             {"epoch", BUDGET_EPOCH, 1}};
enum { UNITS = sizeof units / sizeof *units };

static Status refused(const char *text, const char *why, Error *error) {
    return error_set(error, STATUS_USAGE,
                     "budget=%s: %s; expected a positive number and one of flop, s, min, h, token, "
                     "step, epoch, such as 1.6e12flop or 10min",
                     text, why);
}

Status budget_parse(const char *text, Budget *budget, Error *error) {
    /* The unit is the longest tail of letters; an exponent's e stands before a digit or sign. */
    size_t start = strlen(text);
    while (start > 0 && text[start - 1] >= 'a' && text[start - 1] <= 'z') start--;
    char number[NUMBER_TEXT_BYTES];
    const int length = snprintf(number, sizeof number, "%.*s", (int)start, text);
    double amount;
    if (length >= (int)sizeof number || !number_parse(number, &amount))
        return refused(text, "no finite number in front", error);
    if (!text[start]) return refused(text, "no unit", error);
    for (int i = 0; i < UNITS; i++) {
        if (strcmp(units[i].name, text + start) != 0) continue;
        *budget = (Budget){amount * units[i].scale, units[i].unit};
        return budget->amount > 0 ? STATUS_OK : refused(text, "not positive", error);
    }
    return refused(text, "unknown unit", error);
}

void budget_text(const Budget *budget, char text[OPTION_TEXT_BYTES]) {
    char number[NUMBER_TEXT_BYTES];
    number_text(budget->amount, number);
    int unit = 0;
    while (units[unit].unit != budget->unit) unit++;
    snprintf(text, OPTION_TEXT_BYTES, "%s%s", number, units[unit].name);
}
