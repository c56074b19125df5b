/* Generation: a batch of prompts in one pass, which yields the first token of each sequence, then
 * the others one at a time, each from the one before. */
#include <assert.h>
#include <string.h>

#include "bench/speed/speed.h"
#include "bench/speed/speed_memory.h"
#include "bench/train/session.h"

typedef struct Generation {
    const Cell *cell;
    Run run;
    int64_t batch, tokens; /* generated of each sequence */
    Problem whole, prompt; /* of prompt and tokens; of the prompt, labelled at its end */
    Device device;
    Parameters *parameters;
    Network prefill, step;
} Generation;

static Status check_problem(const Cell *cell, const Problem *problem, Error *error) {
    const bool next = problem->input == INPUT_TOKENS && problem->target == TARGET_TOKENS &&
                      problem->sequences == 1 && problem->causal && !problem->bottleneck &&
                      problem->classes <= problem->vocabulary;
    if (!next)
        return error_set(error, STATUS_USAGE,
                         "task %s does not predict a token from those before it; expected one that "
                         "does, such as mqar or lm",
                         cell->task->name);
    if (cell->model->exempt & EXEMPT_STEP)
        return error_set(error, STATUS_USAGE, "model %s has no form that takes one token at a time",
                         cell->model->name);
    return STATUS_OK;
}

static Status plan(Generation *own, Network *network, bool repeat, Error *error) {
    tape_set_device(network->tape, &own->device, own->run.products);
    if (repeat) tape_repeat(network->tape);
    return tape_plan(network->tape, own->run.threads, error);
}

/* As many prompts at a time as fit the memory that a replay may take. */
static Status record_prefill(Generation *own, Error *error) {
    const size_t most = session_replay_bytes(&own->device);
    for (int64_t rows = own->batch;; rows /= 2) {
        network_close(&own->prefill);
        network_record(&own->prefill, own->cell, &own->prompt, own->parameters, TAPE_EVALUATE,
                       rows);
        if (plan(own, &own->prefill, rows < own->batch, error) != STATUS_OK) return error->status;
        if (rows % 2 || tape_bytes(own->prefill.tape) <= most) return STATUS_OK;
    }
}

static Status record_step(Generation *own, Error *error) {
    network_record(&own->step, own->cell, &own->whole, own->parameters, TAPE_STEP, own->batch);
    return plan(own, &own->step, false, error);
}

static int64_t bytes_of(const Generation *own) {
    return (int64_t)(tape_bytes(own->prefill.tape) + tape_bytes(own->step.tape) +
                     parameters_bytes(own->parameters, false));
}

static double flops_of(const Generation *own) {
    const int64_t prompts = own->batch / own->prefill.batch;
    const Cost prompt = tape_cost(own->prefill.tape, prompts).forward,
               step = tape_cost(own->step.tape, own->tokens - 1).forward;
    return prompt.flops + prompt.specials + step.flops + step.specials;
}

static Status check_cost(const Generation *own, const SpeedLimit *limit, Error *error) {
    const double expected = flops_of(own) / limit->rate;
    if (limit->rate > 0 && expected > limit->step)
        return error_set(error, STATUS_USAGE,
                         "prompts and tokens would take about %.0f s (%.3g FLOP); --limit %.0f "
                         "measures them all the same",
                         expected, flops_of(own), 2 * expected);
    const int64_t needed = bytes_of(own), available = own->device.kind->available(&own->device);
    if (needed > available)
        return error_set(error, STATUS_USAGE,
                         "%.2f GiB of memory are needed and %.2f GiB are available; use a smaller "
                         "batch, length or width",
                         (double)needed / 0x1p30, (double)available / 0x1p30);
    return STATUS_OK;
}

static Status allocate(Generation *own, Error *error) {
    if (parameters_allocate(own->parameters, &own->device, false, (uint64_t)own->cell->run.seed,
                            error) != STATUS_OK ||
        tape_allocate(own->prefill.tape, &own->device, error) != STATUS_OK ||
        tape_allocate(own->step.tape, &own->device, error) != STATUS_OK)
        return error->status;
    tape_record(own->prefill.tape);
    tape_record(own->step.tape);
    tape_reset_state(own->step.tape);
    return STATUS_OK;
}

/* Any ids do: what a token costs does not depend on which it is. */
static void write_prompts(Generation *own) {
    Network *prefill = &own->prefill;
    Random random = random_open(1, random_stream("speed/prompt"), 0);
    for (int64_t i = 0; i < tensor_size(prefill->tokens); i++)
        prefill->tokens->host_integers[i] =
            (int32_t)random_below(&random, (uint64_t)own->whole.vocabulary);
    for (int64_t b = 0; b < prefill->batch; b++) {
        prefill->positions->host_integers[b] = (int32_t)own->prompt.length - 1;
        prefill->classes->host_integers[b] = 0; /* the loss is not looked at */
        prefill->weights->host[b] = 0;
        if (prefill->lengths) prefill->lengths->host_integers[b] = (int32_t)own->prompt.length;
    }
    for (int64_t b = 0; b < own->batch; b++) {
        own->step.classes->host_integers[b] = 0;
        own->step.weights->host[b] = 0;
        if (own->step.lengths) own->step.lengths->host_integers[b] = (int32_t)own->whole.length;
    }
}

/* Every part of the batch has the same prompts: only the work counts. */
static void read_prompts(Generation *own) {
    const int64_t rows = own->prefill.batch;
    for (int64_t first = 0; first < own->batch; first += rows) {
        tape_share(own->prefill.tape, first == 0, first + rows == own->batch);
        tape_forward(own->prefill.tape, &own->run);
        tape_finish(own->prefill.tape, NULL);
        memcpy(own->step.tokens->host_integers + first, own->prefill.prediction->host_integers,
               (size_t)rows * sizeof(int32_t));
    }
}

/* All tokens but the first. The pass over the prompts leaves no state behind, so the steps begin
 * from whatever state there is, at the place behind the prompt: the same work. */
static void write_tokens(void *context) {
    Generation *own = context;
    tape_place(own->step.tape, own->prompt.length);
    for (int64_t t = 1; t < own->tokens; t++) {
        tape_forward(own->step.tape, &own->run);
        tape_finish(own->step.tape, NULL);
        memcpy(own->step.tokens->host_integers, own->step.prediction->host_integers,
               (size_t)own->batch * sizeof(int32_t));
    }
}

static void generate(void *context) {
    read_prompts(context);
    write_tokens(context);
}

static Status prepare(Generation *own, int threads, Error *error) {
    const Cell *cell = own->cell;
    own->run = (Run){.threads = threads, .products = (Products)cell->run.products};
    if (cell_validate(cell, &own->whole, error) != STATUS_OK ||
        check_problem(cell, &own->whole, error) != STATUS_OK ||
        session_device_open(&own->device, cell, error) != STATUS_OK)
        return error->status;
    assert(own->tokens >= 1 && own->tokens < own->whole.length);
    own->prompt = own->whole;
    own->prompt.length -= own->tokens;
    own->prompt.evaluation_length = own->whole.length; /* so that both have the same parameters */
    own->prompt.labels = 1;
    own->parameters = parameters_open();
    if (record_prefill(own, error) != STATUS_OK) return error->status;
    return record_step(own, error);
}

static void describe(Speed *speed, const Generation *own) {
    const Cell *cell = own->cell;
    speed->task_version = cell->task->version;
    speed->batch = own->batch;
    speed->micro_batch = own->prefill.batch;
    speed->length = own->prompt.length;
    speed->parameters = own->parameters->trained;
    speed->flops = flops_of(own);
    speed->bytes = bytes_of(own);
    speed->phase[SPEED_DECODE].tokens = (double)(own->batch * (own->tokens - 1));
    speed->phase[SPEED_GENERATE].tokens = (double)(own->batch * own->tokens);
    if (cell->model->state_floats)
        speed->state_bytes =
            4 * cell->model->state_floats(&cell->backbone, cell->model_options, own->whole.length);
}

Status speed_generate(Speed *speed, const Cell *cell, int threads, int64_t tokens,
                      const SpeedLimit *limit, Error *error) {
    *speed = (Speed){0};
    Generation own = {.cell = cell, .batch = cell->run.batch, .tokens = tokens};
    peak_memory_reset();
    Status status = prepare(&own, threads, error);
    const bool gpu = status == STATUS_OK && own.device.kind->remote;
    const int64_t before = gpu ? own.device.kind->available(&own.device) : 0;
    if (status == STATUS_OK) status = check_cost(&own, limit, error);
    if (status == STATUS_OK) status = allocate(&own, error);
    if (status == STATUS_OK) {
        write_prompts(&own);
        describe(speed, &own);
        timing_measure(&speed->phase[SPEED_GENERATE], generate, &own, gpu, limit->seconds);
        if (tokens > 1)
            timing_measure(&speed->phase[SPEED_DECODE], write_tokens, &own, gpu, limit->seconds);
        speed->resident_bytes = peak_memory();
        if (gpu) speed->device_bytes = before - own.device.kind->available(&own.device);
        status = device_synchronise(&own.device, error);
    }
    network_close(&own.prefill);
    network_close(&own.step);
    parameters_close(own.parameters);
    device_close(&own.device);
    return status;
}
