/* Drawing without replacement, shared by the generators. */
#ifndef LONGHAUL_SAMPLING_H
#define LONGHAUL_SAMPLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/random.h"

/* Memory for the duration of one sample, zeroed; never NULL. The caller frees it. */
void *scratch_open(size_t bytes);

/* count distinct integers of 0 .. range-1 in random order: every ordered selection is equally
 * likely. count <= range <= INT32_MAX. */
void sample_distinct(Random *random, int64_t range, int64_t count, int32_t *out);

/* As sample_distinct, but sorted upwards: every subset of that size is equally likely. */
void sample_subset(Random *random, int64_t range, int64_t count, int32_t *out);

/* count distinct integers of 0 .. range-1, drawn one after the other, integer i with probability
 * proportional to (i + 1)^exponent among those not drawn yet (successive sampling). out is in the
 * order of drawing. */
void sample_successive(Random *random, int64_t range, double exponent, int64_t count, int32_t *out);

/* Uniform random order of values, in place. */
void sample_shuffle(Random *random, int64_t count, int32_t *values);

/* A set of small integers: one bit each, in zeroed words. */
static inline bool set_has(const uint64_t *set, int64_t item) {
    return set[item >> 6] >> (item & 63) & 1;
}
static inline void set_add(uint64_t *set, int64_t item) {
    set[item >> 6] |= UINT64_C(1) << (item & 63);
}
static inline size_t set_bytes(int64_t range) {
    return (size_t)((range + 63) / 64) * sizeof(uint64_t);
}

#endif
