/* Long convolution by transforms. A unit of work is two blocks of LANES channels, each the real or
 * the imaginary half of one complex transform; one block alone packs two rows of the batch instead.
 * Level 0 of every transform is fused with reading and writing (B, L, D), gates included, and never
 * touches the half that is zero or not wanted.
 *
 * Forward: 2 transforms of 2 L points a row for 2 LANES channels, about 44 vector operations each
 * way per point at L = 1024. At length 131072 a buffer is 32 MiB and memory is the bound: some 45
 * bytes per token and channel. */
#include <omp.h>

#include "engine/fft_simd.h"
#include "engine/ops/long_convolution/long_convolution_direct.h"
#include "engine/ops/long_convolution/long_convolution_plan.h"

typedef struct Unit {
    const Convolution *c;
    Lanes lanes[2];
    int64_t row[2];  /* -1: absent, reads as zero */
    bool one_filter; /* both halves are the same channels */
    vfloat skip[2];  /* sums of the gradient of skip */
} Unit;

/* ---- level 0: the first pass reads, the last one writes ---- */

typedef vcomplex Reader(const Unit *unit, int64_t t);
typedef void Writer(Unit *unit, int64_t t, vcomplex value);

ALWAYS_INLINE void store_first(const Fft *fft, float *buffer, int64_t j, int64_t place,
                               const vcomplex x[8]) {
    const float *w = fft->factors + 14 * j;
    const int64_t stride = fft->level[0].stride;
    c_store(buffer, place, x[0]);
    for (int q = 1; q < 8; q++) c_store(buffer, place + q * stride, c_turn(x[q], w + 2 * (q - 1)));
}
ALWAYS_INLINE void load_last(const Fft *fft, const float *buffer, int64_t j, int64_t place,
                             vcomplex x[8]) {
    const float *w = fft->factors + 14 * j;
    const int64_t stride = fft->level[0].stride;
    x[0] = c_load(buffer, place);
    for (int q = 1; q < 8; q++)
        x[q] = c_turn_back(c_load(buffer, place + q * stride), w + 2 * (q - 1));
    butterfly8_before_back(x);
}

/* Rows of level 0 that are read or written together. Its eight streams lie a power of two of bytes
 * apart, and so do tensors: taken point by point they would fall into one set of the cache and wait
 * for each other's addresses, so each stream is followed for some rows at a time. */
enum { ROWS = 16 };
typedef vcomplex Rows[8][ROWS];

/* Points n / 2 .. n - 1 are zero. */
ALWAYS_INLINE void read_half(const Fft *fft, float *buffer, const Unit *unit, Reader *read) {
    const int64_t rows = fft->points / 8;
    for (int64_t first = 0; first < rows; first += ROWS) {
        Rows in;
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < ROWS; j++) in[i][j] = read(unit, i * rows + first + j);
        const int64_t place = fft_run_place(fft, 0, first);
        for (int j = 0; j < ROWS; j++) {
            vcomplex x[8];
            for (int i = 0; i < 4; i++) x[i] = x[i + 4] = in[i][j];
            butterfly8_after(x);
            store_first(fft, buffer, first + j, place + j, x);
        }
    }
}
ALWAYS_INLINE void read_whole(const Fft *fft, float *buffer, const Unit *unit, Reader *read) {
    const int64_t rows = fft->points / 8;
    for (int64_t first = 0; first < rows; first += ROWS) {
        Rows in;
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < ROWS; j++) in[i][j] = read(unit, i * rows + first + j);
        const int64_t place = fft_run_place(fft, 0, first);
        for (int j = 0; j < ROWS; j++) {
            vcomplex x[8];
            for (int i = 0; i < 8; i++) x[i] = in[i][j];
            butterfly8(x);
            store_first(fft, buffer, first + j, place + j, x);
        }
    }
}
ALWAYS_INLINE void write_half(const Fft *fft, const float *buffer, Unit *unit, Writer *write) {
    const int64_t rows = fft->points / 8;
    for (int64_t first = 0; first < rows; first += ROWS) {
        Rows out;
        const int64_t place = fft_run_place(fft, 0, first);
        for (int j = 0; j < ROWS; j++) {
            vcomplex x[8];
            load_last(fft, buffer, first + j, place + j, x);
            for (int i = 0; i < 4; i++) out[i][j] = c_add(x[i], x[i + 4]);
        }
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < ROWS; j++) write(unit, i * rows + first + j, out[i][j]);
    }
}
ALWAYS_INLINE void write_whole(const Fft *fft, const float *buffer, Unit *unit, Writer *write) {
    const int64_t rows = fft->points / 8;
    for (int64_t first = 0; first < rows; first += ROWS) {
        Rows out;
        const int64_t place = fft_run_place(fft, 0, first);
        for (int j = 0; j < ROWS; j++) {
            vcomplex x[8];
            load_last(fft, buffer, first + j, place + j, x);
            for (int i = 0; i < 4; i++) {
                out[i][j] = c_add(x[i], x[i + 4]);
                out[i + 4][j] = c_subtract(x[i], x[i + 4]);
            }
        }
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < ROWS; j++) write(unit, i * rows + first + j, out[i][j]);
    }
}

/* ---- what is read and written ---- */

ALWAYS_INLINE vfloat filter_half(const Unit *unit, int half, int64_t t, int64_t points) {
    const Convolution *c = unit->c;
    const Lanes lanes = unit->lanes[half];
    if (t < c->K) return v_load_part(c->filter + t * c->D + lanes.channel, lanes.width);
    /* The reverse filter runs backwards from the end of the circle. */
    const int64_t back = points - 1 - t;
    if (c->reverse && back < c->K)
        return v_load_part(c->reverse + back * c->D + lanes.channel, lanes.width);
    return v_zero();
}
ALWAYS_INLINE vcomplex read_filter(const Unit *unit, int64_t t) {
    const int64_t points = long_convolution_points(unit->c->L);
    return (vcomplex){filter_half(unit, 0, t, points), filter_half(unit, 1, t, points)};
}

ALWAYS_INLINE vcomplex read_signal(const Unit *unit, int64_t t) {
    vfloat half[2] = {v_zero(), v_zero()};
    for (int i = 0; i < 2 && t < unit->c->L; i++)
        if (unit->row[i] >= 0)
            half[i] = read_input(unit->c, token_at(unit->c, unit->row[i], t, unit->lanes[i]),
                                 unit->lanes[i]);
    return (vcomplex){half[0], half[1]};
}
ALWAYS_INLINE vcomplex read_gradient(const Unit *unit, int64_t t) {
    vfloat half[2] = {v_zero(), v_zero()};
    for (int i = 0; i < 2 && t < unit->c->L; i++)
        if (unit->row[i] >= 0)
            half[i] = read_cotangent(unit->c, token_at(unit->c, unit->row[i], t, unit->lanes[i]),
                                     unit->lanes[i]);
    return (vcomplex){half[0], half[1]};
}

ALWAYS_INLINE void write_signal(Unit *unit, int64_t t, vcomplex value) {
    const vfloat half[2] = {value.re, value.im};
    for (int i = 0; i < 2 && t < unit->c->L; i++)
        if (unit->row[i] >= 0)
            write_output(unit->c, token_at(unit->c, unit->row[i], t, unit->lanes[i]), half[i],
                         unit->lanes[i]);
}
ALWAYS_INLINE void write_signal_gradient(Unit *unit, int64_t t, vcomplex value) {
    const vfloat half[2] = {value.re, value.im};
    for (int i = 0; i < 2 && t < unit->c->L; i++)
        if (unit->row[i] >= 0)
            unit->skip[i] +=
                write_gradient(unit->c, token_at(unit->c, unit->row[i], t, unit->lanes[i]), half[i],
                               unit->lanes[i]);
}

ALWAYS_INLINE void write_filter_gradient(Unit *unit, int64_t t, vcomplex value) {
    const Convolution *c = unit->c;
    const int64_t back = long_convolution_points(c->L) - 1 - t;
    const bool ahead = t < c->K;
    if (!ahead && !(c->reverse && back < c->K)) return;
    const Sink to = ahead ? c->dfilter : c->dreverse;
    const int64_t row = (ahead ? t : back) * c->D;
    if (unit->one_filter) {
        sink(to, row + unit->lanes[0].channel, value.re + value.im, unit->lanes[0]);
        return;
    }
    sink(to, row + unit->lanes[0].channel, value.re, unit->lanes[0]);
    sink(to, row + unit->lanes[1].channel, value.im, unit->lanes[1]);
}

/* ---- units ---- */

/* Pairs of blocks need half as many filter transforms; pairs of rows give twice as many independent
 * units, which is worth more when there are few blocks. */
static bool pairs_blocks(const Convolution *c) {
    return c->B == 1 || blocks_of(c) >= 4;
}
static int64_t units_of(const Convolution *c) {
    return pairs_blocks(c) ? (blocks_of(c) + 1) / 2 : blocks_of(c);
}
static Unit unit_of(const Convolution *c, int64_t index) {
    const int64_t first = pairs_blocks(c) ? 2 * index : index;
    const bool two = pairs_blocks(c) && first + 1 < blocks_of(c);
    return (Unit){.c = c,
                  .lanes = {lanes_of(c, first), lanes_of(c, two ? first + 1 : first)},
                  .one_filter = !two};
}
/* The unit's next row or rows, from 0: false after the last. */
static bool next_rows(Unit *unit, int64_t *step) {
    const int64_t first = unit->one_filter ? 2 * *step : *step;
    if (first >= unit->c->B) return false;
    unit->row[0] = first;
    unit->row[1] = !unit->one_filter ? first : first + 1 < unit->c->B ? first + 1 : -1;
    ++*step;
    return true;
}

static void transform_filter(const Fft *fft, const Unit *unit, const FftBuffers *buffers) {
    if (unit->c->reverse)
        read_whole(fft, buffers->filter, unit, read_filter);
    else
        read_half(fft, buffers->filter, unit, read_filter);
    ISA(fft_run)(fft, FFT_FILTER, buffers);
}

static void forward_unit(const Fft *fft, Unit *unit, float *memory) {
    const size_t size = fft_buffer_bytes(fft) / sizeof(float);
    const FftBuffers buffers = {.filter = memory, .signal = memory + size};
    transform_filter(fft, unit, &buffers);
    for (int64_t step = 0; next_rows(unit, &step);) {
        read_half(fft, buffers.signal, unit, read_signal);
        ISA(fft_run)(fft, FFT_CONVOLVE, &buffers);
        write_half(fft, buffers.signal, unit, write_signal);
    }
}

static void backward_unit(const Fft *fft, Unit *unit, float *memory) {
    const Convolution *c = unit->c;
    const size_t size = fft_buffer_bytes(fft) / sizeof(float);
    FftBuffers buffers = {.filter = memory,
                          .signal = memory + size,
                          .cotangent = memory + 2 * size,
                          .gradient = memory + 3 * size,
                          .first = true};
    transform_filter(fft, unit, &buffers);
    for (int64_t step = 0; next_rows(unit, &step); buffers.first = false) {
        read_half(fft, buffers.signal, unit, read_signal);
        read_half(fft, buffers.cotangent, unit, read_gradient);
        ISA(fft_run)(fft, FFT_ADJOINT, &buffers);
        write_half(fft, buffers.cotangent, unit, write_signal_gradient);
    }
    if (c->dfilter.at || c->dreverse.at) {
        ISA(fft_run)(fft, FFT_GRADIENT, &buffers);
        if (c->reverse)
            write_whole(fft, buffers.gradient, unit, write_filter_gradient);
        else
            write_half(fft, buffers.gradient, unit, write_filter_gradient);
    }
    if (unit->one_filter) {
        sink(c->dskip, unit->lanes[0].channel, unit->skip[0] + unit->skip[1], unit->lanes[0]);
        return;
    }
    for (int i = 0; i < 2; i++)
        sink(c->dskip, unit->lanes[i].channel, unit->skip[i], unit->lanes[i]);
}

static void by_transform(const Convolution *c, const Run *run, Phase phase,
                         void (*work)(const Fft *, Unit *, float *)) {
    Fft fft = fft_layout(long_convolution_points(c->L));
    fft_factors(&fft, c->scratch);
    float *memory = (float *)c->scratch + long_convolution_table_floats(&fft);
    const int64_t each =
        (int64_t)(fft_buffer_bytes(&fft) / sizeof(float)) * (phase == PHASE_FORWARD ? 2 : 4);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t index = 0; index < units_of(c); index++) {
        Unit unit = unit_of(c, index);
        work(&fft, &unit, memory + omp_get_thread_num() * each);
    }
}

static void forward(const OpCall *call, const Run *run) {
    const Convolution c = convolution_of(call);
    if (long_convolution_is_direct(c.L, c.K))
        ISA(long_convolution_direct)(&c, run);
    else
        by_transform(&c, run, PHASE_FORWARD, forward_unit);
}

static void backward(const OpCall *call, const Run *run) {
    const Convolution c = convolution_of(call);
    if (long_convolution_is_direct(c.L, c.K))
        ISA(long_convolution_direct_backward)(&c, run);
    else
        by_transform(&c, run, PHASE_BACKWARD, backward_unit);
}

const OpKernels ISA(long_convolution_cpu) = {forward, backward};
