/* Long convolution by Fourier transforms of our own (engine/cuda/fft.cuh), twisted: the N points,
 * N the power of two from L on, are a row's linear convolution in their real part, so a row of the
 * batch needs neither padding nor a partner. A filter g is added to the powers of z, z^N = i: the
 * reverse filter's tap j belongs to z^(-1-j) = -i z^(N-1-j), the skip term to tap 0; that tap's
 * gradient is skip's.
 *
 * Up to FFT_MOST tokens a block holds some channels' whole sequences: read with gate, transform,
 * product, inverse, gate, write, in one kernel. Beyond, N = P1 P2: transforms over the P1 points
 * that lie P2 tokens apart, then over P2 with the product and back, then over P1 back, in one
 * launch whose blocks hand on through scratch that stays in the second-level cache (long_line).
 *
 * A token and channel costs 10 log2(N) additions and multiplications (100 at 1024 tokens, 2 ps at
 * the peak of an H100) and 32 bytes of shared memory's traffic (1.2 ps) beside its 8 to 20 bytes of
 * device memory's (1.9 to 4.6 ps); long sequences 24 to 48 bytes of the cache's besides. */
#include "engine/ops/long_convolution/long_convolution.h"

#include <cassert>
#include <type_traits>

#include "engine/cuda/fft.cuh"
#include "engine/cuda/handover.cuh"

enum {
    ENOUGH_BLOCKS = 256, /* two for each multiprocessor of an H100; bits are the same on others */
    PROCESSORS = 132,    /* of an H100 */
    MOST_LANES = 32,     /* neighbouring channels of a unit of long sequences, half as many */
    MOST_POINTS = 32768  /* where sequences have more: scratch must fit the cache */
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

/* The column from token t on of channel d, in a row of `length` tokens. Points lie `step` bytes
 * apart, in 32 bits: an address is then one instruction. ONCE: they go past the second-level cache
 * where scratch is to stay in it. */
template <int R, bool ONCE> struct Column {
    int64_t at;
    int step, in; /* points before the end */

    __device__ Column(int64_t length, int64_t D, int64_t row, int64_t d, int t, int every)
        : at((row * length + t) * D + d), step(every * (int)D * (int)sizeof(float)), in(0) {
        const int rest = (int)length - t;
        if (rest > 0 && d < D) in = (rest - 1) / every + 1;
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
        float before[M] = {};
        if (accumulate) get<M>(p, from, before);
        if (in >= R) {
#pragma unroll
            for (int k = 0; k < M; k++) write(p, from + k, before[k] + v[k]);
        } else {
#pragma unroll
            for (int k = 0; k < M; k++)
                if (from + k < in) write(p, from + k, before[k] + v[k]);
        }
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

template <int R, bool ONCE>
__device__ inline void read_signal(const Convolution &x, int64_t row, int64_t d, int t, int every,
                                   float2 v[R]) {
    const Column<R, ONCE> column(x.L, x.D, row, d, t, every);
    float u[R];
    column.get(x.u, u);
    column.gate(x.pre, u);
    twist_column<R>(u, v);
}

/* On the way the gradient of the gate behind the sum. */
template <int R, bool ONCE>
__device__ inline void read_cotangent(const Convolution &x, int64_t row, int64_t d, int t,
                                      int every, float2 v[R]) {
    constexpr int M = few<R>;
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
__device__ inline void read_filter(const Convolution &x, int64_t d, int t, int every, float2 v[R]) {
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
__device__ inline void write_signal(const Convolution &x, int64_t row, int64_t d, int t, int every,
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
__device__ inline void write_gradient(const Convolution &x, int64_t row, int64_t d, int t,
                                      int every, const float2 v[R]) {
    constexpr int M = few<R>;
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
__device__ inline void write_filter_gradient(const Convolution &x, int64_t d, int t, int every,
                                             const float2 v[R]) {
    constexpr int M = few<R>;
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
        read_filter<F::FIRST, false>(b.x, first + c, j, F::ROWS, v);
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
        read_signal<F::FIRST, false>(b.x, row, first + c, j, F::ROWS, v);
    });
    turning_pass<P, true>(
        space, [&](int i, int, int, float2 *v) { Spectrum<P>(b.filter, group, i).multiply(v); });
    transform_out<P>(space, [&](int c, int j, const float2 *v) {
        write_signal<F::FIRST, false>(b.x, row, first + c, j, F::ROWS, v);
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
            read_signal<F::FIRST, false>(b.x, row, first + c, j, F::ROWS, v);
        });
        turning_pass<P, false>(space, [&](int i, int, int, const float2 *v) {
            Spectrum<P>(b.signal, blockIdx.x, i).set(v, 1);
        });
        transform_in<P>(space, [&](int c, int j, float2 *v) {
            read_cotangent<F::FIRST, false>(b.x, row, first + c, j, F::ROWS, v);
        });
        turning_pass<P, true>(space, [&](int i, int, int, float2 *v) {
            correlate(Spectrum<P>(b.filter, group, i), Spectrum<P>(b.signal, blockIdx.x, i),
                      Spectrum<P>(b.correlation, blockIdx.x, i), row == from, v);
        });
        transform_out<P>(space, [&](int c, int j, const float2 *v) {
            write_gradient<F::FIRST, false>(b.x, row, first + c, j, F::ROWS, v);
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
        write_filter_gradient<F::FIRST, false>(b.x, first + c, j, F::ROWS, v);
    });
}

/* ---- longer sequences: token t = P2 t1 + t2, frequency k1 + P1 k2. One launch is a line of three
 * stages: in (tokens to scratch, over P1), turn (over P2, product, back), out. A unit of the line
 * is a group of neighbouring channels, its lanes, of one row; unit n is in while unit n - lag turns
 * and unit n - 2 lag goes out, so blocks hardly ever wait, and what stages hand on stays in the
 * second-level cache: a ring of slots for units. A slot is (k1, t2, lanes) whatever order k2 has.
 */

enum Kind { FILTER, SIGNAL, COTANGENT, KINDS };

template <int P_1, int P_2> struct LinePlan {
    static constexpr int P1 = P_1, P2 = P_2, POINTS = P1 * P2;
    typedef Fft<P1> F1;
    typedef Fft<P2> F2;
    static constexpr int FEWER_MANY = F1::MANY < F2::MANY ? F1::MANY : F2::MANY;
    static constexpr int WANTED = POINTS > MOST_POINTS ? MOST_LANES / 2 : (int)MOST_LANES;
    static constexpr int LANES = WANTED < FEWER_MANY ? WANTED : FEWER_MANY;
    static constexpr int SLOT = POINTS * LANES;
    static constexpr int TILES = SLOT / F1::WORK; /* blocks of a unit and kind in and out */
    static constexpr int TURNS = SLOT / F2::WORK; /* and of a unit that turns */
    static constexpr int BLOCKS = F1::BLOCKS < F2::BLOCKS ? F1::BLOCKS : F2::BLOCKS;
    static constexpr size_t BYTES = F1::BYTES > F2::BYTES ? F1::BYTES : F2::BYTES;
};

struct Line {
    Convolution x;
    const float2 *table1, *table2; /* of the transforms over P1 and P2 */
    const float2 *between;         /* (k1, t2): exp(-2 pi i t2 (k1 - 1/4) / N) */
    int64_t units, slot;           /* points of a slot */
    int lag, ring, filter_ring; /* slots; spectra of filters are done with when units have turned */
    bool filters;               /* their gradients are wanted */
    unsigned *number, *entered, *turned, *left; /* counters, of blocks for each unit */
    float2 *work[KINDS];
    float2 *correlation; /* sum over rows; that of one row lies over the signal */
};
struct Unit {
    int64_t number, group, row;
    bool first, last; /* row of the group */
    __device__ Unit(const Line &o, int64_t n)
        : number(n), group(n / o.x.B), row(n % o.x.B), first(row == 0), last(row == o.x.B - 1) {
    }
    __device__ float2 *work(const Line &o, int kind) const {
        return o.work[kind] + (kind == FILTER ? group % o.filter_ring : number % o.ring) * o.slot;
    }
    __device__ float2 *correlation(const Line &o) const {
        return o.correlation + group % o.ring * o.slot;
    }
};

/* Sequences of a block over P1: tokens t2, and in them lanes. */
template <class Plan> struct Tile {
    int64_t d;
    int lane, t2;
    __device__ Tile(const Unit &unit, int tile, int c)
        : d(unit.group * Plan::LANES + c % Plan::LANES), lane(c % Plan::LANES),
          t2(tile * (Plan::F1::MANY / Plan::LANES) + c / Plan::LANES) {
    }
    /* Frequency r of a run, the next are EACH apart. */
    static __device__ int frequency(int r) {
        constexpr int M = Plan::F1::MIDDLE;
        return M == 1 ? r : r / M + r % M * Plan::F1::FIRST;
    }
    __device__ int between(int r) const {
        return frequency(r) * Plan::P2 + t2;
    }
    __device__ int work(int r) const {
        return between(r) * Plan::LANES + lane;
    }
    static constexpr int STEP = Plan::F1::EACH * Plan::P2;
};

template <class Plan>
__device__ inline void enter(const Line &o, const BlockSpace &space, const Unit &unit, int kind,
                             int tile) {
    typedef typename Plan::F1 F;
    float2 *const work = unit.work(o, kind);
    transform_in<Plan::P1>(space, [&](int c, int j, float2 *v) {
        const Tile<Plan> at(unit, tile, c);
        const int t = j * Plan::P2 + at.t2, every = F::ROWS * Plan::P2;
        if (kind == FILTER)
            read_filter<F::FIRST, true>(o.x, at.d, t, every, v);
        else if (kind == SIGNAL)
            read_signal<F::FIRST, true>(o.x, unit.row, at.d, t, every, v);
        else
            read_cotangent<F::FIRST, true>(o.x, unit.row, at.d, t, every, v);
    });
    turning_pass<Plan::P1, false>(space, [&](int, int c, int r, const float2 *v) {
        const Tile<Plan> at(unit, tile, c);
        float2 *const to = work + at.work(r);
        const float2 *const by = o.between + at.between(r);
#pragma unroll
        for (int q = 0; q < F::LAST; q++) to[q * at.STEP * Plan::LANES] = v[q] * by[q * at.STEP];
    });
}

template <class Plan, bool BACKWARD>
__device__ inline void leave(const Line &o, const BlockSpace &space, const Unit &unit, int kind,
                             int tile) {
    typedef typename Plan::F1 F;
    const float2 *const work = kind == FILTER ? unit.correlation(o) : unit.work(o, kind);
    returning_pass<Plan::P1>(space, [&](int, int c, int r, float2 *v) {
        const Tile<Plan> at(unit, tile, c);
        const float2 *const from = work + at.work(r);
        const float2 *const by = o.between + at.between(r);
#pragma unroll
        for (int q = 0; q < F::LAST; q++)
            v[q] = from[q * at.STEP * Plan::LANES] * conjugate(by[q * at.STEP]);
    });
    transform_out<Plan::P1>(space, [&](int c, int j, const float2 *v) {
        const Tile<Plan> at(unit, tile, c);
        const int t = j * Plan::P2 + at.t2, every = F::ROWS * Plan::P2;
        if constexpr (!BACKWARD)
            write_signal<F::FIRST, true>(o.x, unit.row, at.d, t, every, v);
        else if (kind == FILTER)
            write_filter_gradient<F::FIRST, true>(o.x, at.d, t, every, v);
        else
            write_gradient<F::FIRST, true>(o.x, unit.row, at.d, t, every, v);
    });
}

/* Sequences of a block over P2 lie one after the other in a slot: its part `turn`. */
template <class Plan> __device__ inline int turn_place(int turn, int c, int j) {
    return turn * Plan::F2::WORK + (c / Plan::LANES * Plan::P2 + j) * Plan::LANES + c % Plan::LANES;
}
template <class Plan>
__device__ inline void read_work(const BlockSpace &space, int turn, const float2 *work) {
    typedef typename Plan::F2 F;
    transform_in<Plan::P2>(space, [&](int c, int j, float2 *v) {
        const float2 *const from = work + turn_place<Plan>(turn, c, j);
#pragma unroll
        for (int q = 0; q < F::FIRST; q++) v[q] = from[q * F::ROWS * Plan::LANES];
    });
}
template <class Plan>
__device__ inline void write_work(const BlockSpace &space, int turn, float2 *work) {
    typedef typename Plan::F2 F;
    transform_out<Plan::P2>(space, [&](int c, int j, const float2 *v) {
        float2 *const to = work + turn_place<Plan>(turn, c, j);
#pragma unroll
        for (int q = 0; q < F::FIRST; q++) to[q * F::ROWS * Plan::LANES] = v[q];
    });
}
/* In place: what a block reads is its own. */
template <class Plan>
__device__ inline void spectrum_of(const BlockSpace &space, int turn, float2 *work, float scale) {
    constexpr int P2 = Plan::P2;
    read_work<Plan>(space, turn, work);
    turning_pass<P2, false>(space, [&](int i, int, int, const float2 *v) {
        Spectrum<P2>(work, turn, i).set(v, scale);
    });
}

template <class Plan, bool BACKWARD>
__device__ inline void turn_round(const Line &o, const BlockSpace &space, const Unit &unit,
                                  int turn) {
    constexpr int P2 = Plan::P2;
    constexpr float scale = 1.0f / Plan::POINTS;
    float2 *const filter = unit.work(o, FILTER), *const signal = unit.work(o, SIGNAL);
    if (unit.first) spectrum_of<Plan>(space, turn, filter, scale);
    if constexpr (!BACKWARD) {
        read_work<Plan>(space, turn, signal);
        turning_pass<P2, true>(
            space, [&](int i, int, int, float2 *v) { Spectrum<P2>(filter, turn, i).multiply(v); });
        write_work<Plan>(space, turn, signal);
    } else {
        float2 *const cotangent = unit.work(o, COTANGENT), *const sum = unit.correlation(o);
        spectrum_of<Plan>(space, turn, signal, 1);
        read_work<Plan>(space, turn, cotangent);
        turning_pass<P2, true>(space, [&](int i, int, int, float2 *v) {
            correlate(Spectrum<P2>(filter, turn, i), Spectrum<P2>(signal, turn, i),
                      Spectrum<P2>(sum, turn, i), unit.first, v);
        });
        write_work<Plan>(space, turn, cotangent);
        if (!o.filters || !unit.last) return;
        returning_pass<P2>(space, [&](int i, int, int, float2 *v) {
            const Spectrum<P2> own(sum, turn, i);
#pragma unroll
            for (int q = 0; q < own.R; q++)
                v[q] = make_float2(scale * own.at[q * own.STEP].x, scale * own.at[q * own.STEP].y);
        });
        write_work<Plan>(space, turn, sum);
    }
}

/* Kinds of blocks that a unit has at most, in and out. */
template <class Plan, bool BACKWARD> struct Stages {
    static constexpr int IN = BACKWARD ? 3 : 2, OUT = BACKWARD ? 2 : 1;
    static constexpr int ALL = (IN + OUT) * Plan::TILES + Plan::TURNS;
    static __device__ unsigned entering(const Unit &unit) {
        return (unsigned)(Plan::TILES * (unit.first ? IN : IN - 1));
    }
    static __device__ unsigned leaving(const Line &o, const Unit &unit) {
        return (unsigned)(Plan::TILES * (BACKWARD && o.filters && unit.last ? 2 : 1));
    }
};

/* The slots are free, or what this stage reads is there. */
template <class Plan, bool BACKWARD>
__device__ inline void await_slots(const Line &o, const Unit &unit) {
    if (threadIdx.x == 0) {
        if (unit.number >= o.ring) {
            const Unit before(o, unit.number - o.ring);
            await_count(o.left + before.number, Stages<Plan, BACKWARD>::leaving(o, before));
        }
        if (unit.group >= o.filter_ring)
            await_count(o.turned + (unit.group - o.filter_ring + 1) * o.x.B - 1,
                        (unsigned)Plan::TURNS);
        if (unit.group >= o.ring) { /* sums over rows have left */
            const Unit before(o, (unit.group - o.ring + 1) * o.x.B - 1);
            await_count(o.left + before.number, Stages<Plan, BACKWARD>::leaving(o, before));
        }
    }
    __syncthreads();
}
template <class Plan, bool BACKWARD>
__device__ inline void await_entered(const Line &o, const Unit &unit) {
    if (threadIdx.x == 0) {
        await_count(o.entered + unit.number, Stages<Plan, BACKWARD>::entering(unit));
        if (!unit.first) await_count(o.turned + unit.number - 1, (unsigned)Plan::TURNS);
    }
    __syncthreads();
}
template <class Plan> __device__ inline void await_turned(const Line &o, const Unit &unit) {
    if (threadIdx.x == 0) await_count(o.turned + unit.number, (unsigned)Plan::TURNS);
    __syncthreads();
}

template <class Plan, bool BACKWARD>
KERNEL void __launch_bounds__(FFT_THREADS, Plan::BLOCKS) long_line(const Line o) {
    typedef Stages<Plan, BACKWARD> S;
    constexpr int OUTS = S::OUT * Plan::TILES;
    const unsigned number = take_number(o.number);
    const int64_t step = number / (unsigned)S::ALL;
    int i = (int)(number % (unsigned)S::ALL);
    if (i < OUTS) {
        const Unit unit(o, step - 2 * o.lag);
        const int kind = i < Plan::TILES ? (BACKWARD ? COTANGENT : SIGNAL) : FILTER;
        if (step < 2 * o.lag || (kind == FILTER && !(o.filters && unit.last))) return;
        const BlockSpace space = block_space<Plan::P1>(o.table1);
        await_turned<Plan>(o, unit);
        leave<Plan, BACKWARD>(o, space, unit, kind, i % Plan::TILES);
        hand_over(o.left + unit.number);
    } else if ((i -= OUTS) < Plan::TURNS) {
        const Unit unit(o, step - o.lag);
        if (step < o.lag || unit.number >= o.units) return;
        const BlockSpace space = block_space<Plan::P2>(o.table2);
        await_entered<Plan, BACKWARD>(o, unit);
        turn_round<Plan, BACKWARD>(o, space, unit, i);
        hand_over(o.turned + unit.number);
    } else {
        i -= Plan::TURNS;
        const Unit unit(o, step);
        const int kind = i / Plan::TILES;
        if (unit.number >= o.units || (kind == FILTER && !unit.first)) return;
        const BlockSpace space = block_space<Plan::P1>(o.table1);
        await_slots<Plan, BACKWARD>(o, unit);
        enter<Plan>(o, space, unit, kind, i % Plan::TILES);
        hand_over(o.entered + unit.number);
    }
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
/* body.operator()<LinePlan<P1, P2>>(), P2 = P1 or 2 P1. */
template <class Body> static void with_factors(int64_t P1, int64_t P2, const Body &body) {
    with_points(P1, [&]<int P>() {
        if constexpr (P < FFT_MOST)
            if (P2 > P1) return body.template operator()<LinePlan<P, 2 * P>>();
        body.template operator()<LinePlan<P, P>>();
    });
}

struct Cut {
    bool line;
    int P1, P2; /* P1 is the only one of whole sequences */
    int many1, tables1, tables2, lag, ring, filter_ring;
    int64_t slot;
    int64_t slices, groups; /* of rows, of channels */
};

static Cut cut_of(const Convolution &x, Phase phase) {
    Cut c = {};
    c.line = x.points > FFT_MOST;
    c.P1 = (int)x.points;
    for (c.P2 = 1; c.line && c.P1 > c.P2; c.P1 /= 2) c.P2 *= 2;
    assert(c.P2 <= FFT_MOST && "more than 4M tokens: factors' angles would not be exact");
    with_points(c.P1, [&]<int P>() {
        c.many1 = Fft<P>::MANY;
        c.tables1 = Fft<P>::TABLE;
        assert(x.points / Fft<P>::FIRST * x.D <= (1 << 29) - 1 && "Column::step has 32 bits");
    });
    c.slices = 1;
    if (!c.line) {
        c.groups = (x.D + c.many1 - 1) / c.many1;
        const int64_t wanted = (ENOUGH_BLOCKS + c.groups - 1) / c.groups;
        c.slices = wanted < x.B ? wanted : x.B;
        return c;
    }
    with_factors(c.P1, c.P2, [&]<class Plan>() {
        c.tables2 = Plan::F2::TABLE;
        c.slot = Plan::SLOT;
        c.groups = (x.D + Plan::LANES - 1) / Plan::LANES;
        const int step =
            phase == PHASE_FORWARD ? Stages<Plan, false>::ALL : Stages<Plan, true>::ALL;
        c.lag = (Plan::BLOCKS * PROCESSORS + step - 1) / step;
    });
    c.ring = 2 * c.lag + 2;
    c.filter_ring = c.lag + 2;
    return c;
}

/* Complex numbers of one array of spectra or work. */
static int64_t array_of(const Convolution &x, const Cut &c) {
    return c.line ? c.ring * c.slot : c.groups * c.many1 * x.points;
}
static int64_t table_of(const Convolution &x, const Cut &c) {
    return c.tables1 + c.tables2 + (c.line ? x.points : 0);
}
static int64_t counters_of(const Convolution &x, const Cut &c) {
    return c.line ? 1 + 3 * c.groups * x.B : 0;
}

/* Extended lambdas must not stand in generic ones. */
template <int P> static void make_table(const Run *run, float2 *to) {
    for_each(run, Fft<P>::TABLE,
             [=] __device__(int64_t i) { to[i] = fft_factor<P>((int)i, true); });
}
/* All factors in the order table1, table2, between; zeroes counters. */
template <class Plan>
static void make_tables(const Run *run, float2 *to, unsigned *counter, int64_t counters) {
    constexpr int64_t FIRST = Plan::F1::TABLE, BOTH = FIRST + Plan::F2::TABLE;
    constexpr int64_t ALL = BOTH + Plan::POINTS;
    for_each(run, ALL > counters ? ALL : counters, [=] __device__(int64_t i) {
        if (i < counters) counter[i] = 0;
        if (i < FIRST) {
            to[i] = fft_factor<Plan::P1>((int)i, true);
        } else if (i < BOTH) {
            to[i] = fft_factor<Plan::P2>((int)(i - FIRST), false);
        } else if (i < ALL) {
            const int64_t k1 = (i - BOTH) / Plan::P2, t2 = (i - BOTH) % Plan::P2;
            to[i] = fft_turn((float)(t2 * (4 * k1 - 1)) / (float)(4 * (int64_t)Plan::POINTS));
        }
    });
}

#define BLOCKS(run, kernel, P, b, count)                                                           \
    LAUNCH(run, kernel<P>, (unsigned)(count), FFT_THREADS, Fft<P>::BYTES, b)

template <bool BACKWARD>
static void run_line(const Run *run, const Convolution &x, const Cut &c, Carver *carver,
                     bool filters) {
    Line o = {};
    o.x = x;
    o.lag = c.lag;
    o.ring = c.ring;
    o.filter_ring = c.filter_ring;
    o.filters = filters;
    o.units = c.groups * x.B;
    o.slot = c.slot;
    float2 *const tables = carver->take<float2>(table_of(x, c));
    o.table1 = tables;
    o.table2 = tables + c.tables1;
    o.between = o.table2 + c.tables2;
    o.number = carver->take<unsigned>(counters_of(x, c));
    o.entered = o.number + 1;
    o.turned = o.entered + o.units;
    o.left = o.turned + o.units;
    o.work[FILTER] = carver->take<float2>(c.filter_ring * c.slot);
    for (int kind = SIGNAL; kind < (BACKWARD ? KINDS : COTANGENT); kind++)
        o.work[kind] = carver->take<float2>(array_of(x, c));
    o.correlation = BACKWARD && x.B > 1 ? carver->take<float2>(array_of(x, c)) : o.work[SIGNAL];
    with_factors(c.P1, c.P2, [&]<class Plan>() {
        make_tables<Plan>(run, tables, o.number, counters_of(x, c));
        const int64_t steps = o.units + 2 * c.lag;
        LAUNCH(run, (long_line<Plan, BACKWARD>), (unsigned)(steps * Stages<Plan, BACKWARD>::ALL),
               FFT_THREADS, Plan::BYTES, o);
    });
}

static void forward(const OpCall *call, const Run *run) {
    const Convolution x = convolution_of(call);
    const Cut c = cut_of(x, PHASE_FORWARD);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    if (c.line) return run_line<false>(run, x, c, &carver, false);
    float2 *const table = carver.take<float2>(table_of(x, c));
    const Blocks b = {x, table, c.groups, c.slices, carver.take<float2>(array_of(x, c))};
    with_points(c.P1, [&]<int P>() {
        make_table<P>(run, table);
        BLOCKS(run, filter_spectra, P, b, c.groups);
        BLOCKS(run, convolve, P, b, c.groups * x.B);
    });
}

static void backward(const OpCall *call, const Run *run) {
    Convolution x = convolution_of(call);
    add_gradients(&x, call);
    const Cut c = cut_of(x, PHASE_BACKWARD);
    const bool filters = x.dfilter || x.dreverse || x.dskip;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    if (c.line) return run_line<true>(run, x, c, &carver, filters);
    float2 *const table = carver.take<float2>(table_of(x, c));
    Blocks b = {x, table, c.groups, c.slices, carver.take<float2>(array_of(x, c))};
    b.signal = carver.take<float2>(c.slices * array_of(x, c));
    b.correlation = carver.take<float2>(c.slices * array_of(x, c));
    with_points(c.P1, [&]<int P>() {
        make_table<P>(run, table);
        BLOCKS(run, filter_spectra, P, b, c.groups);
        BLOCKS(run, adjoint, P, b, c.groups * c.slices);
        if (filters) BLOCKS(run, filter_gradients, P, b, c.groups);
    });
}

static size_t scratch(const OpCall *call, Phase phase) {
    const Convolution x = convolution_of(call);
    const Cut c = cut_of(x, phase);
    const size_t array = carved(array_of(x, c), sizeof(float2));
    const size_t tables =
        carved(table_of(x, c), sizeof(float2)) + carved(counters_of(x, c), sizeof(unsigned));
    if (c.line) {
        const size_t arrays = phase == PHASE_FORWARD ? 1 : x.B > 1 ? 3 : 2;
        return tables + carved(c.filter_ring * c.slot, sizeof(float2)) + array * arrays;
    }
    if (phase == PHASE_FORWARD) return tables + array;
    return tables + array + 2 * carved(c.slices * array_of(x, c), sizeof(float2));
}

CUDA_OP(long_convolution, {forward, backward}, scratch);
