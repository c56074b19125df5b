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
    for (int64_t row = from; row < to; row++) sum += term(row, c);
    partial[slice * columns + c] = sum;
}

/* out[c] = or += sum over slices of partial[slice, c]. A template only to have one copy per user.
 */
template <class T>
KERNEL void __launch_bounds__(COLUMN_THREADS)
    column_totals(const T *__restrict__ partial, int64_t columns, int64_t slices, float *out,
                  bool accumulate) {
    const int64_t c = global_thread();
    if (c >= columns) return;
    T sum = 0;
    for (int64_t slice = 0; slice < slices; slice++) sum += partial[slice * columns + c];
    put(out + c, (float)sum, accumulate);
}

/* out (columns) = or += sum over rows of term(row, column); scratch: column_scratch bytes. */
template <class Term>
void sum_columns(const Run *run, Term term, int64_t rows, int64_t columns, float *out,
                 bool accumulate, float *scratch) {
    const int64_t slices = column_slices(rows);
    LAUNCH(run, column_partials<Term>, dim3(blocks_for(columns, COLUMN_THREADS), (unsigned)slices),
           COLUMN_THREADS, 0, term, rows, columns, slices, scratch);
    LAUNCH(run, column_totals<float>, blocks_for(columns, COLUMN_THREADS), COLUMN_THREADS, 0,
           (const float *)scratch, columns, slices, out, accumulate);
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
