/* Training as a whole: continuing after a stop gives the same bits as never stopping, thread counts
 * and micro-batches do what they promise, bad numbers become a result, too much memory is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/train/checkpoint.h"
#include "bench/train/session.h"
#include "bench/train/train.h"

static void set(Cell *cell, const char *settings) {
    char *text = strdup(settings), *rest = text;
    for (char *pair; (pair = strsep(&rest, " "));) {
        Error error = {0};
        char *value = strchr(pair, '=');
        assert_non_null(value);
        *value = '\0';
        if (cell_set(cell, pair, value + 1, &error) != STATUS_OK) fail_msg("%s", error.message);
    }
    free(text);
}

static void open_small(Cell *cell, const char *model, const char *more) {
    Error error = {0};
    if (cell_open(cell, "mqar", model, &error) != STATUS_OK) fail_msg("%s", error.message);
    set(cell, "length=16 pairs=3 vocabulary=64 width=16 layers=2 batch=8 train_samples=50 "
              "validation_samples=20 test_samples=20 evaluations=4 dropout=0.1 budget=21step "
              "stop_when_solved=no lr=3e-3");
    if (*more) set(cell, more);
}

static void temporary_folder(char *folder) {
    strcpy(folder, "/tmp/longhaul-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
}

static void remove_folder(const char *folder) {
    char command[256];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

static Result train(const Cell *cell, const TrainOptions *options) {
    Result result = {0};
    Error error = {0};
    if (cell_train(cell, options, &result, &error) != STATUS_OK) fail_msg("%s", error.message);
    return result;
}

/* Asks to stop after a number of steps. */
static bool count_down(void *context, int64_t steps) {
    (void)steps;
    int *left = context;
    return --*left == 0;
}

static void assert_same_numbers(const Result *a, const Result *b) {
    assert_int_equal(a->steps, b->steps);
    assert_int_equal(a->curve_count, b->curve_count);
    for (int i = 0; i < a->curve_count; i++) {
        assert_int_equal(a->curve[i].step, b->curve[i].step);
        assert_true(a->curve[i].train_loss == b->curve[i].train_loss);
        assert_true(a->curve[i].validation_loss == b->curve[i].validation_loss);
        assert_true(a->curve[i].validation_metric == b->curve[i].validation_metric);
    }
    assert_true(a->test_loss == b->test_loss);
    assert_true(a->test_metric == b->test_metric);
    assert_true(a->flops == b->flops);
    assert_true(a->data_hash == b->data_hash);
}

/* Weights that the folder's last checkpoint holds. */
static float *weights_of(const Cell *cell, const char *folder, int64_t *size) {
    Session session;
    CheckpointState state = {0};
    Error error = {0};
    char identity[17];
    bool found = false;
    assert_int_equal(session_open(&session, cell, 1, &error), STATUS_OK);
    assert_int_equal(session_allocate(&session, &error), STATUS_OK);
    cell_identity(cell, identity);
    if (checkpoint_load(folder, session.parameters, identity, &state, &found, &error))
        fail_msg("%s", error.message);
    assert_true(found);
    *size = session.parameters->size;
    float *copy = malloc((size_t)*size * sizeof *copy);
    memcpy(copy, session.parameters->host_values, (size_t)*size * sizeof *copy);
    result_free(&state.so_far);
    session_close(&session);
    return copy;
}

static void check_resume(const char *model, const char *device, const char *more) {
    Cell cell;
    char whole[64], parts[64];
    temporary_folder(whole);
    temporary_folder(parts);
    open_small(&cell, model, more);
    snprintf(cell.device, sizeof cell.device, "%s", device);
    Result once = train(&cell, &(TrainOptions){.threads = 1, .folder = whole});
    /* 7 is just past an epoch boundary (50 samples, batches of 8), 14 lies between validations. */
    static const int stops[] = {7, 7, 0};
    Result last = {0};
    for (int i = 0; i < 3; i++) {
        int left = stops[i];
        result_free(&last);
        last = train(&cell, &(TrainOptions){.threads = 1 + i % 2,
                                            .folder = parts,
                                            .stop = left ? count_down : NULL,
                                            .context = &left});
        assert_int_equal(last.outcome, left || i < 2 ? OUTCOME_INTERRUPTED : OUTCOME_FINISHED);
    }
    assert_int_equal(last.sessions, 3);
    assert_same_numbers(&once, &last);
    int64_t size, again;
    float *a = weights_of(&cell, whole, &size), *b = weights_of(&cell, parts, &again);
    assert_int_equal(size, again);
    assert_memory_equal(a, b, (size_t)size * sizeof *a);
    free(a);
    free(b);
    result_free(&once);
    result_free(&last);
    cell_close(&cell);
    remove_folder(whole);
    remove_folder(parts);
}

static void test_resume_same_bits(void **state) {
    (void)state;
    int count;
    const Model *const *models = model_list(&count);
    for (int m = 0; m < count; m++) check_resume(models[m]->name, "cpu", "");
    check_resume("s4d", "cpu", "norm=batch micro_batch=4 norm_place=post"); /* running averages */
}

/* The learning rate depends on the validations so far. */
#define PLATEAU                                                                                    \
    "schedule=plateau plateau_patience=0 plateau_factor=0.5 warmup=2step evaluations=10 lr=1e-4"

/* A stop after every single step: on epoch ends, validations, the last step, and behind it. */
static void test_resume_at_every_step(void **state) {
    (void)state;
    Cell cell;
    char parts[64];
    temporary_folder(parts);
    /* 4 steps an epoch, of which 21 are 5 and a quarter */
    open_small(&cell, "lstm", "train_samples=32 layers=1");
    Result once = train(&cell, &(TrainOptions){.threads = 1}), last = {0};
    int sessions = 0;
    do {
        int left = 1;
        result_free(&last);
        last = train(
            &cell,
            &(TrainOptions){.threads = 1, .folder = parts, .stop = count_down, .context = &left});
        sessions++;
    } while (last.outcome == OUTCOME_INTERRUPTED && sessions < 30);
    assert_int_equal(sessions, 22); /* the last one finds nothing to train and tests */
    assert_same_numbers(&once, &last);
    result_free(&once);
    result_free(&last);
    cell_close(&cell);
    remove_folder(parts);
}

static void test_resume_on_a_plateau(void **state) {
    (void)state;
    check_resume("lstm", "cpu", PLATEAU);
    check_resume("lstm", "cpu", PLATEAU " budget=3epoch");
    check_resume("lstm", "cpu", PLATEAU " budget=2700token checkpoint_every=3");
    check_resume("lstm", "cpu", PLATEAU " budget=7.5e7flop");
}

/* The same learning rates in every step give the same loss in every validation. */
static void assert_same_rates(const char *one, const char *other, bool same) {
    Result results[2];
    for (int i = 0; i < 2; i++) {
        Cell cell;
        open_small(&cell, "lstm", i ? other : one);
        results[i] = train(&cell, &(TrainOptions){.threads = 1});
        cell_close(&cell);
    }
    if ((results[0].test_loss == results[1].test_loss) != same)
        fail_msg("%s and %s: test losses %.17g and %.17g", one, other, results[0].test_loss,
                 results[1].test_loss);
    for (int i = 0; i < 2; i++) result_free(&results[i]);
}

/* 21 steps of 8 samples of a set of 50, 16 tokens each. */
static void test_warmups(void **state) {
    (void)state;
    assert_same_rates("warmup=1epoch", "warmup=6step", true);
    assert_same_rates("warmup=768token", "warmup=6step", true);
    assert_same_rates("warmup=7step", "warmup=6step", false);
    assert_same_rates("warmup=42step budget=20step", "warmup=40step budget=20step", false);
    /* Within the warm-up nothing tells schedules apart. */
    assert_same_rates("warmup=42step schedule=linear", "warmup=42step schedule=constant", true);
}

/* What is resumed there does reduce its rate, and more than once: floors at once and twice the
 * factor change the result. */
static void test_plateau_is_met(void **state) {
    (void)state;
    static const char *const floors[] = {"", " lr_end=0.5", " lr_end=0.999"};
    for (int i = 0; i < 2; i++) {
        char one[256], other[256];
        snprintf(one, sizeof one, PLATEAU "%s", floors[i]);
        snprintf(other, sizeof other, PLATEAU "%s", floors[i + 1]);
        assert_same_rates(one, other, false);
    }
}

/* A GPU's kernels on the CPU: steps are in flight when the next batch is made, several replays a
 * step. Skipped when `make emulated` has not been run. */
static void need_emulation(void) {
    Device device = {0};
    const Status status = device_open(&device, "cuda-emulated", NULL);
    device_close(&device);
    if (status != STATUS_OK) skip();
}

static void test_resume_on_a_device(void **state) {
    (void)state;
    need_emulation();
    check_resume("lstm", "cuda-emulated", "micro_batch=4");
    check_resume("lstm", "cuda-emulated", PLATEAU " checkpoint_every=3");
    check_resume("lstm", "cuda-emulated", "norm=batch layers=1");
    /* long enough for copies that attention keeps for its backward */
    check_resume("transformer", "cuda-emulated", "products=bf16 length=64 layers=1 budget=15step");
}

static void test_data_do_not_depend_on_model(void **state) {
    (void)state;
    int count;
    const Model *const *models = model_list(&count);
    uint64_t first = 0;
    for (int m = 0; m < count; m++) {
        Cell cell;
        open_small(&cell, models[m]->name, "budget=1step filler=any");
        Result result = train(&cell, &(TrainOptions){.threads = 1});
        if (m == 0) first = result.data_hash;
        assert_true(result.data_hash == first);
        result_free(&result);
        cell_close(&cell);
    }
    assert_true(first != 0);
}

/* What a result's hash of the data is of when they come in their own order: samples 0 to 31. */
static uint64_t hash_of_first(const Cell *cell) {
    Session session;
    Error error = {0};
    assert_int_equal(session_open(&session, cell, 1, &error), STATUS_OK);
    Batch batch = batch_open(&session.problem, 32);
    batch_fill(&batch, cell, &session.problem, session.data, SPLIT_TRAIN, 0, NULL, 32, 1);
    const uint64_t hash = batch_hash(&batch, &session.problem);
    batch_close(&batch);
    session_close(&session);
    return hash;
}

static void test_a_training_set_may_keep_its_order(void **state) {
    (void)state;
    static const char *const settings[] = {"shuffle=no", "shuffle=yes"};
    for (int i = 0; i < 2; i++) {
        Cell cell;
        open_small(&cell, "lstm", settings[i]);
        Result result = train(&cell, &(TrainOptions){.threads = 1});
        assert_int_equal(result.data_hash == hash_of_first(&cell), i == 0);
        result_free(&result);
        cell_close(&cell);
    }
    check_resume("lstm", "cpu", "shuffle=no");
}

/* Of every task that needs no files, for two models, batches and numbers of threads. */
static void test_data_do_not_depend_on_batch_or_threads(void **state) {
    (void)state;
    static const struct {
        const char *model, *batch;
        int threads;
    } ways[] = {{"lstm", "2", 1}, {"s4d", "2", 3}, {"lstm", "5", 2}};
    static const char *const small[][2] = {{"width", "8"},        {"layers", "1"},
                                           {"budget", "1step"},   {"validation_samples", "1"},
                                           {"test_samples", "1"}, {"evaluations", "1"}};
    int count, tested = 0;
    const Task *const *tasks = task_list(&count);
    for (int t = 0; t < count; t++) {
        uint64_t hashes[3];
        for (int w = 0; w < 3; w++) {
            Cell cell;
            Result result = {0};
            Error error = {0};
            assert_int_equal(cell_open(&cell, tasks[t]->name, ways[w].model, &error), STATUS_OK);
            for (size_t i = 0; i < sizeof small / sizeof *small; i++)
                assert_int_equal(cell_set(&cell, small[i][0], small[i][1], &error), STATUS_OK);
            assert_int_equal(cell_set(&cell, "batch", ways[w].batch, &error), STATUS_OK);
            const TrainOptions options = {.threads = ways[w].threads};
            const Status status = cell_train(&cell, &options, &result, &error);
            if (status != STATUS_OK && status != STATUS_DATA) fail_msg("%s", error.message);
            hashes[w] = status == STATUS_OK ? result.data_hash : 0;
            tested += status == STATUS_OK;
            result_free(&result);
            cell_close(&cell);
        }
        if (hashes[0] != hashes[1] || hashes[0] != hashes[2])
            fail_msg("%s: other data with another model, batch or number of threads",
                     tasks[t]->name);
    }
    assert_true(tested >= 3 * 15);
}

/* Cutting the batch changes only the order of a sum: of the samples, and of what reaches a filter
 * that is computed once for all of them. */
static void test_micro_batches(void **state) {
    (void)state;
    static const char *const models[] = {"transformer", "s4", "ckconv"};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        double loss[2], flops[2];
        for (int i = 0; i < 2; i++) {
            Cell cell;
            open_small(&cell, models[m], i ? "micro_batch=2 dropout=0" : "micro_batch=8 dropout=0");
            Result result = train(&cell, &(TrainOptions){.threads = 1});
            loss[i] = result.test_loss;
            flops[i] = result.flops;
            result_free(&result);
            cell_close(&cell);
        }
        /* Adam divides by small second moments, which enlarges rounding over 21 steps. */
        if (!(fabs(loss[0] - loss[1]) < 1e-3 * fabs(loss[0])))
            fail_msg("%s: %.9g and %.9g", models[m], loss[0], loss[1]);
        /* CKConv's convolution transforms its kernels in every replay. */
        if (m < 2 && flops[0] != flops[1])
            fail_msg("%s: %.17g and %.17g FLOPs", models[m], flops[0], flops[1]);
    }
}

static void check_divergence(const char *model, const char *device) {
    Cell cell;
    char folder[64], path[128];
    temporary_folder(folder);
    snprintf(path, sizeof path, "%s/bad.safetensors", folder);
    open_small(&cell, model, "");
    snprintf(cell.device, sizeof cell.device, "%s", device);
    Session session;
    Error error = {0};
    assert_int_equal(session_open(&session, &cell, 1, &error), STATUS_OK);
    assert_int_equal(session_allocate(&session, &error), STATUS_OK);
    Parameter *victim = session.parameters->list[session.parameters->count / 2];
    victim->tensor.host[0] = NAN;
    assert_int_equal(weights_save(path, session.parameters, NULL, 0, &error), STATUS_OK);
    session_close(&session);
    Result result = train(&cell, &(TrainOptions){.threads = 1, .weights = path});
    assert_int_equal(result.outcome, OUTCOME_DIVERGED);
    assert_non_null(strstr(result.failure, "operation"));
    assert_non_null(strstr(result.failure, "step 1"));
    assert_int_equal(result.steps, 0);
    assert_true(isnan(result.test_metric));
    result_free(&result);
    cell_close(&cell);
    remove_folder(folder);
}

static void test_divergence_is_a_result(void **state) {
    (void)state;
    check_divergence("transformer", "cpu");
}

static void test_divergence_on_a_device(void **state) {
    (void)state;
    need_emulation();
    check_divergence("lstm", "cuda-emulated");
}

static void test_other_configuration_refused(void **state) {
    (void)state;
    Cell cell;
    char folder[64];
    temporary_folder(folder);
    open_small(&cell, "transformer", "budget=2step");
    Result result = train(&cell, &(TrainOptions){.threads = 1, .folder = folder});
    result_free(&result);
    set(&cell, "lr=1e-4");
    Error error = {0};
    assert_int_equal(
        cell_train(&cell, &(TrainOptions){.threads = 1, .folder = folder}, &result, &error),
        STATUS_DATA);
    assert_non_null(strstr(error.message, "checkpoint"));
    result_free(&result);
    cell_close(&cell);
    remove_folder(folder);
}

static void test_too_large_is_refused(void **state) {
    (void)state;
    Cell cell;
    CellPlan plan;
    Error error = {0};
    open_small(&cell, "transformer", "length=65536 pairs=8 width=4096 batch=4096 micro_batch=4096");
    assert_int_equal(cell_plan(&cell, 1, &plan, &error), STATUS_OK);
    assert_true(plan.bytes > plan.available_bytes);
    Result result = {0};
    assert_int_equal(cell_train(&cell, &(TrainOptions){.threads = 1}, &result, &error),
                     STATUS_USAGE);
    assert_non_null(strstr(error.message, "available"));
    cell_close(&cell);
    error = (Error){0}; /* an operation refuses its inputs, and a reshape follows */
    assert_int_equal(cell_open(&cell, "nns", "perceiver", &error), STATUS_OK);
    set(&cell, "batch=16777216");
    assert_int_equal(cell_plan(&cell, 1, &plan, &error), STATUS_USAGE);
    assert_non_null(strstr(error.message, "operation attention"));
    cell_close(&cell);
}

static void test_budgets(void **state) {
    (void)state;
    Cell cell;
    CellPlan plan;
    Error error = {0};
    open_small(&cell, "transformer", "budget=1e9flop");
    assert_int_equal(cell_plan(&cell, 1, &plan, &error), STATUS_OK);
    assert_true(plan.total_flops <= 1e9 && plan.total_flops > 1e9 - plan.flops_per_step);
    set(&cell, "budget=1280token");
    assert_int_equal(cell_plan(&cell, 1, &plan, &error), STATUS_OK);
    assert_int_equal(plan.steps, 10);
    set(&cell, "budget=2epoch");
    assert_int_equal(cell_plan(&cell, 1, &plan, &error), STATUS_OK);
    assert_int_equal(plan.steps, 12);
    set(&cell, "budget=1e30step"); /* more than there are integers */
    assert_int_equal(cell_plan(&cell, 1, &plan, &error), STATUS_OK);
    assert_true(plan.steps > 1e15 && plan.total_flops > 0);
    set(&cell, "budget=0.05s");
    assert_int_equal(cell_plan(&cell, 1, &plan, &error), STATUS_OK);
    assert_int_equal(plan.steps, -1);
    Result result = train(&cell, &(TrainOptions){.threads = 1});
    assert_true(result.train_seconds >= 0.05 && result.steps > 0);
    result_free(&result);
    cell_close(&cell);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resume_same_bits),
        cmocka_unit_test(test_resume_at_every_step),
        cmocka_unit_test(test_resume_on_a_plateau),
        cmocka_unit_test(test_plateau_is_met),
        cmocka_unit_test(test_warmups),
        cmocka_unit_test(test_data_do_not_depend_on_model),
        cmocka_unit_test(test_a_training_set_may_keep_its_order),
        cmocka_unit_test(test_data_do_not_depend_on_batch_or_threads),
        cmocka_unit_test(test_micro_batches),
        cmocka_unit_test(test_divergence_is_a_result),
        cmocka_unit_test(test_resume_on_a_device),
        cmocka_unit_test(test_divergence_on_a_device),
        cmocka_unit_test(test_other_configuration_refused),
        cmocka_unit_test(test_too_large_is_refused),
        cmocka_unit_test(test_budgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
