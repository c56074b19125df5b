/* One row of an operation's case table, recorded alone on a tape and filled with its inputs: the
 * common ground of checking and timing operations. */
#ifndef LONGHAUL_TRIAL_H
#define LONGHAUL_TRIAL_H

#include "engine/tape.h"

typedef struct Trial {
    const Op *op;
    const OpCase *row;
    Device device;
    Parameters *parameters;
    Tape *tape;
    Tensor *in[MAX_INPUTS];
    int inputs;
    OpCall *call;
} Trial;

/* Which kernels: a device by name, for the CPU an instruction set, and of which products. */
typedef struct TrialDevice {
    const char *device;
    Isa isa;
    Products products;
} TrialDevice;

/* Records, plans for `threads` and allocates; backward too unless the case is gradient-free. */
Status trial_open(Trial *trial, const Op *op, const OpCase *row, TrialDevice where, int threads,
                  Error *error);
void trial_close(Trial *trial);

/* Does backward begin at out[j]? */
bool trial_seeds(const Trial *trial, int j);

/* Writes all inputs anew (operations in place change theirs): the same numbers every time. */
void trial_fill(Trial *trial);

/* Shapes and fillings of the row as text: equal for equal inputs, so that a row that changes under
 * its old name is noticed. */
void trial_inputs(const Op *op, const OpCase *row, char *text, size_t bytes);

#endif
