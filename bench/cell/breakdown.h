/* A test taken apart. Language modelling: the loss by the place of the token in its window, by how
 * often it came in training, and the totals from which every convention follows. Tasks tested on
 * samples of several lengths: the accuracy by length, and where the task wants it by the number of
 * labels. Where the task asks for it: the loss at the last label, and what simple rules get right
 * of the same samples. */
#ifndef LONGHAUL_BREAKDOWN_H
#define LONGHAUL_BREAKDOWN_H

#include <stdbool.h>
#include <stdint.h>

#include "tasks/task.h"

struct json_t;

/* Labels whose place (or count) is from .. to. */
typedef struct LossGroup {
    int64_t from, to;
    double labels, nats;
} LossGroup;

/* Samples whose length (or number of labels) is from .. to, with the sums of their weights and of
 * weight times accuracy. The weight is 1, or a sample's labels where all labels count alike. */
typedef struct SampleGroup {
    int64_t from, to;
    double samples, weight, accuracy;
} SampleGroup;

/* The last label of each sample, alone. */
typedef struct LastLabels {
    double samples, loss; /* summed over samples; samples 0: not told apart */
} LastLabels;

/* Rules that need no model: the commonest answer of the training samples, and the commonest among
 * those that begin with the same token. */
typedef struct Guesses {
    double samples;                    /* of the test; 0: not asked for */
    double most_frequent, first_token; /* accuracy */
} Guesses;

enum { BREAKDOWN_POSITIONS = 128, BREAKDOWN_FREQUENCIES = 20 };

typedef struct Breakdown {
    double labels, nats; /* labels 0: no breakdown */
    Extent extent;       /* of the original text; all 0: not known */
    /* Index of the token that predicts, counted from 0: one group each up to 8, then four an
     * octave. Frequencies: never, 1 to 9, 10 to 99 ... times in the training text. Groups without
     * labels have none. */
    LossGroup positions[BREAKDOWN_POSITIONS], frequencies[BREAKDOWN_FREQUENCIES];
    SampleGroup lengths[BREAKDOWN_POSITIONS], label_counts[BREAKDOWN_POSITIONS]; /* likewise */
    LastLabels last;
    Guesses guesses;
} Breakdown;

/* One scored label. frequency: -1 where it is not known. */
void breakdown_add(Breakdown *breakdown, int64_t position, int64_t frequency, double nats);
/* One sample: its length or number of labels, the share of them that were right, and its weight. */
void sample_group_add(SampleGroup groups[BREAKDOWN_POSITIONS], int64_t number, double accuracy,
                      double weight);
/* Of a group that has samples. */
double sample_group_accuracy(const SampleGroup *group);
/* Mean loss at the last labels; not-a-number where they were not told apart. */
double breakdown_last(const Breakdown *breakdown);
void breakdown_add_extent(Breakdown *breakdown, const Extent *extent);

/* Not-a-number where the text is not known. Bits per byte: nats / (bytes ln 2). Word perplexity by
 * WikiText's convention, whatever the tokens: exp(nats / (words + lines)). */
double breakdown_bits_per_byte(const Breakdown *breakdown);
double breakdown_word_perplexity(const Breakdown *breakdown);

/* Totals, derived numbers and the groups that have labels. */
struct json_t *breakdown_to_json(const Breakdown *breakdown);
/* False when a field is of the wrong type. NULL is an empty breakdown. */
bool breakdown_from_json(const struct json_t *json, Breakdown *breakdown);

#endif
