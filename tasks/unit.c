#include "tasks/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"

void tokens_open(Tokens *tokens, const Text *text) {
    const size_t most = (size_t)(text->count + text->documents) + 1;
    *tokens = (Tokens){
        .wide = memory_take(most * sizeof *tokens->wide),
        .ends = memory_take(most * sizeof *tokens->ends),
        .starts = memory_take((size_t)(text->documents + 1) * sizeof *tokens->starts),
    };
}

void tokens_add(Tokens *tokens, int32_t id, int64_t end) {
    tokens->wide[tokens->count] = id;
    tokens->ends[tokens->count++] = (uint32_t)end;
}

void tokens_document(Tokens *tokens) {
    tokens->starts[tokens->documents++] = tokens->count;
}

void tokens_finish(Tokens *tokens) {
    const size_t count = (size_t)tokens->count + 1;
    tokens->starts[tokens->documents] = tokens->count;
    tokens->wide = memory_resize(tokens->wide, count * sizeof *tokens->wide);
    tokens->ends = memory_resize(tokens->ends, count * sizeof *tokens->ends);
}

void tokens_free(Tokens *tokens) {
    free(tokens->narrow);
    free(tokens->wide);
    free(tokens->ends);
    free(tokens->starts);
    *tokens = (Tokens){0};
}
