/* Chunks at the same time: what each adds to the state, the states by a pass over the chunks, and
 * everything else chunk by chunk (linear_attention.cuh). Bound by the products: a token and head
 * takes 4 d m + 2 C (d + m) operations forward, whole triangles counted, against 4 (2 d + 2 m)
 * bytes and 8 d m / C for the states. */
#include "engine/cuda/columns.cuh"
#include "engine/ops/linear_attention/linear_attention.cuh"

/* From what chunks add to the states before them, or with `backwards` behind them. added may be
 * states. start, end (B, H, state): NULL for zero and for not wanted. Bidirectional: one state of
 * all. */
static void join_chunks(const Run *run, const LinearCall &x, const float *added, float *states,
                        const float *start, float *end, bool add_end, bool backwards) {
    const LinearPlan plan = x.plan;
    const float *const sums = x.sums;
    const bool causal = x.causal;
    const Divisor by_state = divide_by(plan.state);
    for_each(run, plan.B * plan.H * plan.state, [=] __device__(int64_t i) {
        const int64_t head = by_state.of(i), place = i - head * plan.state;
        float state = start ? start[i] : 0;
        for (int64_t step = 0; step < plan.chunks; step++) {
            const int64_t chunk = head * plan.chunks + (backwards ? plan.chunks - 1 - step : step);
            const float more = added[chunk * plan.state + place];
            if (causal) states[chunk * plan.state + place] = state;
            state = (sums ? expf(sums[chunk * 2 * TILE + TILE - 1]) : 1.0f) * state + more;
        }
        if (!causal) states[i] = state;
        if (end) put(end + i, state, add_end);
    });
}

static Part part_of(const OpCall *call, const float *tensor, int64_t column, int64_t row,
                    int64_t width, int64_t group, bool features) {
    const LinearAttention *a = static_cast<const LinearAttention *>(call->attributes);
    return {tensor + column, row, width, group, features ? a->feature : FEATURE_IDENTITY};
}
struct Parts {
    Part q, k, v, g; /* g: dO over the denominator */
};
static Parts parts_of(const OpCall *call, const LinearPlan &p) {
    const int64_t group = p.H / p.G;
    Parts parts = {};
    parts.q = part_of(call, call->in[p.q_input]->data, p.q_column, p.q_row, p.d, group, true);
    parts.k = part_of(call, call->in[p.k_input]->data, p.k_column, p.k_row, p.d, group, true);
    parts.v = part_of(call, call->in[p.v_input]->data, p.v_column, p.v_row, p.m, 1, false);
    parts.k.factors = data_of(call, LINEAR_GAIN);
    parts.q.scale = (float)static_cast<const LinearAttention *>(call->attributes)->scale;
    return parts;
}

static LinearCall call_of(const OpCall *call) {
    const LinearAttention *a = static_cast<const LinearAttention *>(call->attributes);
    const Tensor *lengths = input_of(call, LINEAR_LENGTHS);
    return {linear_attention_plan(call), a->causal, a->normalise,
            lengths ? lengths->integers : NULL, NULL};
}

static void launch_tiles(const Run *run, const TilesCall &t, float epsilon) {
    const LinearPlan &p = t.call.plan;
    const dim3 grid((unsigned)(p.B * t.heads * p.chunks), blocks_for(t.columns, TILE));
    with_products(run, [&]<class M>() {
        LAUNCH(run, linear_tiles<M>, grid, THREADS, sizeof(TilesSpace<M>), t, epsilon);
    });
}
static void launch_sums(const Run *run, const SumsCall &t) {
    const LinearPlan &p = t.call.plan;
    const dim3 grid((unsigned)(p.B * p.H * p.chunks), blocks_for(p.d, TILE), blocks_for(p.m, TILE));
    with_products(run, [&]<class M>() {
        LAUNCH(run, linear_sums<M>, grid, THREADS, sizeof(TilesSpace<M>), t);
    });
}

static const float *take_decays(const Run *run, const OpCall *call, const LinearPlan &plan,
                                Carver *carver) {
    const float *const log_decay = data_of(call, LINEAR_DECAY);
    if (!log_decay) return NULL;
    float *const sums = carver->take<float>(plan.B * plan.H * plan.chunks * 2 * TILE);
    sum_chunk_decays(run, plan.B, plan.L, plan.H, log_decay, plan.constant, sums);
    return sums;
}

/* States of all chunks, wherever they are. */
static int64_t states_size(const LinearPlan &plan) {
    return plan.B * plan.H * plan.chunks * plan.state;
}

static void forward(const OpCall *call, const Run *run) {
    const LinearAttention *a = static_cast<const LinearAttention *>(call->attributes);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    LinearCall x = call_of(call);
    const LinearPlan &p = x.plan;
    const Parts parts = parts_of(call, p);
    x.sums = take_decays(run, call, p, &carver);
    float *const added = carver.take<float>(states_size(p));
    float *const states = call->saves ? call->saved[LINEAR_SAVED_STATES]->data
                          : a->causal ? added
                                      : carver.take<float>(p.B * p.H * p.state);
    float *const denominators = !a->normalise ? NULL
                                : call->saves ? call->saved[LINEAR_SAVED_DENOMINATORS]->data
                                              : carver.take<float>(p.B * p.L * p.H);
    SumsCall sums = {};
    sums.call = x;
    sums.x = parts.k;
    sums.z = parts.v;
    sums.padded = true;
    sums.to = added;
    launch_sums(run, sums);
    join_chunks(run, x, added, states, data_of(call, LINEAR_STATE),
                call->outputs > 1 ? call->out[1]->data : NULL, false, false);
    TilesCall t = {};
    t.call = x;
    t.x = parts.q;
    t.y = parts.k;
    t.z = parts.v;
    t.states = states;
    t.turned = true;
    t.columns = (int)p.m;
    t.denominators = denominators;
    t.to = call->out[0]->data;
    t.to_row = p.H * p.m;
    t.to_group = 1;
    t.heads = p.H;
    t.skip = data_of(call, LINEAR_SKIP);
    launch_tiles(run, t, (float)a->epsilon);
}

/* e of every token and head, -(dO . O) / denominator: a warp each. */
enum { ROW_THREADS = 256 };
KERNEL void __launch_bounds__(ROW_THREADS)
    row_products(const float *g, const float *out, const float *denominators, int64_t rows,
                 int64_t m, float *e) {
    const int64_t row = global_thread() / WARP;
    const bool inside = row < rows; /* whole warps, so that all lanes reach the sum */
    float sum = 0;
    for (int64_t c = threadIdx.x % WARP; inside && c < m; c += WARP)
        sum += g[row * m + c] * out[row * m + c];
    sum = warp_sum(sum);
    if (inside && threadIdx.x % WARP == 0) e[row] = -sum / denominators[row];
}

/* Sums of row i of a chunk over the tiles of columns. */
__device__ static inline float dot_of(const float *dots, int64_t tiles, int64_t all, int64_t n,
                                      int64_t i) {
    float sum = 0;
    for (int64_t tile = 0; tile < tiles; tile++) sum += dots[(tile * all + n) * TILE + i];
    return sum;
}

/* Of the gains: k . dk with the gain left out of k. */
static void gain_gradient(const Run *run, const OpCall *call, const LinearPlan &plan,
                          const float *k_dots, int64_t tiles) {
    float *const to = gradient_of(call, LINEAR_GAIN);
    const bool add = call->accumulate[LINEAR_GAIN];
    const int64_t all = plan.B * plan.H * plan.chunks;
    for_each(run, plan.B * plan.L * plan.H, [=] __device__(int64_t place) {
        const int64_t h = place % plan.H, t = place / plan.H % plan.L, b = place / plan.H / plan.L;
        const int64_t n = (b * plan.H + h) * plan.chunks + t / TILE;
        put(to + place, dot_of(k_dots, tiles, all, n, t % TILE), add);
    });
}

/* Of the skip, from the diagonals of dP. */
static void skip_gradient(const Run *run, const OpCall *call, const LinearPlan &plan,
                          const float *diagonal, Carver *carver) {
    const int64_t rows = plan.chunks * TILE;
    sum_columns(
        run,
        [=] __device__(int64_t row, int64_t h) {
            return diagonal[(row / rows * plan.H + h) * rows + row % rows];
        },
        plan.B * rows, plan.H, gradient_of(call, LINEAR_SKIP), call->accumulate[LINEAR_SKIP],
        carver->take<float>((int64_t)(column_scratch(plan.B * rows, plan.H) / sizeof(float))));
}

/* dlog_decay from the sums of q . dq and k . dk, a thread for each chunk; of constant decays first
 * for all tokens, rows (B L, H), then their sums. */
static void decay_gradient(const Run *run, const OpCall *call, const LinearPlan &plan,
                           const float *q_dots, const float *k_dots, int64_t tiles,
                           const float *ends, Carver *carver) {
    const int64_t rows = plan.B * plan.L;
    float *const gradient = gradient_of(call, LINEAR_DECAY);
    float *const to = plan.constant ? carver->take<float>(rows * plan.H) : gradient;
    const bool add = call->accumulate[LINEAR_DECAY] && !plan.constant;
    const int64_t all = plan.B * plan.H * plan.chunks;
    const float *const gains = data_of(call, LINEAR_GAIN);
    for_each(run, all, [=] __device__(int64_t n) {
        const int64_t head = n / plan.chunks, token = n % plan.chunks * TILE;
        const int64_t first = (head / plan.H * plan.L + token) * plan.H + head % plan.H;
        float *const row = to + first;
        float sum = ends[n];
        for (int64_t i = TILE - 1; i >= 0; i--) {
            if (token + i >= plan.L) continue;
            const float gain = gains ? gains[first + i * plan.H] : 1.0f;
            sum += dot_of(q_dots, tiles, all, n, i) - gain * dot_of(k_dots, tiles, all, n, i);
            put(row + i * plan.H, sum, add);
        }
    });
    if (plan.constant)
        sum_columns(run, MatrixTerm{to, plan.H}, rows, plan.H, gradient,
                    call->accumulate[LINEAR_DECAY],
                    carver->take<float>((int64_t)(column_scratch(rows, plan.H) / sizeof(float))));
}

/* Where the gradient of a part goes. */
static void set_target(const OpCall *call, int input, int64_t column, int64_t row, TilesCall *t) {
    float *const to = gradient_of(call, input);
    t->to = to ? to + column : NULL;
    t->to_row = row;
    t->add = call->accumulate[input];
}

/* What the gradients of q, k and v have in common. */
struct Adjoint {
    const OpCall *call;
    LinearCall x;
    Parts parts;
    float *dstates;         /* gradients of the states behind chunks */
    float *e;               /* (B, L, H) with normalise, otherwise NULL */
    float *q_dots, *k_dots; /* (tiles, B, H, chunks, C): of q . dq and k . dk; NULL: not wanted */
    int64_t tiles;          /* of d */
    float *diagonal;        /* (B, H, chunks, C) of dP; NULL: not wanted */
};

/* Of the outputs over their denominators, and of the states. */
static Adjoint adjoint_of(const OpCall *call, const Run *run, Carver *carver) {
    const LinearAttention *a = static_cast<const LinearAttention *>(call->attributes);
    Adjoint own = {};
    own.call = call;
    own.x = call_of(call);
    const LinearPlan &p = own.x.plan;
    own.parts = parts_of(call, p);
    own.x.sums = take_decays(run, call, p, carver);
    float *const added = carver->take<float>(states_size(p));
    own.dstates = a->causal ? added : carver->take<float>(p.B * p.H * p.state);
    own.e = a->normalise ? carver->take<float>(p.B * p.L * p.H) : NULL;
    Part &g = own.parts.g;
    g = part_of(call, call->out[0]->gradient, 0, p.H * p.m, p.m, 1, false);
    if (a->normalise) {
        g.divisors = call->saved[LINEAR_SAVED_DENOMINATORS]->data;
        LAUNCH(run, row_products, blocks_for(p.B * p.L * p.H * WARP, ROW_THREADS), ROW_THREADS, 0,
               call->out[0]->gradient, call->out[0]->data, g.divisors, p.B * p.L * p.H, p.m, own.e);
    }
    SumsCall sums = {};
    sums.call = own.x;
    sums.x = own.parts.q;
    sums.z = g;
    sums.since = true;
    sums.e = own.e;
    sums.to = added;
    launch_sums(run, sums);
    join_chunks(run, own.x, added, own.dstates, call->outputs > 1 ? call->out[1]->gradient : NULL,
                gradient_of(call, LINEAR_STATE), call->accumulate[LINEAR_STATE], true);

    own.tiles = blocks_for(p.d, TILE);
    const int64_t dots = own.tiles * p.B * p.H * p.chunks * TILE;
    const bool decays = gradient_of(call, LINEAR_DECAY), gains = gradient_of(call, LINEAR_GAIN);
    if (decays) own.q_dots = carver->take<float>(dots);
    if (decays || gains) own.k_dots = carver->take<float>(dots);
    if (gradient_of(call, LINEAR_SKIP))
        own.diagonal = carver->take<float>(p.B * p.H * p.chunks * TILE);
    return own;
}

/* dQ: rows of dO meet earlier columns of V. */
static void query_gradient(const Adjoint &own, const Run *run) {
    const LinearPlan &p = own.x.plan;
    TilesCall t = {};
    t.call = own.x;
    t.x = own.parts.g;
    t.y = own.parts.v;
    t.z = own.parts.k;
    t.own = own.parts.q;
    t.states = own.call->saved[LINEAR_SAVED_STATES]->data;
    t.columns = (int)p.d;
    t.e_rows = own.e;
    t.dots = own.q_dots;
    t.diagonal = own.diagonal;
    t.heads = p.G;
    t.to_group = p.H / p.G;
    set_target(own.call, p.q_input, p.q_column, p.q_row, &t);
    if (t.to || t.dots || t.diagonal) launch_tiles(run, t, 0);
}

/* dK: rows of V meet later columns of dO. */
static void key_gradient(const Adjoint &own, const Run *run) {
    const LinearPlan &p = own.x.plan;
    TilesCall t = {};
    t.call = own.x;
    t.x = own.parts.v;
    t.y = own.parts.g;
    t.z = own.parts.q;
    t.own = own.parts.k;
    t.states = own.dstates;
    t.later = t.padded = true;
    t.columns = (int)p.d;
    t.e_columns = own.e;
    t.dots = own.k_dots;
    t.heads = p.G;
    t.to_group = p.H / p.G;
    set_target(own.call, p.k_input, p.k_column, p.k_row, &t);
    if (t.to || t.dots) launch_tiles(run, t, 0);
}

/* dV: rows of K meet later columns of Q. */
static void value_gradient(const Adjoint &own, const Run *run) {
    const LinearPlan &p = own.x.plan;
    TilesCall t = {};
    t.call = own.x;
    t.x = own.parts.k;
    t.y = own.parts.q;
    t.z = own.parts.g;
    t.states = own.dstates;
    t.turned = t.later = t.padded = true;
    t.columns = (int)p.m;
    t.skip = data_of(own.call, LINEAR_SKIP);
    t.heads = p.H;
    t.to_group = 1;
    set_target(own.call, p.v_input, p.v_column, p.v_row, &t);
    if (t.to) launch_tiles(run, t, 0);
}

static void backward(const OpCall *call, const Run *run) {
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const Adjoint own = adjoint_of(call, run, &carver);
    const LinearPlan &p = own.x.plan;
    query_gradient(own, run);
    if (own.diagonal) skip_gradient(run, call, p, own.diagonal, &carver);
    key_gradient(own, run);
    if (own.q_dots) {
        float *const ends = carver.take<float>(p.B * p.H * p.chunks);
        end_products(run, call->saved[LINEAR_SAVED_STATES]->data, own.dstates,
                     call->outputs > 1 ? call->out[1]->data : NULL, p.B * p.H, p.chunks, p.state,
                     ends);
        decay_gradient(run, call, p, own.q_dots, own.k_dots, own.tiles, ends, &carver);
    }
    if (gradient_of(call, LINEAR_GAIN)) gain_gradient(run, call, p, own.k_dots, own.tiles);
    value_gradient(own, run);
}

static size_t scratch(const OpCall *call, Phase phase) {
    const LinearPlan p = linear_attention_plan(call);
    const int64_t chunks = p.B * p.H * p.chunks, rows = p.B * p.L * p.H;
    size_t bytes = carved(states_size(p), 4) + carved(p.B * p.H * p.state, 4) + carved(rows, 4);
    const bool decays = input_of(call, LINEAR_DECAY), gains = input_of(call, LINEAR_GAIN);
    if (decays) bytes += carved(chunks * 2 * TILE, 4);
    if (phase == PHASE_FORWARD) return bytes;
    if (decays || gains) bytes += 2 * carved(blocks_for(p.d, TILE) * chunks * TILE, 4);
    if (decays) bytes += carved(chunks, 4);
    if (p.constant) bytes += carved(rows, 4) + column_scratch(p.B * p.L, p.H);
    if (input_of(call, LINEAR_SKIP))
        bytes += carved(chunks * TILE, 4) + column_scratch(p.B * p.chunks * TILE, p.H);
    return bytes;
}

CUDA_OP(linear_attention, {forward, backward}, scratch);
