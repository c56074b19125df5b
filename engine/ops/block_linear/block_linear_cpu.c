/* Wide blocks are products of their own, shared out by blocks and rows. Narrow ones are bound by
 * memory: a vector holds LANES / 4 blocks, whose number i is repeated over its quarter and meets a
 * vector of weights, 4 multiply-adds a vector. */
#include <omp.h>

#include "engine/gemm.h"
#include "engine/gradient_simd.h"
#include "engine/ops/block_linear/block_linear.h"

enum { BLOCK = NARROW_BLOCK, FOUR = 4 /* rows that share the loads of weights */ };

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

#if LANES == 16
#define QUARTERS(x, i)                                                                             \
    __builtin_shufflevector(x, x, i, i, i, i, 4 + (i), 4 + (i), 4 + (i), 4 + (i), 8 + (i),         \
                            8 + (i), 8 + (i), 8 + (i), 12 + (i), 12 + (i), 12 + (i), 12 + (i))
#elif LANES == 8
#define QUARTERS(x, i) __builtin_shufflevector(x, x, i, i, i, i, 4 + (i), 4 + (i), 4 + (i), 4 + (i))
#else
#define QUARTERS(x, i) __builtin_shufflevector(x, x, i, i, i, i)
#endif

/* part[i]: number i of each block, over its quarter. */
static inline void spread(vfloat x, vfloat part[BLOCK]) {
    part[0] = QUARTERS(x, 0);
    part[1] = QUARTERS(x, 1);
    part[2] = QUARTERS(x, 2);
    part[3] = QUARTERS(x, 3);
}

/* packed[vector][i][lane]: w[g, i, o] for the lane's block g and number o; turned: w[g, o, i]. */
static void pack(const Tensor *w, bool turned, float *packed) {
    const int64_t width = extent(w, 0) * BLOCK;
    for (int64_t c = 0; c < width; c += LANES)
        for (int64_t i = 0; i < BLOCK; i++)
            for (int64_t lane = 0; lane < LANES; lane++) {
                const int64_t g = (c + lane) / BLOCK, o = lane % BLOCK;
                const int64_t at =
                    turned ? (g * BLOCK + o) * BLOCK + i : (g * BLOCK + i) * BLOCK + o;
                packed[c * BLOCK + i * LANES + lane] = c + lane < width ? w->data[at] : 0;
            }
}

/* Rows of width numbers: to = or += from times the packed blocks. */
ALWAYS_INLINE void map_rows(const float *from, const float *packed, GradientTarget to,
                            int64_t width, const int rows) {
    for (int64_t c = 0; c < width; c += LANES) {
        const int64_t n = width - c;
        for (int r = 0; r < rows; r++) {
            vfloat part[BLOCK], sum = v_zero();
            spread(v_load_part(from + r * width + c, n), part);
            for (int i = 0; i < BLOCK; i++) sum += part[i] * v_load(packed + c * BLOCK + i * LANES);
            v_deliver(to, r * width + c, sum, n);
        }
    }
}

/* sums[vector][i][lane] += number i of x times the gradient of the lane's output. */
ALWAYS_INLINE void add_products(const float *x, const float *slope, float *sums, int64_t width,
                                const int rows) {
    for (int64_t c = 0; c < width; c += LANES) {
        const int64_t n = width - c;
        vfloat sum[BLOCK];
        for (int i = 0; i < BLOCK; i++) sum[i] = v_load(sums + c * BLOCK + i * LANES);
        for (int r = 0; r < rows; r++) {
            vfloat part[BLOCK];
            spread(v_load_part(x + r * width + c, n), part);
            for (int i = 0; i < BLOCK; i++)
                sum[i] += part[i] * v_load_part(slope + r * width + c, n);
        }
        for (int i = 0; i < BLOCK; i++) v_store(sums + c * BLOCK + i * LANES, sum[i]);
    }
}

static void forward_narrow(const OpCall *call, const Run *run) {
    const int64_t rows = rows_of(call->in[0]), width = extent(call->in[0], -1);
    const int64_t chunk = block_linear_rows(rows);
    float *packed = call->scratch;
    pack(call->in[1], false, packed);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t first = 0; first < rows; first += chunk) {
        const int64_t end = smaller(rows, first + chunk);
        int64_t r = first;
        for (; r < end; r += FOUR) {
            const float *x = call->in[0]->data + r * width;
            const GradientTarget to = {call->out[0]->data + r * width, false};
            if (end - r >= FOUR)
                map_rows(x, packed, to, width, FOUR);
            else
                for (int64_t i = 0; i < end - r; i++)
                    map_rows(x + i * width, packed, (GradientTarget){to.data + i * width, false},
                             width, 1);
        }
    }
}

/* w's gradient from the chunks' sums, in their order. */
static void deliver_weights(const OpCall *call, const float *sums, int64_t chunks, int64_t packed) {
    const GradientTarget to = gradient_target(call, 1);
    const int64_t width = extent(call->in[0], -1);
    for (int64_t c = 0; c < width; c += LANES)
        for (int64_t i = 0; i < BLOCK; i++) {
            vfloat sum = v_zero();
            for (int64_t k = 0; k < chunks; k++)
                sum += v_load(sums + k * packed + c * BLOCK + i * LANES);
            for (int64_t lane = 0; lane < smaller(LANES, width - c); lane += BLOCK) {
                float *at = to.data + ((c + lane) / BLOCK * BLOCK + i) * BLOCK;
                for (int64_t o = 0; o < BLOCK; o++)
                    at[o] = to.add ? at[o] + sum[lane + o] : sum[lane + o];
            }
        }
}

static void backward_narrow(const OpCall *call, const Run *run) {
    const int64_t rows = rows_of(call->in[0]), width = extent(call->in[0], -1);
    const int64_t chunk = block_linear_rows(rows), chunks = (rows + chunk - 1) / chunk;
    const int64_t size = (width + LANES - 1) / LANES * LANES * BLOCK;
    const GradientTarget into_x = gradient_target(call, 0);
    const bool weights = gradient_target(call, 1).data != NULL;
    float *packed = call->scratch, *sums = packed + size;
    pack(call->in[1], true, packed);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t k = 0; k < chunks; k++) {
        float *own = sums + k * size;
        memset(own, 0, (size_t)size * sizeof *own);
        const int64_t end = smaller(rows, (k + 1) * chunk);
        for (int64_t r = k * chunk; r < end;) {
            const bool four = end - r >= FOUR;
            const float *x = call->in[0]->data + r * width;
            const float *slope = call->out[0]->gradient + r * width;
            const GradientTarget to = {into_x.data ? into_x.data + r * width : NULL, into_x.add};
            if (four && weights) add_products(x, slope, own, width, FOUR);
            if (!four && weights) add_products(x, slope, own, width, 1);
            if (four && to.data) map_rows(slope, packed, to, width, FOUR);
            if (!four && to.data) map_rows(slope, packed, to, width, 1);
            r += four ? FOUR : 1;
        }
    }
    if (weights) deliver_weights(call, sums, chunks, size);
}

/* Rows first .. of one block of a wide map, as products see them. */
typedef struct Wide {
    int64_t G, I, O, rows, chunk, units;
    size_t share; /* floats of a thread's workspace */
} Wide;

static Wide wide_of(const OpCall *call, const Run *run, size_t workspace) {
    const Tensor *w = call->in[1];
    Wide wide = {
        .G = extent(w, 0), .I = extent(w, 1), .O = extent(w, 2), .rows = rows_of(call->in[0])};
    wide.chunk = block_linear_rows(wide.rows);
    wide.units = (wide.rows + wide.chunk - 1) / wide.chunk * wide.G;
    wide.share = workspace / sizeof(float) / (size_t)run->threads;
    return wide;
}

static void forward_wide(const OpCall *call, const Run *run) {
    const Op *op = call->op;
    const Wide a = wide_of(call, run, op->scratch(call, run->threads, PHASE_FORWARD));
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t unit = 0; unit < a.units; unit++) {
        const int64_t g = unit % a.G, row = unit / a.G * a.chunk;
        ISA(gemm)
        (GEMM_NN, run->products, smaller(a.chunk, a.rows - row), a.O, a.I,
         call->in[0]->data + (row * a.G + g) * a.I, a.G * a.I, call->in[1]->data + g * a.I * a.O,
         a.O, call->out[0]->data + (row * a.G + g) * a.O, a.G * a.O, false,
         (float *)call->scratch + (size_t)omp_get_thread_num() * a.share, 1);
    }
}

static void backward_wide(const OpCall *call, const Run *run) {
    const Op *op = call->op;
    const Wide a = wide_of(call, run, op->scratch(call, run->threads, PHASE_BACKWARD));
    const GradientTarget into_x = gradient_target(call, 0), into_w = gradient_target(call, 1);
    const float *slope = call->out[0]->gradient;
    const int64_t to_x = into_x.data ? a.units : 0, to_w = into_w.data ? a.G : 0;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t unit = 0; unit < to_w + to_x; unit++) {
        float *workspace = (float *)call->scratch + (size_t)omp_get_thread_num() * a.share;
        const int64_t g = unit < to_w ? unit : (unit - to_w) % a.G;
        if (unit < to_w) {
            ISA(gemm)
            (GEMM_TN, run->products, a.I, a.O, a.rows, call->in[0]->data + g * a.I, a.G * a.I,
             slope + g * a.O, a.G * a.O, into_w.data + g * a.I * a.O, a.O, into_w.add, workspace,
             1);
            continue;
        }
        const int64_t row = (unit - to_w) / a.G * a.chunk;
        ISA(gemm)
        (GEMM_NT, run->products, smaller(a.chunk, a.rows - row), a.I, a.O,
         slope + (row * a.G + g) * a.O, a.G * a.O, call->in[1]->data + g * a.I * a.O, a.O,
         into_x.data + (row * a.G + g) * a.I, a.G * a.I, into_x.add, workspace, 1);
    }
}

static void forward(const OpCall *call, const Run *run) {
    if (block_linear_narrow(call->in[1]))
        forward_narrow(call, run);
    else
        forward_wide(call, run);
}

static void backward(const OpCall *call, const Run *run) {
    if (block_linear_narrow(call->in[1]))
        backward_narrow(call, run);
    else
        backward_wide(call, run);
}

const OpKernels ISA(block_linear_cpu) = {forward, backward};
