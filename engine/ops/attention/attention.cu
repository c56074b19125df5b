/* Attention on a GPU: makes the copies that the tiled kernels read and runs them. */
#include <algorithm>

#include "engine/cuda/warpgroup.cuh"
#include "engine/ops/attention/attention_wide.cuh"

enum { COPY_THREADS = 256, MOST_COPIES = 4, NOTE_LANES = 8 };

/* to (B, heads, padded, parts D) = from (B, rows, heads, width) with rows `row` floats apart; zero
 * beyond. */
struct HeadCopy {
    const float *from;
    void *to;
    int heads, rows, padded;
    int64_t row;
    bool hide;  /* rows from lengths[b] on count as zero, whatever they hold */
    bool fours; /* rows are read in aligned fours */
};
struct HeadCopies {
    HeadCopy copy[MOST_COPIES];
    int64_t batch;
    int width, parts;
    bool tiled; /* rows in tiles as warpgroups read them, not one after the other */
    const int32_t *lengths;
};

template <class M, int D>
constexpr bool attention_has_panels = sizeof(typename M::Element) == sizeof(bfloat) && D >= PANEL &&
                                      !attention_wide<D>;

template <class M, int D> KERNEL void __launch_bounds__(COPY_THREADS) copy_heads(HeadCopies x) {
    const HeadCopy copy = x.copy[blockIdx.y];
    /* padded rows are whole blocks: divisions are the same for a block, and of 32 bits */
    const unsigned each = (unsigned)copy.padded * (D / 4) / COPY_THREADS;
    const unsigned number = blockIdx.x / each, n = blockIdx.x % each * COPY_THREADS + threadIdx.x;
    const unsigned parts = attention_wide<D> ? (unsigned)x.parts : 1, head = number / parts;
    const int c = (int)(number % parts * D + n % (D / 4) * 4), i = (int)(n / (D / 4));
    const int64_t b = head / (unsigned)copy.heads, h = head % (unsigned)copy.heads;
    if (b >= x.batch) return;
    const bool seen = i < copy.rows && !(copy.hide && x.lengths && i >= x.lengths[b]);
    const float *const from = copy.from + (b * copy.rows + i) * copy.row + h * x.width;
    Lanes<4> four = {};
    if (seen && copy.fours && c < x.width)
        four = *reinterpret_cast<const Lanes<4> *>(from + c);
    else if (seen)
        for (int k = 0; k < 4; k++)
            if (c + k < x.width) four.of[k] = from[c + k];
    int64_t at = (int64_t)i * parts * D + c;
    if constexpr (attention_has_panels<M, D>)
        if (x.tiled) at = tiled_place<D>(i, c);
    M::store(static_cast<typename M::Element *>(copy.to) + (int64_t)head * copy.padded * parts * D +
                 at,
             four);
}

/* Eight lanes add up a row of dO . O. */
KERNEL void __launch_bounds__(COPY_THREADS)
    make_notes(AttentionCall x, const float *out, const float *d_out, AttentionNote *notes) {
    const unsigned each = (unsigned)x.padded_queries * NOTE_LANES / COPY_THREADS;
    const unsigned head = blockIdx.x / each;
    const int64_t b = head / (unsigned)x.heads, h = head % (unsigned)x.heads;
    const int i = (int)((blockIdx.x % each * COPY_THREADS + threadIdx.x) / NOTE_LANES);
    const int lane = (int)(threadIdx.x % NOTE_LANES);
    const bool real = i < x.queries;
    float sum = 0;
    const int64_t at = ((b * x.queries + i) * x.heads + h) * x.width;
    for (int64_t c = lane; real && c < x.width; c += NOTE_LANES) sum += out[at + c] * d_out[at + c];
    for (int offset = NOTE_LANES / 2; offset > 0; offset /= 2)
        sum += __shfl_xor_sync(0xFFFFFFFFu, sum, offset);
    if (lane == 0)
        notes[(int64_t)head * x.padded_queries + i] = {
            real ? x.log_sum[(int64_t)head * x.queries + i] : INFINITY, real ? sum : 0.0f};
}

static AttentionDropped dropped_of(const OpCall *call, const Run *run) {
    AttentionDropped dropped = {};
    dropped.threshold = attention_threshold(call, run);
    if (!dropped.threshold) return dropped;
    dropped.values = run_values(run);
    dropped.stream = stream_number("dropout") ^ (uint64_t)call->number;
    dropped.scale = attention_kept_scale(dropped.threshold);
    return dropped;
}

static int padded_rows(int64_t rows) {
    return (int)((rows + ATTENTION_ROWS - 1) / ATTENTION_ROWS * ATTENTION_ROWS);
}

/* The width that the tiles of a head have, or the parts of a wide one; see attention_with_width. */
static int64_t tile_width(int64_t width) {
    int64_t padded = 16;
    while (padded < width && padded < ATTENTION_PART) padded *= 2;
    return padded;
}
static int64_t parts_of(int64_t width) {
    return (width + tile_width(width) - 1) / tile_width(width);
}
static int64_t padded_width(int64_t width) {
    return parts_of(width) * tile_width(width);
}

/* Divisor of all heads for which keys and values (or queries and dO) take up to half of a cache of
 * 50 MB. */
static int64_t heads_at_once(const AttentionView &view) {
    const int64_t all = view.batch * view.kv_heads, longest = std::max(view.keys, view.queries);
    const int64_t bytes = 2 * longest * padded_width(view.width) * (int64_t)sizeof(float);
    int64_t count = std::max<int64_t>(1, std::min(all, ((int64_t)24 << 20) / bytes));
    while (all % count) count--;
    return count;
}

static AttentionCall call_of(const OpCall *call, const Run *run) {
    const AttentionView view = attention_view(call);
    AttentionCall x = {};
    x.batch = view.batch;
    x.heads = view.heads;
    x.kv_heads = view.kv_heads;
    x.group = view.group;
    x.width = view.width;
    x.parts = (int)parts_of(view.width);
    x.queries = (int)view.queries;
    x.keys = (int)view.keys;
    x.padded_queries = padded_rows(view.queries);
    x.padded_keys = padded_rows(view.keys);
    x.causal = view.causal;
    x.offset = (int)view.offset;
    x.scale = view.scale;
    x.score_scale = view.scale * LOG2_E;
    if (const Tensor *lengths = input_of(call, ATTENTION_LENGTHS)) x.lengths = lengths->integers;
    x.dropped = dropped_of(call, run);
    x.heads_at_once = heads_at_once(view);
    x.out = call->out[0]->data;
    x.log_sum = call->saved[0]->data;
    const auto part = [&](int input, int64_t column) {
        float *const gradient = gradient_of(call, input);
        return gradient ? gradient + column : NULL;
    };
    x.dq = part(view.q_input, view.q_column);
    x.dk = part(view.k_input, view.k_column);
    x.dv = part(view.v_input, view.v_column);
    x.q_row = view.q_row;
    x.k_row = view.k_row;
    x.v_row = view.v_row;
    x.add_q = call->accumulate[view.q_input];
    x.add_k = call->accumulate[view.k_input];
    x.add_v = call->accumulate[view.v_input];
    return x;
}

/* Places of the copies in scratch; Products decide at run time how much of them is used. */
static void make_copies(const OpCall *call, const Run *run, AttentionCall *x, Carver *carver,
                        bool backward, bool tiled) {
    const AttentionView view = attention_view(call);
    const int64_t width = padded_width(view.width);
    HeadCopies copies = {};
    int count = 0;
    const auto add = [&](const float *from, bool of_keys, int64_t row) {
        const int64_t heads = of_keys ? x->kv_heads : x->heads;
        const int padded = of_keys ? x->padded_keys : x->padded_queries;
        void *const to = carver->take<float>(x->batch * heads * padded * width);
        const bool fours =
            row % 4 == 0 && x->width % 4 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0;
        copies.copy[count++] = {from,   to,  (int)heads, of_keys ? x->keys : x->queries,
                                padded, row, of_keys,    fours};
        return to;
    };
    x->q = add(call->in[view.q_input]->data + view.q_column, false, view.q_row);
    x->k = add(call->in[view.k_input]->data + view.k_column, true, view.k_row);
    x->v = add(call->in[view.v_input]->data + view.v_column, true, view.v_row);
    if (backward) x->g = add(call->out[0]->gradient, false, x->heads * x->width);
    copies.batch = x->batch;
    copies.width = (int)x->width;
    copies.parts = x->parts;
    copies.tiled = tiled;
    copies.lengths = x->lengths;
    const int64_t most =
        x->batch * std::max(x->heads * x->padded_queries, x->kv_heads * x->padded_keys);
    attention_with(run, x->width, [&]<class M, int D>() {
        const dim3 grid(blocks_for(most * x->parts * (D / 4), COPY_THREADS), (unsigned)count);
        LAUNCH(run, (copy_heads<M, D>), grid, COPY_THREADS, 0, copies);
    });
}

/* Narrower heads would fill half a tile's rows with zeros, and sums of wider ones the registers;
 * dropout's random blocks are drawn for other tiles. */
static bool for_warpgroups(const Run *run, const AttentionCall &x) {
    return run->products == PRODUCTS_BF16 && padded_width(x.width) >= PANEL &&
           x.width <= ATTENTION_TILE_WIDTH && !x.dropped.threshold && has_warpgroup_products(run);
}

static void forward(const OpCall *call, const Run *run) {
    if (input_of(call, ATTENTION_POSITION)) {
        attention_step_forward(call, run);
        return;
    }
    AttentionCall x = call_of(call, run);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const bool warpgroups = for_warpgroups(run, x);
    make_copies(call, run, &x, &carver, false, warpgroups);
    if (warpgroups)
        attention_forward_warpgroups(run, x);
    else
        attention_forward_tiles(run, x);
}

static void backward(const OpCall *call, const Run *run) {
    AttentionCall x = call_of(call, run);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const bool warpgroups = for_warpgroups(run, x);
    make_copies(call, run, &x, &carver, true, warpgroups);
    const int64_t lines = x.batch * x.heads * x.padded_queries;
    AttentionNote *const notes = carver.take<AttentionNote>(lines);
    LAUNCH(run, make_notes, blocks_for(lines * NOTE_LANES, COPY_THREADS), COPY_THREADS, 0, x,
           call->out[0]->data, call->out[0]->gradient, notes);
    x.notes = notes;
    if (warpgroups) {
        attention_backward_warpgroups(run, x);
        return;
    }
    if (x.dk || x.dv) attention_key_gradient(run, x);
    if (x.dq) attention_query_gradient(run, x);
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (input_of(call, ATTENTION_POSITION)) return attention_step_scratch(call);
    const AttentionView view = attention_view(call);
    const int64_t width = padded_width(view.width);
    const int64_t queries = view.batch * view.heads * padded_rows(view.queries);
    const int64_t keys = view.batch * view.kv_heads * padded_rows(view.keys);
    const size_t copies =
        carved(queries * width, sizeof(float)) + 2 * carved(keys * width, sizeof(float));
    if (phase == PHASE_FORWARD) return copies;
    return copies + carved(queries * width, sizeof(float)) + carved(queries, sizeof(AttentionNote));
}

CUDA_OP(attention, {forward, backward}, scratch);
