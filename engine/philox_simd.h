/* Philox4x32-10 (engine/random.h) for LANES / 2 blocks at a time, bit for bit the scalar words. */
#ifndef LONGHAUL_PHILOX_SIMD_H
#define LONGHAUL_PHILOX_SIMD_H

#include "engine/simd.h"

typedef uint64_t vwide __attribute__((vector_size(4 * LANES)));
typedef uint32_t vword __attribute__((vector_size(4 * LANES)));

/* Blocks that one call produces, and the words in them. */
enum { PHILOX_BLOCKS = LANES / 2, PHILOX_WORDS = 2 * LANES };

/* Product of the lower halves of the 64-bit lanes. */
static inline vwide v_multiply_low(vwide a, uint32_t b) {
#if defined(__AVX512F__)
    return (vwide)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(b));
#elif defined(__AVX2__)
    return (vwide)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#else
    return (a & 0xFFFFFFFFu) * (uint64_t)b;
#endif
}

/* The keys of the ten rounds. */
typedef struct PhiloxKeys {
    vwide first[10], second[10];
} PhiloxKeys;

static inline PhiloxKeys philox_keys(const uint32_t key[2]) {
    PhiloxKeys keys;
    for (uint32_t round = 0; round < 10; round++) {
        keys.first[round] = (vwide){0} + (uint64_t)(key[0] + round * 0x9E3779B9u);
        keys.second[round] = (vwide){0} + (uint64_t)(key[1] + round * 0xBB67AE85u);
    }
    return keys;
}

/* Words of blocks block .. block + PHILOX_BLOCKS - 1 of an item, in order, in two vectors. Only the
 * lower half of a 64-bit lane has meaning until the end. */
static inline void v_philox(const PhiloxKeys *keys, uint64_t item, uint64_t block, vword out[2]) {
#if LANES == 16
    const vwide count = {0, 1, 2, 3, 4, 5, 6, 7};
#elif LANES == 8
    const vwide count = {0, 1, 2, 3};
#else
    const vwide count = {0, 1};
#endif
    const vwide number = count + block;
    vwide c0 = number, c1 = number >> 32;
    vwide c2 = (vwide){0} + (item & 0xFFFFFFFFu), c3 = (vwide){0} + (item >> 32);
    for (int round = 0; round < 10; round++) {
        const vwide p0 = v_multiply_low(c0, 0xD2511F53u), p1 = v_multiply_low(c2, 0xCD9E8D57u);
        c0 = (p1 >> 32) ^ c1 ^ keys->first[round];
        c2 = (p0 >> 32) ^ c3 ^ keys->second[round];
        c1 = p1;
        c3 = p0;
    }
    const vwide first = (c0 & 0xFFFFFFFFu) | c1 << 32, second = (c2 & 0xFFFFFFFFu) | c3 << 32;
#if LANES == 16
    out[0] = (vword)__builtin_shufflevector(first, second, 0, 8, 1, 9, 2, 10, 3, 11);
    out[1] = (vword)__builtin_shufflevector(first, second, 4, 12, 5, 13, 6, 14, 7, 15);
#elif LANES == 8
    out[0] = (vword)__builtin_shufflevector(first, second, 0, 4, 1, 5);
    out[1] = (vword)__builtin_shufflevector(first, second, 2, 6, 3, 7);
#else
    out[0] = (vword)__builtin_shufflevector(first, second, 0, 2);
    out[1] = (vword)__builtin_shufflevector(first, second, 1, 3);
#endif
}

#endif
