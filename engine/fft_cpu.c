/* The passes below level 0 of a transform and the work on the spectrum (see engine/fft.h).
 * A radix-8 pass moves 8 points (1 KiB at 16 lanes) through the registers for three levels: about
 * 84 vector operations to 32 loads and stores, so it is bound by the adders while its block is in
 * the second-level cache or nearer. */

#include "engine/fft_simd.h"

static void pass8(const Fft *fft, int number, float *block) {
    const FftLevel *level = &fft->level[number];
    const float *w = fft->factors + level->offset;
    const int64_t stride = level->stride, rows = level->points / 8;
    for (int64_t first = 0; first < rows; first += fft->run) {
        const int64_t place = fft_run_place(fft, number, first);
        const int64_t run = rows < fft->run ? rows : fft->run;
        for (int64_t j = place; j < place + run; j++, w += 14) {
            vcomplex x[8];
            for (int q = 0; q < 8; q++) x[q] = c_load(block, j + q * stride);
            butterfly8(x);
            c_store(block, j, x[0]);
            for (int q = 1; q < 8; q++)
                c_store(block, j + q * stride, c_turn(x[q], w + 2 * (q - 1)));
        }
    }
}

static void pass8_back(const Fft *fft, int number, float *block) {
    const FftLevel *level = &fft->level[number];
    const float *w = fft->factors + level->offset;
    const int64_t stride = level->stride, rows = level->points / 8;
    for (int64_t first = 0; first < rows; first += fft->run) {
        const int64_t place = fft_run_place(fft, number, first);
        const int64_t run = rows < fft->run ? rows : fft->run;
        for (int64_t j = place; j < place + run; j++, w += 14) {
            vcomplex x[8];
            x[0] = c_load(block, j);
            for (int q = 1; q < 8; q++)
                x[q] = c_turn_back(c_load(block, j + q * stride), w + 2 * (q - 1));
            butterfly8_back(x);
            for (int q = 0; q < 8; q++) c_store(block, j + q * stride, x[q]);
        }
    }
}

static void pass4(const Fft *fft, int number, float *block) {
    const FftLevel *level = &fft->level[number];
    const float *w = fft->factors + level->offset;
    const int64_t stride = level->stride, rows = level->points / 4;
    for (int64_t first = 0; first < rows; first += fft->run) {
        const int64_t place = fft_run_place(fft, number, first);
        const int64_t run = rows < fft->run ? rows : fft->run;
        for (int64_t j = place; j < place + run; j++, w += 6) {
            vcomplex x[4];
            for (int q = 0; q < 4; q++) x[q] = c_load(block, j + q * stride);
            butterfly4(x);
            c_store(block, j, x[0]);
            for (int q = 1; q < 4; q++)
                c_store(block, j + q * stride, c_turn(x[q], w + 2 * (q - 1)));
        }
    }
}

static void pass4_back(const Fft *fft, int number, float *block) {
    const FftLevel *level = &fft->level[number];
    const float *w = fft->factors + level->offset;
    const int64_t stride = level->stride, rows = level->points / 4;
    for (int64_t first = 0; first < rows; first += fft->run) {
        const int64_t place = fft_run_place(fft, number, first);
        const int64_t run = rows < fft->run ? rows : fft->run;
        for (int64_t j = place; j < place + run; j++, w += 6) {
            vcomplex x[4];
            x[0] = c_load(block, j);
            for (int q = 1; q < 4; q++)
                x[q] = c_turn_back(c_load(block, j + q * stride), w + 2 * (q - 1));
            butterfly4_back(x);
            for (int q = 0; q < 4; q++) c_store(block, j + q * stride, x[q]);
        }
    }
}

static void forward(const Fft *fft, int level, float *block) {
    (fft->level[level].radix == 8 ? pass8 : pass4)(fft, level, block);
}
static void inverse(const Fft *fft, int level, float *block) {
    (fft->level[level].radix == 8 ? pass8_back : pass4_back)(fft, level, block);
}

/* ---- the spectrum ---- */

typedef struct Descent {
    const Fft *fft;
    FftTask task;
    const FftBuffers *buffers;
} Descent;

ALWAYS_INLINE vcomplex c_conjugate(vcomplex x) {
    return (vcomplex){x.re, -x.im};
}
ALWAYS_INLINE vcomplex c_scale(vcomplex x, float factor) {
    return (vcomplex){x.re * factor, x.im * factor};
}
/* sum + a b and sum + a conj b */
ALWAYS_INLINE vcomplex c_add_product(vcomplex sum, vcomplex a, vcomplex b) {
    sum.re += a.re * b.re;
    sum.re -= a.im * b.im;
    sum.im += a.re * b.im;
    sum.im += a.im * b.re;
    return sum;
}
ALWAYS_INLINE vcomplex c_product(vcomplex a, vcomplex b) {
    return c_add_product((vcomplex){v_zero(), v_zero()}, a, b);
}

/* The two conjugate frequencies k (at `a`) and -k (at `b`). */
ALWAYS_INLINE void filter_pair(vcomplex *a, vcomplex *b, float scale) {
    /* H1 = (W[k] + conj W[-k]) / 2, H2 = (W[k] - conj W[-k]) / 2i; a gets P, b gets Q. */
    const vcomplex first = c_scale(c_add(*a, c_conjugate(*b)), 0.25f * scale);
    const vcomplex second = c_scale(c_quarter_back(c_subtract(*a, c_conjugate(*b))), 0.25f * scale);
    *a = c_add(first, second);
    *b = c_subtract(first, second);
}
ALWAYS_INLINE void convolve_pair(vcomplex *a, vcomplex *b, vcomplex p, vcomplex q) {
    const vcomplex x = *a, y = *b;
    *a = c_add_product(c_product(p, x), q, c_conjugate(y));
    *b = c_add_product(c_product(c_conjugate(p), y), c_conjugate(q), c_conjugate(x));
}
ALWAYS_INLINE void adjoint_pair(vcomplex x, vcomplex y, vcomplex *a, vcomplex *b, vcomplex p,
                                vcomplex q, vcomplex *p_gradient, vcomplex *q_gradient) {
    const vcomplex g = *a, h = c_conjugate(*b);
    *p_gradient = c_add_product(c_add_product(*p_gradient, c_conjugate(x), g), y, h);
    *q_gradient = c_add_product(c_add_product(*q_gradient, y, g), c_conjugate(x), h);
    convolve_pair(a, b, c_conjugate(p), c_conjugate(q));
}
ALWAYS_INLINE void gradient_pair(vcomplex *a, vcomplex *b, float scale) {
    /* dH1 = (dP + dQ) / 4, dH2 = (dP - dQ) / 4; both are spectra of real filters. */
    const vcomplex first = c_scale(c_add(*a, *b), 0.25f * scale);
    const vcomplex second = c_scale(c_subtract(*a, *b), 0.25f * scale);
    *a = c_add(first, c_quarter(second));
    *b = c_add(c_conjugate(first), c_quarter(c_conjugate(second)));
}
/* Frequencies 0 and n / 2 are their own conjugates: spectra of real signals are real there, so the
 * two signals and filters just lie side by side. */
ALWAYS_INLINE vcomplex real_product(vcomplex a, vcomplex b) {
    return (vcomplex){a.re * b.re, a.im * b.im};
}

/* A leaf is the blocks of four points at places a and b, mirror images of each other, or one block
 * that mirrors itself (a == b), or the root's, which holds frequencies 0, n / 2, n / 4, 3 n / 4. */
typedef struct Leaf {
    int64_t a, b;
    int points; /* 8 or 4 */
    bool root;
} Leaf;

ALWAYS_INLINE int64_t place_of(Leaf leaf, int i) {
    return i < 4 ? leaf.a + i : leaf.b + i - 4;
}
ALWAYS_INLINE void load(Leaf leaf, const float *buffer, vcomplex x[8]) {
    for (int i = 0; i < leaf.points; i++) x[i] = c_load(buffer, place_of(leaf, i));
}
ALWAYS_INLINE void store(Leaf leaf, float *buffer, const vcomplex x[8]) {
    for (int i = 0; i < leaf.points; i++) c_store(buffer, place_of(leaf, i), x[i]);
}
ALWAYS_INLINE void spectrum(Leaf leaf, vcomplex x[8]) {
    for (int i = 0; i < leaf.points; i += 4) butterfly4(x + i);
}
ALWAYS_INLINE void signal(Leaf leaf, vcomplex x[8]) {
    for (int i = 0; i < leaf.points; i += 4) butterfly4_back(x + i);
}
/* Conjugate frequencies are x[i] and x[mirror(i)] for first <= i < last. */
ALWAYS_INLINE int first_pair(Leaf leaf) {
    return leaf.root ? 2 : 0;
}
ALWAYS_INLINE int last_pair(Leaf leaf) {
    return leaf.root ? 3 : leaf.points / 2;
}
ALWAYS_INLINE int mirror(Leaf leaf, int i) {
    return leaf.root ? 3 : leaf.points - 1 - i;
}

ALWAYS_INLINE void filter_leaf(const Descent *d, Leaf leaf) {
    const float scale = 1.0f / (float)d->fft->points;
    vcomplex x[8];
    load(leaf, d->buffers->filter, x);
    spectrum(leaf, x);
    for (int i = 0; i < first_pair(leaf); i++) x[i] = c_scale(x[i], scale);
    for (int i = first_pair(leaf); i < last_pair(leaf); i++)
        filter_pair(&x[i], &x[mirror(leaf, i)], scale);
    store(leaf, d->buffers->filter, x);
}

ALWAYS_INLINE void convolve_leaf(const Descent *d, Leaf leaf) {
    const float *filter = d->buffers->filter;
    vcomplex x[8];
    load(leaf, d->buffers->signal, x);
    spectrum(leaf, x);
    for (int i = 0; i < first_pair(leaf); i++)
        x[i] = real_product(x[i], c_load(filter, place_of(leaf, i)));
    for (int i = first_pair(leaf); i < last_pair(leaf); i++) {
        const int k = mirror(leaf, i);
        convolve_pair(&x[i], &x[k], c_load(filter, place_of(leaf, i)),
                      c_load(filter, place_of(leaf, k)));
    }
    signal(leaf, x);
    store(leaf, d->buffers->signal, x);
}

ALWAYS_INLINE void adjoint_leaf(const Descent *d, Leaf leaf) {
    const float *filter = d->buffers->filter;
    float *gradient = d->buffers->gradient;
    vcomplex x[8], g[8], sum[8] = {0};
    load(leaf, d->buffers->signal, x);
    spectrum(leaf, x);
    load(leaf, d->buffers->cotangent, g);
    spectrum(leaf, g);
    if (!d->buffers->first) load(leaf, gradient, sum);
    for (int i = 0; i < first_pair(leaf); i++) {
        sum[i] = c_add(sum[i], real_product(x[i], g[i]));
        g[i] = real_product(g[i], c_load(filter, place_of(leaf, i)));
    }
    for (int i = first_pair(leaf); i < last_pair(leaf); i++) {
        const int k = mirror(leaf, i);
        adjoint_pair(x[i], x[k], &g[i], &g[k], c_load(filter, place_of(leaf, i)),
                     c_load(filter, place_of(leaf, k)), &sum[i], &sum[k]);
    }
    store(leaf, gradient, sum);
    signal(leaf, g);
    store(leaf, d->buffers->cotangent, g);
}

ALWAYS_INLINE void gradient_leaf(const Descent *d, Leaf leaf) {
    const float scale = 1.0f / (float)d->fft->points;
    vcomplex x[8];
    load(leaf, d->buffers->gradient, x);
    for (int i = 0; i < first_pair(leaf); i++) x[i] = c_scale(x[i], scale);
    for (int i = first_pair(leaf); i < last_pair(leaf); i++)
        gradient_pair(&x[i], &x[mirror(leaf, i)], scale);
    signal(leaf, x);
    store(leaf, d->buffers->gradient, x);
}

ALWAYS_INLINE void leaf_task(const Descent *d, Leaf leaf) {
    switch (d->task) {
    case FFT_FILTER:
        filter_leaf(d, leaf);
        break;
    case FFT_CONVOLVE:
        convolve_leaf(d, leaf);
        break;
    case FFT_ADJOINT:
        adjoint_leaf(d, leaf);
        break;
    case FFT_GRADIENT:
        gradient_leaf(d, leaf);
        break;
    }
}

/* ---- the descent ---- */

static void pass_down(const Descent *d, int level, int64_t place) {
    const int64_t at = place * 2 * LANES;
    switch (d->task) {
    case FFT_FILTER:
        forward(d->fft, level, d->buffers->filter + at);
        break;
    case FFT_ADJOINT:
        forward(d->fft, level, d->buffers->cotangent + at);
        forward(d->fft, level, d->buffers->signal + at);
        break;
    case FFT_CONVOLVE:
        forward(d->fft, level, d->buffers->signal + at);
        break;
    case FFT_GRADIENT:
        break;
    }
}

static void pass_up(const Descent *d, int level, int64_t place) {
    const int64_t at = place * 2 * LANES;
    switch (d->task) {
    case FFT_FILTER:
        break;
    case FFT_CONVOLVE:
        inverse(d->fft, level, d->buffers->signal + at);
        break;
    case FFT_ADJOINT:
        inverse(d->fft, level, d->buffers->cotangent + at);
        break;
    case FFT_GRADIENT:
        inverse(d->fft, level, d->buffers->gradient + at);
        break;
    }
}

/* The blocks of a level at places a and b, mirror images of each other; a == b: one block whose
 * second half mirrors its first. */
static void descend(const Descent *d, int level, int64_t a, int64_t b) {
    if (level == d->fft->levels) {
        if (a == b)
            leaf_task(d, (Leaf){.a = a, .b = b, .points = 4});
        else
            leaf_task(d, (Leaf){.a = a, .b = b, .points = 8});
        return;
    }
    const FftLevel *here = &d->fft->level[level];
    pass_down(d, level, a);
    if (a != b) pass_down(d, level, b);
    const int children = a == b ? here->radix / 2 : here->radix;
    for (int q = 0; q < children; q++)
        descend(d, level + 1, a + q * here->stride, b + (here->radix - 1 - q) * here->stride);
    pass_up(d, level, a);
    if (a != b) pass_up(d, level, b);
}

/* The block that begins with frequency 0. Child 1 mirrors itself, and of the children 2 .. 3 and
 * 4 .. 7 the first mirrors the last, and so on inwards. */
static void descend_root(const Descent *d, int level) {
    if (level == d->fft->levels) {
        leaf_task(d, (Leaf){.points = 4, .root = true});
        return;
    }
    const FftLevel *here = &d->fft->level[level];
    if (level > 0) pass_down(d, level, 0);
    descend_root(d, level + 1);
    descend(d, level + 1, here->stride, here->stride);
    for (int first = 2; first < here->radix; first *= 2)
        for (int q = 0; q < first / 2; q++)
            descend(d, level + 1, (first + q) * here->stride, (2 * first - 1 - q) * here->stride);
    if (level > 0) pass_up(d, level, 0);
}

void ISA(fft_run)(const Fft *fft, FftTask task, const FftBuffers *buffers) {
    const Descent descent = {.fft = fft, .task = task, .buffers = buffers};
    descend_root(&descent, 0);
}
