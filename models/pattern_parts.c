#include "models/pattern_parts.h"

#include "engine/ops/cache_append/cache_append.h"
#include "engine/ops/repeat/repeat.h"

static Tensor *step(Tape *tape, Tensor *q, Tensor *kv, const PatternAttention *pattern) {
    const int64_t rows = pattern_cache_rows(pattern, tape_horizon(tape));
    Tensor *cache = cache_append(
        tape, "cache", rows, kv ? kv : q,
        (CacheAppend){.column = kv ? 0 : pattern->heads * pattern->width, .ring = true});
    return pattern_attention_step(tape, q, cache, tape_position(tape), NULL, pattern);
}

Tensor *pattern_attend(Tape *tape, Tensor *q, Tensor *kv, const PatternAttention *pattern) {
    if (tape_mode(tape) == TAPE_STEP) return step(tape, q, kv, pattern);
    const int64_t all = 2 * pattern->heads * pattern->width;
    if (kv && extent(kv, 2) < all) kv = repeat_heads(tape, kv, pattern->width, all / extent(kv, 2));
    return pattern_attention(tape, q, kv, NULL, NULL, pattern);
}
