/* The step of decoding, which is bound by reading the cache once: a block for one head's query and
 * a share of its keys, float32 throughout, any width. */
#include <algorithm>

#include "engine/ops/attention/attention.cuh"

static constexpr int CHUNK = ATTENTION_THREADS; /* keys at a time: a thread has one weight */
static constexpr int AT_ONCE = 4;               /* rows a warp reads before it needs the first */
static constexpr int SPLIT_KEYS = 256;          /* of a cache at least, for a block, and */
static constexpr int MOST_SPLITS = 64;
static constexpr int MOST_PARTS = (int)ATTENTION_THREADS / (int)WARP;

struct StepCall {
    int64_t heads, group, width, keys;
    int64_t q_row, k_row, v_row;
    const float *q, *k, *v; /* first element of the part */
    const int32_t *lengths, *position;
    float scale;
    float *out, *log_sum, *partial; /* partial: (B H, splits, 2 + width): maximum, sum, O */
    int splits;

    __device__ int64_t seen(int64_t b) const {
        int64_t end = keys;
        if (lengths && lengths[b] < end) end = lengths[b] < 0 ? 0 : lengths[b];
        const int64_t last = position[0];
        return last + 1 < end ? (last < 0 ? 0 : last + 1) : end;
    }
    __device__ const float *key(int64_t b, int64_t kv, int64_t j) const {
        return k + (b * keys + j) * k_row + kv * width;
    }
    __device__ const float *value(int64_t b, int64_t kv, int64_t j) const {
        return v + (b * keys + j) * v_row + kv * width;
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

KERNEL void __launch_bounds__(ATTENTION_THREADS) step_forward(StepCall x) {
    float *const weight = shared_memory<float>(), *const space = weight + CHUNK;
    float *const query = space + WARP, *const sums = query + x.width;
    const int64_t head = blockIdx.x, b = head / x.heads, h = head % x.heads, kv = h / x.group;
    const int64_t seen = x.seen(b);
    const int64_t each = ((seen + x.splits - 1) / x.splits + 7) / 8 * 8;
    const int64_t from = blockIdx.y * each, to = from + each < seen ? from + each : seen;
    for (int64_t c = threadIdx.x; c < x.width; c += ATTENTION_THREADS)
        query[c] = x.q[b * x.q_row + h * x.width + c] * (x.scale * LOG2_E);
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
        __syncthreads();
        add_rows(sums, before, weight, x.value(b, kv, first), x.v_row, count, x.width);
    }
    __syncthreads();
    if (x.splits > 1) {
        float *const part = x.partial + (head * x.splits + blockIdx.y) * (2 + x.width);
        for (int64_t c = threadIdx.x; c < x.width; c += ATTENTION_THREADS)
            part[2 + c] = sum_of_parts(sums, c, x.width);
        if (threadIdx.x == 0) part[0] = largest;
        if (threadIdx.x == 0) part[1] = sum;
        return;
    }
    const float inverse = sum > 0 ? 1 / sum : 0;
    for (int64_t c = threadIdx.x; c < x.width; c += ATTENTION_THREADS)
        x.out[head * x.width + c] = sum_of_parts(sums, c, x.width) * inverse;
    if (threadIdx.x == 0) x.log_sum[head] = sum > 0 ? largest + log2f(sum) : INFINITY;
}

/* Adds the splits of a head, in order. */
KERNEL void __launch_bounds__(ATTENTION_THREADS) step_join(StepCall x) {
    const int64_t head = blockIdx.x;
    const float *const parts = x.partial + head * x.splits * (2 + x.width);
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
        x.out[head * x.width + c] = o * inverse;
    }
    if (threadIdx.x == 0) x.log_sum[head] = sum > 0 ? largest + log2f(sum) : INFINITY;
}

/* How many blocks share the keys of a cache: from its extent, because how much of it is in use is
 * known on the device only. */
static int splits_of(const AttentionView &view) {
    return (int)std::max<int64_t>(1, std::min<int64_t>(MOST_SPLITS, view.keys / SPLIT_KEYS));
}

size_t attention_step_scratch(const OpCall *call) {
    const AttentionView view = attention_view(call);
    const int splits = splits_of(view);
    return splits == 1 ? 0
                       : carved(view.batch * view.heads * splits * (2 + view.width), sizeof(float));
}

void attention_step_forward(const OpCall *call, const Run *run) {
    const AttentionView view = attention_view(call);
    StepCall x = {};
    x.heads = view.heads;
    x.group = view.group;
    x.width = view.width;
    x.keys = view.keys;
    x.q_row = view.q_row;
    x.k_row = view.k_row;
    x.v_row = view.v_row;
    x.q = call->in[view.q_input]->data + view.q_column;
    x.k = call->in[view.k_input]->data + view.k_column;
    x.v = call->in[view.v_input]->data + view.v_column;
    if (const Tensor *lengths = input_of(call, ATTENTION_LENGTHS)) x.lengths = lengths->integers;
    x.position = input_of(call, ATTENTION_POSITION)->integers;
    x.scale = view.scale;
    x.out = call->out[0]->data;
    x.log_sum = call->saved[0]->data;
    x.partial = static_cast<float *>(call->scratch);
    x.splits = splits_of(view);
    const unsigned heads = (unsigned)(view.batch * view.heads);
    const size_t shared = (CHUNK + (int)WARP + (1 + MOST_PARTS) * x.width) * sizeof(float);
    LAUNCH(run, step_forward, dim3(heads, (unsigned)x.splits), ATTENTION_THREADS, shared, x);
    if (x.splits > 1) LAUNCH(run, step_join, heads, ATTENTION_THREADS, 0, x);
}
