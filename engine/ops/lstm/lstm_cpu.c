/* Sequences of a batch are independent, so they are cut into groups of at most a tile's rows, and
 * each thread walks time alone with its groups; a row's arithmetic does not depend on its group.
 * Bound by the multiply-adds of the recurrent product (8 H^2 a token); the five sigmoids and tanhs
 * of a unit cost some 1.5 ns, 15 % at H = 128.
 *
 * Forward packs W so that the four gates of LANES units lie side by side: one panel yields all that
 * these units need and h, c follow while the sums are in the nearest cache. Backward walks time in
 * reverse and leaves the gradient of W to one product per chunk of steps.
 *
 * Rows of a step lie L tokens apart in the tensors from outside, often a power of two, so that all
 * of them share a set of every cache. What forward notes for backward therefore lies time first,
 * and a step reads and writes h and the gradients in dense rows that are copied in one run each. */
#include "engine/ops/lstm/lstm_plan.h"
#include "engine/ops/lstm/lstm_product.h"
#include "engine/vmath.h"

/* The tensors of a call as pointers; those that a call lacks are NULL. */
typedef struct Lstm {
    Plan plan;
    bool pairs;    /* as in RowGroup */
    int64_t steps; /* of k for the H units: H, or pairs of them */
    const float *input, *w, *h0, *c0;
    float *h;               /* output (B, L, H) */
    float *dense_h;         /* (B, H): of this step; backward: what the next step passes back */
    float *gates, *saved_c; /* notes for backward */
    float *packed;
    float *rows; /* packed rows of the groups: forward h before and after the step, backward dG */
    int64_t groups;
    float *c; /* (B, H): forward the state, backward its gradient */
    /* Backward only: */
    const float *h_gradient;
    float *input_gradient;
    float *step;                  /* (B, H): the gradient of this step's h */
    float *chunk_gates, *chunk_h; /* (steps, B, 4H) and (steps, B, H) */
    bool add_input;               /* accumulate into input_gradient */
} Lstm;

static Lstm open_call(const OpCall *call, const Run *run, Phase phase) {
    const Plan plan = lstm_plan(call, phase, run->threads);
    float *scratch = call->scratch;
    const bool pairs = run->products == PRODUCTS_BF16;
    return (Lstm){.plan = plan,
                  .pairs = pairs,
                  .steps = pairs ? (plan.H + 1) / 2 : plan.H,
                  .input = call->in[LSTM_GATES]->data,
                  .w = call->in[LSTM_W]->data,
                  .h0 = data_of(call, LSTM_H0),
                  .c0 = data_of(call, LSTM_C0),
                  .h = call->out[LSTM_H]->data,
                  .gates = call->saves ? call->saved[LSTM_SAVED_GATES]->data : NULL,
                  .saved_c = call->saves ? call->saved[LSTM_SAVED_C]->data : NULL,
                  .packed = scratch + plan.packed,
                  .rows = scratch + plan.rows,
                  .groups = lstm_groups(plan.B, GROUP_ROWS, run->threads),
                  .dense_h = scratch + plan.h,
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

/* First row of a group; for the group behind the last, the number of rows. */
static int64_t group_row(const Lstm *lstm, int64_t group) {
    return lstm->plan.B * group / lstm->groups;
}

/* Are a group's rows packed for the products? */
static inline bool packs_rows(const Lstm *lstm, int64_t count) {
    return lstm->pairs || count > WIDE_ROWS;
}

/* Where units u .. of a gate begin in packed rows of all gates; u is a multiple of LANES. */
static inline int64_t packed_unit(const Lstm *lstm, int64_t gate, int64_t u) {
    return (gate * lstm->steps + (lstm->pairs ? u / 2 : u)) * TILE_PITCH;
}

/* packed[j][k][gate][lane] = w[k][gate][j LANES + lane] or pairs of k, zero beyond H. */
static void pack_gates(const Lstm *lstm) {
    const int64_t H = lstm->plan.H, row = 4 * H;
    float *to = lstm->packed;
    for (int64_t u = 0; u < H; u += LANES)
        for (int64_t k = 0; k < H; k += lstm->pairs ? 2 : 1)
            for (int64_t gate = 0; gate < 4; gate++, to += LANES) {
                const float *from = lstm->w + k * row + gate * H + u;
                vfloat v = v_load_part(from, H - u);
                if (lstm->pairs)
                    v = v_pair(v, k + 1 < H ? v_load_part(from + row, H - u) : v_zero());
                v_store(to, v);
            }
}

/* The packed h of a group that step t reads (t) or writes (t + 1): (H, TILE_PITCH). */
static float *packed_h(const Lstm *lstm, int64_t group, int64_t t) {
    return lstm->rows + (group * 2 + (t & 1)) * lstm->plan.H * TILE_PITCH;
}

/* Step t of one row, units u .. u+LANES-1: from the sums of the four gates to c and the output
 * gate, which are left in the place of the sums. */
static inline void forward_cell(const Lstm *lstm, int64_t t, int64_t u, int64_t b, float *sums) {
    const int64_t H = lstm->plan.H, n = H - u, row = t * lstm->plan.B + b;
    const float *input = lstm->input + (b * lstm->plan.L + t) * 4 * H + u;
    for (int gate = 0; gate < 4; gate++) __builtin_prefetch(input + (4 + gate) * H);
    const vfloat i = v_sigmoid(v_load(sums) + v_load_part(input, n));
    const vfloat f = v_sigmoid(v_load(sums + LANES) + v_load_part(input + H, n));
    const vfloat g = v_tanh(v_load(sums + 2 * LANES) + v_load_part(input + 2 * H, n));
    const vfloat o = v_sigmoid(v_load(sums + 3 * LANES) + v_load_part(input + 3 * H, n));
    float *state = lstm->c + b * H + u;
    const vfloat c = f * v_load_part(state, n) + i * g;
    v_store(sums, c);
    v_store(sums + LANES, o);
    v_store_part(state, c, n);
    if (!lstm->gates) return;
    float *gates = lstm->gates + row * 4 * H + u;
    for (int gate = 0; gate < 4; gate++)
        __builtin_prefetch(gates + (lstm->plan.B * 4 + gate) * H, 1);
    __builtin_prefetch(lstm->saved_c + (row + lstm->plan.B) * H + u, 1);
    v_store_part(gates, i, n);
    v_store_part(gates + H, f, n);
    v_store_part(gates + 2 * H, g, n);
    v_store_part(gates + 3 * H, o, n);
    v_store_part(lstm->saved_c + row * H + u, c, n);
}

/* What step t multiplies by W. */
static RowGroup h_before(const Lstm *lstm, int64_t group, int64_t t) {
    const int64_t L = lstm->plan.L, H = lstm->plan.H, first = group_row(lstm, group);
    RowGroup rows = {.count = group_row(lstm, group + 1) - first,
                     .packed = packed_h(lstm, group, t),
                     .pairs = lstm->pairs};
    if (t > 0) {
        rows.rows = lstm->h + (first * L + t - 1) * H;
        rows.apart = L * H;
    } else if (lstm->h0) {
        rows.rows = lstm->h0 + first * H;
        rows.apart = H;
    }
    return rows;
}

/* Step t of units u .. u+LANES-1 for a group. */
static void forward_tile(const Lstm *lstm, int64_t t, int64_t u, int64_t group) {
    const int64_t H = lstm->plan.H, first = group_row(lstm, group);
    const RowGroup before = h_before(lstm, group, t);
    float sums[GROUP_ROWS * PANEL] __attribute__((aligned(64)));
    product(t > 0 || lstm->h0 ? lstm->steps : 0, &before, lstm->packed + u * lstm->steps * 4, sums,
            PANEL_VECTORS);
    /* Two loops, so that the long chains of operations of several rows overlap in each. */
    for (int64_t r = 0; r < before.count; r++)
        forward_cell(lstm, t, u, first + r, sums + r * PANEL);
    for (int64_t r = 0; r < before.count; r += LANES) {
        vfloat h[LANES];
        const int64_t end = before.count - r < LANES ? before.count - r : LANES;
        for (int64_t i = 0; i < end; i++) {
            const float *cell = sums + (r + i) * PANEL;
            h[i] = v_load(cell + LANES) * v_tanh(v_load(cell));
            v_store_part(lstm->dense_h + (first + r + i) * H + u, h[i], H - u);
        }
        if (!packs_rows(lstm, before.count)) continue;
        for (int64_t i = end; i < LANES; i++) h[i] = v_zero();
        pack_block(h, H - u, packed_h(lstm, group, t + 1) + packed_unit(lstm, 0, u) + r, TILE_PITCH,
                   lstm->pairs);
    }
}

/* Packs what the first step reads. */
static void start_group(const Lstm *lstm, int64_t group) {
    const RowGroup before = h_before(lstm, group, 0);
    const int64_t H = lstm->plan.H;
    if (!lstm->h0 || !packs_rows(lstm, before.count)) return;
    float *to = packed_h(lstm, group, 0);
    for (int64_t r = 0; r < before.count; r += LANES)
        for (int64_t u = 0; u < H; u += LANES) {
            vfloat h[LANES];
            for (int64_t i = 0; i < LANES; i++)
                h[i] = r + i < before.count
                           ? v_load_part(before.rows + (r + i) * before.apart + u, H - u)
                           : v_zero();
            pack_block(h, H - u, to + packed_unit(lstm, 0, u) + r, TILE_PITCH, lstm->pairs);
        }
}

/* dense (B, width) = step t of rows (B, L, width), for rows first .. end-1. */
static void gather(const Lstm *lstm, const float *rows, int64_t width, int64_t t, int64_t first,
                   int64_t end, float *dense) {
    for (int64_t b = first; b < end; b++)
        memcpy(dense + b * width, rows + (b * lstm->plan.L + t) * width,
               (size_t)width * sizeof(float));
}

static void forward_groups(const Lstm *lstm, int64_t begin, int64_t end) {
    const int64_t L = lstm->plan.L, H = lstm->plan.H;
    const int64_t first = group_row(lstm, begin), last = group_row(lstm, end);
    for (int64_t group = begin; group < end; group++) start_group(lstm, group);
    for (int64_t t = 0; t < L; t++) {
        for (int64_t u = 0; u < H; u += LANES)
            for (int64_t group = begin; group < end; group++) forward_tile(lstm, t, u, group);
        for (int64_t b = first; b < last; b++)
            memcpy(lstm->h + (b * L + t) * H, lstm->dense_h + b * H, (size_t)H * sizeof(float));
    }
}

static void forward(const OpCall *call, const Run *run) {
    const Lstm lstm = open_call(call, run, PHASE_FORWARD);
    const Plan *plan = &lstm.plan;
    pack_gates(&lstm);
    start_rows(lstm.c, lstm.c0, plan);
    const int64_t parts = run->threads < lstm.groups ? run->threads : lstm.groups;
#pragma omp parallel for num_threads((int)parts) schedule(static) if (parts > 1)
    for (int64_t part = 0; part < parts; part++)
        forward_groups(&lstm, lstm.groups * part / parts, lstm.groups * (part + 1) / parts);
    if (call->outputs == 1) return;
    const size_t row = (size_t)plan->H * sizeof(float);
    memcpy(call->out[LSTM_C_LAST]->data, lstm.c, (size_t)plan->B * row);
    for (int64_t b = 0; b < plan->B; b++)
        memcpy(call->out[LSTM_H_LAST]->data + b * plan->H,
               lstm.h + ((b + 1) * plan->L - 1) * plan->H, row);
}

/* Vectors of the panel that begins at unit u. */
static inline int panel_vectors(int64_t H, int64_t u) {
    return H - u > 2 * LANES ? PANEL_VECTORS : 2;
}

/* One gate of a panel of W transposed: panel[k][lane] = w[u + lane][gate][k] or pairs of k, zero
 * beyond H. */
static void pack_panel(const Lstm *lstm, int64_t u, int64_t gate, int64_t width, float *panel) {
    const int64_t H = lstm->plan.H;
    for (int64_t k = 0; k < H; k += LANES)
        for (int64_t lane = 0; lane < width; lane += LANES) {
            vfloat block[LANES];
            for (int64_t i = 0; i < LANES; i++) {
                const int64_t unit = u + lane + i;
                const float *row = lstm->w + (unit * 4 + gate) * H + k;
                block[i] = unit < H ? v_load_part(row, H - k) : v_zero();
            }
            pack_block(block, H - k, panel + (lstm->pairs ? k / 2 : k) * width + lane, width,
                       lstm->pairs);
        }
}

/* W transposed, in panels: packed[panel][gate][k][lane]. */
static void pack_transposed(const Lstm *lstm) {
    float *panel = lstm->packed;
    for (int64_t u = 0; u < lstm->plan.H;) {
        const int64_t width = panel_vectors(lstm->plan.H, u) * LANES;
        for (int64_t gate = 0; gate < 4; gate++, panel += lstm->steps * width)
            pack_panel(lstm, u, gate, width, panel);
        u += width;
    }
}

/* Gate gradients of step t of one row, units u .. u+LANES-1, from what flows into h_t and c_t. */
static inline void gate_gradients(const Lstm *lstm, int64_t t, int64_t u, int64_t b,
                                  vfloat gradient[4]) {
    const int64_t B = lstm->plan.B, H = lstm->plan.H, row = t * B + b, n = H - u;
    const float *gates = lstm->gates + row * 4 * H + u, *cell = lstm->saved_c + row * H + u;
    const float *before = t > 0 ? cell - B * H : lstm->c0 ? lstm->c0 + b * H + u : NULL;
    float *dc = lstm->c + b * H + u;
    const vfloat i = v_load_part(gates, n), f = v_load_part(gates + H, n);
    const vfloat g = v_load_part(gates + 2 * H, n), o = v_load_part(gates + 3 * H, n);
    const vfloat tanh_c = v_tanh(v_load_part(cell, n));
    const vfloat dh =
        v_load_part(lstm->step + b * H + u, n) + v_load_part(lstm->dense_h + b * H + u, n);
    const vfloat dcell = v_load_part(dc, n) + dh * o * (1.0f - tanh_c * tanh_c);
    const vfloat c_before = before ? v_load_part(before, n) : v_zero();
    v_store_part(dc, dcell * f, n);
    gradient[0] = dcell * g * (i * (1.0f - i));
    gradient[1] = dcell * c_before * (f * (1.0f - f));
    gradient[2] = dcell * i * (1.0f - g * g);
    gradient[3] = dh * tanh_c * (o * (1.0f - o));
}

/* Gate gradients of step t of a group: to its packed rows and to the chunk's rows gates (B, 4H). */
static void group_gradients(const Lstm *lstm, int64_t t, int64_t group, float *gates) {
    const int64_t H = lstm->plan.H, first = group_row(lstm, group);
    const int64_t rows = group_row(lstm, group + 1) - first;
    float *packed = lstm->rows + group * 4 * H * TILE_PITCH;
    for (int64_t u = 0; u < H; u += LANES)
        for (int64_t r = 0; r < rows; r += LANES) {
            vfloat block[4][LANES];
            const int64_t end = rows - r < LANES ? rows - r : LANES;
            for (int64_t i = 0; i < end; i++) {
                vfloat gradient[4];
                gate_gradients(lstm, t, u, first + r + i, gradient);
                for (int64_t gate = 0; gate < 4; gate++) {
                    float *to = gates + (first + r + i) * 4 * H + gate * H + u;
                    v_store_part(to, gradient[gate], H - u);
                    block[gate][i] = gradient[gate];
                }
            }
            if (!packs_rows(lstm, rows)) continue;
            for (int64_t gate = 0; gate < 4; gate++) {
                for (int64_t i = end; i < LANES; i++) block[gate][i] = v_zero();
                pack_block(block[gate], H - u, packed + packed_unit(lstm, gate, u) + r, TILE_PITCH,
                           lstm->pairs);
            }
        }
}

/* The chunk's gate gradients, steps [begin, end), to rows first .. last-1 of the input's gradient.
 */
static void give_input_gradient(const Lstm *lstm, int64_t begin, int64_t end, int64_t first,
                                int64_t last) {
    const int64_t B = lstm->plan.B, L = lstm->plan.L, count = 4 * lstm->plan.H;
    if (!lstm->input_gradient) return;
    for (int64_t b = first; b < last; b++)
        for (int64_t t = begin; t < end; t++) {
            const float *from = lstm->chunk_gates + ((t - begin) * B + b) * count;
            float *to = lstm->input_gradient + (b * L + t) * count;
            if (!lstm->add_input)
                memcpy(to, from, (size_t)count * sizeof(float));
            else
                for (int64_t k = 0; k < count; k++) to[k] += from[k];
        }
}

/* h before step t, for the chunk: (B, H). */
static void keep_h(const Lstm *lstm, int64_t t, int64_t b, float *h) {
    const int64_t L = lstm->plan.L, H = lstm->plan.H;
    const float *before = t > 0      ? lstm->h + (b * L + t - 1) * H
                          : lstm->h0 ? lstm->h0 + b * H
                                     : NULL;
    if (before)
        memcpy(h + b * H, before, (size_t)H * sizeof(float));
    else
        memset(h + b * H, 0, (size_t)H * sizeof(float));
}

/* dh = dG W^T for a group, units of one panel. gates: this step's rows of the chunk. */
static inline __attribute__((always_inline)) void pass_back(const Lstm *lstm, const float *gates,
                                                            const float *panel, int64_t u,
                                                            int64_t group, const int vectors) {
    const int64_t H = lstm->plan.H, first = group_row(lstm, group);
    const RowGroup rows = {.count = group_row(lstm, group + 1) - first,
                           .rows = gates + first * 4 * H,
                           .apart = 4 * H,
                           .packed = lstm->rows + group * 4 * H * TILE_PITCH,
                           .pairs = lstm->pairs};
    float sums[GROUP_ROWS * PANEL] __attribute__((aligned(64)));
    product(4 * lstm->steps, &rows, panel, sums, vectors);
    for (int64_t r = 0; r < rows.count; r++)
        for (int64_t v = 0; v < vectors && u + v * LANES < H; v++)
            v_store_part(lstm->dense_h + (first + r) * H + u + v * LANES,
                         v_load(sums + r * PANEL + v * LANES), H - u - v * LANES);
}

/* One step back for some groups. gates, h: this step's rows of the chunk. */
static void backward_step(const Lstm *lstm, int64_t t, int64_t begin, int64_t end, float *gates,
                          float *h) {
    const int64_t H = lstm->plan.H, first = group_row(lstm, begin), last = group_row(lstm, end);
    gather(lstm, lstm->h_gradient, H, t, first, last, lstm->step);
    for (int64_t group = begin; group < end; group++) group_gradients(lstm, t, group, gates);
    for (int64_t b = first; b < last; b++) keep_h(lstm, t, b, h);
    const float *panel = lstm->packed;
    for (int64_t u = 0; u < H;) {
        const int vectors = panel_vectors(H, u);
        for (int64_t group = begin; group < end; group++)
            if (vectors == PANEL_VECTORS)
                pass_back(lstm, gates, panel, u, group, PANEL_VECTORS);
            else
                pass_back(lstm, gates, panel, u, group, 2);
        panel += vectors * LANES * 4 * lstm->steps;
        u += vectors * LANES;
    }
}

static void give_state_gradient(const OpCall *call, int input, const float *gradient) {
    float *to = call->in[input] ? call->in[input]->gradient : NULL;
    const int64_t size = to ? tensor_size(call->in[input]) : 0;
    for (int64_t i = 0; i < size; i++)
        to[i] = call->accumulate[input] ? to[i] + gradient[i] : gradient[i];
}

static void backward(const OpCall *call, const Run *run) {
    Lstm lstm = open_call(call, run, PHASE_BACKWARD);
    const Plan *plan = &lstm.plan;
    const int64_t B = plan->B, L = plan->L, H = plan->H;
    float *scratch = call->scratch, *dw = call->in[LSTM_W]->gradient;
    lstm.h_gradient = call->out[LSTM_H]->gradient;
    lstm.input_gradient = call->in[LSTM_GATES]->gradient;
    lstm.add_input = call->accumulate[LSTM_GATES];
    lstm.step = scratch + plan->step;
    lstm.chunk_gates = scratch + plan->chunk_gates;
    lstm.chunk_h = scratch + plan->chunk_h;
    const bool carried = call->outputs > 1;
    start_rows(lstm.dense_h, carried ? call->out[LSTM_H_LAST]->gradient : NULL, plan);
    start_rows(lstm.c, carried ? call->out[LSTM_C_LAST]->gradient : NULL, plan);
    pack_transposed(&lstm);
    const int64_t parts = run->threads < lstm.groups ? run->threads : lstm.groups;
    bool add = call->accumulate[LSTM_W];
    for (int64_t end = L; end > 0; end -= plan->steps) {
        const int64_t begin = end > plan->steps ? end - plan->steps : 0;
#pragma omp parallel for num_threads((int)parts) schedule(static) if (parts > 1)
        for (int64_t part = 0; part < parts; part++) {
            const int64_t from = lstm.groups * part / parts;
            const int64_t to = lstm.groups * (part + 1) / parts;
            for (int64_t t = end - 1; t >= begin; t--)
                backward_step(&lstm, t, from, to, lstm.chunk_gates + (t - begin) * B * 4 * H,
                              lstm.chunk_h + (t - begin) * B * H);
            give_input_gradient(&lstm, begin, end, group_row(&lstm, from), group_row(&lstm, to));
        }
        if (dw) ISA(gemm)
        (GEMM_TN, run->products, H, 4 * H, (end - begin) * B, lstm.chunk_h, H, lstm.chunk_gates,
         4 * H, dw, 4 * H, add, scratch + plan->workspace, run->threads);
        add = true;
    }
    give_state_gradient(call, LSTM_H0, lstm.dense_h);
    give_state_gradient(call, LSTM_C0, lstm.c);
}

const OpKernels ISA(lstm_cpu) = {forward, backward};
