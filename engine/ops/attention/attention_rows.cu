/* A block for one row of weights, float32 throughout, any width: the step of decoding, which is
 * bound by reading the cache once and is split over its keys, and heads too wide for tiles. */
#include <algorithm>

#include "engine/ops/attention/attention.cuh"

static constexpr int CHUNK = ATTENTION_THREADS; /* keys at a time: a thread has one weight */
static constexpr int AT_ONCE = 4;               /* rows a warp reads before it needs the first */
static constexpr int SPLIT_KEYS = 256;          /* of a cache at least, for a block, and */
static constexpr int MOST_SPLITS = 64;
static constexpr int MOST_PARTS = (int)ATTENTION_THREADS / (int)WARP;

struct RowsCall {
    int64_t batch, heads, kv_heads, group, width, queries, keys;
    int64_t q_row, k_row, v_row;
    const float *q, *k, *v; /* first element of the part */
    const int32_t *lengths, *position;
    bool causal;
    int64_t offset;
    float scale;
    AttentionDropped dropped;
    float *out, *log_sum, *partial; /* partial: (B H Lq, splits, 2 + width): maximum, sum, O */
    int splits;
    const float *d_out;
    float *dq, *dk, *dv;
    bool add_q, add_k, add_v;

    __device__ int64_t seen(int64_t b, int64_t i) const {
        int64_t end = keys;
        if (lengths && lengths[b] < end) end = lengths[b] < 0 ? 0 : lengths[b];
        const int64_t last = position ? position[0] : i + offset;
        return causal && last + 1 < end ? (last < 0 ? 0 : last + 1) : end;
    }
    __device__ const float *query(int64_t b, int64_t h, int64_t i) const {
        return q + (b * queries + i) * q_row + h * width;
    }
    __device__ const float *key(int64_t b, int64_t kv, int64_t j) const {
        return k + (b * keys + j) * k_row + kv * width;
    }
    __device__ const float *value(int64_t b, int64_t kv, int64_t j) const {
        return v + (b * keys + j) * v_row + kv * width;
    }
    __device__ int64_t output(int64_t b, int64_t h, int64_t i) const {
        return ((b * queries + i) * heads + h) * width;
    }
};

/* to[r] = x . row r for r < count <= CHUNK, the rows `stride` floats apart: a warp a row. */
__device__ static void row_products(const float *x, const float *rows, int64_t stride, int count,
                                    int64_t width, float *to) {
    const int lane = (int)(threadIdx.x % WARP), warp = (int)(threadIdx.x / WARP);
    for (int r = warp * AT_ONCE; r < count; r += (int)ATTENTION_WARPS * AT_ONCE) {
        float sum[AT_ONCE] = {};
        for (int64_t c = lane; c < width; c += WARP)
            for (int e = 0; e < AT_ONCE; e++)
                if (r + e < count) sum[e] += x[c] * rows[(r + e) * stride + c];
        for (int e = 0; e < AT_ONCE; e++) {
            const float total = warp_sum(sum[e]);
            if (lane == 0 && r + e < count) to[r + e] = total;
        }
    }
}

/* sums[part][c] = sums[part][c] keep + the part's share of sum_r weight[r] rows[r][c]. Threads are
 * dealt to channels first; what is left makes parts of the rows. */
__device__ static int channel_lanes(int64_t width) {
    int lanes = WARP;
    while (lanes < ATTENTION_THREADS && lanes < width) lanes *= 2;
    return lanes;
}
__device__ static void add_rows(float *sums, float keep, const float *weight, const float *rows,
                                int64_t stride, int count, int64_t width) {
    const int lanes = channel_lanes(width), parts = ATTENTION_THREADS / lanes;
    const int part = (int)threadIdx.x / lanes;
    for (int64_t c = (int)threadIdx.x % lanes; c < width; c += lanes) {
        float sum = sums[part * width + c] * keep;
#pragma unroll 8
        for (int r = part; r < count; r += parts) sum += weight[r] * rows[r * stride + c];
        sums[part * width + c] = sum;
    }
}
__device__ static float sum_of_parts(const float *sums, int64_t c, int64_t width) {
    const int parts = ATTENTION_THREADS / channel_lanes(width);
    float sum = 0;
    for (int part = 0; part < parts; part++) sum += sums[part * width + c];
    return sum;
}
__device__ static float block_max(float x, float *space) {
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) space[threadIdx.x / WARP] = x;
    __syncthreads();
    for (int warp = 0; warp < ATTENTION_WARPS; warp++) x = fmaxf(x, space[warp]);
    return x;
}

KERNEL void __launch_bounds__(ATTENTION_THREADS) row_forward(RowsCall x) {
    float *const weight = shared_memory<float>(), *const space = weight + CHUNK;
    float *const query = space + WARP, *const sums = query + x.width;
    const int64_t line = blockIdx.x, i = line % x.queries, head = line / x.queries;
    const int64_t b = head / x.heads, h = head % x.heads, kv = h / x.group;
    const int64_t seen = x.seen(b, i);
    const int64_t each = ((seen + x.splits - 1) / x.splits + 7) / 8 * 8;
    const int64_t from = blockIdx.y * each, to = from + each < seen ? from + each : seen;
    const AttentionKeep keep(x.dropped);
    for (int64_t c = threadIdx.x; c < x.width; c += ATTENTION_THREADS)
        query[c] = x.query(b, h, i)[c] * (x.scale * LOG2_E);
    for (int64_t c = threadIdx.x; c < MOST_PARTS * x.width; c += ATTENTION_THREADS) sums[c] = 0;
    float largest = -INFINITY, sum = 0;
    for (int64_t first = from; first < to; first += CHUNK) {
        const int count = (int)(to - first < CHUNK ? to - first : CHUNK), r = (int)threadIdx.x;
        __syncthreads();
        row_products(query, x.key(b, kv, first), x.k_row, count, x.width, weight);
        __syncthreads();
        const float score = r < count ? weight[r] : -INFINITY;
        const float top = fmaxf(largest, block_max(score, space));
        const float before = fast_exp2(largest - top), p = fast_exp2(score - top);
        sum = sum * before + block_sum(p, space);
        largest = top;
        weight[r] = p;
        if (keep.threshold) weight[r] *= keep.at((uint32_t)line, (uint32_t)(first + r));
        __syncthreads();
        add_rows(sums, before, weight, x.value(b, kv, first), x.v_row, count, x.width);
    }
    __syncthreads();
    if (x.splits > 1) {
        float *const part = x.partial + (line * x.splits + blockIdx.y) * (2 + x.width);
        for (int64_t c = threadIdx.x; c < x.width; c += ATTENTION_THREADS)
            part[2 + c] = sum_of_parts(sums, c, x.width);
        if (threadIdx.x == 0) part[0] = largest;
        if (threadIdx.x == 0) part[1] = sum;
        return;
    }
    const float inverse = sum > 0 ? 1 / sum : 0;
    for (int64_t c = threadIdx.x; c < x.width; c += ATTENTION_THREADS)
        x.out[x.output(b, h, i) + c] = sum_of_parts(sums, c, x.width) * inverse;
    if (threadIdx.x == 0) x.log_sum[line] = sum > 0 ? largest + log2f(sum) : INFINITY;
}

/* Adds the splits of a row, in order. */
KERNEL void __launch_bounds__(ATTENTION_THREADS) row_join(RowsCall x) {
    const int64_t line = blockIdx.x, i = line % x.queries, head = line / x.queries;
    const float *const parts = x.partial + line * x.splits * (2 + x.width);
    float largest = -INFINITY, sum = 0;
    for (int s = 0; s < x.splits; s++) largest = fmaxf(largest, parts[s * (2 + x.width)]);
    const float top = largest == -INFINITY ? 0.0f : largest;
    for (int s = 0; s < x.splits; s++)
        sum += parts[s * (2 + x.width) + 1] * fast_exp2(parts[s * (2 + x.width)] - top);
    const float inverse = sum > 0 ? 1 / sum : 0;
    for (int64_t c = threadIdx.x; c < x.width; c += ATTENTION_THREADS) {
        float o = 0;
        for (int s = 0; s < x.splits; s++) {
            const float *const part = parts + s * (2 + x.width);
            o += part[2 + c] * fast_exp2(part[0] - top);
        }
        x.out[x.output(head / x.heads, head % x.heads, i) + c] = o * inverse;
    }
    if (threadIdx.x == 0) x.log_sum[line] = sum > 0 ? largest + log2f(sum) : INFINITY;
}

KERNEL void __launch_bounds__(ATTENTION_THREADS) row_query_gradient(RowsCall x) {
    float *const weight = shared_memory<float>(), *const d_weight = weight + CHUNK;
    float *const space = d_weight + CHUNK, *const sums = space + WARP;
    const int64_t line = blockIdx.x, i = line % x.queries, head = line / x.queries;
    const int64_t b = head / x.heads, h = head % x.heads, kv = h / x.group;
    const int64_t seen = x.seen(b, i), at = x.output(b, h, i);
    const AttentionKeep keep(x.dropped);
    float delta = 0;
    for (int64_t c = threadIdx.x; c < x.width; c += ATTENTION_THREADS)
        delta += x.out[at + c] * x.d_out[at + c];
    delta = block_sum(delta, space);
    for (int64_t c = threadIdx.x; c < MOST_PARTS * x.width; c += ATTENTION_THREADS) sums[c] = 0;
    for (int64_t first = 0; first < seen; first += CHUNK) {
        const int count = (int)(seen - first < CHUNK ? seen - first : CHUNK), r = (int)threadIdx.x;
        __syncthreads();
        row_products(x.query(b, h, i), x.key(b, kv, first), x.k_row, count, x.width, weight);
        row_products(x.d_out + at, x.value(b, kv, first), x.v_row, count, x.width, d_weight);
        __syncthreads();
        if (r < count) {
            const float p = fast_exp2(weight[r] * (x.scale * LOG2_E) - x.log_sum[line]);
            float dp = d_weight[r];
            if (keep.threshold) dp *= keep.at((uint32_t)line, (uint32_t)(first + r));
            weight[r] = p * (dp - delta) * x.scale;
        }
        __syncthreads();
        add_rows(sums, 1, weight, x.key(b, kv, first), x.k_row, count, x.width);
    }
    __syncthreads();
    float *const to = x.dq + (b * x.queries + i) * x.q_row + h * x.width;
    for (int64_t c = threadIdx.x; c < x.width; c += ATTENTION_THREADS)
        put(to + c, sum_of_parts(sums, c, x.width), x.add_q);
}

/* A block has one key of one key head: dK and dV of it. */
KERNEL void __launch_bounds__(ATTENTION_THREADS) row_key_gradient(RowsCall x) {
    float *const weight = shared_memory<float>(), *const d_score = weight + CHUNK;
    float *const delta = d_score + CHUNK, *const dk = delta + CHUNK;
    float *const dv = dk + MOST_PARTS * x.width;
    const int64_t j = blockIdx.x % x.keys, head = blockIdx.x / x.keys;
    const int64_t b = head / x.kv_heads, kv = head % x.kv_heads, out_row = x.heads * x.width;
    const AttentionKeep keep(x.dropped);
    for (int64_t c = threadIdx.x; c < 2 * MOST_PARTS * x.width; c += ATTENTION_THREADS) dk[c] = 0;
    const int64_t from = x.causal && j > x.offset ? j - x.offset : 0; /* first query that sees it */
    for (int64_t h = kv * x.group; h < (kv + 1) * x.group; h++)
        for (int64_t first = from; first < x.queries; first += CHUNK) {
            const int64_t left = x.queries - first, at = x.output(b, h, first);
            const int count = (int)(left < CHUNK ? left : CHUNK), r = (int)threadIdx.x;
            const int lane = (int)(threadIdx.x % WARP), warp = (int)(threadIdx.x / WARP);
            __syncthreads();
            row_products(x.key(b, kv, j), x.query(b, h, first), x.q_row, count, x.width, weight);
            row_products(x.value(b, kv, j), x.d_out + at, out_row, count, x.width, d_score);
            for (int row = warp; row < count; row += ATTENTION_WARPS) {
                float sum = 0;
                for (int64_t c = lane; c < x.width; c += WARP)
                    sum += x.out[at + row * out_row + c] * x.d_out[at + row * out_row + c];
                sum = warp_sum(sum);
                if (lane == 0) delta[row] = sum;
            }
            __syncthreads();
            if (r < count) {
                const int64_t line = (b * x.heads + h) * x.queries + first + r;
                float p = fast_exp2(weight[r] * (x.scale * LOG2_E) - x.log_sum[line]);
                if (j >= x.seen(b, first + r)) p = 0;
                const float factor = keep.threshold ? keep.at((uint32_t)line, (uint32_t)j) : 1.0f;
                weight[r] = p * factor;
                d_score[r] = p * (d_score[r] * factor - delta[r]) * x.scale;
            }
            __syncthreads();
            add_rows(dk, 1, d_score, x.query(b, h, first), x.q_row, count, x.width);
            add_rows(dv, 1, weight, x.d_out + at, out_row, count, x.width);
        }
    __syncthreads();
    for (int64_t c = threadIdx.x; c < x.width; c += ATTENTION_THREADS) {
        const int64_t line = b * x.keys + j, column = kv * x.width + c;
        if (x.dk) put(x.dk + line * x.k_row + column, sum_of_parts(dk, c, x.width), x.add_k);
        if (x.dv) put(x.dv + line * x.v_row + column, sum_of_parts(dv, c, x.width), x.add_v);
    }
}

/* How many blocks share the keys of a cache: from its extent, because how much of it is in use is
 * known on the device only. */
static int splits_of(const OpCall *call, const AttentionView &view) {
    if (!input_of(call, ATTENTION_POSITION)) return 1;
    return (int)std::max<int64_t>(1, std::min<int64_t>(MOST_SPLITS, view.keys / SPLIT_KEYS));
}

size_t attention_rows_scratch(const OpCall *call, Phase phase) {
    const AttentionView view = attention_view(call);
    const int splits = splits_of(call, view);
    if (phase == PHASE_BACKWARD || splits == 1) return 0;
    return carved(view.batch * view.heads * view.queries * splits * (2 + view.width),
                  sizeof(float));
}

static RowsCall rows_of_call(const OpCall *call, const AttentionDropped &dropped) {
    const AttentionView view = attention_view(call);
    RowsCall x = {};
    x.batch = view.batch;
    x.heads = view.heads;
    x.kv_heads = view.kv_heads;
    x.group = view.group;
    x.width = view.width;
    x.queries = view.queries;
    x.keys = view.keys;
    x.q_row = view.q_row;
    x.k_row = view.k_row;
    x.v_row = view.v_row;
    x.q = call->in[view.q_input]->data + view.q_column;
    x.k = call->in[view.k_input]->data + view.k_column;
    x.v = call->in[view.v_input]->data + view.v_column;
    if (const Tensor *lengths = input_of(call, ATTENTION_LENGTHS)) x.lengths = lengths->integers;
    if (const Tensor *step = input_of(call, ATTENTION_POSITION)) x.position = step->integers;
    x.causal = view.causal || x.position;
    x.offset = view.keys - view.queries;
    x.scale = view.scale;
    x.dropped = dropped;
    x.out = call->out[0]->data;
    x.log_sum = call->saved[0]->data;
    x.partial = static_cast<float *>(call->scratch);
    x.splits = splits_of(call, view);
    const auto part = [&](int input, int64_t column) {
        float *const gradient = gradient_of(call, input);
        return gradient ? gradient + column : NULL;
    };
    x.d_out = call->out[0]->gradient;
    x.dq = part(view.q_input, view.q_column);
    x.dk = part(view.k_input, view.k_column);
    x.dv = part(view.v_input, view.v_column);
    x.add_q = call->accumulate[view.q_input];
    x.add_k = call->accumulate[view.k_input];
    x.add_v = call->accumulate[view.v_input];
    return x;
}

void attention_rows_forward(const OpCall *call, const Run *run, const AttentionDropped &dropped) {
    const RowsCall x = rows_of_call(call, dropped);
    const unsigned lines = (unsigned)(x.batch * x.heads * x.queries);
    const size_t shared = (CHUNK + (int)WARP + (1 + MOST_PARTS) * x.width) * sizeof(float);
    LAUNCH(run, row_forward, dim3(lines, (unsigned)x.splits), ATTENTION_THREADS, shared, x);
    if (x.splits > 1) LAUNCH(run, row_join, lines, ATTENTION_THREADS, 0, x);
}

void attention_rows_backward(const OpCall *call, const Run *run, const AttentionDropped &dropped) {
    const RowsCall x = rows_of_call(call, dropped);
    const size_t floats = 2 * CHUNK + (int)WARP + MOST_PARTS * x.width;
    if (x.dq)
        LAUNCH(run, row_query_gradient, (unsigned)(x.batch * x.heads * x.queries),
               ATTENTION_THREADS, floats * sizeof(float), x);
    const size_t key_floats = 3 * CHUNK + 2 * MOST_PARTS * x.width;
    if (x.dk || x.dv)
        LAUNCH(run, row_key_gradient, (unsigned)(x.batch * x.kv_heads * x.keys), ATTENTION_THREADS,
               key_floats * sizeof(float), x);
}
