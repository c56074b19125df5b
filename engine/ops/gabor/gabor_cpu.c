/* Bound by exponentials and sines. LANES filters to a unit, so that each parameter's gradient is
 * one sum over positions in order. */
#include "engine/gradient_simd.h"
#include "engine/ops/gabor/gabor.h"
#include "engine/vmath.h"

typedef struct Bank {
    vfloat row[GABOR_ROWS];
} Bank;

ALWAYS_INLINE Bank bank_of(const OpCall *call, int64_t h, int64_t n) {
    const int64_t H = extent(call->out[0], 1);
    Bank bank;
    for (int i = 0; i < GABOR_ROWS; i++)
        bank.row[i] = v_load_part(call->in[1]->data + i * H + h, n);
    return bank;
}

ALWAYS_INLINE vfloat bump(const Bank *bank, float s) {
    const vfloat scaled = bank->row[GABOR_RATE] * (s - bank->row[GABOR_CENTRE]);
    return v_exp(-0.5f * scaled * scaled);
}

static void forward(const OpCall *call, const Run *run) {
    const int64_t K = extent(call->out[0], 0), H = extent(call->out[0], 1);
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t h = 0; h < H; h += LANES) {
        const Bank bank = bank_of(call, h, H - h);
        for (int64_t k = 0; k < K; k++) {
            const float s = call->in[0]->data[k];
            const vfloat angle = bank.row[GABOR_FREQUENCY] * s + bank.row[GABOR_PHASE];
            v_store_part(call->out[0]->data + k * H + h, bump(&bank, s) * v_sin(angle), H - h);
        }
    }
}

static void backward(const OpCall *call, const Run *run) {
    const int64_t K = extent(call->out[0], 0), H = extent(call->out[0], 1);
    const GradientTarget to = gradient_target(call, 1);
    if (!to.data) return;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t h = 0; h < H; h += LANES) {
        const Bank bank = bank_of(call, h, H - h);
        vfloat sum[GABOR_ROWS] = {v_zero(), v_zero(), v_zero(), v_zero()};
        for (int64_t k = 0; k < K; k++) {
            const float s = call->in[0]->data[k];
            vfloat sine, cosine;
            v_sincos(bank.row[GABOR_FREQUENCY] * s + bank.row[GABOR_PHASE], &sine, &cosine);
            const vfloat slope =
                v_load_part(call->out[0]->gradient + k * H + h, H - h) * bump(&bank, s);
            const vfloat apart = s - bank.row[GABOR_CENTRE];
            sum[GABOR_RATE] -= slope * sine * apart * apart;
            sum[GABOR_CENTRE] += slope * sine * apart;
            sum[GABOR_FREQUENCY] += slope * cosine * s;
            sum[GABOR_PHASE] += slope * cosine;
        }
        const vfloat rate = bank.row[GABOR_RATE];
        sum[GABOR_RATE] *= rate;
        sum[GABOR_CENTRE] *= rate * rate;
        for (int i = 0; i < GABOR_ROWS; i++) v_deliver(to, i * H + h, sum[i], H - h);
    }
}

const OpKernels ISA(gabor_cpu) = {forward, backward};
