/* Corpora that were tokenised before: a plain binary file for each text in the cache folder, named
 * after everything that decides its tokens. docs/data.md describes the format. */
#ifndef LONGHAUL_TOKEN_CACHE_H
#define LONGHAUL_TOKEN_CACHE_H

#include "tasks/unit.h"

enum { TOKEN_KEY_BYTES = 65 };

/* Shorter texts are tokenised again each time: that is as quick as reading. */
enum { TOKEN_CACHE_LEAST = 1 << 20 };

/* SHA-256 in hexadecimal of unit, settings, vocabulary and text. train: the training text, from
 * which some units take their vocabulary. */
Status token_cache_key(const Unit *unit, const UnitSettings *settings, const Text *train,
                       const Text *text, char key[TOKEN_KEY_BYTES], Error *error);

/* False when there is none, or when it is damaged, which is then said on standard error. */
bool token_cache_read(const char *key, Tokens *tokens);

/* A cache that cannot be written is said on standard error and does no harm. */
void token_cache_write(const char *key, const Tokens *tokens);

/* The unit's encode through the cache. STATUS_DATA, STATUS_USAGE of the unit's files. */
Status token_cache_encode(const Unit *unit, const UnitSettings *settings, const void *lexicon,
                          const Text *train, const Text *text, Tokens *tokens, Error *error);

#endif
