/* Batches: samples in host memory and their way into a network's inputs. */
#include <stdlib.h>
#include <string.h>

#include "bench/train/network.h"
#include "engine/hash.h"
#include "engine/memory.h"

/* Real numbers of a sample's target. */
static int64_t value_count(const Problem *problem) {
    return problem->target == TARGET_REALS ? problem->labels : 1;
}

Batch batch_open(const Problem *problem, int64_t capacity) {
    const size_t n = (size_t)capacity;
    const size_t sequences = n * (size_t)problem->sequences;
    const size_t places = sequences * (size_t)problem->length;
    const size_t labels = n * (size_t)problem->labels;
    Batch batch = {.capacity = capacity};
    if (problem->input == INPUT_TOKENS) batch.tokens = memory_take_zeroed(places, sizeof(int32_t));
    if (problem->input == INPUT_REALS)
        batch.reals = memory_take_zeroed(places * (size_t)problem->channels, sizeof(float));
    batch.lengths = memory_take_zeroed(sequences, sizeof(int32_t));
    batch.positions = memory_take_zeroed(labels, sizeof(int32_t));
    batch.classes = memory_take_zeroed(labels, sizeof(int32_t));
    batch.weights = memory_take_zeroed(labels, sizeof(float));
    batch.values = memory_take_zeroed(n * (size_t)value_count(problem), sizeof(float));
    return batch;
}

void batch_close(Batch *batch) {
    void *const arrays[] = {batch->tokens,  batch->reals,   batch->lengths, batch->positions,
                            batch->classes, batch->weights, batch->values};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) free(arrays[i]);
    *batch = (Batch){0};
}

int64_t batch_bytes(const Problem *problem, int64_t capacity) {
    const int64_t places = problem->sequences * problem->length;
    const int64_t width = problem->input == INPUT_REALS ? problem->channels : 1;
    return capacity * 4 *
           (places * width + problem->sequences + 3 * problem->labels + value_count(problem));
}

/* Sample i of the batch as the task sees it. */
static Sample sample_at(const Batch *batch, const Problem *problem, int64_t i) {
    const int64_t places = i * problem->sequences * problem->length;
    const int64_t labels = i * problem->labels;
    return (Sample){
        .tokens = batch->tokens ? batch->tokens + places : NULL,
        .reals = batch->reals ? batch->reals + places * problem->channels : NULL,
        .lengths = batch->lengths + i * problem->sequences,
        .positions = batch->positions + labels,
        .classes = batch->classes + labels,
        .weights = batch->weights + labels,
        .value = batch->values + i * value_count(problem),
    };
}

void batch_fill_rows(Batch *batch, const Cell *cell, const Problem *problem, const void *data,
                     Split split, int64_t first, const int64_t *indices, int64_t from, int64_t to,
                     int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = from; i < to; i++) {
        Sample sample = sample_at(batch, problem, i);
        for (int s = 0; s < problem->sequences; s++) sample.lengths[s] = (int32_t)problem->length;
        const int64_t index = indices ? indices[i] : first + i;
        cell->task->sample(cell->task_options, data, (uint64_t)cell->run.seed, split, index,
                           &sample);
    }
}

void batch_count_labels(Batch *batch, const Problem *problem, int64_t samples) {
    batch->samples = samples;
    batch->labels = 0;
    for (int64_t i = 0; i < samples * problem->labels; i++)
        batch->labels += (double)batch->weights[i];
}

void batch_fill(Batch *batch, const Cell *cell, const Problem *problem, const void *data,
                Split split, int64_t first, const int64_t *indices, int64_t samples, int threads) {
    batch_fill_rows(batch, cell, problem, data, split, first, indices, 0, samples, threads);
    batch_count_labels(batch, problem, samples);
}

void batch_copy(Batch *to, const Problem *shorter, int64_t row, const Batch *from,
                const Problem *problem, int64_t at) {
    const Sample target = sample_at(to, shorter, row), source = sample_at(from, problem, at);
    const size_t labels = (size_t)problem->labels, width = (size_t)problem->channels;
    const int64_t length = shorter->length;
    for (int64_t s = 0; s < problem->sequences; s++) {
        const int64_t into = s * length, out_of = s * problem->length;
        if (target.tokens)
            memcpy(target.tokens + into, source.tokens + out_of, (size_t)length * sizeof(int32_t));
        if (target.reals)
            memcpy(target.reals + into * problem->channels,
                   source.reals + out_of * problem->channels,
                   (size_t)length * width * sizeof(float));
    }
    memcpy(target.lengths, source.lengths, (size_t)problem->sequences * sizeof(int32_t));
    memcpy(target.positions, source.positions, labels * sizeof(int32_t));
    memcpy(target.classes, source.classes, labels * sizeof(int32_t));
    memcpy(target.weights, source.weights, labels * sizeof(float));
    memcpy(target.value, source.value, (size_t)value_count(problem) * sizeof(float));
}

/* Copies rows of `width` 4-byte values; rows past the end repeat row 0, whose weight is 0. */
static void load(void *to, const void *from, int64_t width, int64_t first, int64_t rows,
                 int64_t available) {
    const size_t bytes = (size_t)width * 4;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t row = first + i < available ? first + i : 0;
        memcpy((char *)to + (size_t)i * bytes, (const char *)from + (size_t)row * bytes, bytes);
    }
}

void network_load(Network *network, const Problem *problem, const Batch *batch, int64_t from,
                  double labels) {
    const int64_t rows = network->batch, available = batch->samples;
    const int64_t places = problem->sequences * problem->length;
    if (network->tokens)
        load(network->tokens->host_integers, batch->tokens, places, from, rows, available);
    if (network->reals)
        load(network->reals->host, batch->reals, places * problem->channels, from, rows, available);
    if (network->lengths)
        load(network->lengths->host_integers, batch->lengths, problem->sequences, from, rows,
             available);
    for (int64_t i = 0; network->lengths && i < rows * problem->sequences; i++)
        network->lengths->host_integers[i] += (int32_t)network->front;
    if (network->positions)
        load(network->positions->host_integers, batch->positions, problem->labels, from, rows,
             available);
    if (network->classes)
        load(network->classes->host_integers, batch->classes, problem->labels, from, rows,
             available);
    if (network->values)
        load(network->values->host, batch->values, value_count(problem), from, rows, available);
    for (int64_t i = 0; network->ends && i < rows; i++)
        for (int64_t k = 0; k < problem->labels; k++) {
            const int64_t sample = from + i < available ? from + i : 0;
            network->ends->host_integers[i * problem->labels + k] = batch->lengths[sample] - 1;
        }
    for (int half = 0; half < 2 && network->halves[half]; half++)
        for (int64_t i = 0; i < rows; i++) network->halves[half]->host_integers[i] = half;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < problem->labels; k++) {
            const float weight =
                from + i < available ? batch->weights[(from + i) * problem->labels + k] : 0.0f;
            network->weights->host[i * problem->labels + k] = (float)((double)weight / labels);
        }
}

/* Of an array that the problem may not have. */
static uint64_t hash_array(uint64_t hash, const void *data, int64_t bytes) {
    return data ? hash_bytes(hash, data, (size_t)bytes) : hash;
}

uint64_t batch_hash(const Batch *batch, const Problem *problem) {
    const int64_t n = batch->samples;
    const int64_t places = n * problem->sequences * problem->length * 4;
    uint64_t hash = HASH_START;
    hash = hash_array(hash, batch->tokens, places);
    hash = hash_array(hash, batch->reals, places * problem->channels);
    hash = hash_array(hash, batch->lengths, n * problem->sequences * 4);
    hash = hash_array(hash, batch->positions, n * problem->labels * 4);
    hash = hash_array(hash, batch->classes, n * problem->labels * 4);
    hash = hash_array(hash, batch->weights, n * problem->labels * 4);
    return hash_array(hash, batch->values, n * value_count(problem) * 4);
}
