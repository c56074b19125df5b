/* The skills of MAD: what the task `mad` chooses from. */
#ifndef LONGHAUL_MAD_SKILL_H
#define LONGHAUL_MAD_SKILL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/random.h"
#include "tasks/task.h"

enum { MAD_NOISE_IDS = 16, MAD_MOST_MOTIF = 8 };

/* Options, with the skill's own defaults filled in. */
typedef struct Mad {
    int skill;
    int64_t vocabulary, length, symbols, motif;
    double noise;
} Mad;

typedef struct MadSkill {
    const char *name;
    int64_t vocabulary, length; /* published baseline */
    int64_t extra;              /* positions of a sample = length + extra */
    bool (*fits)(const Mad *mad, const char **why);
    int64_t (*labels)(const Mad *mad);
    double (*chance)(const Mad *mad); /* accuracy of the best guess */
    void (*draw)(const Mad *mad, Random *random, bool training, Sample *sample);
    bool bottleneck; /* of the problem */
} MadSkill;

extern const MadSkill mad_recall, mad_noisy_recall, mad_fuzzy_recall, mad_copying, mad_memorization,
    mad_compression;

/* Labels of a stream of length + 1 tokens: in training each position names the next token,
 * otherwise only those whose next token is marked. Also writes tokens and lengths. */
void mad_label(Sample *sample, const int32_t *stream, const bool *marked, int64_t length,
               bool training);

#endif
