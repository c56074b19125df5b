/* One process's work on one cell: what cell_plan sizes, cell_train replays and evaluation shares.
 */
#ifndef LONGHAUL_SESSION_H
#define LONGHAUL_SESSION_H

#include "bench/cell/cell.h"
#include "bench/cell/team.h"
#include "bench/train/network.h"

/* A network for the validation and test samples that a shorter L than the longest holds, in the
 * memory of the one for the longest. */
typedef struct Shorter {
    Problem problem;
    Network network;
} Shorter;
enum { SESSION_SHORTER = 16 };

typedef struct Session {
    const Cell *cell;
    Problem problem, evaluation_problem; /* of training; of validation and test samples */
    void *data;                          /* of the task; NULL for generated ones */
    Device device;
    int threads;
    const Team *team;      /* processes that share a step's parts and evaluations */
    int64_t micro_batch;   /* samples of one replay */
    int64_t replays;       /* of one optimiser step: batch / micro_batch */
    int64_t train_samples; /* samples of the training set; 0: fresh ones for ever */
    Parameters *parameters;
    Network train, evaluate;
    Shorter shorter[SESSION_SHORTER]; /* of a half, a quarter ... of the longest */
    int shorter_count;
    double flops_per_step, executed_flops_per_step;
} Session;

/* Records and plans; allocates nothing large. */
Status session_open(Session *session, const Cell *cell, int threads, Error *error);
void session_close(Session *session);

/* Opens the cell's device. STATUS_USAGE where the cell asks for products that it does not have. */
Status session_device_open(Device *device, const Cell *cell, Error *error);

/* Bytes that the activations of one replay should stay within, for the sake of speed. */
size_t session_replay_bytes(const Device *device);

/* How its replays run; training, seed and pass are the caller's to fill in. */
Run session_run(const Session *session);

/* Memory for parameters, moments, both tapes and the batches, as planned. */
int64_t session_bytes(const Session *session);

/* Refuses with needed and available bytes, then allocates and initialises. */
Status session_allocate(Session *session, Error *error);

/* The same for evaluations alone: no gradients, no moments, no training tape. seed: of the initial
 * values. */
Status session_allocate_evaluation(Session *session, uint64_t seed, Error *error);

/* Trained numbers of embedding and head, which comparisons of architectures leave out. */
int64_t session_embedding_parameters(const Session *session);

/* Samples of a split that exist, at most `wanted`. */
int64_t session_samples(const Session *session, Split split, int64_t wanted);

/* What the plan knows before anything runs. */
typedef struct CellPlan {
    int64_t parameters, embedding_parameters, state_floats;
    int64_t micro_batch;
    int64_t steps; /* that the budget buys; -1 when only time can tell */
    double flops_per_step, executed_flops_per_step, total_flops;
    int64_t bytes; /* predicted peak: arenas, parameters, moments, data */
    int64_t available_bytes;
} CellPlan;

/* Records and plans the cell without allocating. STATUS_USAGE when it cannot fit in memory. */
Status cell_plan(const Cell *cell, int threads, CellPlan *plan, Error *error);

#endif
