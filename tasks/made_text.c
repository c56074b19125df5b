#include "tasks/made_text.h"

#include <math.h>
#include <string.h>

static void put(MadeText *text, uint8_t byte) {
    if (text->count < text->room) text->bytes[text->count++] = byte;
}

void made_piece(MadeText *text, const char *piece) {
    for (; *piece; piece++) put(text, (uint8_t)*piece);
}

void made_word(MadeText *text, int64_t n) {
    static const char consonants[] = "bdfgklmnprstvz", vowels[] = "aeiou";
    enum { CONSONANTS = sizeof consonants - 1, VOWELS = sizeof vowels - 1 };
    enum { SYLLABLES = CONSONANTS * VOWELS };
    if (text->count > 0) put(text, ' ');
    /* two syllables or more: numbers in base 70, the lowest digit first */
    for (int digit = 0; digit < 2 || n > 0; digit++, n /= SYLLABLES) {
        const int syllable = (int)(n % SYLLABLES);
        put(text, (uint8_t)consonants[syllable / VOWELS]);
        put(text, (uint8_t)vowels[syllable % VOWELS]);
    }
}

/* By Zipf's law, continuously: the density of rank r is proportional to 1 / r. */
static int64_t draw_rank(Random *random, int64_t range) {
    const int64_t rank = (int64_t)exp(random_real(random) * log((double)range + 1)) - 1;
    return rank < range ? rank : range - 1;
}

void made_sentence(MadeText *text, Random *random, int64_t first, int64_t range, int64_t words) {
    for (int64_t i = 0; i < words; i++) made_word(text, first + draw_rank(random, range));
    put(text, '.');
}
