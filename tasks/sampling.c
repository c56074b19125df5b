#include "tasks/sampling.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/memory.h"

void *scratch_open(size_t bytes) {
    return memory_take_zeroed(1, bytes);
}

void sample_shuffle(Random *random, int64_t count, int32_t *values) {
    for (int64_t i = count - 1; i > 0; i--) {
        const int64_t j = (int64_t)random_below(random, (uint64_t)i + 1);
        const int32_t value = values[i];
        values[i] = values[j];
        values[j] = value;
    }
}

/* Marks count distinct integers, noting each as it is found when out is not NULL. For count up to
 * range / 2 fewer than two draws are expected for each. */
static void mark_distinct(Random *random, int64_t range, int64_t count, uint64_t *seen,
                          int32_t *out) {
    for (int64_t i = 0; i < count;) {
        const int64_t draw = (int64_t)random_below(random, (uint64_t)range);
        if (set_has(seen, draw)) continue;
        set_add(seen, draw);
        if (out) out[i] = (int32_t)draw;
        i++;
    }
}

void sample_distinct(Random *random, int64_t range, int64_t count, int32_t *out) {
    assert(count >= 0 && count <= range && range <= INT32_MAX);
    if (count <= range / 2) {
        uint64_t *seen = scratch_open(set_bytes(range));
        mark_distinct(random, range, count, seen, out);
        free(seen);
        return;
    }
    int32_t *all = scratch_open((size_t)range * sizeof *all);
    for (int64_t i = 0; i < range; i++) all[i] = (int32_t)i;
    for (int64_t i = 0; i < count; i++) {
        const int64_t j = i + (int64_t)random_below(random, (uint64_t)(range - i));
        out[i] = all[j];
        all[j] = all[i];
    }
    free(all);
}

void sample_subset(Random *random, int64_t range, int64_t count, int32_t *out) {
    assert(count >= 0 && count <= range && range <= INT32_MAX);
    uint64_t *seen = scratch_open(set_bytes(range));
    const bool inverted = count > range / 2; /* draw the smaller of the subset and its complement */
    mark_distinct(random, range, inverted ? range - count : count, seen, NULL);
    int64_t found = 0;
    for (int64_t i = 0; i < range; i++)
        if (set_has(seen, i) != inverted) out[found++] = (int32_t)i;
    free(seen);
}

typedef struct Arrival {
    double time;
    int32_t item;
} Arrival;

static int earlier(const void *a, const void *b) {
    const double x = ((const Arrival *)a)->time, y = ((const Arrival *)b)->time;
    return (x > y) - (x < y);
}

/* Item i arrives after an exponential time of rate w_i; the order of arrivals has the law of
 * successive sampling (Efraimidis and Spirakis 2006, "Weighted random sampling with a
 * reservoir"). */
void sample_successive(Random *random, int64_t range, double exponent, int64_t count,
                       int32_t *out) {
    assert(count >= 0 && count <= range && range <= INT32_MAX);
    Arrival *arrivals = scratch_open((size_t)range * sizeof *arrivals);
    for (int64_t i = 0; i < range; i++) {
        const double exponential = -log1p(-random_real(random));
        arrivals[i] = (Arrival){exponential * pow((double)i + 1.0, -exponent), (int32_t)i};
    }
    qsort(arrivals, (size_t)range, sizeof *arrivals, earlier);
    for (int64_t i = 0; i < count; i++) out[i] = arrivals[i].item;
    free(arrivals);
}
