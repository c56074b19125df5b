/* Fourier transforms inside a block, in shared memory: `many` complex sequences of `points` each,
 * points = first 16^n. Forward is decimation in frequency, radix `first` and then 16, in place; the
 * inverse walks back the same way. So nothing is ever reordered: a spectrum lies in the order in
 * which the last forward pass leaves it, [q][r] with q < 16 and r < points / 16, and a convolution
 * never needs to know more (Gentleman and Sande 1966, "Fast Fourier transforms: for fun and
 * profit").
 *
 * Two real rows that share a real filter are one complex sequence: the filter's spectrum multiplies
 * both at once. With z = a + i b and w = g + i k, the real part of the inverse of conj(Z) W is the
 * correlation of a with g plus that of b with k: the gradient of the filter. */
#ifndef LONGHAUL_CUDA_FFT_H
#define LONGHAUL_CUDA_FFT_H

#include "engine/cuda/grid.cuh"

__device__ static inline float2 operator+(float2 a, float2 b) {
    return make_float2(a.x + b.x, a.y + b.y);
}
__device__ static inline float2 operator-(float2 a, float2 b) {
    return make_float2(a.x - b.x, a.y - b.y);
}
__device__ static inline float2 operator*(float2 a, float2 b) {
    return make_float2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}
__device__ static inline float2 conjugate(float2 a) {
    return make_float2(a.x, -a.y);
}

enum {
    FFT_RADIX = 16,
    FFT_BLOCK_LEAST = 32,  /* points of a sequence in a block */
    FFT_BLOCK_MOST = 8192, /* of all sequences of a block: 70 KiB of shared memory, which every
                              GPU since compute capability 8.0 gives, an H100 three times */
    FFT_MOST_MANY = 32,    /* sequences of a block */
    FFT_MOST_THREADS = 256,
    FFT_COARSE = 256 /* of the table of factors */
};

struct BlockFft {
    int points, log_points;
    int first, log_first;
    int many, log_many;
    int pitch; /* float2 from sequence to sequence in shared memory */
    unsigned threads;
};

/* As many sequences a block as fit, of which there are `sequences`. */
static inline BlockFft block_fft(int64_t points, int64_t sequences) {
    BlockFft f = {};
    f.points = (int)points;
    while (1 << f.log_points < f.points) f.log_points++;
    f.log_first = (f.log_points - 1) % 4 + 1;
    f.first = 1 << f.log_first;
    f.many = 1;
    while (f.many < FFT_MOST_MANY && 2 * f.many * points <= FFT_BLOCK_MOST && f.many < sequences) {
        f.many *= 2;
        f.log_many++;
    }
    /* One place more after each 16 points, and neighbours of a sequence's place in the other
     * sequences fall into different banks. */
    const int apart = f.many >= 16 ? 1 : 16 / f.many % 16;
    f.pitch = (f.points + f.points / 16 + 15) / 16 * 16 + apart;
    f.threads = (unsigned)(f.points * f.many / (2 * FFT_RADIX));
    f.threads = f.threads < WARP ? (unsigned)WARP : f.threads;
    return f;
}
static inline size_t block_fft_bytes(const BlockFft &f) {
    return (size_t)(f.many * f.pitch + FFT_COARSE + FFT_BLOCK_MOST / FFT_COARSE) * sizeof(float2);
}

/* exp(-2 pi i x). */
__device__ static inline float2 fft_turn(float x) {
    float sine, cosine;
#ifdef LONGHAUL_EMULATED
    sine = (float)sin(2 * 3.14159265358979323846 * (double)x);
    cosine = (float)cos(2 * 3.14159265358979323846 * (double)x);
#else
    sincospif(2 * x, &sine, &cosine);
#endif
    return make_float2(cosine, -sine);
}

/* In place, in natural order; INVERSE: with conjugate factors, not scaled. */
template <bool INVERSE> __device__ inline float2 quarter_turn(float2 a) { /* a times -i or i */
    return INVERSE ? make_float2(-a.y, a.x) : make_float2(a.y, -a.x);
}
template <bool INVERSE> __device__ inline void dft2(float2 &a, float2 &b) {
    const float2 sum = a + b;
    b = a - b;
    a = sum;
}
template <bool INVERSE> __device__ inline void dft4(float2 &a, float2 &b, float2 &c, float2 &d) {
    const float2 e = a + c, f = a - c, g = b + d, h = quarter_turn<INVERSE>(b - d);
    a = e + g;
    b = f + h;
    c = e - g;
    d = f - h;
}
/* exp(-2 pi i k / 16), conjugate if INVERSE; k is a constant of the unrolled caller. */
template <bool INVERSE> __device__ inline float2 times_root16(float2 a, int k) {
    const float c1 = 0.923879532511f, s1 = 0.382683432365f, c2 = 0.707106781187f;
    const float cosine[10] = {1, c1, c2, s1, 0, -s1, -c2, -c1, -1, -c1};
    const float sine[10] = {0, s1, c2, c1, 1, c1, c2, s1, 0, -s1};
    if (k == 0) return a;
    if (k == 4) return quarter_turn<INVERSE>(a);
    return a * make_float2(cosine[k], INVERSE ? sine[k] : -sine[k]);
}
template <int R, bool INVERSE> __device__ inline void dft(float2 v[R]) {
    if constexpr (R == 2) {
        dft2<INVERSE>(v[0], v[1]);
    } else if constexpr (R == 4) {
        dft4<INVERSE>(v[0], v[1], v[2], v[3]);
    } else { /* quarters first, then R / 4 */
        constexpr int S = R / 4;
        float2 w[R];
#pragma unroll
        for (int q = 0; q < S; q++) dft4<INVERSE>(v[q], v[q + S], v[q + 2 * S], v[q + 3 * S]);
#pragma unroll
        for (int k = 0; k < 4; k++) {
#pragma unroll
            for (int q = 0; q < S; q++)
                v[q + k * S] = times_root16<INVERSE>(v[q + k * S], q * k * (16 / R));
            if constexpr (S == 2)
                dft2<INVERSE>(v[k * S], v[k * S + 1]);
            else
                dft4<INVERSE>(v[k * S], v[k * S + 1], v[k * S + 2], v[k * S + 3]);
#pragma unroll
            for (int q = 0; q < S; q++) w[k + 4 * q] = v[k * S + q];
        }
#pragma unroll
        for (int k = 0; k < R; k++) v[k] = w[k];
    }
}

/* v[k] times w^k or its conjugate; root(k) is w^k. Sixteen are made of six by one product each. */
template <int R, bool INVERSE, class Root>
__device__ inline void times_powers(float2 v[R], const Root &root) {
    float2 small[4] = {}, large[4] = {};
#pragma unroll
    for (int k = 1; k < (R < 4 ? R : 4); k++) small[k] = root(k);
#pragma unroll
    for (int k = 1; k < R / 4; k++) large[k] = root(4 * k);
#pragma unroll
    for (int k = 1; k < R; k++) {
        const float2 w = k < 4 ? small[k] : k % 4 == 0 ? large[k / 4] : large[k / 4] * small[k % 4];
        v[k] = v[k] * (INVERSE ? conjugate(w) : w);
    }
}

/* The block's part of shared memory: sequences, then exp(-2 pi i k / 256) and the finer
 * exp(-2 pi i k / points) in between. */
struct BlockSpace {
    float2 *data;
    float2 *coarse, *fine;
};
__device__ static inline BlockSpace block_space(const BlockFft &f) {
    BlockSpace s;
    s.coarse = shared_memory<float2>();
    s.fine = s.coarse + FFT_COARSE;
    s.data = s.fine + FFT_BLOCK_MOST / FFT_COARSE;
    for (int i = threadIdx.x; i < FFT_COARSE; i += blockDim.x)
        s.coarse[i] = fft_turn((float)i / (float)FFT_COARSE);
    for (int i = threadIdx.x; i < f.points / FFT_COARSE; i += blockDim.x)
        s.fine[i] = fft_turn((float)i / (float)f.points);
    __syncthreads();
    return s;
}
__device__ static inline int fft_place(int i) {
    return i + (i >> 4);
}
/* exp(-2 pi i e / 2^log_size), e below that. */
__device__ static inline float2 block_root(const BlockFft &f, const BlockSpace &s, int e,
                                           int log_size) {
    if (log_size <= 8) return s.coarse[e << (8 - log_size)];
    const int finer = log_size - 8;
    const int rest = e & ((1 << finer) - 1);
    return s.coarse[e >> finer] * s.fine[rest << (f.log_points - log_size)];
}

/* Points that go through memory together, so that all their loads wait at the same time: point t[i]
 * of sequence c[i], none where t[i] is below 0. */
enum { FFT_GROUP = 8 };
struct FftGroup {
    int c[FFT_GROUP], t[FFT_GROUP];
};

/* Which HELD / R columns of R points a thread has at a time: the first from i on, a block's width
 * apart. The points lie column by column; a group of them is taken across columns, because the
 * later half of a column is padding. */
template <int R, bool TOKENS> struct FftColumns {
    static constexpr int HELD = R < FFT_GROUP ? (int)FFT_GROUP : R, COLUMNS = HELD / R;
    int c[COLUMNS], j[COLUMNS]; /* j < 0: none */
    int log_rows;
    __device__ FftColumns(const BlockFft &f, int i) : log_rows(f.log_points - f.log_first) {
        const int rows = 1 << log_rows;
#pragma unroll
        for (int n = 0; n < COLUMNS; n++, i += (int)blockDim.x) {
            c[n] = TOKENS ? i & (f.many - 1) : i >> log_rows;
            j[n] = i >= rows << f.log_many ? -1 : TOKENS ? i >> f.log_many : i & (rows - 1);
        }
    }
    __device__ FftGroup group(int number) const {
        FftGroup g;
#pragma unroll
        for (int k = 0; k < FFT_GROUP; k++) {
            const int p = number * FFT_GROUP + k, n = p % COLUMNS, q = p / COLUMNS;
            g.c[k] = c[n];
            g.t[k] = j[n] < 0 ? -1 : j[n] + (q << log_rows);
        }
        return g;
    }
    /* place of that point in the array of all columns */
    static constexpr __device__ int place(int number, int k) {
        const int p = number * FFT_GROUP + k;
        return p % COLUMNS * R + p / COLUMNS;
    }
};

/* First pass, of radix R: read(group, v) gives the points of a group. TOKENS: neighbouring threads
 * take neighbouring sequences, otherwise neighbouring points. */
template <int R, bool TOKENS, class Read>
__device__ inline void first_pass(const BlockFft &f, const BlockSpace &s, const Read &read) {
    typedef FftColumns<R, TOKENS> Columns;
    const int log_rows = f.log_points - f.log_first, all = f.many << log_rows;
    for (int i = threadIdx.x; i < all; i += Columns::COLUMNS * (int)blockDim.x) {
        const Columns columns(f, i);
        float2 v[Columns::HELD];
#pragma unroll
        for (int number = 0; number < Columns::HELD / FFT_GROUP; number++) {
            float2 part[FFT_GROUP];
            read(columns.group(number), part);
#pragma unroll
            for (int k = 0; k < FFT_GROUP; k++) v[Columns::place(number, k)] = part[k];
        }
#pragma unroll
        for (int n = 0; n < Columns::COLUMNS; n++) {
            const int c = columns.c[n], j = columns.j[n];
            if (j < 0) continue;
            float2 *const w = v + n * R;
            dft<R, false>(w);
            times_powers<R, false>(w, [&](int k) { return block_root(f, s, j * k, f.log_points); });
#pragma unroll
            for (int q = 0; q < R; q++) s.data[c * f.pitch + fft_place(j + (q << log_rows))] = w[q];
        }
    }
    __syncthreads();
}
/* Last pass: write(group, v) takes them. */
template <int R, bool TOKENS, class Write>
__device__ inline void final_pass(const BlockFft &f, const BlockSpace &s, const Write &write) {
    typedef FftColumns<R, TOKENS> Columns;
    const int log_rows = f.log_points - f.log_first, all = f.many << log_rows;
    for (int i = threadIdx.x; i < all; i += Columns::COLUMNS * (int)blockDim.x) {
        const Columns columns(f, i);
        float2 v[Columns::HELD];
#pragma unroll
        for (int n = 0; n < Columns::COLUMNS; n++) {
            const int c = columns.c[n], j = columns.j[n];
            if (j < 0) continue;
            float2 *const w = v + n * R;
#pragma unroll
            for (int q = 0; q < R; q++) w[q] = s.data[c * f.pitch + fft_place(j + (q << log_rows))];
            times_powers<R, true>(w, [&](int k) { return block_root(f, s, j * k, f.log_points); });
            dft<R, true>(w);
        }
#pragma unroll
        for (int number = 0; number < Columns::HELD / FFT_GROUP; number++) {
            float2 part[FFT_GROUP];
#pragma unroll
            for (int k = 0; k < FFT_GROUP; k++) part[k] = v[Columns::place(number, k)];
            write(columns.group(number), part);
        }
    }
    __syncthreads();
}

/* A pass of radix 16 over sub-blocks of 2^log_size points, in place. */
template <bool INVERSE>
__device__ inline void middle_pass(const BlockFft &f, const BlockSpace &s, int log_size) {
    const int log_each = f.log_points - 4, log_stride = log_size - 4;
    for (int i = threadIdx.x; i < f.many << log_each; i += blockDim.x) {
        const int r = i & ((1 << log_each) - 1), j = r & ((1 << log_stride) - 1);
        float2 *const data = s.data + (i >> log_each) * f.pitch;
        const int base = ((r >> log_stride) << log_size) + j;
        const auto root = [&](int k) { return block_root(f, s, j * k, log_size); };
        float2 v[FFT_RADIX];
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++) v[q] = data[fft_place(base + (q << log_stride))];
        if constexpr (INVERSE) times_powers<FFT_RADIX, true>(v, root);
        dft<FFT_RADIX, INVERSE>(v);
        if constexpr (!INVERSE) times_powers<FFT_RADIX, false>(v, root);
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++) data[fft_place(base + (q << log_stride))] = v[q];
    }
    __syncthreads();
}

/* Last forward pass; spectrum(c, r, v) gets frequencies [0 .. 15][r] of sequence c. BACK: what it
 * leaves in v goes through the first inverse pass. */
template <bool BACK, class Spectrum>
__device__ inline void turning_pass(const BlockFft &f, const BlockSpace &s,
                                    const Spectrum &spectrum) {
    const int log_each = f.log_points - 4;
    for (int i = threadIdx.x; i < f.many << log_each; i += blockDim.x) {
        const int r = i & ((1 << log_each) - 1), c = i >> log_each;
        float2 *const data = s.data + c * f.pitch + fft_place(r << 4);
        float2 v[FFT_RADIX];
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++) v[q] = data[q];
        dft<FFT_RADIX, false>(v);
        spectrum(c, r, v);
        if constexpr (!BACK) continue;
        dft<FFT_RADIX, true>(v);
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++) data[q] = v[q];
    }
    __syncthreads();
}
/* The same where there is only a spectrum to come back from. */
template <class Spectrum>
__device__ inline void returning_pass(const BlockFft &f, const BlockSpace &s,
                                      const Spectrum &spectrum) {
    const int log_each = f.log_points - 4;
    for (int i = threadIdx.x; i < f.many << log_each; i += blockDim.x) {
        const int r = i & ((1 << log_each) - 1), c = i >> log_each;
        float2 *const data = s.data + c * f.pitch + fft_place(r << 4);
        float2 v[FFT_RADIX];
        spectrum(c, r, v);
        dft<FFT_RADIX, true>(v);
#pragma unroll
        for (int q = 0; q < FFT_RADIX; q++) data[q] = v[q];
    }
    __syncthreads();
}

/* body.operator()<radix of the first pass>() */
template <class Body> __device__ inline void with_first_radix(const BlockFft &f, const Body &body) {
    switch (f.first) {
    case 2:
        return body.template operator()<2>();
    case 4:
        return body.template operator()<4>();
    case 8:
        return body.template operator()<8>();
    default:
        return body.template operator()<16>();
    }
}

/* Whole transforms up to the turning pass, and from there back. */
template <bool TOKENS, class Read>
__device__ inline void transform_in(const BlockFft &f, const BlockSpace &s, const Read &read) {
    with_first_radix(f, [&]<int R>() { first_pass<R, TOKENS>(f, s, read); });
    for (int size = f.log_points - f.log_first; size > 4; size -= 4) middle_pass<false>(f, s, size);
}
template <bool TOKENS, class Write>
__device__ inline void transform_out(const BlockFft &f, const BlockSpace &s, const Write &write) {
    for (int size = 8; size <= f.log_points - f.log_first; size += 4) middle_pass<true>(f, s, size);
    with_first_radix(f, [&]<int R>() { final_pass<R, TOKENS>(f, s, write); });
}

#endif
