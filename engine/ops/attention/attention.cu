/* Attention on a GPU: makes the copies that the tiled kernels read and runs them. */
#include <algorithm>

#include "engine/cuda/warpgroup.cuh"
#include "engine/ops/attention/attention_wide.cuh"

enum { COPY_THREADS = 256, MOST_COPIES = 3 };

/* to (B, heads, padded, parts D) = from (B, rows, heads, width) with rows `row` numbers apart; zero
 * beyond. */
struct HeadCopy {
    Source from;
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
    unsigned *numbers; /* to be zeroed, so many */
    int64_t number_count;
    /* of a copy of dO: */
    const float *out, *log_sum;
    AttentionNote *notes;
};

template <class M, int D>
constexpr bool attention_has_panels = sizeof(typename M::Element) == sizeof(bfloat) && D >= PANEL &&
                                      !attention_wide<D>;

/* How a block copies: a row by up to a warp, and several rows a thread, whose reads are under way
 * together; all of them in one tile. */
template <int D> struct CopyShape {
    static constexpr int LANES = std::min<int>(D / 4, WARP);
    static constexpr int STEP = COPY_THREADS / LANES; /* rows at a time */
    static constexpr int ROWS = std::min<int>(4 * STEP, ATTENTION_ROWS), TURNS = ROWS / STEP;
    static_assert(ATTENTION_ROWS % ROWS == 0 && STEP % 8 == 0, "blocks within tiles");
};

/* Four numbers from `from` on of each of a thread's rows below `seen`, `apart` numbers apart. */
template <int D>
__device__ static inline void read_rows(Lanes<4> (&four)[CopyShape<D>::TURNS], const Source &from,
                                        int64_t apart, int row, int seen, int channels,
                                        bool fours) {
    typedef CopyShape<D> S;
    if (fours) {
#pragma unroll
        for (int t = 0; t < S::TURNS; t++) {
            four[t] = {};
            if (row + t * S::STEP < seen && channels > 0) four[t] = from.four(t * S::STEP * apart);
        }
        return;
    }
#pragma unroll
    for (int t = 0; t < S::TURNS; t++)
#pragma unroll
        for (int k = 0; k < 4; k++)
            four[t].of[k] =
                row + t * S::STEP < seen && k < channels ? from.one(t * S::STEP * apart + k) : 0;
}

/* WITH_NOTES: of dO, whose rows are added up with those of O on the way. */
template <class M, int D, bool WITH_NOTES>
KERNEL void __launch_bounds__(COPY_THREADS) copy_heads(HeadCopies x) {
    typedef CopyShape<D> S;
    typedef typename M::Element Element;
    if (blockIdx.y == 0)
        for (int64_t i = global_thread(); i < x.number_count; i += (int64_t)gridDim.x * blockDim.x)
            x.numbers[i] = 0;
    const HeadCopy copy = x.copy[blockIdx.y];
    const unsigned each = (unsigned)copy.padded / S::ROWS, head = blockIdx.x / each;
    const int64_t b = head / (unsigned)copy.heads, h = head % (unsigned)copy.heads;
    if (b >= x.batch) return;
    const int row = (int)(blockIdx.x % each * S::ROWS + threadIdx.x / S::LANES);
    const int lane = (int)(threadIdx.x % S::LANES);
    const int width = attention_wide<D> ? x.parts * D : D;
    const int seen = copy.hide && x.lengths ? min(x.lengths[b], copy.rows) : copy.rows;
    const int64_t at = (b * copy.rows + row) * copy.row + h * x.width;
    Element *const to = static_cast<Element *>(copy.to) + (int64_t)head * copy.padded * width;
    float sums[S::TURNS] = {}, log_sums[S::TURNS];
    if constexpr (WITH_NOTES) {
        for (int t = 0; t < S::TURNS; t++) {
            const int i = row + t * S::STEP;
            log_sums[t] = i < copy.rows ? x.log_sum[(int64_t)head * copy.rows + i] : INFINITY;
        }
    }
#pragma unroll 1
    for (int c = lane * 4; c < width; c += S::LANES * 4) {
        Lanes<4> four[S::TURNS];
        read_rows<D>(four, copy.from.from(at + c), copy.row, row, seen, x.width - c, copy.fours);
        if constexpr (WITH_NOTES) {
            Lanes<4> out[S::TURNS];
            read_rows<D>(out, {x.out + at + c, NULL}, copy.row, row, seen, x.width - c, copy.fours);
#pragma unroll
            for (int t = 0; t < S::TURNS; t++)
                for (int k = 0; k < 4; k++) sums[t] += out[t].of[k] * four[t].of[k];
        }
        int64_t place = (int64_t)row * width + c, apart = S::STEP * width;
        if constexpr (attention_has_panels<M, D>)
            if (x.tiled) {
                place = tiled_place<D>(row, c);
                apart = S::STEP * (int)PANEL;
            }
#pragma unroll
        for (int t = 0; t < S::TURNS; t++) M::store(to + place + t * apart, four[t]);
    }
    if constexpr (WITH_NOTES) {
#pragma unroll
        for (int t = 0; t < S::TURNS; t++) {
            float sum = sums[t];
            for (int offset = S::LANES / 2; offset > 0; offset /= 2)
                sum += __shfl_xor_sync(0xFFFFFFFFu, sum, offset);
            if (lane == 0)
                x.notes[(int64_t)head * copy.padded + row + t * S::STEP] = {log_sums[t], sum};
        }
    }
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

/* The width that the tiles of a head have, or the parts of a wide one; see attention_with. */
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

static int64_t element_bytes(Products products) {
    return products == PRODUCTS_BF16 ? sizeof(bfloat) : sizeof(float);
}

/* Of a copy: of queries (or dO), or of keys (or values). */
static int64_t copy_bytes(const OpCall *call, const AttentionView &view, bool of_keys) {
    const int64_t rows =
        of_keys ? view.kv_heads * padded_rows(view.keys) : view.heads * padded_rows(view.queries);
    return view.batch * rows * padded_width(view.width) * element_bytes(call->products);
}
static size_t input_copies(const OpCall *call, const AttentionView &view) {
    return carved(copy_bytes(call, view, false), 1) + 2 * carved(copy_bytes(call, view, true), 1);
}

/* Narrower heads would fill half a tile's rows with zeros, and sums of wider ones the registers. */
static bool suits_warpgroups(const OpCall *call, const AttentionView &view) {
    return call->products == PRODUCTS_BF16 && padded_width(view.width) >= PANEL &&
           view.width <= ATTENTION_TILE_WIDTH;
}
/* Dropout's random blocks are drawn for other tiles. What forward keeps lies as this says: the Run
 * of a replay is the same in both directions. */
static bool for_warpgroups(const OpCall *call, const Run *run) {
    return suits_warpgroups(call, attention_view(call)) && !attention_threshold(call, run) &&
           has_warpgroup_products(run);
}

/* Of backward there: turns of all heads, each with sums for dQ, and a count beside those of
 * blocks. */
static int64_t query_turns(const AttentionView &view) {
    return view.batch * view.heads * padded_rows(view.queries) / ATTENTION_TURN;
}
static int64_t query_sums(const AttentionView &view) {
    return query_turns(view) * ATTENTION_TURN * padded_width(view.width);
}

/* Divisor of all heads of keys for which `bytes` a head take up to half of a cache of 50 MB. */
static int64_t heads_at_once(const AttentionView &view, int64_t bytes) {
    const int64_t all = view.batch * view.kv_heads;
    int64_t count = std::max<int64_t>(1, std::min(all, ((int64_t)24 << 20) / bytes));
    while (all % count) count--;
    return count;
}
/* Keys and values of a head, or queries and dO. */
static int64_t bytes_walked(const OpCall *call, const AttentionView &view) {
    return 2 * std::max(view.keys, view.queries) * padded_width(view.width) *
           element_bytes(call->products);
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
    x.heads_at_once = heads_at_once(view, bytes_walked(call, view));
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

static void launch_copies(const Run *run, const AttentionCall &x, HeadCopies &copies, int count) {
    copies.batch = x.batch;
    copies.width = (int)x.width;
    copies.parts = x.parts;
    copies.lengths = x.lengths;
    int64_t most = 0; /* rows */
    for (int i = 0; i < count; i++)
        most = std::max(most, x.batch * copies.copy[i].heads * copies.copy[i].padded);
    attention_with(run, x.width, [&]<class M, int D>() {
        const dim3 grid(blocks_for(most, CopyShape<D>::ROWS), (unsigned)count);
        if (copies.notes)
            LAUNCH(run, (copy_heads<M, D, true>), grid, COPY_THREADS, 0, copies);
        else
            LAUNCH(run, (copy_heads<M, D, false>), grid, COPY_THREADS, 0, copies);
    });
}

static HeadCopy copy_of(const AttentionCall &x, const Source &from, void *to, bool of_keys,
                        int64_t row) {
    HeadCopy copy = {};
    copy.from = from;
    copy.to = to;
    copy.heads = (int)(of_keys ? x.kv_heads : x.heads);
    copy.rows = of_keys ? x.keys : x.queries;
    copy.padded = of_keys ? x.padded_keys : x.padded_queries;
    copy.row = row;
    copy.hide = of_keys;
    copy.fours = row % 4 == 0 && x.width % 4 == 0 && !from.rounded &&
                 reinterpret_cast<uintptr_t>(from.data) % sizeof(Four) == 0;
    if (from.rounded)
        copy.fours = row % 4 == 0 && x.width % 4 == 0 &&
                     reinterpret_cast<uintptr_t>(from.rounded) % (FOUR * sizeof(bfloat)) == 0;
    return copy;
}

/* Copies of q, k and v: where forward keeps them for backward, or in scratch of each. */
static void copy_inputs(const OpCall *call, const Run *run, AttentionCall *x, Carver *carver,
                        bool tiled, Phase phase) {
    const AttentionView view = attention_view(call);
    Carver kept = {static_cast<unsigned char *>(call->kept)};
    Carver *const from = call->kept_bytes ? &kept : carver;
    const auto take = [&](bool of_keys) {
        return from->take<unsigned char>(copy_bytes(call, view, of_keys));
    };
    void *const q = take(false), *const k = take(true), *const v = take(true);
    x->q = q;
    x->k = k;
    x->v = v;
    if (call->kept_bytes && phase == PHASE_BACKWARD) return;
    HeadCopies copies = {};
    copies.tiled = tiled;
    if (phase == PHASE_FORWARD) {
        copies.numbers = x->numbers;
        copies.number_count = 1;
    }
    const auto part = [&](int input, int64_t column) {
        return source_of(call, input).from(column);
    };
    copies.copy[0] = copy_of(*x, part(view.q_input, view.q_column), q, false, view.q_row);
    copies.copy[1] = copy_of(*x, part(view.k_input, view.k_column), k, true, view.k_row);
    copies.copy[2] = copy_of(*x, part(view.v_input, view.v_column), v, true, view.v_row);
    launch_copies(run, *x, copies, 3);
}

/* The copy of dO, and notes, which need all of it. */
static void copy_out_gradient(const OpCall *call, const Run *run, AttentionCall *x, Carver *carver,
                              bool tiled) {
    const AttentionView view = attention_view(call);
    void *const g = carver->take<unsigned char>(copy_bytes(call, view, false));
    HeadCopies copies = {};
    copies.tiled = tiled;
    copies.copy[0] = copy_of(*x, {call->out[0]->gradient, NULL}, g, false, x->heads * x->width);
    copies.out = call->out[0]->data;
    copies.log_sum = x->log_sum;
    copies.notes = carver->take<AttentionNote>(x->batch * x->heads * x->padded_queries);
    if (tiled) {
        copies.number_count = 1 + query_turns(view);
        copies.numbers = carver->take<unsigned>(copies.number_count);
        x->numbers = copies.numbers;
        x->added = copies.numbers + 1;
        x->query_sums = carver->take<float>(query_sums(view));
        /* blocks walk over queries and dO, and add to the sums */
        const int64_t bytes =
            copy_bytes(call, view, false) * 2 + query_sums(view) * (int64_t)sizeof(float);
        x->heads_at_once = heads_at_once(view, bytes / (view.batch * view.kv_heads));
    }
    launch_copies(run, *x, copies, 1);
    x->g = g;
    x->notes = copies.notes;
}

static void forward(const OpCall *call, const Run *run) {
    if (input_of(call, ATTENTION_POSITION)) {
        attention_step_forward(call, run);
        return;
    }
    AttentionCall x = call_of(call, run);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const bool warpgroups = for_warpgroups(call, run);
    x.numbers = carver.take<unsigned>(1);
    copy_inputs(call, run, &x, &carver, warpgroups, PHASE_FORWARD);
    if (warpgroups)
        attention_forward_warpgroups(run, x);
    else
        attention_forward_tiles(run, x);
}

static void backward(const OpCall *call, const Run *run) {
    AttentionCall x = call_of(call, run);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const bool warpgroups = for_warpgroups(call, run);
    copy_inputs(call, run, &x, &carver, warpgroups, PHASE_BACKWARD);
    copy_out_gradient(call, run, &x, &carver, warpgroups);
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
    const size_t copies = call->kept_bytes ? 0 : input_copies(call, view);
    if (phase == PHASE_FORWARD) return carved(1, sizeof(unsigned)) + copies;
    const int64_t rows = view.batch * view.heads * padded_rows(view.queries);
    const size_t sums = suits_warpgroups(call, view)
                            ? carved(1 + query_turns(view), sizeof(unsigned)) +
                                  carved(query_sums(view), sizeof(float))
                            : 0;
    return copies + carved(copy_bytes(call, view, false), 1) + carved(rows, sizeof(AttentionNote)) +
           sums;
}

static uint32_t copied_inputs(const AttentionView &view) {
    return 1u << view.q_input | 1u << view.k_input | 1u << view.v_input;
}

/* The copies, where padding leaves them no larger than the inputs, which backward then need not
 * read. */
static Kept kept(const OpCall *call) {
    const AttentionView view = attention_view(call);
    Kept kept = {input_copies(call, view), copied_inputs(view)};
    size_t inputs = 0;
    for (int i = 0; i < call->inputs; i++)
        if (kept.instead >> i & 1u) inputs += tensor_bytes(call->in[i]);
    return kept.bytes > inputs ? Kept{} : kept;
}
static Roundable roundable(const OpCall *call) {
    if (input_of(call, ATTENTION_POSITION)) return {};
    return {copied_inputs(attention_view(call)), 0, 0};
}

CUDA_OP(attention, {forward, backward}, scratch, kept, roundable);
