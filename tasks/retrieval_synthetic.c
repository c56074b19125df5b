/* Stand-in for Retrieval (pairs of papers) where the real texts are not at hand: made-up papers, as
 * bytes. Our own; not comparable with published numbers.
 *
 * A paper has one of 32 subjects, each with 40 words of its own, and common words; a sixth of its
 * sentences are about the subject. It carries a number of its own ("paper" and a word) and, at
 * places anywhere in the text, cites 12 numbers ("see" and a word) of its subject's 64. A pair is
 * linked when the first paper cites the second. Papers that are not linked have the same subject
 * in one of four cases, and the first then cites 12 others: subjects alone decide 7 of 8 pairs. */
#include <stdlib.h>

#include "tasks/byte_text.h"
#include "tasks/labels.h"
#include "tasks/made_text.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

typedef struct RetrievalSynthetic {
    int64_t length;
} RetrievalSynthetic;

enum { SUBJECTS = 32, PAPERS = 64, CITED = 12, OWN_WORDS = 40, COMMON_WORDS = 1000 };
enum { FIRST_OWN = COMMON_WORDS, FIRST_PAPER = FIRST_OWN + SUBJECTS * OWN_WORDS };
enum { SENTENCE_BYTES = 32, SHORTEST = 2 * (CITED + 1) * SENTENCE_BYTES };

static const Option options[] = {
    {"length", OPTION_INTEGER, offsetof(RetrievalSynthetic, length), "4000", SHORTEST, 1 << 20,
     NULL, "bytes of each paper that are read"},
};

static Status synthetic_problem(const void *values, Problem *problem, Error *error) {
    (void)error;
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = BYTE_IDS,
        .length = ((const RetrievalSynthetic *)values)->length,
        .padded = true,
        .sequences = 2,
        .target = TARGET_SEQUENCE,
        .classes = 2,
        .labels = 1,
        .causal = false,
        .chance = 0.5,
        .solved = 0.95,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

typedef struct Paper {
    int64_t subject, number;
    int32_t cited[CITED]; /* numbers of the same subject */
} Paper;

static void name_paper(MadeText *text, const char *before, int64_t subject, int64_t number) {
    made_piece(text, text->count > 0 ? " " : "");
    made_piece(text, before);
    made_word(text, FIRST_PAPER + subject * PAPERS + number);
    made_piece(text, ".");
}

/* The paper's text into `length` tokens; how many there are. */
static int32_t write_paper(const Paper *paper, Random *random, int64_t length, int32_t *tokens) {
    const int64_t half = length / 2;
    const int64_t bytes = half + (int64_t)random_below(random, (uint64_t)(length - half) + 1);
    const int64_t sentences = bytes / SENTENCE_BYTES;
    int32_t places[CITED + 1], order[CITED + 1];
    sample_subset(random, sentences, CITED + 1, places);
    for (int32_t i = 0; i <= CITED; i++) order[i] = i;
    sample_shuffle(random, CITED + 1, order);
    MadeText text = {.bytes = scratch_open((size_t)bytes), .room = bytes};
    for (int64_t s = 0, next = 0; s < sentences; s++) {
        const int64_t words = 3 + (int64_t)random_below(random, 4);
        const bool about = random_below(random, 6) == 0;
        const bool names = next <= CITED && places[next] == s;
        const int32_t which = names ? order[next++] : 0;
        if (names && which == CITED)
            name_paper(&text, "paper", paper->subject, paper->number);
        else if (names)
            name_paper(&text, "see", paper->subject, paper->cited[which]);
        else if (about)
            made_sentence(&text, random, FIRST_OWN + paper->subject * OWN_WORDS, OWN_WORDS, words);
        else
            made_sentence(&text, random, 0, COMMON_WORDS, words);
    }
    const int32_t kept = byte_tokens(text.bytes, text.count, length, tokens);
    free(text.bytes);
    return kept;
}

/* CITED numbers without `own`, and with or without `other`. */
static void draw_cited(Random *random, int64_t own, int64_t other, bool with_other,
                       int32_t cited[CITED]) {
    int32_t numbers[PAPERS];
    sample_distinct(random, PAPERS, PAPERS, numbers);
    int count = 0;
    if (with_other) cited[count++] = (int32_t)other;
    for (int i = 0; count < CITED; i++)
        if (numbers[i] != own && numbers[i] != other) cited[count++] = numbers[i];
}

extern const Task task_retrieval_synthetic;

static void synthetic_sample(const void *values, const void *data, uint64_t seed, Split split,
                             int64_t index, Sample *sample) {
    (void)data;
    const int64_t length = ((const RetrievalSynthetic *)values)->length;
    Random random = task_random(&task_retrieval_synthetic, seed, split, index);
    const bool linked = random_below(&random, 2) == 1;
    const bool same = linked || random_below(&random, 4) == 0;
    Paper papers[2];
    papers[0].subject = (int64_t)random_below(&random, SUBJECTS);
    papers[1].subject = papers[0].subject;
    if (!same) papers[1].subject += 1 + (int64_t)random_below(&random, SUBJECTS - 1);
    papers[1].subject %= SUBJECTS;
    int32_t numbers[2];
    sample_distinct(&random, PAPERS, 2, numbers);
    for (int i = 0; i < 2; i++) papers[i].number = numbers[i];
    draw_cited(&random, numbers[0], numbers[1], linked, papers[0].cited);
    draw_cited(&random, numbers[1], numbers[0], false, papers[1].cited);
    for (int i = 0; i < 2; i++)
        sample->lengths[i] = write_paper(&papers[i], &random, length, sample->tokens + i * length);
    label_set(sample, 0, sample->lengths[0] - 1, linked);
}

const Task task_retrieval_synthetic = {
    .name = "retrieval_synthetic",
    .title = "Made-up papers as bytes, a stand-in for retrieval",
    .paper = "our own; the shape of Retrieval in Tay et al. 2021, arXiv 2011.04006",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(RetrievalSynthetic)},
    .problem = synthetic_problem,
    .count = count_endless,
    .sample = synthetic_sample,
    .spell = byte_spell,
};
