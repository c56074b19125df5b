/* Bound by memory: 4 bytes an element in and 4 out for each mix, the row before comes from the
 * nearest cache. Backward, a row of dx needs the gradients of its own row and of the next. */
#include "engine/gradient_simd.h"
#include "engine/ops/token_shift/token_shift.h"

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void forward(const OpCall *call, const Run *run) {
    const Tensor *x = call->in[SHIFT_X];
    const int64_t rows = rows_of(x), L = extent(x, 1), D = extent(x, 2);
    const int count = token_shift_count(call);
    const float *state = call->in[SHIFT_STATE] ? call->in[SHIFT_STATE]->data : NULL;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t r = 0; r < rows; r++) {
        const float *now = x->data + r * D, *before = r % L ? now - D : NULL;
        if (!before && state) before = state + r / L * D;
        for (int64_t d = 0; d < D; d += LANES) {
            const vfloat last = before ? v_load_part(before + d, D - d) : v_zero();
            const vfloat apart = v_load_part(now + d, D - d) - last;
            for (int i = 0; i < count; i++)
                v_store_part(call->out[i]->data + r * D + d,
                             last + apart * v_load_part(call->in[SHIFT_MIX + i]->data + d, D - d),
                             D - d);
        }
        if (state && r % L == L - 1)
            memcpy(call->out[count]->data + r / L * D, now, (size_t)D * sizeof(float));
    }
}

/* Rows first .. end of dx, and the sums (count, D) for the gradients of the mixes. */
static void rows_backward(const OpCall *call, int64_t first, int64_t end, float *sums) {
    const Tensor *x = call->in[SHIFT_X];
    const int64_t L = extent(x, 1), D = extent(x, 2);
    const GradientTarget into = gradient_target(call, SHIFT_X);
    const int count = token_shift_count(call);
    memset(sums, 0, (size_t)(count * D) * sizeof *sums);
    for (int64_t r = first; r < end; r++)
        for (int64_t d = 0; d < D; d += LANES) {
            const int64_t at = r * D + d, n = D - d;
            const vfloat before = r % L ? v_load_part(x->data + at - D, n) : v_zero();
            const vfloat apart = v_load_part(x->data + at, n) - before;
            vfloat slope = v_zero();
            for (int i = 0; i < count; i++) {
                const float *dy = call->out[i]->gradient;
                if (!dy) continue;
                const vfloat mix = v_load_part(call->in[SHIFT_MIX + i]->data + d, n);
                const vfloat g = v_load_part(dy + at, n);
                slope += g * mix;
                if ((r + 1) % L) slope += v_load_part(dy + at + D, n) * (1.0f - mix);
                v_store_part(sums + i * D + d, v_load_part(sums + i * D + d, n) + g * apart, n);
            }
            if (into.data) v_deliver(into, at, slope, n);
        }
}

static void backward(const OpCall *call, const Run *run) {
    const Tensor *x = call->in[SHIFT_X];
    const int64_t rows = rows_of(x), D = extent(x, 2),
                  chunks = (rows + SHIFT_ROWS - 1) / SHIFT_ROWS;
    const int count = token_shift_count(call);
    float *sums = call->scratch;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t c = 0; c < chunks; c++)
        rows_backward(call, c * SHIFT_ROWS, smaller(rows, (c + 1) * SHIFT_ROWS),
                      sums + c * count * D);
    for (int i = 0; i < count; i++) {
        const GradientTarget to = gradient_target(call, SHIFT_MIX + i);
        for (int64_t d = 0; to.data && d < D; d += LANES) {
            vfloat sum = v_zero();
            for (int64_t c = 0; c < chunks; c++)
                sum += v_load_part(sums + (c * count + i) * D + d, D - d);
            v_deliver(to, d, sum, D - d);
        }
    }
}

const OpKernels ISA(token_shift_cpu) = {forward, backward};
