/* Strings made from strings. The definitions are those of Deletang et al. 2022 (arXiv 2207.02098)
 * with the alphabets of the xLSTM paper. Odds first follows the description, odd positions before
 * even ones; the released code does the opposite, which is equally hard. */
#include <stdbool.h>

#include "tasks/formal_language.h"

enum { SYMBOL = 1, LETTERS = 10, ACT = 11 };

static void draw_letters(Random *random, int64_t k, int32_t letters, Word *word) {
    word->prompt_length = k;
    for (int64_t i = 0; i < k; i++) word->prompt[i] = draw_symbol(random, SYMBOL, letters);
}

static void prompt_push(Word *word, int32_t token) {
    word->prompt[word->prompt_length++] = token;
}

void draw_reverse(Random *random, int64_t k, Word *word) {
    draw_letters(random, k, LETTERS, word);
    for (int64_t i = k - 1; i >= 0; i--) word_answer(word, word->prompt[i]);
    prompt_push(word, ACT);
}

void draw_repetition(Random *random, int64_t k, Word *word) {
    draw_letters(random, k, LETTERS, word);
    for (int64_t i = 0; i < k; i++) word_answer(word, word->prompt[i]);
    prompt_push(word, ACT);
}

void draw_odds_first(Random *random, int64_t k, Word *word) {
    draw_letters(random, k, LETTERS, word);
    for (int64_t i = 0; i < k; i += 2) word_answer(word, word->prompt[i]);
    for (int64_t i = 1; i < k; i += 2) word_answer(word, word->prompt[i]);
    prompt_push(word, ACT);
}

void draw_bucket_sort(Random *random, int64_t k, Word *word) {
    int64_t counts[SYMBOL + LETTERS] = {0};
    draw_letters(random, k, LETTERS, word);
    for (int64_t i = 0; i < k; i++) counts[word->prompt[i]]++;
    for (int32_t s = SYMBOL; s < SYMBOL + LETTERS; s++)
        for (int64_t i = 0; i < counts[s]; i++) word_answer(word, s);
}

/* Nine letters, doubled; one place of the 2 k shows id 10. */
void draw_missing_duplicate(Random *random, int64_t k, Word *word) {
    enum { MISSING = 10 };
    draw_letters(random, k, MISSING - SYMBOL, word);
    for (int64_t i = 0; i < k; i++) prompt_push(word, word->prompt[i]);
    const uint64_t place = random_below(random, (uint64_t)(2 * k));
    word_answer(word, word->prompt[place]);
    word->prompt[place] = MISSING;
}

/* Different symbols in the order of their first appearance. */
void draw_set(Random *random, int64_t k, Word *word) {
    enum { SET_LETTERS = 126, SET_ACT = 127 };
    bool seen[SYMBOL + SET_LETTERS] = {false};
    draw_letters(random, k, SET_LETTERS, word);
    for (int64_t i = 0; i < k; i++) {
        const int32_t letter = word->prompt[i];
        if (!seen[letter]) word_answer(word, letter);
        seen[letter] = true;
    }
    prompt_push(word, SET_ACT);
}

/* A stack of letters 1 .. 4, bottom first, then actions: 5 pop, 6 .. 9 push a letter. The answer is
 * the stack from the top; the xLSTM alphabet has no sign for its end, so words that leave it empty
 * are drawn again. Actions are uniform (in the two-letter original, too, pop is one of equals). */
void draw_stack(Random *random, int64_t k, Word *word) {
    enum { STACK_LETTERS = 4, POP = 5, PUSH = POP + 1 - SYMBOL, STACK_ACT = 10 };
    int64_t height;
    do {
        height = k > 1 ? 1 + (int64_t)random_below(random, (uint64_t)(k - 1)) : 1;
        draw_letters(random, height, STACK_LETTERS, word);
        for (int64_t i = 0; i < height; i++) word->answer[i] = word->prompt[i];
        while (word->prompt_length < k) {
            const int32_t action = draw_symbol(random, POP, 1 + STACK_LETTERS);
            prompt_push(word, action);
            if (action != POP)
                word->answer[height++] = action - PUSH;
            else if (height > 0)
                height--;
        }
    } while (height == 0);
    word->answer_length = height;
    for (int64_t i = 0; i < height / 2; i++) {
        const int32_t letter = word->answer[i];
        word->answer[i] = word->answer[height - 1 - i];
        word->answer[height - 1 - i] = letter;
    }
    prompt_push(word, STACK_ACT);
}
