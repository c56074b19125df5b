/* Vectors of floats for kernels. A kernel file (NAME_cpu.c) is compiled once per instruction set;
 * LANES is 16, 8 or 4 accordingly, and the same source serves all of them through GCC's vector
 * extension, which clang shares. a * b + c becomes one fused operation where the set has it.
 *
 * Rule for bit-equal results: an element is always computed by the same vector code, tails included
 * (v_load_part / v_store_part), so that where a chunk begins or ends never changes a bit. */
#ifndef LONGHAUL_SIMD_H
#define LONGHAUL_SIMD_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif

#if defined(__AVX2__)
#include <immintrin.h>
#endif

/* For element loops that are written once and compiled per constant argument. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

typedef float vfloat __attribute__((vector_size(4 * LANES)));
typedef int32_t vint __attribute__((vector_size(4 * LANES)));
typedef uint32_t vuint __attribute__((vector_size(4 * LANES))); /* for sums that wrap */
typedef float vfloat_unaligned __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline vfloat v_load(const float *p) {
    return *(const vfloat_unaligned *)p;
}
static inline void v_store(float *p, vfloat v) {
    *(vfloat_unaligned *)p = v;
}
static inline vfloat v_set(float x) {
    return x - (vfloat){0};
}
static inline vfloat v_zero(void) {
    return (vfloat){0};
}

/* The first n lanes (0 < n <= LANES) from memory, the others zero; and their store. */
static inline vfloat v_load_part(const float *p, int64_t n) {
    if (n >= LANES) return v_load(p);
#if defined(__AVX512F__)
    return (vfloat)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1u), p);
#elif defined(__AVX2__)
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return (vfloat)_mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane));
#else
    vfloat v = {0};
    memcpy(&v, p, (size_t)n * sizeof(float));
    return v;
#endif
}
static inline void v_store_part(float *p, vfloat v, int64_t n) {
    if (n >= LANES) {
        v_store(p, v);
        return;
    }
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1u), (__m512)v);
#else
    memcpy(p, &v, (size_t)n * sizeof(float));
#endif
}

/* Lane-wise choice: mask lanes are all ones or all zeros, as comparisons produce them. */
static inline vfloat v_select(vint mask, vfloat yes, vfloat no) {
    return (vfloat)((mask & (vint)yes) | (~mask & (vint)no));
}
static inline vfloat v_max(vfloat a, vfloat b) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vfloat)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return v_select(a > b, a, b);
#endif
}
static inline vfloat v_min(vfloat a, vfloat b) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vfloat)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return v_select(a < b, a, b);
#endif
}
static inline vfloat v_abs(vfloat a) {
    return (vfloat)((vint)a & 0x7FFFFFFF);
}

/* Sums and maxima over lanes: pairwise, always in the same order. */
static inline float v_sum(vfloat v) {
    float lane[LANES];
    memcpy(lane, &v, sizeof lane);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}
static inline float v_largest(vfloat v) {
    float lane[LANES];
    memcpy(lane, &v, sizeof lane);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
    return lane[0];
}

#endif
