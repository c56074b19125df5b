/* A network: a model between an embedding in front and a head behind, recorded for one problem, one
 * batch size and one mode. Tapes of one cell share their parameters. */
#ifndef LONGHAUL_NETWORK_H
#define LONGHAUL_NETWORK_H

#include "bench/cell/cell.h"
#include "engine/tape.h"

typedef struct Network {
    Tape *tape;
    int64_t batch;
    int64_t front; /* learned tokens before the first of each sequence, which L does not count */
    /* Inputs, filled by network_load: */
    Tensor *tokens;  /* (B S, L) int32, or NULL; S = sequences of a sample */
    Tensor *reals;   /* (B S, L, C), or NULL */
    Tensor *lengths; /* (B S) int32, `front` included, or NULL when all samples have full length */
    Tensor *positions; /* (B, K) int32 labelled positions, or NULL when the sequence is pooled */
    Tensor *ends;      /* (B, K) int32 last position of each label's sample; or NULL */
    Tensor *classes;   /* (B K) int32, or NULL for real targets */
    Tensor *weights;   /* (B K): share of each label in the loss; sums to at most 1 over a step */
    Tensor *values;    /* (B K): real targets */
    Tensor *halves[2]; /* (B, 1) int32, all 0 and all 1: the sequences of a pair; or NULL */
    /* Results of a replay: */
    Tensor *loss;       /* (1): sum of weights x row loss */
    Tensor *row_loss;   /* (B K) nats, or squared error */
    Tensor *prediction; /* (B K) int32 most probable class, or NULL */
} Network;

/* Records without planning. Settings must have passed cell_validate. In TAPE_STEP mode the network
 * takes one token a sequence, tokens (B, 1), and predicts from it: classes and weights are (B). */
void network_record(Network *network, const Cell *cell, const Problem *problem,
                    Parameters *parameters, TapeMode mode, int64_t batch);
void network_close(Network *network);

/* A batch of samples in host memory, as tasks write them. */
typedef struct Batch {
    int64_t samples; /* in use; the rest of the capacity has weight 0 */
    int64_t capacity;
    int32_t *tokens, *lengths, *positions, *classes;
    float *reals, *weights, *values;
    double labels; /* sum of weights */
} Batch;

Batch batch_open(const Problem *problem, int64_t capacity);
void batch_close(Batch *batch);
int64_t batch_bytes(const Problem *problem, int64_t capacity);

/* Samples first .. first + samples - 1 (each index taken from `indices` when not NULL). */
void batch_fill(Batch *batch, const Cell *cell, const Problem *problem, const void *data,
                Split split, int64_t first, const int64_t *indices, int64_t samples, int threads);

/* The same in two steps, for processes that share a batch: rows from .. to - 1 of the batch are
 * filled; when all its rows have their weights, these are added up. */
void batch_fill_rows(Batch *batch, const Cell *cell, const Problem *problem, const void *data,
                     Split split, int64_t first, const int64_t *indices, int64_t from, int64_t to,
                     int threads);
void batch_count_labels(Batch *batch, const Problem *problem, int64_t samples);

/* Copies samples from .. from + network batch - 1 of the batch into the network's inputs and
 * divides their weights by `labels` (the labels of the whole optimiser step, so that micro-batches
 * add up to the mean over the step). Samples past the end get weight 0. */
void network_load(Network *network, const Problem *problem, const Batch *batch, int64_t from,
                  double labels);

/* Sample `at` of a batch of `problem` becomes sample `row` of another batch of the same samples at
 * a smaller or equal L, which holds all of it. */
void batch_copy(Batch *to, const Problem *shorter, int64_t row, const Batch *from,
                const Problem *problem, int64_t at);

/* FNV-1a over every byte of a batch that reaches a network: equal for every model. */
uint64_t batch_hash(const Batch *batch, const Problem *problem);

#endif
