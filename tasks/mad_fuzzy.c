/* Fuzzy in-context recall: keys and values are motifs of several adjacent tokens. One probe pair is
 * placed at a random point and asked for at the end. Two quirks of the published generator are
 * kept: a short sample may end before the probe's place comes, and in validation and test every key
 * has the longest size. */
#include <stdlib.h>
#include <string.h>

#include "tasks/labels.h"
#include "tasks/mad_skill.h"
#include "tasks/sampling.h"

typedef struct Motif {
    int32_t tokens[MAD_MOST_MOTIF];
    int64_t size;
} Motif;

/* The sample in the making. */
typedef struct Story {
    int32_t *stream;
    bool *marked;
    int64_t length;
    Motif *keys, *values; /* pairs so far */
    int64_t pairs;
} Story;

/* `size` different tokens of first .. first + count - 1, every order equally likely. */
static Motif draw_motif(Random *random, int64_t size, int64_t first, int64_t count) {
    Motif motif = {.size = size};
    for (int64_t i = 0; i < size;) {
        motif.tokens[i] = (int32_t)(first + (int64_t)random_below(random, (uint64_t)count));
        bool repeated = false;
        for (int64_t j = 0; j < i; j++) repeated |= motif.tokens[j] == motif.tokens[i];
        i += !repeated;
    }
    return motif;
}

static bool equal(const Motif *a, const Motif *b) {
    return a->size == b->size &&
           memcmp(a->tokens, b->tokens, (size_t)a->size * sizeof *a->tokens) == 0;
}

static void write_motif(Story *story, const Motif *motif, bool marked) {
    for (int64_t i = 0; i < motif->size; i++) {
        story->marked[story->length] = marked;
        story->stream[story->length++] = motif->tokens[i];
    }
}

/* Appends the pair; a key that was shown before keeps its value, which is then marked. */
static void tell(Story *story, const Motif *key, const Motif *value) {
    int64_t known = 0;
    while (known < story->pairs && !equal(&story->keys[known], key)) known++;
    const bool repeated = known < story->pairs;
    if (!repeated) {
        story->keys[story->pairs] = *key;
        story->values[story->pairs++] = *value;
    }
    write_motif(story, key, false);
    write_motif(story, &story->values[known], repeated);
}

static void draw_fuzzy(const Mad *mad, Random *random, bool training, Sample *sample) {
    const int64_t ids = mad->vocabulary - 1, keys = ids / 2, motif = mad->motif;
    const int64_t length = mad->length;
    int32_t *stream = scratch_open((size_t)(length + 1) * sizeof *stream);
    Story story = {.stream = scratch_open((size_t)(length + 1) * sizeof *stream),
                   .marked = scratch_open((size_t)(length + 1)),
                   .keys = scratch_open((size_t)length * sizeof *story.keys),
                   .values = scratch_open((size_t)length * sizeof *story.values)};
    const uint64_t sizes = (uint64_t)motif;
    const int64_t probe_size = training ? 1 + (int64_t)random_below(random, sizes) : motif;
    const Motif probe_key = draw_motif(random, probe_size, 0, keys);
    const Motif probe_value =
        draw_motif(random, 1 + (int64_t)random_below(random, sizes), keys, ids - keys);
    const int64_t probe = probe_key.size + probe_value.size;
    const int64_t place = (int64_t)random_below(random, (uint64_t)(length - 2 * probe));
    bool placed = false;
    while (story.length < length - probe - 2 * motif) {
        if (story.length >= place && !placed) {
            tell(&story, &probe_key, &probe_value);
            placed = true;
            continue;
        }
        const int64_t size = training ? 1 + (int64_t)random_below(random, sizes) : motif;
        const Motif key = draw_motif(random, size, 0, keys);
        Motif value =
            draw_motif(random, 1 + (int64_t)random_below(random, sizes), keys, ids - keys);
        if (equal(&key, &probe_key)) {
            value = probe_value;
            placed = true;
        }
        tell(&story, &key, &value);
    }
    write_motif(&story, &probe_key, false);
    write_motif(&story, &probe_value, true);

    const int64_t padding = length + 1 - story.length;
    bool *marked = scratch_open((size_t)(length + 1));
    for (int64_t t = 0; t <= length; t++) {
        stream[t] = t < padding ? (int32_t)ids : story.stream[t - padding];
        marked[t] = t >= padding && story.marked[t - padding];
    }
    mad_label(sample, stream, marked, length, training);
    free(marked);
    free(story.keys);
    free(story.values);
    free(story.marked);
    free(story.stream);
    free(stream);
}

static bool fits(const Mad *mad, const char **why) {
    *why = "needs a vocabulary of at least 2 motif + 1 ids and a length above 4 motif";
    return mad->vocabulary >= 2 * mad->motif + 1 && mad->length > 4 * mad->motif;
}

static int64_t labels(const Mad *mad) {
    return mad->length;
}

static double chance(const Mad *mad) {
    return 1 / (double)(mad->vocabulary - 1 - (mad->vocabulary - 1) / 2);
}

const MadSkill mad_fuzzy_recall = {
    .name = "fuzzy_recall",
    .vocabulary = 16,
    .length = 128,
    .fits = fits,
    .labels = labels,
    .chance = chance,
    .draw = draw_fuzzy,
};
