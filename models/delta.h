/* What DeltaNet and Gated DeltaNet share: what goes into the delta rule, and the rule itself. */
#ifndef LONGHAUL_MODELS_DELTA_H
#define LONGHAUL_MODELS_DELTA_H

#include "engine/ops/short_convolution/short_convolution.h"
#include "models/backbone.h"

typedef struct DeltaOptions {
    int64_t heads, convolution;
    double expand_k, expand_v;
    bool negative_eigenvalues;
} DeltaOptions;

/* An option table; k, v: defaults of expand_k and expand_v. */
#define DELTA_OPTIONS(k, v)                                                                        \
    {"heads", OPTION_INTEGER, offsetof(DeltaOptions, heads), "2", 1, 64, NULL, "heads (H)"},       \
        {"convolution",          OPTION_INTEGER, offsetof(DeltaOptions, convolution), "4", 2,      \
         SHORT_CONVOLUTION_TAPS, NULL,           "taps of the short convolutions (K)"},            \
        {"expand_k",                                                                               \
         OPTION_REAL,                                                                              \
         offsetof(DeltaOptions, expand_k),                                                         \
         k,                                                                                        \
         0.01,                                                                                     \
         64,                                                                                       \
         NULL,                                                                                     \
         "channels of queries and of keys / D, then rounded up to a multiple of the heads"},       \
        {"expand_v",                                                                               \
         OPTION_REAL,                                                                              \
         offsetof(DeltaOptions, expand_v),                                                         \
         v,                                                                                        \
         0.01,                                                                                     \
         64,                                                                                       \
         NULL,                                                                                     \
         "channels of the values / D, then rounded up to a multiple of the heads"},                \
    {                                                                                              \
        "negative_eigenvalues", OPTION_SWITCH, offsetof(DeltaOptions, negative_eigenvalues), "no", \
            0, -1, NULL, "betas in 0 .. 2 instead of 0 .. 1"                                       \
    }

/* x (B, L, D), log_decay (B, L, H) or NULL -> (B, L, H m): projections, short convolutions, keys
 * and queries divided by their length, betas, and the delta rule with its state SCOPE.state. */
Tensor *delta_heads(Tape *tape, const ModelContext *context, Tensor *x, Tensor *log_decay);

/* Model.state_floats. */
int64_t delta_floats(const Backbone *backbone, const void *options, int64_t length);

#endif
