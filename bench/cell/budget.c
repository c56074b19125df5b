/* Budgets and warm-ups: an amount and a unit, "1.6e12flop"; without one, "0.1", a share. */
#include "bench/cell/budget.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define UNIT_NAMES "flop, s, min, h, token, step, epoch"
static const struct {
    const char *name;
    BudgetUnit unit;
    double
        scale; /* units of BudgetUnit in one of these; the first of a unit is the canonical one */
} units[] = {{"flop", BUDGET_FLOP, 1},   {"s", BUDGET_SECOND, 1},    {"min", BUDGET_SECOND, 60},
             {"h", BUDGET_SECOND, 3600}, {"token", BUDGET_TOKEN, 1}, {"step", BUDGET_STEP, 1},
             {"epoch", BUDGET_EPOCH, 1}, {"", BUDGET_SHARE, 1}};
enum { UNITS = sizeof units / sizeof *units };

/* Of any unit: the largest runs of this decade have 1e27 FLOP. */
static const double largest = 1e30;

/* NULL, or what is wrong with the text. */
static const char *parse(const char *text, Budget *amount) {
    /* The unit is the longest tail of letters; an exponent's e stands before a digit or sign. */
    size_t start = strlen(text);
    while (start > 0 && text[start - 1] >= 'a' && text[start - 1] <= 'z') start--;
    char number[NUMBER_TEXT_BYTES];
    const int length = snprintf(number, sizeof number, "%.*s", (int)start, text);
    double value;
    if (length >= (int)sizeof number || !number_parse(number, &value))
        return "no finite number in front";
    if (value > largest) return "more than 1e30";
    for (int i = 0; i < UNITS; i++) {
        if (strcmp(units[i].name, text + start) != 0) continue;
        *amount = (Budget){value * units[i].scale, units[i].unit};
        return isfinite(amount->amount) ? NULL : "no finite number of seconds";
    }
    return "unknown unit";
}

Status budget_parse(const char *text, Budget *budget, Error *error) {
    const char *wrong = parse(text, budget);
    if (!wrong && budget->unit == BUDGET_SHARE) wrong = "no unit";
    if (!wrong && !(budget->amount > 0)) wrong = "not positive";
    if (!wrong) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "budget=%s: %s; expected a positive number and one of " UNIT_NAMES
                     ", such as 1.6e12flop or 10min",
                     text, wrong);
}

Status warmup_parse(const char *text, Budget *warmup, Error *error) {
    const char *wrong = parse(text, warmup);
    if (!wrong && warmup->unit == BUDGET_SHARE && !(warmup->amount >= 0 && warmup->amount <= 1))
        wrong = "no share";
    if (!wrong && warmup->unit != BUDGET_SHARE && !(warmup->amount > 0)) wrong = "not positive";
    if (!wrong) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "warmup=%s: %s; expected a share of the budget from 0 to 1, or a positive "
                     "number and one of " UNIT_NAMES ", such as 0.1 or 1000step",
                     text, wrong);
}

void budget_text(const Budget *budget, char text[OPTION_TEXT_BYTES]) {
    char number[NUMBER_TEXT_BYTES];
    number_text(budget->amount, number);
    int unit = 0;
    while (units[unit].unit != budget->unit) unit++;
    snprintf(text, OPTION_TEXT_BYTES, "%s%s", number, units[unit].name);
}

int64_t budget_steps(const Budget *budget, int64_t batch, const Problem *problem,
                     double flops_per_step, int64_t train_samples) {
    double steps = 0;
    switch (budget->unit) {
    case BUDGET_FLOP:
        steps = budget->amount / flops_per_step;
        break;
    case BUDGET_TOKEN:
        steps = budget->amount / ((double)batch * (double)problem->length * problem->sequences);
        break;
    case BUDGET_STEP:
        steps = budget->amount;
        break;
    case BUDGET_EPOCH:
        steps = budget->amount * (double)train_samples / (double)batch;
        break;
    case BUDGET_SECOND:
    case BUDGET_SHARE:
        return -1;
    }
    /* Beyond the last, which none lives to see, samples could not be numbered. */
    const double last = (double)(INT64_MAX / (2 * batch));
    return steps < 1 ? 1 : (int64_t)fmin(steps, last);
}
