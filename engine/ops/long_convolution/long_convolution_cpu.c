/* Long convolution by transforms, LANES channels at a time. Level 0 of every transform is fused
 * with reading and writing (B, L, D), gates included. The skip term is a part of tap 0.
 *
 * Forward: 2 transforms of L complex points a row and one of the filter, about 42 vector operations
 * each way per point at L = 1024. Working sets of one thread: 128 bytes a point for each of signal
 * and filter, so both are in a second-level cache of 1 MiB up to L = 2048; from there the blocks of
 * level 0 or 1 are, and each level above them moves a buffer once from and to the next cache. */
#include <omp.h>

#include "engine/fft_ends_simd.h"
#include "engine/ops/long_convolution/long_convolution_direct.h"
#include "engine/ops/long_convolution/long_convolution_plan.h"

/* One row of the batch, or the filter. */
typedef struct Unit {
    Convolution c;
    Lanes lanes;
    int64_t row, points;
} Unit;

/* ---- what is read and written ---- */

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

ALWAYS_INLINE vfloat filter_tap(const void *source, int64_t t) {
    const Unit *unit = source;
    if (t >= unit->c.K) return v_zero();
    fetch(unit->c.filter, (t + FFT_ROWS) * unit->c.D + unit->lanes.channel);
    return read_tap(&unit->c, t, unit->lanes);
}
/* Reverse tap k - 1 is that of x^-k. */
ALWAYS_INLINE vfloat reverse_tap(const void *source, int64_t t) {
    const Unit *unit = source;
    const int64_t tap = t - unit->points;
    return -tap <= unit->c.K ? read_tap(&unit->c, tap, unit->lanes) : v_zero();
}
ALWAYS_INLINE void filter_gradient(const void *target, int64_t t, vfloat value) {
    const Unit *unit = target;
    if (t >= unit->c.K) return;
    fetch_for_writing(unit->c.dfilter.at, (t + FFT_ROWS) * unit->c.D + unit->lanes.channel);
    write_tap_gradient(&unit->c, t, value, unit->lanes);
}
ALWAYS_INLINE void reverse_gradient(const void *target, int64_t t, vfloat value) {
    const Unit *unit = target;
    const int64_t tap = t - unit->points;
    if (-tap <= unit->c.K) write_tap_gradient(&unit->c, tap, value, unit->lanes);
}

ALWAYS_INLINE vfloat input(const void *source, int64_t t) {
    const Unit *unit = source;
    if (t >= unit->c.L) return v_zero();
    const int64_t at = token_at(&unit->c, unit->row, t, unit->lanes);
    const int64_t later = at + FFT_ROWS * unit->c.D;
    fetch(unit->c.u, later);
    fetch(unit->c.pre, later);
    return read_input(&unit->c, at, unit->lanes);
}
ALWAYS_INLINE vfloat cotangent(const void *source, int64_t t) {
    const Unit *unit = source;
    if (t >= unit->c.L) return v_zero();
    const int64_t at = token_at(&unit->c, unit->row, t, unit->lanes);
    const int64_t later = at + FFT_ROWS * unit->c.D;
    fetch(unit->c.dy, later);
    fetch(unit->c.post, later);
    if (unit->c.dpost.at) fetch(unit->c.sum, later);
    fetch_for_writing(unit->c.dpost.at, later);
    return read_cotangent(&unit->c, at, unit->lanes);
}
ALWAYS_INLINE void output(const void *target, int64_t t, vfloat value) {
    const Unit *unit = target;
    if (t >= unit->c.L) return;
    const int64_t at = token_at(&unit->c, unit->row, t, unit->lanes);
    const int64_t later = at + FFT_ROWS * unit->c.D;
    fetch_for_writing(unit->c.y, later);
    fetch_for_writing(unit->c.sum, later);
    fetch(unit->c.post, later);
    write_output(&unit->c, at, value, unit->lanes);
}
ALWAYS_INLINE void input_gradient(const void *target, int64_t t, vfloat value) {
    const Unit *unit = target;
    if (t >= unit->c.L) return;
    const int64_t at = token_at(&unit->c, unit->row, t, unit->lanes);
    const int64_t later = at + FFT_ROWS * unit->c.D;
    fetch_for_writing(unit->c.du.at, later);
    fetch(unit->c.pre, later);
    if (unit->c.dpre.at) fetch(unit->c.u, later);
    fetch_for_writing(unit->c.dpre.at, later);
    write_gradient(&unit->c, at, value, unit->lanes);
}

/* ---- units ---- */

ALWAYS_INLINE void read_signal(const Fft *fft, float *buffer, const Unit *from, FftReader *real,
                               FftReader *imaginary) {
    const Unit copy = *from;
    fft_read(fft, buffer, &copy, real, imaginary);
}
ALWAYS_INLINE void write_signal(const Fft *fft, const float *buffer, const Unit *to,
                                FftWriter *real, FftWriter *imaginary) {
    const Unit copy = *to;
    fft_write(fft, buffer, &copy, real, imaginary);
}

static void read_filter(const Fft *fft, float *buffer, const Unit *unit) {
    if (unit->c.reverse)
        read_signal(fft, buffer, unit, filter_tap, reverse_tap);
    else
        read_signal(fft, buffer, unit, filter_tap, NULL);
}

static void forward_unit(const Fft *fft, Unit unit, float *memory) {
    const size_t size = fft_buffer_bytes(fft) / sizeof(float);
    FftBuffers buffers = {.filter = memory, .signal = memory + size};
    read_filter(fft, buffers.filter, &unit);
    for (; unit.row < unit.c.B; unit.row++) {
        buffers.first = unit.row == 0;
        read_signal(fft, buffers.signal, &unit, input, NULL);
        ISA(fft_run)(fft, FFT_CONVOLVE, &buffers);
        write_signal(fft, buffers.signal, &unit, output, NULL);
    }
}

static void backward_unit(const Fft *fft, Unit unit, float *memory) {
    const Convolution *c = &unit.c;
    const size_t size = fft_buffer_bytes(fft) / sizeof(float);
    FftBuffers buffers = {.filter = memory,
                          .signal = memory + size,
                          .cotangent = memory + 2 * size,
                          .gradient = memory + (c->B > 1 ? 3 : 1) * size};
    read_filter(fft, buffers.filter, &unit);
    for (; unit.row < c->B; unit.row++) {
        buffers.first = unit.row == 0;
        buffers.last = unit.row == c->B - 1;
        read_signal(fft, buffers.signal, &unit, input, NULL);
        read_signal(fft, buffers.cotangent, &unit, cotangent, NULL);
        ISA(fft_run)(fft, FFT_ADJOINT, &buffers);
        write_signal(fft, buffers.cotangent, &unit, input_gradient, NULL);
    }
    if (c->reverse)
        write_signal(fft, buffers.gradient, &unit, filter_gradient, reverse_gradient);
    else
        write_signal(fft, buffers.gradient, &unit, filter_gradient, NULL);
}

static void by_transform(const Convolution *c, const Run *run, Phase phase,
                         void (*work)(const Fft *, Unit, float *)) {
    Fft fft = fft_layout(long_convolution_points(c->L));
    fft_factors(&fft, c->scratch);
    float *memory = (float *)c->scratch + long_convolution_table_floats(&fft);
    const int64_t each =
        (int64_t)(fft_buffer_bytes(&fft) / sizeof(float)) * long_convolution_buffers(c->B, phase);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t block = 0; block < blocks_of(c); block++)
        work(&fft, (Unit){.c = *c, .lanes = lanes_of(c, block), .points = fft.points},
             memory + omp_get_thread_num() * each);
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
