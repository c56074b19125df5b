/* Forward: a sequence of a head after the other, mini-batch by mini-batch, weights and panels in
 * the second-level cache (one layer of 64 channels: 16 KB of weights, in the first). Bound by the
 * products, 6 f^2 multiplications and additions a token and head with one layer and 56 f^2 with
 * two of four times the width: with 64 channels 24 and 232 thousand, against 16 f bytes. */
#include <omp.h>

#include "engine/ops/ttt/ttt_batch_simd.h"

void ISA(ttt_backward)(const OpCall *call, const Run *run);

/* y = q + gamma z + beta. */
static void give_answers(const OpCall *call, const Head *head, const TttBatch *batch, int64_t s,
                         int64_t number) {
    const TttPlan *plan = &head->plan;
    const int64_t f = plan->f, p = head->p, l = plan->layers - 1, D = plan->H * f;
    for (int64_t i = 0; i < f; i++)
        for (int64_t t = 0; t < p; t += LANES) {
            const vfloat z = v_load(batch->z[l] + i * 2 * p + p + t);
            v_store(head->work.panel + i * p + t,
                    v_load(batch->x[0] + i * 2 * p + p + t) + (z * head->gamma[i] + head->beta[i]));
        }
    float *y = call->out[0]->data + (s * plan->L + number * plan->b) * D + head->number * f;
    panel_to_rows(head->work.panel, p, f, (GradientTarget){y, false}, D,
                  batch_tokens(plan, number));
}

static void sequence(const OpCall *call, const Head *head, int64_t s) {
    const TttPlan *plan = &head->plan;
    const TttBatch batch = head->work.batch[0];
    first_state(call, head, batch.state);
    for (int64_t number = 0; number < plan->batches; number++) {
        const int64_t group = number / TTT_GROUP, kept = (s * plan->H + head->number);
        if (call->saves && group > 0 && number % TTT_GROUP == 0)
            memcpy(call->saved[0]->data + (kept * (plan->groups - 1) + group - 1) * plan->P,
                   batch.state, (size_t)plan->P * sizeof(float));
        batch_load(call, head, s, number, &batch);
        batch_learn(head, &batch);
        batch_answer(head, &batch);
        give_answers(call, head, &batch, s, number);
        if (number + 1 < plan->batches) batch_step(head, &batch, batch.state);
    }
}

static void forward(const OpCall *call, const Run *run) {
    const TttPlan plan = ttt_plan(call->in, call->attributes);
    const int64_t floats = ttt_work_floats(&plan, PHASE_FORWARD, TTT_LINE);
#pragma omp parallel for num_threads(run->threads) schedule(static) if (run->threads > 1)
    for (int64_t unit = 0; unit < plan.B * plan.H; unit++) {
        float *scratch = (float *)call->scratch + omp_get_thread_num() * floats;
        const Head head = head_open(call, PHASE_FORWARD, unit % plan.H, scratch);
        sequence(call, &head, unit / plan.H);
    }
}

const OpKernels ISA(ttt_cpu) = {forward, ISA(ttt_backward)};
