/* What a model is: a constant descriptor, one file each, listed in models/models.def. Most models
 * are mixers, maps (B, L, D) -> (B, L, D) that a shared backbone stacks; those whose paper is the
 * whole network record the whole stack. A model never sees tokens, labels or tasks. */
#ifndef LONGHAUL_MODEL_H
#define LONGHAUL_MODEL_H

#include "engine/option.h"
#include "engine/tape.h"

typedef struct Paper {
    const char *authors, *title, *venue, *arxiv;
    int year;
} Paper;

typedef enum ModelKind {
    KIND_ATTENTION,
    KIND_RECURRENT,
    KIND_STATE_SPACE,
    KIND_CONVOLUTION,
    KIND_HYBRID
} ModelKind;

/* Shared settings: models/backbone.c holds their option table. */
typedef struct Backbone {
    int64_t width; /* D */
    int64_t layers;
    int mlp;                  /* BackboneMlp */
    double mlp_ratio;         /* hidden width / D */
    int norm;                 /* BackboneNorm */
    double norm_momentum;     /* NORM_BATCH: part of the running statistics that a step replaces */
    int norm_place;           /* BackbonePlace */
    double init_deviation;    /* of projections; 0: 1 / sqrt(D) */
    double dropout;           /* on each residual branch */
    bool dropout_tied;        /* the same mask at all positions of a sequence */
    double embedding_dropout; /* below 0: as dropout */
    bool recompute;           /* each block is a recompute segment */
} Backbone;

typedef enum BackboneMlp {
    MLP_NONE,
    MLP_IDENTITY, /* x + norm(x): the second half of Zoology's block without a state mixer */
    MLP_GELU,
    MLP_GELU_TANH, /* as GPT-2; nanoGPT and Zoology use the exact one */
    MLP_SWIGLU,    /* no biases */
    MLP_RELU,
    MLP_RELU2,        /* the square of it */
    MLP_GELU_SIGMOID, /* x sigmoid(1.702 x) */
    MLP_GEGLU         /* its gate is the tanh form of GELU */
} BackboneMlp;
typedef enum BackboneNorm {
    NORM_LAYER,
    NORM_RMS,
    NORM_LAYER_GAIN, /* layer norm without the offset beta */
    NORM_BATCH,
    NORM_SCALE /* RMS with one gain */
} BackboneNorm;
typedef enum BackbonePlace { PLACE_PRE, PLACE_POST } BackbonePlace;

/* What a mixer may know while it records. Shapes: x (B, L, D); in TAPE_STEP mode L is 1. */
typedef struct ModelContext {
    const Backbone *backbone;
    const void *options; /* the model's own option struct */
    int64_t max_length;  /* longest L that this network will see (positions, filters) */
    int64_t layer;       /* 0 .. layers-1 */
    bool causal;         /* false: every position may see the whole sequence */
    Tensor *lengths;     /* (B) int32, real lengths of padded sequences; NULL: all of them are L.
                          * Only a bidirectional mixer needs it: padding is on the right */
} ModelContext;

/* Properties that a model does not have; `longhaul check` prints the list. */
enum {
    EXEMPT_STEP = 1,               /* no one-token form */
    EXEMPT_BATCH_INDEPENDENCE = 2, /* even where it does not train */
    EXEMPT_PREFIX = 4,             /* filters depend on the longest length, so prefixes are compared
                                      at equal max_length only */
    EXEMPT_LONGER = 8 /* weights compute something else under a larger max_length, so they are not
                         evaluated beyond the longest length that they were trained for */
};

typedef struct Model {
    const char *name, *title;
    Paper paper;
    ModelKind kind;
    const char *note; /* what was left out or simplified; "" for nothing */
    OptionTable options;
    const char *backbone; /* changed backbone defaults: "mlp=none norm=rms"; "" for none */
    bool bidirectional;   /* supports causal = false */
    unsigned exempt;
    /* Once, before the first block: (B, L, D) -> (B, L, D), e.g. learned positions. NULL: nothing.
     */
    Tensor *(*prologue)(Tape *tape, const ModelContext *context, Tensor *x);
    /* Begins each block of a mixer, on the residual stream: (B, L, D) -> (B, L, D), e.g. a branch
     * of its own. NULL: nothing. */
    Tensor *(*opening)(Tape *tape, const ModelContext *context, Tensor *x);
    /* Exactly one of the two. mixer: one block's sequence mixing. stack: everything between
     * embedding and final norm, which norm_place=post goes without. */
    Tensor *(*mixer)(Tape *tape, const ModelContext *context, Tensor *x);
    Tensor *(*stack)(Tape *tape, const ModelContext *context, Tensor *x);
    /* Refuses option values that fit each alone but not together (heads not dividing width).
     * NULL: nothing to check. */
    Status (*validate)(const Backbone *backbone, const void *options, Error *error);
    /* Floats of state carried per sequence after L tokens (memory of decoding), for the tables. */
    int64_t (*state_floats)(const Backbone *backbone, const void *options, int64_t length);
} Model;

const Model *const *model_list(int *count);
const Model *model_find(const char *name);

extern const OptionTable backbone_options;

/* Embedded input -> features (B, L, D), final norm included: prologue, blocks, norm. */
Tensor *model_record(Tape *tape, const Model *model, const ModelContext *context, Tensor *x);

#endif
