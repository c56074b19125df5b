/* bfloat16: the upper half of a float32, rounded to nearest, ties to even. Matrix products with
 * Run.products = PRODUCTS_BF16 read copies of their operands in it; everything else, master weights
 * and sums included, stays in float32. */
#ifndef LONGHAUL_CUDA_ROUNDED_H
#define LONGHAUL_CUDA_ROUNDED_H

#include "engine/cuda/elements.cuh"
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

/* Two of them, the first in the low half; and four or eight, by one access of 8 or 16 bytes of
 * device memory: the compiler makes several of what is written without saying so. */
#ifdef LONGHAUL_EMULATED
static inline uint32_t two_bf16(float low, float high) {
    return bfloat_of(low) | (uint32_t)bfloat_of(high) << 16;
}
template <int N> static inline void store_rounded(bfloat *to, const float (&x)[N]) {
    for (int i = 0; i < N; i++) to[i] = bfloat_of(x[i]);
}
#else
__device__ static inline uint32_t two_bf16(float low, float high) {
    uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
__device__ static inline void store_rounded(bfloat *to, const float (&x)[4]) {
    asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)),
                 "r"(two_bf16(x[0], x[1])), "r"(two_bf16(x[2], x[3]))
                 : "memory");
}
__device__ static inline void store_rounded(bfloat *to, const float (&x)[8]) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)),
                 "r"(two_bf16(x[0], x[1])), "r"(two_bf16(x[2], x[3])), "r"(two_bf16(x[4], x[5])),
                 "r"(two_bf16(x[6], x[7]))
                 : "memory");
}
#endif

/* A matrix's copy in bfloat16; data is NULL when the run asks for none. */
struct Rounded {
    bfloat *data;
    int64_t ld; /* numbers from row to row: a multiple of 8, so that rows begin at 16 bytes */

    /* Behind the matrix's columns x is zero (pieces.cuh). */
    __device__ void put(int64_t row, int64_t first, const Piece &x) const {
        static_assert(PIECE == 8);
        store_rounded(data + row * ld + first, x.of);
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

/* An input in float32 or, where the plan says that every reader rounds it, in bfloat16. */
struct Source {
    const float *data;
    const bfloat *rounded;

    __host__ __device__ Source from(int64_t first) const {
        return rounded ? Source{NULL, rounded + first} : Source{data + first, NULL};
    }
    __device__ float one(int64_t i) const {
        return rounded ? float_of(rounded[i]) : data[i];
    }
    /* Numbers first .. first+3, from a multiple of four on. */
    __device__ Four four(int64_t first) const {
        struct alignas(8) Few {
            bfloat of[FOUR];
        };
        if (!rounded) return load<FOUR>(data + first);
        const Few few = *reinterpret_cast<const Few *>(rounded + first);
        return {
            {float_of(few.of[0]), float_of(few.of[1]), float_of(few.of[2]), float_of(few.of[3])}};
    }
};
static inline Source source_of(const OpCall *call, int i) {
    const Tensor *in = call->in[i];
    if (in->type == TENSOR_BF16) return {NULL, in->rounded};
    return {in->data, NULL};
}

/* A result in float32 or, where the plan says that every reader rounds it, in bfloat16: rows are
 * then whole pieces. */
struct Result {
    float *data;
    bfloat *rounded;

    /* Numbers first .. first+V-1; only float32 is added to. */
    template <int V>
    __device__ void put(int64_t first, const Lanes<V> &x, bool accumulate = false) const {
        if (!rounded) return ::put(data + first, x, accumulate);
        if constexpr (V == FOUR)
            store_rounded(rounded + first, x.of);
        else
            for (int e = 0; e < V; e++) rounded[first + e] = bfloat_of(x.of[e]);
    }
    /* first .. first+3, or as many as there are of n */
    __device__ void put_some(int64_t first, int64_t n, const Four &x) const {
        if (rounded || first + FOUR <= n) return put<FOUR>(first, x);
        for (int e = 0; e < FOUR; e++)
            if (first + e < n) data[first + e] = x.of[e];
    }
};
static inline Result result_of(const OpCall *call, int j) {
    const Tensor *out = call->out[j];
    if (out->type == TENSOR_BF16) return {NULL, out->rounded};
    return {out->data, NULL};
}

/* in[i] as products read it: rounded as it is, or the plan's copy, which this call makes if it is
 * the first to read it, or one of its own in scratch; a run without bfloat16 gets an empty one. */
static inline Rounded rounded_input(const OpCall *call, const Run *run, int i, Phase phase,
                                    Carver *scratch) {
    const Tensor *in = call->in[i];
    const int64_t rows = rows_of(in), columns = extent(in, -1);
    if (in->type == TENSOR_BF16) return {in->rounded, columns};
    Carver own = {reinterpret_cast<unsigned char *>(call->copies[i])};
    const bool has = call->has_copy >> i & 1u, makes = call->makes_copy >> i & 1u;
    if (has && (phase == PHASE_BACKWARD || !makes)) return rounded_place(run, rows, columns, &own);
    return rounded(run, in->data, rows, columns, columns, has ? &own : scratch);
}
static inline size_t rounded_input_scratch(const OpCall *call, int i) {
    const Tensor *in = call->in[i];
    const bool own =
        call->products == PRODUCTS_BF16 && in->type != TENSOR_BF16 && !(call->has_copy >> i & 1u);
    return own ? rounded_space(rows_of(in), extent(in, -1)) : 0;
}

#endif
