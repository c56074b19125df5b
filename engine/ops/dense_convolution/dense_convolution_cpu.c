/* Dense convolution by transforms, LANES channels at a time: spectra of all inputs and of the
 * filter, a product of complex matrices at every point, and back. Products of B rows are 8 B I O a
 * point, transforms 5 log2 n (B (I + O) + I O): at 32 rows of 30 channels and 1024 points two
 * thirds of the arithmetic are products, at 100 channels nine tenths. Matrices of a point lie
 * scattered over the buffers of all signals; a thread gathers those of DENSE_GROUP points into
 * panels, which stay in its second-level cache, and multiplies there. Backward puts gradients'
 * spectra in the place of what they are gradients of. */
#include <omp.h>

#include "engine/fft_ends_simd.h"
#include "engine/gradient_simd.h"
#include "engine/ops/dense_convolution/dense_convolution_plan.h"
#include "engine/transpose_simd.h"

typedef struct Dense {
    int64_t B, L, I, O, K;
    int64_t in, out, size; /* I and O in whole vectors; floats of a buffer */
    Fft fft;
    float *x, *y, *filter; /* spectra: (B, in), (B, out), (I, out), a buffer for LANES channels */
    float *sums;           /* (B, out): of y's gradient over tokens */
    float *panels;         /* a thread's begin at panels + thread * panel */
    int64_t panel;
} Dense;

static Dense dense_of(const OpCall *call) {
    const Tensor *x = call->in[DENSE_CONVOLUTION_X], *filter = call->in[DENSE_CONVOLUTION_FILTER];
    Dense d = {.B = extent(x, 0),
               .L = extent(x, 1),
               .I = extent(x, 2),
               .K = extent(filter, 0),
               .O = extent(filter, 2)};
    d.in = dense_padded(d.I, LANES);
    d.out = dense_padded(d.O, LANES);
    d.fft = fft_layout(dense_points(d.L));
    d.size = dense_buffer_floats(&d.fft, LANES);
    float *memory = call->scratch;
    fft_factors(&d.fft, memory);
    d.x = memory + dense_padded(fft_factor_floats(&d.fft), FFT_LANES);
    d.y = d.x + dense_spectra_floats(&d.fft, d.B, d.I, LANES);
    d.filter = d.y + dense_spectra_floats(&d.fft, d.B, d.O, LANES);
    d.sums = d.filter + dense_spectra_floats(&d.fft, d.I, d.O, LANES);
    d.panels = d.sums + d.B * d.out;
    d.panel = dense_panel_floats(d.B, d.I, d.O, LANES);
    return d;
}

/* ---- signals ---- */

/* LANES channels of a tensor whose points lie `stride` floats apart. */
typedef struct Signal {
    const float *from;
    GradientTarget to; /* from the same channel on */
    vfloat bias;
    int64_t points, stride, width; /* lanes that exist */
} Signal;

ALWAYS_INLINE vfloat read_point(const Signal *s, int64_t t) {
    if (t >= s->points) return v_zero();
    __builtin_prefetch((const void *)((uintptr_t)(s->from + t * s->stride) +
                                      (uintptr_t)(FFT_ROWS * s->stride) * sizeof(float)));
    return v_load_part(s->from + t * s->stride, s->width);
}
ALWAYS_INLINE void write_point(const Signal *s, int64_t t, vfloat value) {
    if (t < s->points) v_deliver(s->to, t * s->stride, value + s->bias, s->width);
}

/* Signals side by side in memory, each with a buffer `size` floats behind the last one's: their
 * first or last passes take turns, so that the page of a token, whose neighbours in time may lie a
 * page or more away, serves them all. */
enum { TOGETHER = 4 };

ALWAYS_INLINE void read_rows(const Fft *fft, float *buffer, int64_t first, const Signal *signal) {
    FftRows rows;
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < FFT_ROWS; j++)
            rows[i][j] = read_point(signal, fft_point(fft, first, i, j));
    fft_first_pass(fft, buffer, first, rows, NULL);
}
ALWAYS_INLINE void write_rows(const Fft *fft, float *buffer, int64_t first, const Signal *signal) {
    FftRows rows;
    fft_last_pass(fft, buffer, first, rows, NULL);
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < FFT_ROWS; j++)
            write_point(signal, fft_point(fft, first, i, j), rows[i][j]);
}

/* Whole vectors are the usual case, and known to be whole need no mask. */
ALWAYS_INLINE void read_part(const Fft *fft, float *buffer, int64_t first, Signal signal) {
    if (signal.width >= LANES) {
        signal.width = LANES;
        read_rows(fft, buffer, first, &signal);
    } else {
        read_rows(fft, buffer, first, &signal);
    }
}
ALWAYS_INLINE void write_part(const Fft *fft, float *buffer, int64_t first, Signal signal) {
    if (signal.width >= LANES && !signal.to.add) {
        signal.width = LANES;
        signal.to.add = false;
        write_rows(fft, buffer, first, &signal);
    } else {
        write_rows(fft, buffer, first, &signal);
    }
}

static void to_spectra(const Fft *fft, float *buffer, int64_t size, const Signal *list, int count) {
    for (int64_t first = 0; first < fft->points / 8; first += FFT_ROWS)
        for (int i = 0; i < count; i++) read_part(fft, buffer + i * size, first, list[i]);
    for (int i = 0; i < count; i++)
        ISA(fft_run)(fft, FFT_FORWARD, &(FftBuffers){.signal = buffer + i * size});
}
static void from_spectra(const Fft *fft, float *buffer, int64_t size, const Signal *list,
                         int count) {
    for (int i = 0; i < count; i++)
        ISA(fft_run)(fft, FFT_BACK, &(FftBuffers){.signal = buffer + i * size});
    for (int64_t first = 0; first < fft->points / 8; first += FFT_ROWS)
        for (int i = 0; i < count; i++) write_part(fft, buffer + i * size, first, list[i]);
}

/* A tensor (rows, points, channels), or the filter (points, rows, channels), and its spectra. */
typedef struct Signals {
    int64_t rows, points, channels, row, stride;
    const float *from;
    GradientTarget to;
    float *spectra;
    const float *bias;
} Signals;

static Signals sequences(const Dense *d, int64_t channels, float *spectra) {
    return (Signals){.rows = d->B,
                     .points = d->L,
                     .channels = channels,
                     .row = d->L * channels,
                     .stride = channels,
                     .spectra = spectra};
}
static Signals filters(const Dense *d) {
    return (Signals){.rows = d->I,
                     .points = d->K,
                     .channels = d->O,
                     .row = d->O,
                     .stride = d->I * d->O,
                     .spectra = d->filter};
}

typedef void Transform(const Fft *fft, float *buffer, int64_t size, const Signal *list, int count);

static Signal signal_of(const Signals *s, int64_t number) {
    const int64_t blocks = (s->channels + LANES - 1) / LANES, channel = number % blocks * LANES;
    const int64_t at = number / blocks * s->row + channel, left = s->channels - channel;
    Signal signal = {
        .points = s->points, .stride = s->stride, .width = left < LANES ? left : LANES};
    if (s->from) signal.from = s->from + at;
    if (s->to.data) signal.to = (GradientTarget){s->to.data + at, s->to.add};
    signal.bias = s->bias ? v_load_part(s->bias + channel, signal.width) : v_zero();
    return signal;
}

static void transform_all(const Dense *d, Signals s, Transform *transform, int threads) {
    const int64_t signals = s.rows * ((s.channels + LANES - 1) / LANES);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t first = 0; first < signals; first += TOGETHER) {
        Signal list[TOGETHER];
        const int64_t left = signals - first;
        const int count = (int)(left < TOGETHER ? left : TOGETHER);
        for (int i = 0; i < count; i++) list[i] = signal_of(&s, first + i);
        transform(&d->fft, s.spectra + first * d->size, d->size, list, count);
    }
}

/* ---- products at a point ---- */

/* c[m] = scale sum_k a[m, k] b[k], complex; a conjugate when CONJUGATE. Element (m, k) of a lies at
 * m a_row + k a_step, its imaginary part `a_imaginary` behind; a row of b is `width` real parts and
 * as many imaginary ones; results go to buffers, `c_row` apart, at one place of each. */
typedef struct Product {
    int64_t rows, depth, width; /* width in whole vectors */
    const float *a, *b;
    int64_t a_row, a_step, a_imaginary;
    float *c;
    int64_t c_row, c_buffer;
    float scale;
} Product;

ALWAYS_INLINE void multiply_rows(const Product *p, int64_t row, const int rows, int64_t column,
                                 const bool conjugate) {
    vcomplex sum[8];
    for (int r = 0; r < rows; r++) sum[r] = (vcomplex){v_zero(), v_zero()};
    const float *b = p->b + column, *a = p->a + row * p->a_row;
    for (int64_t k = 0; k < p->depth; k++, b += 2 * p->width, a += p->a_step) {
        const vfloat re = v_load(b), im = v_load(b + p->width);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            const float x = a[r * p->a_row], y = a[r * p->a_row + p->a_imaginary];
            sum[r].re += x * re;
            sum[r].im += x * im;
            sum[r].re -= (conjugate ? -y : y) * im;
            sum[r].im += (conjugate ? -y : y) * re;
        }
    }
    float *c = p->c + column / LANES * p->c_buffer;
    for (int r = 0; r < rows; r++) {
        float *to = c + (row + r) * p->c_row;
        v_store(to, sum[r].re * p->scale);
        v_store(to + LANES, sum[r].im * p->scale);
    }
}

ALWAYS_INLINE void multiply_columns(const Product *p, int64_t column, const bool conjugate) {
    enum { MOST = LANES == 16 ? 8 : 4 }; /* rows whose sums the registers hold */
    int64_t row = 0;
    for (; row + MOST <= p->rows; row += MOST) multiply_rows(p, row, MOST, column, conjugate);
    if (row + 4 <= p->rows) {
        multiply_rows(p, row, 4, column, conjugate);
        row += 4;
    }
    for (; row < p->rows; row++) multiply_rows(p, row, 1, column, conjugate);
}

static void multiply(const Product *p) {
    for (int64_t column = 0; column < p->width; column += LANES) multiply_columns(p, column, false);
}
static void multiply_conjugate(const Product *p) {
    for (int64_t column = 0; column < p->width; column += LANES) multiply_columns(p, column, true);
}

/* ---- panels: the matrices of DENSE_GROUP points, (rows, 2, channels) each ---- */

typedef struct Panels {
    float *x, *y, *filter, *transposed;
} Panels;

static Panels panels_of(const Dense *d) {
    Panels p;
    p.x = d->panels + omp_get_thread_num() * d->panel;
    p.y = p.x + DENSE_GROUP * 2 * d->B * d->in;
    p.filter = p.y + DENSE_GROUP * 2 * d->B * d->out;
    p.transposed = p.filter + DENSE_GROUP * 2 * d->in * d->out;
    return p;
}

/* What lies at `place` and the next ones of every buffer; panels are `size` floats apart. */
static void gather(const Dense *d, float *panel, int64_t size, const float *spectra, int64_t rows,
                   int64_t width, int64_t place) {
    const int64_t blocks = width / LANES;
    for (int64_t n = 0; n < rows * blocks; n++) {
        float *to = panel + n / blocks * 2 * width + n % blocks * LANES;
        for (int i = 0; i < DENSE_GROUP; i++) {
            const vcomplex x = c_load(spectra + n * d->size, place + i);
            v_store(to + i * size, x.re);
            v_store(to + i * size + width, x.im);
        }
    }
}

/* The conjugate transpose of (in, 2, out), as (out, 2, in). */
static void transpose(const Dense *d, const float *from, float *to) {
    for (int imaginary = 0; imaginary < 2; imaginary++)
        for (int64_t i = 0; i < d->in; i += LANES)
            for (int64_t o = 0; o < d->out; o += LANES) {
                vfloat square[LANES];
                for (int r = 0; r < LANES; r++) {
                    square[r] = v_load(from + ((i + r) * 2 + imaginary) * d->out + o);
                    if (imaginary) square[r] = -square[r];
                }
                v_transpose(square);
                for (int r = 0; r < LANES; r++)
                    v_store(to + ((o + r) * 2 + imaginary) * d->in + i, square[r]);
            }
}

static void forward_group(const Dense *d, Panels panels, int64_t place) {
    const int64_t x_size = 2 * d->B * d->in, filter_size = 2 * d->in * d->out;
    gather(d, panels.x, x_size, d->x, d->B, d->in, place);
    gather(d, panels.filter, filter_size, d->filter, d->I, d->out, place);
    for (int i = 0; i < DENSE_GROUP; i++)
        multiply(&(Product){.rows = d->B,
                            .depth = d->I,
                            .width = d->out,
                            .a = panels.x + i * x_size,
                            .a_row = 2 * d->in,
                            .a_step = 1,
                            .a_imaginary = d->in,
                            .b = panels.filter + i * filter_size,
                            .c = d->y + (place + i) * 2 * LANES,
                            .c_row = d->out / LANES * d->size,
                            .c_buffer = d->size,
                            .scale = 1.0f / (float)d->fft.points});
}

static void backward_group(const Dense *d, Panels panels, int64_t place) {
    const int64_t x_size = 2 * d->B * d->in, y_size = 2 * d->B * d->out;
    const int64_t filter_size = 2 * d->in * d->out;
    const float scale = 1.0f / (float)d->fft.points;
    gather(d, panels.x, x_size, d->x, d->B, d->in, place);
    gather(d, panels.y, y_size, d->y, d->B, d->out, place);
    gather(d, panels.filter, filter_size, d->filter, d->I, d->out, place);
    for (int i = 0; i < DENSE_GROUP; i++) {
        transpose(d, panels.filter + i * filter_size, panels.transposed);
        multiply(&(Product){.rows = d->B,
                            .depth = d->O,
                            .width = d->in,
                            .a = panels.y + i * y_size,
                            .a_row = 2 * d->out,
                            .a_step = 1,
                            .a_imaginary = d->out,
                            .b = panels.transposed,
                            .c = d->x + (place + i) * 2 * LANES,
                            .c_row = d->in / LANES * d->size,
                            .c_buffer = d->size,
                            .scale = scale});
        multiply_conjugate(&(Product){.rows = d->I,
                                      .depth = d->B,
                                      .width = d->out,
                                      .a = panels.x + i * x_size,
                                      .a_row = 1,
                                      .a_step = 2 * d->in,
                                      .a_imaginary = d->in,
                                      .b = panels.y + i * y_size,
                                      .c = d->filter + (place + i) * 2 * LANES,
                                      .c_row = d->out / LANES * d->size,
                                      .c_buffer = d->size,
                                      .scale = scale});
    }
}

static void at_every_point(const Dense *d, void (*work)(const Dense *, Panels, int64_t),
                           int threads) {
#pragma omp parallel num_threads(threads)
    {
        const Panels panels = panels_of(d);
        /* Rows of the filter beyond I have no buffer; nothing reads what comes of them. */
        for (int i = 0; i < DENSE_GROUP; i++)
            memset(panels.filter + (i * d->in + d->I) * 2 * d->out, 0,
                   (size_t)((d->in - d->I) * 2 * d->out) * sizeof(float));
#pragma omp for schedule(static)
        for (int64_t n = 0; n < d->fft.points / DENSE_GROUP; n++)
            work(d, panels, fft_run_place(&d->fft, -1, n * DENSE_GROUP));
    }
}

static void forward(const OpCall *call, const Run *run) {
    const Tensor *bias = call->in[DENSE_CONVOLUTION_BIAS];
    const Dense d = dense_of(call);
    Signals x = sequences(&d, d.I, d.x), h = filters(&d), y = sequences(&d, d.O, d.y);
    x.from = call->in[DENSE_CONVOLUTION_X]->data;
    h.from = call->in[DENSE_CONVOLUTION_FILTER]->data;
    y.to.data = call->out[0]->data;
    y.bias = bias ? bias->data : NULL;
    transform_all(&d, x, to_spectra, run->threads);
    transform_all(&d, h, to_spectra, run->threads);
    at_every_point(&d, forward_group, run->threads);
    transform_all(&d, y, from_spectra, run->threads);
}

/* Over tokens sequence by sequence, then over sequences in order. */
static void bias_gradient(const Dense *d, const float *dy, GradientTarget to, int threads) {
    const int64_t blocks = d->out / LANES;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t n = 0; n < d->B * blocks; n++) {
        const int64_t channel = n % blocks * LANES, b = n / blocks;
        vfloat sum = v_zero();
        for (int64_t t = 0; t < d->L; t++)
            sum += v_load_part(dy + (b * d->L + t) * d->O + channel, d->O - channel);
        v_store(d->sums + n * LANES, sum);
    }
    for (int64_t channel = 0; channel < d->O; channel += LANES) {
        vfloat sum = v_zero();
        for (int64_t b = 0; b < d->B; b++) sum += v_load(d->sums + b * d->out + channel);
        v_deliver(to, channel, sum, d->O - channel);
    }
}

static void backward(const OpCall *call, const Run *run) {
    const Dense d = dense_of(call);
    Signals x = sequences(&d, d.I, d.x), h = filters(&d), y = sequences(&d, d.O, d.y);
    x.from = call->in[DENSE_CONVOLUTION_X]->data;
    h.from = call->in[DENSE_CONVOLUTION_FILTER]->data;
    y.from = call->out[0]->gradient;
    x.to = gradient_target(call, DENSE_CONVOLUTION_X);
    h.to = gradient_target(call, DENSE_CONVOLUTION_FILTER);
    const GradientTarget to_bias = gradient_target(call, DENSE_CONVOLUTION_BIAS);
    if (to_bias.data) bias_gradient(&d, y.from, to_bias, run->threads);
    transform_all(&d, x, to_spectra, run->threads);
    transform_all(&d, h, to_spectra, run->threads);
    transform_all(&d, y, to_spectra, run->threads);
    at_every_point(&d, backward_group, run->threads);
    if (x.to.data) transform_all(&d, x, from_spectra, run->threads);
    if (h.to.data) transform_all(&d, h, from_spectra, run->threads);
}

const OpKernels ISA(dense_convolution_cpu) = {forward, backward};
