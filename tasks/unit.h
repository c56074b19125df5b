/* Units of language modelling: how a text becomes tokens. One constant each, listed in
 * tasks/unit.c. */
#ifndef LONGHAUL_UNIT_H
#define LONGHAUL_UNIT_H

#include <sha2.h>

#include "tasks/corpus.h"
#include "tasks/task.h"

/* What a unit may be told by the task's options. */
typedef struct UnitSettings {
    int64_t vocabulary; /* words: ids, the commonest words first; the rest is <unk> */
    const char *bpe;    /* byte pairs: folder of the vocabulary and the merges */
    bool letters;       /* the text has only a to z and blanks */
} UnitSettings;

/* The tokens of a text. Token t covers the bytes from the end of the token before it up to ends[t],
 * so the tokens tile the text. */
typedef struct Tokens {
    uint8_t *narrow; /* ids, when there are at most 256 and every byte is a token; or NULL */
    int32_t *wide;   /* ids otherwise */
    uint32_t *ends;  /* NULL: one byte each */
    int64_t count;
    int64_t *starts; /* of the documents, in tokens; documents + 1 */
    int64_t documents;
} Tokens;

typedef struct Unit {
    const char *name;
    /* Ids: 0 .. *ids-1. Reads no corpus. STATUS_USAGE, STATUS_DATA. */
    Status (*size)(const UnitSettings *settings, int64_t *ids, Error *error);
    /* What encoding needs, from the training text or from files of its own. */
    Status (*open)(const UnitSettings *settings, const Text *train, void **lexicon, Error *error);
    void (*close)(void *lexicon);
    /* Fills tokens.narrow or wide, ends, count, starts, documents. Document boundaries are token
     * boundaries. */
    void (*encode)(const void *lexicon, const Text *text, Tokens *tokens);
    void (*spell)(const void *lexicon, int64_t id, char text[TASK_SPELL_BYTES]);
    /* Adds what decides the tokens beside settings and texts: files of its own. NULL: encoding is
     * as quick as reading, and its tokens are not kept in the cache. */
    Status (*identify)(const UnitSettings *settings, SHA2_CTX *hash, Error *error);
} Unit;

extern const Unit unit_byte, unit_word, unit_bpe;

/* Memory for tokens of a text that has at most as many as it has bytes plus documents. */
void tokens_open(Tokens *tokens, const Text *text);
/* Appends one; `end` is the byte after it. Documents begin with tokens_document. */
void tokens_add(Tokens *tokens, int32_t id, int64_t end);
void tokens_document(Tokens *tokens);
/* After the last one: gives back what was not needed. */
void tokens_finish(Tokens *tokens);
void tokens_free(Tokens *tokens);

static inline int32_t token_at(const Tokens *tokens, int64_t t) {
    return tokens->narrow ? tokens->narrow[t] : tokens->wide[t];
}
/* Byte after token t. */
static inline int64_t token_end(const Tokens *tokens, int64_t t) {
    return tokens->ends ? (int64_t)tokens->ends[t] : t + 1;
}

#endif
