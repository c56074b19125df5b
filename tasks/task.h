/* What a task is: a constant descriptor, one file each, listed in tasks/tasks.def. A task offers a
 * shape of problem and samples of it; it never sees a model. Sample i of a split is a pure function
 * of (options, seed, split, i). */
#ifndef LONGHAUL_TASK_H
#define LONGHAUL_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/option.h"
#include "engine/random.h"

typedef enum Split { SPLIT_TRAIN, SPLIT_VALIDATION, SPLIT_TEST } Split;

typedef enum InputKind { INPUT_TOKENS, INPUT_REALS } InputKind;

typedef enum TargetKind {
    TARGET_TOKENS,   /* a class at each of up to `labels` labelled positions */
    TARGET_SEQUENCE, /* one class for the whole sequence (pooled) */
    TARGET_REAL,     /* one real number for the whole sequence, squared error */
    TARGET_REALS     /* a real number at each of up to `labels` labelled positions */
} TargetKind;

/* How the metric follows from the rows of the head. Perplexity is exp of the mean loss, squared
 * error the mean loss, over all labels; accuracy is averaged as Averaging says. */
typedef enum Measure { MEASURE_ACCURACY, MEASURE_PERPLEXITY, MEASURE_SQUARED_ERROR } Measure;

/* What counts alike in an accuracy. The first two differ where samples differ in their number of
 * labels. */
typedef enum Averaging {
    AVERAGE_SAMPLES, /* every sample, by the share of its labels that are right */
    AVERAGE_LABELS,  /* every label of all samples */
    AVERAGE_WHOLE    /* every sample, right where all of its labels are, else wrong */
} Averaging;

/* The shape of the problem under given options. */
typedef struct Problem {
    InputKind input;
    int64_t vocabulary; /* INPUT_TOKENS: ids are 0 .. vocabulary-1 */
    int64_t channels;   /* INPUT_REALS: C real numbers at each position */
    int64_t length;     /* L: positions of a sample; shorter samples are padded on the right */
    bool padded;        /* sample lengths vary */
    int sequences;      /* 1, or 2 for a pair (retrieval) */
    TargetKind target;
    int64_t classes; /* size of the output layer for classes; often = vocabulary */
    int64_t labels;  /* most labelled positions in a sample; 1 for TARGET_SEQUENCE/REAL */
    /* Validation and test samples may be longer or shorter than training samples: their L and
     * labels. 0: the same. problem_for gives the problem of a split. */
    int64_t evaluation_length, evaluation_labels;
    bool by_labels;      /* a test is taken apart by the number of labels of its samples, too */
    Averaging averaging; /* MEASURE_ACCURACY */
    bool last_apart;     /* the loss at a sample's last label is reported apart, too */
    /* One label a sample, tokens in: the commonest answer, and the commonest one after the same
     * first token, are scored beside the model */
    bool guessable;
    bool causal; /* position t may only be predicted from tokens 0 .. t */
    /* TARGET_TOKENS: every label is decoded from the vector at the sample's last position and the
     * label's own position alone (an auto-encoder) */
    bool bottleneck;
    double chance; /* metric of guessing */
    double solved; /* metric from which the task counts as solved */
    double best;   /* best possible metric where it is known and below perfection; 0: not known */
    bool higher_is_better;
    const char *metric; /* its name in tables: "accuracy", "perplexity", "squared error" */
    Measure measure;
} Problem;

/* One sample, in memory that the caller owns: tokens (sequences * L) or reals (sequences * L * C),
 * positions, classes and weights (labels). */
typedef struct Sample {
    int32_t *tokens;
    float *reals;
    int32_t *lengths;   /* (sequences): real length of each sequence */
    int32_t *positions; /* labelled positions, any order */
    int32_t *classes;   /* class at each of them */
    float *weights; /* weight of each in loss and metric: 1, or 0 for an unused slot (position 0) */
    float *value;   /* TARGET_REAL: (1); TARGET_REALS: (labels), one for each position */
} Sample;

/* What the labels of a sample are of the original text, so that losses on different tokens can be
 * compared: tokens tile it. Words are what blanks separate; a line ends in a line end. */
typedef struct Extent {
    double bytes, words, lines;
} Extent;

enum { TASK_SPELL_BYTES = 32 };

typedef struct Task {
    const char *name, *title;
    const char *paper; /* source with arXiv number */
    int version;       /* raised when any number would move */
    OptionTable options;
    /* Checks options against each other and describes the problem. STATUS_USAGE for parameters that
     * cannot be met, STATUS_DATA for files. */
    Status (*problem)(const void *options, Problem *problem, Error *error);
    /* Whatever a real data set needs: reads and verifies files once per process. NULL for generated
     * tasks. *data is passed to sample and close. */
    Status (*open)(const void *options, void **data, Error *error);
    void (*close)(void *data);
    /* Number of different samples of a split; 0 for no end (generated). */
    int64_t (*count)(const void *options, const void *data, Split split);
    /* Thread-safe; no state. */
    void (*sample)(const void *options, const void *data, uint64_t seed, Split split, int64_t index,
                   Sample *sample);
    /* How a token is shown to people; NULL: as a number. */
    void (*spell)(const void *options, const void *data, int64_t id, char text[TASK_SPELL_BYTES]);
    /* Samples that are pictures: returns the width in pixels and, unless grey is NULL, writes the L
     * grey levels, 255 for white. NULL: not pictures. */
    int64_t (*picture)(const void *options, const Sample *sample, uint8_t *grey);
    /* Language modelling. What the labels of a validation or test sample stand for; NULL: nothing
     * but themselves. */
    Extent (*extent)(const void *options, const void *data, Split split, int64_t index);
    /* How often a class came in the training text; NULL: not known. -1: not known in this case. */
    int64_t (*frequency)(const void *options, const void *data, int64_t class_id);
} Task;

/* The problem as the samples of a split pose it: length and labels are those of the split, and
 * evaluation_length and evaluation_labels those of the other kind of split. */
Problem problem_for(const Problem *problem, Split split);

/* The longest L of any split. */
int64_t problem_longest(const Problem *problem);

/* One answer for the whole sequence, not one at each of some positions. */
bool problem_is_pooled(const Problem *problem);

const Task *const *task_list(int *count);
const Task *task_find(const char *name);
const char *split_name(Split split); /* "train", "validation", "test" */

/* The random stream of a sample: (seed, "task/NAME/SPLIT", index). Splits never share a stream. */
Random task_random(const Task *task, uint64_t seed, Split split, int64_t index);

#endif
