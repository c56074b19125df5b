/* Picking rows of a matrix. */
#ifndef LONGHAUL_CUDA_ROWS_H
#define LONGHAUL_CUDA_ROWS_H

#include "engine/cuda/elements.cuh"

/* to[row, c] = factor from[source(row), c] for `rows` rows of `width` floats. */
template <class Source>
void pick_rows(const Run *run, int64_t rows, int64_t width, const float *from, float factor,
               float *to, Source source) {
    const Divisor columns = divide_by(width);
    if (width % FOUR == 0)
        for_each_four(run, rows * width, [=] __device__(int64_t first) {
            const int64_t row = columns.of(first), c = first - row * columns.d;
            Four x = load<FOUR>(from + source(row) * columns.d + c);
            for (int e = 0; e < FOUR; e++) x.of[e] *= factor;
            store<FOUR>(to + first, x);
        });
    else
        for_each(run, rows * width, [=] __device__(int64_t i) {
            const int64_t row = columns.of(i);
            to[i] = factor * from[source(row) * columns.d + i - row * columns.d];
        });
}

#endif
