/* Evaluation of samples of different lengths: each is replayed at a length of its own, and the
 * results are those of the longest one. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bench/train/window.h"

enum { SAMPLES = 24, LABELS = 1 };

static void set(Cell *cell, const char *key, const char *value) {
    Error error = {0};
    if (cell_set(cell, key, value, &error) != STATUS_OK) fail_msg("%s", error.message);
}

/* Tests of 64 to 2048 tokens. */
static void open_induction(Cell *cell, Session *session, const char *model) {
    static const char *const settings[][2] = {{"loss", "answer"},      {"length", "64"},
                                              {"test_shortest", "64"}, {"test_longest", "2048"},
                                              {"width", "8"},          {"batch", "4"}};
    Error error = {0};
    assert_int_equal(cell_open(cell, "induction", model, &error), STATUS_OK);
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        set(cell, settings[i][0], settings[i][1]);
    if (session_open(session, cell, 1, &error) || session_allocate(session, &error))
        fail_msg("%s", error.message);
}

/* Loss of sample `index` at the longest length, in a batch of that sample alone. */
static double loss_alone(Session *session, int64_t index) {
    const Problem *problem = &session->evaluation_problem;
    Batch batch = batch_open(problem, 1);
    batch_fill(&batch, session->cell, problem, session->data, SPLIT_TEST, index, NULL, 1, 1);
    network_load(&session->evaluate, problem, &batch, 0, 1);
    tape_forward(session->evaluate.tape, &(Run){.threads = 1});
    const double loss = (double)session->evaluate.row_loss->host[0];
    batch_close(&batch);
    return loss;
}

/* Rounding of a filter's transforms, of which a longer sequence has more. */
static void results_do_not_depend_on_padding(void **state) {
    (void)state;
    static const struct {
        const char *model;
        double allowed;
    } cases[] = {{"mamba", 0}, {"s4d", 1e-5}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        Cell cell;
        Session session;
        open_induction(&cell, &session, cases[c].model);
        assert_int_equal(session.shorter_count, 2);
        assert_int_equal(session.shorter[0].problem.length, 1024);
        assert_int_equal(session.shorter[1].problem.length, 512);
        assert_true(window_samples(&session) >= SAMPLES);
        void *memory = calloc(1, window_result_bytes(&session));
        const Replayed results = window_results(&session, memory);
        Window *window = window_open(&session);
        window_replay(window, SPLIT_TEST, 0, SAMPLES, &results);
        window_close(window);
        int of_length[3] = {0};
        for (int64_t i = 0; i < SAMPLES; i++) {
            const int32_t length = results.lengths[i];
            of_length[(length > 512) + (length > 1024)]++;
            assert_int_equal(results.positions[i * LABELS], length - 1);
            const double loss = (double)results.losses[i * LABELS], alone = loss_alone(&session, i);
            if (!(fabs(loss - alone) <= cases[c].allowed))
                fail_msg("%s: sample %d of %d tokens has loss %.9g, %.9g at the longest length",
                         cases[c].model, (int)i, length, loss, alone);
        }
        assert_true(of_length[0] > 0 && of_length[1] > 0 && of_length[2] > 0);
        free(memory);
        session_close(&session);
        cell_close(&cell);
    }
}

static bool by_length(const char *task, const char *key, const char *value) {
    Cell cell;
    Error error = {0};
    assert_int_equal(cell_open(&cell, task, "lstm", &error), STATUS_OK);
    set(&cell, "length", "64");
    set(&cell, key, value);
    char *text = cell_text(&cell);
    const bool found = strstr(text, "evaluation: by length\n") != NULL;
    free(text);
    cell_close(&cell);
    return found;
}

/* Cells whose evaluations are as they always were keep their identities. */
static void only_long_tests_are_told_apart(void **state) {
    (void)state;
    assert_true(by_length("induction", "test_longest", "1024"));
    assert_false(by_length("induction", "test_longest", "512"));
    assert_false(by_length("recall", "test_length", "2048")); /* all of one length */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_do_not_depend_on_padding),
        cmocka_unit_test(only_long_tests_are_told_apart),
    };
    return cmocka_run_group_tests_name("window", tests, NULL, NULL);
}
