/* The layer around a linear state space that S4 introduced (Gu, Goel and Re 2021, arXiv 2111.00396,
 * section 3.4) and its successors kept: how step sizes and state parameters start and are trained,
 * the skip, and the output  gelu, dropout, then a gated or plain position-wise layer. */
#ifndef LONGHAUL_MODELS_STATE_SPACE_H
#define LONGHAUL_MODELS_STATE_SPACE_H

#include "models/backbone.h"

/* Options that these models share: a member of their option structs. */
typedef struct StateSpace {
    double dt_min, dt_max; /* initial step sizes */
    double state_lr;       /* fixed learning rate of the state's parameters; 0: constant */
    bool fast_dt;          /* step sizes at the rate of other weights instead */
    bool glu;              /* gated output layer */
} StateSpace;

/* Their rows in the option table of the struct Own, whose member of type StateSpace is named: those
 * of the state alone, and all of them. */
#define STATE_SPACE_RATES(Own, member)                                                             \
    {"dt_min", OPTION_REAL, offsetof(Own, member.dt_min), "0.001", 1e-8,                           \
     1e3,      NULL,        "smallest initial step size"},                                         \
        {"dt_max", OPTION_REAL, offsetof(Own, member.dt_max), "0.1", 1e-8,                         \
         1e3,      NULL,        "largest initial step size"},                                      \
    {                                                                                              \
        "state_lr", OPTION_REAL, offsetof(Own, member.state_lr), "0.001", 0, 1, NULL,              \
            "learning rate of the state's parameters (step size, A); 0: constant"                  \
    }
#define STATE_SPACE_OPTIONS(Own, member)                                                           \
    STATE_SPACE_RATES(Own, member),                                                                \
        {"fast_dt",                                                                                \
         OPTION_SWITCH,                                                                            \
         offsetof(Own, member.fast_dt),                                                            \
         "no",                                                                                     \
         0,                                                                                        \
         -1,                                                                                       \
         NULL,                                                                                     \
         "step sizes are trained at the rate of other weights, without decay"},                    \
    {                                                                                              \
        "glu", OPTION_SWITCH, offsetof(Own, member.glu), "yes", 0, -1, NULL,                       \
            "gated output layer; no: a plain one"                                                  \
    }

/* STATUS_USAGE when dt_min is above dt_max, or when the number of real states is odd although
 * complex modes stand for two each. */
Status state_space_check(const StateSpace *own, Error *error);
Status state_space_check_even(int64_t states, Error *error);

/* The optimiser group of the state's parameters: the rate state_lr, no weight decay. */
Group state_space_group(const StateSpace *own);

/* Logarithms of step sizes, log-uniform between the options'; of rows (.., n) one for all n. */
Init state_space_steps(const StateSpace *own);

/* SCOPE.log_dt (D) in that group, or at the rate of other weights. */
Tensor *state_space_log_dt(Tape *tape, const StateSpace *own, int64_t D);
/* The same (D, 2): two step sizes of a channel that start equal. */
Tensor *state_space_log_dt_pairs(Tape *tape, const StateSpace *own, int64_t D);

/* SCOPE.skip (D), N(0, 1): y += skip u. */
Tensor *state_space_skip(Tape *tape, int64_t D);

/* u (B, L, D) as a two-sided filter may see it: zero behind the end of a padded sequence. u itself
 * where the filter is causal. */
Tensor *state_space_input(Tape *tape, const ModelContext *context, Tensor *u);

/* x W + b (B, L, out), both uniform in +-1 / sqrt(inputs) as PyTorch's linear layers start. */
Tensor *state_space_dense(Tape *tape, const char *name, Tensor *x, int64_t out);

/* y (B, L, D) -> (B, L, D): z = dropout(gelu(y)), then z W_value + b_value times sigmoid(z W_gate +
 * b_gate), or without glu z W + b. Parameters SCOPE.out. */
Tensor *state_space_output(Tape *tape, const ModelContext *context, const StateSpace *own,
                           Tensor *y);

#endif
