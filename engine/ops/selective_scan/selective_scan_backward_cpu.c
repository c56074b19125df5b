/* Backward of the selective scan. For each chunk of SCAN_ROWS tokens, from the last to the first,
 * and each state number n: the decays a and the decayed states a s are computed again from the
 * saved state, then the adjoint
 *
 *     lambda_t = C_t g_t + a_{t+1} lambda_{t+1}             g = gradient of y before the gate
 *
 * runs back and yields every gradient. a s comes from the recomputation, never from (s - b) / a.
 * Four blocks of channels go side by side: their sums over channels (gradients of B and C) add in
 * registers first, and four recurrences hide each other's latency. Bound by multiply-adds (some 17
 * for each state and token) and by stores (4.5, each half the rate). */
#include "engine/ops/selective_scan/selective_scan_simd.h"

void ISA(selective_scan_backward)(const OpCall *call, const Run *run);

enum { STRIP = BLOCKS < 4 ? BLOCKS : 4 }; /* blocks side by side */

typedef struct Backward {
    const OpCall *call;
    Plan plan;
    float *decay;    /* A log2(e), packed */
    float *carry;    /* (B) padded states: what flows into the state from later tokens */
    float *channels; /* (B) sums per channel, see Plan */
    float *partials; /* (units, stretch) partial sums of the gradients of B and C */
} Backward;

/* out[t] = sum of the lanes of row[t], or adds it: log2(LANES) rounds that halve the rows. */
static void sum_lanes(const vfloat *row, float *out, bool add) {
    for (int t = 0; t < SCAN_ROWS; t += LANES) {
        vfloat sum[LANES];
        for (int i = 0; i < LANES; i++) sum[i] = row[t + i];
        for (int half = LANES / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++)
                sum[i] = v_interleave_low(sum[i], sum[i + half]) +
                         v_interleave_high(sum[i], sum[i + half]);
        v_store(out + t, add ? sum[0] + v_load(out + t) : sum[0]);
    }
}

/* Per token and block of a strip. */
typedef vfloat Rows[STRIP][SCAN_ROWS];
typedef struct Strip {
    Rows delta, input, g; /* input = delta u */
    Rows by_B;            /* sum over n of B lambda */
    Rows by_A;            /* sum over n of A log2(e) lambda a s */
    Rows a, as;           /* decays and decayed states of the n at work */
    vfloat sum_B[SCAN_ROWS], sum_C[SCAN_ROWS];
} Strip;

static void write_part(float *to, vfloat value, int64_t lanes, bool add) {
    v_store_part(to, add ? value + v_load_part(to, lanes) : value, lanes);
}

/* delta, input and g of a block; the gate's gradient. */
static void open_block(const Backward *back, int64_t token, int64_t rows, int64_t e, vfloat *delta,
                       vfloat *input, vfloat *g) {
    const OpCall *call = back->call;
    const int64_t E = back->plan.E, lanes = E - e;
    const Tensor *gate = call->in[SCAN_Z];
    const vfloat bias = v_load_part(call->in[SCAN_BIAS]->data + e, lanes);
    for (int64_t t = 0; t < rows; t++) {
        const int64_t i = (token + t) * E + e;
        delta[t] = v_softplus(v_load_part(call->in[SCAN_RAW]->data + i, lanes) + bias);
        input[t] = delta[t] * v_load_part(call->in[SCAN_U]->data + i, lanes);
        g[t] = v_load_part(call->out[0]->gradient + i, lanes);
        if (!gate) continue;
        const vfloat z = v_load_part(gate->data + i, lanes), s = v_sigmoid(z);
        if (gate->gradient)
            write_part(gate->gradient + i,
                       g[t] * v_load_part(call->saved[SCAN_SAVED_Y]->data + i, lanes) *
                           (s + z * s * (1.0f - s)),
                       lanes, call->accumulate[SCAN_Z]);
        g[t] *= z * s;
    }
}

/* Gradients of u and of the raw step size, whose sums over n are there now. */
static void close_block(const Backward *back, int64_t b, int64_t token, int64_t rows, int64_t e,
                        const Strip *strip, int block) {
    const OpCall *call = back->call;
    const Plan *plan = &back->plan;
    const int64_t E = plan->E, lanes = E - e;
    float *du = call->in[SCAN_U]->gradient, *draw = call->in[SCAN_RAW]->gradient;
    float *sums = back->channels + b * plan->channel + plan->state + e;
    const vfloat D = v_load_part(call->in[SCAN_D]->data + e, lanes);
    vfloat sum_D = v_load(sums), sum_bias = v_load(sums + plan->padded);
    for (int64_t t = 0; t < rows; t++) {
        const int64_t i = (token + t) * E + e;
        const vfloat u = v_load_part(call->in[SCAN_U]->data + i, lanes);
        const vfloat delta = strip->delta[block][t], g = strip->g[block][t];
        const vfloat by_B = strip->by_B[block][t];
        /* d softplus = sigmoid(raw) = 1 - exp(-delta) */
        const vfloat step = (strip->by_A[block][t] * 0.693147181f + u * by_B) * -v_expm1(-delta);
        sum_D += g * u;
        sum_bias += step;
        if (du) write_part(du + i, D * g + delta * by_B, lanes, call->accumulate[SCAN_U]);
        if (draw) write_part(draw + i, step, lanes, call->accumulate[SCAN_RAW]);
    }
    v_store(sums, sum_D);
    v_store(sums + plan->padded, sum_bias);
}

/* State number n of the chunk at token, for blocks (a constant of the caller) from channel e. */
INLINE void strip_state(const Backward *back, Strip *strip, int64_t b, int64_t chunk, int64_t e,
                        int64_t n, const int blocks) {
    const OpCall *call = back->call;
    const Plan *plan = &back->plan;
    const int64_t N = plan->N, first = chunk * SCAN_ROWS;
    const int64_t rows = smaller(SCAN_ROWS, plan->L - first);
    const float *B = call->in[SCAN_B]->data + (b * plan->L + first) * N + n;
    const float *C = call->in[SCAN_C]->data + (b * plan->L + first) * N + n;
    const float *state = saved_state(call, plan, b, chunk, e) + n * LANES;
    const float *decay = back->decay + e * N + n * LANES;
    float *carried = back->carry + b * plan->state + e * N + n * LANES;
    float *sums = back->channels + b * plan->channel + e * N + n * LANES;
    vfloat s[STRIP], carry[STRIP], sum_A[STRIP], A[STRIP];
    for (int k = 0; k < blocks; k++) {
        s[k] = v_load(state + k * N * LANES);
        A[k] = v_load(decay + k * N * LANES);
    }
    for (int64_t t = 0; t < rows; t++)
        for (int k = 0; k < blocks; k++) {
            const vfloat a = v_exp2_decay(strip->delta[k][t] * A[k]), as = a * s[k];
            strip->a[k][t] = a;
            strip->as[k][t] = as;
            s[k] = as + strip->input[k][t] * B[t * N];
        }
    for (int k = 0; k < blocks; k++) {
        carry[k] = v_load(carried + k * N * LANES);
        sum_A[k] = v_load(sums + k * N * LANES);
    }
    for (int64_t t = rows - 1; t >= 0; t--) {
        const vfloat B_t = v_set(B[t * N]), C_t = v_set(C[t * N]);
        vfloat sum_B = v_zero(), sum_C = v_zero();
        for (int k = 0; k < blocks; k++) {
            const vfloat g = strip->g[k][t], input = strip->input[k][t], as = strip->as[k][t];
            const vfloat lambda = carry[k] + C_t * g, w = lambda * as;
            sum_B += input * lambda;
            sum_C += (as + input * B_t) * g;
            strip->by_B[k][t] += B_t * lambda;
            strip->by_A[k][t] += A[k] * w;
            sum_A[k] += strip->delta[k][t] * w;
            carry[k] = strip->a[k][t] * lambda;
        }
        strip->sum_B[t] = sum_B;
        strip->sum_C[t] = sum_C;
    }
    for (int k = 0; k < blocks; k++) {
        v_store(carried + k * N * LANES, carry[k]);
        v_store(sums + k * N * LANES, sum_A[k]);
    }
}

/* partial: of this unit and chunk. add: an earlier strip of the unit wrote it. */
INLINE void strip_chunk(const Backward *back, int64_t b, int64_t chunk, int64_t e, float *partial,
                        bool add, const int blocks) {
    const Plan *plan = &back->plan;
    const int64_t rows = smaller(SCAN_ROWS, plan->L - chunk * SCAN_ROWS);
    const int64_t token = b * plan->L + chunk * SCAN_ROWS;
    Strip strip;
    for (int k = 0; k < blocks; k++) {
        open_block(back, token, rows, e + k * LANES, strip.delta[k], strip.input[k], strip.g[k]);
        for (int t = 0; t < SCAN_ROWS; t++) strip.by_B[k][t] = strip.by_A[k][t] = v_zero();
    }
    for (int t = 0; t < SCAN_ROWS; t++) strip.sum_B[t] = strip.sum_C[t] = v_zero();
    for (int64_t n = 0; n < plan->N; n++) {
        strip_state(back, &strip, b, chunk, e, n, blocks);
        sum_lanes(strip.sum_B, partial + n * 2 * SCAN_ROWS, add);
        sum_lanes(strip.sum_C, partial + n * 2 * SCAN_ROWS + SCAN_ROWS, add);
    }
    for (int k = 0; k < blocks; k++) close_block(back, b, token, rows, e + k * LANES, &strip, k);
}

/* Chunks begin .. end-1 of one unit, in reverse. */
static void backward_unit(const Backward *back, int64_t unit, int64_t begin, int64_t end) {
    const Plan *plan = &back->plan;
    const int64_t b = unit / plan->groups, first = unit % plan->groups * SCAN_CHANNELS;
    const int64_t last = smaller(first + SCAN_CHANNELS, plan->E);
    for (int64_t chunk = end - 1; chunk >= begin; chunk--) {
        float *partial = back->partials + (unit * plan->stretch + chunk - begin) * plan->partial;
        for (int64_t e = first; e < last;) {
            const bool whole = last - e > (STRIP - 1) * LANES;
            if (whole)
                strip_chunk(back, b, chunk, e, partial, e > first, STRIP);
            else
                strip_chunk(back, b, chunk, e, partial, e > first, 1);
            e += whole ? STRIP * LANES : LANES;
        }
    }
}

/* Adds the units' partial sums of one sequence and chunk, in the order of their channels. */
static void add_partials(const Backward *back, int64_t b, int64_t chunk, int64_t begin) {
    const Plan *plan = &back->plan;
    const int64_t first = chunk * SCAN_ROWS, rows = smaller(SCAN_ROWS, plan->L - first);
    for (int64_t n = 0; n < plan->N; n++)
        for (int which = 0; which < 2; which++) {
            const int input = which ? SCAN_C : SCAN_B;
            float *gradient = back->call->in[input]->gradient;
            if (!gradient) continue;
            float sum[SCAN_ROWS] = {0};
            for (int64_t group = 0; group < plan->groups; group++) {
                const int64_t unit = b * plan->groups + group;
                const float *partial = back->partials +
                                       (unit * plan->stretch + chunk - begin) * plan->partial +
                                       (n * 2 + which) * SCAN_ROWS;
                for (int t = 0; t < SCAN_ROWS; t++) sum[t] += partial[t];
            }
            gradient += (b * plan->L + first) * plan->N + n;
            for (int64_t t = 0; t < rows; t++) {
                float *to = gradient + t * plan->N;
                *to = back->call->accumulate[input] ? *to + sum[t] : sum[t];
            }
        }
}

static void give_vector(const OpCall *call, int input, const float *values) {
    float *to = call->in[input]->gradient;
    const int64_t size = to ? tensor_size(call->in[input]) : 0;
    for (int64_t i = 0; i < size; i++)
        to[i] = call->accumulate[input] ? to[i] + values[i] : values[i];
}

/* Sums over the batch, in order, of A, D and bias; gradient of the state. */
static void close_call(const Backward *back) {
    const OpCall *call = back->call;
    const Plan *plan = &back->plan;
    float *sums = back->channels;
    for (int64_t b = 1; b < plan->B; b++)
        for (int64_t i = 0; i < plan->channel; i++) sums[i] += sums[b * plan->channel + i];
    for (int64_t i = 0; i < plan->state; i++) /* dA to dA_log = A dA */
        sums[i] *= back->decay[i] * 0.693147181f;
    float *dA_log = call->in[SCAN_A_LOG]->gradient;
    float *dstate = call->in[SCAN_STATE] ? call->in[SCAN_STATE]->gradient : NULL;
    for (int64_t e = 0; e < plan->E; e += LANES) {
        if (dA_log)
            block_to_rows(sums + e * plan->N, plan, e, dA_log, call->accumulate[SCAN_A_LOG]);
        for (int64_t b = 0; b < plan->B && dstate; b++)
            block_to_rows(back->carry + b * plan->state + e * plan->N, plan, e,
                          dstate + b * plan->E * plan->N, call->accumulate[SCAN_STATE]);
    }
    give_vector(call, SCAN_D, sums + plan->state);
    give_vector(call, SCAN_BIAS, sums + plan->state + plan->padded);
}

void ISA(selective_scan_backward)(const OpCall *call, const Run *run) {
    const Plan plan = selective_scan_plan(call);
    Backward back = {.call = call, .plan = plan, .decay = call->scratch};
    back.carry = back.decay + plan.state;
    back.channels = back.carry + plan.B * plan.state;
    back.partials = back.channels + plan.B * plan.channel;
    memset(back.decay, 0, (size_t)plan.state * sizeof(float));
    pack_decay(call, &plan, back.decay);
    memset(back.channels, 0, (size_t)(plan.B * plan.channel) * sizeof(float));
    const float *dnext = call->outputs > 1 ? call->out[1]->gradient : NULL;
    for (int64_t b = 0; b < plan.B; b++)
        for (int64_t e = 0; e < plan.E; e += LANES)
            block_from_rows(dnext ? dnext + b * plan.E * plan.N : NULL, &plan, e,
                            back.carry + b * plan.state + e * plan.N);
    for (int64_t end = plan.chunks; end > 0; end -= plan.stretch) {
        const int64_t begin = end > plan.stretch ? end - plan.stretch : 0, count = end - begin;
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
        for (int64_t unit = 0; unit < plan.units; unit++) backward_unit(&back, unit, begin, end);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
        for (int64_t i = 0; i < plan.B * count; i++)
            add_partials(&back, i / count, begin + i % count, begin);
    }
    close_call(&back);
}
