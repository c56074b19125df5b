/* Tensor cores on the CPU: lanes exchange their registers and every lane
 * makes the results that the hardware would hand it. Inputs are read as the hardware reads them;
 * its order of summation is not known and sums here are plain float32. */
#ifndef LONGHAUL_CUDA_EMULATED_MATRIX_H
#define LONGHAUL_CUDA_EMULATED_MATRIX_H

#include "engine/cuda/rounded.cuh"

static inline void emulated_matrices(uint32_t r[4], const void *row, bool transposed) {
    if ((uintptr_t)row % 16) emulation::complain("a row of a matrix is not aligned");
    const auto rows = emulation::exchange(static_cast<const uint16_t *>(row));
    const unsigned far = emulated_lane() / 4, near = emulated_lane() % 4 * 2;
    for (unsigned m = 0; m < 4; m++) {
        const uint16_t low = transposed ? rows[m * 8 + near][far] : rows[m * 8 + far][near];
        const uint16_t high =
            transposed ? rows[m * 8 + near + 1][far] : rows[m * 8 + far][near + 1];
        r[m] = low | (uint32_t)high << 16;
    }
}
static inline void load_matrices(uint32_t r[4], const void *row) {
    emulated_matrices(r, row, false);
}
static inline void load_matrices_transposed(uint32_t r[4], const void *row) {
    emulated_matrices(r, row, true);
}

struct EmulatedOperands {
    uint32_t a[4], b[2];
};

static inline void multiply_bf16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    const auto all = emulation::exchange(EmulatedOperands{{a[0], a[1], a[2], a[3]}, {b0, b1}});
    const unsigned row = emulated_lane() / 4, column = emulated_lane() % 4 * 2;
    const auto half = [](uint32_t pair, unsigned which) {
        return float_of_bits(which ? pair & 0xFFFF0000u : pair << 16);
    };
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 16; k++)
            c[i] += half(all[row * 4 + k % 8 / 2].a[k / 8 * 2 + i / 2], k % 2) *
                    half(all[(column + i % 2) * 4 + k % 8 / 2].b[k / 8], k % 2);
}
static inline void multiply_tf32(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1) {
    const auto all = emulation::exchange(EmulatedOperands{{a[0], a[1], a[2], a[3]}, {b0, b1}});
    const unsigned row = emulated_lane() / 4, column = emulated_lane() % 4 * 2;
    const uint32_t kept = 0xFFFFE000u; /* what the hardware reads of a float */
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 8; k++)
            c[i] += float_of_bits(all[row * 4 + k % 4].a[k / 4 * 2 + i / 2] & kept) *
                    float_of_bits(all[(column + i % 2) * 4 + k % 4].b[k / 4] & kept);
}

static inline uint32_t tf32_bits(float x) {
    const uint32_t bits = bits_of(x);
    if ((bits & 0x7F800000u) == 0x7F800000u) return bits;
    return (bits + 0x1000u) & 0xFFFFE000u;
}
#endif
