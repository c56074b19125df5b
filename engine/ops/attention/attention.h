/* Softmax attention (Vaswani et al. 2017, section 3.2.1, arXiv:1706.03762), exact, without the
 * score matrix in memory: tiles and a running maximum forward, scores made again backward from one
 * saved log-sum-exp a row (FlashAttention-2, Dao 2023, arXiv:2307.08691, algorithms 1 and 2).
 *
 *     O_i = sum_j P_ij V_j,   P_i = softmax_j(Q_i . K_j / sqrt(d)),   j over the visible keys
 *
 * A query without any visible key gives zeros and takes no gradient. */
#ifndef LONGHAUL_OPS_ATTENTION_H
#define LONGHAUL_OPS_ATTENTION_H

#include <math.h>

#include "engine/tape.h"

typedef struct Attention {
    int64_t heads;    /* H, of queries */
    int64_t kv_heads; /* Hk, of keys and values; divides H (grouped-query attention) */
    int64_t width;    /* d, of one head */
    bool causal;      /* query i sees keys j <= i + Lk - Lq: the last query sees all of them */
    double dropout;   /* probability of dropping a weight P_ij while training */
} Attention;

extern const Op op_attention;

/* Self-attention of qkv (B, L, (H + 2 Hk) d), channels q | k | v, each head by head.
 * lengths: int32 (B), keys from lengths[b] on are hidden; NULL for none. Result (B, L, H d). */
Tensor *attention_packed(Tape *tape, Tensor *qkv, Tensor *lengths, const Attention *attributes);

/* q (B, Lq, H d), k and v (B, Lk, Hk d): three different tensors; or k (B, Lk, 2 Hk d), channels k
 * | v, and v NULL. Result (B, Lq, H d). */
Tensor *attention(Tape *tape, Tensor *q, Tensor *k, Tensor *v, Tensor *lengths,
                  const Attention *attributes);

/* One step of decoding, without gradient: the query is the first H d channels of qkv (B, 1, ...),
 * packed or the query alone, keys and values are rows 0 .. position of cache (B, Lmax, 2 Hk d),
 * channels k | v. position: int32 (1). Result (B, 1, H d). */
Tensor *attention_step(Tape *tape, Tensor *qkv, Tensor *cache, Tensor *position,
                       const Attention *attributes);

/* Inputs of the recorded call. */
enum { ATTENTION_Q, ATTENTION_K, ATTENTION_V, ATTENTION_LENGTHS, ATTENTION_POSITION };

/* The call as kernels see it. Head h of query row i of sequence b is at q + (b Lq + i) q_row + h d;
 * k, v and the gradients likewise. */
typedef struct AttentionView {
    int64_t batch, heads, kv_heads, width, queries, keys; /* B H Hk d Lq Lk */
    int64_t group;                        /* H / Hk queries heads share a key head */
    int64_t q_column, k_column, v_column; /* where the part begins in its tensor */
    int64_t q_row, k_row, v_row;          /* floats from row to row */
    int q_input, k_input, v_input;        /* which input holds the part */
    const int32_t *lengths;               /* NULL: all keys of every sequence */
    bool causal;
    int64_t offset; /* causal: query i sees keys up to i + offset */
    float scale;    /* 1 / sqrt(d) */
} AttentionView;

/* lengths and offset are read from the host's copies: kernels of a device have their own. */
static inline AttentionView attention_view(const OpCall *call) {
    const Attention *a = (const Attention *)call->attributes;
    const Tensor *q = call->in[ATTENTION_Q], *k = call->in[ATTENTION_K], *v = call->in[ATTENTION_V];
    const Tensor *lengths = call->inputs > ATTENTION_LENGTHS ? call->in[ATTENTION_LENGTHS] : NULL;
    const Tensor *step = call->inputs > ATTENTION_POSITION ? call->in[ATTENTION_POSITION] : NULL;
    AttentionView view = {0};
    view.batch = extent(q, 0);
    view.heads = a->heads;
    view.kv_heads = a->kv_heads;
    view.width = a->width;
    view.group = a->heads / a->kv_heads;
    view.queries = extent(q, 1);
    view.q_row = extent(q, 2);
    view.causal = a->causal;
    view.scale = (float)(1.0 / sqrt((double)a->width));
    view.k_input = k ? ATTENTION_K : ATTENTION_Q;
    view.v_input = v ? ATTENTION_V : view.k_input;
    view.k_column = k ? 0 : a->heads * a->width;
    view.v_column = v ? 0 : view.k_column + a->kv_heads * a->width;
    view.k_row = extent(call->in[view.k_input], 2);
    view.v_row = extent(call->in[view.v_input], 2);
    view.keys = extent(call->in[view.k_input], 1);
    view.offset = view.keys - view.queries;
    if (lengths) view.lengths = lengths->host_integers;
    if (step && step->host_integers) {
        view.causal = true;
        view.offset = step->host_integers[0];
    }
    return view;
}

/* Queries in a tile, keys in a block, and most queries that share a copy of the keys. The first two
 * are multiples of every register block's extents (4, 6 or 8 rows by 8, 16 or 32 lanes). */
enum { ATTENTION_QUERIES = 48, ATTENTION_KEYS = 96, ATTENTION_CHUNK = 288 };

/* Backward splits the queries of one key head into this many parts, each with its own sums for dK
 * and dV, when there are too few key heads to share out. A function of the shape alone. */
int64_t attention_parts(const AttentionView *view);

/* Scratch floats of one thread. */
int64_t attention_scratch(const AttentionView *view, Phase phase);

/* Visible keys of sequence b for any query: keys end .. Lk-1 are hidden from all. */
static inline int64_t attention_keys(const AttentionView *view, int64_t b) {
    int64_t end = view->keys;
    if (view->lengths && view->lengths[b] < end) end = view->lengths[b];
    return end < 0 ? 0 : end;
}

/* Dropout of weight (b, h, i, j): 16 random bits of the Philox block with number
 * (j / 8) 2^32 + (b H + h) Lq + i, word j / 2 mod 4, the low half for even j; dropped when below
 * the threshold. The probability is rounded to 16 bits and the scale of what is kept is the inverse
 * of its exact complement, so the mean is unchanged. */
typedef struct AttentionDropout {
    uint32_t threshold; /* 0: none in this run */
    float scale;
    uint32_t key[2];
    uint64_t item;
} AttentionDropout;

AttentionDropout attention_dropout(const OpCall *call, const Run *run);
static inline uint32_t attention_threshold(const OpCall *call, const Run *run) {
    const double probability = ((const Attention *)call->attributes)->dropout;
    return run->training && probability > 0 ? (uint32_t)lrint(probability * 65536) : 0;
}
static inline float attention_kept_scale(uint32_t threshold) {
    return (float)(65536.0 / (65536.0 - threshold));
}

void attention_reference(const ReferenceCall *call);

#endif
