/* What the mLSTM's forward and backward kernels share: a head's chunk and the products on it. */
#ifndef LONGHAUL_OPS_MLSTM_CHUNK_H
#define LONGHAUL_OPS_MLSTM_CHUNK_H

#include "engine/gradient_simd.h"
#include "engine/ops/mlstm/mlstm_plan.h"
#include "engine/reduce_simd.h"
#include "engine/triangle_simd.h"
#include "engine/vmath.h"

enum { T = MLSTM_CHUNK };
_Static_assert((int)T == (int)CHUNK, "the rows of a triangle are those of a chunk");
#define LOG2_E 1.44269504f

/* Some tokens of one head. Rows of q, k and their gradients lie k_row floats apart, of v v_row. */
typedef struct Chunk {
    const MlstmPlan *plan;
    Multiplier with;
    int64_t count; /* tokens, at most T */
    int64_t first; /* token of the whole batch: b L + t */
    int64_t head;
    bool enters, leaves; /* a state comes in; one goes out */
    const float *q, *k, *v, *gates;
    int64_t k_row, v_row;
} Chunk;

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline Chunk chunk_of(const OpCall *call, const MlstmPlan *plan, const Run *run,
                             int64_t unit, int64_t number, float *workspace) {
    const int64_t b = unit / plan->H, head = unit % plan->H;
    Chunk chunk = {.plan = plan,
                   .with = {run->products, workspace},
                   .count = smaller(T, plan->L - number * T),
                   .first = b * plan->L + number * T,
                   .head = head,
                   .enters = number > 0,
                   .leaves = number + 1 < plan->chunks,
                   .k_row = plan->H * plan->dk,
                   .v_row = plan->H * plan->dv};
    chunk.q = call->in[MLSTM_Q]->data + chunk.first * chunk.k_row + head * plan->dk;
    chunk.k = call->in[MLSTM_K]->data + chunk.first * chunk.k_row + head * plan->dk;
    chunk.v = call->in[MLSTM_V]->data + chunk.first * chunk.v_row + head * plan->dv;
    chunk.gates = call->in[MLSTM_GATES]->data + chunk.first * 2 * plan->H + head;
    return chunk;
}

/* 0, 1, 2 ... */
static inline vint lane_numbers(void) {
    vint lane = {0, 1, 2, 3};
    for (int i = 4; i < LANES; i++) lane[i] = i;
    return lane;
}

/* Weights of tokens j .. j+LANES-1 at a token whose note r is given: notes s are at `from`. */
static inline vfloat weights_at(const float *from, float r) {
    return v_exp2_weight(v_load(from) - r);
}
/* The same where token j + seen is the first that comes later: it and those behind it weigh 0. */
static inline vfloat last_weights_at(const float *from, float r, int64_t seen) {
    const vint later = lane_numbers() >= (int32_t)seen;
    return v_exp2_weight(v_select(later, v_set(-__builtin_inff()), v_load(from) - r));
}

/* sum[c] += sum over rows of factors[i] row i */
static inline void add_rows(float *sum, const float *from, int64_t from_row, int64_t rows,
                            int64_t n, const float *factors) {
    for (int64_t c = 0; c < n; c += LANES) {
        vfloat total = v_load_part(sum + c, n - c);
        for (int64_t i = 0; i < rows; i++)
            total += v_load_part(from + i * from_row + c, n - c) * factors[i];
        v_store_part(sum + c, total, n - c);
    }
}

/* to[i] = a_i . b_i for `rows` rows of n numbers; b_row 0: one b for all. to holds whole vectors.
 */
static inline void dot_rows(float *to, const float *a, int64_t a_row, const float *b, int64_t b_row,
                            int64_t rows, int64_t n) {
    for (int64_t first = 0; first < rows; first += LANES) {
        vfloat sums[LANES];
        for (int64_t r = 0; r < LANES; r++) {
            const int64_t i = first + r;
            sums[r] = v_zero();
            for (int64_t c = 0; i < rows && c < n; c += LANES)
                sums[r] +=
                    v_load_part(a + i * a_row + c, n - c) * v_load_part(b + i * b_row + c, n - c);
        }
        v_store(to + first, v_sum_rows(sums));
    }
}

/* What tokens weigh in the state behind the chunk, 2^(s_j - r_last), for whole vectors. */
static inline void leaving_weights(const Chunk *chunk, const float *notes, float *weights) {
    const float last = notes[MLSTM_NOTE_R * T + chunk->count - 1];
    for (int64_t j = 0; j < chunk->count; j += LANES)
        v_store(weights + j, v_exp2_weight(v_load(notes + MLSTM_NOTE_S * T + j) - last));
}

#endif
