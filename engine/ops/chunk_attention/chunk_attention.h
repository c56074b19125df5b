/* Single-head attention with a bias for every distance, inside chunks of a sequence (Mega, Ma et
 * al. 2023, arXiv 2209.10655, sections 3.2 to 3.4):
 *
 *     O_i = sum_j f(s_i Q_i . K_j + bias(i - j)) V_j,   j over the visible keys of i's chunk
 *
 * f softmax over j with s = 1 / sqrt(Z); or element by element, with s one over the number of
 * visible keys: laplace, f(x) = (1 + erf((x - mu) / (sigma sqrt 2))) / 2 with mu = sqrt(1/2) and
 * sigma = sqrt(1 / (4 pi)), or the squared relu. Values may be of another width than queries and
 * keys. Scores are computed tile by tile and again in backward. */
#ifndef LONGHAUL_OPS_CHUNK_ATTENTION_H
#define LONGHAUL_OPS_CHUNK_ATTENTION_H

#include <math.h>

#include "engine/tape.h"

typedef enum AttentionFunction {
    ATTENTION_SOFTMAX,
    ATTENTION_LAPLACE,
    ATTENTION_SQUARED_RELU
} AttentionFunction;

typedef struct ChunkAttention {
    int64_t chunk;      /* C; sequences of up to C tokens are one chunk, the last may be shorter */
    int64_t ahead_from; /* distance that the first number of `ahead` belongs to, 0 or 1 */
    AttentionFunction function;
    bool causal; /* query i sees keys j <= i of its chunk */
} ChunkAttention;

/* The numbers of the authors' program. */
#define LAPLACE_MEAN 0.707107
#define LAPLACE_DEVIATION 0.282095

extern const Op op_chunk_attention;
void chunk_attention_reference(const ReferenceCall *call);

enum {
    CHUNK_Q,
    CHUNK_K,
    CHUNK_V,
    CHUNK_BEHIND,
    CHUNK_AHEAD,
    CHUNK_LENGTHS,
    CHUNK_POSITION,
    CHUNK_INPUTS
};

/* q, k (B, L, Z), v (B, L, H) -> (B, L, H). Of n = min(C, L) tokens: behind (n), biases of keys at
 * distance 0, 1 .. back; ahead (n - ahead_from), at distances from ahead_from on forward, NULL for
 * zeros or with causal. lengths int32 (B): keys from lengths[b] on are hidden; NULL for none. */
Tensor *chunk_attention(Tape *tape, Tensor *q, Tensor *k, Tensor *v, Tensor *behind, Tensor *ahead,
                        Tensor *lengths, const ChunkAttention *attributes);

/* One step of decoding, causal, without gradient: q (B, 1, Z); keys (B, C, Z) and values (B, C, H)
 * are rings of the last C tokens, of which the first position % C + 1 rows are the chunk so far.
 * position int32 (1). */
Tensor *chunk_attention_step(Tape *tape, Tensor *q, Tensor *keys, Tensor *values, Tensor *behind,
                             Tensor *position, const ChunkAttention *attributes);

/* The call as kernels see it. A unit is a chunk of a sequence. */
typedef struct ChunkView {
    int64_t B, L, Z, H, size; /* size: tokens of the longest chunk, n */
    int64_t chunks, units;    /* of a sequence, of all */
    int64_t keys;             /* rows of k and v of a sequence */
    AttentionFunction function;
    bool causal, step;
    float scale; /* softmax's */
} ChunkView;

static inline ChunkView chunk_view(const OpCall *call) {
    const ChunkAttention *a = (const ChunkAttention *)call->attributes;
    const Tensor *q = call->in[CHUNK_Q], *k = call->in[CHUNK_K];
    ChunkView view = {};
    view.B = extent(q, 0);
    view.L = extent(q, 1);
    view.Z = extent(q, 2);
    view.H = extent(call->in[CHUNK_V], 2);
    view.keys = extent(k, 1);
    view.step = call->inputs > CHUNK_POSITION && call->in[CHUNK_POSITION];
    view.size = view.step || view.keys < a->chunk ? view.keys : a->chunk;
    view.chunks = view.step ? 1 : (view.L + view.size - 1) / view.size;
    view.units = view.B * view.chunks;
    view.function = a->function;
    view.causal = a->causal || view.step;
    view.scale = (float)(1 / sqrt((double)view.Z));
    return view;
}

/* Biases by j - i from 1 - size to size - 1. */
static inline int64_t chunk_distances(const ChunkView *view) {
    return 2 * view->size - 1;
}

#endif
