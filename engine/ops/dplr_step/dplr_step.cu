#include "engine/ops/dplr_step/dplr_step.h"

#include "engine/cuda/grid.cuh"

enum { THREADS = 128 };

/* A warp for each channel of each sequence, lanes over the modes; the state holds w - s in between.
 */
template <int R>
KERNEL void __launch_bounds__(THREADS)
    step(const float *__restrict__ u, const float *__restrict__ modes,
         const float *__restrict__ skip, float *state, float *y, int64_t channels, int64_t D,
         int64_t M) {
    const int64_t i = global_thread() / WARP;
    const int lane = (int)threadIdx.x % WARP;
    const bool inside = i < channels; /* whole warps, so that all lanes reach the sums */
    const float input = inside ? u[i] : 0;
    const float *own = modes + (6 + 4 * R) * (i % D) * M;
    float dot[R] = {}, sum = 0;
    for (int64_t n = lane; inside && n < M; n += WARP) {
        const float *at = own + n;
        float *re = state + 2 * i * M + n, *im = re + M;
        const float x = *re, z = *im;
        const float w_re = at[0] * x - at[M] * z + at[2 * M] * input;
        const float w_im = at[0] * z + at[M] * x + at[3 * M] * input;
        for (int r = 0; r < R; r++)
            dot[r] += at[(4 + 4 * r) * M] * w_re + at[(5 + 4 * r) * M] * w_im;
        *re = w_re - x;
        *im = w_im - z;
    }
    for (int r = 0; r < R; r++) dot[r] = warp_sum(dot[r]);
    for (int64_t n = lane; inside && n < M; n += WARP) {
        const float *at = own + n;
        float *re = state + 2 * i * M + n, *im = re + M;
        for (int r = 0; r < R; r++) {
            *re -= at[(6 + 4 * r) * M] * dot[r];
            *im -= at[(7 + 4 * r) * M] * dot[r];
        }
        sum += at[(4 + 4 * R) * M] * *re + at[(5 + 4 * R) * M] * *im;
    }
    sum = warp_sum(sum);
    if (inside && lane == 0) y[i] = sum + (skip ? skip[i % D] * input : 0.0f);
}

static void forward(const OpCall *call, const Run *run) {
    const Tensor *u = call->in[DPLR_STEP_U], *modes = call->in[DPLR_STEP_MODES];
    const int64_t channels = tensor_size(u);
    LAUNCH(run, (extent(modes, 1) == 10 ? step<1> : step<2>), blocks_for(channels * WARP, THREADS),
           THREADS, 0, u->data, modes->data, data_of(call, DPLR_STEP_SKIP), call->out[0]->data,
           call->out[1]->data, channels, extent(u, 2), extent(modes, 2));
}

CUDA_OP(dplr_step, {forward, NULL}, NULL);
