/* Logits of some rows at a time by a product, then a warp or a block for each row: one pass finds
 * the largest and the sum. While training, logits are kept where the plan has room for them
 * (HEAD_TERMS), otherwise backward makes them again. */
#include "engine/ops/cross_entropy/cross_entropy.h"

#include <cfloat>

#include "engine/cuda/activation.cuh"
#include "engine/cuda/loss.cuh"
#include "engine/cuda/product.h"
#include "engine/ops/cross_entropy/cross_entropy_plan.h"

enum { THREADS = 128 };

/* Rows of one piece: as many as leave its logits within 256 MiB. From the shape alone. */
static int64_t piece_rows(const HeadPlan *plan) {
    const int64_t rows = ((int64_t)256 << 20) / (4 * plan->classes) / 64 * 64;
    return rows < 64 ? 64 : rows < plan->rows ? rows : plan->rows;
}

/* e^x for x <= 0 by the special-function unit. x log2(e) is rounded, which x's own rounding hides:
 * errs by some 2.4e-7 + 1.2e-7 |x| of itself, at most 2e-7 of 1. */
__device__ static inline float exp_of(float x) {
    return fast_exp2(LOG2_E * x);
}

struct RowResults {
    const int32_t *classes;
    float *loss, *top, *inverse; /* top and inverse only while training */
    int32_t *prediction;
};

/* The logits of a row that one of TEAM threads takes at a time, N neighbours a load, from `first`
 * on; behind the row -INFINITY. */
template <int N, int TEAM> struct Batch {
    static constexpr int LOADS = 16 / N, APART = TEAM * N, LAST = (LOADS - 1) * APART;
    Lanes<N> at[LOADS];

    __device__ Batch(const float *__restrict__ row, int first) {
        for (int j = 0; j < LOADS; j++) at[j] = load<N>(row + first + j * APART);
    }
    __device__ Batch(const float *__restrict__ row, int first, int V) {
        for (int j = 0; j < LOADS; j++) {
            for (int e = 0; e < N; e++) at[j].of[e] = -INFINITY;
            if (first + j * APART < V) at[j] = load<N>(row + first + j * APART);
        }
    }
    __device__ float top() const {
        float most[LOADS];
        for (int j = 0; j < LOADS; j++) {
            most[j] = at[j].of[0];
            for (int e = 1; e < N; e++) most[j] = fmaxf(most[j], at[j].of[e]);
        }
        for (int n = LOADS / 2; n > 0; n /= 2)
            for (int j = 0; j < n; j++) most[j] = fmaxf(most[j], most[j + n]);
        return most[0];
    }
    __device__ float sum(float base) const {
        float sums[LOADS];
        for (int j = 0; j < LOADS; j++) {
            sums[j] = exp_of(at[j].of[0] - base);
            for (int e = 1; e < N; e++) sums[j] += exp_of(at[j].of[e] - base);
        }
        for (int n = LOADS / 2; n > 0; n /= 2)
            for (int j = 0; j < n; j++) sums[j] += sums[j + n];
        return sums[0];
    }
    __device__ int place(float value, int first, int V) const {
        int lowest = INT32_MAX;
        for (int j = LOADS - 1; j >= 0; j--)
            for (int e = N - 1; e >= 0; e--)
                if (at[j].of[e] == value && first + j * APART + e < V)
                    lowest = first + j * APART + e;
        return lowest;
    }
};

/* TEAM threads, a warp or a block, have a row. Each keeps its largest logit, the batch that has it
 * first, and the sum of exp(logit - base), one rescaling a batch; base is the largest but finite,
 * so that a logit of -INFINITY adds zero. */
template <int N, int TEAM>
KERNEL void __launch_bounds__(THREADS)
    rows_of_logits(const float *__restrict__ logits, int64_t rows, int V, RowResults to) {
    constexpr int WARPS = TEAM / (int)WARP;
    __shared__ float tops[WARPS], sums[WARPS];
    __shared__ int places[WARPS];
    const int64_t row = global_thread() / TEAM;
    const int own = (int)threadIdx.x % TEAM, warp = own / WARP;
    if (row >= rows) return; /* whole teams */
    const float *__restrict__ x = logits + row * V;
    const int32_t wanted = to.classes[row];
    const float chosen = (uint32_t)wanted < (uint32_t)V ? x[wanted] : NAN;
    float top = -INFINITY, base = -FLT_MAX, sum = 0;
    int first = own * N, from = first;
    const auto add = [&](const Batch<N, TEAM> &batch) {
        const float most = batch.top(), next = fmaxf(base, most);
        from = most > top ? first : from;
        top = fmaxf(top, most);
        sum = sum * exp_of(base - next) + batch.sum(next);
        base = next;
    };
    for (; first + Batch<N, TEAM>::LAST < V; first += 16 * TEAM) add({x, first});
    if (first < V) add({x, first, V});
    float all = warp_max(top);
    if (WARPS > 1) {
        if (own % WARP == 0) tops[warp] = all;
        __syncthreads();
        for (int i = 0; i < WARPS; i++) all = fmaxf(all, tops[i]);
    }
    sum = warp_sum(sum * exp_of(base - fmaxf(all, -FLT_MAX)));
    int place = top == all ? Batch<N, TEAM>(x, from, V).place(top, from, V) : INT32_MAX;
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        place = min(place, __shfl_xor_sync(0xFFFFFFFFu, place, offset));
    if (WARPS > 1) {
        if (own % WARP == 0) {
            sums[warp] = sum;
            places[warp] = place;
        }
        __syncthreads();
        for (int i = 1; i < WARPS && own == 0; i++) {
            sum += sums[i];
            place = min(place, places[i]);
        }
    }
    if (own != 0) return;
    to.loss[row] = (all - chosen) + logf(sum);
    to.prediction[row] = place;
    if (!to.top) return;
    to.top[row] = all;
    to.inverse[row] = 1.0f / sum;
}

/* A block for a row whose threads all have 16 logits, otherwise a warp. */
template <int N>
static void pass_rows(const Run *run, const float *logits, int64_t rows, int64_t V, RowResults to) {
    if (V >= 16 * (int64_t)THREADS)
        LAUNCH(run, (rows_of_logits<N, THREADS>), (unsigned)rows, THREADS, 0, logits, rows, V, to);
    else
        LAUNCH(run, (rows_of_logits<N, WARP>), blocks_for(rows * WARP, THREADS), THREADS, 0, logits,
               rows, V, to);
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
        (plan.classes % 4 == 0 ? pass_rows<4> : pass_rows<1>)(run, logits, rows, plan.classes, to);
    }
    weighted_sum(run, call->out[1]->data, call->in[4]->data, plan.rows, call->out[0]->data);
}

/* Gradient of the logits of a piece: (dloss weight + drow) (softmax - onehot). */
struct LogitGradient {
    Pieces logits, gradient; /* may be one */
    Rounded copy;
    const float *top, *inverse, *weights, *d_loss;
    const float *d_rows; /* the weights again where there is none, times zero: no branch */
    float rows_count;
    const int32_t *classes;

    struct About {
        float top, inverse, weight; /* weight: 0 where the gradient is */
        int32_t own;
    };
    typedef Piece Loaded;

    bool whole() const {
        return logits.whole() && gradient.whole();
    }
    __device__ About about(int64_t row) const {
        const float weight = d_loss[0] * weights[row] + rows_count * d_rows[row];
        return {top[row], inverse[row], weight, classes[row]};
    }
    template <bool WHOLE>
    __device__ Piece get(int64_t row, int64_t first, const About &about) const {
        return about.weight == 0.0f ? Piece{} : logits.get<WHOLE>(row, first);
    }
    template <bool WHOLE>
    __device__ Piece make(int64_t row, int64_t first, const About &about, const Piece &x) const {
        Piece y = {};
        if (about.weight != 0.0f) {
            const float scale = about.weight * about.inverse;
            const int own = about.own - (int)first, end = (int)(logits.columns - first);
            for (int e = 0; e < PIECE; e++)
                if (WHOLE || e < end) y.of[e] = scale * exp_of(x.of[e] - about.top);
            if (0 <= own && own < PIECE)
                for (int e = 0; e < PIECE; e++) y.of[e] -= e == own ? about.weight : 0.0f;
        }
        gradient.put<WHOLE>(row, first, y);
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
            (d_rows ? d_rows : call->in[4]->data) + first,
            d_rows ? 1.0f : 0.0f,
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
