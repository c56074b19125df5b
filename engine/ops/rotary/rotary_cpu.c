#include <math.h>
#include <omp.h>

#include "engine/ops/rotary/rotary.h"
#include "engine/simd.h"

/* cos and sin of position x frequency i: two rows of d/2. */
static void angles(float *row, int64_t position, const Rotary *attributes) {
    const int64_t half = rotary_turned(attributes) / 2;
    for (int64_t i = 0; i < half; i++) {
        const double frequency = pow(attributes->theta, -(double)i / (double)half);
        row[i] = (float)cos((double)position * frequency);
        row[half + i] = (float)sin((double)position * frequency);
    }
}

/* cos and sin of a sum of two angles; direction -1 turns back. */
static void combine(float *to, const float *high, const float *low, int64_t half, float direction) {
    for (int64_t i = 0; i < half; i += LANES) {
        const int64_t n = half - i;
        const vfloat c1 = v_load_part(high + i, n), s1 = v_load_part(high + half + i, n);
        const vfloat c0 = v_load_part(low + i, n), s0 = v_load_part(low + half + i, n);
        v_store_part(to + i, c1 * c0 - s1 * s0, n);
        v_store_part(to + half + i, (s1 * c0 + c1 * s0) * direction, n);
    }
}

/* to = turned from, or added to it. */
static inline void turn_halves(float *to, const float *from, const float *table, int64_t half,
                               bool add) {
    for (int64_t i = 0; i < half; i += LANES) {
        const int64_t n = half - i;
        const vfloat c = v_load_part(table + i, n), s = v_load_part(table + half + i, n);
        const vfloat a = v_load_part(from + i, n), b = v_load_part(from + half + i, n);
        const vfloat a0 = add ? v_load_part(to + i, n) : v_zero();
        const vfloat b0 = add ? v_load_part(to + half + i, n) : v_zero();
        v_store_part(to + i, a0 + (a * c - b * s), n);
        v_store_part(to + half + i, b0 + (a * s + b * c), n);
    }
}

static inline void turn_pairs(float *to, const float *from, const float *table, int64_t half,
                              bool add) {
    for (int64_t i = 0; i < half; i++) {
        const float c = table[i], s = table[half + i];
        const float a = from[2 * i], b = from[2 * i + 1];
        to[2 * i] = (add ? to[2 * i] : 0) + (a * c - b * s);
        to[2 * i + 1] = (add ? to[2 * i + 1] : 0) + (a * s + b * c);
    }
}

static inline void copy_channels(float *to, const float *from, int64_t count, bool add) {
    for (int64_t c = 0; c < count; c += LANES) {
        const vfloat before = add ? v_load_part(to + c, count - c) : v_zero();
        v_store_part(to + c, before + v_load_part(from + c, count - c), count - c);
    }
}

static void turn_row(float *to, const float *from, const float *table, int64_t channels,
                     const Rotary *attributes, bool add) {
    const int64_t d = attributes->width, rotated = attributes->heads * d;
    const int64_t turned = rotary_turned(attributes);
    for (int64_t h = 0; h < rotated; h += d) {
        if (attributes->interleaved)
            turn_pairs(to + h, from + h, table, turned / 2, add);
        else
            turn_halves(to + h, from + h, table, turned / 2, add);
        copy_channels(to + h + turned, from + h + turned, d - turned, add);
    }
    copy_channels(to + rotated, from + rotated, channels - rotated, add);
}

static void turn(const OpCall *call, const Run *run, float *to, const float *from, float direction,
                 bool add) {
    const Rotary *attributes = call->attributes;
    const int64_t B = extent(call->in[0], 0), L = extent(call->in[0], 1),
                  E = extent(call->in[0], 2);
    const int64_t positions = rotary_positions(attributes, L), period = attributes->period;
    const int64_t d = rotary_turned(attributes), span = rotary_span(positions);
    const int64_t position = call->in[1] ? call->in[1]->integers[0] : 0;
    const int64_t lowest = period ? 0 : position, first = lowest / span;
    const int64_t blocks = (lowest + positions - 1) / span - first + 1;
    float *low = call->scratch, *high = low + span * d, *own = high + (positions / span + 2) * d;
    for (int64_t i = 0; i < span; i++) angles(low + i * d, i, attributes);
    for (int64_t i = 0; i < blocks; i++) angles(high + i * d, (first + i) * span, attributes);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t t = 0; t < L; t++) {
        float *table = own + omp_get_thread_num() * d;
        const int64_t at = period ? (position + t) % period : position + t;
        combine(table, high + (at / span - first) * d, low + at % span * d, d / 2, direction);
        for (int64_t b = 0; b < B; b++)
            turn_row(to + (b * L + t) * E, from + (b * L + t) * E, table, E, attributes, add);
    }
}

static void forward(const OpCall *call, const Run *run) {
    turn(call, run, call->out[0]->data, call->in[0]->data, 1, false);
}

/* A rotation's transpose turns back. */
static void backward(const OpCall *call, const Run *run) {
    turn(call, run, call->in[0]->gradient, call->out[0]->gradient, -1, call->accumulate[0]);
}

const OpKernels ISA(rotary_cpu) = {forward, backward};
