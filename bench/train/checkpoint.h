/* Checkpoints of a cell, in its folder: weights and optimiser moments as safetensors, and a
 * manifest (checkpoint.json) that names both with their SHA-256. A save writes a new pair of files
 * first and then replaces the manifest in one rename, so that a kill at any moment leaves the
 * previous or the new checkpoint whole. */
#ifndef LONGHAUL_CHECKPOINT_H
#define LONGHAUL_CHECKPOINT_H

#include <limits.h>

#include "bench/cell/result.h"
#include "engine/parameter.h"
#include "engine/safetensors.h"

/* Where training stands. Random numbers need no state: they are addressed by step and index. */
typedef struct CheckpointState {
    char identity[17]; /* of the cell: another configuration is refused */
    int64_t step;      /* optimiser steps done */
    double loss_sum;   /* training loss since the last validation, and over how many steps */
    int64_t loss_steps;
    Result so_far; /* counters, curve, best, times until here */
} CheckpointState;

/* STATUS_IO with file and cause; the previous checkpoint then still stands. */
Status checkpoint_save(const char *folder, const Parameters *parameters,
                       const CheckpointState *state, Error *error);

/* Fills values, moments and *state. *found false: there is no checkpoint, nothing was touched.
 * STATUS_DATA names the file that is missing, truncated or changed, or both identities.
 * result_free(&state->so_far) frees what it owns. */
Status checkpoint_load(const char *folder, Parameters *parameters, const char *identity,
                       CheckpointState *state, bool *found, Error *error);

/* For readers of a folder: where the weights of its last checkpoint lie, checksum verified, of
 * which cell and after how many steps. STATUS_DATA when there is none, and as checkpoint_load. */
typedef struct CheckpointWeights {
    char path[PATH_MAX];
    char identity[17];
    int64_t step;
} CheckpointWeights;
Status checkpoint_weights(const char *folder, CheckpointWeights *weights, Error *error);

/* Weights alone, under our parameter names. notes may be NULL with note_count 0. */
Status weights_save(const char *path, const Parameters *parameters, const SafetensorNote *notes,
                    int note_count, Error *error);
/* Every parameter must be there with its shape; further tensors are an error too (STATUS_DATA). */
Status weights_load(const char *path, Parameters *parameters, Error *error);

/* The same into a network that differs from the one that was saved in what is not trained.
 * as_trained: that one's parameters, of which only names, shapes and starts are read. Tensors that
 * no parameter asks for are left; a frozen parameter that is new, or whose start is another, keeps
 * its start, and so does one that is longer or shorter where it begins with the numbers of the
 * file. STATUS_DATA where it does not, and where a trained parameter does not fit. */
Status weights_fit(const char *path, Parameters *parameters, const Parameters *as_trained,
                   Error *error);

/* Whether two parameters start by the same rule, whatever their shapes. */
bool starts_alike(const Parameter *a, const Parameter *b);

#endif
