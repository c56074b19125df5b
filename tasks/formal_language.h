/* Formal languages: what the task `formal` chooses from. */
#ifndef LONGHAUL_FORMAL_LANGUAGE_H
#define LONGHAUL_FORMAL_LANGUAGE_H

#include <stdint.h>

#include "engine/random.h"

/* A string of the language: prompt_length tokens to read, then answer_length tokens to name. Id 0
 * is the pad and never used. */
typedef struct Word {
    int32_t *prompt; /* room for the whole word */
    int32_t *answer; /* room for `answers` tokens */
    int64_t prompt_length, answer_length;
} Word;

typedef struct Language {
    const char *name;
    int64_t vocabulary;    /* |V| of the xLSTM paper where it has the language, the pad included */
    int64_t guess;         /* equally likely answers: the chance level is 1 / guess */
    int64_t stride, shift; /* a word of measure k has at most stride * k + shift tokens */
    int64_t least;         /* smallest k */
    int answers;           /* answer tokens of a word: 1, or ANSWERS_MANY for up to k */
    /* Draws a word of measure k. */
    void (*draw)(Random *random, int64_t k, Word *word);
    const char *spelling; /* names of ids 0, 1, ..., separated by blanks; further ids are numbers */
} Language;

enum { ANSWERS_MANY = 0 };

/* Regular languages (formal_regular.c). k: tokens of the word, for arithmetic operands. */
void draw_parity(Random *random, int64_t k, Word *word);
void draw_even_pairs(Random *random, int64_t k, Word *word);
void draw_cycle(Random *random, int64_t k, Word *word);
void draw_arithmetic(Random *random, int64_t k, Word *word);

/* Most frequent symbol (formal_majority.c). k: symbols. */
void draw_majority(Random *random, int64_t k, Word *word);
void draw_majority_count(Random *random, int64_t k, Word *word);

/* Expressions with brackets (formal_expression.c). k: tokens of the expression. */
void draw_brackets(Random *random, int64_t k, Word *word);
void draw_equation(Random *random, int64_t k, Word *word);

/* Strings made from strings (formal_string.c). k: symbols read. */
void draw_reverse(Random *random, int64_t k, Word *word);
void draw_stack(Random *random, int64_t k, Word *word);
void draw_missing_duplicate(Random *random, int64_t k, Word *word);
void draw_bucket_sort(Random *random, int64_t k, Word *word);
void draw_odds_first(Random *random, int64_t k, Word *word);
void draw_repetition(Random *random, int64_t k, Word *word);
void draw_set(Random *random, int64_t k, Word *word);

/* Numbers in binary (formal_number.c). k: tokens that state them. */
void draw_binary_addition(Random *random, int64_t k, Word *word);
void draw_square_root(Random *random, int64_t k, Word *word);

/* Symbols base .. base + count - 1, uniform. */
static inline int32_t draw_symbol(Random *random, int32_t base, int32_t count) {
    return base + (int32_t)random_below(random, (uint64_t)count);
}

static inline void word_answer(Word *word, int32_t token) {
    word->answer[word->answer_length++] = token;
}

#endif
