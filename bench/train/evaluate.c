#include "bench/train/evaluate.h"

#include <math.h>
#include <stdlib.h>

#include "bench/train/guess.h"
#include "bench/train/window.h"
#include "engine/memory.h"

/* How often a class came in training; -1: the task does not know. */
static int64_t frequency_of(const Session *session, int32_t class_id) {
    const Cell *cell = session->cell;
    return cell->task->frequency
               ? cell->task->frequency(cell->task_options, session->data, class_id)
               : -1;
}

/* What the scored labels of samples first .. first+count-1 are of the original text. */
static void add_extents(const Session *session, Split split, int64_t first, int64_t count,
                        Breakdown *breakdown) {
    const Cell *cell = session->cell;
    for (int64_t i = first; i < first + count && cell->task->extent; i++) {
        const Extent extent = cell->task->extent(cell->task_options, session->data, split, i);
        breakdown_add_extent(breakdown, &extent);
    }
}

/* Which parts of a test the problem has. */
typedef struct Apart {
    bool losses, lengths, label_counts, last;
} Apart;

static Apart parts_of(const Problem *problem) {
    const bool accuracy = problem->measure == MEASURE_ACCURACY;
    const bool varied = problem->padded && problem->evaluation_length > 0;
    return (Apart){.losses = problem->measure == MEASURE_PERPLEXITY,
                   .lengths = accuracy && (problem->by_labels || varied),
                   .label_counts = accuracy && problem->by_labels,
                   .last = problem->last_apart};
}

typedef struct Score {
    double loss, labels, right;    /* summed over labels */
    double sample_metric, samples; /* summed over samples */
} Score;

/* One sample: the sums of its labels' weights and of those named right, and its last loss. */
static void add_sample(Score *sum, const Problem *problem, int32_t length, double labels,
                       double right, double last_loss, const Apart *apart, Breakdown *breakdown) {
    const Averaging averaging = problem->averaging;
    const double accuracy = averaging == AVERAGE_WHOLE ? right == labels : right / labels;
    const double weight = averaging == AVERAGE_LABELS ? labels : 1;
    if (apart->lengths) sample_group_add(breakdown->lengths, length, accuracy, weight);
    if (apart->label_counts)
        sample_group_add(breakdown->label_counts, (int64_t)labels, accuracy, weight);
    if (apart->last) {
        breakdown->last.samples += 1;
        breakdown->last.loss += last_loss;
    }
    sum->labels += labels;
    sum->right += right;
    sum->sample_metric += accuracy;
    sum->samples += 1;
}

/* Adds the scores of a window's samples. */
static void score(Score *sum, const Session *session, const Replayed *replayed, int64_t count,
                  Breakdown *breakdown) {
    const Problem *problem = &session->evaluation_problem;
    const Apart apart = breakdown ? parts_of(problem) : (Apart){0};
    const int64_t labels = problem->labels;
    const bool predicts = session->evaluate.prediction != NULL;
    for (int64_t i = 0; i < count; i++) {
        double right = 0, weights = 0, last = 0;
        for (int64_t row = i * labels; row < (i + 1) * labels; row++) {
            const double weight = (double)replayed->weights[row];
            const double loss = (double)replayed->losses[row];
            if (weight == 0) continue;
            weights += weight;
            sum->loss += weight * loss;
            last = loss;
            if (apart.losses)
                breakdown_add(breakdown, replayed->positions[row],
                              frequency_of(session, replayed->classes[row]), loss);
            if (predicts && replayed->predictions[row] == replayed->classes[row]) right += weight;
        }
        if (weights > 0)
            add_sample(sum, problem, replayed->lengths[i * problem->sequences], weights, right,
                       last, &apart, breakdown);
    }
}

static bool near_chance(const Problem *problem, double metric, double guesses) {
    if (problem->measure != MEASURE_ACCURACY) return false;
    const double deviation = sqrt(problem->chance * (1 - problem->chance) / guesses);
    return metric < problem->chance + 3 * deviation;
}

static double accuracy_of(const Score *sum, Averaging averaging) {
    return averaging == AVERAGE_LABELS ? sum->right / sum->labels
                                       : sum->sample_metric / sum->samples;
}

static Evaluation conclude(const Score *sum, const Problem *problem) {
    Evaluation evaluation = {.loss = sum->loss / sum->labels,
                             .scored =
                                 problem->averaging == AVERAGE_WHOLE ? sum->samples : sum->labels};
    switch (problem->measure) {
    case MEASURE_ACCURACY:
        evaluation.metric = accuracy_of(sum, problem->averaging);
        break;
    case MEASURE_PERPLEXITY:
        evaluation.metric = exp(evaluation.loss);
        break;
    case MEASURE_SQUARED_ERROR:
        evaluation.metric = evaluation.loss;
        break;
    }
    evaluation.at_chance = near_chance(problem, evaluation.metric, evaluation.scored);
    return evaluation;
}

static int64_t at_most(int64_t count, int64_t limit) {
    return count < limit ? count : limit;
}

Evaluation session_evaluate(Session *session, Split split, int64_t samples, Breakdown *breakdown) {
    const Problem *problem = &session->evaluation_problem;
    const Team *team = session->team;
    if (breakdown) *breakdown = (Breakdown){0};
    samples = session_samples(session, split, samples);
    const int64_t rows = window_samples(session);
    const size_t bytes = window_result_bytes(session);
    char *blocks = memory_take_zeroed((size_t)team->count, bytes);
    Window *window = window_open(session);
    Score sum = {0};
    for (int64_t round = 0; round < samples; round += team->count * rows) {
        const int64_t own = round + team->rank * rows;
        if (own < samples) {
            const Replayed results = window_results(session, blocks + (size_t)team->rank * bytes);
            window_replay(window, split, own, at_most(rows, samples - own), &results);
        }
        team_gather(team, blocks, bytes);
        for (int r = 0; r < team->count && round + r * rows < samples; r++) {
            const int64_t first = round + r * rows, count = at_most(rows, samples - first);
            const Replayed replayed = window_results(session, blocks + (size_t)r * bytes);
            score(&sum, session, &replayed, count, breakdown);
            if (breakdown) add_extents(session, split, first, count, breakdown);
        }
    }
    window_close(window);
    free(blocks);
    if (breakdown && problem->guessable)
        breakdown->guesses = guesses_measure(session, split, samples);
    return conclude(&sum, problem);
}
