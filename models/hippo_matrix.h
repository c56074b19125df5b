/* The matrices of HiPPO (Gu, Dao, Ermon, Rudra and Re 2020, arXiv 2008.07669; the Fourier ones Gu,
 * Johnson, Timalsina, Rudra and Re 2022, arXiv 2206.12037): m' = A m + B f keeps N coefficients of
 * the history of f in an orthogonal basis. Everything in double precision. */
#ifndef LONGHAUL_MODELS_HIPPO_MATRIX_H
#define LONGHAUL_MODELS_HIPPO_MATRIX_H

#include <stdint.h>

typedef enum HippoMeasure {
    HIPPO_LEGS, /* scaled Legendre: all of the past alike; time enters as 1 / t */
    HIPPO_LEGT, /* translated Legendre: a window of length 1, scaled as in 2020 */
    HIPPO_FOUT, /* Fourier on a window; N even */
    HIPPO_LMU,  /* translated Legendre with the signs and scale of Voelker, Kajic and Eliasmith 2019
                 */
    HIPPO_LAGT  /* Laguerre: exponentially decaying */
} HippoMeasure;

/* A (N, N), B (N). */
void hippo_transition(HippoMeasure measure, int64_t N, double *A, double *B);

/* From continuous time to steps of dt, in place: m <- A m + B f. */
typedef enum HippoRule { HIPPO_BILINEAR, HIPPO_HOLD /* f is constant during a step */ } HippoRule;
void hippo_discretise(int64_t N, double dt, HippoRule rule, double *A, double *B);

/* Normal plus low rank (Gu, Goel and Re 2021, theorem 1), for the first three measures: with V the
 * eigenvectors of the normal A + sum_r P_r P_r^T, the system in the coordinates V^H m is A =
 * diag(lambda) - sum_r P_r P_r^H. Of each conjugate pair of the N modes the one with positive
 * imaginary part is kept, largest first: M = N / 2, rounded down (without the zero mode of an odd
 * N). Each eigenvector is turned so that its P_0 is real and positive: the system does not depend
 * on it, and the result is unique. HIPPO_LEGT is halved, A and B, as S4 has it. */
enum { HIPPO_MOST_RANK = 2 };
int hippo_rank(HippoMeasure measure);
/* lambda (M, 2), P (R, M, 2), B (M, 2). */
void hippo_modes(HippoMeasure measure, int64_t N, double *lambda, double *P, double *B);

#endif
