/* bfloat16: the upper half of a float32, rounded to nearest, ties to even. Matrix products with
 * Run.products = PRODUCTS_BF16 read copies of their operands in it; everything else, master weights
 * and sums included, stays in float32. */
#ifndef LONGHAUL_CUDA_ROUNDED_H
#define LONGHAUL_CUDA_ROUNDED_H

#include "engine/cuda/grid.cuh"

typedef uint16_t bfloat;

#ifdef LONGHAUL_EMULATED
static inline uint32_t bits_of(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return bits;
}
static inline float float_of_bits(uint32_t bits) {
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
}
#else
__device__ static inline uint32_t bits_of(float x) {
    return __float_as_uint(x);
}
__device__ static inline float float_of_bits(uint32_t bits) {
    return __uint_as_float(bits);
}
#endif

/* Nearest float with `dropped` fewer bits of mantissa, as bits; not-a-number stays one. */
__device__ static inline uint32_t rounded_bits(float x, int dropped) {
    const uint32_t bits = bits_of(x), half = (1u << (dropped - 1)) - 1;
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return bits | 0x00400000u;
    return (bits + half + ((bits >> dropped) & 1)) & ~((1u << dropped) - 1);
}
__device__ static inline bfloat bfloat_of(float x) {
    return (bfloat)(rounded_bits(x, 16) >> 16);
}
__device__ static inline float float_of(bfloat x) {
    return float_of_bits((uint32_t)x << 16);
}

/* A matrix's copy in bfloat16; data is NULL when the run asks for none. */
struct Rounded {
    const bfloat *data;
    int64_t ld; /* numbers from row to row: a multiple of 8, so that rows begin at 16 bytes */
};

static inline int64_t rounded_ld(int64_t columns) {
    return (columns + 7) / 8 * 8;
}
static inline size_t rounded_space(int64_t rows, int64_t columns) {
    return carved(rows * rounded_ld(columns), sizeof(bfloat));
}

/* Pieces of eight numbers, a thread each: 32 bytes read, 16 written. */
enum { ROUNDED_PIECE = 8 };
struct alignas(16) RoundedPiece {
    bfloat of[ROUNDED_PIECE];
};

/* The copy of a (rows, columns) matrix with rows ld apart, taken from the carver, zeros behind a
 * row; what a run without bfloat16 gets is empty and costs nothing. */
static inline Rounded rounded(const Run *run, const float *data, int64_t rows, int64_t columns,
                              int64_t ld, Carver *carver) {
    Rounded copy = {NULL, rounded_ld(columns)};
    if (run->products != PRODUCTS_BF16) return copy;
    bfloat *const to = carver->take<bfloat>(rows * copy.ld);
    const bool aligned = ld % 4 == 0 && reinterpret_cast<uintptr_t>(data) % 16 == 0;
    const Divisor pieces = divide_by(copy.ld / ROUNDED_PIECE);
    for_each(run, rows * pieces.d, [=] __device__(int64_t i) {
        const int64_t row = pieces.of(i), first = (i - row * pieces.d) * ROUNDED_PIECE;
        const float *from = data + row * ld + first;
        Lanes<4> fours[2] = {};
        if (aligned && first + ROUNDED_PIECE <= columns)
            for (int k = 0; k < 2; k++) fours[k] = load<4>(from + 4 * k);
        else
            for (int e = 0; first + e < columns && e < ROUNDED_PIECE; e++)
                fours[e / 4].of[e % 4] = from[e];
        RoundedPiece piece;
        for (int e = 0; e < ROUNDED_PIECE; e++) piece.of[e] = bfloat_of(fours[e / 4].of[e % 4]);
        reinterpret_cast<RoundedPiece *>(to)[i] = piece;
    });
    copy.data = to;
    return copy;
}

#endif
