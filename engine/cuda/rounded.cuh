/* bfloat16: the upper half of a float32, rounded to nearest, ties to even. Matrix products with
 * Run.products = PRODUCTS_BF16 read copies of their operands in it; everything else, master weights
 * and sums included, stays in float32. */
#ifndef LONGHAUL_CUDA_ROUNDED_H
#define LONGHAUL_CUDA_ROUNDED_H

#include "engine/cuda/pieces.cuh"

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
    bfloat *data;
    int64_t ld; /* numbers from row to row: a multiple of 8, so that rows begin at 16 bytes */

    /* Behind the matrix's columns x is zero (pieces.cuh). */
    __device__ void put(int64_t row, int64_t first, const Piece &x) const {
        struct alignas(16) Eight {
            bfloat of[PIECE];
        } eight;
        for (int e = 0; e < PIECE; e++) eight.of[e] = bfloat_of(x.of[e]);
        *reinterpret_cast<Eight *>(data + row * ld + first) = eight;
    }
};

static inline int64_t rounded_ld(int64_t columns) {
    return (columns + PIECE - 1) / PIECE * PIECE;
}
static inline size_t rounded_space(int64_t rows, int64_t columns) {
    return carved(rows * rounded_ld(columns), sizeof(bfloat));
}
/* Room for the copy of a (rows, columns) matrix; a run without bfloat16 gets none. */
static inline Rounded rounded_place(const Run *run, int64_t rows, int64_t columns, Carver *carver) {
    const int64_t ld = rounded_ld(columns);
    return {run->products == PRODUCTS_BF16 ? carver->take<bfloat>(rows * ld) : NULL, ld};
}

/* The copy of a (rows, columns) matrix with rows ld apart, taken from the carver, zeros behind a
 * row; what a run without bfloat16 gets is empty and costs nothing. */
static inline Rounded rounded(const Run *run, const float *data, int64_t rows, int64_t columns,
                              int64_t ld, Carver *carver) {
    const Rounded copy = rounded_place(run, rows, columns, carver);
    if (!copy.data) return copy;
    const Pieces from = pieces_of(data, columns, ld);
    for_each_piece(run, rows, columns, [=] __device__(int64_t row, int64_t first) {
        copy.put(row, first, from.get(row, first));
    });
    return copy;
}

/* Copies of inputs that both phases of a call read, in the order in which both ask for them:
 * forward makes them where the plan keeps room (OpCall.kept) and backward finds them there;
 * otherwise each makes its own in its scratch. */
struct RoundedInputs {
    const Run *run;
    Carver *scratch;
    Carver kept;
    bool keeps, made;
    RoundedInputs(const OpCall *call, const Run *of, Phase phase, Carver *carver)
        : run(of), scratch(carver), kept{static_cast<unsigned char *>(call->kept)},
          keeps(call->kept_bytes > 0), made(keeps && phase == PHASE_BACKWARD) {
    }
    Rounded copy(const float *data, int64_t rows, int64_t columns) {
        Carver *const carver = keeps ? &kept : scratch;
        return made ? rounded_place(run, rows, columns, carver)
                    : rounded(run, data, rows, columns, columns, carver);
    }
};

#endif
