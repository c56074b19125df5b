/* Every shape of problem reaches a head that can learn it: a few samples are learned by heart. */
#include "bench/train/train.h"
#include "tests/data_case.h"

#include "bench/train/session.h"

/* Trains on the first 8 samples and returns the last training loss, nats or squared error. */
static double learn(const char *task, const char *settings) {
    Cell cell;
    Error error = {0};
    Result result = {0};
    if (cell_open(&cell, task, "transformer", &error) != STATUS_OK) fail_msg("%s", error.message);
    char copy[512];
    snprintf(copy, sizeof copy,
             "width=32 layers=2 batch=8 train_samples=8 validation_samples=8 test_samples=8 "
             "evaluations=1 lr=3e-3 weight_decay=0 dropout=0 stop_when_solved=no %s",
             settings);
    for (char *rest = copy, *word; (word = strtok_r(rest, " ", &rest));) {
        char *value = strchr(word, '=');
        *value++ = '\0';
        if (cell_set(&cell, word, value, &error) != STATUS_OK) fail_msg("%s", error.message);
    }
    const TrainOptions options = {.threads = 1};
    if (cell_train(&cell, &options, &result, &error) != STATUS_OK) fail_msg("%s", error.message);
    const double loss = result.train_loss;
    result_free(&result);
    cell_close(&cell);
    return loss;
}

/* A guess costs 1/12 of squared error, 1/6, log 2 and log 10; a tenth of it or less is knowledge
 * of the samples, which chance does not give. */
static void numbers_at_positions(void **state) {
    (void)state;
    assert_true(learn("nns", "length=12 budget=1000step") < 0.1 / 12);
}

static void a_number_for_the_sequence(void **state) {
    (void)state;
    assert_true(learn("adding", "length=20 budget=300step") < 0.1 / 6);
}

static void a_class_for_the_sequence(void **state) {
    (void)state;
    assert_true(learn("listops", "shortest=5 longest=30 depth=4 budget=200step") < 0.23);
}

/* Texts and labels such that neither text alone tells the answer. */
static void a_class_for_a_pair(void **state) {
    (void)state;
    static const char text[] = "0.0\ta\tb\tred\tred\n1.0\ta\tb\tred\tblue\n"
                               "1.0\ta\tb\tblue\tred\n0.0\ta\tb\tblue\tblue\n"
                               "0.0\ta\tb\tgrey\tgrey\n1.0\ta\tb\tgrey\tpink\n"
                               "1.0\ta\tb\tpink\tgrey\n0.0\ta\tb\tpink\tpink\n";
    data_case_text("tsv_data/new_aan_pairs.train.tsv", text);
    data_case_text("tsv_data/new_aan_pairs.eval.tsv",
                   "0.0\ta\tb\tred\tgrey\n1.0\ta\tb\tred\tpink\n");
    data_case_text("tsv_data/new_aan_pairs.test.tsv",
                   "0.0\ta\tb\tpink\tred\n1.0\ta\tb\tblue\tgrey\n");
    assert_true(learn("retrieval", "length=6 budget=300step") < 0.07);
}

static void tokens_from_the_last_vector(void **state) {
    (void)state;
    const char *settings = "skill=compression length=8 vocabulary=6 lr=5e-3 init_deviation=0 "
                           "embedding_deviation=0 budget=800step";
    assert_true(learn("mad", settings) < 0.14); /* a guess costs 7/8 of log 5 */
}

/* In a causal model the first position's own vector cannot tell of a later token; the last one can.
 */
static void first_label_depends_on_later_tokens(void **state) {
    (void)state;
    Cell cell;
    Session session;
    Error error = {0};
    assert_int_equal(cell_open(&cell, "mad", "lstm", &error), STATUS_OK);
    assert_int_equal(cell_set(&cell, "skill", "compression", &error), STATUS_OK);
    assert_int_equal(session_open(&session, &cell, 1, &error), STATUS_OK);
    assert_int_equal(session_allocate(&session, &error), STATUS_OK);
    const Problem *problem = &session.evaluation_problem;
    Batch batch = batch_open(problem, session.evaluate.batch);
    batch_fill(&batch, &cell, problem, NULL, SPLIT_TEST, 0, NULL, session.evaluate.batch, 1);
    float loss[2];
    for (int k = 0; k < 2; k++) {
        batch.tokens[problem->length - 2] = k; /* of the first sample */
        network_load(&session.evaluate, problem, &batch, 0, batch.labels);
        tape_forward(session.evaluate.tape, &(Run){.threads = 1});
        loss[k] = session.evaluate.row_loss->host[0];
    }
    assert_true(loss[0] != loss[1]);
    batch_close(&batch);
    session_close(&session);
    cell_close(&cell);
}

static void a_class_from_a_token(void **state) {
    (void)state;
    const char *settings = "shortest=5 longest=30 depth=4 pool=token budget=200step";
    assert_true(learn("listops", settings) < 0.23);
}

/* Loss of the first of two samples, of 7 and 12 tokens, which has `last` at position `at`. */
static float loss_with(const char *settings, int64_t at, int last) {
    Cell cell;
    Session session;
    Error error = {0};
    assert_int_equal(cell_open(&cell, "listops", "transformer", &error), STATUS_OK);
    char copy[128];
    snprintf(copy, sizeof copy, "shortest=3 longest=12 depth=3 width=16 layers=1 %s", settings);
    for (char *rest = copy, *word; (word = strtok_r(rest, " ", &rest));) {
        char *value = strchr(word, '=');
        *value++ = '\0';
        if (cell_set(&cell, word, value, &error) != STATUS_OK) fail_msg("%s", error.message);
    }
    if (session_open(&session, &cell, 1, &error)) fail_msg("%s", error.message);
    assert_int_equal(session_allocate(&session, &error), STATUS_OK);
    const Problem *problem = &session.evaluation_problem;
    Batch batch = batch_open(problem, session.evaluate.batch);
    batch_fill(&batch, &cell, problem, NULL, SPLIT_TEST, 0, NULL, 2, 1);
    batch.lengths[0] = 7;
    batch.lengths[1] = 12;
    for (int64_t t = 0; t < 2 * problem->length; t++) batch.tokens[t] = 1 + (int32_t)t % 9;
    batch.tokens[at] = last;
    network_load(&session.evaluate, problem, &batch, 0, 2);
    tape_forward(session.evaluate.tape, &(Run){.threads = 1});
    const float loss = session.evaluate.row_loss->host[0];
    batch_close(&batch);
    session_close(&session);
    cell_close(&cell);
    return loss;
}

/* The token in front moves every position, and the length with them. */
static void a_token_sees_its_sequence_and_no_more(void **state) {
    (void)state;
    assert_true(loss_with("pool=token", 6, 5) != loss_with("pool=token", 6, 8));
    assert_true(loss_with("pool=token", 7, 5) == loss_with("pool=token", 7, 8));
    assert_true(loss_with("pool=token", 0, 5) != loss_with("pool=token", 0, 8));
}

/* The same weights give other numbers; a learned token in front would see nothing. */
static void a_sequence_read_forwards(void **state) {
    (void)state;
    assert_true(loss_with("causal=yes", 6, 5) != loss_with("causal=no", 6, 5));
    Cell cell;
    Error error = {0};
    Problem problem;
    assert_int_equal(cell_open(&cell, "listops", "transformer", &error), STATUS_OK);
    assert_int_equal(cell_validate(&cell, &problem, &error), STATUS_OK);
    assert_false(cell_reads_forwards(&cell, &problem));
    cell_set(&cell, "pool", "token", &error);
    assert_int_equal(cell_validate(&cell, &problem, &error), STATUS_OK);
    cell_set(&cell, "causal", "yes", &error);
    assert_true(cell_reads_forwards(&cell, &problem));
    assert_int_equal(cell_validate(&cell, &problem, &error), STATUS_USAGE);
    assert_non_null(strstr(error.message, "model transformer reads forwards only with causal=yes"));
    cell_close(&cell);
    assert_int_equal(cell_open(&cell, "listops", "mamba", &error), STATUS_OK);
    cell_set(&cell, "pool", "token", &error);
    assert_int_equal(cell_validate(&cell, &problem, &error), STATUS_USAGE);
    assert_non_null(strstr(error.message, "use pool=mean or pool=last"));
    cell_close(&cell);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_at_positions),
        cmocka_unit_test(a_number_for_the_sequence),
        cmocka_unit_test(a_class_for_the_sequence),
        cmocka_unit_test(a_class_from_a_token),
        cmocka_unit_test(a_token_sees_its_sequence_and_no_more),
        cmocka_unit_test(a_sequence_read_forwards),
        cmocka_unit_test(a_class_for_a_pair),
        cmocka_unit_test(tokens_from_the_last_vector),
        cmocka_unit_test(first_label_depends_on_later_tokens),
    };
    return cmocka_run_group_tests_name("heads", tests, data_case_begin, data_case_end);
}
