/* One channel of a discretised DPLR state space (engine/ops/dplr_kernel) as a recurrence, in double
 * precision. As Abar = 2 (1 - dt A / 2)^-1 - 1, a step needs the inverse alone, and that of
 * Sherman, Morrison and Woodbury: w = E (2 x + dt B u),   s_r = sum_n q_rn . w_n,   x' = w - sum_r
 * f_r s_r - x,   y = sum_n c_n . x'_n with E = 1 / (1 - dt lambda / 2), p = sqrt(dt / 2) P, f = E
 * p, q = G 2 p, G = (1 + 2 Re p^H E p)^-1 and a . b = Re a Re b + Im a Im b. Every factor is at
 * most 1 in norm, since A is dissipative: nothing cancels. */
#ifndef LONGHAUL_DPLR_SYSTEM_H
#define LONGHAUL_DPLR_SYSTEM_H

#include "engine/ops/dplr_kernel/dplr_kernel.h"

typedef struct DplrSystem {
    int64_t M;
    int R;
    double dt;
    const double *lambda, *P, *B; /* (M, 2), (R, M, 2), (M, 2) */
} DplrSystem;

/* Rows of M numbers each: Re and Im of 2 E, of dt E B, then for each r of q_r and f_r; last those
 * of c. */
static inline int64_t dplr_rows(int R) {
    return 6 + 4 * R;
}

/* All rows but the last two, which are zero. */
void dplr_fill_rows(const DplrSystem *system, double *rows);

/* One channel's system from the parameters of an operation, or of a network that begins; numbers is
 * room for (2 + R) M complex ones. */
DplrSystem dplr_system_of(const float *const parameters[DPLR_INPUTS], int64_t channel, int64_t S,
                          int64_t M, int R, double *numbers);

/* square = a a for (n, n) matrices, n a multiple of 16; one for each instruction set. */
typedef void DplrSquare(int64_t n, const double *a, double *square);
extern DplrSquare dplr_square_portable, dplr_square_avx2, dplr_square_avx512;
DplrSquare *dplr_square_best(void);

/* Between the trained vector and the one that reads the state, as rows of 2 M reals (2 Re c, -2 Im
 * c): truncate: c (1 - Abar^period),    recover: its inverse. Abar^period comes from squarings of
 * the (2 M, 2 M) matrix. period is a power of two; space is dplr_space_doubles(M) long. */
int64_t dplr_space_doubles(int64_t M);
void dplr_truncate(const double *rows, int64_t M, int R, int64_t period, DplrSquare *square,
                   double *c, double *space);
void dplr_recover(const double *rows, int64_t M, int R, int64_t period, DplrSquare *square,
                  double *c, double *space);

#endif
