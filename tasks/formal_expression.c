/* Arithmetic modulo 5 with brackets, drawn by length as Deletang et al. 2022 do (arXiv 2207.02098):
 * 1 digit; 2 minus digit; 3 digit in brackets; 4 minus digit in brackets; longer ones
 * ( left operator right ) with the length of the left part uniform. The paper's text has the
 * operators + - *; its code leaves * out unless asked. Here brackets have it, as the alphabet of
 * the xLSTM paper does, and equations do not, so that exactly one digit solves them. */
#include "tasks/formal_language.h"

enum { PLUS = 1, MINUS, TIMES, EQUALS, OPEN, CLOSE, DIGIT };

/* Writes an expression of the length to tokens and returns its value. */
static int32_t draw_expression(Random *random, int64_t length, int32_t operators, int32_t digit,
                               int32_t *tokens) {
    if (length <= 4) {
        const int32_t value = draw_symbol(random, 0, 5);
        int64_t i = 0;
        if (length >= 3) tokens[i++] = OPEN;
        if (length % 2 == 0) tokens[i++] = MINUS;
        tokens[i++] = digit + value;
        if (length >= 3) tokens[i] = CLOSE;
        return length % 2 == 0 ? (5 - value) % 5 : value;
    }
    const int64_t left_length = 1 + (int64_t)random_below(random, (uint64_t)(length - 4));
    const int32_t operation = draw_symbol(random, PLUS, operators);
    tokens[0] = OPEN;
    const int32_t left = draw_expression(random, left_length, operators, digit, tokens + 1);
    tokens[left_length + 1] = operation;
    const int32_t right = draw_expression(random, length - 3 - left_length, operators, digit,
                                          tokens + left_length + 2);
    tokens[length - 1] = CLOSE;
    if (operation == PLUS) return (left + right) % 5;
    return operation == MINUS ? (left + 5 - right) % 5 : left * right % 5;
}

void draw_brackets(Random *random, int64_t k, Word *word) {
    const int32_t value = draw_expression(random, k, 3, DIGIT, word->prompt);
    word->prompt[k] = EQUALS;
    word->prompt_length = k + 1;
    word_answer(word, DIGIT + value);
}

/* expression = value, one digit of the expression hidden. It is the first one at or after a uniform
 * place, going round. */
void draw_equation(Random *random, int64_t k, Word *word) {
    enum { UNKNOWN = DIGIT, ACT, NUMBER };
    const int32_t value = draw_expression(random, k, 2, NUMBER, word->prompt);
    int64_t place = (int64_t)random_below(random, (uint64_t)k);
    while (word->prompt[place] < NUMBER) place = (place + 1) % k;
    word_answer(word, word->prompt[place]);
    word->prompt[place] = UNKNOWN;
    word->prompt[k] = EQUALS;
    word->prompt[k + 1] = NUMBER + value;
    word->prompt[k + 2] = ACT;
    word->prompt_length = k + 3;
}
