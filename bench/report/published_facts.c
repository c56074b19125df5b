/* Sizes in the sources' words: "d_model 64, 2 layers", "16k context, kv pairs 4", "~358M". */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "bench/report/published.h"

typedef enum Side { AFTER, BEFORE, AROUND } Side; /* where the number stands, seen from the word */

static const struct {
    const char *word;
    PublishedFact fact;
    Side side;
} fact_words[] = {
    {"d_model", FACT_WIDTH, AFTER},
    {"d", FACT_WIDTH, AFTER},
    {"width", FACT_WIDTH, AFTER},
    {"layers", FACT_LAYERS, BEFORE},
    {"layer", FACT_LAYERS, BEFORE},
    {"blocks", FACT_LAYERS, BEFORE},
    {"length", FACT_LENGTH, AFTER},
    {"len", FACT_LENGTH, AFTER},
    {"at", FACT_LENGTH, AFTER}, /* "trained at 256" */
    {"ctx", FACT_LENGTH, AFTER},
    {"context", FACT_LENGTH, AROUND}, /* "context 4096", "4096 context" */
    {"pairs", FACT_PAIRS, AFTER},
    {"vocab", FACT_VOCABULARY, AFTER},
    {"vocabulary", FACT_VOCABULARY, AFTER},
    {"data", FACT_SYMBOLS, BEFORE},  /* "16 data tokens" */
    {"byte", FACT_ALPHABET, BEFORE}, /* "256 byte values" */
    {"latents", FACT_LATENTS, BEFORE},
};

/* What may differ where both mean the same: thousandths of the number, and so many more.
 *
 * Length: sources count it without the tokens that ask or answer, up to two fewer; and Hyena's
 * table A.1 prints 4,098 and its doublings for powers of two, half a thousandth above them.
 *
 * Parameters: papers give two or three digits, which is up to 5 %, and programs of one architecture
 * differ by a few more in biases, norms, positions and heads; models of one size class that are
 * meant to differ are a quarter and more apart. */
static const struct {
    int thousandths, more;
} tolerance[FACTS] = {
    [FACT_LENGTH] = {1, 2},
    [FACT_PARAMETERS] = {100, 0},
};

static PublishedSize size_of(PublishedFact fact, int64_t low, int64_t high) {
    return (PublishedSize){.stated = low,
                           .least = low - low * tolerance[fact].thousandths / 1000,
                           .most = high + high * tolerance[fact].thousandths / 1000 +
                                   tolerance[fact].more};
}

static bool number_ends(const char *end) {
    return *end == '\0' || strchr(" ,;)", *end);
}

/* Of a size: nobody means more, and its thousandths can be counted. */
static const int64_t largest = 1000000000000000;

/* A whole number at text: "8192", or "16k", which is anything from 16 x 1000 to 16 x 1024, as
 * papers write 131k for 131,072. All 0 for a fraction, a range or no number. */
static PublishedSize whole_number(PublishedFact fact, const char *text) {
    char *end;
    if (!isdigit((unsigned char)*text)) return (PublishedSize){0};
    const int64_t value = strtoll(text, &end, 10);
    if (value > largest) return (PublishedSize){0};
    const bool thousands = *end == 'k' || *end == 'K';
    if (!number_ends(end + thousands)) return (PublishedSize){0};
    return thousands ? size_of(fact, value * 1000, value * 1024) : size_of(fact, value, value);
}

static bool word_byte(char byte) {
    return isalnum((unsigned char)byte) || byte == '_';
}

static void read_words(const char *text, PublishedSize facts[FACTS]) {
    const char *number = ""; /* the word before this one, when it began with a digit */
    for (const char *at = text; *at;) {
        if (!word_byte(*at)) {
            at++;
            continue;
        }
        size_t length = 1;
        while (word_byte(at[length])) length++;
        const char *after = at + length;
        while (*after == ' ' || *after == '=') after++;
        for (size_t i = 0; i < sizeof fact_words / sizeof *fact_words; i++) {
            const PublishedFact fact = fact_words[i].fact;
            const char *word = fact_words[i].word;
            if (strlen(word) != length || strncasecmp(at, word, length) != 0) continue;
            PublishedSize size = {0};
            if (fact_words[i].side != BEFORE) size = whole_number(fact, after);
            if (fact_words[i].side != AFTER && !size.stated) size = whole_number(fact, number);
            if (!facts[fact].stated) facts[fact] = size;
        }
        number = isdigit((unsigned char)*at) && (at == text || at[-1] == ' ') ? at : "";
        at += length;
    }
}

/* "137K", "974.6M", "~1.3B (listing)" among the words; 0 for none or a range. */
static int64_t parameter_count(const char *params) {
    static const struct {
        char letter;
        double scale;
    } units[] = {{'K', 1e3}, {'M', 1e6}, {'B', 1e9}};
    for (const char *at = params; *at; at++) {
        if (!isdigit((unsigned char)*at) || (at > params && !strchr(" ~", at[-1]))) continue;
        char *end;
        const double number = strtod(at, &end);
        for (size_t i = 0; i < sizeof units / sizeof *units; i++)
            if (*end == units[i].letter && number_ends(end + 1))
                return number * units[i].scale < (double)largest
                           ? (int64_t)(number * units[i].scale + 0.5)
                           : 0;
    }
    return 0;
}

void published_facts(const char *params, const char *setting, PublishedSize facts[FACTS]) {
    memset(facts, 0, FACTS * sizeof *facts);
    read_words(params, facts);
    read_words(setting, facts);
    const int64_t count = parameter_count(params);
    if (count) facts[FACT_PARAMETERS] = size_of(FACT_PARAMETERS, count, count);
}
