/* Sums over the rows of a matrix, for the gradients of biases, gains and tables: rows are cut into
 * slices whose number depends on the shape alone, a second kernel adds the slices in order. */
#ifndef LONGHAUL_CUDA_COLUMNS_H
#define LONGHAUL_CUDA_COLUMNS_H

#include "engine/cuda/grid.cuh"

enum { COLUMN_SLICES = 128, COLUMN_ROWS = 64, COLUMN_THREADS = 128 };

/* Slices of `rows` rows: at least COLUMN_ROWS rows each, at most COLUMN_SLICES of them. */
static inline int64_t column_slices(int64_t rows) {
    const int64_t slices = (rows + COLUMN_ROWS - 1) / COLUMN_ROWS;
    return slices < 1 ? 1 : slices > COLUMN_SLICES ? (int64_t)COLUMN_SLICES : slices;
}
static inline size_t column_scratch(int64_t rows, int64_t columns) {
    return carved(column_slices(rows) * columns, sizeof(float));
}

/* partial[slice, c] = sum over the slice's rows of term(row, c). */
template <class Term>
KERNEL void __launch_bounds__(COLUMN_THREADS)
    column_partials(Term term, int64_t rows, int64_t columns, int64_t slices, float *partial) {
    const int64_t c = global_thread(), slice = blockIdx.y;
    if (c >= columns) return;
    const int64_t from = slice * rows / slices, to = (slice + 1) * rows / slices;
    float sum = 0;
#pragma unroll 8 /* loads in flight */
    for (int64_t row = from; row < to; row++) sum += term(row, c);
    partial[slice * columns + c] = sum;
}

/* out[c] = or += sum over slices of partial[slice, c]: TOTAL_LINES lines of threads take slices in
 * turn and are added in order. A template only to have one copy per user. */
enum { TOTAL_LINES = 16, TOTAL_COLUMNS = 32 };
template <class T>
KERNEL void __launch_bounds__(TOTAL_LINES *TOTAL_COLUMNS)
    column_totals(const T *__restrict__ partial, int64_t columns, int64_t slices, float *out,
                  bool accumulate) {
    __shared__ T lines[TOTAL_LINES][TOTAL_COLUMNS];
    const int own = (int)threadIdx.x % TOTAL_COLUMNS, line = (int)threadIdx.x / TOTAL_COLUMNS;
    const int64_t c = (int64_t)blockIdx.x * TOTAL_COLUMNS + own;
    const int64_t end = c < columns ? slices : 0;
    T sum = 0;
#pragma unroll 8 /* loads in flight */
    for (int64_t slice = line; slice < end; slice += TOTAL_LINES)
        sum += partial[slice * columns + c];
    lines[line][own] = sum;
    __syncthreads();
    if (line != 0 || c >= columns) return;
    for (int i = 1; i < TOTAL_LINES; i++) sum += lines[i][own];
    put(out + c, (float)sum, accumulate);
}
template <class T>
void add_slices(const Run *run, const T *partial, int64_t columns, int64_t slices, float *out,
                bool accumulate) {
    LAUNCH(run, column_totals<T>, blocks_for(columns, TOTAL_COLUMNS), TOTAL_LINES * TOTAL_COLUMNS,
           0, partial, columns, slices, out, accumulate);
}

/* out (columns) = or += sum over rows of term(row, column); scratch: column_scratch bytes. */
template <class Term>
void sum_columns(const Run *run, Term term, int64_t rows, int64_t columns, float *out,
                 bool accumulate, float *scratch) {
    const int64_t slices = column_slices(rows);
    LAUNCH(run, column_partials<Term>, dim3(blocks_for(columns, COLUMN_THREADS), (unsigned)slices),
           COLUMN_THREADS, 0, term, rows, columns, slices, scratch);
    add_slices(run, (const float *)scratch, columns, slices, out, accumulate);
}

/* A plain matrix as the term of a sum. */
struct MatrixTerm {
    const float *data;
    int64_t columns;
    __device__ float operator()(int64_t row, int64_t c) const {
        return data[row * columns + c];
    }
};

#endif
