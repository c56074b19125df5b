/* Powers are made once for all channels, in double precision, as blocks of a matrix (tokens, Re and
 * Im of modes); what channels do with them are matrix products, 2 L M D multiply-adds forward,
 *     K (L, D) = [Re S, Im S] [2 Re c, -2 Im c]^T,
 * and twice as many backward, [dK, l dK]^T [Re S, Im S]. Making the powers takes as long as the
 * products of some 30 channels (with AVX2). Bound by arithmetic. */
#include "engine/ops/vandermonde/vandermonde_shared.h"

#include <omp.h>

#include "engine/ops/vandermonde/vandermonde_plan.h"

enum { GROUPS = VANDERMONDE_LANES / DOUBLES }; /* vectors whose powers are made side by side */

typedef struct Shared {
    ModeSource modes; /* as channels with one mode each, which share log_dt */
    const float *C;
    int64_t L, D, M;
    float *common, *own; /* scratch of all threads and of this one */
} Shared;

static Shared shared_of(const OpCall *call, Phase phase) {
    const Vandermonde *attributes = call->attributes;
    Shared s = {.modes = mode_source(call, attributes->form),
                .L = attributes->length,
                .common = call->scratch};
    s.D = s.modes.D;
    s.M = s.modes.M;
    s.C = s.modes.C;
    s.modes.C = NULL;
    s.modes.D = s.M;
    s.modes.M = s.modes.row = 1;
    s.own = s.common + shared_common_floats(s.D, s.M, phase) +
            omp_get_thread_num() * shared_own_floats(s.D, phase);
    return s;
}

/* A tile of modes, whole vectors: those from M on repeat the last one. */
static int64_t tile_width(const Shared *s, int64_t first) {
    const int64_t left = shared_padded(s->M) - first;
    return left < SHARED_MODES ? left : SHARED_MODES;
}

static zvector power_of(zvector base, int64_t exponent) {
    zvector power = {d_set(1), d_set(0)};
    for (; exponent > 0; exponent /= 2) {
        if (exponent % 2) power = z_multiply(power, base);
        base = z_multiply(base, base);
    }
    return power;
}

/* powers[r][part][n]: S at l0 + r of modes first + n. */
static void fill_powers(const Shared *s, int64_t first, int64_t width, int64_t l0, int64_t rows,
                        float *powers) {
    ModeSource source = s->modes;
    for (int64_t n = 0; n < width; n += GROUPS * DOUBLES) {
        zvector step[GROUPS], power[GROUPS];
        for (int i = 0; i < GROUPS; i++) {
            source.channel = first + n + i * DOUBLES;
            const Mode m = mode_of(&source, 0);
            step[i] = m.power;
            power[i] = power_of(m.power, l0);
            if (source.form.discretisation != DISCRETISATION_SOFTMAX) continue;
            const zvector start = mode_start(&source, &m, l0 - (source.form.period - 1));
            power[i] = (zvector){d_select(m.grows, start.re, power[i].re),
                                 d_select(m.grows, start.im, power[i].im)};
        }
        for (int64_t r = 0; r < rows; r++)
            for (int i = 0; i < GROUPS; i++) {
                float *at = powers + r * 2 * width + n + i * DOUBLES;
                d_store_floats(at, power[i].re);
                d_store_floats(at + width, power[i].im);
                power[i] = z_multiply(power[i], step[i]);
            }
    }
}

/* C[d, first + n], and Bbar of these modes. */
static zvector output_of(const Shared *s, const ModeSource *source, int64_t d) {
    return mode_complex(source, s->C + 2 * d * s->M, 1, 0);
}
static zvector input_of_modes(const ModeSource *source) {
    const Mode m = mode_of(source, 0);
    return z_multiply(m.B, m.input);
}

/* Where the modes of `source` are no repetition. */
static vlong is_mode(const ModeSource *source) {
    vlong mask;
    for (int lane = 0; lane < DOUBLES; lane++) mask[lane] = -(source->channel + lane < source->D);
    return mask;
}

/* weights[d][tile][part][n] = 2 Re c, -2 Im c. */
static void fill_weights(const Shared *s, int64_t first) {
    const int64_t width = tile_width(s, first), row = 2 * shared_padded(s->M);
    ModeSource source = s->modes;
    for (int64_t n = 0; n < width; n += DOUBLES) {
        source.channel = first + n;
        const zvector Bbar = input_of_modes(&source);
        const vlong mask = is_mode(&source);
        for (int64_t d = 0; d < s->D; d++) {
            const zvector c = z_multiply(output_of(s, &source, d), Bbar);
            float *at = s->common + d * row + 2 * first + n;
            d_store_floats(at, d_select(mask, 2.0 * c.re, d_set(0)));
            d_store_floats(at + width, d_select(mask, -2.0 * c.im, d_set(0)));
        }
    }
}

static void forward_rows(const Shared *s, int64_t l0, float *kernel) {
    const int64_t rows = s->L - l0 < SHARED_ROWS ? s->L - l0 : SHARED_ROWS;
    float *workspace = s->own + SHARED_ROWS * 2 * SHARED_MODES;
    for (int64_t first = 0; first < s->M; first += SHARED_MODES) {
        const int64_t width = tile_width(s, first);
        fill_powers(s, first, width, l0, rows, s->own);
        ISA(gemm)
        (GEMM_NT, PRODUCTS_FLOAT, rows, s->D, 2 * width, s->own, 2 * width, s->common + 2 * first,
         2 * shared_padded(s->M), kernel + l0 * s->D, s->D, first > 0, workspace, 1);
    }
}

void ISA(vandermonde_shared_forward)(const OpCall *call, const Run *run) {
    const Shared all = shared_of(call, PHASE_FORWARD);
#pragma omp parallel num_threads(run->threads)
    {
#pragma omp for schedule(static)
        for (int64_t tile = 0; tile < shared_tiles(all.M); tile++)
            fill_weights(&all, tile * SHARED_MODES);
        const Shared s = shared_of(call, PHASE_FORWARD);
#pragma omp for schedule(static)
        for (int64_t l0 = 0; l0 < s.L; l0 += SHARED_ROWS) forward_rows(&s, l0, call->out[0]->data);
    }
}

/* ---- backward ---- */

/* A thread's scratch. g and h as in mode_gradient, of one channel after the other, and their sums
 * over channels, times conj(C). */
typedef struct Sums {
    float *powers, *gradients, *products, *workspace;
    double *g, *h;               /* (channel, part, mode) */
    double *all_g[2], *all_h[2]; /* (part, mode) */
} Sums;

static Sums sums_of(const Shared *s) {
    Sums to = {.powers = s->own};
    to.gradients = to.powers + SHARED_ROWS * 2 * SHARED_MODES;
    to.products = to.gradients + SHARED_ROWS * 2 * SHARED_CHANNELS;
    to.g = (double *)(to.products + 2 * SHARED_CHANNELS * 2 * SHARED_MODES);
    to.h = to.g + SHARED_CHANNELS * 2 * SHARED_MODES;
    for (int i = 0; i < 2; i++) {
        to.all_g[i] = to.h + SHARED_CHANNELS * 2 * SHARED_MODES + i * SHARED_MODES;
        to.all_h[i] = to.all_g[i] + 2 * SHARED_MODES;
    }
    to.workspace = (float *)(to.all_g[0] + 4 * SHARED_MODES);
    return to;
}

/* gradients[r] = dK of `count` channels at l0 + r, then r times that. */
static void read_gradients(const Shared *s, const float *dK, int64_t channel, int64_t count,
                           int64_t l0, int64_t rows, float *gradients) {
    for (int64_t r = 0; r < rows; r++) {
        const float *from = dK + (l0 + r) * s->D + channel;
        float *to = gradients + r * 2 * count;
        for (int64_t d = 0; d < count; d++) {
            to[d] = from[d];
            to[count + d] = (float)r * from[d];
        }
    }
}

/* g and h of `count` channels and a tile of modes. */
static void sum_tokens(const Shared *s, const Sums *to, const float *dK, int64_t channel,
                       int64_t count, int64_t first, int64_t width) {
    const int64_t each = count * 2 * width;
    memset(to->g, 0, (size_t)each * sizeof *to->g);
    memset(to->h, 0, (size_t)each * sizeof *to->h);
    for (int64_t l0 = 0; l0 < s->L; l0 += SHARED_ROWS) {
        const int64_t rows = s->L - l0 < SHARED_ROWS ? s->L - l0 : SHARED_ROWS;
        fill_powers(s, first, width, l0, rows, to->powers);
        read_gradients(s, dK, channel, count, l0, rows, to->gradients);
        ISA(gemm)
        (GEMM_TN, PRODUCTS_FLOAT, 2 * count, 2 * width, rows, to->gradients, 2 * count, to->powers,
         2 * width, to->products, 2 * width, false, to->workspace, 1);
        const vdouble offset = d_set((double)l0);
        for (int64_t i = 0; i < each; i += DOUBLES) {
            const vdouble plain = d_load_floats(to->products + i);
            const vdouble weighted = d_load_floats(to->products + each + i);
            d_store(to->g + i, d_load(to->g + i) + plain);
            d_store(to->h + i, d_load(to->h + i) + (weighted + offset * plain));
        }
    }
}

/* C's gradient of these channels, and what they add to the sums of the modes. */
static void sum_channels(const Shared *s, const Sums *sums, int64_t channel, int64_t count,
                         int64_t first, int64_t width, float *to_C) {
    ModeSource source = s->modes;
    for (int64_t n = 0; n < width; n += DOUBLES) {
        source.channel = first + n;
        const zvector Bbar = z_conjugate(input_of_modes(&source));
        zvector all_g = {d_load(sums->all_g[0] + n), d_load(sums->all_g[1] + n)};
        zvector all_h = {d_load(sums->all_h[0] + n), d_load(sums->all_h[1] + n)};
        for (int64_t d = 0; d < count; d++) {
            const double *at = sums->g + d * 2 * width + n, *h_at = sums->h + d * 2 * width + n;
            const zvector g = {d_load(at), -d_load(at + width)};
            const zvector h = {d_load(h_at), -d_load(h_at + width)};
            const zvector C = z_conjugate(output_of(s, &source, channel + d));
            all_g = z_add(all_g, z_multiply(C, g));
            all_h = z_add(all_h, z_multiply(C, h));
            const zvector slope = z_scale(z_multiply(Bbar, g), d_set(2));
            float *row = to_C ? to_C + 2 * (channel + d) * s->M : NULL;
            mode_scatter(&source, row, 2, 0, slope.re);
            mode_scatter(&source, row, 2, 1, slope.im);
        }
        d_store(sums->all_g[0] + n, all_g.re);
        d_store(sums->all_g[1] + n, all_g.im);
        d_store(sums->all_h[0] + n, all_h.re);
        d_store(sums->all_h[1] + n, all_h.im);
    }
}

static void backward_tile(const Shared *s, const float *dK, int64_t tile, const ModeSinks *to) {
    const int64_t first = tile * SHARED_MODES, width = tile_width(s, first);
    const Sums sums = sums_of(s);
    memset(sums.all_g[0], 0, 4 * SHARED_MODES * sizeof *sums.all_g[0]);
    for (int64_t channel = 0; channel < s->D; channel += SHARED_CHANNELS) {
        const int64_t left = s->D - channel;
        const int64_t count = left < SHARED_CHANNELS ? left : SHARED_CHANNELS;
        sum_tokens(s, &sums, dK, channel, count, first, width);
        sum_channels(s, &sums, channel, count, first, width, to->C);
    }
    /* With C folded into the sums, what is left is a channel's mode with a C of one. */
    const ModeSinks others = {.A_real = to->A_real, .A_imag = to->A_imag, .B = to->B};
    double *log_dt = (double *)s->common + 2 * tile;
    log_dt[0] = log_dt[1] = 0;
    ModeSource source = s->modes;
    for (int64_t n = 0; n < width; n += DOUBLES) {
        source.channel = first + n;
        vdouble of[2] = {d_set(0), d_set(0)};
        mode_gradient(&source, 0, (zvector){d_load(sums.all_g[0] + n), d_load(sums.all_g[1] + n)},
                      (zvector){d_load(sums.all_h[0] + n), d_load(sums.all_h[1] + n)}, &others, of);
        for (int i = 0; i < 2; i++)
            for (int lane = 0; lane < DOUBLES && source.channel + lane < s->M; lane++)
                log_dt[i] += of[i][lane];
    }
}

void ISA(vandermonde_shared_backward)(const OpCall *call, const Run *run, const ModeSinks *to,
                                      float *log_dt) {
    const Shared all = shared_of(call, PHASE_BACKWARD);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t tile = 0; tile < shared_tiles(all.M); tile++) {
        const Shared s = shared_of(call, PHASE_BACKWARD);
        backward_tile(&s, call->out[0]->gradient, tile, to);
    }
    if (!log_dt) return;
    double total[2] = {0, 0};
    for (int64_t tile = 0; tile < shared_tiles(all.M); tile++)
        for (int i = 0; i < 2; i++) total[i] += ((const double *)all.common)[2 * tile + i];
    if (all.modes.steps == 1) log_dt[0] += (float)(total[0] + total[1]);
    for (int i = 0; i < 2 && all.modes.steps == 2; i++) log_dt[i] += (float)total[i];
}
