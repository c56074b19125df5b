/* What TTT-Linear and TTT-MLP share: everything but the model inside the state. */
#ifndef LONGHAUL_MODELS_TTT_H
#define LONGHAUL_MODELS_TTT_H

#include "engine/ops/short_convolution/short_convolution.h"
#include "engine/ops/ttt/ttt.h"
#include "models/backbone.h"

typedef enum TttBackbone { TTT_MAMBA, TTT_TRANSFORMER } TttBackbone;

typedef struct TttOptions {
    int64_t heads, mini_batch, convolution;
    double base_rate, rotary_theta;
    int backbone; /* TttBackbone */
    bool pre_convolution;
} TttOptions;

/* Rows of an option table; rate: the default of base_rate. */
#define TTT_OPTIONS(rate)                                                                          \
    {"heads",                                                                                      \
     OPTION_INTEGER,                                                                               \
     offsetof(TttOptions, heads),                                                                  \
     "0",                                                                                          \
     0,                                                                                            \
     4096,                                                                                         \
     NULL,                                                                                         \
     "heads, each with a model of its own (H); 0: of 64 channels, or one"},                        \
        {"mini_batch",                                                                             \
         OPTION_INTEGER,                                                                           \
         offsetof(TttOptions, mini_batch),                                                         \
         "16",                                                                                     \
         1,                                                                                        \
         TTT_LONGEST,                                                                              \
         NULL,                                                                                     \
         "tokens whose gradients are taken at the same weights (b)"},                              \
        {"base_rate",                                                                              \
         OPTION_REAL,                                                                              \
         offsetof(TttOptions, base_rate),                                                          \
         rate,                                                                                     \
         0,                                                                                        \
         100,                                                                                      \
         NULL,                                                                                     \
         "step size of the descent inside (eta_base)"},                                            \
        {"backbone",                                                                               \
         OPTION_CHOICE,                                                                            \
         offsetof(TttOptions, backbone),                                                           \
         "mamba",                                                                                  \
         0,                                                                                        \
         -1,                                                                                       \
         "mamba|transformer",                                                                      \
         "q and k from one projection by convolutions, with a gate; or from one each, without"},   \
        {"pre_convolution",                                                                        \
         OPTION_SWITCH,                                                                            \
         offsetof(TttOptions, pre_convolution),                                                    \
         "yes",                                                                                    \
         0,                                                                                        \
         -1,                                                                                       \
         NULL,                                                                                     \
         "a branch with a short convolution in front of each block"},                              \
        {"convolution",          OPTION_INTEGER, offsetof(TttOptions, convolution),   "4", 2,      \
         SHORT_CONVOLUTION_TAPS, NULL,           "taps of all short convolutions (K)"},            \
    {                                                                                              \
        "rotary_theta", OPTION_REAL, offsetof(TttOptions, rotary_theta), "10000", 1, 1e9, NULL,    \
            "base of the rotary frequencies"                                                       \
    }

/* Model.opening: x + convolution(norm(x)). */
Tensor *ttt_opening(Tape *tape, const ModelContext *context, Tensor *x);

/* Model.mixer. hidden: channels of the inner model's hidden layer for each of its inputs; 0: it has
 * none, and is linear. */
Tensor *ttt_mixer(Tape *tape, const ModelContext *context, Tensor *u, int64_t hidden);

/* Model.validate and Model.state_floats, the latter with hidden as above. */
Status ttt_validate(const Backbone *backbone, const void *options, Error *error);
int64_t ttt_floats(const Backbone *backbone, const void *options, int64_t hidden);

#endif
