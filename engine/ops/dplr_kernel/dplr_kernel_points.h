/* From values at the nodes to taps and back, for a block of channels. */
#ifndef LONGHAUL_DPLR_KERNEL_POINTS_H
#define LONGHAUL_DPLR_KERNEL_POINTS_H

#include "engine/fft_simd.h"
#include "engine/ops/dplr_kernel/dplr_kernel_block.h"
#include "engine/vmath.h"

/* ---- transforms of n points; the spectrum has places of its own ---- */

static inline int64_t signal_place(const Block *b, int64_t t) {
    return b->p.direct ? t : fft_signal_place(&b->p.fft, t);
}
static inline int64_t spectrum_place(const Block *b, int64_t k) {
    return b->p.direct ? k : fft_spectrum_place(&b->p.fft, k);
}

static inline void transform_directly(const Block *b, FftTask task, float *points) {
    const int64_t n = b->p.n;
    float *copy = points + n * 2 * LANES;
    memcpy(copy, points, (size_t)(n * 2 * LANES) * sizeof *copy);
    for (int64_t t = 0; t < n; t++) {
        vcomplex sum = {v_zero(), v_zero()};
        for (int64_t k = 0; k < n; k++) {
            const vcomplex x = c_load(copy, k);
            const float *w = b->factors + 2 * (t * k % n);
            sum = c_add(sum, task == FFT_PLAIN_BACK ? c_turn(x, w) : c_turn_back(x, w));
        }
        c_store(points, t, sum);
    }
}

static inline void transform(const Block *b, FftTask task, float *points) {
    if (b->p.direct)
        transform_directly(b, task, points);
    else
        ISA(fft_run)(&b->p.fft, task, &(FftBuffers){.signal = points});
}

/* Taps 2 t and 2 t + 1 are the parts of point t: with X and Y the values at nodes k and n - k of a
 * real sequence, the spectrum of its points is (X + conj Y) / 2 + i turn (X - conj Y) / 2, turn =
 * exp(2 pi i k / period). */
ALWAYS_INLINE vcomplex turn_of(const Block *b, int64_t k) {
    const vfloat s = v_set(b->sine[k]), c = v_set(b->sine[b->p.n - k]);
    return (vcomplex){c * c - s * s, 2.0f * s * c};
}
ALWAYS_INLINE vcomplex pack(vcomplex X, vcomplex Y, vcomplex turn, float scale) {
    const vcomplex even = c_add(X, c_conjugate(Y)), odd = c_subtract(X, c_conjugate(Y));
    return c_scale(c_add(even, c_quarter(c_product(turn, odd))), v_set(scale));
}

static inline void put_pair(const Block *b, int64_t k, float *points, vcomplex X, vcomplex Y) {
    const float scale = 0.5f / (float)b->p.n;
    const vcomplex turn = turn_of(b, k);
    if (k == 0) X.im = Y.im = v_zero();
    c_store(points, spectrum_place(b, k), pack(X, Y, turn, scale));
    if (k == 0 || 2 * k == b->p.n) return;
    c_store(points, spectrum_place(b, b->p.n - k),
            pack(Y, X, (vcomplex){-turn.re, turn.im}, scale));
}

/* Cotangents of Khat at k and n - k from the spectrum of the taps' cotangent. */
static inline void get_pair(const Block *b, int64_t k, const float *points, vcomplex *X,
                            vcomplex *Y) {
    const int64_t n = b->p.n;
    const vcomplex Z = c_load(points, spectrum_place(b, k));
    const vcomplex other = c_conjugate(c_load(points, spectrum_place(b, (n - k) % n)));
    const vfloat scale = v_set((k == 0 ? 0.25f : 0.5f) / (float)n);
    const vcomplex even = c_scale(c_add(Z, other), scale);
    const vcomplex odd = c_quarter_back(c_scale(c_subtract(Z, other), scale));
    const vcomplex turned = c_product(c_conjugate(turn_of(b, k)), odd);
    *X = c_add(even, turned);
    *Y = c_conjugate(c_subtract(even, turned));
}

static inline void write_taps(const Block *b, const float *points, float *K) {
    for (int64_t t = 0; 2 * t < b->p.L; t++) {
        const vcomplex taps = c_load(points, signal_place(b, t));
        float *to = K + 2 * t * b->p.D + b->channel;
        v_store_part(to, taps.re, b->width);
        if (2 * t + 1 < b->p.L) v_store_part(to + b->p.D, taps.im, b->width);
    }
}

static inline void read_taps(const Block *b, const Tensor *K, float *points) {
    for (int64_t t = 0; t < b->p.n; t++) {
        vcomplex taps = {v_zero(), v_zero()};
        const float *from = K->gradient + 2 * t * b->p.D + b->channel;
        if (K->gradient && 2 * t < b->p.L) taps.re = v_load_part(from, b->width);
        if (K->gradient && 2 * t + 1 < b->p.L) taps.im = v_load_part(from + b->p.D, b->width);
        c_store(points, signal_place(b, t), taps);
    }
}

#endif
