/* Long convolution by transforms, LANES channels at a time. Level 0 of every transform is fused
 * with reading and writing (B, L, D), gates included. The skip term is a part of tap 0.
 *
 * Forward: 2 transforms of L complex points a row and one of the filter, about 42 vector operations
 * each way per point at L = 1024. Working sets of one thread: 128 bytes a point for each of signal
 * and filter, so both are in a second-level cache of 1 MiB up to L = 2048; from there the blocks of
 * level 0 or 1 are, and each level above them moves a buffer once from and to the next cache. */
#include <omp.h>

#include "engine/fft_simd.h"
#include "engine/ops/long_convolution/long_convolution_direct.h"
#include "engine/ops/long_convolution/long_convolution_plan.h"

/* One row of the batch, or the filter. Passes copy it: nothing can then change it behind their
 * back, and what it says stays in registers. */
typedef struct Unit {
    Convolution c;
    Lanes lanes;
    int64_t row, points;
} Unit;

/* ---- level 0: the first pass reads, the last one writes ---- */

/* Real or imaginary part of point t; signals have no imaginary part (NULL). */
typedef vfloat Reader(const Unit *unit, int64_t t);
typedef void Writer(const Unit *unit, int64_t t, vfloat value);
/* exp(-i pi k / 16): what brings point j + k n / 8 to x^n = -i, but for the part that depends on j
 * and stands in the table. */
static const float bend[8][2] = {{1, 0},
                                 {0.98078528f, -0.19509032f},
                                 {0.92387953f, -0.38268343f},
                                 {0.83146961f, -0.55557023f},
                                 {0.70710678f, -0.70710678f},
                                 {0.55557023f, -0.83146961f},
                                 {0.38268343f, -0.92387953f},
                                 {0.19509032f, -0.98078528f}};

/* Rows of level 0 that are read or written together. Its eight streams lie a power of two of bytes
 * apart, and so do tensors: taken point by point they would fall into one set of the cache and wait
 * for each other's addresses, so each stream is followed for some rows at a time. */
enum { ROWS = 16 };
typedef vfloat Rows[8][ROWS];

ALWAYS_INLINE void read_rows(const Unit *unit, int64_t first, Reader *read, Rows in) {
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < ROWS; j++) in[i][j] = read(unit, i * unit->points / 8 + first + j);
}
ALWAYS_INLINE void write_rows(const Unit *unit, int64_t first, Writer *write, Rows out) {
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < ROWS; j++) write(unit, i * unit->points / 8 + first + j, out[i][j]);
}
ALWAYS_INLINE void read_signal(const Fft *fft, float *buffer, const Unit *from, Reader *real,
                               Reader *imaginary) {
    const Unit copy = *from, *unit = &copy;
    const float *w = fft->factors;
    const int64_t stride = fft->level[0].stride;
    for (int64_t first = 0; first < fft->points / 8; first += ROWS) {
        Rows re, im;
        read_rows(unit, first, real, re);
        if (imaginary) read_rows(unit, first, imaginary, im);
        const int64_t place = fft_run_place(fft, 0, first);
        for (int j = 0; j < ROWS; j++, w += 16) {
            vcomplex x[8];
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                const float *a = bend[i], *b = bend[i + 4];
                const vfloat low = re[i][j], high = re[i + 4][j];
                vcomplex y = {low * a[0], low * a[1]};
                if (imaginary) y = c_turn((vcomplex){low, im[i][j]}, a);
                x[i] = (vcomplex){y.re + high * b[0], y.im + high * b[1]};
                x[i + 4] = (vcomplex){y.re - high * b[0], y.im - high * b[1]};
                if (imaginary) {
                    const vcomplex z = {-im[i + 4][j] * b[1], im[i + 4][j] * b[0]};
                    x[i] = c_add(x[i], z);
                    x[i + 4] = c_subtract(x[i + 4], z);
                }
            }
            butterfly8_after(x);
            for (int q = 0; q < 8; q++)
                c_store(buffer, place + j + q * stride, c_turn(x[q], w + 2 * q));
        }
    }
}

ALWAYS_INLINE void write_signal(const Fft *fft, const float *buffer, const Unit *to, Writer *real,
                                Writer *imaginary) {
    const Unit copy = *to, *unit = &copy;
    const float *w = fft->factors;
    const int64_t stride = fft->level[0].stride;
    for (int64_t first = 0; first < fft->points / 8; first += ROWS) {
        Rows re, im;
        const int64_t place = fft_run_place(fft, 0, first);
        for (int j = 0; j < ROWS; j++, w += 16) {
            vcomplex x[8];
            for (int q = 0; q < 8; q++)
                x[q] = c_turn_back(c_load(buffer, place + j + q * stride), w + 2 * q);
            butterfly8_before_back(x);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) {
                const vcomplex low = c_turn_back(c_add(x[i], x[i + 4]), bend[i]);
                const vcomplex high = c_turn_back(c_subtract(x[i], x[i + 4]), bend[i + 4]);
                re[i][j] = low.re;
                re[i + 4][j] = high.re;
                if (imaginary) {
                    im[i][j] = low.im;
                    im[i + 4][j] = high.im;
                }
            }
        }
        write_rows(unit, first, real, re);
        if (imaginary) write_rows(unit, first, imaginary, im);
    }
}

/* ---- what is read and written ---- */

/* Fetches what will be touched ROWS tokens later, when the stream is followed again: tokens are D
 * floats apart, too far for the processor to foresee. The address may be past the end, which a
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

ALWAYS_INLINE vfloat filter_tap(const Unit *unit, int64_t t) {
    if (t >= unit->c.K) return v_zero();
    fetch(unit->c.filter, (t + ROWS) * unit->c.D + unit->lanes.channel);
    return read_tap(&unit->c, t, unit->lanes);
}
/* Reverse tap k - 1 is that of x^-k. */
ALWAYS_INLINE vfloat reverse_tap(const Unit *unit, int64_t t) {
    const int64_t tap = t - unit->points;
    return -tap <= unit->c.K ? read_tap(&unit->c, tap, unit->lanes) : v_zero();
}
ALWAYS_INLINE void filter_gradient(const Unit *unit, int64_t t, vfloat value) {
    if (t >= unit->c.K) return;
    fetch_for_writing(unit->c.dfilter.at, (t + ROWS) * unit->c.D + unit->lanes.channel);
    write_tap_gradient(&unit->c, t, value, unit->lanes);
}
ALWAYS_INLINE void reverse_gradient(const Unit *unit, int64_t t, vfloat value) {
    const int64_t tap = t - unit->points;
    if (-tap <= unit->c.K) write_tap_gradient(&unit->c, tap, value, unit->lanes);
}

ALWAYS_INLINE vfloat input(const Unit *unit, int64_t t) {
    if (t >= unit->c.L) return v_zero();
    const int64_t at = token_at(&unit->c, unit->row, t, unit->lanes);
    const int64_t later = at + ROWS * unit->c.D;
    fetch(unit->c.u, later);
    fetch(unit->c.pre, later);
    return read_input(&unit->c, at, unit->lanes);
}
ALWAYS_INLINE vfloat cotangent(const Unit *unit, int64_t t) {
    if (t >= unit->c.L) return v_zero();
    const int64_t at = token_at(&unit->c, unit->row, t, unit->lanes);
    const int64_t later = at + ROWS * unit->c.D;
    fetch(unit->c.dy, later);
    fetch(unit->c.post, later);
    if (unit->c.dpost.at) fetch(unit->c.sum, later);
    fetch_for_writing(unit->c.dpost.at, later);
    return read_cotangent(&unit->c, at, unit->lanes);
}
ALWAYS_INLINE void output(const Unit *unit, int64_t t, vfloat value) {
    if (t >= unit->c.L) return;
    const int64_t at = token_at(&unit->c, unit->row, t, unit->lanes);
    const int64_t later = at + ROWS * unit->c.D;
    fetch_for_writing(unit->c.y, later);
    fetch_for_writing(unit->c.sum, later);
    fetch(unit->c.post, later);
    write_output(&unit->c, at, value, unit->lanes);
}
ALWAYS_INLINE void input_gradient(const Unit *unit, int64_t t, vfloat value) {
    if (t >= unit->c.L) return;
    const int64_t at = token_at(&unit->c, unit->row, t, unit->lanes);
    const int64_t later = at + ROWS * unit->c.D;
    fetch_for_writing(unit->c.du.at, later);
    fetch(unit->c.pre, later);
    if (unit->c.dpre.at) fetch(unit->c.u, later);
    fetch_for_writing(unit->c.dpre.at, later);
    write_gradient(&unit->c, at, value, unit->lanes);
}

/* ---- units ---- */

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
