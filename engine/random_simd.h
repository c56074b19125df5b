/* Philox4x32-10 in vector lanes, for kernels: the same blocks as philox() in engine/random.h. */
#ifndef LONGHAUL_RANDOM_SIMD_H
#define LONGHAUL_RANDOM_SIMD_H

#include "engine/simd.h"

typedef uint32_t vuint __attribute__((vector_size(4 * LANES)));

static inline vuint v_set_unsigned(uint32_t x) {
    return x + (vuint){0};
}

/* The 64-bit products of a and m: upper and lower halves. */
static inline void v_multiply_wide(vuint a, uint32_t m, vuint *high, vuint *low) {
#if defined(__AVX512F__)
    const __m512i factor = _mm512_set1_epi64(m);
    const __m512i even = _mm512_mul_epu32((__m512i)a, factor);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32), factor);
    *low = (vuint)_mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
    *high = (vuint)_mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
#elif defined(__AVX2__)
    const __m256i factor = _mm256_set1_epi64x(m);
    const __m256i even = _mm256_mul_epu32((__m256i)a, factor);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)a, 32), factor);
    *low = (vuint)_mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA);
    *high = (vuint)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
#else
    for (int i = 0; i < LANES; i++) {
        const uint64_t product = (uint64_t)a[i] * m;
        (*low)[i] = (uint32_t)product;
        (*high)[i] = (uint32_t)(product >> 32);
    }
#endif
}

/* One block per lane: counter words c[0..3] become the output words. */
static inline void v_philox(const uint32_t key[2], vuint c[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        vuint high0, low0, high1, low1;
        v_multiply_wide(c[0], 0xD2511F53u, &high0, &low0);
        v_multiply_wide(c[2], 0xCD9E8D57u, &high1, &low1);
        c[0] = high1 ^ c[1] ^ k0;
        c[2] = high0 ^ c[3] ^ k1;
        c[1] = low1;
        c[3] = low0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

#endif
