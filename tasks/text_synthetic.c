/* Stand-in for Text (IMDB) where the real reviews are not at hand: made-up reviews, as bytes. Our
 * own; not comparable with published numbers.
 *
 * A review is sentences of neutral words; some end in a judgement: one of 24 kind or 24 harsh
 * words, with "not" before it in one of four cases, which turns it around. The review is good when
 * more judgements are kind than harsh; there are 3 to 15 of them, an odd number, anywhere in the
 * text, so the whole text counts and every review can be decided. Lengths are as in IMDB: from some
 * hundred bytes to more than are read, most about a thousand; judgements stand within the bytes
 * read. */
#include <math.h>
#include <stdlib.h>

#include "tasks/byte_text.h"
#include "tasks/labels.h"
#include "tasks/made_text.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

typedef struct TextSynthetic {
    int64_t length;
} TextSynthetic;

/* A sentence has at most six words of four letters, so none is longer than its share of the text
 * and every judgement is within it. */
enum { SHORTEST = 400, JUDGEMENTS = 24, NEUTRAL_WORDS = 3000, SENTENCE_BYTES = 32 };
enum { MOST_OPINIONS = 15, NEGATED_OF_FOUR = 1 };

static const Option options[] = {
    {"length", OPTION_INTEGER, offsetof(TextSynthetic, length), "4000", SHORTEST, 1 << 20, NULL,
     "bytes of a review that are read"},
};

static Status synthetic_problem(const void *values, Problem *problem, Error *error) {
    (void)error;
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = BYTE_IDS,
        .length = ((const TextSynthetic *)values)->length,
        .padded = true,
        .sequences = 1,
        .target = TARGET_SEQUENCE,
        .classes = 2,
        .labels = 1,
        .causal = false,
        .chance = 0.5,
        .solved = 0.9,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

/* Bytes of a review: log-normal. */
static int64_t draw_length(Random *random, int64_t most) {
    const double bytes = 1300 * exp(0.65 * random_normal(random));
    return bytes < SHORTEST ? SHORTEST : bytes > (double)most ? most : (int64_t)bytes;
}

/* " foo." or " not foo.": words below 2 * JUDGEMENTS are judgements, the first half kind. */
static void judge(MadeText *text, Random *random, bool kind) {
    const bool negated = random_below(random, 4) < NEGATED_OF_FOUR;
    if (negated) made_piece(text, text->count > 0 ? " not" : "not");
    made_word(text, (int64_t)random_below(random, JUDGEMENTS) + (kind != negated ? 0 : JUDGEMENTS));
    made_piece(text, ".");
}

extern const Task task_text_synthetic;

static void synthetic_sample(const void *values, const void *data, uint64_t seed, Split split,
                             int64_t index, Sample *sample) {
    (void)data;
    const int64_t length = ((const TextSynthetic *)values)->length;
    Random random = task_random(&task_text_synthetic, seed, split, index);
    const bool good = random_below(&random, 2) == 1;
    const int64_t bytes = draw_length(&random, length);
    const int64_t sentences = bytes / SENTENCE_BYTES;
    const int64_t most = sentences < MOST_OPINIONS ? (sentences - 1) / 2 : MOST_OPINIONS / 2;
    const int64_t pairs = 1 + (int64_t)random_below(&random, (uint64_t)most);
    const int64_t opinions = 2 * pairs + 1; /* the minority: 0 .. pairs */
    const int64_t minority = (int64_t)random_below(&random, (uint64_t)pairs + 1);
    int32_t places[MOST_OPINIONS], order[MOST_OPINIONS];
    sample_subset(&random, sentences, opinions, places);
    for (int32_t i = 0; i < opinions; i++) order[i] = i;
    sample_shuffle(&random, opinions, order);
    MadeText text = {.bytes = scratch_open((size_t)bytes), .room = bytes};
    for (int64_t s = 0, next = 0; s < sentences; s++) {
        const bool opinion = next < opinions && places[next] == s;
        if (!opinion)
            made_sentence(&text, &random, 2 * JUDGEMENTS, NEUTRAL_WORDS,
                          3 + (int64_t)random_below(&random, 4));
        if (opinion) judge(&text, &random, good != (order[next++] < minority));
    }
    const int32_t kept = byte_tokens(text.bytes, text.count, length, sample->tokens);
    free(text.bytes);
    label_set(sample, 0, kept - 1, good);
    sample->lengths[0] = kept;
}

const Task task_text_synthetic = {
    .name = "text_synthetic",
    .title = "Made-up reviews as bytes, a stand-in for text",
    .paper = "our own; the shape of Text in Tay et al. 2021, arXiv 2011.04006",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(TextSynthetic)},
    .problem = synthetic_problem,
    .count = count_endless,
    .sample = synthetic_sample,
    .spell = byte_spell,
};
