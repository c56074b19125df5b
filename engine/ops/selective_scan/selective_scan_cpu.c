/* Forward. Channels are the vector lanes; time advances in chunks over whole rows, and inside a
 * chunk block by block, so that a block's state stays in the first-level cache. Bound by the
 * exponential: 13 vector operations for each state and token, about 8 of them on the two
 * multiply-add pipes; 16 bytes a token and channel of traffic are nothing beside it. */
#include <omp.h>

#include "engine/ops/selective_scan/selective_scan_simd.h"

void ISA(selective_scan_backward)(const OpCall *call, const Run *run);

/* What a call reads and writes, as pointers; those that it lacks are NULL. */
typedef struct Scan {
    Plan plan;
    const float *u, *raw, *B, *C, *D, *bias, *z;
    const float *decay; /* packed */
    float *y, *out;     /* before and after the gate; y only where backward wants it */
} Scan;

/* The block that comes after this one will read its rows so many floats further on. */
static void fetch(const Scan *scan, int64_t i, int64_t ahead) {
    __builtin_prefetch(scan->raw + i + ahead);
    __builtin_prefetch(scan->u + i + ahead);
    __builtin_prefetch(scan->out + i + ahead, 1);
    if (scan->z) __builtin_prefetch(scan->z + i + ahead);
    if (scan->y) __builtin_prefetch(scan->y + i + ahead, 1);
}

/* One chunk of one block; state: [n][lane]. */
INLINE void scan_chunk(const Scan *scan, int64_t token, int64_t rows, int64_t e, int64_t ahead,
                       float *state, const int64_t N) {
    const int64_t E = scan->plan.E, lanes = E - e;
    const float *decay = scan->decay + e * N;
    const vfloat bias = v_load_part(scan->bias + e, lanes), D = v_load_part(scan->D + e, lanes);
    vfloat delta[SCAN_ROWS], y[SCAN_ROWS];
    for (int64_t t = 0; t < rows; t++)
        delta[t] = v_softplus(v_load_part(scan->raw + (token + t) * E + e, lanes) + bias);
    for (int64_t t = 0; t < rows; t++) {
        const float *B = scan->B + (token + t) * N, *C = scan->C + (token + t) * N;
        const vfloat u = v_load_part(scan->u + (token + t) * E + e, lanes), input = delta[t] * u;
        vfloat sum = D * u;
        fetch(scan, (token + t) * E + e, ahead);
        for (int64_t n = 0; n < N; n++) {
            const vfloat a = v_exp2_decay(delta[t] * v_load(decay + n * LANES));
            const vfloat s = a * v_load(state + n * LANES) + input * B[n];
            v_store(state + n * LANES, s);
            sum += s * C[n];
        }
        y[t] = sum;
    }
    for (int64_t t = 0; t < rows; t++) {
        const int64_t i = (token + t) * E + e;
        if (scan->y) v_store_part(scan->y + i, y[t], lanes);
        if (scan->z) {
            const vfloat z = v_load_part(scan->z + i, lanes);
            y[t] *= z * v_sigmoid(z);
        }
        v_store_part(scan->out + i, y[t], lanes);
    }
}

/* Channels first .. of one sequence from beginning to end. state: SCAN_CHANNELS x N floats. */
static void scan_unit(const OpCall *call, const Scan *scan, int64_t b, int64_t first,
                      float *state) {
    const Plan *plan = &scan->plan;
    const int64_t N = plan->N, last = smaller(first + SCAN_CHANNELS, plan->E);
    const int64_t place = b * plan->E * N;
    const float *start = data_of(call, SCAN_STATE);
    for (int64_t e = first; e < last; e += LANES)
        block_from_rows(start ? start + place : NULL, plan, e, state + (e - first) * N);
    for (int64_t chunk = 0; chunk < plan->chunks; chunk++) {
        const int64_t t = chunk * SCAN_ROWS, rows = smaller(SCAN_ROWS, plan->L - t);
        for (int64_t e = first; e < last; e += LANES) {
            float *block = state + (e - first) * N;
            if (call->saves)
                memcpy(saved_state(call, plan, b, chunk, e), block,
                       (size_t)(N * LANES) * sizeof(float));
            const int64_t next_chunk = chunk + 1 < plan->chunks ? SCAN_ROWS * plan->E : 0;
            const int64_t ahead = e + LANES < last ? LANES : next_chunk + first - e;
            if (N == 16)
                scan_chunk(scan, b * plan->L + t, rows, e, ahead, block, 16);
            else
                scan_chunk(scan, b * plan->L + t, rows, e, ahead, block, N);
        }
    }
    for (int64_t e = first; e < last && call->outputs > 1; e += LANES)
        block_to_rows(state + (e - first) * N, plan, e, call->out[1]->data + place, false);
}

static void forward(const OpCall *call, const Run *run) {
    const Plan plan = selective_scan_plan(call);
    float *decay = call->scratch, *states = decay + plan.state;
    pack_decay(call, &plan, decay);
    const Scan scan = {.plan = plan,
                       .u = call->in[SCAN_U]->data,
                       .raw = call->in[SCAN_RAW]->data,
                       .B = call->in[SCAN_B]->data,
                       .C = call->in[SCAN_C]->data,
                       .D = call->in[SCAN_D]->data,
                       .bias = call->in[SCAN_BIAS]->data,
                       .z = data_of(call, SCAN_Z),
                       .decay = decay,
                       .y = call->saves > 1 ? call->saved[SCAN_SAVED_Y]->data : NULL,
                       .out = call->out[0]->data};
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t unit = 0; unit < plan.units; unit++)
        scan_unit(call, &scan, unit / plan.groups, unit % plan.groups * SCAN_CHANNELS,
                  states + omp_get_thread_num() * SCAN_CHANNELS * plan.N);
}

const OpKernels ISA(selective_scan_cpu) = {forward, ISA(selective_scan_backward)};
