#include "models/pattern_parts.h"

#include "engine/ops/cache_append/cache_append.h"
#include "engine/ops/repeat/repeat.h"

static Tensor *step(Tape *tape, Tensor *q, Tensor *kv, const PatternAttention *pattern) {
    Tensor *position = tape_position(tape);
    const int64_t all = pattern->heads * pattern->width, width = kv ? extent(kv, 2) : 2 * all;
    const Shape shape = SHAPE(extent(q, 0), pattern_cache_rows(pattern, tape_horizon(tape)), width);
    Tensor *cache = cache_append(tape, tape_carry(tape, "cache", shape), kv ? kv : q, position,
                                 (CacheAppend){.column = kv ? 0 : all, .ring = true});
    tape_carry_out(tape, "cache", cache);
    return pattern_attention_step(tape, q, cache, position, NULL, pattern);
}

Tensor *pattern_attend(Tape *tape, Tensor *q, Tensor *kv, const PatternAttention *pattern) {
    if (tape_mode(tape) == TAPE_STEP) return step(tape, q, kv, pattern);
    const int64_t all = 2 * pattern->heads * pattern->width;
    if (kv && extent(kv, 2) < all) kv = repeat_heads(tape, kv, pattern->width, all / extent(kv, 2));
    return pattern_attention(tape, q, kv, NULL, NULL, pattern);
}
