/* The state space of S4 (models/s4.c) as its successors use it: parameters from a HiPPO matrix,
 * kernel and convolution, or the step. */
#ifndef LONGHAUL_MODELS_S4_LAYER_H
#define LONGHAUL_MODELS_S4_LAYER_H

#include "engine/ops/dplr_kernel/dplr_kernel.h"
#include "models/state_space.h"

/* Options that these models share: a member of their option structs. */
typedef struct S4Layer {
    int64_t state, sets;
    int init;    /* HippoMeasure */
    bool slow_c; /* C at the rate of the state's parameters, with decay */
    StateSpace layer;
} S4Layer;

/* Their rows in the option table of the struct Own, whose member of type S4Layer is named. */
#define S4_OPTIONS(Own, member)                                                                    \
    {"state",                                                                                      \
     OPTION_INTEGER,                                                                               \
     offsetof(Own, member.state),                                                                  \
     "64",                                                                                         \
     2,                                                                                            \
     1024,                                                                                         \
     NULL,                                                                                         \
     "real states of a channel (N); of an odd number the mode that does not turn is left out"},    \
        {"sets",                                                                                   \
         OPTION_INTEGER,                                                                           \
         offsetof(Own, member.sets),                                                               \
         "0",                                                                                      \
         0,                                                                                        \
         65536,                                                                                    \
         NULL,                                                                                     \
         "sets of A and B (S), which channels share in turn; 0: one for each channel"},            \
        {"init",                                                                                   \
         OPTION_CHOICE,                                                                            \
         offsetof(Own, member.init),                                                               \
         "legs",                                                                                   \
         0,                                                                                        \
         -1,                                                                                       \
         "legs|legt|fout",                                                                         \
         "HiPPO matrix of the start: scaled Legendre, translated Legendre, Fourier"},              \
        {"slow_c",                                                                                 \
         OPTION_SWITCH,                                                                            \
         offsetof(Own, member.slow_c),                                                             \
         "no",                                                                                     \
         0,                                                                                        \
         -1,                                                                                       \
         NULL,                                                                                     \
         "C is trained at state_lr, too, with weight decay"},                                      \
        STATE_SPACE_OPTIONS(Own, member.layer)

/* SCOPE.log_dt (D), A_real, A_imag (S, M), P (R, S, M, 2), B (S, M, 2), C (D, M, 2) and, where the
 * future may be seen, C_reverse. */
DplrParameters s4_parameters(Tape *tape, const ModelContext *context, const S4Layer *own,
                             int64_t D);

/* u (B, L, D) -> y (B, L, D) of the system, with SCOPE.skip. */
Tensor *s4_system(Tape *tape, const ModelContext *context, DplrParameters p, Tensor *u);

/* For validate and state_floats of a model. */
Status s4_check(const Backbone *backbone, const S4Layer *own, Error *error);
int64_t s4_state_floats(const Backbone *backbone, const S4Layer *own);

#endif
