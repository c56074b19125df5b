/* Bytes as tokens; texts of a to z and blanks (text8) have 27 of them. */
#include <stdlib.h>
#include <string.h>

#include "tasks/byte_text.h"
#include "tasks/sampling.h"
#include "tasks/unit.h"

enum { LETTERS = 27 };

typedef struct Alphabet {
    bool letters;
} Alphabet;

static Status byte_size(const UnitSettings *settings, int64_t *ids, Error *error) {
    (void)error;
    *ids = settings->letters ? LETTERS : 256;
    return STATUS_OK;
}

static Status byte_open(const UnitSettings *settings, const Text *train, void **lexicon,
                        Error *error) {
    (void)train, (void)error;
    Alphabet *alphabet = scratch_open(sizeof *alphabet);
    alphabet->letters = settings->letters;
    *lexicon = alphabet;
    return STATUS_OK;
}

static void byte_encode(const void *lexicon, const Text *text, Tokens *tokens) {
    const Alphabet *alphabet = lexicon;
    const size_t starts = (size_t)(text->documents + 1) * sizeof *tokens->starts;
    *tokens = (Tokens){.narrow = scratch_open((size_t)text->count + 1),
                       .starts = scratch_open(starts),
                       .count = text->count,
                       .documents = text->documents};
    memcpy(tokens->starts, text->starts, starts);
    for (int64_t t = 0; t < text->count; t++) {
        const uint8_t byte = text->bytes[t];
        tokens->narrow[t] = !alphabet->letters ? byte : byte == ' ' ? 0 : (uint8_t)(byte - 'a' + 1);
    }
}

static void spell(const void *lexicon, int64_t id, char text[TASK_SPELL_BYTES]) {
    const Alphabet *alphabet = lexicon;
    const int64_t byte = !alphabet->letters ? id : id == 0 ? ' ' : 'a' + id - 1;
    byte_spell(NULL, NULL, byte + 1, text);
}

const Unit unit_byte = {
    .name = "byte",
    .size = byte_size,
    .open = byte_open,
    .close = free,
    .encode = byte_encode,
    .spell = spell,
};
