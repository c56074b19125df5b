/* Products of numbers rounded to bf16 (8 significant bits), summed in float32, for kernels.
 *
 * Two numbers that follow each other in the sum share a lane, the earlier one in the lower half.
 * Processors with AVX512-BF16 multiply and add both halves in one instruction, the upper half
 * first, each with one rounding; elsewhere two fused operations do the same, or a multiplication
 * and an addition, as a product of two bf16 is exact in float32 (unless it overflows: the portable
 * kernels then have infinity where the others may come back from it). That instruction takes
 * numbers below 2^-126 for zero, in its inputs and its sums. So that this never shows, rounding
 * here makes zero of what is below 2^-56: products are then multiples of 2^-126, and so are their
 * sums, which leaves every path the same bits. */
#ifndef LONGHAUL_BF16_SIMD_H
#define LONGHAUL_BF16_SIMD_H

#include <stdbool.h>

#include "engine/simd.h"

typedef uint32_t vword __attribute__((vector_size(4 * LANES)));

/* To the nearest bf16, ties to even; not-a-number stays that. */
static inline vfloat v_round_bf16(vfloat x) {
    const vword bits = (vword)x;
    const vword near = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000;
    const vfloat rounded = v_select(x == x, (vfloat)near, (vfloat)(bits & 0xFFFF0000));
    return v_select(v_abs(x) < 0x1p-56f, v_zero(), rounded);
}

/* Rounds both; lane by lane a pair. */
static inline vfloat v_pair(vfloat earlier, vfloat later) {
    return (vfloat)((vword)v_round_bf16(earlier) >> 16 | (vword)v_round_bf16(later));
}

/* The pair at p in every lane: arithmetic on it would spoil what is not a float. */
static inline vfloat v_set_bits(const float *p) {
    uint32_t bits;
    memcpy(&bits, p, sizeof bits);
    return (vfloat)(bits | (vword){0});
}

/* Does this processor have the instruction? The kernels of other sets do not ask. */
static inline bool has_pair_product(void) {
#if LANES == 16
    return __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

/* sum + x y over both halves of each lane. `instruction`, a constant of the caller: has it. */
ALWAYS_INLINE vfloat v_add_pairs(vfloat sum, vfloat x, vfloat y, const bool instruction) {
#if LANES == 16
    if (instruction) { /* written out, because the file is compiled for processors without it */
        __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(x), "v"(y));
        return sum;
    }
#endif
    (void)instruction;
    sum += (vfloat)((vword)x & 0xFFFF0000) * (vfloat)((vword)y & 0xFFFF0000);
    return sum + (vfloat)((vword)x << 16) * (vfloat)((vword)y << 16);
}

#endif
