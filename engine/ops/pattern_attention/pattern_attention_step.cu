/* The step of decoding, which is bound by reading the cache once: a block for one head's query,
 * float32 throughout. */
#include "engine/ops/pattern_attention/pattern_attention.cuh"

static constexpr int CHUNK = 128; /* keys at a time, and threads: a thread has one weight */

struct PatternStep {
    PatternAttention a;
    int64_t q_row, rows, row, distances, kv_heads;
    const float *q, *cache, *r, *u, *w;
    const int32_t *position;
    float scale, *out, *log_sum;

    __device__ const float *key(int64_t b, int64_t h, int64_t j) const {
        return cache + (b * rows + j % rows) * row + h / (a.heads / kv_heads) * a.width;
    }
};

/* Score of one key, in every lane of a warp. query: q + u, then q + w. */
__device__ static float score_key(const PatternStep &x, const float *query, const float *k,
                                  const float *r) {
    float sum = 0;
    for (int64_t c = threadIdx.x % WARP; c < x.a.width; c += WARP) {
        sum += query[c] * k[c];
        if (r) sum += query[PATTERN_WIDEST + c] * r[c];
    }
    return warp_sum(sum);
}

__device__ static float block_most(float x, float *space) {
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) space[threadIdx.x / WARP] = x;
    __syncthreads();
    for (int warp = 0; warp < CHUNK / (int)WARP; warp++) x = fmaxf(x, space[warp]);
    return x;
}

KERNEL void __launch_bounds__(CHUNK) pattern_step(PatternStep x) {
    float *const query = shared_memory<float>(), *const weight = query + 2 * PATTERN_WIDEST;
    float *const space = weight + CHUNK;
    const int64_t b = blockIdx.x / x.a.heads, h = blockIdx.x % x.a.heads, d = x.a.width;
    const int64_t t = x.position[0], seen = pattern_count(&x.a, t);
    const int warp = (int)(threadIdx.x / WARP), own = (int)threadIdx.x;
    if (own < d) {
        const float q = x.q[b * x.q_row + h * d + own];
        query[own] = (q + (x.r ? x.u[h * d + own] : 0)) * (x.scale * LOG2_E);
        query[PATTERN_WIDEST + own] = (q + (x.r ? x.w[h * d + own] : 0)) * (x.scale * LOG2_E);
    }
    float largest = -INFINITY, sum = 0, o = 0; /* o: of channel `own` */
    for (int64_t first = 0; first < seen; first += CHUNK) {
        const int count = (int)(seen - first < CHUNK ? seen - first : CHUNK);
        __syncthreads();
        for (int n = warp; n < count; n += CHUNK / (int)WARP) {
            const int64_t j = pattern_key(&x.a, h, t, first + n);
            const float *r = x.r ? x.r + (t - j) * x.a.heads * d + h * d : NULL;
            const float score = score_key(x, query, x.key(b, h, j), r);
            if (threadIdx.x % WARP == 0) weight[n] = score;
        }
        __syncthreads();
        const float score = own < count ? weight[own] : -INFINITY;
        const float top = fmaxf(largest, block_most(score, space));
        const float before = fast_exp2(largest - top), p = fast_exp2(score - top);
        sum = sum * before + block_sum(p, space);
        largest = top;
        weight[own] = p;
        __syncthreads();
        o *= before;
        for (int n = 0; n < count && own < d; n++)
            o += weight[n] * x.key(b, h, pattern_key(&x.a, h, t, first + n))[x.kv_heads * d + own];
    }
    if (own < d) x.out[blockIdx.x * d + own] = o / sum;
    if (own == 0) x.log_sum[blockIdx.x] = largest + log2f(sum);
}

void pattern_step_forward(const Run *run, const OpCall *call) {
    const Tensor *q = call->in[PATTERN_Q], *cache = call->in[PATTERN_KV];
    PatternStep x = {};
    x.a = *static_cast<const PatternAttention *>(call->attributes);
    x.q_row = extent(q, 2);
    x.rows = extent(cache, 1);
    x.row = extent(cache, 2);
    x.kv_heads = pattern_cache_heads(call);
    x.q = q->data;
    x.cache = cache->data;
    x.r = data_of(call, PATTERN_R);
    x.u = data_of(call, PATTERN_U);
    x.w = data_of(call, PATTERN_V);
    x.position = call->in[PATTERN_POSITION]->integers;
    x.scale = 1.0f / sqrtf((float)x.a.width);
    x.out = call->out[0]->data;
    x.log_sum = call->saved[0]->data;
    LAUNCH(run, pattern_step, (unsigned)(extent(q, 0) * x.a.heads), CHUNK,
           (2 * PATTERN_WIDEST + CHUNK + (int)WARP) * sizeof(float), x);
}
