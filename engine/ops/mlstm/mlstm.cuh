/* The mLSTM on a GPU: a call as its kernels see it, and the products of a block of four warps on
 * tiles of MLSTM_CHUNK x MLSTM_CHUNK results. Operands are brought to shared memory in parts of
 * PART terms, weighted and rounded on the way; a warp has STRIP_ROWS rows of the result. */
#ifndef LONGHAUL_OPS_MLSTM_CUH
#define LONGHAUL_OPS_MLSTM_CUH

#include <type_traits>

#include "engine/cuda/activation.cuh"
#include "engine/cuda/matrix.cuh"
#include "engine/cuda/quad.cuh"
#include "engine/ops/mlstm/mlstm_plan.h"

constexpr int T = MLSTM_CHUNK, THREADS = 128, PART = 32;
constexpr int STRIP_ROWS = 16; /* of a warp */
constexpr int COLUMN_PAIRS = T / 8;
static_assert(T == THREADS / (int)WARP * STRIP_ROWS,
              "the warps of a block cover the rows of a tile");

struct MlstmCall {
    MlstmPlan plan;
    const float *q, *k, *v, *gates;
    float *notes;  /* as MLSTM_SAVED_NOTES */
    float *states; /* as MLSTM_SAVED_STATES */
    float *h;
    /* backward */
    const float *dh;
    float *to_dot;                /* (B, H, chunks, T): gradient of n . q */
    float *dstates;               /* gradients of the states */
    float *differences;           /* (B, H, chunks, T): q . dq - k . dk */
    float *dq, *dk, *dv, *dgates; /* NULL: not wanted */
    bool add_q, add_k, add_v, add_gates;
};

/* A chunk of one head. */
struct MlstmChunk {
    int64_t unit, number; /* b H + head; of the head's chunks */
    int count;            /* tokens */
    bool enters, leaves;  /* a state comes in; one goes out */
    const float *notes;
    int64_t first_key, first_value; /* of the first token in (B, L, H dk) and (B, L, H dv) */
    int64_t key_row, value_row;
    __device__ MlstmChunk(const MlstmCall &x, int64_t unit, int64_t number)
        : unit(unit), number(number) {
        const MlstmPlan &p = x.plan;
        const int64_t left = p.L - number * T, row = unit / p.H * p.L + number * T;
        count = left < T ? (int)left : (int)T;
        enters = number > 0;
        leaves = number + 1 < p.chunks;
        notes = x.notes + (unit * p.chunks + number) * MLSTM_NOTES * T;
        key_row = p.H * p.dk;
        value_row = p.H * p.dv;
        first_key = row * key_row + unit % p.H * p.dk;
        first_value = row * value_row + unit % p.H * p.dv;
    }
    __device__ float note(int which, int i) const {
        return notes[which * T + i];
    }
    /* Of token j in the state behind the chunk, and at token i, where it has not come yet: 0. */
    __device__ float leaving(int j) const {
        return fast_exp2(note(MLSTM_NOTE_S, j) - note(MLSTM_NOTE_R, count - 1));
    }
    __device__ float weight(int i, int j) const {
        if (j > i || i >= count) return 0.0f;
        return fast_exp2(note(MLSTM_NOTE_S, j) - note(MLSTM_NOTE_R, i));
    }
    /* Where the states before and behind the chunk lie, or their gradients. */
    __device__ int64_t state_before(const MlstmPlan &p) const {
        return (unit * (p.chunks - 1) + number - 1) * p.state;
    }
    __device__ int64_t state_behind(const MlstmPlan &p) const {
        return state_before(p) + p.state;
    }
};

/* Sums of a warp's rows, as lanes hold them (matrix.cuh). */
struct MlstmSums {
    float of[COLUMN_PAIRS][4];
    /* body(row, column, sum) for all of the lane's, rows and columns in the tile */
    template <class Body> __device__ void each(const Body &body) {
        const int row = (int)(threadIdx.x / WARP * STRIP_ROWS + lane_row());
#pragma unroll
        for (int n = 0; n < COLUMN_PAIRS; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                body(row + e / 2 * 8, n * 8 + (int)lane_column() + e % 2, of[n][e]);
    }
};

template <class M> __device__ static inline typename M::Element mlstm_rounded(float x) {
    if constexpr (sizeof(typename M::Element) == sizeof(bfloat))
        return bfloat_of(x);
    else if constexpr (std::is_same_v<M, ProductsOfTf32>)
        return float_of_bits(tf32_bits(x));
    else
        return x;
}
/* square[row][column] = the sums, or turned: square[column][row]. */
template <class M, bool TURNED = false>
__device__ static inline void store_square(MlstmSums &sums,
                                           const SharedTile<typename M::Element, T> &square) {
    sums.each([&](int row, int column, float x) {
        *square.at((unsigned)(TURNED ? column : row), (unsigned)(TURNED ? row : column)) =
            mlstm_rounded<M>(x);
    });
}

/* Shared memory of a block: parts of both operands, and squares that stay. */
template <class M, int SQUARES> struct MlstmSpace {
    typedef typename M::Element Element;
    typedef SharedTile<Element, PART> Part;
    typedef SharedTile<Element, T> Square;
    Element *start;
    __device__ MlstmSpace() : start(shared_memory<Element>()) {
    }
    __device__ Part part(int operand) const {
        return {start + operand * T * PART};
    }
    __device__ Square square(int number) const {
        return {start + 2 * T * PART + number * T * T};
    }
    static size_t bytes() {
        return (2 * T * PART + SQUARES * T * T) * sizeof(Element);
    }
};

/* tile[row][i] = get(row, first + i), i < PART. ALONG: neighbouring i lie side by side in memory,
 * otherwise neighbouring rows do. */
template <class M, bool ALONG, class Get>
__device__ static inline void bring(const SharedTile<typename M::Element, PART> &tile, int first,
                                    const Get &get) {
    for (int at = (int)threadIdx.x; at < T * PART / 4; at += THREADS) {
        const int row = ALONG ? at / (PART / 4) : at % T;
        const int i = (ALONG ? at % (PART / 4) : at / T) * 4;
        Lanes<4> four;
#pragma unroll
        for (int e = 0; e < 4; e++) four.of[e] = get(row, first + i + e);
        M::store(tile.at((unsigned)row, (unsigned)i), four);
    }
}

template <class M, class Tile>
__device__ static inline void add_part(MlstmSums &sums, const Tile &a_tile, int column,
                                       const SharedTile<typename M::Element, PART> &b_tile) {
    const unsigned row = threadIdx.x / WARP * STRIP_ROWS;
#pragma unroll
    for (int s = 0; s < PART; s += M::DEPTH) {
        typename M::A a;
        M::load_a(a, a_tile, row, (unsigned)(column + s));
#pragma unroll
        for (int n = 0; n < COLUMN_PAIRS; n += 2) {
            typename M::B b;
            M::load_b_rows(b, b_tile, (unsigned)n * 8, (unsigned)s);
            M::multiply(sums.of[n], sums.of[n + 1], a, b);
        }
    }
}

/* sums[row][column] += sum over i < terms of a(row, i) b(column, i); both are zero outside. */
template <class M, bool A_ALONG, bool B_ALONG, class Space, class A, class B>
__device__ static inline void add_product(MlstmSums &sums, const Space &space, int64_t terms,
                                          const A &a, const B &b) {
    for (int first = 0; first < terms; first += PART) {
        __syncthreads(); /* the parts before are read */
        bring<M, A_ALONG>(space.part(0), first, a);
        bring<M, B_ALONG>(space.part(1), first, b);
        __syncthreads();
        add_part<M>(sums, space.part(0), 0, space.part(1));
    }
}

/* The same with a square that is there: sum over all T columns i of square[row][i] b(column, i). */
template <class M, bool B_ALONG, class Space, class B>
__device__ static inline void add_square(MlstmSums &sums, const Space &space, int square,
                                         const B &b) {
    for (int first = 0; first < T; first += PART) {
        __syncthreads();
        bring<M, B_ALONG>(space.part(1), first, b);
        __syncthreads();
        add_part<M>(sums, space.square(square), first, space.part(1));
    }
}

/* Rows of a matrix whose rows below `rows` and columns below `columns` exist. */
struct MlstmRows {
    const float *from;
    int64_t row;
    int rows, columns;
    __device__ float at(int r, int c) const {
        return r < rows && c < columns ? from[r * row + c] : 0.0f;
    }
};
__device__ static inline MlstmRows keys_of(const MlstmCall &x, const MlstmChunk &c,
                                           const float *from) {
    return {from + c.first_key, c.key_row, c.count, (int)x.plan.dk};
}
__device__ static inline MlstmRows values_of(const MlstmCall &x, const MlstmChunk &c,
                                             const float *from) {
    return {from + c.first_value, c.value_row, c.count, (int)x.plan.dv};
}
/* C of a state, (dk, dv). */
__device__ static inline MlstmRows memory_of(const MlstmCall &x, const float *state) {
    return {state, x.plan.dv, (int)x.plan.dk, (int)x.plan.dv};
}

/* body.operator()<Products>() with those of the run. */
template <class Body> void mlstm_with(const Run *run, const Body &body) {
    if (run->products == PRODUCTS_BF16)
        body.template operator()<ProductsOfBf16>();
    else if (run->products == PRODUCTS_TF32)
        body.template operator()<ProductsOfTf32>();
    else
        body.template operator()<ProductsOfFloat>();
}

/* What all chunks but one add to a state, tile by tile, then added up along the chunks. to:
 * MlstmCall.states or dstates. */
void mlstm_forward_states(const Run *run, const MlstmCall &x);
void mlstm_backward_states(const Run *run, const MlstmCall &x);

#endif
