/* A cell on several processes: the order of its sums, and that training gives the same bits on any
 * number of them, with stops between. The processes are threads; MPI itself is in test_parallel.sh.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <glob.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/cell/cell.h"
#include "bench/cell/result.h"
#include "bench/common/document.h"
#include "bench/train/part_sum.h"
#include "bench/train/train.h"
#include "tests/thread_team.h"

/* ---- the sum ---- */

/* 80 elements: no multiple of 16 times the number of members, so that shares differ, and with 6 or
 * more members some have none. */
enum { SIZE = 5 * TEAM_UNIT, MOST_PARTS = 24 };

/* Numbers of many magnitudes, so that another order has other bits. */
static float element(int64_t part, int64_t i) {
    const uint32_t mixed = (uint32_t)(part * 7919 + i * 104729 + 1) * 2654435761u;
    return (float)ldexp((double)(mixed >> 8) - 8388608.0, (int)(mixed & 15u) - 8);
}

/* The sum as the comment of part_sum.h says it. */
static float expected(int64_t first, int64_t count, int64_t i) {
    if (count % 2 == 0)
        return expected(first, count / 2, i) + expected(first + count / 2, count / 2, i);
    float sum = element(first, i);
    for (int64_t part = first + 1; part < first + count; part++) sum += element(part, i);
    return sum;
}

typedef struct SumTrial {
    int64_t parts;
    float sums[MOST_THREADS][SIZE];
} SumTrial;

/* Two steps, of which the second must know nothing of the first. */
static void sum_parts(const Team *team, void *context) {
    SumTrial *trial = context;
    PartSum sum;
    float *gradient = trial->sums[team->rank];
    if (part_sum_open(&sum, trial->parts, team, SIZE, NULL) != STATUS_OK) abort();
    for (int step = 0; step < 2; step++) {
        memset(gradient, 0, sizeof trial->sums[0]);
        for (int64_t part = team->rank * sum.own; part < (team->rank + 1) * sum.own; part++) {
            for (int64_t i = 0; i < SIZE; i++) gradient[i] += element(part, i);
            part_sum_add(&sum, gradient, 1 + (int)(part % 2));
        }
        part_sum_finish(&sum, gradient, 1);
    }
    part_sum_close(&sum);
}

static void sum_does_not_depend_on_processes(void **state) {
    (void)state;
    int teams = 0;
    for (int64_t parts = 1; parts <= MOST_PARTS; parts++)
        for (int count = 1; count <= MOST_THREADS; count++) {
            if (!part_sum_fits(parts, count)) continue;
            static SumTrial trial;
            trial.parts = parts;
            run_as_team(count, sum_parts, &trial);
            for (int r = 0; r < count; r++)
                for (int64_t i = 0; i < SIZE; i++)
                    if (trial.sums[r][i] != expected(0, parts, i))
                        fail_msg("%d parts, process %d of %d, element %d", (int)parts, r, count,
                                 (int)i);
            teams++;
        }
    assert_int_equal(teams, 57);
}

static void numbers_of_processes(void **state) {
    (void)state;
    static const struct {
        int64_t parts;
        int processes;
        bool fits;
    } cases[] = {{1, 1, true},  {1, 2, false}, {4, 2, true},   {4, 4, true},   {4, 3, false},
                 {4, 8, false}, {12, 4, true}, {12, 3, false}, {12, 12, true}, {12, 8, false},
                 {3, 3, true},  {6, 2, true},  {6, 3, false},  {6, 6, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (part_sum_fits(cases[i].parts, cases[i].processes) != cases[i].fits)
            fail_msg("%d parts on %d processes", (int)cases[i].parts, cases[i].processes);
    /* one part costs no memory; 8 parts on one process three sums, on two processes two of them and
     * the halves that come from both */
    assert_int_equal(part_sum_bytes(1, 1, SIZE), 0);
    assert_int_equal(part_sum_bytes(8, 1, SIZE), 3 * SIZE * 4);
    assert_int_equal(part_sum_bytes(8, 2, SIZE), (2 * SIZE + 2 * 3 * TEAM_UNIT) * 4);
}

/* ---- agreement ---- */

typedef struct Verdict {
    int failing; /* the process that fails; -1: none */
    Status status[MOST_THREADS];
    Error error[MOST_THREADS];
    double largest[MOST_THREADS];
} Verdict;

static void agree(const Team *team, void *context) {
    Verdict *verdict = context;
    Error *error = &verdict->error[team->rank];
    const Status own = team->rank == verdict->failing
                           ? error_set(error, STATUS_IO, "the disk is full")
                           : STATUS_OK;
    verdict->largest[team->rank] = team_largest(team, team->rank == 1 ? 7 : -team->rank);
    verdict->status[team->rank] = team_agree(team, own, error);
}

static void one_failure_is_everyones(void **state) {
    (void)state;
    for (int failing = -1; failing < 3; failing++) {
        Verdict verdict = {.failing = failing};
        run_as_team(3, agree, &verdict);
        for (int r = 0; r < 3; r++) {
            assert_int_equal(verdict.status[r], failing < 0 ? STATUS_OK : STATUS_IO);
            assert_true(verdict.largest[r] == 7);
            if (failing >= 0) assert_non_null(strstr(verdict.error[r].message, "the disk is full"));
            if (failing > 0) assert_non_null(strstr(verdict.error[r].message, "process "));
        }
    }
}

/* ---- training ---- */

typedef struct Training {
    Cell cell;
    char folder[64];
    int stop_at;    /* steps after which one process asks to stop; 0: none does */
    int stop_asker; /* which one */
    Result results[MOST_THREADS];
    Status status[MOST_THREADS];
    Error error[MOST_THREADS];
} Training;

static bool count_down(void *context, int64_t steps) {
    (void)steps;
    int *left = context;
    return --*left == 0;
}

static void train_member(const Team *team, void *context) {
    Training *training = context;
    int left = team->rank == training->stop_asker ? training->stop_at : 0;
    const TrainOptions options = {.threads = 1 + team->rank % 2,
                                  .team = team,
                                  .folder = training->folder,
                                  .stop = count_down,
                                  .context = &left};
    training->status[team->rank] = cell_train(
        &training->cell, &options, &training->results[team->rank], &training->error[team->rank]);
}

#define MQAR "length=16 pairs=3 vocabulary=64"

static void open_training(Training *training, const char *task, const char *model,
                          const char *settings) {
    static const char *const small =
        "width=16 layers=1 batch=8 replicas=4 train_samples=50 validation_samples=21 "
        "test_samples=20 evaluations=3 dropout=0.1 budget=13step stop_when_solved=no lr=3e-3";
    Error error = {0};
    *training = (Training){0};
    assert_int_equal(cell_open(&training->cell, task, model, &error), STATUS_OK);
    char text[512], *rest = text;
    snprintf(text, sizeof text, "%s%s%s", small, *settings ? " " : "", settings);
    for (char *word; (word = strtok_r(rest, " ", &rest));) {
        char *value = strchr(word, '=');
        *value = '\0';
        if (cell_set(&training->cell, word, value + 1, &error) != STATUS_OK)
            fail_msg("%s", error.message);
    }
    strcpy(training->folder, "/tmp/longhaul-team-XXXXXX");
    assert_non_null(mkdtemp(training->folder));
}

static void forget_results(Training *training) {
    for (int r = 0; r < MOST_THREADS; r++) {
        result_free(&training->results[r]);
        training->error[r] = (Error){0};
    }
}

static void close_training(Training *training) {
    char command[128];
    forget_results(training);
    cell_close(&training->cell);
    snprintf(command, sizeof command, "rm -r '%s'", training->folder);
    assert_int_equal(system(command), 0);
}

/* Digests of weights and moments, which stand in one of two files by turns. */
static void digest_checkpoint(const Training *training, char digests[2][DIGEST_BYTES]) {
    static const char *const names[] = {"checkpoint", "optimizer"};
    for (int i = 0; i < 2; i++) {
        char pattern[128];
        glob_t found;
        Error error = {0};
        snprintf(pattern, sizeof pattern, "%s/%s.?.safetensors", training->folder, names[i]);
        assert_int_equal(glob(pattern, 0, NULL, &found), 0);
        assert_int_equal(found.gl_pathc, 1);
        assert_int_equal(file_digest(found.gl_pathv[0], digests[i], &error), STATUS_OK);
        globfree(&found);
    }
}

static void assert_same(const Result *a, const Result *b) {
    assert_int_equal(a->outcome, b->outcome);
    assert_int_equal(a->steps, b->steps);
    assert_int_equal(a->curve_count, b->curve_count);
    for (int i = 0; i < a->curve_count; i++) {
        assert_true(a->curve[i].train_loss == b->curve[i].train_loss);
        assert_true(a->curve[i].validation_loss == b->curve[i].validation_loss);
        assert_true(a->curve[i].validation_metric == b->curve[i].validation_metric);
    }
    assert_true(a->test_loss == b->test_loss && a->test_metric == b->test_metric);
    assert_true(a->flops == b->flops && a->data_hash == b->data_hash);
}

static void train_on(Training *training, int processes) {
    forget_results(training);
    run_as_team(processes, train_member, training);
    for (int r = 0; r < processes; r++)
        if (training->status[r] != STATUS_OK) fail_msg("%s", training->error[r].message);
    for (int r = 1; r < processes; r++)
        assert_int_equal(training->results[r].outcome, training->results[0].outcome);
}

/* Once in one go on one process; then with two stops, asked for by the last process each time, on
 * other numbers of processes. */
static void check_bits(const char *task, const char *model, const char *settings,
                       const int processes[3]) {
    Training whole, parts;
    open_training(&whole, task, model, settings);
    open_training(&parts, task, model, settings);
    train_on(&whole, 1);
    assert_int_equal(whole.results[0].outcome, OUTCOME_FINISHED);
    for (int i = 0; i < 3; i++) {
        parts.stop_at = i < 2 ? 4 : 0;
        parts.stop_asker = processes[i] - 1;
        train_on(&parts, processes[i]);
        assert_int_equal(parts.results[0].outcome, i < 2 ? OUTCOME_INTERRUPTED : OUTCOME_FINISHED);
        assert_int_equal(parts.results[0].steps, i < 2 ? 4 * (i + 1) : 13);
        assert_int_equal(parts.results[0].processes, processes[i]);
    }
    for (int r = 0; r < processes[2]; r++) assert_same(&whole.results[0], &parts.results[r]);
    char once[2][DIGEST_BYTES], again[2][DIGEST_BYTES];
    digest_checkpoint(&whole, once);
    digest_checkpoint(&parts, again);
    assert_string_equal(once[0], again[0]);
    assert_string_equal(once[1], again[1]);
    close_training(&whole);
    close_training(&parts);
}

static void same_bits_on_any_number_of_processes(void **state) {
    (void)state;
    check_bits("mqar", "transformer", MQAR, (int[]){2, 4, 2});
    check_bits("mqar", "lstm", MQAR, (int[]){4, 1, 4});
    check_bits("mqar", "mamba", MQAR " micro_batch=1", (int[]){4, 2, 1});
    check_bits("mqar", "s4", MQAR " micro_batch=1", (int[]){4, 2, 1});
    check_bits("mqar", "transformer", MQAR " batch=6 replicas=6", (int[]){6, 2, 6});
    check_bits("mqar", "lstm", MQAR " norm=batch", (int[]){4, 2, 1});
}

/* Samples of several lengths and numbers of labels, pairs of sequences, real inputs and targets,
 * perplexity with its breakdown. */
static void same_bits_on_every_kind_of_task(void **state) {
    (void)state;
    check_bits("nns", "lstm", "length=8", (int[]){4, 2, 4});
    check_bits("adding", "lstm", "length=12", (int[]){2, 4, 4});
    check_bits("formal", "lstm", "language=reverse longest=16 test_longest=32 test_shortest=17",
               (int[]){2, 4, 4});
    check_bits("lm_synthetic", "transformer", "length=32", (int[]){4, 2, 4});
    check_bits("retrieval_synthetic", "lstm", "length=832", (int[]){4, 2, 4});
}

static void seconds_end_on_the_same_step(void **state) {
    (void)state;
    Training training;
    open_training(&training, "mqar", "lstm", MQAR " budget=0.2s");
    train_on(&training, 2);
    assert_true(training.results[0].train_seconds >= 0.2);
    assert_true(training.results[0].train_seconds == training.results[1].train_seconds);
    assert_same(&training.results[0], &training.results[1]);
    close_training(&training);
}

static void divergence_is_everyones(void **state) {
    (void)state;
    static const char *const wild = MQAR " lr=100 clip=0 warmup=0 weight_decay=10 budget=200step";
    Training one, four;
    open_training(&one, "mqar", "lstm", wild);
    open_training(&four, "mqar", "lstm", wild);
    train_on(&one, 1);
    train_on(&four, 4);
    assert_int_equal(one.results[0].outcome, OUTCOME_DIVERGED);
    for (int r = 0; r < 4; r++) {
        assert_int_equal(four.results[r].outcome, OUTCOME_DIVERGED);
        assert_int_equal(four.results[r].steps, one.results[0].steps);
        assert_string_equal(four.results[r].failure, one.results[0].failure);
    }
    close_training(&one);
    close_training(&four);
}

/* Results and checkpoints from before there were several. */
static void older_results_have_one_process(void **state) {
    (void)state;
    const Result result = {.processes = 4};
    json_t *json = result_to_json(&result);
    Result back;
    char field[64];
    assert_true(result_from_json(json, &back, field, sizeof field));
    assert_int_equal(back.processes, 4);
    result_free(&back);
    json_object_del(json, "processes");
    assert_true(result_from_json(json, &back, field, sizeof field));
    assert_int_equal(back.processes, 1);
    result_free(&back);
    json_object_set_new(json, "processes", json_string("four"));
    assert_false(result_from_json(json, &back, field, sizeof field));
    assert_string_equal(field, "processes");
    json_decref(json);
}

static void refused(const char *settings, int processes, Status status, const char *part) {
    Training training;
    open_training(&training, "mqar", "lstm", settings);
    run_as_team(processes, train_member, &training);
    for (int r = 0; r < processes; r++) {
        assert_int_equal(training.status[r], status);
        if (!strstr(training.error[r].message, part))
            fail_msg("said: %s\nexpected: %s", training.error[r].message, part);
    }
    close_training(&training);
}

static void wrong_numbers_are_refused(void **state) {
    (void)state;
    refused(MQAR, 3, STATUS_USAGE, "expected number of processes: 1, 2, 4");
    refused(MQAR, 8, STATUS_USAGE, "or set replicas=8");
    refused(MQAR " replicas=1", 2, STATUS_USAGE, "expected number of processes: 1.");
    refused(MQAR " replicas=3", 3, STATUS_USAGE, "replicas=3 does not divide batch=8");
    refused(MQAR " micro_batch=4", 2, STATUS_USAGE, "micro_batch=4 does not divide batch=2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sum_does_not_depend_on_processes),
        cmocka_unit_test(numbers_of_processes),
        cmocka_unit_test(one_failure_is_everyones),
        cmocka_unit_test(same_bits_on_any_number_of_processes),
        cmocka_unit_test(same_bits_on_every_kind_of_task),
        cmocka_unit_test(seconds_end_on_the_same_step),
        cmocka_unit_test(divergence_is_everyones),
        cmocka_unit_test(older_results_have_one_process),
        cmocka_unit_test(wrong_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
