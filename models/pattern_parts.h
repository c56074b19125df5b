/* What models share that attend to a part of the earlier positions. */
#ifndef LONGHAUL_MODELS_PATTERN_PARTS_H
#define LONGHAUL_MODELS_PATTERN_PARTS_H

#include "engine/ops/pattern_attention/pattern_attention.h"

/* q (B, L, 3 H d), channels q | k | v, and kv NULL; or q (B, L, H d) and kv (B, L, 2 G d), G heads
 * of keys and values, each for H / G heads of queries -> (B, L, H d), without memory and relative
 * scores; token by token with the cache SCOPE.cache of the keys and values that the pattern may
 * still show. */
Tensor *pattern_attend(Tape *tape, Tensor *q, Tensor *kv, const PatternAttention *pattern);

#endif
