/* The long filters of Hyena's operator (Poli et al. 2023, arXiv 2302.10866), one for each channel
 * and the same for a whole batch, and the operator around them. Section 4.1 and appendix A.1
 * compare, in the same operator:
 *
 *     network       a_t = sin(w (z_t Wi + bi)), then `layers` times sin(w (a W + b)), w shared (F);
 *                   h_t = a_t Wo, with a window times exp(-|rate| t / (Lmax - 1)) + shift.
 *                   z_t = t / (Lmax - 1), cos(f w_t) .., -sin(f w_t) .., w_t = 2 pi t / Lmax; rates
 *                   from ln(100) / 1.5 to ln(100) / 0.3 over the channels. With the window it is
 *                   Hyena's filter, without what the paper calls CKConv's
 *     state_space   of N real states: H3's ("H3"; ops/vandermonde, models/diagonal.h)
 *     transfer      a rational transfer function of order N ("TransferFunc"; ops/transfer_filter)
 *     modes         the N lowest frequencies of a sequence of Lmax tokens are trained ("FNO")
 *     taps          N of them, trained ("Conv1d")
 *
 * with N = 64 there. How the last three start is not stated: taps and numerators uniform in
 * +-1 / sqrt(N) as PyTorch's convolutions, denominators 1, so that a transfer function starts as N
 * taps; modes uniform in 0 .. 1 as in FNO's program (Li et al. 2021, arXiv 2010.08895) for one
 * input and output of a channel. No filter has weight decay. */
#ifndef LONGHAUL_MODELS_HYENA_FILTER_H
#define LONGHAUL_MODELS_HYENA_FILTER_H

#include "engine/ops/long_convolution/long_convolution.h"
#include "models/model.h"

typedef struct HyenaFilter {
    int filter;                       /* HyenaFilterKind */
    int64_t size;                     /* N, of those that have it */
    int64_t order, embedding, layers; /* of the network, like what follows */
    double frequency, deviation, shift, position_lr;
    bool window;
} HyenaFilter;

typedef enum HyenaFilterKind {
    FILTER_NETWORK,
    FILTER_STATE_SPACE,
    FILTER_TRANSFER,
    FILTER_MODES,
    FILTER_TAPS
} HyenaFilterKind;

/* Their rows in the option table of the struct Own, whose member of type HyenaFilter is named. */
#define HYENA_FILTER_OPTIONS(Own, member)                                                          \
    {"filter",                                                                                     \
     OPTION_CHOICE,                                                                                \
     offsetof(Own, member.filter),                                                                 \
     "network",                                                                                    \
     0,                                                                                            \
     -1,                                                                                           \
     "network|state_space|transfer|modes|taps",                                                    \
     "what makes the long filter: network of the position, H3's states, a rational function, "     \
     "frequencies, or each tap itself"},                                                           \
        {"filter_size",                                                                            \
         OPTION_INTEGER,                                                                           \
         offsetof(Own, member.size),                                                               \
         "64",                                                                                     \
         2,                                                                                        \
         8192,                                                                                     \
         NULL,                                                                                     \
         "real states, order, frequencies or taps of the other kinds of filter (N)"},              \
        {"filter_order",                                                                           \
         OPTION_INTEGER,                                                                           \
         offsetof(Own, member.order),                                                              \
         "64",                                                                                     \
         1,                                                                                        \
         4096,                                                                                     \
         NULL,                                                                                     \
         "hidden width of the filter network (F)"},                                                \
        {"filter_embedding",                                                                       \
         OPTION_INTEGER,                                                                           \
         offsetof(Own, member.embedding),                                                          \
         "3",                                                                                      \
         3,                                                                                        \
         1023,                                                                                     \
         NULL,                                                                                     \
         "features of a position, odd"},                                                           \
        {"filter_layers",                                                                          \
         OPTION_INTEGER,                                                                           \
         offsetof(Own, member.layers),                                                             \
         "2",                                                                                      \
         0,                                                                                        \
         16,                                                                                       \
         NULL,                                                                                     \
         "hidden layers of the filter network after the first"},                                   \
        {"filter_frequency",                                                                       \
         OPTION_REAL,                                                                              \
         offsetof(Own, member.frequency),                                                          \
         "1",                                                                                      \
         0.01,                                                                                     \
         1000,                                                                                     \
         NULL,                                                                                     \
         "initial frequency of the sines; the paper's language models: 14"},                       \
        {"filter_deviation",                                                                       \
         OPTION_REAL,                                                                              \
         offsetof(Own, member.deviation),                                                          \
         "0",                                                                                      \
         0,                                                                                        \
         10,                                                                                       \
         NULL,                                                                                     \
         "standard deviation of the filter network's initial weights, its biases then 0; 0: "      \
         "uniform "                                                                                \
         "by fan-in"},                                                                             \
        {"filter_window",                                                                          \
         OPTION_SWITCH,                                                                            \
         offsetof(Own, member.window),                                                             \
         "yes",                                                                                    \
         0,                                                                                        \
         -1,                                                                                       \
         NULL,                                                                                     \
         "exponential decay of the network's filter; no: CKConv's filter in the paper's "          \
         "comparison"},                                                                            \
        {"filter_shift",                                                                           \
         OPTION_REAL,                                                                              \
         offsetof(Own, member.shift),                                                              \
         "0",                                                                                      \
         0,                                                                                        \
         1,                                                                                        \
         NULL,                                                                                     \
         "added to the window, so that late taps survive"},                                        \
    {                                                                                              \
        "position_lr", OPTION_REAL, offsetof(Own, member.position_lr), "1e-5", -1, 1, NULL,        \
            "learning rate of the position features; 0: constant, -1: as everything else"          \
    }

/* What these options are by default. */
HyenaFilter hyena_filter_default(void);

/* u (B, L, D) -> (B, L, D): post (h * (pre u) + skip pre u), causal; of gates, pre and post (B, L,
 * D) or NULL. Parameters SCOPE.filter.* and SCOPE.skip. */
Tensor *hyena_convolution(Tape *tape, const ModelContext *context, const HyenaFilter *own,
                          Tensor *u, Tensor *pre, Tensor *post);

/* STATUS_USAGE for an even number of features of a position or an odd one of states. */
Status hyena_filter_check(const HyenaFilter *own, Error *error);

/* Floats of state of one channel after `length` tokens. */
int64_t hyena_filter_state(const HyenaFilter *own, int64_t length);

#endif
