/* Regular languages, as the xLSTM authors' released generators draw them. */
#include "tasks/formal_language.h"

/* Bits are ids 1 and 2; so are the answers. */
static void draw_bits(Random *random, int64_t k, Word *word) {
    word->prompt_length = k - 1;
    for (int64_t i = 0; i < k - 1; i++) word->prompt[i] = draw_symbol(random, 1, 2);
}

/* Is the number of 2s odd? */
void draw_parity(Random *random, int64_t k, Word *word) {
    draw_bits(random, k, word);
    int32_t odd = 0;
    for (int64_t i = 0; i < k - 1; i++) odd ^= word->prompt[i] == 2;
    word_answer(word, 1 + odd);
}

/* Is the number of unequal neighbours odd? The same as: do the ends differ? */
void draw_even_pairs(Random *random, int64_t k, Word *word) {
    draw_bits(random, k, word);
    word_answer(word, 1 + (word->prompt[0] != word->prompt[k - 2]));
}

/* Place on a ring of 5 (answers 4 .. 8) after moves 1 stay, 2 forward, 3 back. */
void draw_cycle(Random *random, int64_t k, Word *word) {
    static const int32_t moves[] = {0, 0, 1, 4};
    int32_t place = 0;
    word->prompt_length = k - 1;
    for (int64_t i = 0; i < k - 1; i++) {
        word->prompt[i] = draw_symbol(random, 1, 3);
        place = (place + moves[word->prompt[i]]) % 5;
    }
    word_answer(word, 4 + place);
}

/* k - 1 digits modulo 5 (ids 5 .. 9) with operators 1 +, 2 -, 3 * between them, then 4 =. Products
 * bind first: `product` is the one being built, with its sign, `sum` what was closed before it. */
void draw_arithmetic(Random *random, int64_t k, Word *word) {
    int32_t sum = 0, product = 0, operation = 1;
    word->prompt_length = 2 * k - 2;
    for (int64_t i = 0; i < k - 1; i++) {
        const int32_t digit = draw_symbol(random, 0, 5);
        word->prompt[2 * i] = 5 + digit;
        if (operation == 3) {
            product = product * digit % 5;
        } else {
            sum = (sum + product) % 5;
            product = operation == 1 ? digit : (5 - digit) % 5;
        }
        operation = i == k - 2 ? 4 : draw_symbol(random, 1, 3);
        word->prompt[2 * i + 1] = operation;
    }
    word_answer(word, 5 + (sum + product) % 5);
}
