/* The mLSTM on a GPU: a call as its kernels see it, and products on its chunks (tile_product.cuh),
 * weighted as operands come to shared memory. */
#ifndef LONGHAUL_OPS_MLSTM_CUH
#define LONGHAUL_OPS_MLSTM_CUH

#include "engine/cuda/activation.cuh"
#include "engine/cuda/chunk_product.cuh"
#include "engine/ops/mlstm/mlstm_plan.h"

static_assert(TILE == MLSTM_CHUNK, "a tile has the tokens of a chunk");
constexpr int T = TILE;

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
    /* Where the states before and behind the chunk lie, or their gradients. */
    __device__ int64_t state_before(const MlstmPlan &p) const {
        return (unit * (p.chunks - 1) + number - 1) * p.state;
    }
    __device__ int64_t state_behind(const MlstmPlan &p) const {
        return state_before(p) + p.state;
    }
};

/* What a chunk's tokens count for, in shared memory: nothing, where there is no token. */
struct MlstmFactors {
    float s[T], r[T]; /* as the notes */
    float inverse[T]; /* of the normaliser; before it is known, its floor */
    float entry[T];   /* of the entering state: s 2^(m - r) */
    float leaving[T]; /* in the leaving state */
    float to_dot[T];  /* backward */
    /* A barrier must follow. */
    __device__ void load(const MlstmCall &x, const MlstmChunk &c) {
        const int i = (int)threadIdx.x;
        if (i >= T) return;
        const bool exists = i < c.count;
        s[i] = exists ? c.note(MLSTM_NOTE_S, i) : -INFINITY;
        r[i] = exists ? c.note(MLSTM_NOTE_R, i) : INFINITY;
        inverse[i] = exists ? c.note(MLSTM_NOTE_INVERSE, i) : 0.0f;
        entry[i] = exists ? x.plan.scale * c.note(MLSTM_NOTE_ENTRY, i) : 0.0f;
        leaving[i] = fast_exp2(s[i] - c.note(MLSTM_NOTE_R, c.count - 1));
        to_dot[i] = x.to_dot ? x.to_dot[(c.unit * x.plan.chunks + c.number) * T + i] : 0.0f;
    }
    /* Of token j at token i. */
    __device__ float weight(int i, int j) const {
        return j > i ? 0.0f : fast_exp2(s[j] - r[i]);
    }
};

__device__ static inline ChunkRows keys_of(const MlstmCall &x, const MlstmChunk &c,
                                           const float *from) {
    return {from + c.first_key, c.key_row, c.count, (int)x.plan.dk};
}
__device__ static inline ChunkRows values_of(const MlstmCall &x, const MlstmChunk &c,
                                             const float *from) {
    return {from + c.first_value, c.value_row, c.count, (int)x.plan.dv};
}
/* C of a state, (dk, dv). */
__device__ static inline ChunkRows memory_of(const MlstmCall &x, const float *state) {
    return {state, x.plan.dv, (int)x.plan.dk, (int)x.plan.dv};
}

/* What all chunks but one add to a state, tile by tile, then added up along the chunks. to:
 * MlstmCall.states or dstates. */
void mlstm_forward_states(const Run *run, const MlstmCall &x);
void mlstm_backward_states(const Run *run, const MlstmCall &x);

#endif
