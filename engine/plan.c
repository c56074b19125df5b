/* Planning: which calls take part in backward, in which order kernels run, how long each tensor
 * lives and where in the arena it lies. All of it before a byte is allocated. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/tape_internal.h"

static bool differentiable(const OpCall *call, int i) {
    return call->in[i] && (call->op->gradients >> i & 1u) && call->in[i]->wants_gradient;
}

/* Walks back from the seeds: a call is active when a gradient reaches one of its outputs and one of
 * its inputs wants it. */
static void find_active(Tape *tape) {
    for (int t = 0; t < tape->tensor_count; t++)
        if (tape->plans[t].seed) tape->plans[t].has_gradient = true;
    for (int c = tape->call_count - 1; c >= 0; c--) {
        const OpCall *call = tape->calls[c];
        bool reached = false, wanted = false;
        for (int j = 0; j < call->outputs; j++) {
            const TensorPlan *plan = plan_of(tape, call->out[j]);
            reached |= plan && plan->has_gradient;
        }
        for (int i = 0; i < call->inputs; i++) wanted |= differentiable(call, i);
        tape->active[c] = reached && wanted;
        if (!tape->active[c]) continue;
        for (int i = 0; i < call->inputs; i++) {
            TensorPlan *plan = differentiable(call, i) ? plan_of(tape, call->in[i]) : NULL;
            if (plan) plan->has_gradient = true;
        }
        /* The contract gives every backward a gradient of its first output. */
        TensorPlan *first = plan_of(tape, call->out[0]);
        if (!first->has_gradient) first->has_gradient = first->zeroed = true;
    }
    for (int t = 0; t < tape->tensor_count; t++) /* leaves that nothing reaches read as zero */
        if (tape->tensors[t]->role == ROLE_INPUT && tape->tensors[t]->wants_gradient &&
            !tape->tensors[t]->base && !tape->plans[t].has_gradient)
            tape->plans[t].has_gradient = tape->plans[t].zeroed = true;
}

static int new_buffer(Tape *tape, size_t bytes) {
    tape->buffers =
        memory_resize(tape->buffers, (size_t)(tape->buffer_count + 1) * sizeof *tape->buffers);
    tape->buffers[tape->buffer_count] = (Buffer){.bytes = (bytes + 63) / 64 * 64};
    return tape->buffer_count++;
}

/* May in[i] simply take over the gradient memory of out[0]? */
static bool can_pass(const Tape *tape, const OpCall *call, int i, const bool *written) {
    if (!(call->passes >> i & 1u)) return false;
    Tensor *owner = owner_of(call->in[i]);
    Tensor *out = owner_of(call->out[0]);
    if (owner->role != ROLE_ACTIVATION || written[owner->number]) return false;
    if (tape->plans[owner->number].seed || tape->plans[out->number].seed) return false;
    if (tape->plans[owner->number].summed) return false;
    if (tensor_size(owner) != tensor_size(out)) return false;
    for (int k = 0; k < call->inputs; k++) /* read and written in the same kernel: keep apart */
        if (k != i && call->in[k] && owner_of(call->in[k]) == owner) return false;
    for (int k = 0; k < i; k++)
        if (call->passed[k]) return false;
    return true;
}

static bool lasts(const Tape *tape, Tensor *tensor) {
    const TensorPlan *plan = plan_of(tape, tensor);
    return plan && plan->producer >= 0 && is_kept(tape, plan->producer);
}

/* Where gradients of a replay reach what is computed once for several, they are added up, from the
 * first backward on that reaches it. One that runs in the last replay alone cannot begin: there the
 * sum begins with zero. */
static void find_summed(Tape *tape) {
    for (int c = 0; c < tape->call_count; c++) {
        const OpCall *call = tape->calls[c];
        for (int i = 0; i < call->inputs && tape->active[c] && !is_kept(tape, c); i++)
            if (differentiable(call, i) && lasts(tape, call->in[i]))
                plan_of(tape, call->in[i])->summed = true;
    }
    bool *reached = memory_take_zeroed((size_t)tape->tensor_count + 1, sizeof *reached);
    for (int c = tape->call_count - 1; c >= 0; c--) {
        const OpCall *call = tape->calls[c];
        for (int i = 0; i < call->inputs && tape->active[c]; i++) {
            if (!differentiable(call, i) || !lasts(tape, call->in[i])) continue;
            TensorPlan *plan = plan_of(tape, call->in[i]);
            const int number = owner_of(call->in[i])->number;
            if (!plan->summed || reached[number]) continue;
            reached[number] = true;
            if (is_kept(tape, c))
                plan->from_zero = true;
            else
                tape->starts[c] |= 1u << i;
        }
    }
    free(reached);
}

/* Gradient memory, and for each backward whether it is the first to write there. */
static void assign_gradients(Tape *tape) {
    bool *written = memory_take_zeroed((size_t)tape->tensor_count + 1, sizeof *written);
    find_summed(tape);
    for (int t = 0; t < tape->tensor_count; t++) {
        TensorPlan *plan = &tape->plans[t];
        if (!plan->seed && !plan->zeroed && !plan->summed) continue;
        plan->gradient_buffer = new_buffer(tape, tensor_bytes(tape->tensors[t]));
        written[t] = true;
    }
    for (int c = tape->call_count - 1; c >= 0; c--) {
        OpCall *call = tape->calls[c];
        if (!tape->active[c]) continue;
        for (int i = 0; i < call->inputs; i++) {
            call->accumulate[i] = true;
            call->passed[i] = false;
            if (!differentiable(call, i)) continue;
            TensorPlan *plan = plan_of(tape, call->in[i]);
            if (!plan) continue; /* parameters accumulate from zero */
            Tensor *owner = owner_of(call->in[i]);
            call->accumulate[i] = written[owner->number];
            if (can_pass(tape, call, i, written)) {
                call->passed[i] = true;
                plan->gradient_buffer = plan_of(tape, call->out[0])->gradient_buffer;
            } else if (plan->gradient_buffer < 0) {
                plan->gradient_buffer = new_buffer(tape, tensor_bytes(owner));
            }
            written[owner->number] = true;
        }
    }
    free(written);
}

/* Which calls of a segment must run again before its backward: those whose released outputs or
 * notes an active backward reads, and what these need in turn. */
static void find_recomputed(const Tape *tape, bool *again) {
    bool *needed = memory_take_zeroed((size_t)tape->tensor_count + 1, sizeof *needed);
    for (int c = tape->call_count - 1; c >= 0; c--) {
        const OpCall *call = tape->calls[c];
        if (call->segment < 0 || is_kept(tape, c)) continue;
        again[c] = tape->active[c] && call->saves > 0;
        for (int j = 0; j < call->outputs; j++) {
            const int number = owner_of(call->out[j])->number;
            if (tape->active[c] && (call->needs_outputs >> j & 1u)) needed[number] = true;
            again[c] |= needed[number] && tape->plans[number].recomputed;
        }
        for (int i = 0; i < call->inputs; i++) {
            const bool read = again[c] || (tape->active[c] && (call->needs_inputs >> i & 1u));
            Tensor *owner = call->in[i] ? owner_of(call->in[i]) : NULL;
            if (read && owner && owner->role == ROLE_ACTIVATION) needed[owner->number] = true;
        }
    }
    free(needed);
}

/* A tensor may be released and recomputed when only calls of its own segment read it. */
static void find_interior(Tape *tape) {
    for (int t = 0; t < tape->tensor_count; t++) {
        const TensorPlan *plan = &tape->plans[t];
        tape->plans[t].recomputed = !tape->tensors[t]->base && plan->producer >= 0 && !plan->keep &&
                                    tape->calls[plan->producer]->segment >= 0 &&
                                    !is_kept(tape, plan->producer);
    }
    for (int c = 0; c < tape->call_count; c++)
        for (int i = 0; i < tape->calls[c]->inputs; i++) {
            TensorPlan *plan = tape->calls[c]->in[i] ? plan_of(tape, tape->calls[c]->in[i]) : NULL;
            if (!plan || plan->producer < 0) continue;
            if (tape->calls[plan->producer]->segment != tape->calls[c]->segment)
                plan->recomputed = false;
        }
}

static size_t scratch_bytes(const Tape *tape, const OpCall *call, Phase phase) {
    if (tape->device && tape->device->kind->remote)
        return tape->device->kind->remote->scratch(tape->device, call, phase);
    return call->op->scratch ? call->op->scratch(call, tape->threads, phase) : 0;
}

static void add_step(Tape *tape, int call, StepKind kind) {
    const OpCall *record = tape->calls[call];
    const Phase phase = kind == STEP_BACKWARD ? PHASE_BACKWARD : PHASE_FORWARD;
    const size_t bytes = scratch_bytes(tape, record, phase);
    const int step = tape->step_count++;
    tape->steps[step] = (Step){.call = call, .kind = kind, .scratch = -1};
    if (!bytes) return;
    tape->steps[step].scratch = new_buffer(tape, bytes);
    Buffer *buffer = &tape->buffers[tape->steps[step].scratch];
    buffer->intervals = 1;
    buffer->first[0] = buffer->last[0] = step;
}

static void make_schedule(Tape *tape) {
    const int n = tape->call_count;
    tape->steps = memory_take_zeroed((size_t)(3 * n + 1), sizeof *tape->steps);
    for (int c = 0; c < n; c++) add_step(tape, c, STEP_FORWARD);
    tape->forward_steps = tape->step_count;
    if (tape->mode != TAPE_TRAIN) return;

    bool *again = memory_take_zeroed((size_t)n + 1, sizeof *again);
    find_interior(tape);
    find_recomputed(tape, again);
    for (int t = 0; t < tape->tensor_count; t++) {
        TensorPlan *plan = &tape->plans[t];
        plan->recomputed = plan->recomputed && again[plan->producer];
    }
    int ready = -1; /* segment whose recomputation has been scheduled */
    for (int c = n - 1; c >= 0; c--) {
        const int segment = tape->calls[c]->segment;
        if (segment >= 0 && segment != ready) {
            int first = c;
            while (first > 0 && tape->calls[first - 1]->segment == segment) first--;
            for (int k = first; k <= c; k++)
                if (again[k]) add_step(tape, k, STEP_RECOMPUTE);
            ready = segment;
        }
        if (tape->active[c]) add_step(tape, c, STEP_BACKWARD);
    }
    free(again);
}

enum { ALIGNED = 8 }; /* rounded rows are whole pieces of 16 bytes */

/* Results that their producer can write as bfloat16 and all readers would round to it, seen by
 * nobody else. */
static void find_rounded(Tape *tape) {
    const DeviceRemote *remote = tape->device->kind->remote;
    bool *fits = memory_take_zeroed((size_t)tape->tensor_count + 1, sizeof *fits);
    for (int c = 0; c < tape->call_count; c++) {
        const OpCall *call = tape->calls[c];
        const uint32_t outputs =
            remote->roundable(tape->device, call).outputs & ~call->needs_outputs;
        for (int j = 0; j < call->outputs; j++) {
            const Tensor *out = call->out[j];
            const TensorPlan *plan = plan_of(tape, call->out[j]);
            fits[out->number] = (outputs >> j & 1u) && out->type == TENSOR_FLOAT && !out->base &&
                                extent(out, -1) % ALIGNED == 0 && !plan->keep && !plan->seed;
        }
    }
    for (int c = 0; c < tape->call_count; c++) {
        const OpCall *call = tape->calls[c];
        const uint32_t inputs = remote->roundable(tape->device, call).inputs;
        for (int i = 0; i < call->inputs; i++)
            if (call->in[i] && call->in[i]->role == ROLE_ACTIVATION && !(inputs >> i & 1u))
                fits[call->in[i]->number] = false;
    }
    for (int t = 0; t < tape->tensor_count; t++)
        if (tape->tensors[t]->base) fits[owner_of(tape->tensors[t])->number] = false;
    for (int t = 0; t < tape->tensor_count; t++)
        if (fits[t]) tape->tensors[t]->type = TENSOR_BF16;
    free(fits);
}

/* The first call that reads this tensor's copy; NULL: none so far. */
static const OpCall *first_copied(const Tape *tape, int calls, const Tensor *tensor, int *input) {
    for (int c = 0; c < calls; c++)
        for (*input = 0; *input < tape->calls[c]->inputs; ++*input)
            if (tape->calls[c]->in[*input] == tensor && (tape->calls[c]->makes_copy >> *input & 1u))
                return tape->calls[c];
    return NULL;
}

/* Everything else that is rounded is so once a step: the first reader makes a copy that lasts until
 * the last one's backward. Not in segments, whose tensors are made twice. */
static void find_copies(Tape *tape) {
    const DeviceRemote *remote = tape->device->kind->remote;
    for (int c = 0; c < tape->call_count; c++) {
        OpCall *call = tape->calls[c];
        const uint32_t inputs = remote->roundable(tape->device, call).copies;
        for (int i = 0; i < call->inputs && call->segment < 0; i++) {
            const Tensor *in = call->in[i];
            int input;
            if (!(inputs >> i & 1u) || !in || in->type != TENSOR_FLOAT || extent(in, -1) % ALIGNED)
                continue;
            const OpCall *first = first_copied(tape, c, in, &input);
            if (!first) call->makes_copy |= 1u << i;
            tape->copies[c][i] = first ? tape->copies[first->number][input]
                                       : new_buffer(tape, (size_t)tensor_size(in) * 2);
            call->has_copy |= 1u << i;
            call->needs_inputs &= ~(1u << i);
        }
    }
}

/* What kernels of the device leave for their backward. Not in a segment: to make it again would
 * take the whole call, which may have no other reason to run twice. */
static void find_kept(Tape *tape) {
    const DeviceRemote *remote = tape->device ? tape->device->kind->remote : NULL;
    for (int c = 0; c < tape->call_count; c++) {
        OpCall *call = tape->calls[c];
        call->products = tape->products;
        tape->kept[c] = -1;
        if (!remote || !tape->active[c] || call->segment >= 0) continue;
        const Kept kept = remote->kept(tape->device, call);
        if (!kept.bytes) continue;
        call->kept_bytes = kept.bytes;
        call->needs_inputs &= ~kept.instead;
        tape->kept[c] = new_buffer(tape, kept.bytes);
    }
}

/* In one-token form, and in replays between which parameters stay, a filter or a discretised matrix
 * is the same every time: it can be computed once and kept. */
static void find_constant(Tape *tape) {
    for (int c = 0; c < tape->call_count; c++) {
        const OpCall *call = tape->calls[c];
        tape->constant[c] = !call->shares && !call->op->draws;
        for (int i = 0; i < call->inputs; i++) {
            const TensorPlan *plan = call->in[i] ? plan_of(tape, call->in[i]) : NULL;
            if (plan && (plan->producer < 0 || !tape->constant[plan->producer]))
                tape->constant[c] = false;
        }
    }
}

/* Extends the life of a buffer to step; later stretches begin at split (the step that recomputes
 * it). */
static void touch(Buffer *buffer, int step, int split) {
    const int k = split >= 0 && step >= split;
    if (buffer->intervals == 0) {
        buffer->first[0] = buffer->first[1] = step;
        buffer->last[0] = buffer->last[1] = step;
        buffer->intervals = 1 + k;
        return;
    }
    if (k && buffer->intervals == 1) {
        buffer->intervals = 2;
        buffer->first[1] = buffer->last[1] = step;
    }
    if (step < buffer->first[k]) buffer->first[k] = step;
    if (step > buffer->last[k]) buffer->last[k] = step;
}

static void whole_life(const Tape *tape, Buffer *buffer) {
    touch(buffer, 0, -1);
    touch(buffer, tape->step_count, -1);
}

/* What was computed in the first replay and is read in others, or in the last one's backward, lives
 * as long as they do. */
static void touch_data(Tape *tape, Tensor *tensor, int step, const int *split) {
    Tensor *owner = owner_of(tensor);
    if (owner->role == ROLE_PARAMETER || owner->role == ROLE_INPUT) return;
    const TensorPlan *plan = &tape->plans[owner->number];
    Buffer *buffer = &tape->buffers[plan->data_buffer];
    const bool later =
        tape->steps[step].kind == STEP_BACKWARD || !is_kept(tape, tape->steps[step].call);
    if (lasts(tape, owner) && later)
        whole_life(tape, buffer);
    else
        touch(buffer, step, split[owner->number]);
}

static void touch_gradient(Tape *tape, Tensor *tensor, int step) {
    TensorPlan *plan = plan_of(tape, tensor);
    if (!plan || plan->gradient_buffer < 0) return;
    Buffer *buffer = &tape->buffers[plan->gradient_buffer];
    if (plan->summed)
        whole_life(tape, buffer);
    else
        touch(buffer, step, -1);
}

static void touch_step(Tape *tape, int s, const int *split) {
    const Step *step = &tape->steps[s];
    const OpCall *call = tape->calls[step->call];
    const bool backward = step->kind == STEP_BACKWARD;
    for (int i = 0; i < call->inputs; i++) {
        if (!call->in[i]) continue;
        if (!backward || (call->needs_inputs >> i & 1u)) touch_data(tape, call->in[i], s, split);
        if (backward && differentiable(call, i)) touch_gradient(tape, call->in[i], s);
    }
    for (int j = 0; j < call->outputs; j++) {
        if (!backward || (call->needs_outputs >> j & 1u)) touch_data(tape, call->out[j], s, split);
        if (backward) touch_gradient(tape, call->out[j], s);
    }
    for (int k = 0; k < call->saves; k++) touch_data(tape, call->saved[k], s, split);
    for (int i = 0; i < call->inputs; i++)
        if (call->has_copy >> i & 1u) touch(&tape->buffers[tape->copies[step->call][i]], s, -1);
    if (tape->kept[step->call] >= 0) touch(&tape->buffers[tape->kept[step->call]], s, -1);
}

static void find_lifetimes(Tape *tape) {
    int *split = memory_take(((size_t)tape->tensor_count + 1) * sizeof *split);
    for (int t = 0; t < tape->tensor_count; t++) {
        Tensor *tensor = tape->tensors[t];
        split[t] = -1;
        if (tensor->base) continue;
        TensorPlan *plan = &tape->plans[t];
        plan->data_buffer = new_buffer(tape, tensor_bytes(tensor));
        if (tensor->role == ROLE_INPUT) whole_life(tape, &tape->buffers[plan->data_buffer]);
    }
    for (int s = tape->forward_steps; s < tape->step_count; s++) {
        if (tape->steps[s].kind != STEP_RECOMPUTE) continue;
        const OpCall *call = tape->calls[tape->steps[s].call];
        for (int j = 0; j < call->outputs; j++) {
            const int number = owner_of(call->out[j])->number;
            if (tape->plans[number].recomputed) split[number] = s;
        }
        for (int k = 0; k < call->saves; k++) split[call->saved[k]->number] = s;
    }
    for (int s = 0; s < tape->step_count; s++) touch_step(tape, s, split);
    for (int t = 0; t < tape->tensor_count; t++) {
        const TensorPlan *plan = &tape->plans[t];
        const Tensor *tensor = tape->tensors[t];
        if (plan->keep && plan->data_buffer >= 0)
            touch(&tape->buffers[plan->data_buffer], tape->step_count, split[t]);
        if (plan->gradient_buffer >= 0 &&
            (plan->seed || plan->zeroed || (tensor->role == ROLE_INPUT && tensor->wants_gradient)))
            whole_life(tape, &tape->buffers[plan->gradient_buffer]);
    }
    free(split);
}

static bool overlap(const Buffer *a, const Buffer *b) {
    for (int i = 0; i < a->intervals; i++)
        for (int j = 0; j < b->intervals; j++)
            if (a->first[i] <= b->last[j] && b->first[j] <= a->last[i]) return true;
    return false;
}

static int by_bytes(const void *a, const void *b) {
    const Buffer *x = *(Buffer *const *)a, *y = *(Buffer *const *)b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x < y ? -1 : x > y; /* a fixed order, so that the plan is a function of the tape */
}

/* Largest first, each at the lowest offset that is free during its life. */
static void place(Tape *tape) {
    const int n = tape->buffer_count;
    Buffer **order = memory_take(((size_t)n + 1) * sizeof *order);
    Buffer **placed = memory_take(((size_t)n + 1) * sizeof *placed); /* sorted by offset */
    for (int i = 0; i < n; i++) order[i] = &tape->buffers[i];
    qsort(order, (size_t)n, sizeof *order, by_bytes);
    tape->bytes = 0;
    int count = 0;
    for (int i = 0; i < n; i++) {
        Buffer *buffer = order[i];
        if (!buffer->intervals) continue;
        size_t offset = 0;
        for (int k = 0; k < count; k++) {
            if (!overlap(buffer, placed[k])) continue;
            if (offset + buffer->bytes <= placed[k]->offset) break;
            const size_t end = placed[k]->offset + placed[k]->bytes;
            if (end > offset) offset = end;
        }
        buffer->offset = offset;
        int at = count++;
        for (; at > 0 && placed[at - 1]->offset > offset; at--) placed[at] = placed[at - 1];
        placed[at] = buffer;
        if (offset + buffer->bytes > tape->bytes) tape->bytes = offset + buffer->bytes;
    }
    free(order);
    free(placed);
}

void tape_repeat(Tape *tape) {
    assert(!tape->steps && "what is kept is planned");
    tape->keeps = !tape->device || !tape->device->kind->remote;
}

Status tape_plan(Tape *tape, int threads, Error *error) {
    assert(tape->scope_depth == 0 && "a scope was left open");
    assert(tape->segment < 0 && "a recompute segment was left open");
    assert(!tape->steps && "a tape is planned once");
    if (tape->error.status != STATUS_OK)
        return error_set(error, tape->error.status, "%s", tape->error.message);
    tape->threads = threads;
    tape->active = memory_take_zeroed((size_t)tape->call_count + 1, sizeof *tape->active);
    tape->constant = memory_take_zeroed((size_t)tape->call_count + 1, sizeof *tape->constant);
    tape->starts = memory_take_zeroed((size_t)tape->call_count + 1, sizeof *tape->starts);
    tape->kept = memory_take_zeroed((size_t)tape->call_count + 1, sizeof *tape->kept);
    tape->copies = memory_take_zeroed((size_t)tape->call_count + 1, sizeof *tape->copies);
    tape->keeps |= tape->mode == TAPE_STEP;
    find_constant(tape);
    if (tape->mode == TAPE_TRAIN) {
        find_active(tape);
        assign_gradients(tape);
    }
    const bool rounds = tape->products == PRODUCTS_BF16 && tape->mode != TAPE_STEP;
    if (rounds && tape->device && tape->device->kind->remote) {
        find_rounded(tape);
        find_copies(tape);
    }
    find_kept(tape);
    make_schedule(tape);
    find_lifetimes(tape);
    place(tape);
    return STATUS_OK;
}

size_t tape_bytes(const Tape *tape) {
    return tape->bytes;
}
