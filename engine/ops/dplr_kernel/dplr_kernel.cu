/* The kernel of a DPLR state space. Forward: a thread owns a node of a channel and goes over the
 * modes, whose coefficients a block has in shared memory; 25 fused operations for a node and mode
 * at rank 1. Backward: a lane owns a mode, warps take nodes in turn, whose cotangents a block makes
 * first; 50 operations. Both read registers and shared memory that all lanes share, so arithmetic
 * bounds them. */
#include "engine/ops/dplr_kernel/dplr_kernel.cuh"

enum {
    THREADS = 128,
    CHUNK = 32,  /* modes in shared memory; those of a block backward */
    TILE = 32,   /* nodes whose cotangents are in shared memory */
    SLICE = 512, /* nodes of a block backward */
    COEFFICIENTS = 2 + 2 * (2 + DPLR_MOST_RANK) * (1 + DPLR_MOST_RANK)
};

/* 1 / (c^2 |z|^2 - 4 s^2 - 4 i s c Re z) */
__device__ static inline float2 reciprocal(float size, float real, float s, float c) {
    const float re = c * c * size - 4 * s * s, im = -4 * s * c * real;
    const float factor = 1.0f / (re * re + im * im);
    return make_float2(re * factor, -im * factor);
}

/* x = (1 + c d)^-1 (beta - c q), y = p (1 + c d)^-1, numbered x first: as forward leaves them for
 * backward. */
template <int R, int KERNELS>
__device__ static inline void woodbury(const float2 r[KERNELS + R][1 + R], float c,
                                       const float *beta, float2 out[R * (1 + KERNELS)]) {
    float2 d[R][R], q[R];
    for (int i = 0; i < R; i++) {
        for (int j = 0; j < R; j++) {
            d[i][j] = c * r[KERNELS + i][1 + j];
            if (i == j) d[i][j].x += 1;
        }
        q[i] = -c * r[KERNELS + i][0];
        q[i].x += beta[i];
    }
    if constexpr (R == 1) {
        out[0] = q[0] / d[0][0];
        for (int i = 0; i < KERNELS; i++) out[1 + i] = r[i][1] / d[0][0];
    } else {
        const float2 determinant = d[0][0] * d[1][1] - d[0][1] * d[1][0];
        for (int k = 0; k < 2; k++) {
            const int o = 1 - k;
            out[k] = (d[o][o] * q[k] - d[k][o] * q[o]) / determinant;
            for (int i = 0; i < KERNELS; i++)
                out[2 + 2 * i + k] = (r[i][1 + k] * d[o][o] - r[i][1 + o] * d[o][k]) / determinant;
        }
    }
}

/* saved (D, R (1 + KERNELS), n + 1) or NULL. */
template <int R, int KERNELS> KERNEL void __launch_bounds__(THREADS) nodes(Dplr x, float2 *saved) {
    constexpr int LEFT = KERNELS + R, STRIDE = 2 + 2 * LEFT * (1 + R);
    __shared__ float modes[CHUNK * STRIDE];
    const int64_t k = global_thread(), d = blockIdx.y;
    const bool inside = k <= x.n;
    const float s = inside ? x.sine[k] : 1, c = inside ? x.sine[x.n - k] : 0;
    float2 first[LEFT][1 + R], second[LEFT][1 + R];
    for (int i = 0; i < LEFT; i++)
        for (int j = 0; j <= R; j++) first[i][j] = second[i][j] = make_float2(0, 0);
    for (int64_t n = 0; n < x.M; n += CHUNK) {
        const int count = (int)min(x.M - n, (int64_t)CHUNK);
        __syncthreads(); /* the chunk before may still be read */
        for (int i = (int)threadIdx.x; i < count * STRIDE; i += THREADS)
            modes[i] = x.coefficients[(d * x.M + n) * STRIDE + i];
        __syncthreads();
        for (int m = 0; m < count; m++) {
            const float *at = modes + m * STRIDE;
            const float2 inverse = reciprocal(at[0], at[1], s, c);
#pragma unroll
            for (int i = 0; i < LEFT; i++)
#pragma unroll
                for (int j = 0; j <= R; j++) {
                    const float *product = at + 2 + 2 * (i * (1 + R) + j);
                    first[i][j] = first[i][j] + product[0] * inverse;
                    second[i][j] = second[i][j] + product[1] * inverse;
                }
        }
    }
    if (!inside) return;
    float2 r[LEFT][1 + R], w[R * (1 + KERNELS)];
    for (int i = 0; i < LEFT; i++)
        for (int j = 0; j <= R; j++) r[i][j] = s * quarter(first[i][j]) - c * second[i][j];
    woodbury<R, KERNELS>(r, c, x.beta + d % x.S * DPLR_MOST_RANK, w);
    for (int i = 0; i < KERNELS; i++) {
        float2 sum = r[i][0];
        for (int j = 0; j < R; j++) sum = sum + r[i][1 + j] * w[j];
        x.points[i][k * x.D + d] = make_float2(c, s) * sum;
    }
    for (int i = 0; i < R * (1 + KERNELS) && saved; i++)
        saved[(d * R * (1 + KERNELS) + i) * (x.n + 1) + k] = w[i];
}

/* Taps 2 t and 2 t + 1 are the parts of point t: nodes 0 .. n to the spectrum of the points, in
 * place. */
static void pack(const Run *run, const Dplr &x, float2 *points) {
    for_each(run, (x.n / 2 + 1) * x.D, [=] __device__(int64_t i) {
        const int64_t k = i / x.D, d = i % x.D, other = x.n - k;
        const float scale = 0.5f / (float)x.n;
        float2 X = points[k * x.D + d], Y = points[other * x.D + d];
        if (k == 0) X.y = Y.y = 0;
        const float2 turn = dplr_turn(x, k);
        const float2 even = X + conjugate(Y), odd = turn * (X - conjugate(Y));
        points[k * x.D + d] = scale * (even + quarter(odd));
        if (k > 0 && other != k) points[other * x.D + d] = scale * conjugate(even - quarter(odd));
    });
}

/* The adjoint: spectrum of the cotangent's points to cotangents at the nodes, in place. */
static void unpack(const Run *run, const Dplr &x, float2 *points) {
    for_each(run, (x.n / 2 + 1) * x.D, [=] __device__(int64_t i) {
        const int64_t k = i / x.D, d = i % x.D, other = x.n - k;
        const float2 Z = points[k * x.D + d];
        const float2 W = conjugate(k == 0 ? Z : points[other * x.D + d]);
        const float scale = (k == 0 ? 0.25f : 0.5f) / (float)x.n;
        const float2 even = scale * (Z + W), odd = scale * (Z - W);
        const float2 turned = conjugate(dplr_turn(x, k)) * make_float2(odd.y, -odd.x);
        points[k * x.D + d] = even + turned;
        if (other != k) points[other * x.D + d] = conjugate(even - turned);
    });
}

template <int R, int KERNELS> static void evaluate(const Run *run, const Dplr &x, float2 *saved) {
    LAUNCH(run, (nodes<R, KERNELS>), dim3(blocks_for(x.n + 1, THREADS), (unsigned)x.D), THREADS, 0,
           x, saved);
}

static void forward(const OpCall *call, const Run *run) {
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const Dplr x = dplr_of(call, &carver);
    dplr_prepare(run, x);
    float2 *saved = call->saves ? reinterpret_cast<float2 *>(call->saved[0]->data) : NULL;
    (x.R == 1         ? x.kernels == 1 ? evaluate<1, 1> : evaluate<1, 2>
             : x.kernels == 1 ? evaluate<2, 1>
                      : evaluate<2, 2>)(run, x, saved);
    for (int i = 0; i < x.kernels; i++) {
        float2 *const points = x.points[i];
        float *const K = call->out[i]->data;
        pack(run, x, points);
        transform<true>(run, x.transform, points);
        for_each(run, x.L * x.D, [=] __device__(int64_t at) {
            const int64_t l = at / x.D, d = at % x.D;
            const float2 taps = points[l / 2 * x.D + d];
            K[at] = l % 2 ? taps.y : taps.x;
        });
    }
}

/* ---- backward ---- */

/* Cotangents of all r(u, v) at node k of channel d from those of Khat. */
template <int R, int KERNELS>
__device__ static inline void node_cotangents(const Dplr &x, const float2 *saved, int64_t d,
                                              int64_t k, float2 *to) {
    const float s = x.sine[k], c = x.sine[x.n - k];
    float2 w[R * (1 + KERNELS)], low[R];
    for (int i = 0; i < R * (1 + KERNELS); i++)
        w[i] = conjugate(saved[(d * R * (1 + KERNELS) + i) * (x.n + 1) + k]);
    for (int j = 0; j < R; j++) low[j] = make_float2(0, 0);
    for (int i = 0; i < KERNELS; i++) {
        const float2 g = make_float2(c, -s) * x.points[i][k * x.D + d], less = -c * g;
        *to++ = g;
        for (int j = 0; j < R; j++) {
            *to++ = w[j] * g;
            low[j] = low[j] + w[R + i * R + j] * less;
        }
    }
    for (int i = 0; i < R; i++) {
        *to++ = low[i];
        for (int j = 0; j < R; j++) *to++ = w[j] * low[i];
    }
}

/* sums (slices, D, M, STRIDE): cotangents of the coefficients, over a slice of the nodes. */
template <int R, int KERNELS>
KERNEL void __launch_bounds__(THREADS) mode_sums(Dplr x, const float2 *saved, float *sums) {
    constexpr int PRODUCTS = (KERNELS + R) * (1 + R), STRIDE = 2 + 2 * PRODUCTS;
    constexpr int WARPS = (int)THREADS / (int)WARP;
    __shared__ float2 cotangents[TILE * PRODUCTS];
    __shared__ float parts[WARPS][STRIDE][CHUNK];
    const int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP;
    const int64_t d = blockIdx.z, n = (int64_t)blockIdx.y * CHUNK + lane;
    const int64_t from = (int64_t)blockIdx.x * SLICE, to = min(from + SLICE, x.n + 1);
    float own[STRIDE], sum[STRIDE];
    for (int i = 0; i < STRIDE; i++) {
        own[i] = n < x.M ? x.coefficients[(d * x.M + n) * STRIDE + i] : 1;
        sum[i] = 0;
    }
    for (int64_t tile = from; tile < to; tile += TILE) {
        const int count = (int)min(to - tile, (int64_t)TILE);
        __syncthreads();
        if ((int)threadIdx.x < count)
            node_cotangents<R, KERNELS>(x, saved, d, tile + threadIdx.x,
                                        cotangents + threadIdx.x * PRODUCTS);
        __syncthreads();
        for (int k = warp; k < count; k += WARPS) {
            const float s = x.sine[tile + k], c = x.sine[x.n - tile - k];
            const float2 inverse = reciprocal(own[0], own[1], s, c);
            float2 first = make_float2(0, 0), second = first; /* sums of a g and of b g */
#pragma unroll
            for (int i = 0; i < PRODUCTS; i++) {
                const float2 g = cotangents[k * PRODUCTS + i], h = conjugate(inverse) * g;
                sum[2 + 2 * i] += s * h.y;
                sum[3 + 2 * i] -= c * h.x;
                first = first + own[2 + 2 * i] * g;
                second = second + own[3 + 2 * i] * g;
            }
            const float2 cotangent = -s * quarter(first) - c * second;
            const float2 below = conjugate(inverse * inverse) * cotangent;
            sum[0] -= c * c * below.x;
            sum[1] += 4 * s * c * below.y;
        }
    }
    for (int i = 0; i < STRIDE; i++) parts[warp][i][lane] = sum[i];
    __syncthreads();
    for (int i = warp; i < STRIDE && n < x.M; i += WARPS) {
        float total = 0;
        for (int w = 0; w < WARPS; w++) total += parts[w][i][lane];
        sums[(((int64_t)blockIdx.x * x.D + d) * x.M + n) * STRIDE + i] = total;
    }
}

static int64_t slices_of(const Dplr &x) {
    return (x.n + SLICE) / SLICE;
}

template <int R, int KERNELS>
static void sum_modes(const Run *run, const Dplr &x, const float2 *saved, float *sums) {
    LAUNCH(run, (mode_sums<R, KERNELS>),
           dim3((unsigned)slices_of(x), blocks_for(x.M, CHUNK), (unsigned)x.D), THREADS, 0, x,
           saved, sums);
}

/* Gradients channel by channel; log_dt (D, M), modes (D, M, 4 + 2 R): A_real, A_imag, B, P. */
struct DplrGradients {
    double *log_dt;
    float *modes, *C[2];
    bool add_C[2];
};

__device__ static inline void chain(const Dplr &x, int64_t at, const double *sums,
                                    const DplrGradients &to) {
    const DplrMode m = dplr_mode(x, at / x.M, at % x.M);
    Complex G_left[2 + DPLR_MOST_RANK] = {}, G_right[1 + DPLR_MOST_RANK] = {};
    Complex G_z = {sums[1] + 2 * m.z.re * sums[0], 2 * m.z.im * sums[0]};
    double G_dt = 0;
    for (int i = 0; i < x.kernels + x.R; i++)
        for (int j = 0; j <= x.R; j++) {
            const double *own = sums + 2 + 2 * (i * (1 + x.R) + j);
            const double real = 4 * own[0], mixed = 2 * own[1];
            const Complex uv = m.left[i] * m.right[j];
            const Complex G = {real + mixed * m.z.re, mixed * m.z.im};
            G_z = G_z + mixed * (m.dt * uv);
            G_dt += (conjugate(uv) * G).re;
            G_left[i] = G_left[i] + m.dt * (conjugate(m.right[j]) * G);
            G_right[j] = G_right[j] + m.dt * (conjugate(m.left[i]) * G);
        }
    to.log_dt[at] = m.dt * (G_dt + (conjugate(m.lambda) * G_z).re);
    for (int i = 0; i < x.kernels; i++) {
        if (!to.C[i]) continue;
        put(to.C[i] + 2 * at, (float)G_left[i].re, to.add_C[i]);
        put(to.C[i] + 2 * at + 1, (float)G_left[i].im, to.add_C[i]);
    }
    float *modes = to.modes + at * (4 + 2 * x.R);
    *modes++ = (float)(G_z.re * m.z.re);
    *modes++ = (float)(G_z.im * m.dt);
    for (int j = 0; j <= x.R; j++) {
        Complex G = G_right[j];
        if (j > 0)
            G = G + conjugate(G_left[x.kernels + j - 1]) -
                (double)x.beta[at / x.M % x.S * DPLR_MOST_RANK + j - 1] * G_right[0];
        *modes++ = (float)G.re;
        *modes++ = (float)G.im;
    }
}

/* Gradient of a parameter of the sets, parts floats a mode, rows 0 .. S - 1: sums over their
 * channels. */
static void sum_channels(const Run *run, const Dplr &x, const float *modes, const OpCall *call,
                         int input, int64_t from, int parts, int place) {
    float *to = gradient_of(call, input);
    if (!to) return;
    to += from * x.M * parts;
    const bool accumulate = call->accumulate[input];
    for_each(run, x.S * x.M * parts, [=] __device__(int64_t i) {
        const int64_t set = i / (x.M * parts), n = i / parts % x.M, part = i % parts;
        double sum = 0;
        for (int64_t d = set; d < x.D; d += x.S)
            sum += (double)modes[(d * x.M + n) * (4 + 2 * x.R) + place + part];
        put(to + i, (float)sum, accumulate);
    });
}

static void read_taps(const Run *run, const Dplr &x, const float *dK, float2 *points) {
    for_each(run, x.n * x.D, [=] __device__(int64_t at) {
        const int64_t t = at / x.D, d = at % x.D;
        const bool even = dK && 2 * t < x.L, odd = dK && 2 * t + 1 < x.L;
        points[at] =
            make_float2(even ? dK[2 * t * x.D + d] : 0.0f, odd ? dK[(2 * t + 1) * x.D + d] : 0.0f);
    });
}

static void backward(const OpCall *call, const Run *run) {
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const Dplr x = dplr_of(call, &carver);
    const int64_t slices = slices_of(x), stride = x.stride();
    float *const sums = carver.take<float>(slices * x.D * x.M * stride);
    DplrGradients to = {};
    to.log_dt = carver.take<double>(x.D * x.M);
    to.modes = carver.take<float>(x.D * x.M * (4 + 2 * x.R));
    for (int i = 0; i < x.kernels; i++) {
        to.C[i] = gradient_of(call, DPLR_C + i);
        to.add_C[i] = call->accumulate[DPLR_C + i];
    }
    dplr_prepare(run, x);
    for (int i = 0; i < x.kernels; i++) {
        read_taps(run, x, call->out[i]->gradient, x.points[i]);
        transform<false>(run, x.transform, x.points[i]);
        unpack(run, x, x.points[i]);
    }
    const float2 *saved = reinterpret_cast<const float2 *>(call->saved[0]->data);
    (x.R == 1         ? x.kernels == 1 ? sum_modes<1, 1> : sum_modes<1, 2>
             : x.kernels == 1 ? sum_modes<2, 1>
                      : sum_modes<2, 2>)(run, x, saved, sums);
    for_each(run, x.D * x.M, [=] __device__(int64_t at) {
        double total[COEFFICIENTS];
        for (int64_t i = 0; i < stride; i++) {
            total[i] = 0;
            for (int64_t s = 0; s < slices; s++)
                total[i] += (double)sums[(s * x.D * x.M + at) * stride + i];
        }
        chain(x, at, total, to);
    });
    float *const log_dt = gradient_of(call, DPLR_LOG_DT);
    const bool accumulate = call->accumulate[DPLR_LOG_DT];
    if (log_dt)
        for_each(run, x.D, [=] __device__(int64_t d) {
            double sum = 0;
            for (int64_t n = 0; n < x.M; n++) sum += to.log_dt[d * x.M + n];
            put(log_dt + d, (float)sum, accumulate);
        });
    sum_channels(run, x, to.modes, call, DPLR_A_REAL, 0, 1, 0);
    sum_channels(run, x, to.modes, call, DPLR_A_IMAG, 0, 1, 1);
    sum_channels(run, x, to.modes, call, DPLR_B, 0, 2, 2);
    for (int r = 0; r < x.R; r++)
        sum_channels(run, x, to.modes, call, DPLR_P, r * x.S, 2, 4 + 2 * r);
}

static size_t scratch(const OpCall *call, Phase phase) {
    unsigned char origin = 0; /* only distances from it are taken */
    Carver carver = {&origin};
    const Dplr x = dplr_of(call, &carver);
    if (phase == PHASE_BACKWARD) {
        carver.take<float>(slices_of(x) * x.D * x.M * x.stride());
        carver.take<double>(x.D * x.M);
        carver.take<float>(x.D * x.M * (4 + 2 * x.R));
    }
    return (size_t)(carver.next - &origin);
}

CUDA_OP(dplr_kernel, {forward, backward}, scratch);
