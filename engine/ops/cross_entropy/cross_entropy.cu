/* Logits of some rows at a time by a product, then a warp for each row: one pass finds the largest
 * and the sum. While training, logits are kept where the plan has room for them (HEAD_TERMS),
 * otherwise backward makes them again. */
#include "engine/ops/cross_entropy/cross_entropy.h"

#include "engine/cuda/columns.cuh"
#include "engine/cuda/loss.cuh"
#include "engine/cuda/product.h"
#include "engine/ops/cross_entropy/cross_entropy_plan.h"

enum { THREADS = 128 };

/* Rows of one piece: as many as leave its logits within 256 MiB. From the shape alone. */
static int64_t piece_rows(const HeadPlan *plan) {
    const int64_t rows = ((int64_t)256 << 20) / (4 * plan->classes) / 64 * 64;
    return rows < 64 ? 64 : rows < plan->rows ? rows : plan->rows;
}

/* Lane by lane and then over the warp: largest value, its lowest place, sum of exp(x - largest). */
struct Peak {
    float top, sum;
    int32_t place;
};

__device__ static inline Peak merge(Peak a, Peak b) {
    const bool first = a.top > b.top || (a.top == b.top && a.place < b.place);
    const float top = first ? a.top : b.top;
    Peak both = {top, 0, first ? a.place : b.place};
    if (a.sum > 0) both.sum += a.sum * expf(a.top - top);
    if (b.sum > 0) both.sum += b.sum * expf(b.top - top);
    return both;
}

struct RowResults {
    const int32_t *classes;
    float *loss, *top, *inverse; /* top and inverse only while training */
    int32_t *prediction;
};

KERNEL void __launch_bounds__(THREADS)
    rows_of_logits(const float *__restrict__ logits, int64_t rows, int64_t V, RowResults to) {
    const int64_t row = global_thread() / WARP;
    const int lane = (int)threadIdx.x % WARP;
    if (row >= rows) return; /* whole warps */
    const float *x = logits + row * V;
    Peak peak = {-INFINITY, 0, INT32_MAX};
    for (int64_t v = lane; v < V; v += WARP) {
        const float value = x[v];
        if (value > peak.top) {
            peak.sum = peak.sum * expf(peak.top - value) + 1;
            peak.top = value;
            peak.place = (int32_t)v;
        } else {
            peak.sum += expf(value - peak.top);
        }
    }
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        Peak other;
        other.top = __shfl_xor_sync(0xFFFFFFFFu, peak.top, offset);
        other.sum = __shfl_xor_sync(0xFFFFFFFFu, peak.sum, offset);
        other.place = __shfl_xor_sync(0xFFFFFFFFu, peak.place, offset);
        /* both partners merge in the same order, so that their bits agree */
        peak = (lane & offset) ? merge(other, peak) : merge(peak, other);
    }
    if (lane != 0) return;
    to.loss[row] = peak.top + logf(peak.sum) - x[to.classes[row]];
    to.prediction[row] = peak.place;
    if (!to.top) return;
    to.top[row] = peak.top;
    to.inverse[row] = 1.0f / peak.sum;
}

static void logits_of(const OpCall *call, const Run *run, const HeadPlan *plan, int64_t first,
                      int64_t rows, float *logits, Carver carver) {
    Product p = {};
    p.transposed_b = true;
    p.m = rows;
    p.n = plan->classes;
    p.k = plan->width;
    p.a = call->in[0]->data + first * plan->width;
    p.lda = plan->width;
    p.b = call->in[1]->data;
    p.ldb = plan->width;
    p.bias = data_of(call, 2);
    p.c = logits;
    p.ldc = plan->classes;
    p.rounded_a = rounded(run, p.a, rows, p.k, p.lda, &carver);
    p.rounded_b = rounded(run, p.b, p.n, p.k, p.ldb, &carver);
    product(run, p);
}

static void forward(const OpCall *call, const Run *run) {
    const HeadPlan plan = head_plan(call);
    const bool training = call->saves > 0, kept = call->saves > HEAD_TERMS;
    const int64_t step = kept ? plan.rows : piece_rows(&plan);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    float *const logits =
        kept ? call->saved[HEAD_TERMS]->data : carver.take<float>(step * plan.classes);
    for (int64_t first = 0; first < plan.rows; first += step) {
        const int64_t rows = plan.rows - first < step ? plan.rows - first : step;
        logits_of(call, run, &plan, first, rows, logits, carver);
        RowResults to = {};
        to.classes = call->in[3]->integers + first;
        to.loss = call->out[1]->data + first;
        to.prediction = call->out[2]->integers + first;
        to.top = training ? call->saved[HEAD_TOP]->data + first : NULL;
        to.inverse = training ? call->saved[HEAD_INVERSE]->data + first : NULL;
        LAUNCH(run, rows_of_logits, blocks_for(rows * WARP, THREADS), THREADS, 0, logits, rows,
               plan.classes, to);
    }
    weighted_sum(run, call->out[1]->data, call->in[4]->data, plan.rows, call->out[0]->data);
}

/* Gradient of the logits of a piece: (dloss weight + drow) (softmax - onehot). */
static void gradient_of_logits(const OpCall *call, const Run *run, const HeadPlan *plan,
                               int64_t first, int64_t rows, const float *logits, float *to) {
    const float *top = call->saved[HEAD_TOP]->data + first;
    const float *inverse = call->saved[HEAD_INVERSE]->data + first;
    const float *weights = call->in[4]->data + first, *d_loss = call->out[0]->gradient;
    const float *d_rows = call->out[1]->gradient ? call->out[1]->gradient + first : NULL;
    const int32_t *classes = call->in[3]->integers + first;
    const Divisor V = divide_by(plan->classes);
    for_each(run, rows * V.d, [=] __device__(int64_t i) {
        const int64_t row = V.of(i);
        const float g = d_loss[0] * weights[row] + (d_rows ? d_rows[row] : 0.0f);
        const float p = expf(logits[i] - top[row]) * inverse[row];
        to[i] = g == 0.0f ? 0.0f : g * (p - (i - row * V.d == classes[row] ? 1.0f : 0.0f));
    });
}

static void backward(const OpCall *call, const Run *run) {
    const HeadPlan plan = head_plan(call);
    const bool kept = call->saves > HEAD_TERMS;
    const int64_t step = piece_rows(&plan), D = plan.width, V = plan.classes;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    float *const gradient = carver.take<float>(step * V);
    float *const sums = carver.take<float>(column_slices(step) * V);
    for (int64_t first = 0; first < plan.rows; first += step) {
        const int64_t rows = plan.rows - first < step ? plan.rows - first : step;
        const float *logits = kept ? call->saved[HEAD_TERMS]->data + first * V : gradient;
        if (!kept) logits_of(call, run, &plan, first, rows, gradient, carver);
        gradient_of_logits(call, run, &plan, first, rows, logits, gradient);
        Carver own = carver;
        const Rounded d = rounded(run, gradient, rows, V, V, &own);
        Product p = {};
        if (float *dx = gradient_of(call, 0)) { /* G table */
            p.m = rows;
            p.n = D;
            p.k = V;
            p.a = gradient;
            p.lda = V;
            p.b = call->in[1]->data;
            p.ldb = p.ldc = D;
            p.c = dx + first * D;
            p.start = call->accumulate[0] ? p.c : NULL;
            Carver space = own;
            p.rounded_a = d;
            p.rounded_b = rounded(run, p.b, V, D, D, &space);
            product(run, p);
        }
        if (float *table = gradient_of(call, 1)) { /* G^T x */
            p = Product{};
            p.transposed_a = true;
            p.m = V;
            p.n = D;
            p.k = rows;
            p.a = gradient;
            p.lda = V;
            p.b = call->in[0]->data + first * D;
            p.ldb = p.ldc = D;
            p.c = table;
            p.start = call->accumulate[1] || first > 0 ? table : NULL;
            p.rounded_a = d;
            p.rounded_b = rounded(run, p.b, rows, D, D, &own);
            product(run, p);
        }
        if (float *bias = gradient_of(call, 2))
            sum_columns(run, MatrixTerm{gradient, V}, rows, V, bias,
                        call->accumulate[2] || first > 0, sums);
    }
}

static size_t scratch(const OpCall *call, Phase phase) {
    const HeadPlan plan = head_plan(call);
    const int64_t rows = piece_rows(&plan);
    const size_t piece = carved(rows * plan.classes, sizeof(float));
    const size_t table = rounded_space(plan.classes, plan.width);
    if (phase == PHASE_FORWARD) {
        const bool kept = call->saves > HEAD_TERMS;
        return (kept ? 0 : piece) + rounded_space(kept ? plan.rows : rows, plan.width) + table;
    }
    const size_t x = rounded_space(rows, plan.width);
    /* either the logits are made again, from x and the table, or their gradient is multiplied */
    return piece + column_scratch(rows, plan.classes) + rounded_space(rows, plan.classes) + table +
           x;
}

CUDA_OP(cross_entropy, {forward, backward}, scratch);
