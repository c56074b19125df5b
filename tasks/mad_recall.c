/* In-context recall and noisy in-context recall: pairs of a key and its value, keys with
 * replacement; the value of a key that was shown before must be known. */
#include <stdlib.h>
#include <string.h>

#include "tasks/labels.h"
#include "tasks/mad_skill.h"
#include "tasks/sampling.h"

void mad_label(Sample *sample, const int32_t *stream, const bool *marked, int64_t length,
               bool training) {
    int64_t used = 0;
    for (int64_t t = 0; t < length; t++) {
        sample->tokens[t] = stream[t];
        if (training || marked[t + 1]) label_set(sample, used++, t, stream[t + 1]);
    }
    label_unused(sample, used, length);
    sample->lengths[0] = (int32_t)length;
}

static void draw_recall(const Mad *mad, Random *random, bool training, int64_t ids, double noise,
                        Sample *sample) {
    const int64_t pairs = mad->length / 2, keys = ids / 2;
    int32_t *stream = scratch_open((size_t)(mad->length + 2 * keys) * sizeof *stream);
    int32_t *value_of = stream + mad->length, *shown = value_of + keys;
    bool *marked = scratch_open((size_t)mad->length);
    int64_t different;
    do { /* again when noise left no pair to ask for */
        different = 0;
        memset(marked, 0, (size_t)mad->length);
        for (int64_t k = 0; k < keys; k++) value_of[k] = -1;
        const int64_t kept = (int64_t)random_below(random, (uint64_t)pairs);
        for (int64_t i = 0; i < pairs - 1; i++) {
            if (noise > 0 && i != kept && random_real(random) < noise) {
                for (int64_t j = 0; j < 2; j++)
                    stream[2 * i + j] =
                        (int32_t)(ids + (int64_t)random_below(random, MAD_NOISE_IDS));
                continue;
            }
            const int32_t key = (int32_t)random_below(random, (uint64_t)keys);
            marked[2 * i + 1] = value_of[key] >= 0;
            if (value_of[key] < 0) {
                value_of[key] =
                    (int32_t)(keys + (int64_t)random_below(random, (uint64_t)(ids - keys)));
                shown[different++] = key;
            }
            stream[2 * i] = key;
            stream[2 * i + 1] = value_of[key];
        }
    } while (different == 0);
    const int32_t asked = shown[random_below(random, (uint64_t)different)];
    stream[mad->length - 2] = asked;
    stream[mad->length - 1] = value_of[asked];
    marked[mad->length - 1] = true;
    mad_label(sample, stream, marked, mad->length - 1, training);
    free(marked);
    free(stream);
}

static void draw_plain(const Mad *mad, Random *random, bool training, Sample *sample) {
    draw_recall(mad, random, training, mad->vocabulary, 0, sample);
}

static void draw_noisy(const Mad *mad, Random *random, bool training, Sample *sample) {
    draw_recall(mad, random, training, mad->vocabulary - MAD_NOISE_IDS, mad->noise, sample);
}

static bool fits_plain(const Mad *mad, const char **why) {
    *why = "needs an even length of at least 4 and a vocabulary of at least 2";
    return mad->length % 2 == 0 && mad->length >= 4 && mad->vocabulary >= 2;
}

static bool fits_noisy(const Mad *mad, const char **why) {
    *why =
        "needs an even length of at least 4 and a vocabulary of at least 18, of which 16 are noise";
    return mad->length % 2 == 0 && mad->length >= 4 && mad->vocabulary >= MAD_NOISE_IDS + 2;
}

static int64_t all_labels(const Mad *mad) {
    return mad->length - 1;
}

static double plain_chance(const Mad *mad) {
    return 1 / (double)(mad->vocabulary - mad->vocabulary / 2);
}

static double noisy_chance(const Mad *mad) {
    const int64_t ids = mad->vocabulary - MAD_NOISE_IDS;
    return 1 / (double)(ids - ids / 2);
}

const MadSkill mad_recall = {
    .name = "recall",
    .vocabulary = 16,
    .length = 128,
    .extra = -1,
    .fits = fits_plain,
    .labels = all_labels,
    .chance = plain_chance,
    .draw = draw_plain,
};

const MadSkill mad_noisy_recall = {
    .name = "noisy_recall",
    .vocabulary = 32,
    .length = 128,
    .extra = -1,
    .fits = fits_noisy,
    .labels = all_labels,
    .chance = noisy_chance,
    .draw = draw_noisy,
};
