/* Replaying: memory is bound to tensors once, then kernels run in the planned order. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/clock.h"
#include "engine/memory.h"
#include "engine/tape_internal.h"

static float *place_of(const Tape *tape, int buffer) {
    return (float *)(void *)(tape->arena + tape->buffers[buffer].offset);
}

static Status find_kernels(Tape *tape, Error *error) {
    tape->kernels = memory_take_zeroed((size_t)tape->call_count + 1, sizeof *tape->kernels);
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

void tape_set_device(Tape *tape, Device *device, Products products) {
    assert(!tape->steps && "the device decides what the plan needs");
    tape->device = device;
    tape->products = products;
}

static size_t rounded(const Tensor *tensor) {
    return ((size_t)tensor_size(tensor) * 4 + 63) / 64 * 64;
}

/* Gradients that the caller writes before backward or reads after it. */
static bool gradient_on_host(const Tape *tape, const Tensor *tensor) {
    const TensorPlan *plan = &tape->plans[tensor->number];
    return tensor->gradient &&
           (plan->seed || (tensor->role == ROLE_INPUT && tensor->wants_gradient));
}

/* State stays on the device from step to step. */
static bool is_carried(const Tape *tape, const Tensor *tensor) {
    for (int i = 0; i < tape->carry_count; i++)
        if (tape->carries[i].state == tensor) return true;
    return false;
}

static bool data_on_host(const Tape *tape, const Tensor *tensor) {
    return tensor->data && !is_carried(tape, tensor) &&
           (tensor->role == ROLE_INPUT || tape->plans[tensor->number].keep);
}

static size_t input_bytes(const Tape *tape) {
    size_t bytes = 0;
    for (int t = 0; t < tape->tensor_count; t++)
        if (tape->tensors[t]->role == ROLE_INPUT && !tape->tensors[t]->base &&
            data_on_host(tape, tape->tensors[t]))
            bytes += rounded(tape->tensors[t]);
    return bytes;
}

/* One block of pinned memory for everything that crosses over: inputs, their second copy where
 * there is one, and the rest. */
static Status bind_host_copies(Tape *tape, Error *error) {
    tape->copy_bytes = input_bytes(tape);
    size_t bytes = tape->copy_bytes * (tape->doubled ? 2 : 1);
    for (int pass = 0; pass < 2; pass++) {
        unsigned char *input = tape->pinned, *next = input;
        if (pass == 1) next += tape->copy_bytes * (tape->doubled ? 2 : 1);
        for (int t = 0; t < tape->tensor_count; t++) {
            Tensor *tensor = tape->tensors[t];
            if (tensor->base) continue;
            const bool data = data_on_host(tape, tensor), in = tensor->role == ROLE_INPUT;
            const bool gradient = gradient_on_host(tape, tensor);
            if (pass == 0) {
                bytes += rounded(tensor) * (size_t)((data && !in) + gradient);
                continue;
            }
            unsigned char **place = in ? &input : &next;
            if (data) tensor->host = (float *)(void *)*place;
            *place += data ? rounded(tensor) : 0;
            if (gradient) tensor->host_gradient = (float *)(void *)next;
            next += gradient ? rounded(tensor) : 0;
        }
        if (pass == 0 && bytes &&
            tape->device->kind->remote->pin(tape->device, bytes, &tape->pinned, error) != STATUS_OK)
            return error_context(error, "inputs and results");
    }
    return STATUS_OK;
}

static Status prepare(Tape *tape, Device *device, Error *error) {
    assert(tape->steps && "plan before allocating");
    assert(!tape->arena && "a tape is allocated once");
    assert((!device->kind->remote || tape->device == device) && "plan for the device: scratch");
    tape->device = device;
    return find_kernels(tape, error);
}

/* Everything to its place in the arena. */
static Status bind(Tape *tape, Error *error) {
    const Device *device = tape->device;
    for (int t = 0; t < tape->tensor_count; t++) {
        Tensor *tensor = tape->tensors[t];
        const TensorPlan *plan = &tape->plans[t];
        if (plan->data_buffer >= 0) tensor->data = place_of(tape, plan->data_buffer);
        if (plan->gradient_buffer >= 0) tensor->gradient = place_of(tape, plan->gradient_buffer);
        if (device->kind->remote) continue;
        tensor->host = tensor->data;
        tensor->host_gradient = tensor->gradient;
    }
    for (int c = 0; c < tape->call_count; c++) {
        OpCall *call = tape->calls[c];
        if (tape->kept[c] >= 0) call->kept = place_of(tape, tape->kept[c]);
        for (int i = 0; i < call->inputs; i++)
            if (call->has_copy >> i & 1u)
                call->copies[i] = (void *)place_of(tape, tape->copies[c][i]);
    }
    if (device->kind->remote && bind_host_copies(tape, error) != STATUS_OK) return error->status;
    for (int t = 0; t < tape->tensor_count; t++) { /* views last: bases have their memory now */
        Tensor *tensor = tape->tensors[t];
        if (!tensor->base) continue;
        tensor->data = tensor->base->data;
        tensor->host = tensor->base->host;
        if (!tensor->wants_gradient) continue; /* detached, or there is none */
        tensor->gradient = tensor->base->gradient;
        tensor->host_gradient = tensor->base->host_gradient;
    }
    return STATUS_OK;
}

Status tape_allocate(Tape *tape, Device *device, Error *error) {
    if (prepare(tape, device, error) != STATUS_OK) return error->status;
    void *memory = NULL;
    if (device->kind->allocate(device, tape->bytes, &memory, error) != STATUS_OK)
        return error_context(error, "activations");
    tape->arena = memory;
    return bind(tape, error);
}

Status tape_allocate_in(Tape *tape, Tape *host, Error *error) {
    assert(host->arena && !host->host && host->bytes >= tape->bytes);
    if (prepare(tape, host->device, error) != STATUS_OK) return error->status;
    tape->arena = host->arena;
    tape->host = host;
    return bind(tape, error);
}

void tape_release(Tape *tape) {
    if (!tape->arena) return;
    const DeviceKind *kind = tape->device->kind;
    for (int i = 0; i < 2; i++) {
        if (tape->recordings[i].launchable)
            kind->remote->forget(tape->device, tape->recordings[i].launchable);
        if (tape->sent[i]) kind->remote->drop(tape->device, tape->sent[i]);
    }
    if (tape->pinned) kind->remote->unpin(tape->device, tape->pinned);
    if (!tape->host) kind->release(tape->device, tape->arena, tape->bytes);
}

/* For the message, when the device is known to have failed: in this step, or NULL for before it. */
static void note_failure(Device *device, const Step *step, const OpCall *call) {
    if (!device->kind->remote || device->failed_in[0] || !device->kind->remote->failed(device))
        return;
    const bool scoped = call && call->scope && *call->scope;
    snprintf(device->failed_in, sizeof device->failed_in, "%s%s%s%s",
             !step                         ? "between operations"
             : step->kind == STEP_BACKWARD ? "backward of "
                                           : "forward of ",
             call ? call->op->name : "", scoped ? " at " : "", scoped ? call->scope : "");
}

static void run_step(Tape *tape, const Step *step, const Run *run) {
    OpCall *call = tape->calls[step->call];
    const OpKernels *kernels = tape->kernels[step->call];
    call->scratch = step->scratch >= 0 ? place_of(tape, step->scratch) : NULL;
    const double start = tape->seconds ? seconds_now() : 0;
    note_failure(tape->device, NULL, NULL);
    if (step->kind == STEP_BACKWARD)
        kernels->backward(call, run);
    else
        kernels->forward(call, run);
    note_failure(tape->device, step, call);
    if (tape->seconds) tape->seconds[step->call] += seconds_now() - start;
}

/* Inputs to the device; or gradients that the caller has set. */
static void send(Tape *tape, Phase phase) {
    for (int t = 0; t < tape->tensor_count; t++) {
        Tensor *tensor = tape->tensors[t];
        const size_t bytes = (size_t)tensor_size(tensor) * 4;
        if (tensor->base) continue;
        if (phase == PHASE_FORWARD && tensor->role == ROLE_INPUT && tensor->host && tensor->data)
            device_upload(tape->device, tensor->data, tensor->host, bytes);
        if (phase == PHASE_BACKWARD && tensor->host_gradient)
            device_upload(tape->device, tensor->gradient, tensor->host_gradient, bytes);
    }
}

/* Kept results, and inputs that an operation has changed in place; or gradients of inputs. */
static void fetch(Tape *tape, Phase phase) {
    for (int t = 0; t < tape->tensor_count; t++) {
        Tensor *tensor = tape->tensors[t];
        const size_t bytes = (size_t)tensor_size(tensor) * 4;
        if (tensor->base) {
            const bool changed = tape->plans[t].producer >= 0 || tape->plans[t].keep;
            if (phase == PHASE_FORWARD && changed && tensor->host)
                device_download(tape->device, tensor->host, tensor->data, bytes);
            continue;
        }
        if (phase == PHASE_FORWARD && tensor->role != ROLE_INPUT && tensor->host)
            device_download(tape->device, tensor->host, tensor->data, bytes);
        if (phase == PHASE_BACKWARD && tensor->host_gradient)
            device_download(tape->device, tensor->host_gradient, tensor->gradient, bytes);
    }
}

static void carry_state(Tape *tape) {
    for (int i = 0; i < tape->carry_count; i++) {
        const Carry *carry = &tape->carries[i];
        if (carry->next && carry->next->data != carry->state->data)
            device_copy(tape->device, carry->state->data, carry->next->data,
                        (size_t)tensor_size(carry->state) * 4);
    }
}

static bool crosses(const Tape *tape) {
    return tape->device->kind->remote && !tape->stays;
}

/* Inputs of which there are two copies are sent outside of recordings, which know one address. */
static bool sends_apart(const Tape *tape) {
    return crosses(tape) && tape->doubled;
}

static void replay_forward(Tape *tape, const Run *run) {
    if (crosses(tape) && !tape->doubled) send(tape, PHASE_FORWARD);
    for (int s = 0; s < tape->forward_steps; s++)
        if (!tape->fresh || !is_kept(tape, tape->steps[s].call))
            run_step(tape, &tape->steps[s], run);
    if (tape->mode == TAPE_STEP) carry_state(tape);
    if (crosses(tape) && !tape->leaves) fetch(tape, PHASE_FORWARD);
}

static void replay_backward(Tape *tape, const Run *run) {
    if (crosses(tape)) send(tape, PHASE_BACKWARD);
    for (int t = 0; t < tape->tensor_count; t++) {
        const TensorPlan *plan = &tape->plans[t];
        if ((plan->zeroed || (plan->from_zero && tape->first)) && tape->tensors[t]->gradient)
            device_zero(tape->device, tape->tensors[t]->gradient,
                        (size_t)tensor_size(tape->tensors[t]) * 4);
    }
    for (int c = 0; c < tape->call_count; c++)
        for (int i = 0; tape->starts[c] >> i; i++)
            if (tape->starts[c] >> i & 1u) tape->calls[c]->accumulate[i] = !tape->first;
    for (int s = tape->forward_steps; s < tape->step_count; s++)
        if (tape->last || !is_kept(tape, tape->steps[s].call)) run_step(tape, &tape->steps[s], run);
    if (crosses(tape) && !tape->leaves) fetch(tape, PHASE_BACKWARD);
}

/* Makes the phase's recording: the first time only warms up, and what fails is not tried again. */
static void record(Tape *tape, const Run *run, void (*steps)(Tape *, const Run *),
                   Recording *recording) {
    const DeviceRemote *remote = tape->device->kind->remote;
    if (recording->hopeless || recording->launchable) return;
    if (!recording->warm) {
        recording->warm = true;
        return;
    }
    if (remote->record(tape->device)) {
        steps(tape, run);
        recording->launchable = remote->recorded(tape->device);
        recording->training = run->training;
    }
    recording->hopeless = !recording->launchable;
}

/* Launches the phase's recording where there is one, or replays step by step. */
static void replay(Tape *tape, const Run *run, Phase phase) {
    void (*const steps)(Tape *, const Run *) =
        phase == PHASE_FORWARD ? replay_forward : replay_backward;
    const DeviceRemote *remote = tape->device->kind->remote;
    Recording *recording = &tape->recordings[phase];
    Run own = *run;
    own.device = tape->device->state;
    if (crosses(tape)) remote->prepare(tape->device, &own);
    if (sends_apart(tape) && phase == PHASE_FORWARD) {
        send(tape, PHASE_FORWARD);
        tape->sent[tape->turn] = remote->mark(tape->device, tape->sent[tape->turn]);
    }
    const bool settled = tape->mode != TAPE_STEP || tape->fresh;
    const bool allowed = remote && tape->recording && !tape->seconds && settled;
    if (allowed) record(tape, &own, steps, recording);
    if (allowed && recording->launchable && recording->training == run->training)
        remote->launch(tape->device, recording->launchable);
    else
        steps(tape, &own);
}

void tape_forward(Tape *tape, const Run *run) {
    assert(tape->arena && "allocate before replaying");
    assert(run->threads <= tape->threads && "scratch was planned for fewer threads");
    assert((!tape->device->kind->remote || run->products == tape->products) &&
           "planned for other products");
    /* Not after the replay: a device may still be reading it then. */
    if (tape->position) tape->position->host_integers[0] = tape->place;
    Tape *host = tape->host ? tape->host : tape;
    if (host->occupant != tape || (tape->mode != TAPE_STEP && tape->first)) tape->fresh = false;
    host->occupant = tape;
    replay(tape, run, PHASE_FORWARD);
    tape->fresh = tape->keeps;
    if (tape->mode == TAPE_STEP) tape->place++;
    if (tape->mode != TAPE_TRAIN) tape->first = tape->last = true;
}

void tape_backward(Tape *tape, const Run *run) {
    assert(tape->mode == TAPE_TRAIN);
    replay(tape, run, PHASE_BACKWARD);
    tape->first = tape->last = true;
}

void tape_share(Tape *tape, bool first, bool last) {
    assert((first || tape->fresh || !tape->keeps || tape->host) && "what was computed is gone");
    tape->first = first;
    tape->last = last;
}

Status tape_finish(Tape *tape, Error *error) {
    return device_synchronise(tape->device, error);
}

void tape_double(Tape *tape) {
    assert(tape->device && !tape->arena && "host copies are made when the tape is allocated");
    tape->doubled = tape->device->kind->remote != NULL;
}

void tape_turn(Tape *tape) {
    if (!tape->doubled) return;
    const ptrdiff_t by = (ptrdiff_t)tape->copy_bytes * (tape->turn ? -1 : 1);
    tape->turn ^= 1;
    /* A failure stays: whoever waits for results reports it. */
    if (tape->sent[tape->turn])
        tape->device->kind->remote->wait(tape->device, tape->sent[tape->turn], NULL);
    for (int t = 0; t < tape->tensor_count; t++) {
        Tensor *tensor = tape->tensors[t];
        if (owner_of(tensor)->role == ROLE_INPUT && tensor->host)
            tensor->host = (float *)(void *)((unsigned char *)tensor->host + by);
    }
}

void tape_leave(Tape *tape) {
    assert(!tape->recordings[PHASE_FORWARD].launchable && "a recording would go on fetching");
    tape->leaves = true;
}

void tape_stay(Tape *tape) {
    assert(!tape->recordings[PHASE_FORWARD].launchable && "a recording would go on sending");
    tape->stays = true;
}

void tape_record(Tape *tape) {
    tape->recording = true;
}

void tape_reset_state(Tape *tape) {
    for (int i = 0; i < tape->carry_count; i++) {
        Tensor *state = tape->carries[i].state;
        device_zero(tape->device, state->data, (size_t)tensor_size(state) * 4);
    }
    tape->place = 0;
    tape->fresh = false;
}

void tape_place(Tape *tape, int64_t position) {
    assert(tape->mode == TAPE_STEP && position < tape->horizon);
    tape->place = (int32_t)position;
}

static void add_cost(Cost *sum, const Cost *cost, double times) {
    sum->flops += times * cost->flops;
    sum->specials += times * cost->specials;
    sum->bytes_read += times * cost->bytes_read;
    sum->bytes_written += times * cost->bytes_written;
}

TapeCost tape_cost(const Tape *tape, int64_t replays) {
    TapeCost sum = {0};
    for (int s = 0; s < tape->step_count; s++) {
        const int c = tape->steps[s].call;
        const OpCall *call = tape->calls[c];
        const double model = tape->constant[c] ? 1 : (double)replays;
        const double executed = is_kept(tape, c) ? 1 : (double)replays;
        Cost forward = {0}, backward = {0};
        call->op->cost(call, &forward, &backward);
        switch (tape->steps[s].kind) {
        case STEP_FORWARD:
            add_cost(&sum.forward, &forward, model);
            add_cost(&sum.executed_forward, &forward, executed);
            break;
        case STEP_RECOMPUTE:
            add_cost(&sum.executed_forward, &forward, executed);
            break;
        case STEP_BACKWARD:
            add_cost(&sum.backward, &backward, model);
            add_cost(&sum.executed_backward, &backward, executed);
            break;
        }
    }
    return sum;
}

static double flops_of(const Cost *forward, const Cost *backward) {
    return forward->flops + forward->specials + backward->flops + backward->specials;
}

double tape_model_flops(const Tape *tape, int64_t replays) {
    const TapeCost cost = tape_cost(tape, replays);
    return flops_of(&cost.forward, &cost.backward);
}

double tape_executed_flops(const Tape *tape, int64_t replays) {
    const TapeCost cost = tape_cost(tape, replays);
    return flops_of(&cost.executed_forward, &cost.executed_backward);
}

void tape_profile(Tape *tape, bool on) {
    free(tape->seconds);
    tape->seconds =
        on ? memory_take_zeroed((size_t)tape->call_count + 1, sizeof *tape->seconds) : NULL;
}

double tape_seconds(const Tape *tape, int call) {
    return tape->seconds ? tape->seconds[call] : 0;
}

/* In a replay the memory of an output may be overwritten later: it is looked at in between. */
static bool is_finite(Tape *tape, const Tensor *tensor, void *copy) {
    enum { BF16_INFINITY = 0x7F80 };
    const int64_t size = tensor_size(tensor);
    const void *values = tensor->data;
    if (copy) {
        device_download(tape->device, copy, tensor->data, tensor_bytes(tensor));
        device_synchronise(tape->device, NULL);
        values = copy;
    }
    for (int64_t i = 0; i < size; i++) {
        if (tensor->type == TENSOR_BF16
                ? (((const uint16_t *)values)[i] & BF16_INFINITY) == BF16_INFINITY
                : !isfinite(((const float *)values)[i]))
            return false;
    }
    return true;
}

static size_t largest_output(const Tape *tape) {
    size_t most = 0;
    for (int t = 0; t < tape->tensor_count; t++)
        if (rounded(tape->tensors[t]) > most) most = rounded(tape->tensors[t]);
    return most;
}

const OpCall *tape_find_not_finite(Tape *tape, const Run *run) {
    const DeviceRemote *remote = tape->device->kind->remote;
    const OpCall *found = NULL;
    void *copy = NULL;
    Run own = *run;
    own.device = tape->device->state;
    if (remote) {
        if (remote->pin(tape->device, largest_output(tape), &copy, NULL) != STATUS_OK) return NULL;
        remote->prepare(tape->device, &own);
        send(tape, PHASE_FORWARD);
    }
    for (int s = 0; s < tape->forward_steps && !found; s++) {
        run_step(tape, &tape->steps[s], &own);
        const OpCall *call = tape->calls[tape->steps[s].call];
        for (int j = 0; j < call->outputs && !found; j++)
            if (call->out[j]->type != TENSOR_INTEGER && !is_finite(tape, call->out[j], copy))
                found = call;
    }
    if (copy) remote->unpin(tape->device, copy);
    return found;
}
