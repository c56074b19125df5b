/* Sequences are cut into tiles of P tokens, P up to what a block transforms, and filters into
 * pieces of P taps. Transforms are twisted (engine/cuda/fft.cuh): a product of two is the first
 * half of their convolution plus i times the second, which belongs to the next tile. With pieces
 * g_s = h_s - i h_(s-1) the tile c is therefore the real part of sum_s x_(c-s) g_s, summed as
 * spectra: one transform back a tile. Spectra lie (frequency, row, channel), so that at every
 * frequency that sum is a product of matrices over pieces and channels together. */
#include "engine/cuda/columns.cuh"
#include "engine/cuda/tiled.cuh"
#include "engine/ops/dense_convolution/dense_convolution.h"
#include "engine/ops/long_convolution/long_convolution.cuh"

/* Rows of spectra: tiles of sequences, one sequence after the other; or pieces of the filter. */
struct DenseCut {
    int64_t B, L, I, O, K, points;
    int tiles, pieces, rows; /* of a sequence; of the filter; tiles of all sequences */
    int table;               /* complex numbers */
};

static DenseCut cut_of(const OpCall *call) {
    const Tensor *x = call->in[DENSE_CONVOLUTION_X], *filter = call->in[DENSE_CONVOLUTION_FILTER];
    DenseCut c = {};
    c.B = extent(x, 0);
    c.L = extent(x, 1);
    c.I = extent(x, 2);
    c.K = extent(filter, 0);
    c.O = extent(filter, 2);
    for (c.points = FFT_LEAST; c.points < c.L && c.points < FFT_MOST;) c.points *= 2;
    c.tiles = (int)((c.L + c.points - 1) / c.points);
    c.rows = (int)c.B * c.tiles;
    /* the last one holds what runs over from the last taps */
    c.pieces = (int)((c.K + c.points - 1) / c.points) + 1;
    if (c.pieces > c.tiles) c.pieces = c.tiles;
    with_points(c.points, [&]<int P>() { c.table = Fft<P>::TABLE; });
    return c;
}

/* ---- between signals and spectra ---- */

/* signals (rows / tiles, length, channels) and their spectra (P, rows, channels). */
struct DenseSignals {
    const float *from;
    float *to;
    const float *bias;
    float2 *spectra;
    const float2 *table;
    int64_t length, channels;
    int rows, tiles;
    bool pieces, accumulate; /* pieces: g_s from the taps of two pieces */
};

/* What a block transforms: channels of a row. */
template <int P> struct DensePlace {
    int channel, row;
    int64_t first, start; /* token of the sequence; its first number */
    __device__ DensePlace(const DenseSignals &s)
        : channel((int)blockIdx.x * Fft<P>::MANY), row((int)blockIdx.y),
          first((int64_t)(row % s.tiles) * P), start(row / s.tiles * s.length * s.channels) {
    }
    __device__ int64_t spectrum(const DenseSignals &s, int frequency, int c) const {
        return ((int64_t)frequency * s.rows + row) * s.channels + channel + c;
    }
};

template <int P>
KERNEL void __launch_bounds__(FFT_THREADS, Fft<P>::BLOCKS) dense_spectra(const DenseSignals s) {
    typedef Fft<P> F;
    const BlockSpace space = block_space<P>(s.table);
    const DensePlace<P> at(s);
    transform_in<P>(space, [&](int c, int j, float2 *v) {
        const float *const from = s.from + at.start + at.channel + c;
        const bool inside = at.channel + c < s.channels;
#pragma unroll
        for (int q = 0; q < F::FIRST; q++) {
            const int64_t t = at.first + j + q * F::ROWS, before = t - P;
            const float re = inside && t < s.length ? from[t * s.channels] : 0.0f;
            const bool more = inside && s.pieces && before >= 0 && before < s.length;
            const float im = more ? -from[before * s.channels] : 0.0f;
            v[q] = twist<F::FIRST>(q) * make_float2(re, im);
        }
    });
    turning_pass<P, false>(space, [&](int, int c, int r, const float2 *v) {
        if (at.channel + c >= s.channels) return;
#pragma unroll
        for (int q = 0; q < F::LAST; q++) s.spectra[at.spectrum(s, r + q * F::EACH, c)] = v[q];
    });
}

template <int P>
KERNEL void __launch_bounds__(FFT_THREADS, Fft<P>::FEWER) dense_signals(const DenseSignals s) {
    typedef Fft<P> F;
    const BlockSpace space = block_space<P>(s.table);
    const DensePlace<P> at(s);
    returning_pass<P>(space, [&](int, int c, int r, float2 *v) {
        const bool inside = at.channel + c < s.channels;
#pragma unroll
        for (int q = 0; q < F::LAST; q++)
            v[q] = inside ? s.spectra[at.spectrum(s, r + q * F::EACH, c)] : make_float2(0, 0);
    });
    transform_out<P>(space, [&](int c, int j, const float2 *v) {
        if (at.channel + c >= s.channels) return;
        float *const to = s.to + at.start + at.channel + c;
        const float bias = s.bias ? s.bias[at.channel + c] : 0.0f;
        float x[F::FIRST];
        real_column<F::FIRST>(v, x);
#pragma unroll
        for (int q = 0; q < F::FIRST; q++) {
            const int64_t t = at.first + j + q * F::ROWS;
            if (t < s.length) put(to + t * s.channels, x[q] * (1.0f / P) + bias, s.accumulate);
        }
    });
}

/* ---- products; factors see (frequency, m or n, k) ---- */

/* x of row m, `step` tiles before or behind it for the piece k / channels; none outside of its
 * sequence. */
struct RowsBy {
    typedef float2 Number;
    static constexpr bool ALONG = true;
    const float2 *spectra;
    int rows, tiles, channels, step;
    __device__ float2 operator()(int f, int m, int k) const {
        const int piece = k / channels, c = k - piece * channels, tile = m % tiles + step * piece;
        if (tile < 0 || tile >= tiles) return make_float2(0, 0);
        return spectra[((int64_t)f * rows + m + step * piece) * channels + c];
    }
};
/* The filter from input to output: n is the output, k piece and input. */
struct Filter {
    static constexpr bool ALONG = false;
    const float2 *spectra;
    int pieces, inputs, outputs;
    __device__ float2 operator()(int f, int n, int k) const {
        return spectra[((int64_t)f * pieces * inputs + k) * outputs + n];
    }
};
/* And back: n is the input, k piece and output. */
struct FilterBack {
    static constexpr bool ALONG = true;
    const float2 *spectra;
    int pieces, inputs, outputs;
    __device__ float2 operator()(int f, int n, int k) const {
        const int piece = k / outputs, o = k - piece * outputs;
        return conjugate(spectra[(((int64_t)f * pieces + piece) * inputs + n) * outputs + o]);
    }
};
/* Row k of x as the gradient of h_s, and of -i h_s in the next piece, sees it: m is s and input. */
struct Meetings {
    typedef float2 Number;
    static constexpr bool ALONG = false;
    const float2 *spectra;
    int rows, tiles, inputs;
    __device__ float2 at(int f, int k, int s, int i) const {
        if (k % tiles < s) return make_float2(0, 0);
        return conjugate(spectra[((int64_t)f * rows + k - s) * inputs + i]);
    }
    __device__ float2 operator()(int f, int m, int k) const {
        const int s = m / inputs, i = m - s * inputs;
        const float2 own = at(f, k, s, i), next = at(f, k, s + 1, i);
        return make_float2(own.x - next.y, own.y + next.x);
    }
};
/* Row k of y's cotangent: n is the output. */
struct Cotangents {
    static constexpr bool ALONG = false;
    const float2 *spectra;
    int rows, outputs;
    __device__ float2 operator()(int f, int n, int k) const {
        return spectra[((int64_t)f * rows + k) * outputs + n];
    }
};
/* (P, rows, columns) */
struct ToSpectra {
    float2 *spectra;
    int rows, columns;
    __device__ void operator()(int f, int m, int n, float2 sum) const {
        spectra[((int64_t)f * rows + m) * columns + n] = sum;
    }
};

/* ---- both phases ---- */

/* Extended lambdas must not stand in generic ones. */
template <int P> static void make_table(const Run *run, float2 *to) {
    for_each(run, Fft<P>::TABLE,
             [=] __device__(int64_t i) { to[i] = fft_factor<P>((int)i, true); });
}

struct Dense {
    const Run *run;
    DenseCut cut;
    float2 *table, *x, *y, *filter, *dx, *dfilter;
};

static Dense dense_of(const OpCall *call, const Run *run, Phase phase) {
    Dense d = {};
    d.run = run;
    d.cut = cut_of(call);
    const DenseCut &c = d.cut;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    d.table = carver.take<float2>(c.table);
    d.x = carver.take<float2>(c.points * c.rows * c.I);
    d.y = carver.take<float2>(c.points * c.rows * c.O);
    d.filter = carver.take<float2>(c.points * c.pieces * c.I * c.O);
    if (phase == PHASE_BACKWARD) {
        d.dx = carver.take<float2>(c.points * c.rows * c.I);
        d.dfilter = carver.take<float2>(c.points * c.pieces * c.I * c.O);
    }
    with_points(c.points, [&]<int P>() { make_table<P>(run, d.table); });
    return d;
}

static DenseSignals sequences(const Dense &d, int64_t channels, float2 *spectra) {
    DenseSignals s = {};
    s.spectra = spectra;
    s.table = d.table;
    s.length = d.cut.L;
    s.channels = channels;
    s.rows = d.cut.rows;
    s.tiles = d.cut.tiles;
    return s;
}
static DenseSignals pieces_of(const Dense &d, float2 *spectra) {
    DenseSignals s = sequences(d, d.cut.I * d.cut.O, spectra);
    s.length = d.cut.K;
    s.rows = s.tiles = d.cut.pieces;
    s.pieces = true;
    return s;
}

static void to_spectra(const Dense &d, DenseSignals s, const float *from) {
    s.from = from;
    with_points(d.cut.points, [&]<int P>() {
        const dim3 grid(blocks_for(s.channels, Fft<P>::MANY), (unsigned)s.rows);
        LAUNCH(d.run, dense_spectra<P>, grid, FFT_THREADS, Fft<P>::BYTES, s);
    });
}
static void from_spectra(const Dense &d, DenseSignals s, float *to, const float *bias,
                         bool accumulate) {
    s.to = to;
    s.bias = bias;
    s.accumulate = accumulate;
    with_points(d.cut.points, [&]<int P>() {
        const dim3 grid(blocks_for(s.channels, Fft<P>::MANY), (unsigned)s.rows);
        LAUNCH(d.run, dense_signals<P>, grid, FFT_THREADS, Fft<P>::BYTES, s);
    });
}

static void forward(const OpCall *call, const Run *run) {
    const Dense d = dense_of(call, run, PHASE_FORWARD);
    const DenseCut &c = d.cut;
    const int I = (int)c.I, O = (int)c.O;
    to_spectra(d, sequences(d, I, d.x), call->in[DENSE_CONVOLUTION_X]->data);
    to_spectra(d, pieces_of(d, d.filter), call->in[DENSE_CONVOLUTION_FILTER]->data);
    tiled_products(run, c.points, c.rows, O, c.pieces * I, RowsBy{d.x, c.rows, c.tiles, I, -1},
                   Filter{d.filter, c.pieces, I, O}, ToSpectra{d.y, c.rows, O});
    from_spectra(d, sequences(d, O, d.y), call->out[0]->data, data_of(call, DENSE_CONVOLUTION_BIAS),
                 false);
}

static void backward(const OpCall *call, const Run *run) {
    const Dense d = dense_of(call, run, PHASE_BACKWARD);
    const DenseCut &c = d.cut;
    const int I = (int)c.I, O = (int)c.O;
    const float *const dy = call->out[0]->gradient;
    float *const dx = gradient_of(call, DENSE_CONVOLUTION_X);
    float *const dfilter = gradient_of(call, DENSE_CONVOLUTION_FILTER);
    float *const dbias = gradient_of(call, DENSE_CONVOLUTION_BIAS);
    if (dbias) /* its partial sums lie where spectra will */
        sum_columns(run, MatrixTerm{dy, O}, c.B * c.L, O, dbias,
                    call->accumulate[DENSE_CONVOLUTION_BIAS], reinterpret_cast<float *>(d.filter));
    to_spectra(d, sequences(d, O, d.y), dy);
    if (dx) {
        to_spectra(d, pieces_of(d, d.filter), call->in[DENSE_CONVOLUTION_FILTER]->data);
        tiled_products(run, c.points, c.rows, I, c.pieces * O, RowsBy{d.y, c.rows, c.tiles, O, 1},
                       FilterBack{d.filter, c.pieces, I, O}, ToSpectra{d.dx, c.rows, I});
        from_spectra(d, sequences(d, I, d.dx), dx, NULL, call->accumulate[DENSE_CONVOLUTION_X]);
    }
    if (!dfilter) return;
    to_spectra(d, sequences(d, I, d.x), call->in[DENSE_CONVOLUTION_X]->data);
    tiled_products(run, c.points, c.pieces * I, O, c.rows, Meetings{d.x, c.rows, c.tiles, I},
                   Cotangents{d.y, c.rows, O}, ToSpectra{d.dfilter, c.pieces * I, O});
    from_spectra(d, pieces_of(d, d.dfilter), dfilter, NULL,
                 call->accumulate[DENSE_CONVOLUTION_FILTER]);
}

static size_t scratch(const OpCall *call, Phase phase) {
    const DenseCut c = cut_of(call);
    const size_t x = carved(c.points * c.rows * c.I, sizeof(float2));
    const size_t y = carved(c.points * c.rows * c.O, sizeof(float2));
    const size_t filter = carved(c.points * c.pieces * c.I * c.O, sizeof(float2));
    const size_t once = carved(c.table, sizeof(float2)) + x + y + filter;
    if (phase == PHASE_FORWARD) return once;
    const size_t sums = column_scratch(c.B * c.L, c.O); /* from d.filter on */
    return once + (x + filter > sums ? x + filter : sums);
}

CUDA_OP(dense_convolution, {forward, backward}, scratch);
