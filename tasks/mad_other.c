/* Selective copying, memorization and compression. */
#include <stdlib.h>

#include "tasks/labels.h"
#include "tasks/mad_skill.h"
#include "tasks/sampling.h"

/* Data tokens with blanks before them, a marker, as many blanks as data; there the data are named.
 * Every blank goes before a uniformly chosen data token, so the last one touches the marker. */
static void draw_copying(const Mad *mad, Random *random, bool training, Sample *sample) {
    (void)training;
    const int64_t n = mad->symbols, blanks = mad->length - 2 * n - 1;
    const int32_t blank = (int32_t)mad->vocabulary - 2;
    int32_t *before = scratch_open((size_t)n * sizeof *before);
    for (int64_t i = 0; i < blanks; i++) before[random_below(random, (uint64_t)n)]++;
    int64_t t = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int32_t b = 0; b < before[i]; b++) sample->tokens[t++] = blank;
        const int32_t token = (int32_t)random_below(random, (uint64_t)mad->vocabulary - 2);
        sample->tokens[t++] = token;
        label_set(sample, i, mad->length - n + i, token);
    }
    sample->tokens[t++] = blank + 1;
    while (t < mad->length) sample->tokens[t++] = blank;
    sample->lengths[0] = (int32_t)mad->length;
    free(before);
}

static bool fits_copying(const Mad *mad, const char **why) {
    *why = "needs a length above 2 symbols + 1 and a vocabulary of at least 3";
    return mad->length > 2 * mad->symbols + 1 && mad->vocabulary >= 3;
}

static int64_t copying_labels(const Mad *mad) {
    return mad->symbols;
}

static double copying_chance(const Mad *mad) {
    return 1 / (double)(mad->vocabulary - 2);
}

static int64_t memorized_keys(const Mad *mad) {
    return (mad->vocabulary - 1) / 2;
}

/* The value of each key: one-to-one and the same in every sample, split and seed. */
static void fill_dictionary(const Mad *mad, int32_t *value_of) {
    enum { SEED = 12345 }; /* the published one, though of another generator */
    const int64_t keys = memorized_keys(mad), values = mad->vocabulary - 1 - keys;
    Random random = random_open(SEED, random_stream("task/mad/dictionary"), 0);
    sample_distinct(&random, values, keys, value_of);
    for (int64_t k = 0; k < keys; k++) value_of[k] += (int32_t)keys;
}

/* Keys, each followed by the id that asks for its value. */
static void draw_memorization(const Mad *mad, Random *random, bool training, Sample *sample) {
    (void)training;
    const int64_t keys = memorized_keys(mad);
    int32_t *value_of = scratch_open((size_t)keys * sizeof *value_of);
    fill_dictionary(mad, value_of);
    for (int64_t i = 0; i < mad->length / 2; i++) {
        const int32_t key = (int32_t)random_below(random, (uint64_t)keys);
        sample->tokens[2 * i] = key;
        sample->tokens[2 * i + 1] = (int32_t)mad->vocabulary - 1;
        label_set(sample, i, 2 * i + 1, value_of[key]);
    }
    sample->lengths[0] = (int32_t)mad->length;
    free(value_of);
}

static bool fits_memorization(const Mad *mad, const char **why) {
    *why = "needs an even length and a vocabulary of at least 3";
    return mad->length % 2 == 0 && mad->vocabulary >= 3;
}

static int64_t memorization_labels(const Mad *mad) {
    return mad->length / 2;
}

static double memorization_chance(const Mad *mad) {
    return 1 / (double)(mad->vocabulary - 1 - memorized_keys(mad));
}

/* Random tokens, then the id that closes them; all are to be named, that id too. */
static void draw_compression(const Mad *mad, Random *random, bool training, Sample *sample) {
    (void)training;
    const int64_t last = mad->length - 1, ids = mad->vocabulary - 1;
    for (int64_t t = 0; t <= last; t++) {
        const int64_t token = t < last ? (int64_t)random_below(random, (uint64_t)ids) : ids;
        sample->tokens[t] = (int32_t)token;
        label_set(sample, t, t, token);
    }
    sample->lengths[0] = (int32_t)mad->length;
}

static bool fits_compression(const Mad *mad, const char **why) {
    *why = "needs a length of at least 2 and a vocabulary of at least 3";
    return mad->length >= 2 && mad->vocabulary >= 3;
}

static int64_t compression_labels(const Mad *mad) {
    return mad->length;
}

/* The last token is always the same. */
static double compression_chance(const Mad *mad) {
    const double tokens = (double)mad->length - 1;
    return (1 + tokens / ((double)mad->vocabulary - 1)) / (tokens + 1);
}

const MadSkill mad_copying = {
    .name = "copying",
    .vocabulary = 16,
    .length = 256,
    .fits = fits_copying,
    .labels = copying_labels,
    .chance = copying_chance,
    .draw = draw_copying,
};

const MadSkill mad_memorization = {
    .name = "memorization",
    .vocabulary = 256,
    .length = 32,
    .fits = fits_memorization,
    .labels = memorization_labels,
    .chance = memorization_chance,
    .draw = draw_memorization,
};

const MadSkill mad_compression = {
    .name = "compression",
    .vocabulary = 16,
    .length = 32,
    .fits = fits_compression,
    .labels = compression_labels,
    .chance = compression_chance,
    .draw = draw_compression,
    .bottleneck = true,
};
