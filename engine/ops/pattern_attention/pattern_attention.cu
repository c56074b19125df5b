/* Pattern attention on a GPU: the order of its kernels, and what is left of relative scores'
 * gradients. */
#include <algorithm>

#include "engine/ops/pattern_attention/pattern_attention.cuh"

/* dO . O of a query and a head: a warp. */
static constexpr int DELTA_THREADS = 128;
KERNEL void __launch_bounds__(DELTA_THREADS) make_delta(PatternCall x) {
    const int64_t n = global_thread() / WARP, all = (int64_t)x.batch * x.length * x.heads;
    if (n >= all) return;
    float sum = 0;
    for (int64_t c = threadIdx.x % WARP; c < x.width; c += WARP)
        sum += x.g[n * x.width + c] * x.out[n * x.width + c];
    sum = warp_sum(sum);
    const int64_t row = n / x.heads, h = n % x.heads;
    if (threadIdx.x % WARP == 0)
        x.delta[(row / x.length * x.heads + h) * x.length + row % x.length] = sum;
}

/* As many blocks a head as leave some of each multiprocessor, and no more memory than this. */
static constexpr int MOST_SLOTS = 64;
static int slots_of(const OpCall *call) {
    const Tensor *q = call->in[PATTERN_Q];
    const int64_t tiles = extent(q, 0) * ((extent(q, 1) + ATTENTION_STRIP - 1) / ATTENTION_STRIP);
    return (int)std::min<int64_t>(MOST_SLOTS, std::max<int64_t>(1, tiles));
}
static int64_t warps_of(const OpCall *call) {
    const int64_t bytes = call->products == PRODUCTS_BF16 ? sizeof(bfloat) : sizeof(float);
    const int64_t width = static_cast<const PatternAttention *>(call->attributes)->width;
    int64_t padded = 16;
    while (padded < width) padded *= 2;
    return padded * bytes <= 128 ? 4 : 2; /* PatternShape::WARPS */
}
static int64_t sum_rows(const OpCall *call) {
    return extent(call->in[PATTERN_R], 0) + 2 * warps_of(call);
}

static PatternCall call_of(const OpCall *call) {
    const Tensor *q = call->in[PATTERN_Q];
    PatternCall x = {};
    x.a = *static_cast<const PatternAttention *>(call->attributes);
    x.batch = (int)extent(q, 0);
    x.heads = (int)x.a.heads;
    x.width = (int)x.a.width;
    x.length = (int)extent(q, 1);
    x.q = q->data;
    x.q_row = extent(q, 2);
    x.r = data_of(call, PATTERN_R);
    x.u = data_of(call, PATTERN_U);
    x.w = data_of(call, PATTERN_V);
    if (x.r) x.distances = (int)extent(call->in[PATTERN_R], 0);
    x.out = call->out[0]->data;
    x.log_sum = call->saved[0]->data;
    x.g = call->out[0]->gradient;
    x.dq = gradient_of(call, PATTERN_Q);
    x.scale = 1.0f / sqrtf((float)x.width);
    x.fours = x.width % 4 == 0; /* so are all rows then */
    return x;
}

/* Piece n: its lists, keys and their gradients. */
static bool take_piece(const OpCall *call, PatternCall *x, int n) {
    x->piece = n;
    x->kind = n < MOST_PIECES ? pattern_piece(&x->a, n) : PIECE_NONE;
    x->lists = x->kind == PIECE_RESIDUES ? (int)std::min<int64_t>(x->a.length, x->length) : 1;
    const bool before = x->kind == PIECE_BEFORE && input_of(call, PATTERN_MEMORY);
    const int input = before ? (int)PATTERN_MEMORY : pattern_kv_input(call);
    const int64_t column = before ? 0 : pattern_kv_column(call), apart = x->a.heads * x->a.width;
    x->k = call->in[input]->data + column;
    x->v = x->k + apart;
    x->k_row = extent(call->in[input], 2);
    float *const gradient = gradient_of(call, input);
    x->dk = gradient ? gradient + column : NULL;
    x->dv = gradient ? x->dk + apart : NULL;
    x->add_q = n > 0 || call->accumulate[PATTERN_Q];
    x->add_k = (n > 0 && !before) || call->accumulate[input];
    return x->kind != PIECE_NONE;
}

static void forward(const OpCall *call, const Run *run) {
    if (input_of(call, PATTERN_POSITION)) {
        pattern_step_forward(run, call);
        return;
    }
    PatternCall x = call_of(call);
    for (int n = 0; take_piece(call, &x, n); n++) pattern_forward_piece(run, x);
}

/* r, u and w from the slots, in order. */
static void join_sums(const OpCall *call, const Run *run, const PatternCall &x) {
    const int64_t rows = sum_rows(call), d = x.width, heads = x.heads, slots = x.slots;
    const int64_t warps = warps_of(call), size = rows * d;
    const float *const sums = x.sums;
    for (int input = PATTERN_R; input <= PATTERN_V; input++) {
        float *const gradient = gradient_of(call, input);
        if (!gradient) continue;
        const bool add = call->accumulate[input];
        const int64_t first = input == PATTERN_R ? 0 : x.distances + (input - PATTERN_U) * warps;
        const int64_t parts = input == PATTERN_R ? 1 : warps;
        for_each(run, tensor_size(call->in[input]), [=] __device__(int64_t n) {
            const int64_t t = n / (heads * d), h = n / d % heads, c = n % d;
            float sum = 0;
            for (int64_t s = 0; s < slots; s++)
                for (int64_t p = 0; p < parts; p++)
                    sum += sums[(h * slots + s) * size + (first + t + p) * d + c];
            put(gradient + n, sum, add);
        });
    }
}

static void backward(const OpCall *call, const Run *run) {
    PatternCall x = call_of(call);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const int64_t lines = (int64_t)x.batch * x.heads * x.length;
    x.delta = carver.take<float>(lines);
    LAUNCH(run, make_delta, blocks_for(lines * WARP, DELTA_THREADS), DELTA_THREADS, 0, x);
    if (x.r) {
        x.slots = slots_of(call);
        const int64_t floats = x.heads * x.slots * sum_rows(call) * x.width;
        x.sums = carver.take<float>(floats);
        float *const sums = x.sums;
        for_each(run, floats, [=] __device__(int64_t n) { sums[n] = 0; });
    }
    for (int n = 0; take_piece(call, &x, n); n++) {
        if (x.dq || x.r) pattern_query_gradient(run, x);
        if (x.dk) pattern_key_gradient(run, x);
    }
    if (x.r) join_sums(call, run, x);
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (phase == PHASE_FORWARD || input_of(call, PATTERN_POSITION)) return 0;
    const PatternAttention *a = static_cast<const PatternAttention *>(call->attributes);
    size_t bytes = carved(tensor_size(call->saved[0]), sizeof(float));
    if (input_of(call, PATTERN_R))
        bytes += carved(a->heads * slots_of(call) * sum_rows(call) * a->width, sizeof(float));
    return bytes;
}

CUDA_OP(pattern_attention, {forward, backward}, scratch);
