#include "models/hippo_matrix.h"

#include <assert.h>
#include <complex.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"

typedef double complex Complex;

static double root(int64_t i) { /* of 2 i + 1 */
    return sqrt(2 * (double)i + 1);
}

static double sign(int64_t power) { /* (-1)^power */
    return power % 2 ? -1 : 1;
}

static void legs(int64_t N, double *A, double *B) {
    for (int64_t i = 0; i < N; i++) {
        for (int64_t j = 0; j < N; j++)
            A[i * N + j] = i > j ? -root(i) * root(j) : i == j ? -(double)(i + 1) : 0;
        B[i] = root(i);
    }
}

static void legt(int64_t N, double *A, double *B) {
    for (int64_t i = 0; i < N; i++) {
        for (int64_t j = 0; j < N; j++)
            A[i * N + j] = -root(i) * root(j) * (i >= j ? 1 : sign(j - i));
        B[i] = root(i);
    }
}

static void lmu(int64_t N, double *A, double *B) {
    for (int64_t i = 0; i < N; i++) {
        for (int64_t j = 0; j < N; j++)
            A[i * N + j] = (2 * (double)i + 1) * (i < j ? -1 : sign(i - j + 1));
        B[i] = sign(i) * (2 * (double)i + 1);
    }
}

static void lagt(int64_t N, double *A, double *B) {
    for (int64_t i = 0; i < N; i++) {
        for (int64_t j = 0; j < N; j++) A[i * N + j] = i > j ? -1 : i == j ? -0.5 : 0;
        B[i] = 1;
    }
}

/* Coordinates 2 j and 2 j + 1 belong to frequency j. */
static void fout(int64_t N, double *A, double *B) {
    for (int64_t i = 0; i < N; i++) B[i] = i == 0 ? 1 : i % 2 ? 0 : sqrt(2);
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < N; j++) {
            const double turn = i / 2 == j / 2 ? M_PI * (double)(i / 2) * (double)(i - j) : 0;
            A[i * N + j] = turn - B[i] * B[j];
        }
}

void hippo_transition(HippoMeasure measure, int64_t N, double *A, double *B) {
    static void (*const of[])(int64_t, double *, double *) = {[HIPPO_LEGS] = legs,
                                                              [HIPPO_LEGT] = legt,
                                                              [HIPPO_FOUT] = fout,
                                                              [HIPPO_LMU] = lmu,
                                                              [HIPPO_LAGT] = lagt};
    of[measure](N, A, B);
}

int hippo_rank(HippoMeasure measure) {
    return measure == HIPPO_LEGT ? 2 : 1;
}

/* Orthogonal similarity of a skew-symmetric S to a tridiagonal matrix by Householder's reflections;
 * below (N - 1) receives its lower diagonal. The `count` vectors (count, N) are moved along. S is
 * spent. */
static void tridiagonalise(int64_t N, double *S, double *below, double *vectors, int count) {
    double *v = memory_take((size_t)(2 * N) * sizeof *v), *w = v + N;
    for (int64_t k = 0; k + 1 < N; k++) {
        double square = 0;
        for (int64_t i = k + 1; i < N; i++) square += S[i * N + k] * S[i * N + k];
        const double first = S[(k + 1) * N + k], size = sqrt(square);
        below[k] = first > 0 ? -size : size;
        if (square - first * first <= 0) { /* nothing to remove */
            below[k] = first;
            continue;
        }
        const double factor = 2 / (2 * size * (size + fabs(first))); /* 2 / |v|^2 */
        for (int64_t i = k + 1; i < N; i++) v[i] = S[i * N + k];
        v[k + 1] -= below[k];
        for (int64_t i = k + 1; i < N; i++) {
            w[i] = 0;
            for (int64_t j = k + 1; j < N; j++) w[i] += factor * S[i * N + j] * v[j];
        }
        for (int64_t i = k + 1; i < N; i++)
            for (int64_t j = k + 1; j < N; j++) S[i * N + j] += v[i] * w[j] - w[i] * v[j];
        for (int c = 0; c < count; c++) {
            double dot = 0;
            for (int64_t i = k + 1; i < N; i++) dot += factor * v[i] * vectors[c * N + i];
            for (int64_t i = k + 1; i < N; i++) vectors[c * N + i] -= dot * v[i];
        }
    }
    free(v);
}

/* One implicit QL step on rows first .. last of a symmetric tridiagonal matrix (diagonal, below); Z
 * (N, N) holds eigenvectors in rows and is turned along. Wilkinson's shift. */
static void ql_step(int64_t N, double *diagonal, double *below, double *Z, int64_t first,
                    int64_t last) {
    const double half = (diagonal[first + 1] - diagonal[first]) / (2 * below[first]);
    const double length = hypot(half, 1);
    double g = diagonal[last] - diagonal[first] + below[first] / (half + copysign(length, half));
    double s = 1, c = 1, moved = 0;
    for (int64_t i = last - 1; i >= first; i--) {
        const double f = s * below[i], b = c * below[i];
        const double r = hypot(f, g);
        below[i + 1] = r;
        if (r == 0) { /* the matrix falls apart here: go on with what is left */
            diagonal[i + 1] -= moved;
            below[last] = 0;
            return;
        }
        s = f / r;
        c = g / r;
        g = diagonal[i + 1] - moved;
        const double t = (diagonal[i] - g) * s + 2 * c * b;
        moved = s * t;
        diagonal[i + 1] = g + moved;
        g = c * t - b;
        for (int64_t k = 0; k < N; k++) {
            const double high = Z[(i + 1) * N + k], low = Z[i * N + k];
            Z[(i + 1) * N + k] = s * low + c * high;
            Z[i * N + k] = c * low - s * high;
        }
    }
    diagonal[first] -= moved;
    below[first] = g;
    below[last] = 0;
}

/* Eigenvalues of the symmetric tridiagonal matrix into diagonal, eigenvectors into the rows of Z.
 * below has N places; it is spent. */
static void diagonalise(int64_t N, double *diagonal, double *below, double *Z) {
    enum { STEPS = 60 }; /* one eigenvalue takes two or three */
    memset(Z, 0, (size_t)(N * N) * sizeof *Z);
    for (int64_t i = 0; i < N; i++) Z[i * N + i] = 1;
    below[N - 1] = 0;
    double norm = 0;
    for (int64_t i = 0; i < N; i++) norm = fmax(norm, fabs(diagonal[i]) + fabs(below[i]));
    for (int64_t first = 0; first < N; first++)
        for (int step = 0; step < STEPS; step++) {
            int64_t last = first;
            while (last + 1 < N && fabs(below[last]) > DBL_EPSILON * norm) last++;
            if (last == first) break;
            ql_step(N, diagonal, below, Z, first, last);
        }
}

/* The skew-symmetric part of S4's normal matrix, the vectors P_r, and B behind them. */
static void normal_part(HippoMeasure measure, int64_t N, double *S, double *vectors) {
    const int R = hippo_rank(measure);
    double *B = vectors + R * N;
    hippo_transition(measure, N, S, B);
    for (int64_t i = 0; i < N; i++) {
        if (measure == HIPPO_LEGS) {
            vectors[i] = sqrt((double)i + 0.5);
            continue;
        }
        B[i] /= 2;
        for (int r = 0; r < R; r++) vectors[r * N + i] = i % 2 == r ? root(i) / sqrt(2) : 0;
        for (int64_t j = 0; j < N; j++) S[i * N + j] /= 2;
    }
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < N; j++)
            for (int r = 0; r < R; r++) S[i * N + j] += vectors[r * N + i] * vectors[r * N + j];
    for (int64_t i = 0; i < N; i++) S[i * N + i] = 0;
}

/* The eigenvector of T = -T^T (lower diagonal b) to i sigma is (-i)^k z_k, z that of the symmetric
 * matrix with the same b; returns its product with x, conjugate linear in the eigenvector. */
static Complex project(int64_t N, const double *z, const double *x) {
    static const Complex power[] = {1, I, -1, -I};
    Complex sum = 0;
    for (int64_t k = 0; k < N; k++) sum += power[k % 4] * z[k] * x[k];
    return sum;
}

static void put(double *to, int64_t n, Complex value) {
    to[2 * n] = creal(value);
    to[2 * n + 1] = cimag(value);
}

/* Frequencies do not meet: eigenvectors (1, -i) / sqrt(2) of each, also of frequency 0. */
static void fourier_modes(int64_t N, double *lambda, double *P, double *B) {
    const int64_t M = N / 2;
    for (int64_t n = 0; n < M; n++) {
        const int64_t j = M - 1 - n;
        put(lambda, n, I * M_PI * (double)j);
        put(P, n, j == 0 ? sqrt(0.5) : 1);
        put(B, n, j == 0 ? sqrt(0.5) : 1);
    }
}

void hippo_modes(HippoMeasure measure, int64_t N, double *lambda, double *P, double *B) {
    assert(measure <= HIPPO_FOUT);
    if (measure == HIPPO_FOUT) {
        fourier_modes(N, lambda, P, B);
        return;
    }
    const int64_t M = N / 2;
    const int R = hippo_rank(measure);
    double *S = memory_take((size_t)(2 * N * N + (3 + HIPPO_MOST_RANK) * N) * sizeof *S),
           *Z = S + N * N;
    double *vectors = Z + N * N, *diagonal = vectors + (R + 1) * N, *below = diagonal + N;
    normal_part(measure, N, S, vectors);
    tridiagonalise(N, S, below, vectors, R + 1);
    memset(diagonal, 0, (size_t)N * sizeof *diagonal);
    diagonalise(N, diagonal, below, Z);
    for (int64_t n = 0; n < M; n++) {
        int64_t best = 0; /* selection: the largest that is left */
        for (int64_t i = 1; i < N; i++)
            if (diagonal[i] > diagonal[best]) best = i;
        const double *z = Z + best * N;
        const Complex first = project(N, z, vectors), turn = conj(first) / cabs(first);
        put(lambda, n, (measure == HIPPO_LEGS ? -0.5 : 0) + I * diagonal[best]);
        for (int r = 0; r < R; r++) put(P + 2 * r * M, n, turn * project(N, z, vectors + r * N));
        put(B, n, turn * project(N, z, vectors + R * N));
        diagonal[best] = -INFINITY;
    }
    free(S);
}

/* x <- a^-1 x for (N, N) a and (N, columns) x, pivots by rows; a is spent. */
static void solve(int64_t N, double *a, double *x, int64_t columns) {
    for (int64_t k = 0; k < N; k++) {
        int64_t pivot = k;
        for (int64_t i = k + 1; i < N; i++)
            if (fabs(a[i * N + k]) > fabs(a[pivot * N + k])) pivot = i;
        for (int64_t j = 0; j < N; j++) {
            const double swap = a[k * N + j];
            a[k * N + j] = a[pivot * N + j];
            a[pivot * N + j] = swap;
        }
        for (int64_t j = 0; j < columns; j++) {
            const double swap = x[k * columns + j];
            x[k * columns + j] = x[pivot * columns + j];
            x[pivot * columns + j] = swap;
        }
        for (int64_t i = 0; i < N; i++) {
            const double factor = i == k ? 0 : a[i * N + k] / a[k * N + k];
            for (int64_t j = k; j < N; j++) a[i * N + j] -= factor * a[k * N + j];
            for (int64_t j = 0; j < columns; j++) x[i * columns + j] -= factor * x[k * columns + j];
        }
    }
    for (int64_t k = 0; k < N; k++)
        for (int64_t j = 0; j < columns; j++) x[k * columns + j] /= a[k * N + k];
}

static void bilinear(int64_t N, double dt, double *A, double *B) {
    double *minus = memory_take((size_t)(N * N + N * (N + 1)) * sizeof *minus),
           *plus = minus + N * N;
    for (int64_t i = 0; i < N; i++) {
        for (int64_t j = 0; j < N; j++) {
            minus[i * N + j] = (i == j) - dt / 2 * A[i * N + j];
            plus[i * (N + 1) + j] = (i == j) + dt / 2 * A[i * N + j];
        }
        plus[i * (N + 1) + N] = dt * B[i];
    }
    solve(N, minus, plus, N + 1);
    for (int64_t i = 0; i < N; i++) {
        memcpy(A + i * N, plus + i * (N + 1), (size_t)N * sizeof *A);
        B[i] = plus[i * (N + 1) + N];
    }
    free(minus);
}

static void multiply(int64_t N, const double *a, const double *b, double *to) {
    memset(to, 0, (size_t)(N * N) * sizeof *to);
    for (int64_t i = 0; i < N; i++)
        for (int64_t k = 0; k < N; k++)
            for (int64_t j = 0; j < N; j++) to[i * N + j] += a[i * N + k] * b[k * N + j];
}

/* exp of ((A, B), (0, 0)) dt holds both: Taylor's series of a 2^s-th of it, squared s times. */
static void hold(int64_t N, double dt, double *A, double *B) {
    enum { TERMS = 16 }; /* of a matrix of norm 1/2: 2^-16 / 16! is below 1e-18 */
    const int64_t n = N + 1;
    double *x = memory_take_zeroed((size_t)(4 * n * n), sizeof *x), *term = x + n * n,
           *next = term + n * n, *sum = next + n * n;
    double norm = 0;
    for (int64_t i = 0; i < N; i++) {
        double row = fabs(dt * B[i]);
        for (int64_t j = 0; j < N; j++) row += fabs(x[i * n + j] = dt * A[i * N + j]);
        x[i * n + N] = dt * B[i];
        norm = fmax(norm, row);
    }
    int squarings = 0;
    while (norm > 0.5) norm /= 2, squarings++;
    for (int64_t i = 0; i < n * n; i++) x[i] = ldexp(x[i], -squarings);
    for (int64_t i = 0; i < n; i++) sum[i * n + i] = term[i * n + i] = 1;
    for (int k = 1; k <= TERMS; k++) {
        multiply(n, term, x, next);
        for (int64_t i = 0; i < n * n; i++) sum[i] += term[i] = next[i] / k;
    }
    for (int k = 0; k < squarings; k++) {
        multiply(n, sum, sum, next);
        memcpy(sum, next, (size_t)(n * n) * sizeof *sum);
    }
    for (int64_t i = 0; i < N; i++) {
        memcpy(A + i * N, sum + i * n, (size_t)N * sizeof *A);
        B[i] = sum[i * n + N];
    }
    free(x);
}

void hippo_discretise(int64_t N, double dt, HippoRule rule, double *A, double *B) {
    (rule == HIPPO_BILINEAR ? bilinear : hold)(N, dt, A, B);
}
