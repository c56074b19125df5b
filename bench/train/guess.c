#include "bench/train/guess.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/memory.h"

/* With 4,096 samples a share is known to 0.8 % (one standard error), and the rule that follows from
 * it loses less than that. */
enum { TRAINING = 4096, ROWS = 64 };

/* How often each answer came, in all and after each first token. */
typedef struct Answers {
    int64_t classes;
    int64_t *all;   /* (classes) */
    int64_t *first; /* (vocabulary, classes) */
} Answers;

static int64_t commonest(const int64_t *counts, int64_t classes) {
    int64_t best = 0;
    for (int64_t c = 1; c < classes; c++)
        if (counts[c] > counts[best]) best = c;
    return best;
}

/* The sample's row in `first`. */
static int64_t *after_first(const Answers *answers, const Batch *batch, int64_t places, int64_t i) {
    return answers->first + batch->tokens[i * places] * answers->classes;
}

static void learn(Answers *answers, const Batch *batch, int64_t places) {
    for (int64_t i = 0; i < batch->samples; i++) {
        answers->all[batch->classes[i]]++;
        after_first(answers, batch, places, i)[batch->classes[i]]++;
    }
}

static void try_rules(const Answers *answers, const Batch *batch, int64_t places,
                      Guesses *guesses) {
    const int64_t common = commonest(answers->all, answers->classes);
    for (int64_t i = 0; i < batch->samples; i++) {
        const int64_t *after = after_first(answers, batch, places, i);
        guesses->samples += 1;
        guesses->most_frequent += batch->classes[i] == common;
        guesses->first_token += batch->classes[i] == commonest(after, answers->classes);
    }
}

Guesses guesses_measure(const Session *session, Split split, int64_t samples) {
    const Problem train = session->problem, test = session->evaluation_problem;
    assert(train.input == INPUT_TOKENS && train.labels == 1 && test.labels == 1);
    int64_t known = session->train_samples;
    if (known == 0 || known > TRAINING) known = TRAINING;
    const size_t classes = (size_t)train.classes, vocabulary = (size_t)train.vocabulary;
    Answers answers = {.classes = train.classes,
                       .all = memory_take_zeroed(classes, sizeof *answers.all),
                       .first = memory_take_zeroed(vocabulary * classes, sizeof *answers.first)};
    const struct {
        const Problem *problem;
        Split split;
        int64_t samples;
    } passes[] = {{&train, SPLIT_TRAIN, known}, {&test, split, samples}};
    Guesses guesses = {0};
    for (int p = 0; p < 2; p++) {
        const Problem *problem = passes[p].problem;
        Batch batch = batch_open(problem, ROWS);
        for (int64_t first = 0; first < passes[p].samples; first += ROWS) {
            const int64_t left = passes[p].samples - first;
            batch_fill(&batch, session->cell, problem, session->data, passes[p].split, first, NULL,
                       left < ROWS ? left : ROWS, session->threads);
            if (p == 0)
                learn(&answers, &batch, problem->sequences * problem->length);
            else
                try_rules(&answers, &batch, problem->sequences * problem->length, &guesses);
        }
        batch_close(&batch);
    }
    free(answers.all);
    free(answers.first);
    guesses.most_frequent /= guesses.samples;
    guesses.first_token /= guesses.samples;
    return guesses;
}
