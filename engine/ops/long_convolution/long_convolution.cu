/* Long convolution by Fourier transforms of our own. Pairs of rows of the batch are transformed as
 * one complex sequence (engine/cuda/fft.cuh), a few channels a block: read with gates, transform,
 * product, inverse, skip and gates, write, all in one kernel, so that 8 bytes a token and channel
 * cross the memory's bus, against some 70 with separate transforms. Sequences of more than
 * FFT_BLOCK_MOST points have passes of radix 16 around that, whose work lies in a piece of scratch
 * that stays in the second-level cache: channels are taken in chunks.
 *
 * The cost is 10 log2(2L) additions and multiplications a token and channel (110 at 1024 tokens, 2
 * ps at the peak of an H100) and 64 bytes of shared memory's traffic (2.5 ps); with an odd batch
 * the last row is transformed alone. */
#include "engine/ops/long_convolution/long_convolution.h"

#include "engine/cuda/columns.cuh"
#include "engine/cuda/fft.cuh"

enum {
    ENOUGH_BLOCKS = 264, /* two for each multiprocessor of an H100; bits are the same on others */
    CHUNK_BYTES = 16 << 20, /* of one array of work on long sequences */
    TILE = 16,              /* channels and points side by side of a pass through scratch */
    TILE_THREADS = TILE * TILE,
    TILE_SPACE = FFT_RADIX * TILE * (TILE + 1) /* float2 of shared memory */
};

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
    /* Room for what wraps around the circle, on either side. */
    for (x.points = FFT_BLOCK_LEAST; x.points < x.L + x.K;) x.points *= 2;
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

/* ---- what is transformed: a group of points, of rows 2 pair and 2 pair + 1. Loads come first and
 * stores last: a store could be what a later load reads, so the compiler keeps their order. ---- */

/* Where M points of a group, the first of them `from`, lie in (B, L, D), for the first row of the
 * pair. What also stores takes FEW at a time: registers are short. */
enum { FEW = 4 };
template <int M> struct Spots {
    int64_t at[M], second; /* to the same point of the second row */
    int64_t d[M];
    bool in[M], two;

    __device__ Spots(const Convolution &x, int64_t pair, int64_t first, const FftGroup &group,
                     int from)
        : second(x.L * x.D), two(2 * pair + 1 < x.B) {
#pragma unroll
        for (int k = 0; k < M; k++) {
            d[k] = first + group.c[from + k];
            in[k] = group.t[from + k] >= 0 && group.t[from + k] < x.L && d[k] < x.D;
            at[k] = (2 * pair * x.L + group.t[from + k]) * x.D + d[k];
        }
    }
    /* zeros beyond the sequence */
    __device__ void get(const float *from, float2 v[M]) const {
#pragma unroll
        for (int k = 0; k < M; k++) {
            v[k] = make_float2(0, 0);
            if (in[k]) v[k].x = from[at[k]];
            if (in[k] && two) v[k].y = from[at[k] + second];
        }
    }
    __device__ void set(float *to, const float2 v[M], bool accumulate) const {
        float2 before[M] = {};
        if (accumulate) get(to, before);
#pragma unroll
        for (int k = 0; k < M; k++) {
            if (in[k]) to[at[k]] = before[k].x + v[k].x;
            if (in[k] && two) to[at[k] + second] = before[k].y + v[k].y;
        }
    }
    /* v *= numbers of `by`, where there are some */
    __device__ void gate(const float *by, float2 v[M]) const {
        if (!by) return;
        float2 g[M];
        get(by, g);
#pragma unroll
        for (int k = 0; k < M; k++) v[k] = make_float2(v[k].x * g[k].x, v[k].y * g[k].y);
    }
    /* to += by[channel] v */
    __device__ void add_scaled(const float *by, const float2 v[M], float2 to[M]) const {
#pragma unroll
        for (int k = 0; k < M; k++) {
            const float factor = in[k] ? by[d[k]] : 0.0f;
            to[k] = make_float2(to[k].x + factor * v[k].x, to[k].y + factor * v[k].y);
        }
    }
};

__device__ static inline void read_signal(const Convolution &x, int64_t pair, int64_t first,
                                          const FftGroup &group, float2 v[FFT_GROUP]) {
    const Spots<FFT_GROUP> spots(x, pair, first, group, 0);
    spots.get(x.u, v);
    spots.gate(x.pre, v);
}

/* On the way the gradient of the gate behind the sum. */
__device__ static inline void read_cotangent(const Convolution &x, int64_t pair, int64_t first,
                                             const FftGroup &group, float2 v[FFT_GROUP]) {
#pragma unroll
    for (int from = 0; from < FFT_GROUP; from += FEW) {
        const Spots<FEW> spots(x, pair, first, group, from);
        spots.get(x.dy, v + from);
        if (x.dpost) {
            float2 to[FEW];
#pragma unroll
            for (int k = 0; k < FEW; k++) to[k] = v[from + k];
            spots.gate(x.sum, to);
            spots.set(x.dpost, to, x.add_post);
        }
        spots.gate(x.post, v + from);
    }
}

/* The reverse filter runs backwards from the end of the circle. */
__device__ static inline void read_filter(const Convolution &x, int64_t first,
                                          const FftGroup &group, float2 v[FFT_GROUP]) {
#pragma unroll
    for (int k = 0; k < FFT_GROUP; k++) {
        const int64_t d = first + group.c[k], t = group.t[k], back = x.points - 1 - t;
        v[k] = make_float2(0, 0);
        if (t < 0 || d >= x.D) continue;
        if (t < x.K) v[k].x = x.filter[t * x.D + d];
        if (t >= x.K && x.reverse && back < x.K) v[k].x = x.reverse[back * x.D + d];
    }
}

__device__ static inline void write_signal(const Convolution &x, int64_t pair, int64_t first,
                                           const FftGroup &group, float2 v[FFT_GROUP]) {
#pragma unroll
    for (int from = 0; from < FFT_GROUP; from += FEW) {
        const Spots<FEW> spots(x, pair, first, group, from);
        float2 *const sum = v + from;
        if (x.skip) {
            float2 u[FEW];
            spots.get(x.u, u);
            spots.gate(x.pre, u);
            spots.add_scaled(x.skip, u, sum);
        }
        float2 gated[FEW];
#pragma unroll
        for (int k = 0; k < FEW; k++) gated[k] = sum[k];
        spots.gate(x.post, gated);
        if (x.sum) spots.set(x.sum, sum, false);
        spots.set(x.y, gated, false);
    }
}

/* Returns these tokens' part of the gradient of skip; all are of one channel. */
__device__ static inline float write_gradient(const Convolution &x, int64_t pair, int64_t first,
                                              const FftGroup &group, float2 v[FFT_GROUP]) {
    float part = 0;
#pragma unroll
    for (int from = 0; from < FFT_GROUP; from += FEW) {
        const Spots<FEW> spots(x, pair, first, group, from);
        float2 *const dx = v + from;
        float2 u[FEW] = {};
        if (x.dpre || x.dskip) spots.get(x.u, u);
        if (x.skip || x.dskip) {
            float2 g[FEW];
            spots.get(x.dy, g);
            spots.gate(x.post, g);
            if (x.skip) spots.add_scaled(x.skip, g, dx);
            if (x.dskip) spots.gate(x.pre, g);
#pragma unroll
            for (int k = 0; k < FEW; k++) part += g[k].x * u[k].x + g[k].y * u[k].y;
        }
        if (x.dpre) {
#pragma unroll
            for (int k = 0; k < FEW; k++) u[k] = make_float2(u[k].x * dx[k].x, u[k].y * dx[k].y);
            spots.set(x.dpre, u, x.add_pre);
        }
        if (x.du) {
            spots.gate(x.pre, dx);
            spots.set(x.du, dx, x.add_u);
        }
    }
    return part;
}

__device__ static inline void write_filter_gradient(const Convolution &x, int64_t first,
                                                    const FftGroup &group,
                                                    const float2 v[FFT_GROUP]) {
#pragma unroll
    for (int k = 0; k < FFT_GROUP; k++) {
        const int64_t d = first + group.c[k], t = group.t[k], back = x.points - 1 - t;
        if (t < 0 || d >= x.D) continue;
        if (t < x.K) {
            if (x.dfilter) put(x.dfilter + t * x.D + d, v[k].x, x.add_filter);
        } else if (x.dreverse && back < x.K) {
            put(x.dreverse + back * x.D + d, v[k].x, x.add_reverse);
        }
    }
}

/* ---- a block's sequences. TOKENS: channels, read and written in place; otherwise the parts of
 * longer transforms that lie in `work` one after the other ---- */

struct Blocks {
    Convolution x;
    BlockFft f;
    int64_t sequences;     /* of one pair of rows: channels or parts */
    int64_t groups;        /* blocks for them */
    int64_t pairs, slices; /* adjoint with TOKENS: slices of the pairs */
    bool first_pair;       /* of the chunk: sums of correlations begin */
    float2 *work;          /* signal or cotangent */
    float2 *signal;        /* adjoint: spectrum of the signal, a block's or in place */
    float2 *spectrum;      /* of the filter, over the number of points: (sequences, points) */
    float2 *correlation;   /* (slices, sequences, points) */
    float *skip_part;      /* (slices, D) */
};

/* Frequencies [q][r] of a sequence, q = 0 .. 15, lie so far apart. */
__device__ static inline int64_t frequency(const BlockFft &f, int64_t sequence, int r) {
    return sequence * f.points + r;
}

/* Points of sequences from the first on that lie one after the other. */
__device__ static inline void read_work(const Blocks &b, const float2 *from, int64_t first,
                                        const FftGroup &group, float2 v[FFT_GROUP]) {
#pragma unroll
    for (int k = 0; k < FFT_GROUP; k++) {
        const bool in = group.t[k] >= 0 && first + group.c[k] < b.sequences;
        v[k] = make_float2(0, 0);
        if (in) v[k] = from[(int64_t)group.c[k] * b.f.points + group.t[k]];
    }
}
__device__ static inline void write_work(const Blocks &b, float2 *to, int64_t first,
                                         const FftGroup &group, const float2 v[FFT_GROUP]) {
#pragma unroll
    for (int k = 0; k < FFT_GROUP; k++)
        if (group.t[k] >= 0 && first + group.c[k] < b.sequences)
            to[(int64_t)group.c[k] * b.f.points + group.t[k]] = v[k];
}

/* Spectra of the filters; cut short after the forward transform. */
template <bool TOKENS>
KERNEL void __launch_bounds__(FFT_MOST_THREADS, 2) filter_spectra(const Blocks b) {
    const BlockSpace space = block_space(b.f);
    const int64_t first = (int64_t)blockIdx.x * b.f.many;
    const int rows = b.f.points / FFT_RADIX;
    transform_in<TOKENS>(b.f, space, [&](const FftGroup &group, float2 *v) {
        if constexpr (TOKENS)
            read_filter(b.x, first, group, v);
        else
            read_work(b, b.work + first * b.f.points, first, group, v);
    });
    const float scale = 1.0f / (float)b.x.points;
    turning_pass<false>(b.f, space, [&](int c, int r, const float2 v[FFT_RADIX]) {
        if (first + c >= b.sequences) return;
        float2 *const to = b.spectrum + frequency(b.f, first + c, r);
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++)
            to[q * rows] = make_float2(scale * v[q].x, scale * v[q].y);
    });
}

template <bool TOKENS> KERNEL void __launch_bounds__(FFT_MOST_THREADS, 2) convolve(const Blocks b) {
    const BlockSpace space = block_space(b.f);
    const int64_t first = blockIdx.x % b.groups * b.f.many, pair = blockIdx.x / b.groups;
    const int rows = b.f.points / FFT_RADIX;
    transform_in<TOKENS>(b.f, space, [&](const FftGroup &group, float2 *v) {
        if constexpr (TOKENS)
            read_signal(b.x, pair, first, group, v);
        else
            read_work(b, b.work + first * b.f.points, first, group, v);
    });
    turning_pass<true>(b.f, space, [&](int c, int r, float2 v[FFT_RADIX]) {
        if (first + c >= b.sequences) return;
        const float2 *const by = b.spectrum + frequency(b.f, first + c, r);
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++) v[q] = v[q] * by[q * rows];
    });
    transform_out<TOKENS>(b.f, space, [&](const FftGroup &group, float2 *v) {
        if constexpr (TOKENS)
            write_signal(b.x, pair, first, group, v);
        else
            write_work(b, b.work + first * b.f.points, first, group, v);
    });
}

/* Cotangents to gradients of the signal, and the sums of correlations. */
template <bool TOKENS> KERNEL void __launch_bounds__(FFT_MOST_THREADS, 2) adjoint(const Blocks b) {
    const BlockSpace space = block_space(b.f);
    const int64_t group = blockIdx.x % b.groups, slice = blockIdx.x / b.groups;
    const int64_t first = group * b.f.many;
    const int rows = b.f.points / FFT_RADIX;
    const int64_t from = TOKENS ? slice * b.pairs / b.slices : 0;
    const int64_t to = TOKENS ? (slice + 1) * b.pairs / b.slices : 1;
    float2 *const own = b.signal + (int64_t)blockIdx.x * b.f.many * b.f.points;
    float skip = 0;
    for (int64_t pair = from; pair < to; pair++) {
        const bool begin = TOKENS ? pair == from : b.first_pair;
        transform_in<TOKENS>(b.f, space, [&](const FftGroup &group, float2 *v) {
            if constexpr (TOKENS)
                read_signal(b.x, pair, first, group, v);
            else
                read_work(b, own, first, group, v);
        });
        turning_pass<false>(b.f, space, [&](int c, int r, const float2 v[FFT_RADIX]) {
            if (first + c >= b.sequences) return;
            float2 *const at = own + frequency(b.f, c, r);
#pragma unroll
            for (int q = 0; q < FFT_RADIX; q++) at[q * rows] = v[q];
        });
        transform_in<TOKENS>(b.f, space, [&](const FftGroup &group, float2 *v) {
            if constexpr (TOKENS)
                read_cotangent(b.x, pair, first, group, v);
            else
                read_work(b, b.work + first * b.f.points, first, group, v);
        });
        turning_pass<true>(b.f, space, [&](int c, int r, float2 v[FFT_RADIX]) {
            if (first + c >= b.sequences) return;
            const float2 *const signal = own + frequency(b.f, c, r); /* this thread wrote it */
            const float2 *const by = b.spectrum + frequency(b.f, first + c, r);
            float2 *const sum = b.correlation + frequency(b.f, slice * b.sequences + first + c, r);
#pragma unroll
            for (int q = 0; q < FFT_RADIX; q++) {
                const float2 term = conjugate(signal[q * rows]) * v[q];
                sum[q * rows] = begin ? term : sum[q * rows] + term;
                v[q] = v[q] * conjugate(by[q * rows]);
            }
        });
        transform_out<TOKENS>(b.f, space, [&](const FftGroup &group, float2 *v) {
            if constexpr (TOKENS)
                skip += write_gradient(b.x, pair, first, group, v);
            else
                write_work(b, b.work + first * b.f.points, first, group, v);
        });
    }
    if (!TOKENS || !b.x.dskip) return;
    /* A thread has always worked for the same channel. */
    float *const parts = reinterpret_cast<float *>(space.data);
    parts[threadIdx.x] = skip;
    __syncthreads();
    const int c = threadIdx.x;
    if (c >= b.f.many || first + c >= b.x.D) return;
    float sum = 0;
    for (unsigned i = c; i < blockDim.x; i += b.f.many) sum += parts[i];
    b.skip_part[slice * b.x.D + first + c] = sum;
}

/* Sums of correlations to the gradients of the filters. */
template <bool TOKENS>
KERNEL void __launch_bounds__(FFT_MOST_THREADS, 2) filter_gradients(const Blocks b) {
    const BlockSpace space = block_space(b.f);
    const int64_t first = (int64_t)blockIdx.x * b.f.many;
    const int rows = b.f.points / FFT_RADIX;
    const float scale = 1.0f / (float)b.x.points;
    returning_pass(b.f, space, [&](int c, int r, float2 v[FFT_RADIX]) {
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++) v[q] = make_float2(0, 0);
        if (first + c >= b.sequences) return;
        for (int64_t slice = 0; slice < b.slices; slice++) {
            const float2 *const part =
                b.correlation + frequency(b.f, slice * b.sequences + first + c, r);
#pragma unroll
            for (int q = 0; q < FFT_RADIX; q++) v[q] = v[q] + part[q * rows];
        }
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++) v[q] = make_float2(scale * v[q].x, scale * v[q].y);
    });
    transform_out<TOKENS>(b.f, space, [&](const FftGroup &group, float2 *v) {
        if constexpr (TOKENS)
            write_filter_gradient(b.x, first, group, v);
        else
            write_work(b, b.work + first * b.f.points, first, group, v);
    });
}

/* ---- passes of radix 16 through scratch, around the blocks' transforms: (chunk, points) ---- */

struct Outer {
    Convolution x;
    int64_t pair, first_channel, channels; /* of the chunk */
    float2 *work;
    float *skip_part; /* (tiles, D) of this pair */
};
enum Kind { SIGNAL, COTANGENT, FILTER };

__device__ static inline float2 outer_root(int64_t e, int64_t size) {
    return fft_turn((float)e / (float)size); /* exact: a power of two up to 2^24 */
}

/* Points j + q rows of one channel, q the first of a group of them. */
__device__ static inline FftGroup outer_group(int64_t j, int q, int64_t rows, bool exists) {
    FftGroup group;
#pragma unroll
    for (int k = 0; k < FFT_GROUP; k++) {
        group.c[k] = 0;
        group.t[k] = exists ? (int)(j + (q + k) * rows) : -1;
    }
    return group;
}

/* First pass: tokens, channel after channel, to sequences. */
template <Kind KIND> KERNEL void __launch_bounds__(TILE_THREADS, 2) outer_in(const Outer o) {
    float2 *const space = shared_memory<float2>();
    const int64_t rows = o.x.points / FFT_RADIX, first_row = (int64_t)blockIdx.x * TILE;
    const int64_t first = (int64_t)blockIdx.y * TILE; /* channel of the chunk */
    const int fast = threadIdx.x % TILE, slow = threadIdx.x / TILE;
    {
        const int64_t j = first_row + slow, d = o.first_channel + first + fast;
        float2 v[FFT_RADIX];
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q += FFT_GROUP) {
            const FftGroup group = outer_group(j, q, rows, first + fast < o.channels);
            if (KIND == SIGNAL)
                read_signal(o.x, o.pair, d, group, v + q);
            else if (KIND == COTANGENT)
                read_cotangent(o.x, o.pair, d, group, v + q);
            else
                read_filter(o.x, d, group, v + q);
        }
        dft<FFT_RADIX, false>(v);
        times_powers<FFT_RADIX, false>(v, [&](int k) { return outer_root(j * k, o.x.points); });
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++) space[(q * TILE + fast) * (TILE + 1) + slow] = v[q];
    }
    __syncthreads();
    if (first + slow >= o.channels) return;
    float2 *const to = o.work + (first + slow) * o.x.points + first_row + fast;
#pragma unroll
    for (int q = 0; q < FFT_RADIX; q++) to[q * rows] = space[(q * TILE + slow) * (TILE + 1) + fast];
}

/* Last pass back: sequences to tokens. */
template <Kind KIND> KERNEL void __launch_bounds__(TILE_THREADS, 2) outer_out(const Outer o) {
    float2 *const space = shared_memory<float2>();
    const int64_t rows = o.x.points / FFT_RADIX, first_row = (int64_t)blockIdx.x * TILE;
    const int64_t first = (int64_t)blockIdx.y * TILE;
    const int fast = threadIdx.x % TILE, slow = threadIdx.x / TILE;
    if (first + slow < o.channels) {
        const float2 *const from = o.work + (first + slow) * o.x.points + first_row + fast;
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++)
            space[(q * TILE + slow) * (TILE + 1) + fast] = from[q * rows];
    }
    __syncthreads();
    const int64_t j = first_row + slow, d = o.first_channel + first + fast;
    float skip = 0;
    if (first + fast < o.channels) {
        float2 v[FFT_RADIX];
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++) v[q] = space[(q * TILE + fast) * (TILE + 1) + slow];
        times_powers<FFT_RADIX, true>(v, [&](int k) { return outer_root(j * k, o.x.points); });
        dft<FFT_RADIX, true>(v);
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q += FFT_GROUP) {
            const FftGroup group = outer_group(j, q, rows, true);
            if (KIND == SIGNAL)
                write_signal(o.x, o.pair, d, group, v + q);
            else if (KIND == COTANGENT)
                skip += write_gradient(o.x, o.pair, d, group, v + q);
            else
                write_filter_gradient(o.x, d, group, v + q);
        }
    }
    if (KIND != COTANGENT || !o.x.dskip) return;
    float *const parts = reinterpret_cast<float *>(space);
    __syncthreads();
    parts[threadIdx.x] = skip;
    __syncthreads();
    if (slow != 0 || first + fast >= o.channels || d >= o.x.D) return;
    float sum = 0;
    for (int i = 0; i < TILE; i++) sum += parts[i * TILE + fast];
    o.skip_part[blockIdx.x * o.x.D + d] = sum;
}

/* A pass in between, in place, over parts of `size` points. */
template <bool INVERSE>
static void outer_middle(const Run *run, float2 *work, int64_t all, int64_t size) {
    for_each(run, all / FFT_RADIX, [=] __device__(int64_t i) {
        const int64_t rows = size / FFT_RADIX, j = i % rows;
        float2 *const at = work + i / rows * size + j;
        const auto root = [&](int k) { return outer_root(j * k, size); };
        float2 v[FFT_RADIX];
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++) v[q] = at[q * rows];
        if constexpr (INVERSE) times_powers<FFT_RADIX, true>(v, root);
        dft<FFT_RADIX, INVERSE>(v);
        if constexpr (!INVERSE) times_powers<FFT_RADIX, false>(v, root);
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++) at[q * rows] = v[q];
    });
}

/* ---- how the work is cut, from shapes alone ---- */

struct Cut {
    bool outer;
    int64_t pairs, chunk;  /* channels at a time */
    int64_t points, parts; /* of a block's sequence; of them in one sequence */
    int64_t slices, tiles;
    BlockFft f;
    int64_t groups;
};

static Cut cut_of(const Convolution &x) {
    Cut c = {};
    c.outer = x.points > FFT_BLOCK_MOST;
    c.pairs = (x.B + 1) / 2;
    for (c.points = x.points; c.points > FFT_BLOCK_MOST;) c.points /= FFT_RADIX;
    c.parts = x.points / c.points;
    c.slices = 1;
    c.chunk = x.D;
    if (c.outer) {
        const int64_t fit = CHUNK_BYTES / (int64_t)sizeof(float2) / x.points / TILE * TILE;
        const int64_t all = (x.D + TILE - 1) / TILE * TILE;
        c.chunk = fit < TILE ? (int64_t)TILE : fit < all ? fit : all;
        c.tiles = x.points / FFT_RADIX / TILE;
    }
    c.f = block_fft(c.points, c.chunk * c.parts);
    c.groups = (c.chunk * c.parts + c.f.many - 1) / c.f.many;
    if (!c.outer && c.groups < ENOUGH_BLOCKS) {
        const int64_t wanted = (ENOUGH_BLOCKS + c.groups - 1) / c.groups;
        c.slices = wanted < c.pairs ? wanted : c.pairs;
    }
    return c;
}

/* Complex numbers of one array of spectra or work. */
static int64_t array_of(const Convolution &x, const Cut &c) {
    return c.chunk * x.points;
}
static int64_t skip_rows(const Cut &c) {
    return c.outer ? c.pairs * c.tiles : c.slices;
}

static Blocks blocks_of(const Convolution &x, const Cut &c) {
    Blocks b = {};
    b.x = x;
    b.f = c.f;
    b.sequences = c.chunk * c.parts;
    b.groups = c.groups;
    b.pairs = c.pairs;
    b.slices = c.slices;
    return b;
}

#define BLOCKS(run, kernel, b, count)                                                              \
    LAUNCH(run, kernel, (unsigned)(count), (b).f.threads, block_fft_bytes((b).f), b)

template <Kind KIND> static void enter(const Run *run, const Outer &o, const Cut &c, float2 *work) {
    Outer own = o;
    own.work = work;
    LAUNCH(run, outer_in<KIND>, dim3((unsigned)c.tiles, blocks_for(o.channels, TILE)), TILE_THREADS,
           TILE_SPACE * sizeof(float2), own);
    for (int64_t size = o.x.points / FFT_RADIX; size > c.points; size /= FFT_RADIX)
        outer_middle<false>(run, work, o.channels * o.x.points, size);
}
template <Kind KIND> static void leave(const Run *run, const Outer &o, const Cut &c, float2 *work) {
    Outer own = o;
    own.work = work;
    for (int64_t size = c.points * FFT_RADIX; size < o.x.points; size *= FFT_RADIX)
        outer_middle<true>(run, work, o.channels * o.x.points, size);
    LAUNCH(run, outer_out<KIND>, dim3((unsigned)c.tiles, blocks_for(o.channels, TILE)),
           TILE_THREADS, TILE_SPACE * sizeof(float2), own);
}

/* The chunk from channel `first` on, for the passes outside of blocks and for the blocks. */
static Outer chunk_of(const Convolution &x, const Cut &c, int64_t first, Blocks *b) {
    Outer o = {};
    o.x = x;
    o.first_channel = first;
    o.channels = x.D - first < c.chunk ? x.D - first : c.chunk;
    b->sequences = o.channels * c.parts;
    b->groups = (b->sequences + c.f.many - 1) / c.f.many;
    return o;
}

static void forward(const OpCall *call, const Run *run) {
    const Convolution x = convolution_of(call);
    const Cut c = cut_of(x);
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    Blocks b = blocks_of(x, c);
    b.spectrum = carver.take<float2>(array_of(x, c));
    if (!c.outer) {
        BLOCKS(run, filter_spectra<true>, b, b.groups);
        BLOCKS(run, convolve<true>, b, b.groups * c.pairs);
        return;
    }
    b.work = carver.take<float2>(array_of(x, c));
    for (int64_t first = 0; first < x.D; first += c.chunk) {
        Outer o = chunk_of(x, c, first, &b);
        enter<FILTER>(run, o, c, b.work);
        BLOCKS(run, filter_spectra<false>, b, b.groups);
        for (o.pair = 0; o.pair < c.pairs; o.pair++) {
            enter<SIGNAL>(run, o, c, b.work);
            BLOCKS(run, convolve<false>, b, b.groups);
            leave<SIGNAL>(run, o, c, b.work);
        }
    }
}

static void backward(const OpCall *call, const Run *run) {
    Convolution x = convolution_of(call);
    add_gradients(&x, call);
    const Cut c = cut_of(x);
    const bool filters = x.dfilter || x.dreverse;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    Blocks b = blocks_of(x, c);
    b.spectrum = carver.take<float2>(array_of(x, c));
    b.correlation = carver.take<float2>(c.slices * array_of(x, c));
    b.signal = carver.take<float2>(c.slices * c.groups * c.f.many * c.points);
    b.work = carver.take<float2>(c.outer ? array_of(x, c) : 0);
    b.skip_part = carver.take<float>(skip_rows(c) * x.D);
    float *const sums = carver.take<float>(column_slices(skip_rows(c)) * x.D);
    if (!c.outer) {
        BLOCKS(run, filter_spectra<true>, b, b.groups);
        BLOCKS(run, adjoint<true>, b, b.groups * c.slices);
        if (filters) BLOCKS(run, filter_gradients<true>, b, b.groups);
    }
    for (int64_t first = 0; c.outer && first < x.D; first += c.chunk) {
        Outer o = chunk_of(x, c, first, &b);
        enter<FILTER>(run, o, c, b.work);
        BLOCKS(run, filter_spectra<false>, b, b.groups);
        for (o.pair = 0; o.pair < c.pairs; o.pair++) {
            b.first_pair = o.pair == 0;
            o.skip_part = b.skip_part + o.pair * c.tiles * x.D;
            enter<SIGNAL>(run, o, c, b.signal);
            enter<COTANGENT>(run, o, c, b.work);
            BLOCKS(run, adjoint<false>, b, b.groups);
            leave<COTANGENT>(run, o, c, b.work);
        }
        if (!filters) continue;
        BLOCKS(run, filter_gradients<false>, b, b.groups);
        leave<FILTER>(run, o, c, b.work);
    }
    if (x.dskip)
        sum_columns(run, MatrixTerm{b.skip_part, x.D}, skip_rows(c), x.D, x.dskip, x.add_skip,
                    sums);
}

static size_t scratch(const OpCall *call, Phase phase) {
    const Convolution x = convolution_of(call);
    const Cut c = cut_of(x);
    const size_t array = carved(array_of(x, c), sizeof(float2));
    if (phase == PHASE_FORWARD) return array * (c.outer ? 2 : 1);
    return array * (c.outer ? 2 : 1) + carved(c.slices * array_of(x, c), sizeof(float2)) +
           carved(c.slices * c.groups * c.f.many * c.points, sizeof(float2)) +
           carved(skip_rows(c) * x.D, sizeof(float)) + column_scratch(skip_rows(c), x.D);
}

CUDA_OP(long_convolution, {forward, backward}, scratch);
