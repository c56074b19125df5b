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

/* A gradient, NULL where none is wanted. */
struct Sink {
    float *to;
    bool accumulate;
};

static Sink sink_of(const OpCall *call, int input) {
    return {gradient_of(call, input), call->accumulate[input]};
}

__device__ static inline void deliver(const Sink &sink, int64_t at, double x) {
    if (sink.to) put(sink.to + at, (float)x, sink.accumulate);
}

/* What mode n of channel d adds to the gradients of its row. */
struct RowSlopes {
    ModeSlopes of;
    Complex B;
};

/* C's gradient, and the rest. */
__device__ static RowSlopes chain(const ModeParameters &p, int64_t at, Complex g, Complex h,
                                  const Sink &C) {
    const DiscreteMode m = discrete_mode(p, at);
    g = 2.0 * g;
    const Complex to_C = conjugate(m.B * m.input) * g;
    deliver(C, 2 * at, to_C.re);
    deliver(C, 2 * at + 1, to_C.im);
    return {mode_slopes(p, m, at, g, conjugate(m.c) * (2.0 * h)), conjugate(m.C * m.input) * g};
}

/* Sums over the channels of each row; that of log_dt takes the place of the first channel's. */
static void row_gradients(const OpCall *call, const Run *run, const ModeParameters &p,
                          RowSlopes *slopes) {
    const Sink A_real = sink_of(call, DIAGONAL_A_REAL), A_imag = sink_of(call, DIAGONAL_A_IMAG);
    const Sink B = sink_of(call, DIAGONAL_B);
    for_each(run, p.S * p.M, [=] __device__(int64_t at) {
        RowSlopes sum = slopes[at];
        for (int64_t other = at + p.S * p.M; other < p.D * p.M; other += p.S * p.M) {
            const RowSlopes more = slopes[other];
            sum.of.A_real += more.of.A_real;
            sum.of.A_imag += more.of.A_imag;
            for (int i = 0; i < 2; i++) sum.of.log_dt[i] += more.of.log_dt[i];
            sum.B = sum.B + more.B;
        }
        deliver(A_real, at, sum.of.A_real);
        deliver(A_imag, at, sum.of.A_imag);
        deliver(B, 2 * at, sum.B.re);
        deliver(B, 2 * at + 1, sum.B.im);
        slopes[at] = sum;
    });
    const Sink log_dt = sink_of(call, DIAGONAL_LOG_DT);
    if (log_dt.to)
        for_each(run, p.S * p.steps, [=] __device__(int64_t i) {
            const int64_t row = i / p.steps, part = i % p.steps;
            double sum = 0;
            for (int64_t at = row * p.M; at < (row + 1) * p.M; at++) {
                const double *of = slopes[at].of.log_dt;
                sum += p.steps == 2 ? of[part] : of[0] + of[1];
            }
            deliver(log_dt, i, sum);
        });
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
    RowSlopes *const slopes = carver.take<RowSlopes>(modes);
    const Sink C = sink_of(call, DIAGONAL_C);
    LAUNCH(run, mode_sums, dim3(blocks_for(modes, THREADS), (unsigned)slices), THREADS, 0, p, L,
           slices, call->out[0]->gradient, sums);
    for_each(run, modes, [=] __device__(int64_t at) {
        ModeSums sum = {};
        for (int64_t s = 0; s < slices; s++) {
            sum.g = sum.g + sums[s * modes + at].g;
            sum.h = sum.h + sums[s * modes + at].h;
        }
        slopes[at] = chain(p, at, sum.g, sum.h, C);
    });
    row_gradients(call, run, p, slopes);
}

static size_t scratch(const OpCall *call, Phase phase) {
    if (phase == PHASE_FORWARD) return 0;
    const int64_t modes = tensor_size(call->in[DIAGONAL_C]) / 2;
    return carved(slices_of(attributes_of(call)->length) * modes, sizeof(ModeSums)) +
           carved(modes, sizeof(RowSlopes));
}

CUDA_OP(vandermonde, {forward, backward}, scratch);
