/* Attention on a GPU: what its kernels share. Before the kernels, q, k, v (and dO) are copied head
 * by head, rounded to what the products read, rows padded with zeros to a fixed width and to whole
 * tiles: the loops copy 16 bytes at a time and never look at a boundary. */
#ifndef LONGHAUL_OPS_ATTENTION_CUH
#define LONGHAUL_OPS_ATTENTION_CUH

#include "engine/cuda/activation.cuh"
#include "engine/cuda/matrix.cuh"
#include "engine/cuda/philox.cuh"
#include "engine/cuda/quad.cuh"
#include "engine/ops/attention/attention.h"

enum {
    ATTENTION_THREADS = 128, /* of a block: four warps */
    ATTENTION_WARPS = ATTENTION_THREADS / WARP,
    ATTENTION_ROWS = 128,       /* copies have a multiple of so many rows */
    ATTENTION_TILE_WIDTH = 128, /* widest head that a tile holds; wider ones have parts */
    ATTENTION_PART = 2 * ATTENTION_TILE_WIDTH, /* channels of a part */
    ATTENTION_STRIP = 16,                      /* rows of a product */
    ATTENTION_TURN = 64                        /* queries that Hopper's backward takes at a time */
};

/* What backward knows of a query: log-sum-exp, base 2, and dO . O; infinity and 0 for rows that
 * only fill a tile. */
struct AttentionNote {
    float log_sum, delta;
};
struct alignas(16) AttentionNotes {
    AttentionNote of[2]; /* neighbouring queries */
};

struct AttentionDropped {
    const RunValues *values;
    uint64_t stream;
    uint32_t threshold; /* 0: none in this run */
    float scale;
};

/* A call as kernels see it. Copies are (B, H or Hk, padded rows, padded width). */
struct AttentionCall {
    int64_t batch, heads, kv_heads, group, width;
    int queries, keys, padded_queries, padded_keys;
    bool causal;
    int offset;               /* causal: query i sees keys up to i + offset */
    float scale, score_scale; /* 1 / sqrt(d), and that times log2(e) */
    const int32_t *lengths;   /* in device memory, like all that follows; NULL: all keys */
    AttentionDropped dropped;
    const void *q, *k, *v, *g;  /* copies; g: dO */
    const AttentionNote *notes; /* (B, H, padded queries) */
    int64_t heads_at_once;      /* whose keys and values stay in the second-level cache */
    float *out, *log_sum;       /* results of forward */
    float *dq, *dk, *dv;        /* first element of the part in its tensor; NULL: not wanted */
    int64_t q_row, k_row, v_row;
    bool add_q, add_k, add_v;
    unsigned *numbers; /* what blocks that take numbers count up; zero before the launch */
    /* Of attention_backward_warpgroups: sums for dQ, (B, H, padded queries, padded width) as its
     * threads hold them, and how many blocks have added to those of ATTENTION_TURN queries, zero
     * before the launch. */
    float *query_sums;
    unsigned *added;
    int parts; /* of a head wider than a tile: its width is padded to so many */
};

/* Visible keys of sequence b for any query. */
__device__ static inline int attention_end(const AttentionCall &x, int64_t b) {
    const int length = x.lengths ? x.lengths[b] : x.keys;
    return length < 0 ? 0 : length < x.keys ? length : x.keys;
}
/* And for query i. */
__device__ static inline int attention_seen(const AttentionCall &x, int end, int i) {
    return x.causal && i + x.offset + 1 < end ? i + x.offset + 1 : end;
}

/* Which tile number n of all is, `tiles` a head. Heads whose keys fit in the cache together run
 * together, those with the longest rows first where `descending`. */
struct AttentionPlace {
    int64_t b, h;
    int tile;
};
__device__ static inline AttentionPlace attention_place(const AttentionCall &x, int64_t heads,
                                                        int tiles, bool descending,
                                                        unsigned number) {
    const unsigned together = (unsigned)x.heads_at_once, set = together * (unsigned)tiles;
    const unsigned within = number % set, tile = within / together;
    const unsigned head = number / set * together + within % together;
    return {head / (unsigned)heads, head % (unsigned)heads,
            descending ? tiles - 1 - (int)tile : (int)tile};
}
/* The tile of a block that works at one. */
__device__ static inline AttentionPlace attention_place(const AttentionCall &x, int64_t heads,
                                                        int tiles, bool descending) {
    return attention_place(x, heads, tiles, descending, blockIdx.x);
}

/* Four numbers of each of four lanes whose numbers differ in the bits low and high: transposed. */
__device__ static inline void transpose_lanes(uint32_t w[4], unsigned low, unsigned high) {
    const bool odd = threadIdx.x & low, upper = threadIdx.x & high;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        const uint32_t got = __shfl_xor_sync(0xFFFFFFFFu, odd ? w[i] : w[i + 1], low);
        w[i] = odd ? got : w[i];
        w[i + 1] = odd ? w[i + 1] : got;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint32_t got = __shfl_xor_sync(0xFFFFFFFFu, upper ? w[i] : w[i + 2], high);
        w[i] = upper ? got : w[i];
        w[i + 2] = upper ? w[i + 2] : got;
    }
}

/* Factor of weight (b, h, i, j); row: (b H + h) Lq + i. */
struct AttentionKeep {
    uint32_t key[2], item[2], threshold;
    float scale;
    __device__ explicit AttentionKeep(const AttentionDropped &dropped) {
        threshold = dropped.threshold;
        scale = dropped.scale;
        if (!threshold) return;
        philox_key(dropped.values->seed, dropped.stream, key);
        item[0] = (uint32_t)dropped.values->pass;
        item[1] = (uint32_t)(dropped.values->pass >> 32);
    }
    /* The words for keys 8 block .. 8 block + 7. */
    __device__ void draw(uint32_t row, uint32_t block, uint32_t words[4]) const {
        const uint32_t counter[4] = {row, block, item[0], item[1]};
        philox_block(key, counter, words);
    }
    /* words[u]: this lane's word (its two columns of scores) of block + u, for u < 4. The four
     * lanes of a row draw one block each. */
    __device__ void draw_columns(uint32_t row, uint32_t block, uint32_t words[4]) const {
        draw(row, block + threadIdx.x % 4, words);
        transpose_lanes(words, 1, 2);
    }
    /* The same for transposed scores: rows of a strip are keys, from block on, and columns queries,
     * from row on. words[n % 2 * 2 + r][c]: of key lane_row() + 8 r and query 8 n + lane_column() +
     * c, for n < 2. The eight lanes of a column draw one block each. */
    __device__ void draw_rows(uint32_t row, uint32_t block, uint32_t words[4][2]) const {
        const unsigned lane = lane_row();
        uint32_t own[4];
        draw(row + lane / 4 * 8 + lane_column() + lane % 2, block + lane / 2 % 2, own);
        transpose_lanes(own, 8, 16);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint32_t other = __shfl_xor_sync(0xFFFFFFFFu, own[i], 4);
            words[i][0] = lane % 2 ? other : own[i];
            words[i][1] = lane % 2 ? own[i] : other;
        }
    }
    __device__ float factor(uint32_t word, bool high) const {
        return (high ? word >> 16 : word & 0xFFFFu) < threshold ? 0.0f : scale;
    }
};

/* row = or += x0 and x1 in columns c and c + 1, of `width`. */
__device__ static inline void attention_put(float *row, int64_t c, int64_t width, float x0,
                                            float x1, bool add) {
    if (c + 1 < width && width % 2 == 0) { /* rows then begin at even places of the tensor */
        Lanes<2> *to = reinterpret_cast<Lanes<2> *>(row + c);
        const Lanes<2> before = add ? *to : Lanes<2>{};
        *to = {{before.of[0] + x0, before.of[1] + x1}};
        return;
    }
    if (c < width) put(row + c, x0, add);
    if (c + 1 < width) put(row + c + 1, x1, add);
}

/* Whose queries a block has, and how many keys they see: the block's last, its warp's last and its
 * warp's first. A warp has STRIPS strips of them. */
template <int ROWS, int STRIPS> struct AttentionQueries {
    AttentionPlace place;
    int64_t head, kv_head; /* of all */
    int first, end;        /* query; visible keys of the sequence */
    int block_end, warp_first, warp_end, warp_full;
    __device__ AttentionQueries(const AttentionCall &x, unsigned warp)
        : place(attention_place(x, x.heads, (x.queries + ROWS - 1) / ROWS, true)) {
        head = place.b * x.heads + place.h;
        kv_head = place.b * x.kv_heads + place.h / x.group;
        first = place.tile * ROWS;
        end = attention_end(x, place.b);
        const int last = first + ROWS < x.queries ? first + ROWS - 1 : x.queries - 1;
        block_end = attention_seen(x, end, last);
        warp_first = first + (int)warp * STRIPS * ATTENTION_STRIP;
        warp_end = warp_first < x.queries
                       ? attention_seen(x, end, warp_first + STRIPS * ATTENTION_STRIP - 1)
                       : 0;
        warp_full = attention_seen(x, end, warp_first);
    }
};

/* Two stages of a tile of keys and one of values. */
template <class M, int D, int KEYS> struct AttentionStages {
    typedef typename M::Element Element;
    typedef SharedTile<Element, D> Tile;
    Element *start;
    const Element *keys, *values; /* of the head */
    __device__ AttentionStages(const AttentionCall &x, int64_t kv_head, Element *space)
        : start(space), keys(static_cast<const Element *>(x.k) + kv_head * x.padded_keys * D),
          values(static_cast<const Element *>(x.v) + kv_head * x.padded_keys * D) {
    }
    __device__ Tile k(int stage) const {
        return {start + stage * 2 * KEYS * D};
    }
    __device__ Tile v(int stage) const {
        return {start + (stage * 2 + 1) * KEYS * D};
    }
    __device__ void fetch(int stage, int key) const {
        k(stage).template copy_rows<KEYS, ATTENTION_THREADS>(keys + (int64_t)key * D);
        v(stage).template copy_rows<KEYS, ATTENTION_THREADS>(values + (int64_t)key * D);
    }
};

/* Scores of a strip whose lane has queries i and i + 8, for keys from `key` on: those that a query
 * does not see weigh nothing. */
template <int N>
__device__ __forceinline__ void attention_hide(const AttentionCall &x, int end, int i, int key,
                                               float (&s)[N][4]) {
    const int column = (int)lane_column();
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int seen = attention_seen(x, end, i + r * 8) - key;
#pragma unroll
        for (int n = 0; n < N; n++) {
            if (n * 8 + column >= seen) s[n][2 * r] = -INFINITY;
            if (n * 8 + column + 1 >= seen) s[n][2 * r + 1] = -INFINITY;
        }
    }
}

/* Scores of the lane's query r become weights, relative to the largest score so far. Returns what
 * sums so far are worth now. */
template <int N>
__device__ __forceinline__ float attention_weigh(float (&s)[N][4], int r, float scale,
                                                 float &largest, float &sum) {
    float top = largest;
#pragma unroll
    for (int n = 0; n < N; n++) top = fmaxf(top, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
    top = fmaxf(top, across(top, 1));
    top = fmaxf(top, across(top, 2));
    /* a query that has seen no key yet: 0, so that no infinities are subtracted */
    const float zero = top == -INFINITY ? 0.0f : top, start = zero * scale;
    const float before = fast_exp2((largest - zero) * scale);
    largest = top;
    float total[2] = {};
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 2 * r; i < 2 * r + 2; i++) {
            s[n][i] = fast_exp2(s[n][i] * scale - start);
            total[i % 2] += s[n][i];
        }
    sum = sum * before + (total[0] + total[1]);
    return before;
}

/* What is left of query i when all keys have been seen: its result, from a channel on, and its
 * log-sum-exp. */
template <int N>
__device__ __forceinline__ void
attention_finish(const AttentionCall &x, const AttentionPlace &place, int i, const float (&o)[N][4],
                 int r, float largest, float sum, int channel = 0) {
    const float total = quad_sum(sum);
    if (i >= x.queries) return;
    const int column = (int)lane_column();
    const float inverse = total > 0 ? 1.0f / total : 0.0f;
    float *const to = x.out + ((place.b * x.queries + i) * x.heads + place.h) * x.width;
#pragma unroll
    for (int n = 0; n < N; n++)
        attention_put(to, channel + n * 8 + column, x.width, o[n][2 * r] * inverse,
                      o[n][2 * r + 1] * inverse, false);
    if (channel + column == 0)
        x.log_sum[(place.b * x.heads + place.h) * x.queries + i] =
            total > 0 ? largest * x.score_scale + log2f(total) : INFINITY;
}

/* c += A B^T: `strips` strips of a tile from `row` on by all rows of another. */
template <class M, int STRIPS, int COLUMNS, int D>
__device__ __forceinline__ void attention_scores(float (&c)[STRIPS][COLUMNS / 8][4],
                                                 const SharedTile<typename M::Element, D> &a_tile,
                                                 unsigned row,
                                                 const SharedTile<typename M::Element, D> &b_tile) {
#pragma unroll
    for (int s = 0; s < D / M::DEPTH; s++) {
        typename M::A a[STRIPS];
#pragma unroll
        for (int m = 0; m < STRIPS; m++)
            M::load_a(a[m], a_tile, row + m * ATTENTION_STRIP, s * M::DEPTH);
#pragma unroll
        for (int n = 0; n < COLUMNS / 16; n++) {
            typename M::B b;
            M::load_b_rows(b, b_tile, n * 16, s * M::DEPTH);
#pragma unroll
            for (int m = 0; m < STRIPS; m++) M::multiply(c[m][2 * n], c[m][2 * n + 1], a[m], b);
        }
    }
}

/* c += P B: P from registers, rows of B as many as P has columns. */
template <class M, int STRIPS, int COLUMNS, int D>
__device__ __forceinline__ void attention_sums(float (&c)[STRIPS][D / 8][4],
                                               const float (&p)[STRIPS][COLUMNS / 8][4],
                                               const SharedTile<typename M::Element, D> &b_tile) {
#pragma unroll
    for (int s = 0; s < COLUMNS / M::DEPTH; s++) {
        typename M::A a[STRIPS];
#pragma unroll
        for (int m = 0; m < STRIPS; m++) M::from_sums(a[m], p[m] + s * (M::DEPTH / 8));
#pragma unroll
        for (int n = 0; n < D / 16; n++) {
            typename M::B b;
            M::load_b_columns(b, b_tile, s * M::DEPTH, n * 16);
#pragma unroll
            for (int m = 0; m < STRIPS; m++) M::multiply(c[m][2 * n], c[m][2 * n + 1], a[m], b);
        }
    }
}

/* body.operator()<M, width>() with the least width of a tile that holds the head. */
template <class M, class Body> void with_head_width(int64_t width, const Body &body) {
    if (width <= 16)
        body.template operator()<M, 16>();
    else if (width <= 32)
        body.template operator()<M, 32>();
    else if (width <= 64)
        body.template operator()<M, 64>();
    else
        body.template operator()<M, ATTENTION_TILE_WIDTH>();
}
/* Calls body.operator()<Products, width>() with that width, or that of a part of a wider head. */
template <class Body> void attention_with(const Run *run, int64_t width, const Body &body) {
    with_products(run, [&]<class M>() {
        if (width > ATTENTION_TILE_WIDTH)
            body.template operator()<M, ATTENTION_PART>();
        else
            with_head_width<M>(width, body);
    });
}
template <class M> constexpr bool attention_on_tensor_cores = !requires(typename M::B b) {
    b.x;
};

/* Calls launch.operator()<whether weights are dropped>(). Float kernels always ask: one fewer. */
template <class M, class Launch> void attention_launch(const AttentionCall &x, Launch launch) {
    if constexpr (attention_on_tensor_cores<M>)
        if (!x.dropped.threshold) return launch.template operator()<false>();
    launch.template operator()<true>();
}

void attention_forward_tiles(const Run *run, const AttentionCall &call);
void attention_query_gradient(const Run *run, const AttentionCall &call);
void attention_key_gradient(const Run *run, const AttentionCall &call);
/* The same for copies that lie in tiles (warpgroup.cuh), without dropout; all three gradients. */
void attention_forward_warpgroups(const Run *run, const AttentionCall &call);
void attention_backward_warpgroups(const Run *run, const AttentionCall &call);

/* The step of decoding: one query over a cache. */
size_t attention_step_scratch(const OpCall *call);
void attention_step_forward(const OpCall *call, const Run *run);

#endif
