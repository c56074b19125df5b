/* As on CPUs: b + i a is one signal, so both polynomials are one transform. Bound by the
 * transforms.
 */
#include "engine/ops/transfer_filter/transfer_filter.h"

#include "engine/cuda/transform.cuh"

struct Transfer {
    int64_t N, D, P, L;
    Transform transform;
    float2 *points; /* (P, D) */
    float2 *slopes; /* (P, D), backward */
};

static Transfer transfer_of(const OpCall *call, Carver *carver, Phase phase) {
    const TransferFilter *attributes = static_cast<const TransferFilter *>(call->attributes);
    Transfer x = {};
    x.N = extent(call->in[0], 0);
    x.D = extent(call->in[0], 1);
    x.P = attributes->period;
    x.L = attributes->length;
    x.transform = transform_of(x.P, x.D, carver);
    x.points = carver->take<float2>(x.P * x.D);
    if (phase == PHASE_BACKWARD) x.slopes = carver->take<float2>(x.P * x.D);
    return x;
}

/* Spectrum of b + i (1 + a). */
static void read_polynomials(const Run *run, const Transfer &x, const OpCall *call) {
    const float *const a = call->in[0]->data, *const b = call->in[1]->data;
    transform_prepare(run, x.transform);
    for_each(run, x.P * x.D, [=] __device__(int64_t i) {
        const int64_t n = i / x.D;
        const bool inside = n > 0 && n <= x.N;
        const float under = inside ? a[i - x.D] : n == 0 ? 1.0f : 0.0f;
        x.points[i] = make_float2(inside ? b[i - x.D] : 0.0f, under);
    });
    transform<false>(run, x.transform, x.points);
}

/* Numerator and denominator at k. */
struct Quotient {
    float2 over, under;
};

__device__ static inline Quotient quotient_at(const Transfer &x, int64_t k, int64_t d) {
    const float2 Z = x.points[k * x.D + d];
    const float2 other = conjugate(x.points[(x.P - k) % x.P * x.D + d]);
    const float2 odd = 0.5f * (Z - other);
    return {0.5f * (Z + other), make_float2(odd.y, -odd.x)};
}

static void forward(const OpCall *call, const Run *run) {
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const Transfer x = transfer_of(call, &carver, PHASE_FORWARD);
    float *const h = call->out[0]->data;
    read_polynomials(run, x, call);
    for_each(run, (x.P / 2 + 1) * x.D, [=] __device__(int64_t i) {
        const int64_t k = i / x.D, d = i % x.D;
        const Quotient q = quotient_at(x, k, d);
        const float2 H = (1 / (float)x.P) * (q.over / q.under);
        x.points[k * x.D + d] = H;
        if (k > 0 && 2 * k < x.P) x.points[(x.P - k) * x.D + d] = conjugate(H);
    });
    transform<true>(run, x.transform, x.points);
    for_each(run, x.L * x.D, [=] __device__(int64_t i) { h[i] = x.points[i].x; });
}

static void backward(const OpCall *call, const Run *run) {
    Carver carver = {static_cast<unsigned char *>(call->scratch)};
    const Transfer x = transfer_of(call, &carver, PHASE_BACKWARD);
    const float *const slope = call->out[0]->gradient;
    float *const da = gradient_of(call, 0), *const db = gradient_of(call, 1);
    const bool add_a = call->accumulate[0], add_b = call->accumulate[1];
    read_polynomials(run, x, call);
    for_each(run, x.P * x.D, [=] __device__(int64_t i) {
        x.slopes[i] = make_float2(i < x.L * x.D ? slope[i] : 0.0f, 0.0f);
    });
    transform<false>(run, x.transform, x.slopes);
    for_each(run, (x.P / 2 + 1) * x.D, [=] __device__(int64_t i) {
        const int64_t k = i / x.D, d = i % x.D;
        const Quotient q = quotient_at(x, k, d);
        const float2 H = q.over / q.under;
        const float2 over = (1 / (float)x.P) * (x.slopes[k * x.D + d] / conjugate(q.under));
        const float2 turned = quarter(over * conjugate(H)); /* -i times the denominator's */
        x.slopes[k * x.D + d] = over - turned;
        if (k > 0 && 2 * k < x.P) x.slopes[(x.P - k) * x.D + d] = conjugate(over + turned);
    });
    transform<true>(run, x.transform, x.slopes);
    for_each(run, x.N * x.D, [=] __device__(int64_t i) {
        const float2 both = x.slopes[i + x.D];
        if (db) put(db + i, both.x, add_b);
        if (da) put(da + i, both.y, add_a);
    });
}

static size_t scratch(const OpCall *call, Phase phase) {
    unsigned char origin = 0; /* only distances from it are taken */
    Carver carver = {&origin};
    transfer_of(call, &carver, phase);
    return (size_t)(carver.next - &origin);
}

CUDA_OP(transfer_filter, {forward, backward}, scratch);
