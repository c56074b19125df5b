/* Every task can be learned: a small model beats guessing after a few hundred steps. A set with
 * wrong labels, a broken sampler or a metric that looks elsewhere does not pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/train/train.h"

/* The easiest settings of each task, and a model that learns them in under half a second. */
static const struct {
    const char *task, *model, *settings;
} rows[] = {
    {"adding", "lstm", "length=8 budget=200step"},
    {"copy", "lstm", "length=4 alphabet=4 budget=200step"},
    {"counting", "lstm", "length=9 vocabulary=4 budget=800step"},
    {"digit_addition", "lstm", "digits=1 budget=400step"},
    {"formal", "lstm", "language=cycle longest=8 test_shortest=3 test_longest=8 budget=600step"},
    {"image_synthetic", "s4", "batch=8 budget=200step lr=2e-2 norm=batch test_samples=512"},
    {"induction", "lstm", "length=5 vocabulary=5 budget=1000step"},
    {"linear_function", "lstm", "dimension=1 examples=4 budget=200step"},
    {"listops", "lstm", "shortest=3 longest=12 depth=2 budget=300step"},
    {"lm_synthetic", "lstm", "length=64 batch=8 budget=50step test_samples=32"},
    {"mad", "lstm", "skill=memorization budget=100step test_samples=64"},
    {"majority", "lstm", "length=9 vocabulary=5 budget=200step"},
    {"mqar", "transformer", "length=16 pairs=2 vocabulary=16 budget=200step"},
    {"nns", "lstm", "length=16 budget=200step"},
    {"recall", "lstm", "length=6 vocabulary=6 budget=300step"},
    {"selective_copy", "lstm", "length=4 symbols=1 vocabulary=6 budget=200step"},
    {"text_synthetic", "lstm", "length=400 batch=8 budget=250step"},
};

/* Tasks without a row, and what else holds their labels to account. */
static const struct {
    const char *task, *reason;
} exempt[] = {
    {"image", "reads files; test_pictures checks every pixel and label"},
    {"lm", "without files it is lm_synthetic; test_corpus checks the rest"},
    {"mnist", "reads files; test_pictures checks every pixel and label"},
    {"pathfinder", "takes minutes to leave chance; test_pathfinder follows the curves"},
    {"retrieval", "reads files; retrieval_synthetic's are read by it in test_stand_in"},
    {"retrieval_synthetic", "takes minutes to leave chance; test_stand_in checks the citations"},
    {"text", "reads files; text_synthetic's are read by it in test_stand_in"},
};

static void set(Cell *cell, const char *settings) {
    char *text = strdup(settings), *rest = text;
    for (char *pair; (pair = strsep(&rest, " "));) {
        Error error = {0};
        char *value = strchr(pair, '=');
        *value = '\0';
        if (cell_set(cell, pair, value + 1, &error) != STATUS_OK) fail_msg("%s", error.message);
    }
    free(text);
}

static void check_row(const char *task, const char *model, const char *settings) {
    Cell cell;
    Problem problem;
    Result result = {0};
    Error error = {0};
    if (cell_open(&cell, task, model, &error) != STATUS_OK) fail_msg("%s", error.message);
    set(&cell, "width=16 layers=1 batch=16 lr=1e-2 evaluations=1 validation_samples=8 "
               "test_samples=256");
    set(&cell, settings);
    if (cell_validate(&cell, &problem, &error) != STATUS_OK ||
        cell_train(&cell, &(TrainOptions){.threads = 1}, &result, &error) != STATUS_OK)
        fail_msg("%s: %s", task, error.message);
    const double metric = result.test_metric;
    const bool beats = problem.higher_is_better ? metric > problem.chance : metric < problem.chance;
    if (result.outcome == OUTCOME_DIVERGED || result.at_chance || !beats)
        fail_msg("%s: %s %g, chance %g", task, problem.metric, metric, problem.chance);
    result_free(&result);
    cell_close(&cell);
}

static void every_task_can_be_learned(void **state) {
    (void)state;
    int count;
    const Task *const *tasks = task_list(&count);
    for (int t = 0; t < count; t++) {
        size_t row = 0, reason = 0;
        while (row < sizeof rows / sizeof *rows && strcmp(rows[row].task, tasks[t]->name) != 0)
            row++;
        while (reason < sizeof exempt / sizeof *exempt &&
               strcmp(exempt[reason].task, tasks[t]->name) != 0)
            reason++;
        if (row < sizeof rows / sizeof *rows)
            check_row(rows[row].task, rows[row].model, rows[row].settings);
        else if (reason == sizeof exempt / sizeof *exempt)
            fail_msg("task %s has neither a row here nor a reason for none", tasks[t]->name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_task_can_be_learned)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
