/* Fourier transforms inside a block, in shared memory: Fft<P>::MANY complex sequences of P points
 * each, P = FIRST MIDDLE LAST, a pass for every factor above 1, each in registers. Forward is
 * decimation in frequency, in place; the inverse walks back the same way. So nothing is ever
 * reordered: thread by thread a spectrum lies in the order in which the last forward pass leaves
 * it, and a convolution never needs to know more (Gentleman and Sande 1966, "Fast Fourier
 * transforms: for fun and profit").
 *
 * Transforms can be twisted: values of the polynomial at the P points z with z^P = i instead of
 * z^P = 1, that is the transform of x_t exp(2 pi i t / (4 P)). A product of two of them is a
 * convolution modulo z^P - i: what wraps around comes back times i. So where both are real and of
 * at most P points, the real part of P points is their linear convolution without any padding, and
 * the imaginary part what runs over (the right-angle convolution of Crandall and Pomerance 2001,
 * "Prime numbers: a computational perspective", section 9.5). The twist costs one product with a
 * constant a point; the rest of it is in the table of factors. */
#ifndef LONGHAUL_CUDA_FFT_H
#define LONGHAUL_CUDA_FFT_H

#include "engine/cuda/copies.cuh"

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
    FFT_LEAST = 64, /* points of a sequence in a block */
    FFT_MOST = 2048,
    FFT_THREADS = 256, /* of a block; 16 or 32 points each, in up to 86 KiB of shared memory, which
                          every GPU since compute capability 8.0 gives, an H100 twice */
    FFT_MIDDLE = 16
};

template <int P> struct Fft {
    static constexpr int LAST = P == 512 || P == 1024 ? 32 : 16;
    static constexpr int MIDDLE = P > 1024 ? (int)FFT_MIDDLE : 1;
    static constexpr int FIRST = P / (LAST * MIDDLE);
    static constexpr int WORK = P < 256 ? 4096 : 8192; /* points of a block */
    static constexpr int MANY = WORK / P;
    static constexpr int ROWS = P / FIRST; /* columns of the first pass, FIRST points each */
    static constexpr int EACH = P / LAST;  /* runs of the last pass, LAST points each */
    /* Blocks of a multiprocessor: 32 points in registers want 128 of them, 16 points 80 or, where
     * that is all a thread has, 64. */
    static constexpr int BLOCKS = LAST == 32 || P > 1024 ? 2 : P < 256 ? 4 : 3;
    static constexpr int FEWER = BLOCKS > 2 ? BLOCKS - 1 : 2; /* where there is more to hold */
    /* Columns of the first pass that a thread reads before it waits for any: all, but where 80
     * registers do not hold 32 points. */
    static constexpr int TOGETHER = P == 256 ? 1 : ROWS * MANY / FFT_THREADS;
    /* Factors that it reads before it stores: all, but where 128 registers do not hold them. */
    static constexpr int FACTORS = FIRST < 32 ? FIRST : 8;
    /* Shared memory: sequences side by side, one place more after each LAST points so that columns
     * as well as runs meet different banks; then the factors. */
    static constexpr int SPACE = (P + EACH) * MANY;
    static constexpr int TABLE = P + (MIDDLE > 1 ? MIDDLE * LAST : 0);
    static constexpr size_t BYTES = (size_t)(SPACE + TABLE) * sizeof(float2);
    static __device__ int place(int t, int c) {
        return (t + t / LAST) * MANY + c;
    }
};

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

/* exp(2 pi i k / 128); k is a constant of the unrolled caller. */
__device__ inline float2 root128(int k) {
    constexpr float quarter[33] = {
        1.000000000f, 0.998795456f, 0.995184727f, 0.989176510f, 0.980785280f, 0.970031253f,
        0.956940336f, 0.941544065f, 0.923879533f, 0.903989293f, 0.881921264f, 0.857728610f,
        0.831469612f, 0.803207531f, 0.773010453f, 0.740951125f, 0.707106781f, 0.671558955f,
        0.634393284f, 0.595699304f, 0.555570233f, 0.514102744f, 0.471396737f, 0.427555093f,
        0.382683432f, 0.336889853f, 0.290284677f, 0.242980180f, 0.195090322f, 0.146730474f,
        0.098017140f, 0.049067674f, 0.000000000f};
    const int part = k / 32 % 4, rest = k % 32;
    const float c = quarter[rest], s = quarter[32 - rest];
    return part == 0   ? make_float2(c, s)
           : part == 1 ? make_float2(-s, c)
           : part == 2 ? make_float2(-c, -s)
                       : make_float2(s, -c);
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
/* a exp(-2 pi i k / R), conjugate if INVERSE. */
template <int R, bool INVERSE> __device__ inline float2 times_root(float2 a, int k) {
    if (k == 0) return a;
    if (4 * k == R) return quarter_turn<INVERSE>(a);
    const float2 root = root128(k * (128 / R));
    return a * (INVERSE ? root : conjugate(root));
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
            for (int q = 0; q < S; q++) v[q + k * S] = times_root<R, INVERSE>(v[q + k * S], q * k);
            dft<S, INVERSE>(v + k * S);
#pragma unroll
            for (int q = 0; q < S; q++) w[k + 4 * q] = v[k * S + q];
        }
#pragma unroll
        for (int k = 0; k < R; k++) v[k] = w[k];
    }
}

/* What the twist leaves to the points q of a column of R: exp(2 pi i q / (4 R)). */
template <int R> __device__ inline float2 twist(int q) {
    return root128(q * (32 / R));
}

/* ---- factors: a table in device memory that one launch makes and every block copies. First those
 * between the first pass and the next, [q][j], with the twist's part that depends on j alone; then
 * those between the middle pass and the last. ---- */

template <int P> __device__ inline float2 fft_factor(int i, bool twisted) {
    if (i < P) {
        const int q = i / Fft<P>::ROWS, j = i % Fft<P>::ROWS;
        return fft_turn((float)(j * (4 * q - (twisted ? 1 : 0))) / (float)(4 * P));
    }
    const int q = (i - P) / Fft<P>::LAST, j = (i - P) % Fft<P>::LAST;
    return fft_turn((float)(j * q) / (float)(Fft<P>::MIDDLE * Fft<P>::LAST));
}

/* The block's part of shared memory. The copy of the table is there after the barrier in the first
 * pass; who begins with returning_pass has one anyway, and waits for its copies. */
struct BlockSpace {
    float2 *data, *table;
};
template <int P> __device__ inline BlockSpace block_space(const float2 *table) {
    BlockSpace s;
    s.table = shared_memory<float2>();
    s.data = s.table + Fft<P>::TABLE;
#pragma unroll
    for (int n = 0; n < Fft<P>::TABLE; n += 2 * FFT_THREADS) {
        const int i = n + 2 * (int)threadIdx.x;
        if (i < Fft<P>::TABLE) copy_async(s.table + i, table + i);
    }
    return s;
}

/* ---- passes. Factors are read before stores: a store could be what a later load reads, so the
 * compiler lets every such load wait for the stores before it, one latency after the other ---- */

/* What a thread does as its n-th: column or run j of sequence c; neighbouring threads take
 * neighbouring sequences. i counts a block's. MANY divides FFT_THREADS, so that c is the same for
 * all n and the rest constants apart. */
template <int P> struct FftPart {
    int i, c, j;
    __device__ FftPart(int n) {
        const int thread = (int)(threadIdx.x % FFT_THREADS); /* tells the compiler its range */
        i = thread + n * FFT_THREADS;
        c = thread % Fft<P>::MANY;
        j = thread / Fft<P>::MANY + n * (FFT_THREADS / Fft<P>::MANY);
    }
};

/* read(c, j, v) gives the points j + q ROWS of sequence c. */
template <int P, class Read>
__device__ inline void first_pass(const BlockSpace &s, const Read &read) {
    typedef Fft<P> F;
    constexpr int N = F::TOGETHER;
#pragma unroll
    for (int n = 0; n < F::ROWS * F::MANY / FFT_THREADS; n += N) {
        float2 v[N][F::FIRST];
#pragma unroll
        for (int m = 0; m < N; m++) {
            const FftPart<P> part(n + m);
            read(part.c, part.j, v[m]);
        }
        if (n == 0) { /* the factors are there, and the last user of the space is done */
            wait_copies();
            __syncthreads();
        }
#pragma unroll
        for (int m = 0; m < N; m++) {
            const FftPart<P> part(n + m);
            dft<F::FIRST, false>(v[m]);
#pragma unroll
            for (int from = 0; from < F::FIRST; from += F::FACTORS) {
#pragma unroll
                for (int q = from; q < from + F::FACTORS; q++)
                    v[m][q] = v[m][q] * s.table[q * F::ROWS + part.j];
#pragma unroll
                for (int q = from; q < from + F::FACTORS; q++)
                    s.data[F::place(part.j, part.c) + F::place(q * F::ROWS, 0)] = v[m][q];
            }
        }
    }
    __syncthreads();
}
/* The way back: write(c, j, v) takes them. No barrier behind it. */
template <int P, class Write>
__device__ inline void final_pass(const BlockSpace &s, const Write &write) {
    typedef Fft<P> F;
#pragma unroll
    for (int n = 0; n < F::ROWS * F::MANY / FFT_THREADS; n++) {
        const FftPart<P> part(n);
        float2 v[F::FIRST];
#pragma unroll
        for (int q = 0; q < F::FIRST; q++)
            v[q] = s.data[F::place(part.j, part.c) + F::place(q * F::ROWS, 0)] *
                   conjugate(s.table[q * F::ROWS + part.j]);
        dft<F::FIRST, true>(v);
        write(part.c, part.j, v);
    }
}

template <int P, bool INVERSE> __device__ inline void middle_pass(const BlockSpace &s) {
    typedef Fft<P> F;
    constexpr int R = F::MIDDLE;
    const float2 *const table = s.table + P;
#pragma unroll
    for (int n = 0; n < P / R * F::MANY / FFT_THREADS; n++) {
        const FftPart<P> part(n);
        const int j = part.j % F::LAST;
        const int base = F::place(part.j / F::LAST * F::ROWS + j, part.c);
        float2 v[R];
#pragma unroll
        for (int q = 0; q < R; q++) {
            v[q] = s.data[base + F::place(q * F::LAST, 0)];
            if (INVERSE) v[q] = v[q] * conjugate(table[q * F::LAST + j]);
        }
        dft<R, INVERSE>(v);
#pragma unroll
        for (int q = 0; q < R && !INVERSE; q++) v[q] = v[q] * table[q * F::LAST + j];
#pragma unroll
        for (int q = 0; q < R; q++) s.data[base + F::place(q * F::LAST, 0)] = v[q];
    }
    __syncthreads();
}

/* Last forward pass; spectrum(i, c, r, v) gets LAST frequencies of sequence c, for P <= 1024
 * those r + q EACH; i counts a block's (c, r), in whose order memory is best used. BACK: what it
 * leaves in v goes through the first inverse pass. */
template <int P, bool BACK, class Spectrum>
__device__ inline void turning_pass(const BlockSpace &s, const Spectrum &spectrum) {
    typedef Fft<P> F;
#pragma unroll
    for (int n = 0; n < F::EACH * F::MANY / FFT_THREADS; n++) {
        const FftPart<P> part(n);
        float2 *const data = s.data + F::place(part.j * F::LAST, part.c);
        float2 v[F::LAST];
#pragma unroll
        for (int q = 0; q < F::LAST; q++) v[q] = data[q * F::MANY];
        dft<F::LAST, false>(v);
        spectrum(part.i, part.c, part.j, v);
        if constexpr (!BACK) continue;
        dft<F::LAST, true>(v);
#pragma unroll
        for (int q = 0; q < F::LAST; q++) data[q * F::MANY] = v[q];
    }
    if constexpr (BACK) __syncthreads();
}
/* The same where there is only a spectrum to come back from. */
template <int P, class Spectrum>
__device__ inline void returning_pass(const BlockSpace &s, const Spectrum &spectrum) {
    typedef Fft<P> F;
    wait_copies();
    __syncthreads();
#pragma unroll
    for (int n = 0; n < F::EACH * F::MANY / FFT_THREADS; n++) {
        const FftPart<P> part(n);
        float2 *const data = s.data + F::place(part.j * F::LAST, part.c);
        float2 v[F::LAST];
        spectrum(part.i, part.c, part.j, v);
        dft<F::LAST, true>(v);
#pragma unroll
        for (int q = 0; q < F::LAST; q++) data[q * F::MANY] = v[q];
    }
    __syncthreads();
}

/* Whole transforms up to the turning pass, and from there back. */
template <int P, class Read>
__device__ inline void transform_in(const BlockSpace &s, const Read &read) {
    first_pass<P>(s, read);
    if constexpr (Fft<P>::MIDDLE > 1) middle_pass<P, false>(s);
}
template <int P, class Write>
__device__ inline void transform_out(const BlockSpace &s, const Write &write) {
    if constexpr (Fft<P>::MIDDLE > 1) middle_pass<P, true>(s);
    final_pass<P>(s, write);
}

#endif
