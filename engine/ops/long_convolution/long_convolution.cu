/* Long convolution by Fourier transforms of our own (engine/cuda/fft.cuh), twisted: the N points,
 * N the power of two from L on, are a row's linear convolution in their real part, so a row of the
 * batch needs neither padding nor a partner. A filter g is added to the powers of z, z^N = i: the
 * reverse filter's tap j belongs to z^(-1-j) = -i z^(N-1-j), the skip term to tap 0; that tap's
 * gradient is skip's.
 *
 * Up to FFT_MOST tokens a block holds some channels' whole sequences: read with gate, transform,
 * product, inverse, gate, write, in one kernel. Beyond, N = P1 P2 in three kernels: over the P1
 * points that lie P2 tokens apart, forward; over P2, forward, product, inverse; over P1 back. What
 * they hand on lies in scratch that stays in the second-level cache: channels are taken in chunks.
 *
 * A token and channel costs 10 log2(N) additions and multiplications (100 at 1024 tokens, 2 ps at
 * the peak of an H100) and 32 bytes of shared memory's traffic (1.2 ps) beside its 8 to 20 bytes of
 * device memory's (1.9 to 4.6 ps). */
#include "engine/ops/long_convolution/long_convolution.h"

#include <cassert>

#include "engine/cuda/fft.cuh"

enum {
    ENOUGH_BLOCKS = 256, /* two for each multiprocessor of an H100; bits are the same on others */
    CHUNK_BYTES = 32 << 20, /* of scratch that three kernels hand on */
    MOST_LANES = 16         /* channels side by side in it */
};
/* Points of R at a time where registers are short. */
template <int R> constexpr int few = R < 16 ? R : R / 4;

struct Convolution {
    int64_t B, L, D, K, points;
    const float *u, *filter, *reverse, *skip, *pre, *post;
    float *y, *sum;
    const float *dy;
    float *du, *dpre, *dpost, *dskip, *dfilter, *dreverse;
    bool add_u, add_pre, add_post, add_skip, add_filter, add_reverse;
};

static Convolution convolution_of(const OpCall *call) {
    Convolution x = {};
    x.B = extent(call->in[LONG_CONVOLUTION_U], 0);
    x.L = extent(call->in[LONG_CONVOLUTION_U], 1);
    x.D = extent(call->in[LONG_CONVOLUTION_U], 2);
    x.K = extent(call->in[LONG_CONVOLUTION_FILTER], 0);
    for (x.points = FFT_LEAST; x.points < x.L;) x.points *= 2;
    x.u = data_of(call, LONG_CONVOLUTION_U);
    x.filter = data_of(call, LONG_CONVOLUTION_FILTER);
    x.reverse = data_of(call, LONG_CONVOLUTION_REVERSE);
    x.skip = data_of(call, LONG_CONVOLUTION_SKIP);
    x.pre = data_of(call, LONG_CONVOLUTION_PRE);
    x.post = data_of(call, LONG_CONVOLUTION_POST);
    x.y = call->out[0]->data;
    x.sum = call->saves ? call->saved[0]->data : NULL;
    return x;
}

static void add_gradients(Convolution *x, const OpCall *call) {
    x->dy = call->out[0]->gradient;
    x->du = gradient_of(call, LONG_CONVOLUTION_U);
    x->dpre = gradient_of(call, LONG_CONVOLUTION_PRE);
    x->dpost = gradient_of(call, LONG_CONVOLUTION_POST);
    x->dskip = gradient_of(call, LONG_CONVOLUTION_SKIP);
    x->dfilter = gradient_of(call, LONG_CONVOLUTION_FILTER);
    x->dreverse = gradient_of(call, LONG_CONVOLUTION_REVERSE);
    x->add_u = call->accumulate[LONG_CONVOLUTION_U];
    x->add_pre = call->accumulate[LONG_CONVOLUTION_PRE];
    x->add_post = call->accumulate[LONG_CONVOLUTION_POST];
    x->add_skip = call->accumulate[LONG_CONVOLUTION_SKIP];
    x->add_filter = call->accumulate[LONG_CONVOLUTION_FILTER];
    x->add_reverse = call->accumulate[LONG_CONVOLUTION_REVERSE];
}

/* ---- what is transformed: columns of R points, `every` tokens apart. Loads come first and stores
 * last: a store could be what a later load reads, so the compiler keeps their order. ---- */

/* The column from token t on of channel d, in a row of `length` tokens. */
template <int R> struct Column {
    int64_t at, step;
    int in; /* points before the end */

    __device__ Column(int64_t length, int64_t D, int64_t row, int64_t d, int t, int every)
        : at((row * length + t) * D + d), step(every * D), in(0) {
        const int rest = (int)length - t;
        if (rest > 0 && d < D) in = (rest - 1) / every + 1;
    }
    /* Points from, from + 1, ...; zeros beyond the end. */
    template <int M> __device__ void get(const float *p, int from, float v[M]) const {
        p += at;
        if (in >= R) {
#pragma unroll
            for (int k = 0; k < M; k++) v[k] = p[(from + k) * step];
        } else {
#pragma unroll
            for (int k = 0; k < M; k++) v[k] = from + k < in ? p[(from + k) * step] : 0.0f;
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
        float before[M] = {};
        if (accumulate) get<M>(p, from, before);
        p += at;
#pragma unroll
        for (int k = 0; k < M; k++)
            if (from + k < in) p[(from + k) * step] = before[k] + v[k];
    }
};

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

template <int R>
__device__ inline void read_signal(const Convolution &x, int64_t row, int64_t d, int t, int every,
                                   float2 v[R]) {
    const Column<R> column(x.L, x.D, row, d, t, every);
    float u[R];
    column.get(x.u, u);
    column.gate(x.pre, u);
    twist_column<R>(u, v);
}

/* On the way the gradient of the gate behind the sum. */
template <int R>
__device__ inline void read_cotangent(const Convolution &x, int64_t row, int64_t d, int t,
                                      int every, float2 v[R]) {
    constexpr int M = few<R>;
    const Column<R> column(x.L, x.D, row, d, t, every);
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

template <int R>
__device__ inline void read_filter(const Convolution &x, int64_t d, int t, int every, float2 v[R]) {
    const Column<R> column(x.K, x.D, 0, d, t, every);
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

template <int R>
__device__ inline void write_signal(const Convolution &x, int64_t row, int64_t d, int t, int every,
                                    const float2 v[R]) {
    const Column<R> column(x.L, x.D, row, d, t, every);
    float sum[R], y[R];
    real_column<R>(v, sum);
#pragma unroll
    for (int q = 0; q < R; q++) y[q] = sum[q];
    column.gate(x.post, y);
    if (x.sum) column.template set<R>(x.sum, 0, sum, false);
    column.template set<R>(x.y, 0, y, false);
}

template <int R>
__device__ inline void write_gradient(const Convolution &x, int64_t row, int64_t d, int t,
                                      int every, const float2 v[R]) {
    constexpr int M = few<R>;
    const Column<R> column(x.L, x.D, row, d, t, every);
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

template <int R>
__device__ inline void write_filter_gradient(const Convolution &x, int64_t d, int t, int every,
                                             const float2 v[R]) {
    constexpr int M = few<R>;
    const Column<R> column(x.K, x.D, 0, d, t, every);
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

/* ---- whole sequences in a block ---- */

struct Blocks {
    Convolution x;
    const float2 *table;
    int64_t groups; /* of channels */
    int64_t slices; /* of rows, in adjoint */
    float2 *filter; /* spectra over the number of points: (groups, WORK) */
    float2 *signal; /* (slices, groups, WORK), like the next */
    float2 *correlation;
};

#define BOUNDS(P) __launch_bounds__(FFT_THREADS, Fft<P>::BLOCKS)

template <int P> KERNEL void BOUNDS(P) filter_spectra(const Blocks b) {
    typedef Fft<P> F;
    const BlockSpace space = block_space<P>(b.table);
    const int64_t first = (int64_t)blockIdx.x * F::MANY;
    transform_in<P>(space, [&](int c, int j, float2 *v) {
        read_filter<F::FIRST>(b.x, first + c, j, F::ROWS, v);
    });
    turning_pass<P, false>(space, [&](int i, int, int, const float2 *v) {
        Spectrum<P>(b.filter, blockIdx.x, i).set(v, 1.0f / P);
    });
}

template <int P> KERNEL void BOUNDS(P) convolve(const Blocks b) {
    typedef Fft<P> F;
    const BlockSpace space = block_space<P>(b.table);
    const int64_t group = blockIdx.x % (unsigned)b.groups, row = blockIdx.x / (unsigned)b.groups;
    const int64_t first = group * F::MANY;
    transform_in<P>(space, [&](int c, int j, float2 *v) {
        read_signal<F::FIRST>(b.x, row, first + c, j, F::ROWS, v);
    });
    turning_pass<P, true>(
        space, [&](int i, int, int, float2 *v) { Spectrum<P>(b.filter, group, i).multiply(v); });
    transform_out<P>(space, [&](int c, int j, const float2 *v) {
        write_signal<F::FIRST>(b.x, row, first + c, j, F::ROWS, v);
    });
}

/* Cotangents to gradients of the signal, and the sums of correlations. */
template <int P> KERNEL void __launch_bounds__(FFT_THREADS, Fft<P>::FEWER) adjoint(const Blocks b) {
    typedef Fft<P> F;
    const BlockSpace space = block_space<P>(b.table);
    const int64_t group = blockIdx.x % (unsigned)b.groups, slice = blockIdx.x / (unsigned)b.groups;
    const int64_t first = group * F::MANY;
    const int64_t from = slice * b.x.B / b.slices, to = (slice + 1) * b.x.B / b.slices;
    for (int64_t row = from; row < to; row++) {
        transform_in<P>(space, [&](int c, int j, float2 *v) {
            read_signal<F::FIRST>(b.x, row, first + c, j, F::ROWS, v);
        });
        turning_pass<P, false>(space, [&](int i, int, int, const float2 *v) {
            Spectrum<P>(b.signal, blockIdx.x, i).set(v, 1);
        });
        transform_in<P>(space, [&](int c, int j, float2 *v) {
            read_cotangent<F::FIRST>(b.x, row, first + c, j, F::ROWS, v);
        });
        turning_pass<P, true>(space, [&](int i, int, int, float2 *v) {
            correlate(Spectrum<P>(b.filter, group, i), Spectrum<P>(b.signal, blockIdx.x, i),
                      Spectrum<P>(b.correlation, blockIdx.x, i), row == from, v);
        });
        transform_out<P>(space, [&](int c, int j, const float2 *v) {
            write_gradient<F::FIRST>(b.x, row, first + c, j, F::ROWS, v);
        });
    }
}

/* Sums of correlations to the gradients of the filters. */
template <int P> KERNEL void BOUNDS(P) filter_gradients(const Blocks b) {
    typedef Fft<P> F;
    const BlockSpace space = block_space<P>(b.table);
    const int64_t first = (int64_t)blockIdx.x * F::MANY;
    returning_pass<P>(space, [&](int i, int, int, float2 *v) {
#pragma unroll
        for (int q = 0; q < F::LAST; q++) v[q] = make_float2(0, 0);
        for (int64_t slice = 0; slice < b.slices; slice++) {
            const Spectrum<P> part(b.correlation, slice * b.groups + blockIdx.x, i);
#pragma unroll
            for (int q = 0; q < F::LAST; q++) v[q] = v[q] + part.at[q * part.STEP];
        }
#pragma unroll
        for (int q = 0; q < F::LAST; q++) v[q] = make_float2(v[q].x / P, v[q].y / P);
    });
    transform_out<P>(space, [&](int c, int j, const float2 *v) {
        write_filter_gradient<F::FIRST>(b.x, first + c, j, F::ROWS, v);
    });
}

/* ---- longer sequences: token t = P2 t1 + t2, frequency k1 + P1 k2. Scratch is (groups of lanes,
 * k1, t2, lanes), lanes being neighbouring channels, whatever order k2 has ---- */

enum Kind { FILTER, SIGNAL, COTANGENT, KINDS };

struct Outer {
    Convolution x;
    int P1, P2, log_lanes;
    const float2 *table1, *table2; /* of the transforms over P1 and P2 */
    const float2 *between;         /* (k1, t2): exp(-2 pi i t2 (k1 - 1/4) / N) */
    int64_t row, first_channel;    /* of the chunk */
    Kind first_kind;
    float2 *work[KINDS];
    float2 *correlation; /* sum over rows; that of one row lies over the signal */
};

/* Sequences of a block over P1: tokens t2, and in them lanes. */
template <int P1> struct OuterPlace {
    int64_t group, d;
    int lane, t2;
    __device__ OuterPlace(const Outer &o, int c) {
        const int lanes = 1 << o.log_lanes;
        group = blockIdx.y;
        lane = c & (lanes - 1);
        t2 = (int)blockIdx.x * (Fft<P1>::MANY >> o.log_lanes) + (c >> o.log_lanes);
        d = o.first_channel + group * lanes + lane;
    }
    /* Frequency r of a run, the next are EACH apart. */
    static __device__ int frequency(int r) {
        constexpr int M = Fft<P1>::MIDDLE;
        return M == 1 ? r : r / M + r % M * Fft<P1>::FIRST;
    }
    __device__ int64_t work(const Outer &o, int k1) const {
        return (((group * P1 + k1) * o.P2 + t2) << o.log_lanes) + lane;
    }
    __device__ int64_t between(const Outer &o, int k1) const {
        return (int64_t)k1 * o.P2 + t2;
    }
};

/* Tokens to scratch; blockIdx.z counts kinds. */
template <int P1> KERNEL void BOUNDS(P1) outer_in(const Outer o) {
    typedef Fft<P1> F;
    const BlockSpace space = block_space<P1>(o.table1);
    const int kind = (int)o.first_kind + (int)blockIdx.z;
    transform_in<P1>(space, [&](int c, int j, float2 *v) {
        const OuterPlace<P1> place(o, c);
        const int t = j * o.P2 + place.t2, every = F::ROWS * o.P2;
        if (kind == FILTER)
            read_filter<F::FIRST>(o.x, place.d, t, every, v);
        else if (kind == SIGNAL)
            read_signal<F::FIRST>(o.x, o.row, place.d, t, every, v);
        else
            read_cotangent<F::FIRST>(o.x, o.row, place.d, t, every, v);
    });
    turning_pass<P1, false>(space, [&](int, int c, int r, const float2 *v) {
        const OuterPlace<P1> place(o, c);
        const int k1 = place.frequency(r);
        float2 *const to = o.work[kind] + place.work(o, k1);
        const float2 *const by = o.between + place.between(o, k1);
        const int64_t step = (int64_t)F::EACH * o.P2;
#pragma unroll
        for (int q = 0; q < F::LAST; q++) to[q * step << o.log_lanes] = v[q] * by[q * step];
    });
}

/* And back. */
template <int P1> KERNEL void BOUNDS(P1) outer_out(const Outer o) {
    typedef Fft<P1> F;
    const BlockSpace space = block_space<P1>(o.table1);
    const int kind = (int)o.first_kind + (int)blockIdx.z;
    const float2 *const work = kind == FILTER ? o.correlation : o.work[kind];
    returning_pass<P1>(space, [&](int, int c, int r, float2 *v) {
        const OuterPlace<P1> place(o, c);
        const int k1 = place.frequency(r);
        const float2 *const from = work + place.work(o, k1);
        const float2 *const by = o.between + place.between(o, k1);
        const int64_t step = (int64_t)F::EACH * o.P2;
#pragma unroll
        for (int q = 0; q < F::LAST; q++)
            v[q] = from[q * step << o.log_lanes] * conjugate(by[q * step]);
    });
    transform_out<P1>(space, [&](int c, int j, const float2 *v) {
        const OuterPlace<P1> place(o, c);
        const int t = j * o.P2 + place.t2, every = F::ROWS * o.P2;
        if (kind == FILTER)
            write_filter_gradient<F::FIRST>(o.x, place.d, t, every, v);
        else if (kind == SIGNAL)
            write_signal<F::FIRST>(o.x, o.row, place.d, t, every, v);
        else
            write_gradient<F::FIRST>(o.x, o.row, place.d, t, every, v);
    });
}

/* The column from t2 = j on in scratch, of a block over P2. */
template <int P2> __device__ inline int64_t inner_place(const Outer &o, int c, int j) {
    const int lane = c & ((1 << o.log_lanes) - 1);
    return (int64_t)blockIdx.x * Fft<P2>::WORK +
           ((((c >> o.log_lanes) * P2 + j) << o.log_lanes) + lane);
}
template <int P2>
__device__ inline void read_work(const Outer &o, const BlockSpace &space, const float2 *work) {
    typedef Fft<P2> F;
    transform_in<P2>(space, [&](int c, int j, float2 *v) {
        const float2 *const from = work + inner_place<P2>(o, c, j);
#pragma unroll
        for (int q = 0; q < F::FIRST; q++) v[q] = from[q * F::ROWS << o.log_lanes];
    });
}
template <int P2>
__device__ inline void write_work(const Outer &o, const BlockSpace &space, float2 *work) {
    typedef Fft<P2> F;
    transform_out<P2>(space, [&](int c, int j, const float2 *v) {
        float2 *const to = work + inner_place<P2>(o, c, j);
#pragma unroll
        for (int q = 0; q < F::FIRST; q++) to[q * F::ROWS << o.log_lanes] = v[q];
    });
}
/* In place: what a block reads is its own. */
template <int P2>
__device__ inline void spectrum_of(const Outer &o, const BlockSpace &space, float2 *work,
                                   float scale) {
    read_work<P2>(o, space, work);
    turning_pass<P2, false>(space, [&](int i, int, int, const float2 *v) {
        Spectrum<P2>(work, blockIdx.x, i).set(v, scale);
    });
}

template <int P2> KERNEL void BOUNDS(P2) inner_convolve(const Outer o) {
    const BlockSpace space = block_space<P2>(o.table2);
    if (o.first_kind == FILTER) spectrum_of<P2>(o, space, o.work[FILTER], 1.0f / (float)o.x.points);
    read_work<P2>(o, space, o.work[SIGNAL]);
    turning_pass<P2, true>(space, [&](int i, int, int, float2 *v) {
        Spectrum<P2>(o.work[FILTER], blockIdx.x, i).multiply(v);
    });
    write_work<P2>(o, space, o.work[SIGNAL]);
}

template <int P2> KERNEL void BOUNDS(P2) inner_adjoint(const Outer o, bool last) {
    const BlockSpace space = block_space<P2>(o.table2);
    const float scale = 1.0f / (float)o.x.points;
    if (o.first_kind == FILTER) spectrum_of<P2>(o, space, o.work[FILTER], scale);
    spectrum_of<P2>(o, space, o.work[SIGNAL], 1);
    read_work<P2>(o, space, o.work[COTANGENT]);
    turning_pass<P2, true>(space, [&](int i, int, int, float2 *v) {
        correlate(Spectrum<P2>(o.work[FILTER], blockIdx.x, i),
                  Spectrum<P2>(o.work[SIGNAL], blockIdx.x, i),
                  Spectrum<P2>(o.correlation, blockIdx.x, i), o.row == 0, v);
    });
    write_work<P2>(o, space, o.work[COTANGENT]);
    if (!last) return;
    returning_pass<P2>(space, [&](int i, int, int, float2 *v) {
        const Spectrum<P2> sum(o.correlation, blockIdx.x, i);
#pragma unroll
        for (int q = 0; q < sum.R; q++)
            v[q] = make_float2(scale * sum.at[q * sum.STEP].x, scale * sum.at[q * sum.STEP].y);
    });
    write_work<P2>(o, space, o.correlation);
}

/* ---- how the work is cut, from shapes alone ---- */

/* body.operator()<P>() */
template <class Body> static void with_points(int64_t points, const Body &body) {
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

struct Cut {
    bool outer;
    int P1, P2; /* P1 is the only one of whole sequences */
    int many1, many2, work2, tables1, tables2;
    int log_lanes;
    int64_t chunk, slices, groups; /* channels at a time; a chunk's blocks side by side */
};

static Cut cut_of(const Convolution &x, Phase phase) {
    Cut c = {};
    c.outer = x.points > FFT_MOST;
    c.P1 = (int)x.points;
    c.P2 = 1;
    for (c.P2 = 1; c.outer && c.P1 > c.P2; c.P1 /= 2) c.P2 *= 2;
    assert(c.P2 <= FFT_MOST && "more than 4M tokens: factors' angles would not be exact");
    with_points(c.P1, [&]<int P>() {
        c.many1 = Fft<P>::MANY;
        c.tables1 = Fft<P>::TABLE;
    });
    c.slices = 1;
    if (!c.outer) {
        c.groups = (x.D + c.many1 - 1) / c.many1;
        const int64_t wanted = (ENOUGH_BLOCKS + c.groups - 1) / c.groups;
        c.slices = wanted < x.B ? wanted : x.B;
        return c;
    }
    with_points(c.P2, [&]<int P>() {
        c.many2 = Fft<P>::MANY;
        c.work2 = Fft<P>::WORK;
        c.tables2 = Fft<P>::TABLE;
    });
    while (2 << c.log_lanes <= MOST_LANES && 2 << c.log_lanes <= c.many1 &&
           2 << c.log_lanes <= c.many2)
        c.log_lanes++;
    const int64_t lanes = (int64_t)1 << c.log_lanes, all = (x.D + lanes - 1) / lanes;
    const int64_t arrays = phase == PHASE_FORWARD ? 2 : 3;
    const int64_t fit = CHUNK_BYTES / (arrays * x.points * (int64_t)sizeof(float2) * lanes);
    c.groups = fit < 1 ? 1 : fit < all ? fit : all;
    c.chunk = c.groups * lanes;
    return c;
}

/* Complex numbers of one array of spectra or work. */
static int64_t array_of(const Convolution &x, const Cut &c) {
    return c.outer ? c.chunk * x.points : c.groups * c.many1 * x.points;
}
static int64_t table_of(const Convolution &x, const Cut &c) {
    return c.tables1 + c.tables2 + (c.outer ? x.points : 0);
}

/* Extended lambdas must not stand in generic ones. */
template <int P> static void make_factors(const Run *run, float2 *to, bool twisted) {
    for_each(run, Fft<P>::TABLE,
             [=] __device__(int64_t i) { to[i] = fft_factor<P>((int)i, twisted); });
}
static void make_between(const Run *run, float2 *to, int64_t points, int64_t P2) {
    for_each(run, points, [=] __device__(int64_t i) {
        const int64_t k1 = i / P2, t2 = i % P2;
        to[i] = fft_turn((float)(t2 * (4 * k1 - 1)) / (float)(4 * points));
    });
}
/* All factors, in the order table1, table2, between. */
static const float2 *make_tables(const Run *run, const Convolution &x, const Cut &c,
                                 Carver *carver) {
    float2 *const table = carver->take<float2>(table_of(x, c));
    with_points(c.P1, [&]<int P>() { make_factors<P>(run, table, true); });
    if (c.outer) {
        float2 *const second = table + c.tables1;
        with_points(c.P2, [&]<int P>() { make_factors<P>(run, second, false); });
        make_between(run, second + c.tables2, x.points, c.P2);
    }
    return table;
}

#define BLOCKS(run, kernel, P, b, count)                                                           \
    LAUNCH(run, kernel<P>, (unsigned)(count), FFT_THREADS, Fft<P>::BYTES, b)

static Outer outer_of(const Convolution &x, const Cut &c, const float2 *tables) {
    Outer o = {};
    o.x = x;
    o.P1 = c.P1;
    o.P2 = c.P2;
    o.log_lanes = c.log_lanes;
    o.table1 = tables;
    o.table2 = o.table1 + c.tables1;
    o.between = o.table2 + c.tables2;
    return o;
}
/* Groups of the chunk from channel `first` on. */
static unsigned groups_of(const Cut &c, int64_t D, int64_t first) {
    const int64_t rest = D - first;
    return blocks_for(rest < c.chunk ? rest : c.chunk, (int64_t)1 << c.log_lanes);
}
static void enter(const Run *run, const Outer &o, const Cut &c, unsigned groups, unsigned kinds) {
    with_points(c.P1, [&]<int P>() {
        LAUNCH(run, outer_in<P>,
               dim3((unsigned)(c.P2 / (Fft<P>::MANY >> c.log_lanes)), groups, kinds), FFT_THREADS,
               Fft<P>::BYTES, o);
    });
}
static void leave(const Run *run, const Outer &o, const Cut &c, unsigned groups, unsigned kinds) {
    with_points(c.P1, [&]<int P>() {
        LAUNCH(run, outer_out<P>,
               dim3((unsigned)(c.P2 / (Fft<P>::MANY >> c.log_lanes)), groups, kinds), FFT_THREADS,
               Fft<P>::BYTES, o);
    });
}
/* Blocks over P2. */
static unsigned inner_blocks(const Outer &o, const Cut &c, unsigned groups) {
    return (unsigned)(((int64_t)groups * o.x.points << c.log_lanes) / c.work2);
}

static void forward(const OpCall *call, const Run *run) {
    const Convolution x = convolution_of(call);
    const Cut c = cut_of(x, PHASE_FORWARD);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const float2 *const tables = make_tables(run, x, c, &carver);
    if (!c.outer) {
        Blocks b = {x, tables, c.groups, c.slices, carver.take<float2>(array_of(x, c))};
        with_points(c.P1, [&]<int P>() {
            BLOCKS(run, filter_spectra, P, b, c.groups);
            BLOCKS(run, convolve, P, b, c.groups * x.B);
        });
        return;
    }
    Outer o = outer_of(x, c, tables);
    for (int kind = FILTER; kind <= SIGNAL; kind++)
        o.work[kind] = carver.take<float2>(array_of(x, c));
    for (o.first_channel = 0; o.first_channel < x.D; o.first_channel += c.chunk) {
        const unsigned groups = groups_of(c, x.D, o.first_channel);
        for (o.row = 0; o.row < x.B; o.row++) {
            o.first_kind = o.row == 0 ? FILTER : SIGNAL;
            enter(run, o, c, groups, o.row == 0 ? 2 : 1);
            with_points(c.P2, [&]<int P>() {
                BLOCKS(run, inner_convolve, P, o, inner_blocks(o, c, groups));
            });
            o.first_kind = SIGNAL;
            leave(run, o, c, groups, 1);
        }
    }
}

static void backward(const OpCall *call, const Run *run) {
    Convolution x = convolution_of(call);
    add_gradients(&x, call);
    const Cut c = cut_of(x, PHASE_BACKWARD);
    const bool filters = x.dfilter || x.dreverse || x.dskip;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const float2 *const tables = make_tables(run, x, c, &carver);
    if (!c.outer) {
        Blocks b = {x, tables, c.groups, c.slices, carver.take<float2>(array_of(x, c))};
        b.signal = carver.take<float2>(c.slices * array_of(x, c));
        b.correlation = carver.take<float2>(c.slices * array_of(x, c));
        with_points(c.P1, [&]<int P>() {
            BLOCKS(run, filter_spectra, P, b, c.groups);
            BLOCKS(run, adjoint, P, b, c.groups * c.slices);
            if (filters) BLOCKS(run, filter_gradients, P, b, c.groups);
        });
        return;
    }
    Outer o = outer_of(x, c, tables);
    for (int kind = FILTER; kind < KINDS; kind++)
        o.work[kind] = carver.take<float2>(array_of(x, c));
    o.correlation = x.B > 1 ? carver.take<float2>(array_of(x, c)) : o.work[SIGNAL];
    for (o.first_channel = 0; o.first_channel < x.D; o.first_channel += c.chunk) {
        const unsigned groups = groups_of(c, x.D, o.first_channel);
        for (o.row = 0; o.row < x.B; o.row++) {
            const bool last = filters && o.row == x.B - 1;
            o.first_kind = o.row == 0 ? FILTER : SIGNAL;
            enter(run, o, c, groups, o.row == 0 ? 3 : 2);
            with_points(c.P2, [&]<int P>() {
                LAUNCH(run, inner_adjoint<P>, inner_blocks(o, c, groups), FFT_THREADS,
                       Fft<P>::BYTES, o, last);
            });
            o.first_kind = COTANGENT;
            leave(run, o, c, groups, 1);
            o.first_kind = FILTER;
            if (last) leave(run, o, c, groups, 1);
        }
    }
}

static size_t scratch(const OpCall *call, Phase phase) {
    const Convolution x = convolution_of(call);
    const Cut c = cut_of(x, phase);
    const size_t table = carved(table_of(x, c), sizeof(float2));
    const size_t array = carved(array_of(x, c), sizeof(float2));
    if (phase == PHASE_FORWARD) return table + array * (c.outer ? 2 : 1);
    if (c.outer) return table + array * (x.B > 1 ? 4 : 3);
    return table + array + 2 * carved(c.slices * array_of(x, c), sizeof(float2));
}

CUDA_OP(long_convolution, {forward, backward}, scratch);
