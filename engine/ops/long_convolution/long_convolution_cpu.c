/* Long convolution by transforms, LANES channels at a time. Level 0 of every transform is fused
 * with reading and writing (B, L, D), gates included. The skip term is a part of tap 0.
 *
 * Forward: 2 transforms of L complex points a row and one of the filter, about 42 vector operations
 * each way per point at L = 1024. Tensors lie in memory, where a row of tokens is read whole: a
 * unit's blocks of channels are as wide as that asks for (long_convolution_lines), not as narrow as
 * the second-level cache would like; below level 0 one block after the other is transformed, 64 or
 * 128 bytes a point for each of signal and filter. */
#include <omp.h>

#include "engine/fft_ends_simd.h"
#include "engine/ops/long_convolution/long_convolution_direct.h"
#include "engine/ops/long_convolution/long_convolution_plan.h"

/* Blocks of LANES channels that a unit takes side by side, at most. */
enum { LINE_BLOCKS = FFT_LANES / LANES, MOST_BLOCKS = LONG_CONVOLUTION_LINES * LINE_BLOCKS };

/* One row of the batch, or the filter, of `blocks` blocks. Their buffers lie one after the other.
 */
typedef struct Unit {
    Convolution c;
    int64_t row, points, buffer; /* buffer: floats */
    int blocks;
    Lanes lanes[MOST_BLOCKS];
} Unit;

/* ---- what is read and written ---- */

/* Of the signal that a pass begins with, and that it ends with: point t. */
typedef vfloat Reader(const Unit *unit, int64_t t, Lanes lanes);
typedef void Writer(const Unit *unit, int64_t t, Lanes lanes, vfloat value);

/* Fetches what will be touched FFT_ROWS tokens later, when the stream is followed again: tokens are
 * D floats apart, too far for the processor to foresee. The address may be past the end, which a
 * prefetch does not mind. */
ALWAYS_INLINE const void *address(const float *tensor, int64_t at) {
    return (const void *)((intptr_t)tensor + (intptr_t)(at * (int64_t)sizeof *tensor));
}
ALWAYS_INLINE void fetch(const float *tensor, int64_t at) {
    if (tensor) __builtin_prefetch(address(tensor, at));
}
ALWAYS_INLINE void fetch_for_writing(const float *tensor, int64_t at) {
    if (tensor) __builtin_prefetch(address(tensor, at), 1);
}

ALWAYS_INLINE vfloat filter_tap(const Unit *unit, int64_t t, Lanes lanes) {
    if (t >= unit->c.K) return v_zero();
    fetch(unit->c.filter, (t + FFT_ROWS) * unit->c.D + lanes.channel);
    return read_tap(&unit->c, t, lanes);
}
/* Reverse tap k - 1 is that of x^-k. */
ALWAYS_INLINE vfloat reverse_tap(const Unit *unit, int64_t t, Lanes lanes) {
    const int64_t tap = t - unit->points;
    return -tap <= unit->c.K ? read_tap(&unit->c, tap, lanes) : v_zero();
}
ALWAYS_INLINE void filter_gradient(const Unit *unit, int64_t t, Lanes lanes, vfloat value) {
    if (t >= unit->c.K) return;
    fetch_for_writing(unit->c.dfilter.at, (t + FFT_ROWS) * unit->c.D + lanes.channel);
    write_tap_gradient(&unit->c, t, value, lanes);
}
ALWAYS_INLINE void reverse_gradient(const Unit *unit, int64_t t, Lanes lanes, vfloat value) {
    const int64_t tap = t - unit->points;
    if (-tap <= unit->c.K) write_tap_gradient(&unit->c, tap, value, lanes);
}

ALWAYS_INLINE vfloat input(const Unit *unit, int64_t t, Lanes lanes) {
    if (t >= unit->c.L) return v_zero();
    const int64_t at = token_at(&unit->c, unit->row, t, lanes);
    const int64_t later = at + FFT_ROWS * unit->c.D;
    fetch(unit->c.u, later);
    fetch(unit->c.pre, later);
    return read_input(&unit->c, at, lanes);
}
ALWAYS_INLINE vfloat cotangent(const Unit *unit, int64_t t, Lanes lanes) {
    if (t >= unit->c.L) return v_zero();
    const int64_t at = token_at(&unit->c, unit->row, t, lanes);
    const int64_t later = at + FFT_ROWS * unit->c.D;
    fetch(unit->c.dy, later);
    fetch(unit->c.post, later);
    if (unit->c.dpost.at) fetch(unit->c.sum, later);
    fetch_for_writing(unit->c.dpost.at, later);
    return read_cotangent(&unit->c, at, lanes);
}
ALWAYS_INLINE void output(const Unit *unit, int64_t t, Lanes lanes, vfloat value) {
    if (t >= unit->c.L) return;
    const int64_t at = token_at(&unit->c, unit->row, t, lanes);
    const int64_t later = at + FFT_ROWS * unit->c.D;
    fetch_for_writing(unit->c.y, later);
    fetch_for_writing(unit->c.sum, later);
    fetch(unit->c.post, later);
    write_output(&unit->c, at, value, lanes);
}
ALWAYS_INLINE void input_gradient(const Unit *unit, int64_t t, Lanes lanes, vfloat value) {
    if (t >= unit->c.L) return;
    const int64_t at = token_at(&unit->c, unit->row, t, lanes);
    const int64_t later = at + FFT_ROWS * unit->c.D;
    fetch_for_writing(unit->c.du.at, later);
    fetch(unit->c.pre, later);
    if (unit->c.dpre.at) fetch(unit->c.u, later);
    fetch_for_writing(unit->c.dpre.at, later);
    write_gradient(&unit->c, at, value, lanes);
}

/* ---- units ---- */

/* First passes of all blocks, from real parts and imaginary ones (NULL: none), and last passes. A
 * token's blocks are taken together. most: of the blocks, known to the compiler. */
ALWAYS_INLINE void read_signals(const Fft *fft, float *buffer, const Unit *unit, int most,
                                Reader *real, Reader *imaginary) {
    const Unit from = *unit; /* nothing can change it behind the loop's back */
    FftRows re[MOST_BLOCKS], im[MOST_BLOCKS];
    for (int64_t first = 0; first < fft->points / 8; first += FFT_ROWS) {
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < FFT_ROWS; j++)
                for (int b = 0; b < most; b++) {
                    if (b >= from.blocks) break;
                    const int64_t t = fft_point(fft, first, i, j);
                    re[b][i][j] = real(&from, t, from.lanes[b]);
                    if (imaginary) im[b][i][j] = imaginary(&from, t, from.lanes[b]);
                }
        for (int b = 0; b < from.blocks; b++)
            fft_first_pass(fft, buffer + b * from.buffer, first, re[b], imaginary ? im[b] : NULL);
    }
}
ALWAYS_INLINE void write_signals(const Fft *fft, const float *buffer, const Unit *unit, int most,
                                 Writer *real, Writer *imaginary) {
    const Unit to = *unit;
    FftRows re[MOST_BLOCKS], im[MOST_BLOCKS];
    for (int64_t first = 0; first < fft->points / 8; first += FFT_ROWS) {
        for (int b = 0; b < to.blocks; b++)
            fft_last_pass(fft, buffer + b * to.buffer, first, re[b], imaginary ? im[b] : NULL);
        for (int i = 0; i < 8; i++)
            for (int j = 0; j < FFT_ROWS; j++)
                for (int b = 0; b < most; b++) {
                    if (b >= to.blocks) break;
                    const int64_t t = fft_point(fft, first, i, j);
                    real(&to, t, to.lanes[b], re[b][i][j]);
                    if (imaginary) imaginary(&to, t, to.lanes[b], im[b][i][j]);
                }
    }
}

ALWAYS_INLINE void read_filters(const Fft *fft, float *buffer, const Unit *unit, int most) {
    if (unit->c.reverse)
        read_signals(fft, buffer, unit, most, filter_tap, reverse_tap);
    else
        read_signals(fft, buffer, unit, most, filter_tap, NULL);
}

/* `each` floats: a buffer of all blocks. */
static void forward_unit(const Fft *fft, Unit unit, float *memory, int64_t each) {
    float *const filter = memory, *const signal = memory + each;
    read_filters(fft, filter, &unit, LINE_BLOCKS);
    for (; unit.row < unit.c.B; unit.row++) {
        read_signals(fft, signal, &unit, LINE_BLOCKS, input, NULL);
        for (int b = 0; b < unit.blocks; b++) {
            const int64_t at = b * unit.buffer;
            ISA(fft_run)
            (fft, FFT_CONVOLVE,
             &(FftBuffers){.filter = filter + at, .signal = signal + at, .first = unit.row == 0});
        }
        write_signals(fft, signal, &unit, LINE_BLOCKS, output, NULL);
    }
}

static void backward_unit(const Fft *fft, Unit unit, float *memory, int64_t each) {
    const Convolution *c = &unit.c;
    float *const filter = memory, *const signal = memory + each, *const dy = memory + 2 * each,
                 *const gradient = memory + (c->B > 1 ? 3 : 1) * each;
    read_filters(fft, filter, &unit, MOST_BLOCKS);
    for (; unit.row < c->B; unit.row++) {
        read_signals(fft, signal, &unit, MOST_BLOCKS, input, NULL);
        read_signals(fft, dy, &unit, MOST_BLOCKS, cotangent, NULL);
        for (int b = 0; b < unit.blocks; b++) {
            const int64_t at = b * unit.buffer;
            ISA(fft_run)
            (fft, FFT_ADJOINT,
             &(FftBuffers){.filter = filter + at,
                           .signal = signal + at,
                           .cotangent = dy + at,
                           .gradient = gradient + at,
                           .first = unit.row == 0,
                           .last = unit.row == c->B - 1});
        }
        write_signals(fft, dy, &unit, MOST_BLOCKS, input_gradient, NULL);
    }
    if (c->reverse)
        write_signals(fft, gradient, &unit, MOST_BLOCKS, filter_gradient, reverse_gradient);
    else
        write_signals(fft, gradient, &unit, MOST_BLOCKS, filter_gradient, NULL);
}

static void by_transform(const Convolution *c, const Run *run, Phase phase,
                         void (*work)(const Fft *, Unit, float *, int64_t)) {
    Fft fft = fft_layout(long_convolution_points(c->L));
    fft_factors(&fft, c->scratch);
    float *memory = (float *)c->scratch + long_convolution_table_floats(&fft);
    const int64_t line = (int64_t)(fft_buffer_bytes(&fft) / sizeof(float));
    const int64_t lines = long_convolution_lines(&fft, c->D, run->threads, phase);
    const int64_t blocks = blocks_of(c), share = (blocks + run->threads - 1) / run->threads;
    const int64_t together = lines * LINE_BLOCKS < share ? lines * LINE_BLOCKS : share;
    const int64_t each = lines * line;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t block = 0; block < blocks; block += together) {
        Unit unit = {.c = *c, .points = fft.points, .buffer = line / LINE_BLOCKS};
        for (; unit.blocks < together && block + unit.blocks < blocks; unit.blocks++)
            unit.lanes[unit.blocks] = lanes_of(c, block + unit.blocks);
        work(&fft, unit,
             memory + omp_get_thread_num() * each * long_convolution_buffers(c->B, phase), each);
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
