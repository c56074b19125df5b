/* Once for any number of steps, so kept simple: rows a thread a channel, then a block a channel
 * squares Abar and solves (1 - Abar^period)^T c = Ct by elimination, in double precision and in
 * device memory. */
#include "engine/ops/dplr_modes/dplr_modes.h"

#include "engine/cuda/modes.cuh"

enum { THREADS = 256 };

struct System {
    const float *log_dt, *A_real, *A_imag, *P, *B, *C;
    int64_t D, S, M, R, period;
    double *rows;  /* (D, 6 + 4 R, M): engine/ops/dplr_modes/dplr_system.h */
    double *a, *b; /* (D, 2 M, 2 M) */
};

static System system_of(const OpCall *call, Carver *carver) {
    System s = {};
    s.log_dt = data_of(call, DPLR_LOG_DT);
    s.A_real = data_of(call, DPLR_A_REAL);
    s.A_imag = data_of(call, DPLR_A_IMAG);
    s.P = data_of(call, DPLR_P);
    s.B = data_of(call, DPLR_B);
    s.C = data_of(call, DPLR_C);
    s.D = extent(call->in[DPLR_LOG_DT], 0);
    s.S = extent(call->in[DPLR_A_REAL], 0);
    s.M = extent(call->in[DPLR_A_REAL], 1);
    s.R = extent(call->in[DPLR_P], 0);
    s.period = static_cast<const DplrModes *>(call->attributes)->period;
    s.rows = carver->take<double>(s.D * (6 + 4 * s.R) * s.M);
    s.a = carver->take<double>(s.D * 4 * s.M * s.M);
    s.b = carver->take<double>(s.D * 4 * s.M * s.M);
    return s;
}

__device__ static inline Complex number(const float *array, int64_t row, int64_t M, int64_t n) {
    return {(double)array[2 * (row * M + n)], (double)array[2 * (row * M + n) + 1]};
}

__device__ static inline void put_row(double *rows, int64_t M, int64_t row, int64_t n, Complex x) {
    rows[row * M + n] = x.re;
    rows[(row + 1) * M + n] = x.im;
}

__device__ static inline void fill_rows(const System &s, int64_t d) {
    const int64_t set = d % s.S, M = s.M, R = s.R;
    const double dt = exp((double)s.log_dt[d]), root = sqrt(dt / 2);
    double *rows = s.rows + d * (6 + 4 * R) * M, G[2][2] = {{1, 0}, {0, 1}};
    for (int64_t n = 0; n < M; n++) {
        const Complex lambda = {-exp((double)s.A_real[set * M + n]), (double)s.A_imag[set * M + n]};
        const Complex one = {1, 0}, E = one / (one - 0.5 * (dt * lambda));
        put_row(rows, M, 0, n, 2.0 * E);
        put_row(rows, M, 2, n, dt * (E * number(s.B, set, M, n)));
        for (int64_t r = 0; r < R; r++) {
            const Complex f = root * (E * number(s.P, r * s.S + set, M, n));
            put_row(rows, M, 6 + 4 * r, n, f);
            for (int64_t k = 0; k < R; k++)
                G[k][r] += 2 * root * (conjugate(number(s.P, k * s.S + set, M, n)) * f).re;
        }
        const Complex C = number(s.C, d, M, n);
        put_row(rows, M, 4 + 4 * R, n, {2 * C.re, -2 * C.im});
    }
    const double determinant = R == 1 ? 1 : G[0][0] * G[1][1] - G[0][1] * G[1][0];
    for (int64_t n = 0; n < M; n++)
        for (int64_t r = 0; r < R; r++) {
            Complex q = {0, 0};
            for (int64_t k = 0; k < R; k++) {
                const double own = R == 1 ? 1 / G[0][0] : G[1 - r][1 - r] / determinant;
                const double inverse = k == r ? own : -G[r][k] / determinant;
                q = q + 2 * root * inverse * number(s.P, k * s.S + set, M, n);
            }
            put_row(rows, M, 4 + 4 * r, n, q);
        }
}

/* Abar on (Re x, Im x). */
__device__ static inline double transition(const double *rows, int64_t M, int64_t R, int64_t i,
                                           int64_t j) {
    const int64_t at = j % M;
    /* w = 2 E x for the unit vector x */
    const Complex w = j < M ? Complex{rows[at], rows[M + at]} : Complex{-rows[M + at], rows[at]};
    double value = i == j ? -1 : 0;
    if (i == at) value += w.re;
    if (i == M + at) value += w.im;
    for (int64_t r = 0; r < R; r++) {
        const double *q = rows + (4 + 4 * r) * M, *f = q + 2 * M;
        value -= f[i] * (q[at] * w.re + q[M + at] * w.im);
    }
    return value;
}

/* (1 - power)^T x = c in place, pivots by rows. */
__device__ static inline void solve(const double *power, double *a, double *c, int64_t N) {
    __shared__ int64_t pivot;
    for (int64_t i = threadIdx.x; i < N * N; i += THREADS)
        a[i] = (i / N == i % N) - power[i % N * N + i / N];
    __syncthreads();
    for (int64_t k = 0; k < N; k++) {
        if (threadIdx.x == 0) {
            pivot = k;
            for (int64_t i = k + 1; i < N; i++)
                if (fabs(a[i * N + k]) > fabs(a[pivot * N + k])) pivot = i;
            const double swap = c[k];
            c[k] = c[pivot];
            c[pivot] = swap;
        }
        __syncthreads();
        for (int64_t j = threadIdx.x; j < N && pivot != k; j += THREADS) {
            const double swap = a[k * N + j];
            a[k * N + j] = a[pivot * N + j];
            a[pivot * N + j] = swap;
        }
        __syncthreads();
        /* a thread a row below: its factor and all of the row */
        for (int64_t i = k + 1 + threadIdx.x; i < N; i += THREADS) {
            const double factor = a[i * N + k] / a[k * N + k];
            for (int64_t j = k + 1; j < N; j++) a[i * N + j] -= factor * a[k * N + j];
            c[i] -= factor * c[k];
        }
        __syncthreads();
    }
    if (threadIdx.x == 0)
        for (int64_t k = N - 1; k >= 0; k--) {
            for (int64_t j = k + 1; j < N; j++) c[k] -= a[k * N + j] * c[j];
            c[k] /= a[k * N + k];
        }
    __syncthreads();
}

KERNEL void __launch_bounds__(THREADS) recover(System s, float *out) {
    const int64_t d = blockIdx.x, N = 2 * s.M, count = (6 + 4 * s.R) * s.M;
    double *rows = s.rows + d * count, *now = s.a + d * N * N, *next = s.b + d * N * N;
    for (int64_t i = threadIdx.x; i < N * N; i += THREADS)
        now[i] = transition(rows, s.M, s.R, i / N, i % N);
    __syncthreads();
    for (int64_t done = 1; done < s.period; done *= 2) {
        for (int64_t i = threadIdx.x; i < N * N; i += THREADS) {
            double sum = 0;
            for (int64_t k = 0; k < N; k++) sum += now[i / N * N + k] * now[k * N + i % N];
            next[i] = sum;
        }
        __syncthreads();
        double *const swap = now;
        now = next;
        next = swap;
    }
    solve(now, next, rows + (4 + 4 * s.R) * s.M, N);
    for (int64_t i = threadIdx.x; i < count; i += THREADS) out[d * count + i] = (float)rows[i];
}

static void forward(const OpCall *call, const Run *run) {
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const System s = system_of(call, &carver);
    for_each(run, s.D, [=] __device__(int64_t d) { fill_rows(s, d); });
    LAUNCH(run, recover, (unsigned)s.D, THREADS, 0, s, call->out[0]->data);
}

static size_t scratch(const OpCall *call, Phase phase) {
    (void)phase;
    const int64_t D = extent(call->in[DPLR_LOG_DT], 0), M = extent(call->in[DPLR_A_REAL], 1);
    const int64_t rows = 6 + 4 * extent(call->in[DPLR_P], 0);
    return carved(D * rows * M, sizeof(double)) + 2 * carved(D * 4 * M * M, sizeof(double));
}

CUDA_OP(dplr_modes, {forward, NULL}, scratch);
