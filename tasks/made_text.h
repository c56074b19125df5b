/* Made-up words and sentences for the stand-ins of text data sets. */
#ifndef LONGHAUL_MADE_TEXT_H
#define LONGHAUL_MADE_TEXT_H

#include <stdint.h>

#include "engine/random.h"

/* A text being written; what does not fit is left out. */
typedef struct MadeText {
    uint8_t *bytes;
    int64_t count, room;
} MadeText;

/* Word number n, after a blank unless the text is empty: syllables of a consonant and a vowel, two
 * of them below 4,900. Different numbers give different words. */
void made_word(MadeText *text, int64_t n);

/* A literal piece, as it is. */
void made_piece(MadeText *text, const char *piece);

/* `words` words by Zipf's law from numbers first .. first+range-1, and a full stop. */
void made_sentence(MadeText *text, Random *random, int64_t first, int64_t range, int64_t words);

#endif
