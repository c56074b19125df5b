/* Once for any number of steps. Channels are independent; the squarings are most of it. */
#include <omp.h>

#include "engine/ops/dplr_modes/dplr_modes.h"
#include "engine/ops/dplr_modes/dplr_system.h"

extern DplrSquare ISA(dplr_square);

static void forward(const OpCall *call, const Run *run) {
    const DplrModes *attributes = call->attributes;
    const int64_t D = extent(call->in[DPLR_LOG_DT], 0), S = extent(call->in[DPLR_A_REAL], 0);
    const int64_t M = extent(call->in[DPLR_A_REAL], 1), space = dplr_space_doubles(M);
    const int R = (int)extent(call->in[DPLR_P], 0);
    const int64_t each = space + M * (4 + 2 * DPLR_MOST_RANK) + M * dplr_rows(DPLR_MOST_RANK);
    const float *parameters[DPLR_INPUTS];
    for (int i = 0; i < DPLR_C_REVERSE; i++) parameters[i] = call->in[i]->data;
#pragma omp parallel for num_threads(run->threads) schedule(static)
    for (int64_t d = 0; d < D; d++) {
        double *own = (double *)call->scratch + omp_get_thread_num() * each;
        double *numbers = own + space, *rows = numbers + M * (4 + 2 * DPLR_MOST_RANK);
        const DplrSystem system = dplr_system_of(parameters, d, S, M, R, numbers);
        dplr_fill_rows(&system, rows);
        double *c = rows + (4 + 4 * R) * M;
        for (int64_t n = 0; n < M; n++) {
            c[n] = 2 * (double)parameters[DPLR_C][2 * (d * M + n)];
            c[M + n] = -2 * (double)parameters[DPLR_C][2 * (d * M + n) + 1];
        }
        dplr_recover(rows, M, R, attributes->period, ISA(dplr_square), c, own);
        float *to = call->out[0]->data + d * dplr_rows(R) * M;
        for (int64_t i = 0; i < dplr_rows(R) * M; i++) to[i] = (float)rows[i];
    }
}

const OpKernels ISA(dplr_modes_cpu) = {forward, NULL};
