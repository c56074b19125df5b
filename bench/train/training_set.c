#include "bench/train/training_set.h"

#include <stdlib.h>

#include "engine/memory.h"

TrainingSet training_set_open(const Session *session) {
    return (TrainingSet){.session = session,
                         .batch = batch_open(&session->problem, session->cell->run.batch),
                         .epoch = -1};
}

void training_set_close(TrainingSet *set) {
    batch_close(&set->batch);
    free(set->order);
    *set = (TrainingSet){0};
}

/* Order of the set in an epoch: a Fisher-Yates shuffle addressed by the epoch alone. */
static void shuffle(TrainingSet *set, int64_t epoch) {
    const int64_t n = set->session->train_samples;
    const uint64_t seed = (uint64_t)set->session->cell->run.seed;
    if (!set->order) set->order = memory_take((size_t)n * sizeof *set->order);
    Random random = random_open(seed, random_stream("order"), (uint64_t)epoch);
    for (int64_t i = 0; i < n; i++) set->order[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t j = (int64_t)random_below(&random, (uint64_t)i + 1);
        const int64_t swap = set->order[i];
        set->order[i] = set->order[j];
        set->order[j] = swap;
    }
    set->epoch = epoch;
}

/* Indices of samples first .. first + count - 1 in the order of training. The caller frees them. */
static int64_t *indices_of(TrainingSet *set, int64_t first, int64_t count) {
    const int64_t n = set->session->train_samples;
    int64_t *indices = memory_take((size_t)count * sizeof *indices);
    for (int64_t i = 0; i < count; i++) {
        indices[i] = first + i;
        if (n == 0) continue;
        indices[i] = (first + i) % n;
        if (!set->session->cell->run.shuffle) continue;
        if ((first + i) / n != set->epoch) shuffle(set, (first + i) / n);
        indices[i] = set->order[indices[i]];
    }
    return indices;
}

static void fill(TrainingSet *set, Batch *batch, int64_t first, int64_t count) {
    const Session *session = set->session;
    int64_t *indices = indices_of(set, first, count);
    batch_fill(batch, session->cell, &session->problem, session->data, SPLIT_TRAIN, 0, indices,
               count, session->threads);
    free(indices);
}

void training_set_take(TrainingSet *set, int64_t step) {
    const Session *session = set->session;
    const Team *team = session->team;
    const int64_t samples = session->cell->run.batch, own = samples / team->count;
    Batch *batch = &set->batch;
    int64_t *indices = indices_of(set, step * samples, samples);
    batch_fill_rows(batch, session->cell, &session->problem, session->data, SPLIT_TRAIN, 0, indices,
                    team->rank * own, (team->rank + 1) * own, session->threads);
    team_gather(team, batch->weights,
                (size_t)(own * session->problem.labels) * sizeof *batch->weights);
    batch_count_labels(batch, &session->problem, samples);
    free(indices);
}

void training_set_take_all(TrainingSet *set, int64_t step) {
    const int64_t samples = set->session->cell->run.batch;
    fill(set, &set->batch, step * samples, samples);
}

uint64_t training_set_hash(TrainingSet *set) {
    enum { SAMPLES = 32 };
    const Problem *problem = &set->session->problem;
    Batch batch = batch_open(problem, SAMPLES);
    fill(set, &batch, 0, SAMPLES);
    const uint64_t hash = batch_hash(&batch, problem);
    batch_close(&batch);
    return hash;
}
