/* A block of LANES channels of a DPLR kernel on CPUs: its memory, its modes as coefficients of the
 * sums over them, and from the cotangents of these back to the parameters. For the kernel files of
 * this folder. */
#ifndef LONGHAUL_DPLR_KERNEL_BLOCK_H
#define LONGHAUL_DPLR_KERNEL_BLOCK_H

#include <math.h>
#include <omp.h>

#include "engine/ops/dplr_kernel/dplr_kernel_plan.h"
#include "engine/vmath_double.h"

typedef struct Block {
    DplrPlan p;
    int64_t channel, width; /* channels from D on repeat the last one and are never stored */
    const float *sine, *factors;
    float *coefficients; /* (M, 2 + 2 products, LANES): |z|^2, Re z, then a and b of each product */
    float *inverse;      /* (M, 2, LANES): reciprocal denominators of a node */
    float *points[2];    /* of each kernel */
    double *sums;        /* backward: (M, 2 + 2 products, LANES), cotangents of the coefficients */
    float *nodes;        /* backward: (DPLR_NODES, 2 + 2 products, LANES): s, c, cotangents of r */
    float beta[DPLR_MOST_RANK][LANES]; /* of each channel (dplr_multiples) */
} Block;

static inline void make_shared(const OpCall *call, const DplrPlan *p) {
    float *sine = call->scratch, *factors = sine + dplr_sine_floats(p);
    for (int64_t k = 0; k <= p->n; k += DOUBLES) {
        vdouble angle, s, c;
        for (int i = 0; i < DOUBLES; i++) angle[i] = M_PI_2 * (double)(k + i) / (double)p->n;
        d_sincos(angle, &s, &c);
        d_store_floats(sine + k, s);
    }
    if (!p->direct) {
        Fft fft = p->fft;
        fft_factors(&fft, factors);
        return;
    }
    for (int64_t k = 0; k < p->n; k += DOUBLES) { /* exp(2 pi i k / n) */
        vdouble angle, s, c;
        for (int i = 0; i < DOUBLES; i++) angle[i] = 2 * M_PI * (double)(k + i) / (double)p->n;
        d_sincos(angle, &s, &c);
        for (int i = 0; i < DOUBLES && k + i < p->n; i++) {
            factors[2 * (k + i)] = (float)c[i];
            factors[2 * (k + i) + 1] = (float)s[i];
        }
    }
}

static inline int64_t channel_of(const Block *b, int half, int lane) {
    const int64_t channel = b->channel + half * DOUBLES + lane;
    return channel < b->p.D ? channel : b->p.D - 1;
}

static inline Block block_of(const OpCall *call, const DplrPlan *p, int64_t index, Phase phase) {
    Block b = {.p = *p, .channel = index * LANES, .sine = call->scratch};
    b.width = p->D - b.channel < LANES ? p->D - b.channel : LANES;
    b.factors = b.sine + dplr_sine_floats(p);
    b.p.fft.factors = b.factors;
    float *own = (float *)call->scratch + dplr_shared_floats(p, phase) +
                 omp_get_thread_num() * dplr_thread_floats(p, phase);
    b.coefficients = own;
    b.inverse = b.coefficients + p->M * DPLR_COEFFICIENTS * FFT_LANES;
    b.points[0] = b.inverse + p->M * 2 * FFT_LANES;
    b.points[1] = b.points[0] + dplr_buffer_floats(p);
    b.sums = (double *)(b.points[0] + p->kernels * dplr_buffer_floats(p));
    b.nodes = (float *)(b.sums + p->M * DPLR_COEFFICIENTS * FFT_LANES);
    for (int lane = 0; lane < LANES; lane++) {
        const int64_t set = channel_of(&b, 0, lane) % p->S * p->M * 2;
        float beta[DPLR_MOST_RANK];
        dplr_multiples(call->in[DPLR_B]->data + set, call->in[DPLR_P]->data + set, p->S * p->M * 2,
                       p->R, p->M, beta);
        for (int r = 0; r < DPLR_MOST_RANK; r++) b.beta[r][lane] = beta[r];
    }
    return b;
}

static inline int64_t stride_of(const Block *b) {
    return (2 + 2 * dplr_products(&b->p)) * LANES;
}

/* ---- coefficients of the modes, in double precision ---- */

/* What one mode is in DOUBLES channels; right: B less beta P, then P. */
typedef struct Mode {
    vdouble dt;
    zvector lambda, z;
    zvector left[2 + DPLR_MOST_RANK], right[1 + DPLR_MOST_RANK];
} Mode;

/* Mode n of every channel: its own row, or that of its set from row `from` on; `parts` floats each.
 */
static inline vdouble gather(const Block *b, int half, const float *array, bool of_set,
                             int64_t from, int64_t n, int parts, int part) {
    vdouble x;
    for (int lane = 0; lane < DOUBLES; lane++) {
        const int64_t channel = channel_of(b, half, lane);
        const int64_t row = from + (of_set ? channel % b->p.S : channel);
        x[lane] = (double)array[(row * b->p.M + n) * parts + part];
    }
    return x;
}
static inline zvector gather_complex(const Block *b, int half, const Tensor *tensor, bool of_set,
                                     int64_t from, int64_t n) {
    return (zvector){gather(b, half, tensor->data, of_set, from, n, 2, 0),
                     gather(b, half, tensor->data, of_set, from, n, 2, 1)};
}

static inline vdouble beta_of(const Block *b, int half, int r) {
    return d_load_floats(b->beta[r] + half * DOUBLES);
}

static inline Mode mode_of(const Block *b, const OpCall *call, int half, int64_t n) {
    const DplrPlan *p = &b->p;
    Mode m;
    for (int lane = 0; lane < DOUBLES; lane++)
        m.dt[lane] = (double)call->in[DPLR_LOG_DT]->data[channel_of(b, half, lane)];
    m.dt = d_exp(m.dt);
    m.lambda = (zvector){-d_exp(gather(b, half, call->in[DPLR_A_REAL]->data, true, 0, n, 1, 0)),
                         gather(b, half, call->in[DPLR_A_IMAG]->data, true, 0, n, 1, 0)};
    m.z = z_scale(m.lambda, m.dt);
    m.right[0] = gather_complex(b, half, call->in[DPLR_B], true, 0, n);
    for (int i = 0; i < p->kernels; i++)
        m.left[i] = gather_complex(b, half, call->in[DPLR_C + i], false, 0, n);
    for (int r = 0; r < p->R; r++) {
        m.right[1 + r] = gather_complex(b, half, call->in[DPLR_P], true, r * p->S, n);
        m.left[p->kernels + r] = z_conjugate(m.right[1 + r]);
        m.right[0] = z_subtract(m.right[0], z_scale(m.right[1 + r], beta_of(b, half, r)));
    }
    return m;
}

static inline void fill_coefficients(const Block *b, const OpCall *call) {
    for (int64_t n = 0; n < b->p.M; n++)
        for (int half = 0; half < 2; half++) {
            const Mode m = mode_of(b, call, half, n);
            float *to = b->coefficients + n * stride_of(b) + half * DOUBLES;
            d_store_floats(to, m.z.re * m.z.re + m.z.im * m.z.im);
            d_store_floats(to + LANES, m.z.re);
            to += 2 * LANES;
            for (int i = 0; i < b->p.kernels + b->p.R; i++)
                for (int j = 0; j <= b->p.R; j++, to += 2 * LANES) {
                    const zvector x = z_scale(z_multiply(m.left[i], m.right[j]), m.dt);
                    d_store_floats(to, 4.0 * x.re);
                    d_store_floats(to + LANES, 2.0 * (x.re * m.z.re + x.im * m.z.im));
                }
        }
}

/* ---- from the coefficients to the parameters ---- */

typedef struct Sinks {
    float *log_dt, *C[2], *modes; /* modes (D, M, DPLR_MODE_GRADIENTS): channel by channel */
} Sinks;

static inline void scatter(const Block *b, int half, float *to, int64_t step, vdouble x, bool add) {
    if (!to) return;
    to += (b->channel + half * DOUBLES) * step;
    for (int lane = 0; lane < DOUBLES && half * DOUBLES + lane < b->width; lane++)
        to[lane * step] = (add ? to[lane * step] : 0) + (float)x[lane];
}

/* Returns what mode n adds to the gradient of log_dt. */
static inline vdouble mode_gradient(const Block *b, const OpCall *call, int half, int64_t n,
                                    const Sinks *to) {
    const Mode m = mode_of(b, call, half, n);
    const int R = b->p.R, kernels = b->p.kernels;
    const double *at = b->sums + n * stride_of(b) + half * DOUBLES;
    zvector G_left[2 + DPLR_MOST_RANK], G_right[1 + DPLR_MOST_RANK];
    memset(G_left, 0, sizeof G_left);
    memset(G_right, 0, sizeof G_right);
    const vdouble G_size = d_load(at);
    zvector G_z = {d_load(at + LANES) + 2.0 * m.z.re * G_size, 2.0 * m.z.im * G_size};
    vdouble G_dt = d_set(0);
    at += 2 * LANES;
    for (int i = 0; i < kernels + R; i++)
        for (int j = 0; j <= R; j++, at += 2 * LANES) {
            const vdouble G_real = 4.0 * d_load(at), G_mixed = 2.0 * d_load(at + LANES);
            const zvector uv = z_multiply(m.left[i], m.right[j]), x = z_scale(uv, m.dt);
            const zvector G_x = {G_real + G_mixed * m.z.re, G_mixed * m.z.im};
            G_z = z_add(G_z, z_scale(x, G_mixed));
            G_dt += z_multiply(z_conjugate(uv), G_x).re;
            const zvector scaled = z_scale(G_x, m.dt);
            G_left[i] = z_add(G_left[i], z_multiply(z_conjugate(m.right[j]), scaled));
            G_right[j] = z_add(G_right[j], z_multiply(z_conjugate(m.left[i]), scaled));
        }
    G_dt += z_multiply(z_conjugate(m.lambda), G_z).re;
    const int64_t M = b->p.M, row = M * DPLR_MODE_GRADIENTS;
    for (int i = 0; i < kernels; i++) {
        const bool add = call->accumulate[DPLR_C + i];
        scatter(b, half, to->C[i] ? to->C[i] + 2 * n : NULL, 2 * M, G_left[i].re, add);
        scatter(b, half, to->C[i] ? to->C[i] + 2 * n + 1 : NULL, 2 * M, G_left[i].im, add);
    }
    float *own = to->modes + n * DPLR_MODE_GRADIENTS;
    scatter(b, half, own, row, G_z.re * m.z.re, false); /* A_real: lambda.re dt = z.re */
    scatter(b, half, own + 1, row, G_z.im * m.dt, false);
    for (int j = 0; j <= R; j++) {
        zvector G = G_right[j];
        if (j > 0) {
            G = z_add(G, z_conjugate(G_left[kernels + j - 1]));
            G = z_subtract(G, z_scale(G_right[0], beta_of(b, half, j - 1)));
        }
        scatter(b, half, own + 2 + 2 * j, row, G.re, false);
        scatter(b, half, own + 3 + 2 * j, row, G.im, false);
    }
    return G_dt * m.dt;
}

#endif
