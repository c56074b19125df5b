/* Corpora that were tokenised before: a plain binary file for each text in the cache folder, named
 * after everything that decides its tokens. docs/data.md describes the format. */
#ifndef LONGHAUL_TOKEN_CACHE_H
#define LONGHAUL_TOKEN_CACHE_H

#include "tasks/unit.h"

/* Shorter texts are tokenised again each time: that is as quick as reading. */
enum { TOKEN_CACHE_LEAST = 1 << 20 };

/* The unit's encode through the cache. STATUS_DATA, STATUS_USAGE of the unit's files. */
Status token_cache_encode(const Unit *unit, const UnitSettings *settings, const void *lexicon,
                          const Text *train, const Text *text, Tokens *tokens, Error *error);

#endif
