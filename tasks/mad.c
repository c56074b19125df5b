/* MAD: small skills that together predict how an architecture scales.
 *
 * Source: Poli et al. 2024, "Mechanistic design and scaling of hybrid architectures", arXiv
 * 2403.17844, section 3 and appendix B, with the details of the authors' generators. In training
 * the recall skills name every next token; in validation and test only what is known from the
 * sample. Compression asks for all tokens again, of the last position's vector alone
 * (Problem.bottleneck). The published scores average over one change at a time of vocabulary,
 * length, training examples, noise and symbols.
 *
 * Accuracy is over scored tokens. The released code leaves the average of its metric at what the
 * library has for a standard, the mean over classes of a class's accuracy. Classes come equally
 * often but for one, the last id of compression, which counts 1 / vocabulary there and 1 / length
 * here. */
#include "tasks/labels.h"
#include "tasks/mad_skill.h"
#include "tasks/task.h"

static const MadSkill *const skills[] = {&mad_recall,  &mad_noisy_recall, &mad_fuzzy_recall,
                                         &mad_copying, &mad_memorization, &mad_compression};

static const Option options[] = {
    {"skill", OPTION_CHOICE, offsetof(Mad, skill), "recall", 0, -1,
     "recall|noisy_recall|fuzzy_recall|copying|memorization|compression", "what to do"},
    {"vocabulary", OPTION_INTEGER, offsetof(Mad, vocabulary), "0", 0, 1 << 20, NULL,
     "ids; 0: the skill's baseline"},
    {"length", OPTION_INTEGER, offsetof(Mad, length), "0", 0, 1 << 20, NULL,
     "length as published, in tokens; 0: the skill's baseline"},
    {"symbols", OPTION_INTEGER, offsetof(Mad, symbols), "16", 1, 1 << 18, NULL,
     "copying: data tokens"},
    {"motif", OPTION_INTEGER, offsetof(Mad, motif), "3", 1, MAD_MOST_MOTIF, NULL,
     "fuzzy recall: most tokens of a key or value"},
    {"noise", OPTION_REAL, offsetof(Mad, noise), "0.2", 0, 0.99, NULL,
     "noisy recall: share of the pairs that are noise"},
};

static Mad resolved(const void *values) {
    Mad mad = *(const Mad *)values;
    if (mad.vocabulary == 0) mad.vocabulary = skills[mad.skill]->vocabulary;
    if (mad.length == 0) mad.length = skills[mad.skill]->length;
    return mad;
}

static Status mad_problem(const void *values, Problem *problem, Error *error) {
    const Mad mad = resolved(values);
    const MadSkill *skill = skills[mad.skill];
    const char *why;
    if (!skill->fits(&mad, &why))
        return error_set(error, STATUS_USAGE,
                         "task mad: skill=%s with length=%lld vocabulary=%lld symbols=%lld "
                         "motif=%lld cannot be met: it %s",
                         skill->name, (long long)mad.length, (long long)mad.vocabulary,
                         (long long)mad.symbols, (long long)mad.motif, why);
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = mad.vocabulary,
        .length = mad.length + skill->extra,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .classes = mad.vocabulary,
        .labels = skill->labels(&mad),
        .averaging = AVERAGE_LABELS, /* samples have more or fewer keys that recur */
        .causal = true,
        .bottleneck = skill->bottleneck,
        .chance = skill->chance(&mad),
        .solved = 0.99,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

extern const Task task_mad;

static void mad_sample(const void *values, const void *data, uint64_t seed, Split split,
                       int64_t index, Sample *sample) {
    (void)data;
    const Mad mad = resolved(values);
    Random random = task_random(&task_mad, seed, split, index);
    skills[mad.skill]->draw(&mad, &random, split == SPLIT_TRAIN, sample);
}

const Task task_mad = {
    .name = "mad",
    .title = "MAD: recall, copying, memorization, compression",
    .paper = "Poli et al. 2024 (MAD), arXiv 2403.17844",
    .version = 2,
    .options = {options, sizeof options / sizeof *options, sizeof(Mad)},
    .problem = mad_problem,
    .count = count_endless,
    .sample = mad_sample,
};
