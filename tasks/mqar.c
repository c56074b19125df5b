/* Multi-query associative recall (MQAR): a context of n key-value pairs, then each key once more,
 * scattered; at its second appearance the model names its value. No value is written after a
 * question, so nothing but the context can give the answer.
 *
 * Source: Arora et al. 2023, "Zoology: Measuring and improving recall in efficient language
 * models", arXiv 2312.04927, section 4 and appendix; the authors' generator defines the details
 * (ids, weights of the gaps). Two differences: the published code draws the filler from a
 * process-wide generator, here it belongs to the sample; and `filler=disjoint` exists.
 *
 * Arora et al. 2024 (Based), arXiv 2402.18668, Figure 2: one model is trained on a mixture of
 * lengths and pairs and tested at each of several (mix, test_mix). In the authors' configuration a
 * batch has one setting; here each sample draws its own, so that a sample with more pairs has more
 * weight, and short ones are padded with id 0.
 *
 * Order of training: the authors' code of 2023 shuffles the training set; what they have now goes
 * through it in its own order in every epoch, one setting after the other. The second is
 * segments=listed, with the numbers of samples as shares, and shuffle=no. */
#include <stdlib.h>
#include <string.h>

#include "tasks/labels.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

typedef enum Filler { FILLER_ZERO, FILLER_ANY, FILLER_DISJOINT } Filler;

typedef enum Segments { SEGMENTS_MIXED, SEGMENTS_LISTED } Segments;

typedef struct Mqar {
    int64_t length, pairs, vocabulary;
    double alpha;
    int filler, segments;
    char mix[OPTION_TEXT_BYTES], test_mix[OPTION_TEXT_BYTES];
} Mqar;

static const Option options[] = {
    {"length", OPTION_INTEGER, offsetof(Mqar, length), "128", 4, 1 << 20, NULL,
     "positions of a sample, even"},
    {"pairs", OPTION_INTEGER, offsetof(Mqar, pairs), "8", 1, 1 << 18, NULL,
     "key-value pairs of a sample, at most length / 4"},
    {"vocabulary", OPTION_INTEGER, offsetof(Mqar, vocabulary), "8192", 4, 1 << 20, NULL,
     "ids: 0 filler, first half keys, second half values"},
    {"alpha", OPTION_REAL, offsetof(Mqar, alpha), "0.01", 0, 8, NULL,
     "gap i has weight (i+1)^(alpha-1): small asks early, 1 asks anywhere"},
    {"filler", OPTION_CHOICE, offsetof(Mqar, filler), "zero", 0, -1, "zero|any|disjoint",
     "other positions: id 0, any id, or any id but this sample's keys and values"},
    {"mix", OPTION_TEXT, offsetof(Mqar, mix), "", 0, -1, NULL,
     "LENGTHxPAIRS:SHARE+..., of which each sample draws one (64x4:5+128x8); empty: length, pairs"},
    {"test_mix", OPTION_TEXT, offsetof(Mqar, test_mix), "", 0, -1, NULL,
     "the same for validation and test; empty: as in training"},
    {"segments", OPTION_CHOICE, offsetof(Mqar, segments), "mixed", 0, -1, "mixed|listed",
     "of a mix: each sample draws its own; or as listed, SHARE samples of one, then of the next"},
};

enum { MOST_SETTINGS = 16 };

/* What the samples of a split draw from. */
typedef struct Mix {
    struct Setting {
        int64_t length, pairs, share;
    } settings[MOST_SETTINGS];
    int count;
    int64_t shares, length, pairs; /* sum, longest, most */
    bool lengths_differ;
} Mix;

static bool add_setting(Mix *mix, int64_t length, int64_t pairs, int64_t share) {
    if (mix->count == MOST_SETTINGS || length < 4 || length > 1 << 20 || pairs < 1 || share < 1)
        return false;
    mix->lengths_differ |= mix->count > 0 && length != mix->length;
    mix->settings[mix->count++] = (struct Setting){length, pairs, share};
    mix->shares += share;
    if (length > mix->length) mix->length = length;
    if (pairs > mix->pairs) mix->pairs = pairs;
    return true;
}

/* False when the text is no mix. */
static bool mix_of(const Mqar *mqar, Split split, Mix *mix) {
    const char *text = split != SPLIT_TRAIN && *mqar->test_mix ? mqar->test_mix : mqar->mix;
    *mix = (Mix){0};
    if (!*text) return add_setting(mix, mqar->length, mqar->pairs, 1);
    for (;; text++) {
        char *end;
        const int64_t length = strtoll(text, &end, 10);
        if (*end != 'x') return false;
        const int64_t pairs = strtoll(end + 1, &end, 10);
        const int64_t share = *end == ':' ? strtoll(end + 1, &end, 10) : 1;
        if (!add_setting(mix, length, pairs, share)) return false;
        text = end;
        if (!*text) return true;
        if (*text != '+') return false;
    }
}

static int64_t key_count(const Mqar *mqar) {
    return mqar->vocabulary / 2 - 1; /* ids 1 .. V/2-1 */
}

static int64_t value_count(const Mqar *mqar) {
    return mqar->vocabulary - mqar->vocabulary / 2; /* ids V/2 .. V-1 */
}

static Status check_setting(const Mqar *mqar, long long length, long long pairs, Error *error) {
    const long long vocabulary = mqar->vocabulary;
    if (length % 2 != 0)
        return error_set(error, STATUS_USAGE,
                         "task mqar: length=%lld is odd, but context and gaps are made of units of "
                         "two tokens; use length=%lld",
                         length, length + 1);
    if (4 * pairs > length)
        return error_set(error, STATUS_USAGE,
                         "task mqar: pairs=%lld do not fit length=%lld: a pair takes 2 positions "
                         "of context and a gap of 2 for its question; use pairs=%lld or "
                         "length=%lld",
                         pairs, length, length / 4, 4 * pairs);
    if (key_count(mqar) < pairs)
        return error_set(error, STATUS_USAGE,
                         "task mqar: vocabulary=%lld has %lld keys (ids 1 to %lld), fewer than "
                         "pairs=%lld; use vocabulary=%lld or more",
                         vocabulary, (long long)key_count(mqar), vocabulary / 2 - 1, pairs,
                         2 * pairs + 2);
    return STATUS_OK;
}

static Status mqar_problem(const void *values, Problem *problem, Error *error) {
    const Mqar *mqar = values;
    Mix mixes[2];
    for (int i = 0; i < 2; i++) {
        if (!mix_of(mqar, i ? SPLIT_TEST : SPLIT_TRAIN, &mixes[i]))
            return error_set(error, STATUS_USAGE,
                             "task mqar: %s=%s: expected at most %d of LENGTHxPAIRS or "
                             "LENGTHxPAIRS:SHARE, whole numbers, joined by + (64x4:5+128x8)",
                             i && *mqar->test_mix ? "test_mix" : "mix",
                             i && *mqar->test_mix ? mqar->test_mix : mqar->mix, MOST_SETTINGS);
        for (int k = 0; k < mixes[i].count; k++)
            if (check_setting(mqar, mixes[i].settings[k].length, mixes[i].settings[k].pairs,
                              error) != STATUS_OK)
                return error->status;
    }
    const bool mixed = *mqar->mix || *mqar->test_mix;
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = mqar->vocabulary,
        .length = mixes[0].length,
        .evaluation_length = mixed ? mixes[1].length : 0,
        .evaluation_labels = mixed ? mixes[1].pairs : 0,
        .padded = mixes[0].lengths_differ || mixes[1].lengths_differ,
        .by_labels = mixed,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .classes = mqar->vocabulary,
        .labels = mixes[0].pairs,
        .causal = true,
        .chance = 1.0 / (double)value_count(mqar),
        .solved = 0.99,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

/* Ids at the positions that are neither context nor question. `disjoint` rejects: at least the id 0
 * is never a key nor a value, so it ends. */
static void fill(const Mqar *mqar, Random *random, const int32_t *keys, const int32_t *slots,
                 int32_t *tokens) {
    const int64_t n = mqar->pairs;
    uint64_t *taken = scratch_open(set_bytes(mqar->vocabulary));
    if (mqar->filler == FILLER_DISJOINT)
        for (int64_t t = 0; t < 2 * n; t++) set_add(taken, tokens[t]);
    for (int64_t t = 2 * n; t < mqar->length; t++) {
        do tokens[t] = (int32_t)random_below(random, (uint64_t)mqar->vocabulary);
        while (set_has(taken, tokens[t]));
    }
    for (int64_t j = 0; j < n; j++) tokens[2 * n + 2 * slots[j]] = keys[j];
    free(taken);
}

/* Without a mix nothing is drawn. */
static void choose_setting(const Mix *mix, Random *random, int64_t index, Mqar *mqar) {
    int k = 0;
    int64_t at = index % mix->shares;
    if (mqar->segments == SEGMENTS_MIXED && mix->count > 1)
        at = (int64_t)random_below(random, (uint64_t)mix->shares);
    if (mix->count > 1)
        for (; at >= mix->settings[k].share; k++) at -= mix->settings[k].share;
    mqar->length = mix->settings[k].length;
    mqar->pairs = mix->settings[k].pairs;
}

extern const Task task_mqar;

static void mqar_sample(const void *values, const void *data, uint64_t seed, Split split,
                        int64_t index, Sample *sample) {
    (void)data;
    Mqar drawn = *(const Mqar *)values, *mqar = &drawn;
    Mix mix;
    mix_of(mqar, split, &mix);
    Random random = task_random(&task_mqar, seed, split, index);
    choose_setting(&mix, &random, index, mqar);
    const int64_t n = mqar->pairs, slot_count = (mqar->length - 2 * n) / 2;
    int32_t *keys = scratch_open((size_t)(2 * n) * sizeof *keys);
    int32_t *slots = keys + n;

    sample_distinct(&random, key_count(mqar), n, keys);
    sample_distinct(&random, value_count(mqar), n, sample->classes);
    sample_successive(&random, slot_count, mqar->alpha - 1.0, n, slots);
    for (int64_t j = 0; j < n; j++) {
        keys[j] += 1;
        sample->classes[j] += (int32_t)(mqar->vocabulary / 2);
        sample->tokens[2 * j] = keys[j];
        sample->tokens[2 * j + 1] = sample->classes[j];
        sample->positions[j] = (int32_t)(2 * n) + 2 * slots[j];
        sample->weights[j] = 1.0f;
    }
    if (mqar->filler == FILLER_ZERO) {
        for (int64_t t = 2 * n; t < mqar->length; t++) sample->tokens[t] = 0;
        for (int64_t j = 0; j < n; j++) sample->tokens[sample->positions[j]] = keys[j];
    } else {
        fill(mqar, &random, keys, slots, sample->tokens);
    }
    for (int64_t t = mqar->length; t < mix.length; t++) sample->tokens[t] = 0;
    label_unused(sample, n, mix.pairs);
    sample->lengths[0] = (int32_t)mqar->length;
    free(keys);
}

const Task task_mqar = {
    .name = "mqar",
    .title = "Multi-query associative recall",
    .paper = "Arora et al. 2023, arXiv 2312.04927",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Mqar)},
    .problem = mqar_problem,
    .count = count_endless,
    .sample = mqar_sample,
};
