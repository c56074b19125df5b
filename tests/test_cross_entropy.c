/* What the generic check of operations does not see in the vocabulary head: predictions and their
 * ties, the gradient through row_loss, unused rows, and evaluation against training. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/ops/cross_entropy/cross_entropy.h"
#include "engine/random.h"

enum { R = 37, D = 5, V = 1100 }; /* three blocks of classes */

typedef struct Head {
    Parameters *parameters;
    Tape *tape;
    Device device;
    Tensor *x, *table, *classes, *weights;
    CrossEntropy out;
} Head;

static void fill(Tensor *tensor, uint64_t item) {
    Random random = random_open(3, 1, item);
    for (int64_t i = 0; i < tensor_size(tensor); i++)
        tensor->data[i] = (float)random_normal(&random);
}

/* The tape keeps a pointer to the device, so a Head stays where it is. */
static void head_open(Head *head, TapeMode mode) {
    *head = (Head){.parameters = parameters_open()};
    Error error = {0};
    head->tape = tape_open(head->parameters, mode);
    head->x = tape_input(head->tape, "x", TENSOR_FLOAT, SHAPE(R, D), true);
    head->table = tape_input(head->tape, "table", TENSOR_FLOAT, SHAPE(V, D), true);
    head->classes = tape_input(head->tape, "classes", TENSOR_INTEGER, SHAPE(R), false);
    head->weights = tape_input(head->tape, "weights", TENSOR_FLOAT, SHAPE(R), false);
    head->out = cross_entropy(head->tape, head->x, head->table, NULL, head->classes, head->weights);
    tape_keep(head->tape, head->out.loss);
    tape_keep(head->tape, head->out.row_loss);
    tape_keep(head->tape, head->out.prediction);
    if (mode == TAPE_TRAIN) {
        tape_seed(head->tape, head->out.loss);
        tape_seed(head->tape, head->out.row_loss);
    }
    assert_int_equal(device_open(&head->device, "cpu", &error), STATUS_OK);
    assert_int_equal(tape_plan(head->tape, 2, &error), STATUS_OK);
    assert_int_equal(tape_allocate(head->tape, &head->device, &error), STATUS_OK);
    fill(head->x, 1);
    fill(head->table, 2);
    for (int i = 0; i < R; i++) {
        head->classes->integers[i] = i * 29;
        head->weights->data[i] = 0.25f + (float)i;
    }
}

static void head_close(Head *head) {
    tape_close(head->tape);
    parameters_close(head->parameters);
    device_close(&head->device);
}

static void run_forward(Head *head) {
    tape_forward(head->tape, &(Run){.threads = 2, .training = true});
}

/* Backward from the gradients of loss and of each row's loss (NULL: zero). Returns the gradients of
 * x and table; the caller frees them. */
static float *run_backward(Head *head, float loss, const float *rows) {
    head->out.loss->gradient[0] = loss;
    for (int i = 0; i < R; i++) head->out.row_loss->gradient[i] = rows ? rows[i] : 0.0f;
    tape_backward(head->tape, &(Run){.threads = 2, .training = true});
    float *both = malloc((R + V) * D * sizeof *both);
    assert_non_null(both);
    memcpy(both, head->x->gradient, R * D * sizeof *both);
    memcpy(both + R * D, head->table->gradient, V * D * sizeof *both);
    return both;
}

/* Some classes win over all others by turns, inside a block and across blocks; of equal ones the
 * lowest is predicted. */
static void test_prediction(void **state) {
    (void)state;
    Head head;
    head_open(&head, TAPE_EVALUATE);
    static const int32_t winners[][3] = {
        {0, 0, 0}, {1099, 1099, 1099}, {367, 368, 1000}, {5, 6, 7}};
    for (int w = 0; w < 4; w++) {
        memset(head.table->data, 0, V * D * sizeof(float));
        for (int i = 0; i < R; i++) head.x->data[i * D] = 1.0f + (float)i;
        for (int k = 0; k < 3; k++) head.table->data[winners[w][k] * D] = 2.0f;
        run_forward(&head);
        for (int i = 0; i < R; i++)
            assert_int_equal(head.out.prediction->integers[i], winners[w][0]);
    }
    memset(head.table->data, 0, V * D * sizeof(float));
    run_forward(&head);
    for (int i = 0; i < R; i++) assert_int_equal(head.out.prediction->integers[i], 0);
    /* Equal logits: the loss is log V exactly but for the rounding of the logarithm. */
    assert_float_equal(head.out.row_loss->data[3], log(V), 1e-6);
    head_close(&head);
}

/* loss = sum of weights row_loss, so both ways to ask for a gradient must give the same bits. */
static void test_row_gradient(void **state) {
    (void)state;
    Head head;
    head_open(&head, TAPE_TRAIN);
    run_forward(&head);
    float *by_loss = run_backward(&head, 1.0f, NULL);
    float *by_rows = run_backward(&head, 0.0f, head.weights->data);
    assert_memory_equal(by_loss, by_rows, (R + V) * D * sizeof(float));
    assert_true(by_loss[0] != 0.0f);
    free(by_loss);
    free(by_rows);
    head_close(&head);
}

/* A row of weight 0 leaves no trace, even when its logits are not numbers. */
static void test_unused_row(void **state) {
    (void)state;
    Head head;
    head_open(&head, TAPE_TRAIN);
    head.weights->data[4] = 0;
    run_forward(&head);
    const float loss = head.out.loss->data[0];
    float *gradients = run_backward(&head, 1.0f, NULL);
    for (int d = 0; d < D; d++) assert_true(gradients[4 * D + d] == 0.0f);
    free(gradients);
    for (int d = 0; d < D; d++) head.x->data[4 * D + d] = NAN;
    run_forward(&head);
    assert_true(isnan(head.out.row_loss->data[4]));
    assert_memory_equal(&head.out.loss->data[0], &loss, sizeof loss);
    head_close(&head);
}

static void test_evaluation(void **state) {
    (void)state;
    Head train, evaluate;
    head_open(&train, TAPE_TRAIN);
    head_open(&evaluate, TAPE_EVALUATE);
    run_forward(&train);
    run_forward(&evaluate);
    assert_memory_equal(train.out.row_loss->data, evaluate.out.row_loss->data, R * sizeof(float));
    assert_memory_equal(train.out.prediction->integers, evaluate.out.prediction->integers,
                        R * sizeof(int32_t));
    head_close(&train);
    head_close(&evaluate);
}

/* Logits far apart and far from zero: what log-sum-exp is for. */
static void test_large_logits(void **state) {
    (void)state;
    Head head;
    head_open(&head, TAPE_TRAIN);
    memset(head.table->data, 0, V * D * sizeof(float));
    for (int v = 0; v < V; v++) head.table->data[v * D] = v == 700 ? 1.0f : -1.0f;
    for (int i = 0; i < R; i++) {
        head.x->data[i * D] = 5000.0f;
        head.classes->integers[i] = i % 2 ? 700 : 3;
    }
    run_forward(&head);
    assert_float_equal(head.out.row_loss->data[0], 10000.0, 0);
    assert_float_equal(head.out.row_loss->data[1], 0.0, 0);
    head_close(&head);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prediction),   cmocka_unit_test(test_row_gradient),
        cmocka_unit_test(test_unused_row),   cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_large_logits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
