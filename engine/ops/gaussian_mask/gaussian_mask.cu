#include "engine/ops/gaussian_mask/gaussian_mask.h"

#include "engine/cuda/grid.cuh"

enum { ROW_THREADS = 256 };

struct Window {
    const float *x, *positions, *window, *slope;
    float *y, *dx, *sums, *to; /* to: gradients of mean and deviation */
    float reach;               /* deviations from the mean to the edge; infinite: not cropped */
    int64_t K, C;
    bool add_x, add_window;

    __device__ float at(int64_t k) const {
        const float s = positions[k], edge = window[0] - window[1] * reach;
        if (fabsf(edge) < 1 && s <= edge) return 0;
        const float apart = (s - window[0]) / window[1];
        return expf(-0.5f * apart * apart);
    }
};

KERNEL void __launch_bounds__(ROW_THREADS) mask_rows(const Window w) {
    __shared__ float space[WARP];
    const int64_t k = blockIdx.x;
    const float factor = w.at(k);
    float sum = 0;
    for (int64_t c = threadIdx.x; c < w.C; c += ROW_THREADS) {
        const float slope = w.slope[k * w.C + c] * factor;
        sum += slope * w.x[k * w.C + c];
        if (w.dx) put(w.dx + k * w.C + c, slope, w.add_x);
    }
    sum = block_sum(sum, space);
    if (threadIdx.x == 0) w.sums[k] = sum;
}

KERNEL void __launch_bounds__(ROW_THREADS) window_gradient(const Window w) {
    __shared__ double space[WARP];
    const double centre = w.window[0], deviation = w.window[1];
    double first = 0, second = 0;
    for (int64_t k = threadIdx.x; k < w.K; k += ROW_THREADS) {
        const double apart = (w.positions[k] - centre) / deviation;
        first += w.sums[k] * apart / deviation;
        second += w.sums[k] * apart * apart / deviation;
    }
    first = block_sum(first, space);
    second = block_sum(second, space);
    if (threadIdx.x != 0) return;
    put(w.to, (float)first, w.add_window);
    put(w.to + 1, (float)second, w.add_window);
}

static Window window_of(const OpCall *call) {
    const GaussianMask *attributes = static_cast<const GaussianMask *>(call->attributes);
    Window w = {};
    w.x = call->in[0]->data;
    w.positions = call->in[1]->data;
    w.window = call->in[2]->data;
    w.y = call->out[0]->data;
    w.slope = call->out[0]->gradient;
    w.reach = (float)sqrt(-2 * log((double)attributes->threshold));
    w.K = extent(call->in[0], 0);
    w.C = extent(call->in[0], 1);
    return w;
}

static void forward(const OpCall *call, const Run *run) {
    const Window w = window_of(call);
    const Divisor columns = divide_by(w.C);
    for_each(run, w.K * w.C, [=] __device__(int64_t i) { w.y[i] = w.x[i] * w.at(columns.of(i)); });
}

static void backward(const OpCall *call, const Run *run) {
    Window w = window_of(call);
    w.dx = gradient_of(call, 0);
    w.to = gradient_of(call, 2);
    w.add_x = call->accumulate[0];
    w.add_window = call->accumulate[2];
    w.sums = static_cast<float *>(call->scratch);
    LAUNCH(run, mask_rows, (unsigned)w.K, ROW_THREADS, 0, w);
    if (w.to) LAUNCH(run, window_gradient, 1, ROW_THREADS, 0, w);
}

static size_t scratch(const OpCall *call, Phase phase) {
    return phase == PHASE_BACKWARD ? carved(extent(call->in[0], 0), sizeof(float)) : 0;
}

CUDA_OP(gaussian_mask, {forward, backward}, scratch);
