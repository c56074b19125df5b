/* Pattern attention on a GPU: what its kernels share. Here a piece of the pattern is a list of
 * queries and a list of keys for each head (for residues, for each of them too) in which query
 * number i sees the keys low(i) .. high(i) - 1, both growing with i: blocks own some rows of one
 * list and walk over the part of the other that any of them sees. Rows are read where they lie,
 * rounded to what products read. */
#ifndef LONGHAUL_OPS_PATTERN_ATTENTION_CUH
#define LONGHAUL_OPS_PATTERN_ATTENTION_CUH

#include "engine/ops/attention/attention.cuh"
#include "engine/ops/pattern_attention/pattern_attention.h"

struct PatternCall {
    PatternAttention a;
    PieceKind kind;
    int piece, batch, heads, width, length;
    int lists; /* of one head */
    const float *q, *k, *v;
    int64_t q_row, k_row;
    const float *r, *u, *w; /* relative scores; r NULL: none */
    int distances;          /* rows of r */
    float *out, *log_sum;   /* (B, L, H d) and (B, H, L), base 2 */
    const float *g;         /* dO */
    float *delta;           /* dO . O, (B, H, L) */
    float *dq, *dk, *dv;    /* NULL: not wanted */
    bool add_q, add_k;
    float scale;
    bool fours;  /* rows are read in aligned fours */
    float *sums; /* of relative scores' gradients: (H, slots, distances + 2 warps, width) */
    int slots;

    __device__ int queries(int list) const {
        const int l = (int)a.length;
        return kind == PIECE_RESIDUES ? (length - list + l - 1) / l : length;
    }
    __device__ int keys(int list) const {
        if (kind == PIECE_SUMMARIES) return (length - 1) / (int)a.length * (int)a.summaries;
        return queries(list);
    }
    __device__ int64_t query_position(int list, int i) const {
        return kind == PIECE_RESIDUES ? list + (int64_t)i * a.length : i;
    }
    __device__ int64_t key_position(int list, int h, int j) const {
        return kind == PIECE_SUMMARIES ? pattern_summary(&a, h, j) : query_position(list, j);
    }
    __device__ int low(int i) const {
        const int l = (int)a.length, segment = i / l * l;
        if (kind == PIECE_OWN) return segment;
        if (kind == PIECE_BEFORE) return segment > a.memory ? segment - (int)a.memory : 0;
        if (kind == PIECE_WINDOW) return i >= l ? i - l + 1 : 0;
        return 0;
    }
    __device__ int high(int i) const {
        const int l = (int)a.length;
        if (kind == PIECE_OWN) return i + 1;
        if (kind == PIECE_SUMMARIES) return i / l * (int)a.summaries;
        if (kind == PIECE_RESIDUES) return piece ? i : i + 1;
        return i / l * l;
    }
    /* The first query that sees a key from j on, and the end of those that see one up to j. */
    __device__ int first_query(int j) const {
        const int l = (int)a.length;
        if (kind == PIECE_OWN) return j;
        if (kind == PIECE_RESIDUES) return piece ? j + 1 : j;
        return ((kind == PIECE_SUMMARIES ? j / (int)a.summaries : j / l) + 1) * l;
    }
    __device__ int end_query(int list, int j) const {
        const int l = (int)a.length, all = queries(list);
        int64_t end = all;
        if (kind == PIECE_OWN) end = (int64_t)(j / l + 1) * l;
        if (kind == PIECE_BEFORE) end = ((j + a.memory) / l + 1) * l;
        if (kind == PIECE_WINDOW) end = j + l;
        return end < all ? (int)end : all;
    }
};

/* Tiles: rows that a block owns and rows that it meets at a time. */
template <class M, int D> struct PatternShape {
    typedef typename M::Element Element;
    static constexpr int ROW_BYTES = D * (int)sizeof(Element);
    static constexpr int WARPS = ROW_BYTES <= 128 ? 4 : 2, THREADS = WARPS * WARP;
    static constexpr int OWN = WARPS * ATTENTION_STRIP, MET = ROW_BYTES <= 256 ? 32 : 16;
    static constexpr int BAND = OWN + MET; /* distances between two tiles */
    static constexpr int X_ROW =
        MET + ATTENTION_STRIP + 4; /* floats of a row of a warp's band, forward */
};

/* Which rows a block owns. */
struct PatternPlace {
    int64_t b;
    int h, list, first;
    __device__ PatternPlace(const PatternCall &x, int64_t number, int tiles, int own) {
        first = (int)(number % tiles) * own;
        const int64_t head = number / tiles;
        list = (int)(head % x.lists);
        h = (int)(head / x.lists % x.heads);
        b = head / x.lists / x.heads;
    }
};

/* tile[n] = the row that row(n) points at, plus `bias`, zero where it is NULL. */
template <class M, int D, int ROWS, class Row>
__device__ __forceinline__ void pattern_load(const PatternCall &x,
                                             const SharedTile<typename M::Element, D> &tile,
                                             const float *bias, const Row &row) {
    for (int n = (int)threadIdx.x; n < ROWS * (D / 4); n += PatternShape<M, D>::THREADS) {
        const int c = n % (D / 4) * 4;
        const float *from = row(n / (D / 4));
        Lanes<4> four = {};
        if (from && x.fours && c < x.width) four = load<4>(from + c);
        for (int e = 0; e < 4 && from; e++) {
            if (c + e >= x.width) continue;
            if (!x.fours) four.of[e] = from[c + e];
            if (bias) four.of[e] += bias[c + e];
        }
        M::store(tile.at((unsigned)(n / (D / 4)), (unsigned)c), four);
    }
}

/* Rows of a piece in memory, NULL beyond the list. */
__device__ static inline const float *pattern_query(const PatternCall &x, const PatternPlace &place,
                                                    const float *from, int64_t row, int i) {
    if (i < 0 || i >= x.queries(place.list)) return NULL;
    return from + (place.b * x.length + x.query_position(place.list, i)) * row +
           (int64_t)place.h * x.width;
}
__device__ static inline const float *pattern_row(const PatternCall &x, const PatternPlace &place,
                                                  const float *from, int j) {
    if (j < 0 || j >= x.keys(place.list)) return NULL;
    return from + (place.b * x.length + x.key_position(place.list, place.h, j)) * x.k_row +
           (int64_t)place.h * x.width;
}
__device__ static inline const float *pattern_distance(const PatternCall &x, int h, int t) {
    if (t < 0 || t >= x.distances) return NULL;
    return x.r + (int64_t)t * x.heads * x.width + (int64_t)h * x.width;
}

/* Sum over the eight lanes that hold the same columns of a strip. */
__device__ static inline float column_sum(float x) {
    for (unsigned by = 4; by < WARP; by *= 2) x += across(x, by);
    return x;
}

static_assert((int)PATTERN_WIDEST == (int)ATTENTION_TILE_WIDTH, "no head is cut into parts");
/* body.operator()<Products, width>() */
template <class Body> void pattern_with(const Run *run, int64_t width, const Body &body) {
    with_products(run, [&]<class M>() { with_head_width<M>(width, body); });
}

/* Rows of the longest list. */
static inline int64_t pattern_longest(const PatternCall &x) {
    return x.kind == PIECE_RESIDUES ? (x.length + x.a.length - 1) / x.a.length : x.length;
}

void pattern_forward_piece(const Run *run, const PatternCall &call);
void pattern_query_gradient(const Run *run, const PatternCall &call);
void pattern_key_gradient(const Run *run, const PatternCall &call);
void pattern_step_forward(const Run *run, const OpCall *call);

#endif
