/* Language modelling on a made-up language whose entropy is known, so that a result can be compared
 * with the best possible one. It is our own; it has what makes text hard in small: words by Zipf's
 * law, syntax (six word classes in turn, a word's choice depends on the one before), topics (each
 * has its favourite words), and facts about entities that hold for the whole document and come back
 * after thousands of tokens.
 *
 * A document is: start sign, topic sign, then sentences until it is full. A sentence is, with
 * probability `facts`, an entity and its attribute; otherwise six words, one of each class.
 * Entities are uniform; an attribute is uniform when its entity is first named and the same ever
 * after. Word r of class c is drawn with probability proportional to 1 / r; which word is the r-th
 * depends on topic, class and the gender (one of four) of the word before. The language is the same
 * for every seed and split. All of the state can be read off the document's past, so the entropy of
 * the next token is known at each position, and its expectation over documents follows exactly. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tasks/labels.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

enum { TOPICS = 8, CLASSES = 6, GENDERS = 4, LEAST_WORDS = 8 };

typedef struct Synthetic {
    int64_t length, vocabulary, entities, attributes;
    double facts;
} Synthetic;

/* Ids: 0 start, topics, entities, attributes, words by class. */
typedef struct Layout {
    int64_t entity, attribute, word, words; /* first ids; words of a class */
} Layout;

static const Option options[] = {
    {"length", OPTION_INTEGER, offsetof(Synthetic, length), "512", 2, 1 << 24, NULL,
     "tokens of a document"},
    {"vocabulary", OPTION_INTEGER, offsetof(Synthetic, vocabulary), "512", 64, 1 << 20, NULL,
     "ids: signs, 8 topics, entities, attributes, and the rest words"},
    {"entities", OPTION_INTEGER, offsetof(Synthetic, entities), "64", 1, 1 << 18, NULL,
     "entities that a document may name"},
    {"attributes", OPTION_INTEGER, offsetof(Synthetic, attributes), "64", 2, 1 << 18, NULL,
     "attributes that an entity may have"},
    {"facts", OPTION_REAL, offsetof(Synthetic, facts), "0.4", 0.01, 0.99, NULL,
     "share of the sentences that name an entity and its attribute"},
};

static Layout layout_of(const Synthetic *s) {
    Layout layout = {.entity = 1 + TOPICS, .attribute = 1 + TOPICS + s->entities};
    layout.word = layout.attribute + s->attributes;
    layout.words = (s->vocabulary - layout.word) / CLASSES;
    return layout;
}

/* Entropy in nats of Zipf's law over n ranks. */
static double zipf_entropy(int64_t n) {
    double sum = 0, weighted = 0;
    for (int64_t r = 1; r <= n; r++) {
        sum += 1.0 / (double)r;
        weighted += log((double)r) / (double)r;
    }
    return log(sum) + weighted / sum;
}

/* Expected nats of a document's tokens 1 .. length. starts[t]: probability that a sentence starts
 * at t. fresh[t]: the same, weighted with the probability that an entity named there would be new,
 * which is (1 - 1 / entities) to the number of facts before. */
static double expected_nats(const Synthetic *s) {
    const double q = s->facts, words = zipf_entropy(layout_of(s).words);
    const double stay = 1 - 1.0 / (double)s->entities;
    const double choice =
        -q * log(q / (double)s->entities) - (1 - q) * log(1 - q) + (1 - q) * words;
    const int64_t end = s->length + 1;
    double *starts = scratch_open((size_t)(2 * (end + CLASSES + 1)) * sizeof *starts);
    double *fresh = starts + end + CLASSES + 1, nats = log(TOPICS);
    starts[2] = fresh[2] = 1;
    for (int64_t t = 2; t < end; t++) {
        nats += starts[t] * choice;
        if (t + 1 < end) nats += q * fresh[t] * log((double)s->attributes);
        for (int64_t c = 1; c < CLASSES && t + c < end; c++) nats += (1 - q) * starts[t] * words;
        starts[t + 2] += q * starts[t];
        fresh[t + 2] += q * stay * fresh[t];
        starts[t + CLASSES] += (1 - q) * starts[t];
        fresh[t + CLASSES] += (1 - q) * fresh[t];
    }
    free(starts);
    return nats;
}

static Status synthetic_problem(const void *values, Problem *problem, Error *error) {
    const Synthetic *s = values;
    const int64_t least = 1 + TOPICS + s->entities + s->attributes + CLASSES * LEAST_WORDS;
    if (s->vocabulary < least)
        return error_set(
            error, STATUS_USAGE,
            "task lm_synthetic: vocabulary=%lld leaves fewer than %d words for each of "
            "%d classes beside %lld entities and %lld attributes; use vocabulary=%lld "
            "or more",
            (long long)s->vocabulary, LEAST_WORDS, CLASSES, (long long)s->entities,
            (long long)s->attributes, (long long)least);
    const double best = exp(expected_nats(s) / (double)s->length);
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = s->vocabulary,
        .length = s->length,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .classes = s->vocabulary,
        .labels = s->length,
        .causal = true,
        .chance = (double)s->vocabulary,
        .solved = 1.02 * best,
        .best = best,
        .higher_is_better = false,
        .metric = "perplexity",
        .measure = MEASURE_PERPLEXITY,
    };
    return STATUS_OK;
}

/* The language: words by rank for each (topic, class, gender of the word before), and the sums of
 * 1 / r up to each rank. */
typedef struct Grammar {
    int32_t *words;
    double *sums;
} Grammar;

static void grammar_close(void *data) {
    Grammar *grammar = data;
    free(grammar->words);
    free(grammar->sums);
    free(grammar);
}

static Status grammar_open(const void *values, void **data, Error *error) {
    (void)error;
    const int64_t n = layout_of(values).words;
    enum { TABLES = TOPICS * CLASSES * GENDERS };
    Grammar *grammar = scratch_open(sizeof *grammar);
    grammar->words = scratch_open((size_t)(TABLES * n) * sizeof *grammar->words);
    grammar->sums = scratch_open((size_t)n * sizeof *grammar->sums);
    for (int64_t table = 0; table < TABLES; table++) {
        Random random = random_open(0, random_stream("task/lm_synthetic/grammar"), (uint64_t)table);
        int32_t *words = grammar->words + table * n;
        for (int64_t r = 0; r < n; r++) words[r] = (int32_t)r;
        sample_shuffle(&random, n, words);
    }
    double sum = 0;
    for (int64_t r = 0; r < n; r++) grammar->sums[r] = sum += 1.0 / (double)(r + 1);
    *data = grammar;
    return STATUS_OK;
}

/* Rank, from 0, by Zipf's law. */
static int64_t draw_rank(const double *sums, int64_t n, Random *random) {
    const double draw = random_real(random) * sums[n - 1];
    int64_t low = 0, high = n - 1;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (sums[middle] > draw)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

extern const Task task_lm_synthetic;

static void synthetic_sample(const void *values, const void *data, uint64_t seed, Split split,
                             int64_t index, Sample *sample) {
    const Synthetic *s = values;
    const Grammar *grammar = data;
    const Layout ids = layout_of(s);
    const int64_t end = s->length + 1;
    Random random = task_random(&task_lm_synthetic, seed, split, index);
    /* a sentence may run over the end */
    int32_t *stream = scratch_open((size_t)(end + CLASSES + s->entities) * sizeof *stream);
    int32_t *attribute_of = stream + end + CLASSES; /* 0: entity not named yet */
    const int64_t topic = (int64_t)random_below(&random, TOPICS);
    stream[1] = (int32_t)(1 + topic);
    for (int64_t t = 2; t < end;) {
        if (random_real(&random) < s->facts) {
            const int64_t entity = (int64_t)random_below(&random, (uint64_t)s->entities);
            if (attribute_of[entity] == 0)
                attribute_of[entity] =
                    (int32_t)(ids.attribute +
                              (int64_t)random_below(&random, (uint64_t)s->attributes));
            stream[t++] = (int32_t)(ids.entity + entity);
            stream[t++] = attribute_of[entity];
            continue;
        }
        int64_t gender = 0;
        for (int64_t c = 0; c < CLASSES; c++) {
            const int64_t rank = draw_rank(grammar->sums, ids.words, &random);
            const int64_t table = (topic * CLASSES + c) * GENDERS + gender;
            const int32_t word = grammar->words[table * ids.words + rank];
            stream[t++] = (int32_t)(ids.word + c * ids.words) + word;
            gender = word % GENDERS;
        }
    }
    label_next(sample, stream, s->length, s->length, s->length);
    free(stream);
}

static void synthetic_spell(const void *values, const void *data, int64_t id,
                            char text[TASK_SPELL_BYTES]) {
    (void)data;
    static const char *const classes[CLASSES] = {"art", "adj", "noun", "verb", "adv", "prep"};
    const Layout ids = layout_of(values);
    const int n = (int)id, word = (int)(id - ids.word);
    if (id == 0)
        snprintf(text, TASK_SPELL_BYTES, "<s>");
    else if (id < ids.entity)
        snprintf(text, TASK_SPELL_BYTES, "topic%d", n - 1);
    else if (id < ids.attribute)
        snprintf(text, TASK_SPELL_BYTES, "E%d", n - (int)ids.entity);
    else if (id < ids.word)
        snprintf(text, TASK_SPELL_BYTES, "=%d", n - (int)ids.attribute);
    else if (id < ids.word + CLASSES * ids.words)
        snprintf(text, TASK_SPELL_BYTES, "%s%d", classes[word / (int)ids.words],
                 word % (int)ids.words);
    else
        snprintf(text, TASK_SPELL_BYTES, "unused%d", n);
}

const Task task_lm_synthetic = {
    .name = "lm_synthetic",
    .title = "Language modelling on a language of known entropy",
    .paper = "our own (Zipf's law, syntax, topics, recurring entities)",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Synthetic)},
    .problem = synthetic_problem,
    .open = grammar_open,
    .close = grammar_close,
    .count = count_endless,
    .sample = synthetic_sample,
    .spell = synthetic_spell,
};
