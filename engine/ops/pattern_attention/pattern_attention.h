/* Causal softmax attention to a part of the earlier positions, with or without relative scores:
 *
 *     O_i = sum_j P_ij V_j,   P_i = softmax_j(S_ij / sqrt(d)),   j over what the pattern shows to i
 *     S_ij = Q_i . K_j   or   (Q_i + u) . K_j + (Q_i + v) . R_{i-j}
 *
 * Patterns, with l for `length` (positions counted from 0, segments are l positions long):
 *   SEGMENTS       the own segment up to i, and the `memory` positions before the segment (Dai et
 * al. 2019, section 3.2, arXiv:1901.02860, whose section 3.3 has the relative scores; with memory 0
 *                  and no scores: independent causal attentions)
 *   LOCAL          i-l < j <= i
 *   STRIDED        (i - j) mod l = 0
 *   LOCAL_STRIDED  both sets under one softmax
 *   FIXED          the own segment up to i, and of each earlier one `summaries` positions that end
 *                  (h mod kinds) summaries before its end, h the head
 * The last four: Child et al. 2019, section 4.3, arXiv:1904.10509, as in the authors' code (there
 * LOCAL has l keys, in the paper l + 1).
 *
 * A pattern is a list of pieces, sets of keys that no query has in two of them. A piece is cut into
 * groups (segments, or residues of i mod l), and a group is a dense causal attention between evenly
 * spaced rows, so what a pattern hides costs nothing. A query's pieces are joined by their
 * log-sum-exps. */
#ifndef LONGHAUL_OPS_PATTERN_ATTENTION_H
#define LONGHAUL_OPS_PATTERN_ATTENTION_H

#include "engine/tape.h"

typedef enum Pattern {
    PATTERN_SEGMENTS,
    PATTERN_LOCAL,
    PATTERN_STRIDED,
    PATTERN_LOCAL_STRIDED,
    PATTERN_FIXED
} Pattern;

typedef struct PatternAttention {
    int64_t heads, width; /* H; d, of one head, at most PATTERN_WIDEST */
    Pattern pattern;
    int64_t length;    /* l */
    int64_t memory;    /* SEGMENTS */
    int64_t summaries; /* FIXED: of a segment, of one kind; summaries kinds <= l */
    int64_t kinds;     /* FIXED: at least 1 */
} PatternAttention;

enum { PATTERN_WIDEST = 128 };

extern const Op op_pattern_attention;

/* Relative scores: r (R, H d), row t for the distance t, R above every distance that the pattern
 * shows; u and v (H d). */
typedef struct RelativeScores {
    Tensor *r, *u, *v;
} RelativeScores;

/* q (B, L, H d) and kv (B, L, 2 H d), channels k | v, each head by head; or q (B, L, 3 H d),
 * channels q | k | v, and kv NULL. memory, like kv: what SEGMENTS reads before the own segment;
 * NULL: the same. relative: SEGMENTS only, NULL: none. Result (B, L, H d). */
Tensor *pattern_attention(Tape *tape, Tensor *q, Tensor *kv, Tensor *memory,
                          const RelativeScores *relative, const PatternAttention *attributes);

/* One step of decoding, without gradient: the query is the first H d channels of q (B, 1, ..); keys
 * and values of position j are row j mod C of cache (B, C, 2 H d), channels k | v, C at least as
 * many as lie between the query and its first key. position: int32 (1). A cache of fewer heads, (B,
 * C, 2 G d), is read by H / G queries' heads a head. Result (B, 1, H d). */
Tensor *pattern_attention_step(Tape *tape, Tensor *q, Tensor *cache, Tensor *position,
                               const RelativeScores *relative, const PatternAttention *attributes);

/* Rows that a cache for decoding needs when sequences are up to `horizon` tokens long. */
int64_t pattern_cache_rows(const PatternAttention *attributes, int64_t horizon);

/* Inputs of the recorded call. */
enum { PATTERN_Q, PATTERN_KV, PATTERN_MEMORY, PATTERN_R, PATTERN_U, PATTERN_V, PATTERN_POSITION };

/* Where a call's keys are: which input, and the first channel there. Values follow H d channels
 * later. */
static inline int pattern_kv_input(const OpCall *call) {
    return call->in[PATTERN_KV] ? PATTERN_KV : PATTERN_Q;
}
static inline int64_t pattern_kv_column(const OpCall *call) {
    const PatternAttention *a = (const PatternAttention *)call->attributes;
    return call->in[PATTERN_KV] ? 0 : a->heads * a->width;
}

/* Heads of a step's cache (G). */
static inline int64_t pattern_cache_heads(const OpCall *call) {
    const PatternAttention *a = (const PatternAttention *)call->attributes;
    return extent(call->in[PATTERN_KV], 2) / (2 * a->width);
}

/* Which keys query i of head h sees: their number, and the position of number n, 0 <= n. */
#ifdef __CUDACC__
#define PATTERN_INLINE __host__ __device__ static inline
#else
#define PATTERN_INLINE static inline
#endif
PATTERN_INLINE int64_t pattern_first(const PatternAttention *a, int64_t i) {
    const int64_t segment = i / a->length * a->length;
    if (a->pattern == PATTERN_SEGMENTS) return segment > a->memory ? segment - a->memory : 0;
    if (a->pattern == PATTERN_FIXED) return segment;
    return i >= a->length ? i - a->length + 1 : 0;
}
PATTERN_INLINE int64_t pattern_count(const PatternAttention *a, int64_t i) {
    const int64_t whole = i / a->length; /* segments, or strides, before i */
    if (a->pattern == PATTERN_STRIDED) return whole + 1;
    const int64_t near = i - pattern_first(a, i) + 1;
    if (a->pattern == PATTERN_LOCAL_STRIDED) return near + whole;
    if (a->pattern == PATTERN_FIXED) return near + whole * a->summaries;
    return near;
}
PATTERN_INLINE int64_t pattern_summary(const PatternAttention *a, int64_t h, int64_t n) {
    const int64_t first = a->length - (h % a->kinds + 1) * a->summaries;
    return n / a->summaries * a->length + first + n % a->summaries;
}
PATTERN_INLINE int64_t pattern_key(const PatternAttention *a, int64_t h, int64_t i, int64_t n) {
    const int64_t whole = i / a->length;
    if (a->pattern == PATTERN_STRIDED) return i % a->length + n * a->length;
    int64_t far = 0;
    if (a->pattern == PATTERN_LOCAL_STRIDED) far = whole;
    if (a->pattern == PATTERN_FIXED) far = whole * a->summaries;
    if (n >= far) return pattern_first(a, i) + n - far;
    return a->pattern == PATTERN_FIXED ? pattern_summary(a, h, n) : i % a->length + n * a->length;
}

/* A pattern's pieces, in the order in which kernels take them; the first shows every query itself,
 * and so has every row among its queries and its keys. */
typedef enum PieceKind {
    PIECE_OWN,      /* the own segment, up to the query */
    PIECE_BEFORE,   /* `memory` positions before it */
    PIECE_WINDOW,   /* LOCAL's keys before the own segment */
    PIECE_RESIDUES, /* keys a multiple of l away; the query itself only when this is the first piece
                     */
    PIECE_SUMMARIES, /* of earlier segments */
    PIECE_NONE
} PieceKind;
enum { MOST_PIECES = 3 };
PATTERN_INLINE PieceKind pattern_piece(const PatternAttention *a, int n) {
    if (n == 0) return a->pattern == PATTERN_STRIDED ? PIECE_RESIDUES : PIECE_OWN;
    if (n == 1) {
        if (a->pattern == PATTERN_SEGMENTS && a->memory > 0) return PIECE_BEFORE;
        if (a->pattern == PATTERN_LOCAL || a->pattern == PATTERN_LOCAL_STRIDED) return PIECE_WINDOW;
        if (a->pattern == PATTERN_FIXED && a->summaries > 0) return PIECE_SUMMARIES;
    }
    return n == 2 && a->pattern == PATTERN_LOCAL_STRIDED ? PIECE_RESIDUES : PIECE_NONE;
}

void pattern_attention_reference(const ReferenceCall *call);

/* Scratch of one thread on the CPU, and how many parts backward cuts the sequences into when it
 * sums gradients of relative scores: from the shape alone. */
int64_t pattern_thread_floats(const OpCall *call, Phase phase);
int64_t pattern_parts(const OpCall *call);

#endif
