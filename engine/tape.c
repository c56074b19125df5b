/* Recording: tensors, scopes, calls, carried state. Nothing here runs during a replay. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/tape_internal.h"

Tape *tape_open(Parameters *parameters, TapeMode mode) {
    Tape *tape = memory_take_zeroed(1, sizeof *tape);
    tape->parameters = parameters;
    tape->mode = mode;
    tape->segment = -1;
    tape->first = tape->last = true;
    return tape;
}

void tape_close(Tape *tape) {
    if (!tape) return;
    tape_release(tape);
    for (int i = 0; i < tape->call_count; i++) {
        free((void *)(uintptr_t)tape->calls[i]->attributes);
        free((void *)(uintptr_t)tape->calls[i]->scope);
        free(tape->calls[i]);
    }
    for (int i = 0; i < tape->tensor_count; i++) {
        free((void *)(uintptr_t)tape->tensors[i]->name);
        free(tape->tensors[i]);
    }
    free(tape->calls);
    free(tape->tensors);
    free(tape->plans);
    free(tape->carries);
    free(tape->steps);
    free(tape->buffers);
    free(tape->active);
    free(tape->starts);
    free(tape->kept);
    free(tape->copies);
    free(tape->constant);
    free(tape->kernels);
    free(tape->seconds);
    free(tape);
}

TapeMode tape_mode(const Tape *tape) {
    return tape->mode;
}

void tape_scope(Tape *tape, const char *format, ...) {
    assert(tape->scope_depth < MAX_SCOPE_DEPTH);
    const size_t end = strlen(tape->scope);
    tape->scope_ends[tape->scope_depth++] = end;
    size_t used = end;
    if (used) tape->scope[used++] = '.';
    va_list arguments;
    va_start(arguments, format);
    const int written = vsnprintf(tape->scope + used, sizeof tape->scope - used, format, arguments);
    va_end(arguments);
    assert(written > 0 && (size_t)written < sizeof tape->scope - used);
}

void tape_scope_end(Tape *tape) {
    assert(tape->scope_depth > 0);
    tape->scope[tape->scope_ends[--tape->scope_depth]] = '\0';
}

/* SCOPE.name, in memory that the caller frees. */
static char *scoped(const Tape *tape, const char *name) {
    const size_t bytes = strlen(tape->scope) + strlen(name) + 2;
    char *text = memory_take(bytes);
    snprintf(text, bytes, "%s%s%s", tape->scope, *tape->scope ? "." : "", name);
    return text;
}

static Tensor *new_tensor(Tape *tape, const char *name, TensorType type, TensorRole role,
                          Shape shape) {
    if (tape->tensor_count == tape->tensor_capacity) {
        tape->tensor_capacity = tape->tensor_capacity ? 2 * tape->tensor_capacity : 256;
        const size_t capacity = (size_t)tape->tensor_capacity;
        tape->tensors = memory_resize(tape->tensors, capacity * sizeof *tape->tensors);
        tape->plans = memory_resize(tape->plans, capacity * sizeof *tape->plans);
    }
    Tensor *tensor = memory_take_zeroed(1, sizeof *tensor);
    *tensor = (Tensor){.name = scoped(tape, name),
                       .type = type,
                       .role = role,
                       .shape = shape,
                       .number = tape->tensor_count};
    tape->plans[tape->tensor_count] =
        (TensorPlan){.producer = -1, .data_buffer = -1, .gradient_buffer = -1};
    tape->tensors[tape->tensor_count++] = tensor;
    return tensor;
}

Tensor *tape_input(Tape *tape, const char *name, TensorType type, Shape shape,
                   bool wants_gradient) {
    Tensor *tensor = new_tensor(tape, name, type, ROLE_INPUT, shape);
    tensor->wants_gradient = wants_gradient && tape->mode == TAPE_TRAIN;
    return tensor;
}

Tensor *tape_parameter(Tape *tape, const char *name, Shape shape, Init init, Group group) {
    char *full = scoped(tape, name);
    Parameter *parameter = parameters_declare(tape->parameters, full, shape, init, group);
    free(full);
    return &parameter->tensor;
}

Tensor *tape_reshape(Tape *tape, Tensor *tensor, Shape shape) {
    /* After an operation has refused its inputs, shapes no longer mean anything. */
    assert((tape->error.status != STATUS_OK || shape_size(&shape) == tensor_size(tensor)) &&
           "a reshape keeps the number of elements");
    Tensor *view = new_tensor(tape, "view", tensor->type, tensor->role, shape);
    view->base = owner_of(tensor);
    view->wants_gradient = tensor->wants_gradient;
    return view;
}

Tensor *tape_detach(Tape *tape, Tensor *tensor) {
    Tensor *view = tape_reshape(tape, tensor, tensor->shape);
    view->wants_gradient = false;
    return view;
}

Tensor *tape_prefix(Tape *tape, Tensor *parameter, int64_t rows) {
    assert(parameter->role == ROLE_PARAMETER && !parameter->base);
    assert(rows > 0 && rows <= parameter->shape.extent[0]);
    if (rows == parameter->shape.extent[0]) return parameter;
    Shape shape = parameter->shape;
    shape.extent[0] = rows;
    Tensor *view = new_tensor(tape, "prefix", parameter->type, ROLE_PARAMETER, shape);
    view->base = parameter;
    view->wants_gradient = parameter->wants_gradient;
    return view;
}

Tensor *tape_carry(Tape *tape, const char *name, Shape shape) {
    if (tape->mode != TAPE_STEP) return NULL;
    Tensor *state = tape_input(tape, name, TENSOR_FLOAT, shape, false);
    tape->carries =
        memory_resize(tape->carries, (size_t)(tape->carry_count + 1) * sizeof *tape->carries);
    tape->carries[tape->carry_count++] = (Carry){.state = state};
    return state;
}

void tape_carry_out(Tape *tape, const char *name, Tensor *next) {
    if (tape->mode != TAPE_STEP || !next) return;
    char *full = scoped(tape, name);
    Carry *found = NULL;
    for (int i = 0; i < tape->carry_count; i++)
        if (strcmp(tape->carries[i].state->name, full) == 0) found = &tape->carries[i];
    free(full);
    assert(found && "tape_carry_out without tape_carry of that name");
    assert(tensor_size(found->state) == tensor_size(next));
    found->next = next;
    tape_keep(tape, next);
}

Tensor *tape_position(Tape *tape) {
    assert(tape->mode == TAPE_STEP);
    if (!tape->position)
        tape->position = tape_input(tape, "position", TENSOR_INTEGER, SHAPE(1), false);
    return tape->position;
}

void tape_set_horizon(Tape *tape, int64_t length) {
    tape->horizon = length;
}

int64_t tape_horizon(const Tape *tape) {
    return tape->horizon;
}

void tape_segment(Tape *tape) {
    assert(tape->segment < 0 && "recompute segments do not nest");
    tape->segment = tape->segment_count++;
}

void tape_segment_end(Tape *tape) {
    assert(tape->segment >= 0);
    tape->segment = -1;
}

/* After the first error a call yields outputs shaped like its first input, so that the recording
 * can go on to its end without tests in every model. */
static void outputs_after_error(Tape *tape, OpCall *call) {
    Tensor *like = NULL;
    for (int i = 0; i < call->inputs && !like; i++) like = call->in[i];
    const Shape shape = like ? like->shape : SHAPE(1);
    while (call->outputs < call->op->outputs) tape_output(tape, call, TENSOR_FLOAT, shape);
}

OpCall *tape_apply(Tape *tape, const Op *op, Tensor *const *in, int inputs,
                   const void *attributes) {
    assert(inputs <= op->inputs && op->inputs <= MAX_INPUTS);
    if (tape->call_count == tape->call_capacity) {
        tape->call_capacity = tape->call_capacity ? 2 * tape->call_capacity : 128;
        tape->calls = memory_resize(tape->calls, (size_t)tape->call_capacity * sizeof(OpCall *));
    }
    OpCall *call = memory_take_zeroed(1, sizeof *call);
    *call = (OpCall){.op = op,
                     .inputs = inputs,
                     .needs_inputs = op->needs_inputs,
                     .needs_outputs = op->needs_outputs,
                     .passes = op->passes,
                     .number = tape->call_count,
                     .scope = memory_copy_text(tape->scope),
                     .segment = tape->segment};
    for (int i = 0; i < inputs; i++) call->in[i] = in[i];
    if (op->attribute_bytes) {
        void *copy = memory_take(op->attribute_bytes);
        memcpy(copy, attributes, op->attribute_bytes);
        call->attributes = copy;
    }
    tape->calls[tape->call_count++] = call;

    if (tape->error.status == STATUS_OK) op->shape(tape, call);
    if (tape->error.status != STATUS_OK) outputs_after_error(tape, call);

    bool wants = false;
    for (int i = 0; i < inputs; i++)
        wants |= (op->gradients >> i & 1u) && in[i] && in[i]->wants_gradient;
    for (int j = 0; j < call->outputs; j++) {
        Tensor *out = call->out[j];
        out->wants_gradient = wants && tape->mode == TAPE_TRAIN && out->type == TENSOR_FLOAT;
        if (out->base) continue;
        tape->plans[out->number].producer = call->number;
    }
    if (call->shares && tape->error.status == STATUS_OK) {
        assert(tape->mode != TAPE_TRAIN && "operations in place have no gradient");
        assert(tensor_size(call->out[0]) == tensor_size(call->in[call->shares - 1]));
        call->out[0]->base = owner_of(call->in[call->shares - 1]);
    }
    return call;
}

Tensor *tape_output(Tape *tape, OpCall *call, TensorType type, Shape shape) {
    assert(call->outputs < MAX_OUTPUTS);
    Tensor *tensor = new_tensor(tape, call->op->name, type, ROLE_ACTIVATION, shape);
    call->out[call->outputs++] = tensor;
    return tensor;
}

Tensor *tape_saved(Tape *tape, OpCall *call, TensorType type, Shape shape) {
    assert(call->saves < MAX_SAVED);
    Tensor *tensor = new_tensor(tape, call->op->name, type, ROLE_SAVED, shape);
    tape->plans[tensor->number].producer = call->number;
    call->saved[call->saves++] = tensor;
    return tensor;
}

void tape_fail(Tape *tape, const OpCall *call, const char *format, ...) {
    char message[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    error_set(&tape->error, STATUS_USAGE, "operation %s (call %d) in %s: %s", call->op->name,
              call->number, *call->scope ? call->scope : "the network", message);
}

void tape_keep(Tape *tape, Tensor *tensor) {
    TensorPlan *plan = plan_of(tape, tensor);
    if (plan) plan->keep = true;
}

void tape_seed(Tape *tape, Tensor *tensor) {
    assert(tape->mode == TAPE_TRAIN);
    TensorPlan *plan = plan_of(tape, tensor);
    assert(plan && "a parameter cannot be the start of backward");
    plan->keep = true;
    plan->seed = true;
}

int tape_call_count(const Tape *tape) {
    return tape->call_count;
}

const OpCall *tape_call(const Tape *tape, int i) {
    assert(i >= 0 && i < tape->call_count);
    return tape->calls[i];
}
