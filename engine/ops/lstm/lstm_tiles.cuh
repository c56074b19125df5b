/* What a thread of the resident kernels (lstm_resident.cu) does in a product: sums of a tile, by
 * what the run's products round their inputs to. States lie in shared memory as float32, rows
 * PAD floats behind whole chunks apart; weights as the tile reads them. Sums come in fours of
 * neighbouring columns.
 *
 * THREADS_EACH threads make a tile of ROWS x COLUMNS sums, DEPTH terms at a time; each reads HELD
 * rows of states and ends with FOURS fours. CYCLES: of a multiprocessor for one term of all its
 * tiles, by multiply-adds (float) or by turns of shared memory. */
#ifndef LONGHAUL_OPS_LSTM_TILES_H
#define LONGHAUL_OPS_LSTM_TILES_H

#include "engine/cuda/matrix.cuh"

/* The tile of a thread, and where in it the thread is. */
struct Tile {
    int down, across; /* which one, of so many: */
    int rows, columns;
    int lane;
};

/* A thread has 8 x 8 sums: 16 loads of 16 bytes for 256 multiply-adds. */
struct FloatTiles {
    typedef float Weight;
    enum { THREADS_EACH = 1, ROWS = 8, COLUMNS = 8, DEPTH = 4, HELD = 8, FOURS = 16, PAD = 4 };
    enum { CYCLES = 128, MOST_CYCLES = 32768 };

    /* Rows of a thread are `rows` apart, so that neighbouring tiles read different banks. */
    __device__ static int held_row(const Tile &t, int i) {
        return i * t.rows + t.down;
    }
    __device__ static int held_column(const Tile &) {
        return 0;
    }
    __device__ static int row(const Tile &t, int e) {
        return held_row(t, e / 2);
    }
    __device__ static int four(const Tile &t, int e) {
        return e % 2 * t.columns + t.across;
    }
    __device__ static void keep(Weight *w, int columns, int term, int column, float value) {
        w[term * columns + column] = value;
    }
    __device__ static int first_weight(const Tile &t) {
        return t.across * 4;
    }

    typedef Lanes<4> Sums[FOURS];
    /* Four terms of the rows, and where their weights lie, the first of them read. */
    struct Terms {
        Lanes<4> a[HELD], b[2];
        const Weight *weights;
    };
    __device__ static void read(Terms &of, const float *x, const int row[HELD],
                                const Weight *weights, int columns) {
        of.weights = weights;
#pragma unroll
        for (int i = 0; i < HELD; i++) of.a[i] = load<4>(x + row[i]);
        of.b[0] = load<4>(weights);
        of.b[1] = load<4>(weights + columns / 2);
    }
    __device__ static void add(Sums &sums, const Terms &of, int columns) {
        Lanes<4> b[2] = {of.b[0], of.b[1]}, next[2] = {};
#pragma unroll
        for (int j = 0; j < DEPTH; j++) {
            if (j + 1 < DEPTH) {
                next[0] = load<4>(of.weights + (2 * j + 2) * (columns / 2));
                next[1] = load<4>(of.weights + (2 * j + 3) * (columns / 2));
            }
#pragma unroll
            for (int e = 0; e < FOURS; e++)
#pragma unroll
                for (int n = 0; n < 4; n++) sums[e].of[n] += of.a[e / 2].of[j] * b[e % 2].of[n];
            b[0] = next[0];
            b[1] = next[1];
        }
    }
    __device__ static Lanes<4> take(const Sums &sums, int e) {
        return sums[e];
    }
};

/* A warp has 16 x 32 sums, four tiles of mma.sync side by side. Of 16 columns, two of those tiles,
 * four neighbours belong to one lane: the first two of them to the first tile. Weights lie as the
 * lanes hold them, [terms of a product][16 columns][lane][tile, register]. */
struct TensorTiles {
    enum { THREADS_EACH = WARP, ROWS = 16, COLUMNS = 32, HELD = 2, FOURS = 4, MOST_CYCLES = 20480 };
    enum { PAIRS = COLUMNS / 16 };

    __device__ static int held_row(const Tile &t, int i) {
        return t.down * ROWS + i * 8 + t.lane / 4;
    }
    __device__ static int row(const Tile &t, int e) {
        return held_row(t, e % 2);
    }
    __device__ static int four(const Tile &t, int e) {
        return (t.across * PAIRS + e / 2) * 4 + t.lane % 4;
    }
    typedef float Sums[PAIRS * 2][4];
    struct Terms {
        uint32_t a[4];
        Lanes<4> b[PAIRS]; /* bits of two tiles' registers */
    };
    __device__ static Lanes<4> take(const Sums &sums, int e) {
        const int pair = e / 2 * 2, low = e % 2 * 2;
        return {
            {sums[pair][low], sums[pair][low + 1], sums[pair + 1][low], sums[pair + 1][low + 1]}};
    }
    /* Where the lane that holds this column for the terms of place 0 .. 3 has its registers. */
    __device__ static int register_of(int column, int place) {
        const int n = column % 16, lane = (n / 4 * 2 + n % 2) * 4 + place;
        return (column / 16 * (int)WARP + lane) * 4 + n / 2 % 2 * 2;
    }
};

struct Tf32Tiles : TensorTiles {
    typedef float Weight;
    enum { DEPTH = 8, PAD = 4, CYCLES = 12 };
    __device__ static int held_column(const Tile &t) {
        return t.lane % 4;
    }
    __device__ static void keep(Weight *w, int columns, int term, int column, float value) {
        w[term / DEPTH * DEPTH * columns + register_of(column, term % 4) + term % DEPTH / 4] =
            float_of_bits(tf32_bits(value));
    }
    __device__ static int first_weight(const Tile &t) {
        return (t.across * PAIRS * (int)WARP + t.lane) * 4;
    }
    __device__ static void read(Terms &of, const float *x, const int row[HELD],
                                const Weight *weights, int) {
#pragma unroll
        for (int i = 0; i < 4; i++) of.a[i] = tf32_bits(x[row[i % 2] + i / 2 * 4]);
#pragma unroll
        for (int pair = 0; pair < PAIRS; pair++)
            of.b[pair] = load<4>(weights + pair * (int)WARP * 4);
    }
    __device__ static void add(Sums &sums, const Terms &of, int) {
#pragma unroll
        for (int n = 0; n < PAIRS * 2; n++)
            multiply_tf32(sums[n], of.a, bits_of(of.b[n / 2].of[n % 2 * 2]),
                          bits_of(of.b[n / 2].of[n % 2 * 2 + 1]));
    }
};

struct Bf16Tiles : TensorTiles {
    typedef bfloat Weight;
    enum { DEPTH = 16, PAD = 8, CYCLES = 8 };
    __device__ static int held_column(const Tile &t) {
        return t.lane % 4 * 2;
    }
    __device__ static void keep(Weight *w, int columns, int term, int column, float value) {
        const int place = term % DEPTH % 8;
        w[term / DEPTH * DEPTH * columns + (register_of(column, place / 2) + term % DEPTH / 8) * 2 +
          place % 2] = bfloat_of(value);
    }
    __device__ static int first_weight(const Tile &t) {
        return (t.across * PAIRS * (int)WARP + t.lane) * 8;
    }
    __device__ static void read(Terms &of, const float *x, const int row[HELD],
                                const Weight *weights, int) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const Lanes<2> two = load<2>(x + row[i % 2] + i / 2 * 8);
            of.a[i] = two_bf16(two.of[0], two.of[1]);
        }
#pragma unroll
        for (int pair = 0; pair < PAIRS; pair++)
            of.b[pair] = *reinterpret_cast<const Lanes<4> *>(weights + pair * (int)WARP * 8);
    }
    __device__ static void add(Sums &sums, const Terms &of, int) {
#pragma unroll
        for (int n = 0; n < PAIRS * 2; n++)
            multiply_bf16(sums[n], of.a, bits_of(of.b[n / 2].of[n % 2 * 2]),
                          bits_of(of.b[n / 2].of[n % 2 * 2 + 1]));
    }
};

#endif
