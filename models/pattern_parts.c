#include "models/pattern_parts.h"

#include "engine/ops/cache_append/cache_append.h"

Tensor *pattern_attend(Tape *tape, Tensor *qkv, const PatternAttention *pattern) {
    const int64_t D = pattern->heads * pattern->width;
    if (tape_mode(tape) != TAPE_STEP)
        return pattern_attention(tape, qkv, NULL, NULL, NULL, pattern);
    Tensor *position = tape_position(tape);
    const int64_t rows = pattern_cache_rows(pattern, tape_horizon(tape));
    Tensor *cache =
        cache_append(tape, tape_carry(tape, "cache", SHAPE(extent(qkv, 0), rows, 2 * D)), qkv,
                     position, (CacheAppend){.column = D, .ring = true});
    tape_carry_out(tape, "cache", cache);
    return pattern_attention_step(tape, qkv, cache, position, NULL, pattern);
}
