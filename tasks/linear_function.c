/* Linear functions in context: vectors x and the values f(x) of an unknown linear function, in
 * turn: x1, f(x1), x2, f(x2) ... and a last x, whose value the model gives. Every sample has a
 * function of its own, so it must be found from the examples: as many as dimensions determine it.
 *
 * Source: Poli et al. 2023 (Hyena), arXiv 2302.10866, table 4.1 and appendix A.1, which show only
 * the prompt; the generator was never released. Our own completion: f(x) = w . x with w and x
 * standard normal, squared error of the last value. A position holds x in the first channels or a
 * value in the last one, with zeros in the others. loss=all also trains on the value at every
 * earlier x. Always 0 costs E (w . x)^2 = dimension; solved leaves a twentieth of that. */
#include "tasks/labels.h"
#include "tasks/task.h"

typedef enum Loss { LOSS_ANSWER, LOSS_ALL } Loss;

enum { MOST_DIMENSIONS = 1024 };

typedef struct LinearFunction {
    int64_t dimension, examples;
    int loss;
} LinearFunction;

static const Option options[] = {
    {"dimension", OPTION_INTEGER, offsetof(LinearFunction, dimension), "5", 1, MOST_DIMENSIONS,
     NULL, "of the vectors"},
    {"examples", OPTION_INTEGER, offsetof(LinearFunction, examples), "15", 1, 1 << 22, NULL,
     "vectors shown with their value; a sample has twice as many positions and one"},
    {"loss", OPTION_CHOICE, offsetof(LinearFunction, loss), "answer", 0, -1, "answer|all",
     "vectors whose value counts in training"},
};

static int64_t label_count(const LinearFunction *function) {
    return function->loss == LOSS_ALL ? function->examples + 1 : 1;
}

static Status linear_function_problem(const void *values, Problem *problem, Error *error) {
    const LinearFunction *function = values;
    if (function->examples < function->dimension)
        return error_set(error, STATUS_USAGE,
                         "task linear_function: examples=%lld do not determine a function of "
                         "dimension=%lld; use examples=%lld or more",
                         (long long)function->examples, (long long)function->dimension,
                         (long long)function->dimension);
    *problem = (Problem){
        .input = INPUT_REALS,
        .channels = function->dimension + 1,
        .length = 2 * function->examples + 1,
        .sequences = 1,
        .target = TARGET_REALS,
        .labels = label_count(function),
        .causal = true,
        .chance = (double)function->dimension,
        .solved = 0.05 * (double)function->dimension,
        .higher_is_better = false,
        .metric = "squared error",
        .measure = MEASURE_SQUARED_ERROR,
    };
    return STATUS_OK;
}

extern const Task task_linear_function;

static void linear_function_sample(const void *values, const void *data, uint64_t seed, Split split,
                                   int64_t index, Sample *sample) {
    (void)data;
    const LinearFunction *function = values;
    const int64_t D = function->dimension, length = 2 * function->examples + 1;
    const bool all = function->loss == LOSS_ALL && split == SPLIT_TRAIN;
    Random random = task_random(&task_linear_function, seed, split, index);
    double weights[MOST_DIMENSIONS];
    for (int64_t i = 0; i < D; i++) weights[i] = random_normal(&random);
    int64_t labels = 0;
    for (int64_t t = 0; t < length; t += 2) {
        const bool last = t == length - 1;
        float *x = sample->reals + (D + 1) * t;
        double value = 0;
        for (int64_t i = 0; i < D; i++) {
            x[i] = (float)random_normal(&random);
            value += weights[i] * (double)x[i];
        }
        x[D] = 0;
        float *shown = x + D + 1;
        for (int64_t i = 0; i <= D && !last; i++) shown[i] = i < D ? 0 : (float)value;
        if (!last && !all) continue;
        sample->value[labels] = (float)value;
        label_set(sample, labels++, t, 0);
    }
    label_unused(sample, labels, label_count(function));
    for (; labels < label_count(function); labels++) sample->value[labels] = 0;
    sample->lengths[0] = (int32_t)length;
}

const Task task_linear_function = {
    .name = "linear_function",
    .title = "Linear functions in context",
    .paper = "Poli et al. 2023 (Hyena), arXiv 2302.10866",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(LinearFunction)},
    .problem = linear_function_problem,
    .count = count_endless,
    .sample = linear_function_sample,
};
