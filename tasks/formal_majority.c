/* Which symbol (ids 1 .. 63) is most frequent, and how often does it come? The paper names both
 * without a generator: symbols are uniform here, and words where two symbols tie are drawn again.
 */
#include "tasks/formal_language.h"
#include "tasks/mode.h"

enum { SYMBOLS = 63 };

static Mode draw_symbols(Random *random, int64_t k, Word *word) {
    int64_t counts[SYMBOLS + 1] = {0};
    Mode mode = {0};
    word->prompt_length = k;
    for (int64_t i = 0; i < k; i++)
        mode_add(&mode, counts, word->prompt[i] = draw_symbol(random, 1, SYMBOLS));
    return mode;
}

void draw_majority(Random *random, int64_t k, Word *word) {
    Mode mode;
    do mode = draw_symbols(random, k, word);
    while (mode.tied);
    word_answer(word, mode.symbol);
}

/* The count is itself a symbol, capped at the last one. */
void draw_majority_count(Random *random, int64_t k, Word *word) {
    const Mode mode = draw_symbols(random, k, word);
    word_answer(word, mode.count < SYMBOLS ? (int32_t)mode.count : SYMBOLS);
}
