/* Long convolution on a GPU: what its kernels share. Transforms are twisted (engine/cuda/fft.cuh):
 * the N points, N the power of two from L on, are a row's linear convolution in their real part, so
 * a row of the batch needs neither padding nor a partner. A filter g is added to the powers of z,
 * z^N = i: the reverse filter's tap j belongs to z^(-1-j) = -i z^(N-1-j), the skip term to tap 0;
 * that tap's gradient is skip's. */
#ifndef LONGHAUL_OPS_LONG_CONVOLUTION_CUH
#define LONGHAUL_OPS_LONG_CONVOLUTION_CUH

#include <cassert>
#include <type_traits>

#include "engine/cuda/fft.cuh"
#include "engine/ops/long_convolution/long_convolution.h"

/* Points of R at a time where registers are short: of complex numbers, of real ones. Every time
 * waits for memory once. */
template <int R> constexpr int few = R < 16 ? R : R / 4;
template <int R> constexpr int several = R < 32 ? R : 8;

/* A call as kernels see it, in device memory; NULL: not given or not wanted. */
struct LongConvolution {
    int64_t B, L, D, K, points;
    const float *u, *filter, *reverse, *skip, *pre, *post;
    float *y, *sum;
    const float *dy;
    float *du, *dpre, *dpost, *dskip, *dfilter, *dreverse;
    bool add_u, add_pre, add_post, add_skip, add_filter, add_reverse;
};

/* Whether the filters' gradients, or the skip term's, are wanted. */
static inline bool wants_filters(const LongConvolution &x) {
    return x.dfilter || x.dreverse || x.dskip;
}

/* ---- what is transformed: columns of R points, `every` tokens apart. Loads come first and stores
 * last: a store could be what a later load reads, so the compiler keeps their order. ---- */

/* The column from token t on of channel d, in a row of `length` tokens. Points lie `step` bytes
 * apart, in 32 bits: an address is then one instruction. ONCE: they go past the second-level cache
 * where scratch is to stay in it. */
template <int R, bool ONCE> struct Column {
    int64_t at;
    int step, in; /* points before the end */

    __device__ Column(int64_t length, int64_t D, int row, int d, int t, int every)
        : at((row * length + t) * D + d), step(every * (int)D * (int)sizeof(float)), in(0) {
        const int rest = (int)length - t;
        if (rest > 0 && d < (int)D) in = (rest - 1) / every + 1;
    }
    template <class T> __device__ T *point(T *p, int k) const {
        typedef std::conditional_t<std::is_const_v<T>, const char, char> Byte;
        return reinterpret_cast<T *>(reinterpret_cast<Byte *>(p + at) + (int64_t)k * step);
    }
    __device__ float read(const float *p, int k) const {
        return ONCE ? load_once(point(p, k)) : *point(p, k);
    }
    __device__ void write(float *p, int k, float x) const {
        if (ONCE)
            store_once(point(p, k), x);
        else
            *point(p, k) = x;
    }
    /* Points from, from + 1, ...; zeros beyond the end. */
    template <int M> __device__ void get(const float *p, int from, float v[M]) const {
        if (in >= R) {
#pragma unroll
            for (int k = 0; k < M; k++) v[k] = read(p, from + k);
        } else {
#pragma unroll
            for (int k = 0; k < M; k++) v[k] = from + k < in ? read(p, from + k) : 0.0f;
        }
    }
    __device__ void get(const float *p, float v[R]) const {
        get<R>(p, 0, v);
    }
    /* v times the numbers of p, where there are some */
    __device__ void gate(const float *p, float v[R]) const {
        if (!p) return;
        float g[R];
        get(p, g);
#pragma unroll
        for (int k = 0; k < R; k++) v[k] *= g[k];
    }
    template <int M>
    __device__ void set(float *p, int from, const float v[M], bool accumulate) const {
        float sum[M];
#pragma unroll
        for (int k = 0; k < M; k++) sum[k] = v[k];
        if (accumulate) {
            float before[M];
            get<M>(p, from, before);
#pragma unroll
            for (int k = 0; k < M; k++) sum[k] += before[k];
        }
        if (in >= R) {
#pragma unroll
            for (int k = 0; k < M; k++) write(p, from + k, sum[k]);
        } else {
#pragma unroll
            for (int k = 0; k < M; k++)
                if (from + k < in) write(p, from + k, sum[k]);
        }
    }
};

/* Asks for the block's part of tensors, of those that exist: of a row, channels d to d + LANES - 1
 * of tokens t + i every + w, i < COUNT, w < WIDTH. */
template <int COUNT, int WIDTH, int LANES, class... Tensors>
__device__ inline void ask(const LongConvolution &x, int row, int d, int t, int every,
                           Tensors... tensors) {
    constexpr int SECTOR = 8, PIECES = (LANES + SECTOR - 1) / SECTOR; /* floats of 32 bytes */
    constexpr int EVERY = FFT_THREADS / (PIECES * WIDTH), TIMES = COUNT / EVERY;
    static_assert(EVERY * TIMES == COUNT, "whole turns of a block");
    const int i = (int)(threadIdx.x % FFT_THREADS), token = i / PIECES;
    const int channel = d + i % PIECES * SECTOR;
    if (channel >= (int)x.D) return;
    int at = t + token / WIDTH * every + token % WIDTH;
    int64_t place = (row * x.L + at) * x.D + channel;
#pragma unroll 1 /* unrolled, it takes registers from the passes around */
    for (int n = 0; n < TIMES && at < (int)x.L; n++) {
        ((void)(tensors && (ask_for(tensors + place), true)), ...);
        at += EVERY * every;
        place += EVERY * every * x.D;
    }
}

template <int R> __device__ inline void twist_column(const float from[R], float2 v[R]) {
#pragma unroll
    for (int q = 0; q < R; q++) {
        const float2 w = twist<R>(q);
        v[q] = make_float2(from[q] * w.x, from[q] * w.y);
    }
}
template <int R> __device__ inline void real_column(const float2 v[R], float to[R]) {
#pragma unroll
    for (int q = 0; q < R; q++) {
        const float2 w = twist<R>(q);
        to[q] = w.x * v[q].x + w.y * v[q].y;
    }
}

template <int R, bool ONCE>
__device__ inline void read_signal(const LongConvolution &x, int row, int d, int t, int every,
                                   float2 v[R]) {
    const Column<R, ONCE> column(x.L, x.D, row, d, t, every);
    float u[R];
    column.get(x.u, u);
    column.gate(x.pre, u);
    twist_column<R>(u, v);
}

/* On the way the gradient of the gate behind the sum. */
template <int R, bool ONCE>
__device__ inline void read_cotangent(const LongConvolution &x, int row, int d, int t, int every,
                                      float2 v[R]) {
    constexpr int M = several<R>;
    const Column<R, ONCE> column(x.L, x.D, row, d, t, every);
    float g[R];
    column.get(x.dy, g);
    if (x.dpost) {
#pragma unroll
        for (int from = 0; from < R; from += M) {
            float to[M];
            column.template get<M>(x.sum, from, to);
#pragma unroll
            for (int k = 0; k < M; k++) to[k] *= g[from + k];
            column.template set<M>(x.dpost, from, to, x.add_post);
        }
    }
    column.gate(x.post, g);
    twist_column<R>(g, v);
}

template <int R, bool ONCE>
__device__ inline void read_filter(const LongConvolution &x, int d, int t, int every, float2 v[R]) {
    const Column<R, ONCE> column(x.K, x.D, 0, d, t, every);
    float h[R];
    column.get(x.filter, h);
    if (x.skip && t == 0 && d < x.D) h[0] += x.skip[d];
    twist_column<R>(h, v);
    if (!x.reverse || d >= x.D) return;
#pragma unroll
    for (int q = 0; q < R; q++) {
        const int64_t back = x.points - 1 - (t + q * every);
        const float tap = back < x.K ? x.reverse[back * x.D + d] : 0.0f;
        v[q] = v[q] + twist<R>(q) * make_float2(0, -tap);
    }
}

template <int R, bool ONCE>
__device__ inline void write_signal(const LongConvolution &x, int row, int d, int t, int every,
                                    const float2 v[R]) {
    const Column<R, ONCE> column(x.L, x.D, row, d, t, every);
    float sum[R], y[R];
    real_column<R>(v, sum);
#pragma unroll
    for (int q = 0; q < R; q++) y[q] = sum[q];
    column.gate(x.post, y);
    if (x.sum) column.template set<R>(x.sum, 0, sum, false);
    column.template set<R>(x.y, 0, y, false);
}

template <int R, bool ONCE>
__device__ inline void write_gradient(const LongConvolution &x, int row, int d, int t, int every,
                                      const float2 v[R]) {
    constexpr int M = several<R>;
    const Column<R, ONCE> column(x.L, x.D, row, d, t, every);
    float dx[R];
    real_column<R>(v, dx);
#pragma unroll
    for (int from = 0; from < R; from += M) {
        float u[M], g[M];
        if (x.dpre) column.template get<M>(x.u, from, u);
#pragma unroll
        for (int k = 0; k < M; k++) g[k] = 1;
        if (x.pre && x.du) column.template get<M>(x.pre, from, g);
#pragma unroll
        for (int k = 0; k < M; k++) {
            if (x.dpre) u[k] *= dx[from + k];
            g[k] *= dx[from + k];
        }
        if (x.dpre) column.template set<M>(x.dpre, from, u, x.add_pre);
        if (x.du) column.template set<M>(x.du, from, g, x.add_u);
    }
}

template <int R, bool ONCE>
__device__ inline void write_filter_gradient(const LongConvolution &x, int d, int t, int every,
                                             const float2 v[R]) {
    constexpr int M = several<R>;
    const Column<R, ONCE> column(x.K, x.D, 0, d, t, every);
    float h[R];
    real_column<R>(v, h);
    if (x.dskip && t == 0 && d < x.D) put(x.dskip + d, h[0], x.add_skip);
#pragma unroll
    for (int from = 0; from < R && x.dfilter; from += M)
        column.template set<M>(x.dfilter, from, h + from, x.add_filter);
    if (!x.dreverse || d >= x.D) return;
#pragma unroll
    for (int q = 0; q < R; q++) {
        const int64_t back = x.points - 1 - (t + q * every);
        if (back < x.K)
            put(x.dreverse + back * x.D + d, -(v[q] * conjugate(twist<R>(q))).y, x.add_reverse);
    }
}

/* ---- spectra: [q][i] of a block, as the last forward pass leaves them ---- */

template <int P> struct Spectrum {
    static constexpr int R = Fft<P>::LAST, STEP = Fft<P>::WORK / R;
    float2 *at;
    __device__ Spectrum(float2 *array, int64_t block, int i)
        : at(array + block * Fft<P>::WORK + i) {
    }
    __device__ void set(const float2 v[R], float scale) const {
#pragma unroll
        for (int q = 0; q < R; q++) at[q * STEP] = make_float2(scale * v[q].x, scale * v[q].y);
    }
    __device__ void multiply(float2 v[R]) const {
#pragma unroll
        for (int q = 0; q < R; q++) v[q] = v[q] * at[q * STEP];
    }
};

/* v, the cotangent's frequencies, becomes the signal's gradient's; the sum of correlations grows.
 * It may lie where the signal does. */
template <int P>
__device__ inline void correlate(const Spectrum<P> &filter, const Spectrum<P> &signal,
                                 const Spectrum<P> &sum, bool begin, float2 *v) {
    typedef Spectrum<P> S;
    constexpr int M = few<S::R>;
#pragma unroll
    for (int from = 0; from < S::R; from += M) {
        float2 x[M], h[M], before[M];
#pragma unroll
        for (int k = 0; k < M; k++) {
            const int q = (from + k) * S::STEP;
            x[k] = signal.at[q];
            h[k] = filter.at[q];
            before[k] = begin ? make_float2(0, 0) : sum.at[q];
        }
#pragma unroll
        for (int k = 0; k < M; k++) {
            sum.at[(from + k) * S::STEP] = before[k] + conjugate(x[k]) * v[from + k];
            v[from + k] = v[from + k] * conjugate(h[k]);
        }
    }
}

/* body.operator()<points>() */
template <class Body> void with_points(int64_t points, const Body &body) {
    switch (points) {
    case 64:
        return body.template operator()<64>();
    case 128:
        return body.template operator()<128>();
    case 256:
        return body.template operator()<256>();
    case 512:
        return body.template operator()<512>();
    case 1024:
        return body.template operator()<1024>();
    default:
        return body.template operator()<2048>();
    }
}

/* Columns of Fft<P>'s first pass over all points: Column::step has 32 bits. */
template <int P> void check_step(const LongConvolution &x) {
    assert(x.points / Fft<P>::FIRST * x.D <= (1 << 29) - 1 && "more tokens and channels");
}

/* A phase of sequences of up to FFT_MOST points, and of more; how many bytes of scratch it takes.
 */
void long_convolution_block(const Run *run, const LongConvolution &x, Phase phase, void *scratch);
size_t long_convolution_block_scratch(const LongConvolution &x, Phase phase);
void long_convolution_line(const Run *run, const LongConvolution &x, Phase phase, void *scratch);
size_t long_convolution_line_scratch(const LongConvolution &x, Phase phase);

#endif
