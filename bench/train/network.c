/* Embedding in front, head behind: the only place where models and tasks meet. */
#include "bench/train/network.h"

#include <math.h>

#include "engine/ops/cross_entropy/cross_entropy.h"
#include "engine/ops/embedding/embedding.h"
#include "engine/ops/gather_rows/gather_rows.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/pool/pool.h"
#include "engine/ops/positions/positions.h"
#include "engine/ops/prepend/prepend.h"
#include "engine/ops/squared_error/squared_error.h"
#include "models/backbone.h"

/* Fan-in scaled uniform, the usual start of a dense layer. */
static Init dense(int64_t inputs) {
    return init_uniform(1.0 / sqrt((double)inputs));
}

/* The embedding table, which a tied head shares. */
static Tensor *table_of(Network *network, const Cell *cell, int64_t vocabulary) {
    const int64_t width = cell->backbone.width;
    const double given = cell->run.embedding_deviation,
                 deviation = given > 0 ? given : 1 / sqrt((double)width);
    return tape_parameter(network->tape, "embedding.table", SHAPE(vocabulary, width),
                          init_normal(deviation), GROUP_DECAY);
}

/* Learned tokens in front of every sequence. */
static int64_t front_of(const Cell *cell, const Problem *problem) {
    return cell->run.pool == POOL_FIRST && problem_is_pooled(problem) ? 1 : 0;
}

/* The longest L that the weights have to do with. */
static int64_t longest_of(const Cell *cell, const Problem *problem) {
    const int64_t own = problem_longest(problem);
    return (own > cell->trained_length ? own : cell->trained_length) + front_of(cell, problem);
}

static bool one_token(const Network *network) {
    return tape_mode(network->tape) == TAPE_STEP;
}

static Tensor *embed(Network *network, const Cell *cell, const Problem *problem) {
    Tape *tape = network->tape;
    const int64_t rows = network->batch * problem->sequences, width = cell->backbone.width;
    const int64_t length = one_token(network) ? 1 : problem->length;
    Tensor *x;
    if (problem->input == INPUT_TOKENS) {
        network->tokens = tape_input(tape, "tokens", TENSOR_INTEGER, SHAPE(rows, length), false);
        Tensor *table = table_of(network, cell, problem->vocabulary);
        x = embedding(tape, network->tokens, table, 1.0);
    } else {
        network->reals =
            tape_input(tape, "reals", TENSOR_FLOAT, SHAPE(rows, length, problem->channels), false);
        Tensor *weight = tape_parameter(tape, "embedding.weight", SHAPE(problem->channels, width),
                                        dense(problem->channels), GROUP_DECAY);
        Tensor *bias =
            tape_parameter(tape, "embedding.bias", SHAPE(width), init_constant(0), GROUP_NO_DECAY);
        x = linear(tape, network->reals, weight, bias, NULL, ACTIVATION_NONE);
    }
    if (network->front == 0) return x;
    /* Zero at the start, as released with the Long Range Arena (Tay et al. 2021). */
    return prepend(tape, x,
                   tape_parameter(tape, "embedding.token", SHAPE(network->front, width),
                                  init_constant(0), GROUP_DECAY));
}

static void classify(Network *network, const Cell *cell, const Problem *problem, Tensor *rows) {
    Tape *tape = network->tape;
    const int64_t width = cell->backbone.width;
    const bool tied =
        cell->run.tied && problem->input == INPUT_TOKENS && problem->classes == problem->vocabulary;
    Tensor *table = tied ? table_of(network, cell, problem->vocabulary)
                         : tape_parameter(tape, "head.table", SHAPE(problem->classes, width),
                                          dense(width), GROUP_DECAY);
    const int64_t labels = network->batch * (one_token(network) ? 1 : problem->labels);
    network->classes = tape_input(tape, "classes", TENSOR_INTEGER, SHAPE(labels), false);
    network->weights = tape_input(tape, "weights", TENSOR_FLOAT, SHAPE(labels), false);
    const CrossEntropy head =
        cross_entropy(tape, rows, table, NULL, network->classes, network->weights);
    network->loss = head.loss;
    network->row_loss = head.row_loss;
    network->prediction = head.prediction;
}

/* rows: (B K, D). */
static void regress(Network *network, const Cell *cell, const Problem *problem, Tensor *rows) {
    Tape *tape = network->tape;
    const int64_t width = cell->backbone.width;
    const Shape labels = SHAPE(network->batch * problem->labels);
    Tensor *weight =
        tape_parameter(tape, "head.weight", SHAPE(width, 1), dense(width), GROUP_DECAY);
    Tensor *bias = tape_parameter(tape, "head.bias", SHAPE(1), init_constant(0), GROUP_NO_DECAY);
    network->values = tape_input(tape, "values", TENSOR_FLOAT, labels, false);
    network->weights = tape_input(tape, "weights", TENSOR_FLOAT, labels, false);
    Tensor *output = linear(tape, rows, weight, bias, NULL, ACTIVATION_NONE);
    const SquaredError head =
        squared_error(tape, tape_reshape(tape, output, labels), network->values, network->weights);
    network->loss = head.loss;
    network->row_loss = head.row_loss;
}

/* Two pooled sequences a, b of each sample, (2 B, D), to one vector (B, D): a hidden layer over
 * [a, b, a b] (Tay et al. 2021, arXiv 2011.04006, whose further entry a - b adds nothing to a
 * linear layer that has a and b). */
static Tensor *compare(Network *network, const Cell *cell, Tensor *pooled) {
    Tape *tape = network->tape;
    const int64_t batch = network->batch, width = cell->backbone.width;
    Tensor *pairs = tape_reshape(tape, pooled, SHAPE(batch, 2, width)), *half[2];
    static const char *const names[] = {"pair.first", "pair.second"};
    for (int i = 0; i < 2; i++) {
        network->halves[i] = tape_input(tape, names[i], TENSOR_INTEGER, SHAPE(batch, 1), false);
        half[i] = gather_rows(tape, pairs, network->halves[i]);
    }
    Tensor *both = tape_parameter(tape, "head.pair.weight", SHAPE(2 * width, width),
                                  dense(3 * width), GROUP_DECAY);
    Tensor *product = tape_parameter(tape, "head.product.weight", SHAPE(width, width),
                                     dense(3 * width), GROUP_DECAY);
    Tensor *bias =
        tape_parameter(tape, "head.pair.bias", SHAPE(width), init_constant(0), GROUP_NO_DECAY);
    Tensor *sum = linear(tape, tape_reshape(tape, pooled, SHAPE(batch, 2 * width)), both, bias,
                         NULL, ACTIVATION_NONE);
    sum = linear(tape, multiply(tape, half[0], half[1]), product, NULL, sum, ACTIVATION_NONE);
    return activate(tape, sum, ACTIVATION_GELU);
}

/* The rows of labels of which only the sample's last vector z may tell: two layers over z + code of
 * the label's position, each after a norm, and a norm (Poli et al. 2024, arXiv 2403.17844, the
 * decoder of the authors' auto-encoder). There z has not passed a norm before; here the model's
 * last one. (B K, D). */
static Tensor *decode(Network *network, const Cell *cell, const Problem *problem, Tensor *x) {
    Tape *tape = network->tape;
    const int64_t width = cell->backbone.width, labels = network->batch * problem->labels;
    network->ends =
        tape_input(tape, "ends", TENSOR_INTEGER, SHAPE(network->batch, problem->labels), false);
    Tensor *codes = sinusoids(tape, "head.positions", SHAPE(longest_of(cell, problem), width));
    Tensor *code = embedding(tape, network->positions, codes, 1.0);
    Tensor *y = add(tape, gather_rows(tape, x, network->ends),
                    tape_reshape(tape, code, SHAPE(labels, width)));
    tape_scope(tape, "head");
    static const char *const norms[] = {"norm1", "norm2"}, *const layers[] = {"layer1", "layer2"};
    for (int i = 0; i < 2; i++) {
        y = backbone_norm(tape, &cell->backbone, norms[i], y);
        y = activate(tape, backbone_linear(tape, layers[i], y, width, true, dense(width), NULL),
                     ACTIVATION_GELU);
    }
    y = backbone_norm(tape, &cell->backbone, "norm", y);
    tape_scope_end(tape);
    return y;
}

void network_record(Network *network, const Cell *cell, const Problem *problem,
                    Parameters *parameters, TapeMode mode, int64_t batch) {
    *network = (Network){
        .tape = tape_open(parameters, mode), .batch = batch, .front = front_of(cell, problem)};
    Tape *tape = network->tape;
    if (problem->padded)
        network->lengths =
            tape_input(tape, "lengths", TENSOR_INTEGER, SHAPE(batch * problem->sequences), false);
    tape_set_horizon(tape, longest_of(cell, problem));
    const ModelContext context = {.backbone = &cell->backbone,
                                  .options = cell->model_options,
                                  .max_length = longest_of(cell, problem),
                                  .causal = cell_reads_forwards(cell, problem),
                                  .lengths = network->lengths};
    Tensor *x = embed(network, cell, problem);
    x = model_record(tape, cell->model, &context, x);
    if (one_token(network)) {
        classify(network, cell, problem, tape_reshape(tape, x, SHAPE(batch, cell->backbone.width)));
    } else if (!problem_is_pooled(problem)) {
        network->positions =
            tape_input(tape, "positions", TENSOR_INTEGER, SHAPE(batch, problem->labels), false);
        Tensor *rows = problem->bottleneck ? decode(network, cell, problem, x)
                                           : gather_rows(tape, x, network->positions);
        if (problem->target == TARGET_TOKENS)
            classify(network, cell, problem, rows);
        else
            regress(network, cell, problem, rows);
    } else {
        Tensor *pooled = pool(tape, x, network->lengths, (Pooling)cell->run.pool);
        if (problem->sequences == 2) pooled = compare(network, cell, pooled);
        if (problem->target == TARGET_SEQUENCE)
            classify(network, cell, problem, pooled);
        else
            regress(network, cell, problem, pooled);
    }
    tape_keep(tape, network->loss);
    tape_keep(tape, network->row_loss);
    if (network->prediction) tape_keep(tape, network->prediction);
    if (mode == TAPE_TRAIN) tape_seed(tape, network->loss);
}

void network_close(Network *network) {
    tape_close(network->tape);
    *network = (Network){0};
}
