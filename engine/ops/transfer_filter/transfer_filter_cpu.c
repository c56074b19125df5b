/* LANES channels at a time. b + i a is one signal, whose spectrum holds both polynomials: Z_k and
 * conj Z_(P-k) are B + i A and B - i A. The gradients come back the same way. Bound by the
 * transforms, which stay in cache up to some 4096 points a channel. Once a batch. */
#include <omp.h>

#include "engine/fft_simd.h"
#include "engine/gradient_simd.h"
#include "engine/ops/transfer_filter/transfer_filter_plan.h"

/* A block of channels; `width` of them exist. */
typedef struct Block {
    TransferPlan p;
    int64_t channel, width;
    float *points[2];
} Block;

static Block block_of(const OpCall *call, const TransferPlan *p, int64_t index, Phase phase) {
    Block b = {.p = *p, .channel = index * LANES};
    b.width = p->D - b.channel < LANES ? p->D - b.channel : LANES;
    b.p.fft.factors = call->scratch;
    b.points[0] = (float *)call->scratch + transfer_factor_floats(p) +
                  omp_get_thread_num() * transfer_thread_floats(p, phase);
    if (phase == PHASE_BACKWARD) b.points[1] = b.points[0] + transfer_buffer_floats(p);
    return b;
}

static void transform(const Block *b, FftTask task, float *points) {
    ISA(fft_run)(&b->p.fft, task, &(FftBuffers){.signal = points});
}

static void clear(const Block *b, int64_t from, float *points) {
    for (int64_t t = from; t < b->p.P; t++)
        c_store(points, fft_signal_place(&b->p.fft, t), (vcomplex){v_zero(), v_zero()});
}

/* Spectrum of b + i (1 + a). */
static void read_polynomials(const Block *b, const OpCall *call, float *points) {
    const float *a = call->in[0]->data + b->channel, *c = call->in[1]->data + b->channel;
    clear(b, b->p.N + 1, points);
    c_store(points, fft_signal_place(&b->p.fft, 0), (vcomplex){v_zero(), v_set(1)});
    for (int64_t n = 0; n < b->p.N; n++)
        c_store(points, fft_signal_place(&b->p.fft, n + 1),
                (vcomplex){v_load_part(c + n * b->p.D, b->width),
                           v_load_part(a + n * b->p.D, b->width)});
    transform(b, FFT_PLAIN_FORWARD, points);
}

/* Numerator and denominator at k from the spectrum at k and P - k. */
typedef struct Quotient {
    vcomplex over, under;
} Quotient;

ALWAYS_INLINE Quotient quotient_at(const Block *b, const float *points, int64_t k) {
    const vcomplex Z = c_load(points, fft_spectrum_place(&b->p.fft, k));
    const vcomplex other =
        c_conjugate(c_load(points, fft_spectrum_place(&b->p.fft, (b->p.P - k) % b->p.P)));
    const vfloat half = v_set(0.5f);
    return (Quotient){c_scale(c_add(Z, other), half),
                      c_quarter_back(c_scale(c_subtract(Z, other), half))};
}

static void forward(const OpCall *call, const Run *run) {
    TransferPlan plan = transfer_plan(call);
    fft_factors(&plan.fft, call->scratch);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t index = 0; index < (plan.D + LANES - 1) / LANES; index++) {
        const Block b = block_of(call, &plan, index, PHASE_FORWARD);
        float *points = b.points[0], *h = call->out[0]->data + b.channel;
        const vfloat scale = v_set(1 / (float)plan.P);
        read_polynomials(&b, call, points);
        for (int64_t k = 0; 2 * k <= plan.P; k++) {
            const Quotient q = quotient_at(&b, points, k);
            const vcomplex H = c_scale(c_divide(q.over, q.under), scale);
            c_store(points, fft_spectrum_place(&plan.fft, k), H);
            if (k > 0 && 2 * k < plan.P)
                c_store(points, fft_spectrum_place(&plan.fft, plan.P - k), c_conjugate(H));
        }
        transform(&b, FFT_PLAIN_BACK, points);
        for (int64_t t = 0; t < plan.L; t++)
            v_store_part(h + t * plan.D, c_load(points, fft_signal_place(&plan.fft, t)).re,
                         b.width);
    }
}

/* With G the spectrum of the cotangent, numerators have G / conj A, denominators that times -conj
 * H. */
static void quotient_cotangents(const Block *b, const float *polynomials, float *points) {
    const vfloat scale = v_set(1 / (float)b->p.P);
    for (int64_t k = 0; 2 * k <= b->p.P; k++) {
        const Quotient q = quotient_at(b, polynomials, k);
        const int64_t place = fft_spectrum_place(&b->p.fft, k);
        const vcomplex H = c_divide(q.over, q.under);
        const vcomplex over = c_scale(c_divide(c_load(points, place), c_conjugate(q.under)), scale);
        const vcomplex turned = c_quarter(c_product_back(over, H)); /* -i times the other's */
        c_store(points, place, c_subtract(over, turned));
        if (k > 0 && 2 * k < b->p.P)
            c_store(points, fft_spectrum_place(&b->p.fft, b->p.P - k),
                    c_conjugate(c_add(over, turned)));
    }
}

static void backward(const OpCall *call, const Run *run) {
    TransferPlan plan = transfer_plan(call);
    const GradientTarget to_a = gradient_target(call, 0), to_b = gradient_target(call, 1);
    fft_factors(&plan.fft, call->scratch);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t index = 0; index < (plan.D + LANES - 1) / LANES; index++) {
        const Block b = block_of(call, &plan, index, PHASE_BACKWARD);
        const float *slope = call->out[0]->gradient + b.channel;
        float *points = b.points[1];
        read_polynomials(&b, call, b.points[0]);
        clear(&b, plan.L, points);
        for (int64_t t = 0; t < plan.L; t++)
            c_store(points, fft_signal_place(&plan.fft, t),
                    (vcomplex){v_load_part(slope + t * plan.D, b.width), v_zero()});
        transform(&b, FFT_PLAIN_FORWARD, points);
        quotient_cotangents(&b, b.points[0], points);
        transform(&b, FFT_PLAIN_BACK, points);
        for (int64_t n = 0; n < plan.N; n++) {
            const vcomplex both = c_load(points, fft_signal_place(&plan.fft, n + 1));
            const int64_t at = n * plan.D + b.channel;
            if (to_b.data) v_deliver(to_b, at, both.re, b.width);
            if (to_a.data) v_deliver(to_a, at, both.im, b.width);
        }
    }
}

const OpKernels ISA(transfer_filter_cpu) = {forward, backward};
