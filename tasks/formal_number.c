/* Numbers in binary, as Deletang et al. 2022 define them (arXiv 2207.02098; not in the xLSTM
 * paper): bits are ids 1 and 2, every number is uniform on 1 .. 2^bits - 1. Their output has a
 * fixed size, filled with zeros that their code does not need; here it ends where the answer does.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/formal_language.h"
#include "tasks/sampling.h"

enum { ZERO = 1, ONE };

static void draw_number(Random *random, int64_t bits, int32_t *number) {
    bool positive = false;
    while (!positive)
        for (int64_t i = 0; i < bits; i++) {
            number[i] = draw_symbol(random, ZERO, 2);
            positive |= number[i] == ONE;
        }
}

static int32_t bit_at(const int32_t *number, int64_t bits, int64_t i) {
    return i < bits && number[i] == ONE;
}

/* Two numbers of k - 1 bits together, the lowest bit first, with id 3 between them; the sum, the
 * lowest bit first and without leading zeros, ends in id 3 as well. */
void draw_binary_addition(Random *random, int64_t k, Word *word) {
    enum { END = ONE + 1, ACT };
    const int64_t first = 1 + (int64_t)random_below(random, (uint64_t)(k - 2));
    const int64_t second = k - 1 - first;
    const int32_t *a = word->prompt, *b = word->prompt + first + 1;
    draw_number(random, first, word->prompt);
    word->prompt[first] = END;
    draw_number(random, second, word->prompt + first + 1);
    word->prompt[k] = ACT;
    word->prompt_length = k + 1;
    int32_t carry = 0;
    for (int64_t i = 0; i < first || i < second || carry; i++) {
        const int32_t sum = bit_at(a, first, i) + bit_at(b, second, i) + carry;
        word_answer(word, ZERO + sum % 2);
        carry = sum / 2;
    }
    while (word->answer[word->answer_length - 1] == ZERO) word->answer_length--;
    word_answer(word, END);
}

/* Bit i of 4 root + 1, from below; the root has `known` bits, the highest first. */
static int32_t trial_bit(const int32_t *root, int64_t known, int64_t i) {
    if (i < 2) return i == 0;
    return i - 2 < known && root[known - 1 - (i - 2)] == ONE;
}

/* Takes 4 root + 1 from rest, both of so many bits, the lowest first, if it is not the larger. */
static bool subtract_trial(const int32_t *root, int64_t known, int64_t bits, int32_t *rest) {
    int64_t top = bits - 1;
    while (top > 0 && rest[top] == trial_bit(root, known, top)) top--;
    if (rest[top] < trial_bit(root, known, top)) return false;
    int32_t borrow = 0;
    for (int64_t i = 0; i < bits; i++) {
        const int32_t difference = rest[i] - trial_bit(root, known, i) - borrow;
        borrow = difference < 0;
        rest[i] = difference & 1;
    }
    return true;
}

/* A number of k bits, the highest first; the answer is the whole part of its square root, in
 * ceil(k / 2) bits. By hand as in decimals: two bits of the number give one of the root. The rest
 * is at most twice the root, so it has two bits more than the root even after the next two came. */
void draw_square_root(Random *random, int64_t k, Word *word) {
    enum { ACT = ONE + 1 };
    const int64_t count = (k + 1) / 2, bits = count + 2;
    draw_number(random, k, word->prompt);
    int32_t *rest = scratch_open((size_t)bits * sizeof *rest);
    for (int64_t known = 0; known < count; known++) {
        const int64_t low =
            k - 1 - 2 * (count - 1 - known); /* of the next two bits of the number */
        memmove(rest + 2, rest, (size_t)(bits - 2) * sizeof *rest);
        rest[0] = word->prompt[low] == ONE;
        rest[1] = low > 0 && word->prompt[low - 1] == ONE;
        const bool fits = subtract_trial(word->answer, known, bits, rest);
        word_answer(word, fits ? ONE : ZERO);
    }
    free(rest);
    word->prompt[k] = ACT;
    word->prompt_length = k + 1;
}
