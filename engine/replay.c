/* Replaying: memory is bound to tensors once, then kernels run in the planned order. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/tape_internal.h"

static float *place_of(const Tape *tape, int buffer) {
    return (float *)(void *)(tape->arena + tape->buffers[buffer].offset);
}

static Status find_kernels(Tape *tape, Error *error) {
    tape->kernels = calloc((size_t)tape->call_count + 1, sizeof *tape->kernels);
    for (int c = 0; c < tape->call_count; c++) {
        const OpCall *call = tape->calls[c];
        tape->kernels[c] = tape->device->kind->kernels(tape->device, call->op);
        if (!tape->kernels[c])
            return error_set(
                error, STATUS_USAGE,
                "device %s has no kernel for operation %s (in %s); nothing is moved to "
                "another device silently: use another device or another model",
                tape->device->kind->name, call->op->name, call->scope);
    }
    return STATUS_OK;
}

Status tape_allocate(Tape *tape, Device *device, Error *error) {
    assert(tape->steps && "plan before allocating");
    assert(!tape->arena && "a tape is allocated once");
    tape->device = device;
    if (find_kernels(tape, error) != STATUS_OK) return error->status;
    void *memory = NULL;
    if (device->kind->allocate(device, tape->bytes, &memory, error) != STATUS_OK)
        return error_context(error, "activations");
    tape->arena = memory;
    for (int t = 0; t < tape->tensor_count; t++) {
        const TensorPlan *plan = &tape->plans[t];
        if (plan->data_buffer >= 0) tape->tensors[t]->data = place_of(tape, plan->data_buffer);
        if (plan->gradient_buffer >= 0)
            tape->tensors[t]->gradient = place_of(tape, plan->gradient_buffer);
    }
    for (int t = 0; t < tape->tensor_count; t++) { /* views last: bases have their memory now */
        Tensor *tensor = tape->tensors[t];
        if (!tensor->base) continue;
        tensor->data = tensor->base->data;
        tensor->gradient = tensor->base->gradient;
    }
    return STATUS_OK;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void run_step(Tape *tape, const Step *step, const Run *run) {
    OpCall *call = tape->calls[step->call];
    const OpKernels *kernels = tape->kernels[step->call];
    call->scratch = step->scratch >= 0 ? place_of(tape, step->scratch) : NULL;
    const double start = tape->seconds ? now() : 0;
    if (step->kind == STEP_BACKWARD)
        kernels->backward(call, run);
    else
        kernels->forward(call, run);
    if (tape->seconds) tape->seconds[step->call] += now() - start;
}

static void carry_state(Tape *tape) {
    for (int i = 0; i < tape->carry_count; i++) {
        const Carry *carry = &tape->carries[i];
        if (carry->next && carry->next->data != carry->state->data)
            memcpy(carry->state->data, carry->next->data, (size_t)tensor_size(carry->state) * 4);
    }
    if (tape->position) tape->position->integers[0]++;
}

void tape_forward(Tape *tape, const Run *run) {
    assert(tape->arena && "allocate before replaying");
    assert(run->threads <= tape->threads && "scratch was planned for fewer threads");
    for (int s = 0; s < tape->forward_steps; s++)
        if (!tape->fresh || !tape->constant[tape->steps[s].call])
            run_step(tape, &tape->steps[s], run);
    if (tape->mode != TAPE_STEP) return;
    tape->fresh = true;
    carry_state(tape);
}

void tape_backward(Tape *tape, const Run *run) {
    assert(tape->mode == TAPE_TRAIN);
    for (int t = 0; t < tape->tensor_count; t++)
        if (tape->plans[t].zeroed && tape->tensors[t]->gradient)
            memset(tape->tensors[t]->gradient, 0, (size_t)tensor_size(tape->tensors[t]) * 4);
    for (int s = tape->forward_steps; s < tape->step_count; s++)
        run_step(tape, &tape->steps[s], run);
}

void tape_reset_state(Tape *tape) {
    for (int i = 0; i < tape->carry_count; i++) {
        Tensor *state = tape->carries[i].state;
        memset(state->data, 0, (size_t)tensor_size(state) * 4);
    }
    if (tape->position) tape->position->integers[0] = 0;
    tape->fresh = false;
}

void tape_place(Tape *tape, int64_t position) {
    assert(tape->mode == TAPE_STEP && position < tape->horizon);
    if (tape->position) tape->position->integers[0] = (int32_t)position;
}

static void add_cost(Cost *sum, const Cost *cost) {
    sum->flops += cost->flops;
    sum->specials += cost->specials;
    sum->bytes_read += cost->bytes_read;
    sum->bytes_written += cost->bytes_written;
}

TapeCost tape_cost(const Tape *tape) {
    TapeCost sum = {0};
    for (int s = 0; s < tape->step_count; s++) {
        const OpCall *call = tape->calls[tape->steps[s].call];
        Cost forward = {0}, backward = {0};
        call->op->cost(call, &forward, &backward);
        switch (tape->steps[s].kind) {
        case STEP_FORWARD:
            add_cost(&sum.forward, &forward);
            add_cost(&sum.executed_forward, &forward);
            break;
        case STEP_RECOMPUTE:
            add_cost(&sum.executed_forward, &forward);
            break;
        case STEP_BACKWARD:
            add_cost(&sum.backward, &backward);
            add_cost(&sum.executed_backward, &backward);
            break;
        }
    }
    return sum;
}

double tape_model_flops(const Tape *tape) {
    const TapeCost cost = tape_cost(tape);
    return cost.forward.flops + cost.forward.specials + cost.backward.flops +
           cost.backward.specials;
}

void tape_profile(Tape *tape, bool on) {
    free(tape->seconds);
    tape->seconds = on ? calloc((size_t)tape->call_count + 1, sizeof *tape->seconds) : NULL;
}

double tape_seconds(const Tape *tape, int call) {
    return tape->seconds ? tape->seconds[call] : 0;
}

const OpCall *tape_find_not_finite(Tape *tape, const Run *run) {
    for (int s = 0; s < tape->forward_steps; s++) {
        run_step(tape, &tape->steps[s], run);
        const OpCall *call = tape->calls[tape->steps[s].call];
        for (int j = 0; j < call->outputs; j++) {
            if (call->out[j]->type != TENSOR_FLOAT) continue;
            const int64_t size = tensor_size(call->out[j]);
            for (int64_t i = 0; i < size; i++)
                if (!isfinite(call->out[j]->data[i])) return call;
        }
    }
    return NULL;
}
