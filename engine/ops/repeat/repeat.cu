#include "engine/ops/repeat/repeat.h"

#include "engine/cuda/grid.cuh"

enum { THREADS = 128 };

static void forward(const OpCall *call, const Run *run) {
    const Repeat attributes = *static_cast<const Repeat *>(call->attributes);
    const int64_t C = attributes.width, group = C * attributes.times;
    const Divisor by_group = divide_by(group), by_width = divide_by(C);
    const float *x = call->in[0]->data;
    float *const y = call->out[0]->data;
    for_each(run, tensor_size(call->out[0]),
             [=] __device__(int64_t n) { y[n] = x[by_group.of(n) * C + n - by_width.of(n) * C]; });
}

/* A sum of `times` numbers, C apart. */
struct Sums {
    const float *dy;
    float *dx;
    bool add;
    int64_t count, times, C;

    __device__ const float *first(int64_t n) const {
        return dy + n / C * C * times + n % C;
    }
};

/* A warp a sum, where many numbers are summed. */
KERNEL void __launch_bounds__(THREADS) long_sums(Sums s) {
    const int64_t n = global_thread() / WARP;
    float total = 0;
    if (n < s.count)
        for (int64_t k = threadIdx.x % WARP; k < s.times; k += WARP) total += s.first(n)[k * s.C];
    total = warp_sum(total); /* all lanes reach it */
    if (n < s.count && threadIdx.x % WARP == 0) put(s.dx + n, total, s.add);
}

static void backward(const OpCall *call, const Run *run) {
    const Repeat *a = static_cast<const Repeat *>(call->attributes);
    const Sums s = {call->out[0]->gradient,
                    gradient_of(call, 0),
                    call->accumulate[0],
                    tensor_size(call->in[0]),
                    a->times,
                    a->width};
    if (!s.dx) return;
    if (s.times >= WARP) {
        LAUNCH(run, long_sums, blocks_for(s.count * WARP, THREADS), THREADS, 0, s);
        return;
    }
    for_each(run, s.count, [=] __device__(int64_t n) {
        float total = 0;
        for (int64_t k = 0; k < s.times; k++) total += s.first(n)[k * s.C];
        put(s.dx + n, total, s.add);
    });
}

CUDA_OP(repeat, {forward, backward}, NULL);
