#include "engine/ops/rotary/rotary.h"

#include "engine/cuda/grid.cuh"

/* cos and sin of every position and pair, in double precision: a float's angle would be wrong by
 * 0.01 at position 10^5. Made once a call, then used by all sequences and heads. */
static void make_table(const OpCall *call, const Run *run, float *table) {
    const Rotary *a = static_cast<const Rotary *>(call->attributes);
    const int64_t pairs = a->width / 2;
    const double step = -2 * log(a->theta) / (double)a->width;
    const int32_t *position = input_of(call, 1) ? call->in[1]->integers : NULL;
    for_each(run, extent(call->in[0], 1) * pairs, [=] __device__(int64_t i) {
        const double t = (double)((position ? position[0] : 0) + i / pairs);
        const double angle = t * exp(step * (double)(i % pairs));
        table[2 * i] = (float)cos(angle);
        table[2 * i + 1] = (float)sin(angle);
    });
}

/* sign -1 turns back: the transpose, for gradients. */
static void rotate(const OpCall *call, const Run *run, const float *from, float *to, float sign,
                   bool accumulate) {
    const Rotary *a = static_cast<const Rotary *>(call->attributes);
    const Divisor L = divide_by(extent(call->in[0], 1)), E = divide_by(extent(call->in[0], 2));
    const Divisor d = divide_by(a->width);
    const int64_t pairs = a->width / 2, rotated = a->heads * a->width;
    const bool interleaved = a->interleaved;
    float *const table = static_cast<float *>(call->scratch);
    make_table(call, run, table);
    for_each(run, tensor_size(call->in[0]), [=] __device__(int64_t i) {
        const int64_t row = E.of(i), c = i - row * E.d;
        if (c >= rotated) {
            put(to + i, from[i], accumulate);
            return;
        }
        const int64_t inside = c - d.of(c) * d.d;
        const int64_t pair = interleaved ? inside / 2 : inside < pairs ? inside : inside - pairs;
        const bool second = interleaved ? inside % 2 : inside >= pairs;
        const int64_t other = i + (second ? -1 : 1) * (interleaved ? 1 : pairs);
        const float *turn = table + 2 * ((row - L.of(row) * L.d) * pairs + pair);
        const float along = from[i] * turn[0], across = from[other] * turn[1] * sign;
        put(to + i, second ? along + across : along - across, accumulate);
    });
}

static void forward(const OpCall *call, const Run *run) {
    rotate(call, run, call->in[0]->data, call->out[0]->data, 1, false);
}

static void backward(const OpCall *call, const Run *run) {
    float *const dx = gradient_of(call, 0);
    if (dx) rotate(call, run, call->out[0]->gradient, dx, -1, call->accumulate[0]);
}

static size_t scratch(const OpCall *call, Phase) {
    const Rotary *a = static_cast<const Rotary *>(call->attributes);
    return carved(extent(call->in[0], 1) * a->width, sizeof(float));
}

CUDA_OP(rotary, {forward, backward}, scratch);
