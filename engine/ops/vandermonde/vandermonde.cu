/* The kernel of a diagonal state space. A thread owns one channel and a stretch of STRETCH powers:
 * it starts every mode at its own power, from the logarithm in double precision, and multiplies
 * from there, so that errors do not grow along the sequence. */
#include "engine/ops/vandermonde/vandermonde.h"

#include "engine/cuda/modes.cuh"

enum { STRETCH = 16, THREADS = 128, SLICES = 64 };

/* A block makes its channel's modes once, a thread each, for all of its powers. */
struct SharedMode {
    Complex c, log_step, step;
    double origin;
};

KERNEL void __launch_bounds__(THREADS)
    kernel_of_modes(ModeParameters p, int64_t L, float *__restrict__ K) {
    __shared__ SharedMode modes[THREADS];
    const int64_t d = blockIdx.y, first = global_thread() * STRETCH;
    double sum[STRETCH] = {};
    for (int64_t n = 0; n < p.M; n += THREADS) {
        const int count = (int)min(p.M - n, (int64_t)THREADS);
        __syncthreads(); /* the modes before may still be read */
        if ((int)threadIdx.x < count) {
            const DiscreteMode m = discrete_mode(p, d * p.M + n + threadIdx.x);
            modes[threadIdx.x] = {m.c, m.log_step, m.step, m.origin};
        }
        __syncthreads();
        for (int i = 0; i < count && first < L; i++) {
            const SharedMode m = modes[i];
            Complex term = m.c * exponential(((double)first - m.origin) * m.log_step);
            for (int k = 0; k < STRETCH; k++) {
                sum[k] += 2 * term.re;
                term = term * m.step;
            }
        }
    }
    for (int k = 0; k < STRETCH && first + k < L; k++) K[(first + k) * p.D + d] = (float)sum[k];
}

/* For mode n of channel d and slice s of the powers:
 * g = sum_l dK_l conj(S_l), h = sum_l (l - origin) dK_l conj(S_l). */
struct ModeSums {
    Complex g, h;
};

KERNEL void __launch_bounds__(THREADS) mode_sums(ModeParameters p, int64_t L, int64_t slices,
                                                 const float *__restrict__ dK, ModeSums *sums) {
    const int64_t at = global_thread(), slice = blockIdx.y;
    if (at >= p.D * p.M) return;
    const DiscreteMode m = discrete_mode(p, at);
    const int64_t from = slice * L / slices, to = (slice + 1) * L / slices, d = at / p.M;
    ModeSums sum = {};
    Complex power = {0, 0};
    for (int64_t l = from; l < to; l++) {
        power = (l - from) % STRETCH == 0 ? conjugate(mode_power(m, (double)l))
                                          : power * conjugate(m.step);
        const Complex term = (double)dK[l * p.D + d] * power;
        sum.g = sum.g + term;
        sum.h = sum.h + ((double)l - m.origin) * term;
    }
    sums[slice * p.D * p.M + at] = sum;
}

struct ModeGradients {
    float *A_real, *A_imag, *C, *B;
    double *log_dt; /* (D, M, 2): summed over the modes afterwards */
    bool add_real, add_imag, add_C, add_B;
};

__device__ static void chain(const ModeParameters &p, int64_t at, Complex g, Complex h,
                             const ModeGradients &to) {
    const DiscreteMode m = discrete_mode(p, at);
    g = 2.0 * g;
    const ModeSlopes of = mode_slopes(p, m, at, g, conjugate(m.c) * (2.0 * h));
    const Complex to_C = conjugate(m.B * m.input) * g, to_B = conjugate(m.C * m.input) * g;
    if (to.A_real) put(to.A_real + at, (float)of.A_real, to.add_real);
    if (to.A_imag) put(to.A_imag + at, (float)of.A_imag, to.add_imag);
    if (to.C) {
        put(to.C + 2 * at, (float)to_C.re, to.add_C);
        put(to.C + 2 * at + 1, (float)to_C.im, to.add_C);
    }
    if (to.B) {
        put(to.B + 2 * at, (float)to_B.re, to.add_B);
        put(to.B + 2 * at + 1, (float)to_B.im, to.add_B);
    }
    for (int i = 0; i < 2; i++) to.log_dt[2 * at + i] = of.log_dt[i];
}

static const Vandermonde *attributes_of(const OpCall *call) {
    return static_cast<const Vandermonde *>(call->attributes);
}

static void forward(const OpCall *call, const Run *run) {
    const ModeParameters p = mode_parameters(call, attributes_of(call)->form);
    const int64_t L = attributes_of(call)->length;
    LAUNCH(run, kernel_of_modes,
           dim3(blocks_for((L + STRETCH - 1) / STRETCH, THREADS), (unsigned)p.D), THREADS, 0, p, L,
           call->out[0]->data);
}

static int64_t slices_of(int64_t L) {
    const int64_t slices = (L + 127) / 128;
    return slices < SLICES ? slices : (int64_t)SLICES;
}

static void backward(const OpCall *call, const Run *run) {
    const ModeParameters p = mode_parameters(call, attributes_of(call)->form);
    const int64_t L = attributes_of(call)->length, slices = slices_of(L), modes = p.D * p.M;
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    ModeSums *const sums = carver.take<ModeSums>(slices * modes);
    ModeGradients to = {};
    to.log_dt = carver.take<double>(2 * modes);
    to.A_real = gradient_of(call, DIAGONAL_A_REAL);
    to.A_imag = gradient_of(call, DIAGONAL_A_IMAG);
    to.C = gradient_of(call, DIAGONAL_C);
    to.B = gradient_of(call, DIAGONAL_B);
    to.add_real = call->accumulate[DIAGONAL_A_REAL];
    to.add_imag = call->accumulate[DIAGONAL_A_IMAG];
    to.add_C = call->accumulate[DIAGONAL_C];
    to.add_B = call->accumulate[DIAGONAL_B];
    LAUNCH(run, mode_sums, dim3(blocks_for(modes, THREADS), (unsigned)slices), THREADS, 0, p, L,
           slices, call->out[0]->gradient, sums);
    for_each(run, modes, [=] __device__(int64_t at) {
        ModeSums sum = {};
        for (int64_t s = 0; s < slices; s++) {
            sum.g = sum.g + sums[s * modes + at].g;
            sum.h = sum.h + sums[s * modes + at].h;
        }
        chain(p, at, sum.g, sum.h, to);
    });
    float *const log_dt = gradient_of(call, DIAGONAL_LOG_DT);
    const bool accumulate = call->accumulate[DIAGONAL_LOG_DT];
    if (log_dt)
        for_each(run, p.D * p.steps, [=] __device__(int64_t i) {
            const int64_t d = i / p.steps, part = i % p.steps;
            double sum = 0;
            for (int64_t at = d * p.M; at < (d + 1) * p.M; at++)
                sum += p.steps == 2 ? to.log_dt[2 * at + part]
                                    : to.log_dt[2 * at] + to.log_dt[2 * at + 1];
            put(log_dt + i, (float)sum, accumulate);
        });
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (phase == PHASE_FORWARD) return 0;
    const int64_t modes = tensor_size(call->in[DIAGONAL_A_REAL]);
    return carved(slices_of(attributes_of(call)->length) * modes, sizeof(ModeSums)) +
           carved(2 * modes, sizeof(double));
}

CUDA_OP(vandermonde, {forward, backward}, scratch);
