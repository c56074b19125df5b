/* What the mLSTM's forward and backward kernels share: a head's chunk and the products on it. */
#ifndef LONGHAUL_OPS_MLSTM_CHUNK_H
#define LONGHAUL_OPS_MLSTM_CHUNK_H

#include "engine/gradient_simd.h"
#include "engine/ops/mlstm/mlstm_plan.h"
#include "engine/vmath.h"

enum { T = MLSTM_CHUNK, STRIP = MLSTM_STRIP };
#define LOG2_E 1.44269504f

/* Some tokens of one head. Rows of q, k and their gradients lie k_row floats apart, of v v_row. */
typedef struct Chunk {
    const MlstmPlan *plan;
    Products products;
    int64_t count; /* tokens, at most T */
    int64_t first; /* token of the whole batch: b L + t */
    int64_t head;
    bool enters, leaves; /* a state comes in; one goes out */
    const float *q, *k, *v, *gates;
    int64_t k_row, v_row;
    float *workspace;
} Chunk;

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static inline Chunk chunk_of(const OpCall *call, const MlstmPlan *plan, const Run *run,
                             int64_t unit, int64_t number, float *workspace) {
    const int64_t b = unit / plan->H, head = unit % plan->H;
    Chunk chunk = {.plan = plan,
                   .products = run->products,
                   .count = smaller(T, plan->L - number * T),
                   .first = b * plan->L + number * T,
                   .head = head,
                   .enters = number > 0,
                   .leaves = number + 1 < plan->chunks,
                   .k_row = plan->H * plan->dk,
                   .v_row = plan->H * plan->dv,
                   .workspace = workspace};
    chunk.q = call->in[MLSTM_Q]->data + chunk.first * chunk.k_row + head * plan->dk;
    chunk.k = call->in[MLSTM_K]->data + chunk.first * chunk.k_row + head * plan->dk;
    chunk.v = call->in[MLSTM_V]->data + chunk.first * chunk.v_row + head * plan->dv;
    chunk.gates = call->in[MLSTM_GATES]->data + chunk.first * 2 * plan->H + head;
    return chunk;
}

static inline void multiply(const Chunk *chunk, GemmLayout layout, int64_t m, int64_t n, int64_t k,
                            const float *a, int64_t lda, const float *b, int64_t ldb, float *c,
                            int64_t ldc, bool add) {
    ISA(gemm)
    (layout, chunk->products, m, n, k, a, lda, b, ldb, c, ldc, add, chunk->workspace, 1);
}

/* 0, 1, 2 ... */
static inline vint lane_numbers(void) {
    vint lane = {0, 1, 2, 3};
    for (int i = 4; i < LANES; i++) lane[i] = i;
    return lane;
}

/* Weights of tokens j .. j+LANES-1 at token i, from notes s and r; zero for later ones. */
static inline vfloat weights_at(const float *notes, int64_t i, int64_t j) {
    const vint later = lane_numbers() > (int32_t)(i - j);
    const vfloat log = v_load(notes + MLSTM_NOTE_S * T + j) - notes[MLSTM_NOTE_R * T + i];
    return v_exp2_weight(v_select(later, v_set(-__builtin_inff()), log));
}

/* Rows of n numbers, each times a factor. */
static inline void weigh_rows(float *to, int64_t to_row, const float *from, int64_t from_row,
                              int64_t rows, int64_t n, const float *factors, float factor) {
    for (int64_t i = 0; i < rows; i++) {
        const vfloat f = v_set(factors[i] * factor);
        for (int64_t c = 0; c < n; c += LANES)
            v_store_part(to + i * to_row + c, v_load_part(from + i * from_row + c, n - c) * f,
                         n - c);
    }
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

static inline float dot(const float *a, const float *b, int64_t n) {
    vfloat sum = v_zero();
    for (int64_t c = 0; c < n; c += LANES)
        sum += v_load_part(a + c, n - c) * v_load_part(b + c, n - c);
    return v_sum(sum);
}

/* What tokens weigh in the state behind the chunk, 2^(s_j - r_last), for whole vectors. */
static inline void leaving_weights(const Chunk *chunk, const float *notes, float *weights) {
    const float last = notes[MLSTM_NOTE_R * T + chunk->count - 1];
    for (int64_t j = 0; j < chunk->count; j += LANES)
        v_store(weights + j, v_exp2_weight(v_load(notes + MLSTM_NOTE_S * T + j) - last));
}

#endif
