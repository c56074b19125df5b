/* Bound by memory: 12 bytes an element forward, 20 backward; the gains stay in the nearest cache.
 */
#include "engine/gradient_simd.h"
#include "engine/ops/channel_gain/channel_gain.h"

static inline int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static void forward(const OpCall *call, const Run *run) {
    const float *a = data_of(call, GAIN_A), *u = data_of(call, GAIN_U);
    const float *b = data_of(call, GAIN_B), *v = data_of(call, GAIN_V);
    const int64_t rows = rows_of(call->in[GAIN_A]), D = extent(call->in[GAIN_A], -1);
    float *out = call->out[0]->data;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t d = 0; d < D; d += LANES) {
            const int64_t at = r * D + d, n = D - d;
            vfloat y = v_load_part(a + at, n) * v_load_part(u + d, n);
            if (b)
                y += v_load_part(b + at, n) * v_load_part(v + d, n);
            else if (v)
                y += v_load_part(v + d, n);
            v_store_part(out + at, y, n);
        }
}

enum { GROUP = 4 }; /* rows that share one update of the sums */

/* Some rows of one tensor: its gradient, and sums of slope times it, unless NULL. An offset is the
 * gain of x = 1 (NULL). */
static void tensor_gradients(const float *slope, const float *x, const float *gain,
                             GradientTarget into, float *sums, int64_t D, int64_t rows) {
    if (sums) memset(sums, 0, (size_t)D * sizeof *sums);
    for (int64_t r = 0; r < rows; r += GROUP)
        for (int64_t d = 0; d < D; d += LANES) {
            const int64_t n = D - d;
            const vfloat factor = v_load_part(gain + d, n);
            vfloat sum = sums ? v_load_part(sums + d, n) : v_zero();
            for (int64_t i = r; i < smaller(rows, r + GROUP); i++) {
                const vfloat g = v_load_part(slope + i * D + d, n);
                sum += x ? g * v_load_part(x + i * D + d, n) : g;
                if (into.data) v_deliver(into, i * D + d, g * factor, n);
            }
            if (sums) v_store_part(sums + d, sum, n);
        }
}

static void deliver_sums(GradientTarget to, const float *sums, int64_t chunks, int64_t D) {
    for (int64_t d = 0; d < D; d += LANES) {
        vfloat sum = v_zero();
        for (int64_t c = 0; c < chunks; c++) sum += v_load_part(sums + c * D + d, D - d);
        v_deliver(to, d, sum, D - d);
    }
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t rows = rows_of(call->in[GAIN_A]), D = extent(call->in[GAIN_A], -1);
    const int64_t chunk = channel_gain_rows(rows), chunks = channel_gain_chunks(rows);
    const int terms = call->in[GAIN_V] ? 2 : 1;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t unit = 0; unit < terms * chunks; unit++) {
        const int64_t c = unit / terms, first = c * chunk * D;
        const int x = unit % terms ? GAIN_B : GAIN_A, gain = x + 1;
        const GradientTarget into = gradient_target(call, x);
        float *sums = (float *)call->scratch + (unit % terms * chunks + c) * D;
        const float *data = data_of(call, x);
        tensor_gradients(
            call->out[0]->gradient + first, data ? data + first : NULL, call->in[gain]->data,
            (GradientTarget){into.data ? into.data + first : NULL, into.add},
            gradient_target(call, gain).data ? sums : NULL, D, smaller(chunk, rows - c * chunk));
    }
    for (int term = 0; term < terms; term++) {
        const GradientTarget to = gradient_target(call, term ? GAIN_V : GAIN_U);
        if (to.data) deliver_sums(to, (float *)call->scratch + term * chunks * D, chunks, D);
    }
}

const OpKernels ISA(channel_gain_cpu) = {forward, backward};
