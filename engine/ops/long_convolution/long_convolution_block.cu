/* Whole sequences in a block. */
#include "engine/ops/long_convolution/long_convolution.cuh"

/* Two for each multiprocessor of an H100; bits are the same on others. */
enum { ENOUGH_BLOCKS = 256 };

struct Blocks {
    LongConvolution x;
    const float2 *table;
    int groups;     /* of channels */
    int slices;     /* of rows, in adjoint */
    int ahead;      /* blocks that run at once */
    float2 *filter; /* spectra over the number of points: (groups, WORK) */
    float2 *signal; /* (slices, groups, WORK), like the next */
    float2 *correlation;
};

#define BOUNDS(P) __launch_bounds__(FFT_THREADS, Fft<P>::BLOCKS)

template <int P> KERNEL void BOUNDS(P) filter_spectra(const Blocks b) {
    typedef Fft<P> F;
    const BlockSpace space = block_space<P>(b.table);
    const int first = (int)blockIdx.x * F::MANY;
    transform_in<P>(space, [&](int c, int j, float2 *v) {
        read_filter<F::FIRST, false>(b.x, first + c, j, F::ROWS, v);
    });
    turning_pass<P, false>(space, [&](int i, int, int, const float2 *v) {
        Spectrum<P>(b.filter, blockIdx.x, i).set(v, 1.0f / P);
    });
}

/* Of a block's channels. */
template <int P> struct Place {
    int group, row, d;
    __device__ Place(const Blocks &b, unsigned block)
        : group((int)(block % (unsigned)b.groups)), row((int)(block / (unsigned)b.groups)),
          d(group * Fft<P>::MANY) {
    }
    template <class... Tensors>
    __device__ void ask(const LongConvolution &x, Tensors... tensors) const {
        ::ask<P, 1, Fft<P>::MANY>(x, row, d, 0, 1, tensors...);
    }
};

/* A block's memory and arithmetic take turns, and blocks that start together stay in step. So the
 * signal of the block that will come here next is asked for before this one's long middle. Tensors
 * leave the second-level cache first: what stays is the spectra of the filters, which every row
 * reads. */
template <int P> KERNEL void BOUNDS(P) convolve(const Blocks b) {
    typedef Fft<P> F;
    const BlockSpace space = block_space<P>(b.table);
    const Place<P> at(b, blockIdx.x);
    transform_in<P>(space, [&](int c, int j, float2 *v) {
        read_signal<F::FIRST, true>(b.x, at.row, at.d + c, j, F::ROWS, v);
    });
    at.ask(b.x, b.x.post);
    if (blockIdx.x + (unsigned)b.ahead < gridDim.x) {
        const Place<P> next(b, blockIdx.x + (unsigned)b.ahead);
        next.ask(b.x, b.x.u, b.x.pre);
    }
    turning_pass<P, true>(
        space, [&](int i, int, int, float2 *v) { Spectrum<P>(b.filter, at.group, i).multiply(v); });
    transform_out<P>(space, [&](int c, int j, const float2 *v) {
        write_signal<F::FIRST, true>(b.x, at.row, at.d + c, j, F::ROWS, v);
    });
}

/* Cotangents to gradients of the signal, and the sums of correlations. What a row needs later is
 * asked for a pass ahead; spectra and the signal, which is read again, stay in the second-level
 * cache. */
template <int P> KERNEL void __launch_bounds__(FFT_THREADS, Fft<P>::FEWER) adjoint(const Blocks b) {
    typedef Fft<P> F;
    const BlockSpace space = block_space<P>(b.table);
    Place<P> at(b, blockIdx.x); /* its row is the slice, then a row */
    const int to = (int)((at.row + 1) * b.x.B / b.slices);
    at.row = (int)(at.row * b.x.B / b.slices);
    for (bool begin = true; at.row < to; at.row++, begin = false) {
        transform_in<P>(space, [&](int c, int j, float2 *v) {
            read_signal<F::FIRST, false>(b.x, at.row, at.d + c, j, F::ROWS, v);
        });
        at.ask(b.x, b.x.dy, b.x.post, b.x.dpost ? b.x.sum : NULL);
        turning_pass<P, false>(space, [&](int i, int, int, const float2 *v) {
            Spectrum<P>(b.signal, blockIdx.x, i).set(v, 1);
        });
        transform_in<P>(space, [&](int c, int j, float2 *v) {
            read_cotangent<F::FIRST, true>(b.x, at.row, at.d + c, j, F::ROWS, v);
        });
        at.ask(b.x, b.x.dpre ? b.x.u : NULL, b.x.du ? b.x.pre : NULL);
        turning_pass<P, true>(space, [&](int i, int, int, float2 *v) {
            correlate(Spectrum<P>(b.filter, at.group, i), Spectrum<P>(b.signal, blockIdx.x, i),
                      Spectrum<P>(b.correlation, blockIdx.x, i), begin, v);
        });
        transform_out<P>(space, [&](int c, int j, const float2 *v) {
            write_gradient<F::FIRST, true>(b.x, at.row, at.d + c, j, F::ROWS, v);
        });
    }
}

/* Sums of correlations to the gradients of the filters. */
template <int P> KERNEL void BOUNDS(P) filter_gradients(const Blocks b) {
    typedef Fft<P> F;
    const BlockSpace space = block_space<P>(b.table);
    const int first = (int)blockIdx.x * F::MANY;
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

/* How the work is cut, from shapes alone. */
struct BlockCut {
    int64_t groups, slices; /* of channels, of rows */
    int64_t array, table;   /* complex numbers: spectra of all groups; factors */
};
static BlockCut cut_of(const LongConvolution &x) {
    BlockCut c = {};
    with_points(x.points, [&]<int P>() {
        check_step<P>(x);
        c.groups = (x.D + Fft<P>::MANY - 1) / Fft<P>::MANY;
        c.array = c.groups * Fft<P>::WORK;
        c.table = Fft<P>::TABLE;
    });
    const int64_t wanted = (ENOUGH_BLOCKS + c.groups - 1) / c.groups;
    c.slices = wanted < x.B ? wanted : x.B;
    return c;
}

/* Extended lambdas must not stand in generic ones. */
template <int P> static void make_table(const Run *run, float2 *to) {
    for_each(run, Fft<P>::TABLE,
             [=] __device__(int64_t i) { to[i] = fft_factor<P>((int)i, true); });
}

#define BLOCKS(run, kernel, P, b, count)                                                           \
    LAUNCH(run, kernel<P>, (unsigned)(count), FFT_THREADS, Fft<P>::BYTES, b)

void long_convolution_block(const Run *run, const LongConvolution &x, Phase phase, void *scratch) {
    const BlockCut c = cut_of(x);
    Carver carver = {static_cast<unsigned char *>(scratch)};
    float2 *const table = carver.take<float2>(c.table);
    Blocks b = {};
    b.x = x;
    b.table = table;
    b.groups = (int)c.groups;
    b.slices = (int)c.slices;
    b.filter = carver.take<float2>(c.array);
    if (phase == PHASE_BACKWARD) {
        b.signal = carver.take<float2>(c.slices * c.array);
        b.correlation = carver.take<float2>(c.slices * c.array);
    }
    with_points(x.points, [&]<int P>() {
        make_table<P>(run, table);
        BLOCKS(run, filter_spectra, P, b, c.groups);
        if (phase == PHASE_FORWARD) {
            b.ahead = Fft<P>::BLOCKS * state_of(run)->processors;
            BLOCKS(run, convolve, P, b, c.groups * x.B);
            return;
        }
        BLOCKS(run, adjoint, P, b, c.groups * c.slices);
        if (wants_filters(x)) BLOCKS(run, filter_gradients, P, b, c.groups);
    });
}

size_t long_convolution_block_scratch(const LongConvolution &x, Phase phase) {
    const BlockCut c = cut_of(x);
    const size_t spectra = carved(c.table, sizeof(float2)) + carved(c.array, sizeof(float2));
    if (phase == PHASE_FORWARD) return spectra;
    return spectra + 2 * carved(c.slices * c.array, sizeof(float2));
}
