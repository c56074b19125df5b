/* Sequences of a batch are independent, so each thread walks time alone with its share of the rows;
 * a row's arithmetic does not depend on that share. Bound by the multiply-adds of the recurrent
 * product (8 H^2 a token); the five sigmoids and tanhs of a unit cost some 1.5 ns, 15 % at H = 128.
 *
 * Forward packs W so that the four gates of LANES units lie side by side: one tile yields all that
 * these units need and h, c follow without another pass. Backward walks time in reverse and leaves
 * the gradient of W to one product per chunk of steps. */
#include "engine/ops/lstm/lstm_plan.h"
#include "engine/ops/lstm/lstm_product.h"
#include "engine/transpose_simd.h"
#include "engine/vmath.h"

/* The tensors of a call as pointers; those that a call lacks are NULL. */
typedef struct Lstm {
    Plan plan;
    const float *input, *w, *h0, *c0;
    float *h;               /* output */
    float *gates, *saved_c; /* notes for backward */
    float *packed;
    float *c; /* (B, H): forward the state, backward its gradient */
    /* Backward only: */
    const float *h_gradient;
    float *input_gradient;
    float *dh;                    /* (B, H): what the next step passes back */
    float *chunk_gates, *chunk_h; /* (steps, B, 4H) and (steps, B, H) */
    bool add_input;               /* accumulate into input_gradient */
} Lstm;

static const float *data_of(const Tensor *tensor) {
    return tensor ? tensor->data : NULL;
}

static Lstm open_call(const OpCall *call, Phase phase) {
    const Plan plan = lstm_plan(call, phase);
    float *scratch = call->scratch;
    return (Lstm){.plan = plan,
                  .input = call->in[LSTM_GATES]->data,
                  .w = call->in[LSTM_W]->data,
                  .h0 = data_of(call->in[LSTM_H0]),
                  .c0 = data_of(call->in[LSTM_C0]),
                  .h = call->out[LSTM_H]->data,
                  .gates = call->saves ? call->saved[LSTM_SAVED_GATES]->data : NULL,
                  .saved_c = call->saves ? call->saved[LSTM_SAVED_C]->data : NULL,
                  .packed = scratch + plan.packed,
                  .c = scratch + plan.c};
}

/* rows (B, H) start as given, or as zero. */
static void start_rows(float *rows, const float *given, const Plan *plan) {
    const size_t bytes = (size_t)(plan->B * plan->H) * sizeof(float);
    if (given)
        memcpy(rows, given, bytes);
    else
        memset(rows, 0, bytes);
}

/* A thread's share of the rows, and the tiles inside it. */
static int64_t share(int64_t whole, int64_t part, int64_t parts) {
    return whole * part / parts;
}
static int64_t tiles_in(int64_t rows) {
    return (rows + PRODUCT_ROWS - 1) / PRODUCT_ROWS;
}

/* packed[j][k][gate][lane] = w[k][gate][j LANES + lane], zero beyond H. */
static void pack_gates(const Lstm *lstm) {
    const int64_t H = lstm->plan.H;
    float *to = lstm->packed;
    for (int64_t u = 0; u < H; u += LANES)
        for (int64_t k = 0; k < H; k++)
            for (int64_t gate = 0; gate < 4; gate++, to += LANES)
                v_store(to, v_load_part(lstm->w + (k * 4 + gate) * H + u, H - u));
}

/* Step t of units u .. u+LANES-1 for a few rows. */
static void forward_tile(const Lstm *lstm, int64_t t, int64_t u, int64_t first, int rows) {
    const int64_t L = lstm->plan.L, H = lstm->plan.H, n = H - u;
    ProductSums sums;
    const float *panel = lstm->packed + u * H * 4;
    if (t > 0)
        product(H, lstm->h + (first * L + t - 1) * H, L * H, panel, sums, rows, PRODUCT_VECTORS);
    else
        product(lstm->h0 ? H : 0, lstm->h0 ? lstm->h0 + first * H : NULL, H, panel, sums, rows,
                PRODUCT_VECTORS);
    for (int r = 0; r < rows; r++) {
        const int64_t token = (first + r) * L + t;
        const float *input = lstm->input + token * 4 * H + u;
        for (int gate = 0; gate < 4; gate++) __builtin_prefetch(input + (4 + gate) * H);
        const vfloat i = v_sigmoid(sums[r][0] + v_load_part(input, n));
        const vfloat f = v_sigmoid(sums[r][1] + v_load_part(input + H, n));
        const vfloat g = v_tanh(sums[r][2] + v_load_part(input + 2 * H, n));
        const vfloat o = v_sigmoid(sums[r][3] + v_load_part(input + 3 * H, n));
        float *state = lstm->c + (first + r) * H + u;
        const vfloat c = f * v_load_part(state, n) + i * g;
        v_store_part(state, c, n);
        v_store_part(lstm->h + token * H + u, o * v_tanh(c), n);
        if (!lstm->gates) continue;
        float *gates = lstm->gates + token * 4 * H + u;
        v_store_part(gates, i, n);
        v_store_part(gates + H, f, n);
        v_store_part(gates + 2 * H, g, n);
        v_store_part(gates + 3 * H, o, n);
        v_store_part(lstm->saved_c + token * H + u, c, n);
    }
}

/* All steps of rows first .. first+rows-1. */
static void forward_rows(const Lstm *lstm, int64_t first, int64_t rows) {
    const int64_t tiles = tiles_in(rows);
    for (int64_t t = 0; t < lstm->plan.L; t++)
        for (int64_t u = 0; u < lstm->plan.H; u += LANES)
            for (int64_t tile = 0; tile < tiles; tile++) {
                const int64_t from = share(rows, tile, tiles), to = share(rows, tile + 1, tiles);
                forward_tile(lstm, t, u, first + from, (int)(to - from));
            }
}

static void forward(const OpCall *call, const Run *run) {
    const Lstm lstm = open_call(call, PHASE_FORWARD);
    const Plan *plan = &lstm.plan;
    pack_gates(&lstm);
    start_rows(lstm.c, lstm.c0, plan);
    const int64_t parts = run->threads < plan->B ? run->threads : plan->B;
#pragma omp parallel for num_threads((int)parts) schedule(static) if (parts > 1)
    for (int64_t part = 0; part < parts; part++) {
        const int64_t first = share(plan->B, part, parts);
        forward_rows(&lstm, first, share(plan->B, part + 1, parts) - first);
    }
    if (call->outputs == 1) return;
    const size_t row = (size_t)plan->H * sizeof(float);
    memcpy(call->out[LSTM_C_LAST]->data, lstm.c, (size_t)plan->B * row);
    for (int64_t b = 0; b < plan->B; b++)
        memcpy(call->out[LSTM_H_LAST]->data + b * plan->H,
               lstm.h + ((b + 1) * plan->L - 1) * plan->H, row);
}

/* W transposed, in panels of PRODUCT_VECTORS vectors of units and then of one:
 * packed[panel][k][lane] = w[unit][k], k over the 4H gates, zero beyond H. */
static void pack_transposed(const Lstm *lstm) {
    const int64_t H = lstm->plan.H, depth = 4 * H;
    float *panel = lstm->packed;
    for (int64_t u = 0; u < H;) {
        const int64_t width = H - u >= PRODUCT_VECTORS * LANES ? PRODUCT_VECTORS * LANES : LANES;
        for (int64_t k = 0; k < depth; k += LANES)
            for (int64_t lane = 0; lane < width; lane += LANES) {
                vfloat block[LANES];
                for (int64_t i = 0; i < LANES; i++) {
                    const int64_t unit = u + lane + i;
                    const float *row = lstm->w + unit * depth + k;
                    block[i] = unit < H ? v_load_part(row, depth - k) : v_zero();
                }
                v_transpose(block);
                for (int64_t i = 0; i < LANES && k + i < depth; i++)
                    v_store(panel + (k + i) * width + lane, block[i]);
            }
        panel += width * depth;
        u += width;
    }
}

/* Gate gradients of step t of one row, from what flows into h_t and c_t. to: (4H). */
static void gate_gradients(const Lstm *lstm, int64_t t, int64_t b, float *to) {
    const int64_t L = lstm->plan.L, H = lstm->plan.H, token = b * L + t;
    const float *gates = lstm->gates + token * 4 * H, *c = lstm->saved_c + token * H;
    const float *before = t > 0 ? c - H : lstm->c0 ? lstm->c0 + b * H : NULL;
    float *dc = lstm->c + b * H;
    for (int64_t u = 0; u < H; u += LANES) {
        const int64_t n = H - u;
        const vfloat i = v_load_part(gates + u, n), f = v_load_part(gates + H + u, n);
        const vfloat g = v_load_part(gates + 2 * H + u, n), o = v_load_part(gates + 3 * H + u, n);
        const vfloat tanh_c = v_tanh(v_load_part(c + u, n));
        const vfloat dh =
            v_load_part(lstm->h_gradient + token * H + u, n) + v_load_part(lstm->dh + b * H + u, n);
        const vfloat dcell = v_load_part(dc + u, n) + dh * o * (1.0f - tanh_c * tanh_c);
        const vfloat c_before = before ? v_load_part(before + u, n) : v_zero();
        v_store_part(dc + u, dcell * f, n);
        v_store_part(to + u, dcell * g * (i * (1.0f - i)), n);
        v_store_part(to + H + u, dcell * c_before * (f * (1.0f - f)), n);
        v_store_part(to + 2 * H + u, dcell * i * (1.0f - g * g), n);
        v_store_part(to + 3 * H + u, dh * tanh_c * (o * (1.0f - o)), n);
    }
}

static void give_input_gradient(const Lstm *lstm, int64_t token, const float *gradient) {
    const int64_t count = 4 * lstm->plan.H;
    float *to = lstm->input_gradient;
    if (!to) return;
    to += token * count;
    if (!lstm->add_input)
        memcpy(to, gradient, (size_t)count * sizeof(float));
    else
        for (int64_t k = 0; k < count; k++) to[k] += gradient[k];
}

/* dh = dG W^T for rows that share a tile, units of one panel. */
static inline __attribute__((always_inline)) void pass_back(const Lstm *lstm, const float *gates,
                                                            const float *panel, int64_t u,
                                                            int64_t first, int rows,
                                                            const int vectors) {
    const int64_t H = lstm->plan.H;
    ProductSums sums;
    product(4 * H, gates + first * 4 * H, 4 * H, panel, sums, rows, vectors);
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            v_store_part(lstm->dh + (first + r) * H + u + v * LANES, sums[r][v], H - u - v * LANES);
}

/* One step back for rows first .. first+rows-1. gates, h: this step's rows of the chunk. */
static void backward_step(const Lstm *lstm, int64_t t, int64_t first, int64_t rows, float *gates,
                          float *h) {
    const int64_t L = lstm->plan.L, H = lstm->plan.H, tiles = tiles_in(rows);
    for (int64_t b = first; b < first + rows; b++) {
        gate_gradients(lstm, t, b, gates + b * 4 * H);
        give_input_gradient(lstm, b * L + t, gates + b * 4 * H);
        const float *before = t > 0      ? lstm->h + (b * L + t - 1) * H
                              : lstm->h0 ? lstm->h0 + b * H
                                         : NULL;
        if (before)
            memcpy(h + b * H, before, (size_t)H * sizeof(float));
        else
            memset(h + b * H, 0, (size_t)H * sizeof(float));
    }
    const float *panel = lstm->packed;
    for (int64_t u = 0; u < H;) {
        const bool wide = H - u >= PRODUCT_VECTORS * LANES;
        const int64_t width = wide ? PRODUCT_VECTORS * LANES : LANES;
        for (int64_t tile = 0; tile < tiles; tile++) {
            const int64_t from = first + share(rows, tile, tiles);
            const int count = (int)(first + share(rows, tile + 1, tiles) - from);
            if (wide)
                pass_back(lstm, gates, panel, u, from, count, PRODUCT_VECTORS);
            else
                pass_back(lstm, gates, panel, u, from, count, 1);
        }
        panel += width * 4 * H;
        u += width;
    }
}

static void give_state_gradient(const OpCall *call, int input, const float *gradient) {
    float *to = call->in[input] ? call->in[input]->gradient : NULL;
    const int64_t size = to ? tensor_size(call->in[input]) : 0;
    for (int64_t i = 0; i < size; i++)
        to[i] = call->accumulate[input] ? to[i] + gradient[i] : gradient[i];
}

static void backward(const OpCall *call, const Run *run) {
    Lstm lstm = open_call(call, PHASE_BACKWARD);
    const Plan *plan = &lstm.plan;
    const int64_t B = plan->B, L = plan->L, H = plan->H;
    float *scratch = call->scratch, *dw = call->in[LSTM_W]->gradient;
    lstm.h_gradient = call->out[LSTM_H]->gradient;
    lstm.input_gradient = call->in[LSTM_GATES]->gradient;
    lstm.add_input = call->accumulate[LSTM_GATES];
    lstm.dh = scratch + plan->h;
    lstm.chunk_gates = scratch + plan->chunk_gates;
    lstm.chunk_h = scratch + plan->chunk_h;
    const bool carried = call->outputs > 1;
    start_rows(lstm.dh, carried ? call->out[LSTM_H_LAST]->gradient : NULL, plan);
    start_rows(lstm.c, carried ? call->out[LSTM_C_LAST]->gradient : NULL, plan);
    pack_transposed(&lstm);
    const int64_t parts = run->threads < B ? run->threads : B;
    bool add = call->accumulate[LSTM_W];
    for (int64_t end = L; end > 0; end -= plan->steps) {
        const int64_t begin = end > plan->steps ? end - plan->steps : 0;
#pragma omp parallel for num_threads((int)parts) schedule(static) if (parts > 1)
        for (int64_t part = 0; part < parts; part++) {
            const int64_t first = share(B, part, parts), rows = share(B, part + 1, parts) - first;
            for (int64_t t = end - 1; t >= begin; t--)
                backward_step(&lstm, t, first, rows, lstm.chunk_gates + (t - begin) * B * 4 * H,
                              lstm.chunk_h + (t - begin) * B * H);
        }
        if (dw) ISA(gemm)
        (GEMM_TN, H, 4 * H, (end - begin) * B, lstm.chunk_h, H, lstm.chunk_gates, 4 * H, dw, 4 * H,
         add, scratch + plan->workspace, run->threads);
        add = true;
    }
    give_state_gradient(call, LSTM_H0, lstm.dh);
    give_state_gradient(call, LSTM_C0, lstm.c);
}

const OpKernels ISA(lstm_cpu) = {forward, backward};
