/* Filling in the labels of a sample. */
#ifndef LONGHAUL_LABELS_H
#define LONGHAUL_LABELS_H

#include "tasks/task.h"

/* Label slot `slot` of the sample: the class at a position. */
static inline void label_set(Sample *sample, int64_t slot, int64_t position, int64_t class_id) {
    sample->positions[slot] = (int32_t)position;
    sample->classes[slot] = (int32_t)class_id;
    sample->weights[slot] = 1.0f;
}

/* Slots from .. labels-1 are not used by this sample. */
static inline void label_unused(Sample *sample, int64_t from, int64_t labels) {
    for (int64_t slot = from; slot < labels; slot++) {
        sample->positions[slot] = 0;
        sample->classes[slot] = 0;
        sample->weights[slot] = 0.0f;
    }
}

/* Next-token prediction. stream has length + 1 tokens: the sample's tokens are the first `length`,
 * and each of the last `scored` positions is labelled with the token after it. */
static inline void label_next(Sample *sample, const int32_t *stream, int64_t length, int64_t scored,
                              int64_t labels) {
    for (int64_t t = 0; t < length; t++) sample->tokens[t] = stream[t];
    for (int64_t i = 0; i < scored; i++) {
        const int64_t position = length - scored + i;
        label_set(sample, i, position, stream[position + 1]);
    }
    label_unused(sample, scored, labels);
    sample->lengths[0] = (int32_t)length;
}

/* For the count function of generated tasks: samples without end. */
static inline int64_t count_endless(const void *options, const void *data, Split split) {
    (void)options, (void)data, (void)split;
    return 0;
}

#endif
