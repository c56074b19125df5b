/* Modes are the lanes. Per mode four numbers of the table and two of the state are read and two
 * written for twelve operations: bound by reading them. */
#include "engine/ops/diagonal_step/diagonal_step.h"
#include "engine/simd.h"

static void forward(const OpCall *call, const Run *run) {
    const Tensor *u = call->in[DIAGONAL_STEP_U];
    const Tensor *skip = call->inputs > DIAGONAL_STEP_SKIP ? call->in[DIAGONAL_STEP_SKIP] : NULL;
    const int64_t D = extent(u, 2), M = extent(call->in[DIAGONAL_STEP_MODES], 2);
    float *state = call->out[0]->data;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t i = 0; i < extent(u, 0) * D; i++) {
        const int64_t d = i % D;
        const float *modes = call->in[DIAGONAL_STEP_MODES]->data + 4 * d * M;
        float *re = state + 2 * i * M, *im = re + M;
        vfloat sum = v_zero();
        for (int64_t n = 0; n < M; n += LANES) {
            const int64_t width = M - n;
            const vfloat a = v_load_part(modes + n, width), b = v_load_part(modes + M + n, width);
            const vfloat x = v_load_part(re + n, width), y = v_load_part(im + n, width);
            const vfloat next_re = a * x - b * y + u->data[i], next_im = a * y + b * x;
            v_store_part(re + n, next_re, width);
            v_store_part(im + n, next_im, width);
            sum += v_load_part(modes + 2 * M + n, width) * next_re;
            sum += v_load_part(modes + 3 * M + n, width) * next_im;
        }
        call->out[1]->data[i] = v_sum(sum) + (skip ? skip->data[d] * u->data[i] : 0);
    }
}

const OpKernels ISA(diagonal_step_cpu) = {forward, NULL};
