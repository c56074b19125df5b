#include "engine/bf16_simd.h"
#include "engine/ceiling.h"
#include "engine/vmath.h"
#if LANES == 16
#include "engine/amx.h"
#endif

/* Independent chains hide the latency of the multiply-add (4 cycles, 2 a cycle: 8 at least). */
enum { CHAINS = 12 };

static double multiply_add(int64_t rounds) {
    vfloat sum[CHAINS];
    for (int i = 0; i < CHAINS; i++) sum[i] = v_set((float)i);
    vfloat a = v_set(0.999f), b = v_set(1e-3f);
    for (int64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++) sum[i] = sum[i] * a + b;
        __asm__ volatile("" : "+x"(a), "+x"(b)); /* the loop may not be computed in advance */
    }
    for (int i = 1; i < CHAINS; i++) sum[0] += sum[i];
    __asm__ volatile("" ::"x"(sum[0]));
    return (double)rounds * CHAINS * LANES * 2;
}

#if LANES == 16
/* Products of bf16 pairs in tile registers. */
static double multiply_tiles(int64_t rounds) {
    enum { SUMS = 4 };
    amx_open();
    AMX_ZERO(0);
    AMX_ZERO(1);
    AMX_ZERO(2);
    AMX_ZERO(3);
    AMX_ZERO(4);
    AMX_ZERO(5);
    for (int64_t r = 0; r < rounds; r++) {
        AMX_MULTIPLY(0, 4, 5);
        AMX_MULTIPLY(1, 4, 5);
        AMX_MULTIPLY(2, 4, 5);
        AMX_MULTIPLY(3, 4, 5);
    }
    amx_close();
    return (double)rounds * SUMS * 2 * AMX_ROWS * AMX_ROWS * (AMX_ROW_BYTES / 2);
}
#endif

/* The same with products of bf16 pairs; nothing where the processor has no instruction for them. */
static double multiply_pairs(int64_t rounds) {
#if LANES == 16
    if (matrix_tiles_granted()) return multiply_tiles(rounds);
#endif
    if (!has_pair_product()) return 0;
    vfloat sum[CHAINS];
    for (int i = 0; i < CHAINS; i++) sum[i] = v_set((float)i);
    vfloat a = v_pair(v_set(0.5f), v_set(0.25f));
    for (int64_t r = 0; r < rounds; r++) {
        for (int i = 0; i < CHAINS; i++) sum[i] = v_add_pairs(sum[i], a, a, true);
        __asm__ volatile("" : "+x"(a));
    }
    for (int i = 1; i < CHAINS; i++) sum[0] += sum[i];
    __asm__ volatile("" ::"x"(sum[0]));
    return (double)rounds * CHAINS * LANES * 4;
}

static void read_all(const float *data, int64_t n, float *sink) {
    vfloat sum[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    for (int64_t i = 0; i + 4 * LANES <= n; i += 4 * LANES)
        for (int k = 0; k < 4; k++) sum[k] += v_load(data + i + k * LANES);
    v_store(sink, sum[0] + sum[1] + sum[2] + sum[3]);
}

static void copy_all(const float *from, float *to, int64_t n) {
    for (int64_t i = 0; i + LANES <= n; i += LANES) v_store(to + i, v_load(from + i));
}

static void exponential(const float *from, float *to, int64_t n) {
    for (int64_t i = 0; i + LANES <= n; i += LANES) v_store(to + i, v_exp(v_load(from + i)));
}

extern const CeilingKernels ISA(ceiling);
const CeilingKernels ISA(ceiling) = {multiply_add, multiply_pairs, read_all, copy_all, exponential};
