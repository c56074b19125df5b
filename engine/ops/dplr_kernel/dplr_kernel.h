/* Kernel of a state space whose matrix is diagonal plus low rank (S4, Gu, Goel and Re 2021, arXiv
 * 2111.00396, section 3.3 and appendix C), discretised by the bilinear rule at the step size dt =
 * exp(log_dt) of the channel: A = diag(lambda) - sum_r P_r P_r^H,   lambda = -exp(A_real) + i
 * A_imag, Abar = (1 - dt A / 2)^-1 (1 + dt A / 2),   Bbar = (1 - dt A / 2)^-1 dt B, K[l, d] = Re (c
 * Abar^l Bbar),    Ct = c (1 - Abar^period),      l = 0 .. length - 1 <= period - 1. The parameter
 * is Ct, not c: K is the inverse Fourier transform over `period` points of Khat(w) = Ct (1 - Abar
 * w)^-1 Bbar   at the roots of unity   w = exp(-i t), t = 2 pi k / period. M complex modes are
 * stored; each stands for itself and its conjugate, in A, in sums and in the rank-R term.
 *
 * With s = sin(t / 2), c = cos(t / 2) and, for left factors u of {Ct, conj P_r} and right factors v
 * of {B, P_r}, r(u, v) = 2 sum_n (2 i s Re x - c Re(x conj z)) / (c^2 |z|^2 - 4 s^2 - 4 i s c Re
 * z),  x = dt u v, z = dt lambda, the identity of Sherman, Morrison and Woodbury gives Khat = exp(i
 * t / 2) (r(Ct, B) - c r(Ct, P) (1 + c r(conj P, P))^-1 r(conj P, B)). The paper divides by 1 + w,
 * which is zero at the last node; here nothing is.
 *
 * Where B is near a multiple of P (of HiPPO-LegS it is sqrt(2) P) the two terms are nearly equal.
 * So kernels compute, with real multiples beta and V = B - sum_r beta_r P_r, the same as Khat =
 * exp(i t / 2) (r(Ct, V) + r(Ct, P) (1 + c r(conj P, P))^-1 (beta - c r(conj P, V))), which holds
 * for any beta, so that no gradient goes through it. */
#ifndef LONGHAUL_DPLR_KERNEL_H
#define LONGHAUL_DPLR_KERNEL_H

#include "engine/tape.h"

typedef struct DplrKernel {
    int64_t period, length; /* a power of two from 2 on; 1 <= length <= period */
} DplrKernel;

extern const Op op_dplr_kernel;
void dplr_kernel_reference(const ReferenceCall *call);

/* The parameters, in this order among the inputs of an operation. Channel d belongs to set d mod S.
 */
typedef struct DplrParameters {
    Tensor *log_dt;          /* (D) */
    Tensor *A_real, *A_imag; /* (S, M) */
    Tensor *P;               /* (R, S, M, 2), R 1 or 2 */
    Tensor *B;               /* (S, M, 2) */
    Tensor *C;               /* (D, M, 2): Ct */
    Tensor *C_reverse;       /* (D, M, 2), of a second kernel with the same states; NULL for none */
} DplrParameters;

enum {
    DPLR_LOG_DT,
    DPLR_A_REAL,
    DPLR_A_IMAG,
    DPLR_P,
    DPLR_B,
    DPLR_C,
    DPLR_C_REVERSE,
    DPLR_INPUTS,
    DPLR_MOST_RANK = 2
};

/* -> K (length, D), and in *reverse (may be NULL) that of C_reverse: filters of long_convolution.
 */
Tensor *dplr_kernel(Tape *tape, DplrParameters parameters, DplrKernel attributes, Tensor **reverse);

#ifdef __CUDACC__
#define DPLR_INLINE __host__ __device__ static inline
#else
#define DPLR_INLINE static inline
#endif

/* The real multiples beta of P_r whose sum is nearest to B: least squares over the M modes of a
 * set, complex numbers B and R rows of P, `rank` floats apart. Directions that are near each other
 * would need large multiples, which cancel: the first alone. */
DPLR_INLINE void dplr_multiples(const float *B, const float *P, int64_t rank, int R, int64_t M,
                                float beta[DPLR_MOST_RANK]) {
    double own[DPLR_MOST_RANK] = {0}, with_B[DPLR_MOST_RANK] = {0}, both = 0;
    for (int64_t i = 0; i < 2 * M; i++)
        for (int r = 0; r < R; r++) {
            const double p = (double)P[r * rank + i];
            own[r] += p * p;
            with_B[r] += p * (double)B[i];
            if (r > 0) both += p * (double)P[i];
        }
    for (int r = 0; r < DPLR_MOST_RANK; r++) beta[r] = 0;
    if (own[0] > 0) beta[0] = (float)(with_B[0] / own[0]);
    const double determinant = own[0] * own[1] - both * both;
    if (R == 1 || determinant <= 0.1 * own[0] * own[1]) return;
    beta[0] = (float)((own[1] * with_B[0] - both * with_B[1]) / determinant);
    beta[1] = (float)((own[0] * with_B[1] - both * with_B[0]) / determinant);
}

/* For the shape functions of operations on these inputs: reports what does not fit. */
void dplr_check_shapes(Tape *tape, const OpCall *call, int64_t period);

#endif
