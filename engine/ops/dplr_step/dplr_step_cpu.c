/* Modes are the lanes. Per mode ten numbers of the table (rank 1) and two of the state are read and
 * two written for 24 operations: bound by reading them. The state holds w - s between the two
 * passes. */
#include "engine/ops/dplr_step/dplr_step.h"
#include "engine/simd.h"

ALWAYS_INLINE float step(const float *rows, int R, int64_t M, float *re, float *im, float u) {
    vfloat dot[2];
    for (int r = 0; r < R; r++) dot[r] = v_zero();
    for (int64_t n = 0; n < M; n += LANES) {
        const int64_t width = M - n;
        const float *at = rows + n;
        const vfloat a = v_load_part(at, width), b = v_load_part(at + M, width);
        const vfloat x = v_load_part(re + n, width), y = v_load_part(im + n, width);
        const vfloat w_re = a * x - b * y + v_load_part(at + 2 * M, width) * u;
        const vfloat w_im = a * y + b * x + v_load_part(at + 3 * M, width) * u;
        for (int r = 0; r < R; r++) {
            dot[r] += v_load_part(at + (4 + 4 * r) * M, width) * w_re;
            dot[r] += v_load_part(at + (5 + 4 * r) * M, width) * w_im;
        }
        v_store_part(re + n, w_re - x, width);
        v_store_part(im + n, w_im - y, width);
    }
    float s[2];
    for (int r = 0; r < R; r++) s[r] = v_sum(dot[r]);
    vfloat sum = v_zero();
    for (int64_t n = 0; n < M; n += LANES) {
        const int64_t width = M - n;
        const float *at = rows + n;
        vfloat x = v_load_part(re + n, width), y = v_load_part(im + n, width);
        for (int r = 0; r < R; r++) {
            x -= v_load_part(at + (6 + 4 * r) * M, width) * s[r];
            y -= v_load_part(at + (7 + 4 * r) * M, width) * s[r];
        }
        v_store_part(re + n, x, width);
        v_store_part(im + n, y, width);
        sum += v_load_part(at + (4 + 4 * R) * M, width) * x;
        sum += v_load_part(at + (5 + 4 * R) * M, width) * y;
    }
    return v_sum(sum);
}

static void forward(const OpCall *call, const Run *run) {
    const Tensor *u = call->in[DPLR_STEP_U], *modes = call->in[DPLR_STEP_MODES];
    const Tensor *skip = call->inputs > DPLR_STEP_SKIP ? call->in[DPLR_STEP_SKIP] : NULL;
    const int64_t D = extent(u, 2), rows = extent(modes, 1), M = extent(modes, 2);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t i = 0; i < extent(u, 0) * D; i++) {
        const float *own = modes->data + i % D * rows * M;
        float *re = call->out[0]->data + 2 * i * M;
        const float y = rows == 10 ? step(own, 1, M, re, re + M, u->data[i])
                                   : step(own, 2, M, re, re + M, u->data[i]);
        call->out[1]->data[i] = y + (skip ? skip->data[i % D] * u->data[i] : 0);
    }
}

const OpKernels ISA(dplr_step_cpu) = {forward, NULL};
