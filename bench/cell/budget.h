/* What is held equal between cells, and how long the warm-up is: an amount and a unit. */
#ifndef LONGHAUL_BUDGET_H
#define LONGHAUL_BUDGET_H

#include "engine/option.h"
#include "tasks/task.h"

typedef enum BudgetUnit {
    BUDGET_FLOP,
    BUDGET_SECOND,
    BUDGET_TOKEN,
    BUDGET_STEP,
    BUDGET_EPOCH,
    BUDGET_SHARE /* of the budget; only a warm-up has it */
} BudgetUnit;

typedef struct Budget {
    double amount;
    BudgetUnit unit;
} Budget;

/* Errors: STATUS_USAGE, with the units that exist. "12" without a unit is refused. */
Status budget_parse(const char *text, Budget *budget, Error *error);

/* A share of the budget from 0 to 1 ("0.1"), or a length as a budget has it ("1000step", "1epoch"),
 * in which case it may be longer than the budget. Errors: STATUS_USAGE, with what is expected. */
Status warmup_parse(const char *text, Budget *warmup, Error *error);

/* Canonical text: "1.6e12flop"; minutes and hours become seconds. A share has no unit. */
void budget_text(const Budget *budget, char text[OPTION_TEXT_BYTES]);

/* Optimiser steps that a budget buys (at least 1); -1 when it is in seconds. batch: samples of a
 * step. train_samples: size of the training set, 0 for endless ones (an epoch is then refused by
 * cell_validate). */
int64_t budget_steps(const Budget *budget, int64_t batch, const Problem *problem,
                     double flops_per_step, int64_t train_samples);

#endif
