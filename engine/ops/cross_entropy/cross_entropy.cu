/* Logits of some rows at a time by a product, then a warp for each row: one pass finds the largest
 * and the sum. While training, logits are kept where the plan has room for them (HEAD_TERMS),
 * otherwise backward makes them again. */
#include "engine/ops/cross_entropy/cross_entropy.h"

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

/* x and the table as products read them; empty copies where that is float32. */
struct HeadCopies {
    Rounded x, table;
    HeadCopies(const OpCall *call, const Run *run, Phase phase, Carver *carver) {
        x = rounded_input(call, run, 0, phase, carver);
        table = rounded_input(call, run, 1, phase, carver);
    }
    Rounded x_from(int64_t row) const {
        return {x.data ? x.data + row * x.ld : NULL, x.ld};
    }
};

static void logits_of(const OpCall *call, const Run *run, const HeadPlan *plan, int64_t first,
                      int64_t rows, float *logits, const HeadCopies &copies) {
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
    p.rounded_a = copies.x_from(first);
    p.rounded_b = copies.table;
    product(run, p);
}

static void forward(const OpCall *call, const Run *run) {
    const HeadPlan plan = head_plan(call);
    const bool training = call->saves > 0, kept = call->saves > HEAD_TERMS;
    const int64_t step = kept ? plan.rows : piece_rows(&plan);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const HeadCopies copies(call, run, PHASE_FORWARD, &carver);
    float *const logits =
        kept ? call->saved[HEAD_TERMS]->data : carver.take<float>(step * plan.classes);
    for (int64_t first = 0; first < plan.rows; first += step) {
        const int64_t rows = plan.rows - first < step ? plan.rows - first : step;
        logits_of(call, run, &plan, first, rows, logits, copies);
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
struct LogitGradient {
    Pieces logits, gradient; /* may be one */
    Rounded copy;
    const float *top, *inverse, *weights, *d_loss, *d_rows;
    const int32_t *classes;

    struct Loaded {
        Piece logits;
        float top, scale; /* scale: of the softmax; 0 for a row of no weight */
        float weight;
        int32_t own;
    };
    __device__ Loaded get(int64_t row, int64_t first) const {
        const float g = d_loss[0] * weights[row] + (d_rows ? d_rows[row] : 0.0f);
        const Piece none = {};
        return {g == 0.0f ? none : logits.get(row, first), top[row], g * inverse[row], g,
                classes[row]};
    }
    __device__ Piece make(int64_t row, int64_t first, const Loaded &x) const {
        Piece y = {};
        for (int e = 0; e < PIECE && x.weight != 0.0f; e++)
            if (first + e < logits.columns)
                y.of[e] =
                    x.scale * expf(x.logits.of[e] - x.top) - (first + e == x.own ? x.weight : 0.0f);
        gradient.put(row, first, y);
        if (copy.data) copy.put(row, first, y);
        return y;
    }
};
static LogitGradient logit_gradient(const OpCall *call, const HeadPlan &plan, int64_t first,
                                    const float *logits, float *to, const Rounded &copy) {
    const float *const d_rows = call->out[1]->gradient;
    return {pieces_of(logits, plan.classes, plan.classes),
            pieces_of(to, plan.classes, plan.classes),
            copy,
            call->saved[HEAD_TOP]->data + first,
            call->saved[HEAD_INVERSE]->data + first,
            call->in[4]->data + first,
            call->out[0]->gradient,
            d_rows ? d_rows + first : NULL,
            call->in[3]->integers + first};
}

static void backward(const OpCall *call, const Run *run) {
    const HeadPlan plan = head_plan(call);
    const bool kept = call->saves > HEAD_TERMS;
    const int64_t step = piece_rows(&plan), D = plan.width, V = plan.classes;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const HeadCopies copies(call, run, PHASE_BACKWARD, &carver);
    const Rounded d = rounded_place(run, step, V, &carver);
    float *const sums = carver.take<float>(column_slices(step) * V);
    float *const made = kept && d.data ? NULL : carver.take<float>(step * V);
    float *const gradient = d.data ? NULL : made; /* in float32, over logits made here */
    float *const bias = gradient_of(call, 2);
    for (int64_t first = 0; first < plan.rows; first += step) {
        const int64_t rows = plan.rows - first < step ? plan.rows - first : step;
        const float *logits = kept ? call->saved[HEAD_TERMS]->data + first * V : made;
        if (!kept) logits_of(call, run, &plan, first, rows, made, copies);
        pass_with_sums(run, logit_gradient(call, plan, first, logits, gradient, d), rows, V, bias,
                       call->accumulate[2] || first > 0, sums);
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
            p.rounded_a = d;
            p.rounded_b = copies.table;
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
            p.rounded_b = copies.x_from(first);
            product(run, p);
        }
    }
}

static Roundable roundable(const OpCall *) {
    return {1u << 0 | 1u << 1, 1u << 0 | 1u << 1, 0};
}

static size_t scratch(const OpCall *call, Phase phase) {
    const HeadPlan plan = head_plan(call);
    const bool rounds = call->products == PRODUCTS_BF16, kept = call->saves > HEAD_TERMS;
    const int64_t rows = piece_rows(&plan);
    const size_t piece = carved(rows * plan.classes, sizeof(float));
    const size_t copies = rounded_input_scratch(call, 0) + rounded_input_scratch(call, 1);
    if (phase == PHASE_FORWARD) return copies + (kept ? 0 : piece);
    return copies + column_scratch(rows, plan.classes) +
           (rounds ? rounded_space(rows, plan.classes) : 0) + (kept && rounds ? 0 : piece);
}

CUDA_OP(cross_entropy, {forward, backward}, scratch, NULL, roundable);
