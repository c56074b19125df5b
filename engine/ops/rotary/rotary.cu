#include "engine/ops/rotary/rotary.h"

#include "engine/cuda/rounded.cuh"

/* cos of every position's pairs and then sin of them, in double precision: a float's angle would be
 * wrong by 0.01 at position 10^5. Made once a call, then used by all sequences and heads. */
static void make_table(const OpCall *call, const Run *run, float *table) {
    const Rotary *a = static_cast<const Rotary *>(call->attributes);
    const Divisor pairs = divide_by(rotary_turned(a) / 2);
    const double step = -log(a->theta) / (double)pairs.d;
    const int64_t period = a->period;
    const int32_t *position = input_of(call, 1) ? call->in[1]->integers : NULL;
    for_each(run, extent(call->in[0], 1) * pairs.d, [=] __device__(int64_t i) {
        const int64_t row = pairs.of(i), pair = i - row * pairs.d;
        const int64_t t = (position ? position[0] : 0) + row;
        const double angle = (double)(period ? t % period : t) * exp(step * (double)pair);
        float *const to = table + row * 2 * pairs.d + pair;
        to[0] = (float)cos(angle);
        to[pairs.d] = (float)sin(angle);
    });
}

/* V pairs that a thread turns: their second members are `apart` channels after the first ones, or
 * MIXED with them, first and second in turn. */
template <int V, bool MIXED> struct Pairs {
    enum { CHANNELS = MIXED ? 2 * V : V }; /* of one access */
    Lanes<V> a, b;

    __device__ Pairs(const float *from, int64_t apart) {
        const Lanes<CHANNELS> x = load<CHANNELS>(from);
        if constexpr (MIXED) {
            for (int v = 0; v < V; v++) {
                a.of[v] = x.of[2 * v];
                b.of[v] = x.of[2 * v + 1];
            }
        } else {
            a = x;
            b = load<V>(from + apart);
        }
    }
    __device__ void turn(const Lanes<V> &cosine, const Lanes<V> &sine, float sign) {
        for (int v = 0; v < V; v++) {
            const float first = a.of[v], second = b.of[v], s = sine.of[v] * sign;
            a.of[v] = first * cosine.of[v] - second * s;
            b.of[v] = second * cosine.of[v] + first * s;
        }
    }
    __device__ void put_to(const Result &to, int64_t at, int64_t apart, bool accumulate) const {
        if constexpr (MIXED) {
            Lanes<CHANNELS> x;
            for (int v = 0; v < V; v++) {
                x.of[2 * v] = a.of[v];
                x.of[2 * v + 1] = b.of[v];
            }
            to.put(at, x, accumulate);
        } else {
            to.put(at, a, accumulate);
            to.put(at + apart, b, accumulate);
        }
    }
};

/* Bound by memory, 8 bytes a channel: a thread turns V pairs of a head, or copies channels behind
 * the heads. sign -1 turns back: the transpose, for gradients. */
template <int V, bool MIXED>
static void rotate_by(const OpCall *call, const Run *run, const float *from, const Result &to,
                      float sign, bool accumulate) {
    enum { CHANNELS = Pairs<V, MIXED>::CHANNELS };
    const Rotary *a = static_cast<const Rotary *>(call->attributes);
    const int64_t E = extent(call->in[0], 2), width = a->width;
    const int64_t turned = rotary_turned(a), pairs = turned / 2, rest = width - turned;
    const int64_t rotated = a->heads * width, turning = a->heads * pairs / V;
    const Divisor L = divide_by(extent(call->in[0], 1));
    const Divisor of_row = divide_by(turning + (E - a->heads * turned) / CHANNELS);
    const Divisor of_head = divide_by(pairs / V);
    const int64_t turned_all = a->heads * turned;
    const int64_t stride = a->interleaved ? 2 : 1, apart = a->interleaved ? 1 : pairs;
    float *const table = static_cast<float *>(call->scratch);
    make_table(call, run, table);
    for_each(run, rows_of(call->in[0]) * of_row.d, [=] __device__(int64_t i) {
        const int64_t row = of_row.of(i), own = i - row * of_row.d;
        if (own >= turning) {
            const int64_t n = (own - turning) * CHANNELS, copied = rotated - turned_all;
            const int64_t within =
                n < copied ? n / rest * width + turned + n % rest : rotated + n - copied;
            const int64_t c = row * E + within;
            to.put(c, load<CHANNELS>(from + c), accumulate);
            return;
        }
        const int64_t head = of_head.of(own), pair = (own - head * of_head.d) * V;
        const int64_t c = row * E + head * width + pair * stride;
        const float *const angle = table + (row - L.of(row) * L.d) * turned + pair;
        Pairs<V, MIXED> x(from + c, apart);
        x.turn(load<V>(angle), load<V>(angle + pairs), sign);
        x.put_to(to, c, apart, accumulate);
    });
}

/* 16 bytes an access where rows and heads allow. */
static void rotate(const OpCall *call, const Run *run, const float *from, const Result &to,
                   float sign, bool accumulate) {
    const Rotary *a = static_cast<const Rotary *>(call->attributes);
    const bool fours = extent(call->in[0], 2) % 4 == 0;
    const int64_t turned = rotary_turned(a);
    if (fours && a->interleaved && a->width % 4 == 0 && turned % 4 == 0)
        rotate_by<2, true>(call, run, from, to, sign, accumulate);
    else if (fours && !a->interleaved && a->width % 8 == 0 && turned % 8 == 0)
        rotate_by<4, false>(call, run, from, to, sign, accumulate);
    else
        rotate_by<1, false>(call, run, from, to, sign, accumulate);
}

static void forward(const OpCall *call, const Run *run) {
    rotate(call, run, call->in[0]->data, result_of(call, 0), 1, false);
}

static void backward(const OpCall *call, const Run *run) {
    float *const dx = gradient_of(call, 0);
    if (dx) rotate(call, run, call->out[0]->gradient, {dx, NULL}, -1, call->accumulate[0]);
}

static size_t scratch(const OpCall *call, Phase) {
    const Rotary *a = static_cast<const Rotary *>(call->attributes);
    return carved(extent(call->in[0], 1) * a->width, sizeof(float));
}

static Roundable roundable(const OpCall *) {
    return {0, 0, 1u << 0};
}

CUDA_OP(rotary, {forward, backward}, scratch, NULL, roundable);
