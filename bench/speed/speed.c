#include "bench/speed/speed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/speed/speed_memory.h"
#include "bench/train/session.h"
#include "engine/clock.h"
#include "engine/memory.h"
#include "engine/optimizer.h"

enum { LEAST_SAMPLES = 3, MOST_SAMPLES = 1000, RESAMPLES = 1000 };

/* Of work that takes this long, one sample after the warm-up must do. */
static const double long_seconds = 2;

const char *const speed_phase_names[SPEED_PHASES] = {"train", "prefill", "decode", "generate"};

typedef struct Subject {
    Session session;
    Network decode;
    Batch batch, prompts;
    int64_t step;
} Subject;

static void enqueue_step(Subject *subject) {
    Session *session = &subject->session;
    for (int64_t m = 0; m < session->replays; m++) {
        Run run = session_run(session);
        run.training = true;
        run.pass = (uint64_t)(subject->step * session->replays + m);
        tape_turn(session->train.tape);
        network_load(&session->train, &session->problem, &subject->batch, m * session->micro_batch,
                     subject->batch.labels);
        session->train.loss->host_gradient[0] = 1;
        tape_share(session->train.tape, m == 0, m + 1 == session->replays);
        tape_forward(session->train.tape, &run);
        tape_backward(session->train.tape, &run);
    }
    /* A rate of almost nothing: the weights stay typical however long the measurement lasts. */
    const Optimizer optimizer = {.rate = 1e-9,
                                 .factor = 1e-9,
                                 .weight_decay = 0.1,
                                 .beta1 = 0.9,
                                 .beta2 = 0.95,
                                 .epsilon = 1e-8,
                                 .clip = 1};
    optimizer_step(&optimizer, session->parameters, ++subject->step, session->threads, NULL);
}

static void train_step(void *context) {
    Subject *subject = context;
    enqueue_step(subject);
    device_synchronise(&subject->session.device, NULL);
}

static void prefill(void *context) {
    Subject *subject = context;
    const Run run = session_run(&subject->session);
    tape_forward(subject->session.evaluate.tape, &run);
    tape_finish(subject->session.evaluate.tape, NULL);
}

/* Always the last token of a sequence of full length: an attention's cost depends on the place. */
static void decode_token(void *context) {
    Subject *subject = context;
    const Run run = session_run(&subject->session);
    tape_place(subject->decode.tape, subject->session.problem.length - 1);
    tape_forward(subject->decode.tape, &run);
    tape_finish(subject->decode.tape, NULL);
}

void timing_measure(Timing *timing, void (*work)(void *), void *context, bool recorded,
                    double seconds) {
    timing->seconds = memory_take(MOST_SAMPLES * sizeof *timing->seconds);
    double before = seconds_now();
    work(context); /* warm-up: pages (most of the first step at 131072), caches, thread pool */
    const double start = seconds_now();
    const int least = start - before > long_seconds ? 1 : LEAST_SAMPLES;
    for (int i = 0; i < 2 && recorded; i++) work(context); /* made in the second replay */
    while (timing->count < MOST_SAMPLES &&
           (timing->count < least || seconds_now() - start < seconds)) {
        before = seconds_now();
        work(context);
        timing->seconds[timing->count++] = seconds_now() - before;
    }
    timing->median = median(timing->seconds, timing->count);
    timing->interval = median_interval(timing->seconds, timing->count, 0.95, RESAMPLES);
}

/* Share of a training step that passes before a GPU begins and after it ends. */
static double idle_of(Subject *subject, double seconds) {
    Device *device = &subject->session.device;
    const DeviceRemote *remote = device->kind->remote;
    void *first = NULL, *last = NULL;
    double whole = 0, busy = 0;
    for (int i = 0; i < LEAST_SAMPLES || whole < seconds; i++) {
        const double start = seconds_now();
        first = remote->mark(device, first);
        enqueue_step(subject);
        last = remote->mark(device, last);
        const double on_device = remote->between(device, first, last);
        whole += seconds_now() - start;
        busy += on_device;
        if (!(on_device > 0)) break; /* the device has failed; synchronise says why */
    }
    remote->drop(device, first);
    remote->drop(device, last);
    return 1 - busy / whole;
}

/* Share of a training step that no kernel accounts for. */
static double overhead_of(Subject *subject, double seconds) {
    if (subject->session.device.kind->remote) return idle_of(subject, seconds);
    Tape *tape = subject->session.train.tape;
    tape_profile(tape, true);
    double whole = 0, kernels = 0;
    for (int i = 0; (i < LEAST_SAMPLES || whole < seconds) && whole < long_seconds; i++) {
        Run run = session_run(&subject->session);
        run.training = true;
        const double start = seconds_now();
        tape_forward(tape, &run);
        tape_backward(tape, &run);
        whole += seconds_now() - start;
    }
    for (int c = 0; c < tape_call_count(tape); c++) kernels += tape_seconds(tape, c);
    tape_profile(tape, false);
    return 1 - kernels / whole;
}

/* One sequence: what a user who waits for the next token sees. */
static Status open_decode(Subject *subject, Error *error) {
    Session *session = &subject->session;
    const Problem *problem = &session->problem;
    const bool decodes =
        problem->causal && problem->target == TARGET_TOKENS && !problem->bottleneck;
    if ((session->cell->model->exempt & EXEMPT_STEP) || !decodes) return STATUS_OK;
    Network *decode = &subject->decode;
    network_record(decode, session->cell, problem, session->parameters, TAPE_STEP, 1);
    tape_set_device(decode->tape, &session->device, session_run(session).products);
    if (tape_plan(decode->tape, session->threads, error) != STATUS_OK ||
        tape_allocate(decode->tape, &session->device, error) != STATUS_OK)
        return error->status;
    tape_record(decode->tape);
    tape_reset_state(decode->tape);
    if (decode->tokens)
        decode->tokens->host_integers[0] = subject->batch.tokens[problem->length - 1];
    return STATUS_OK;
}

static void describe(Speed *speed, const Subject *subject) {
    const Session *session = &subject->session;
    const Cell *cell = session->cell;
    speed->task_version = cell->task->version;
    speed->batch = cell->run.batch;
    speed->micro_batch = session->micro_batch;
    speed->length = session->problem.length;
    speed->parameters = session->parameters->trained;
    speed->flops = session->flops_per_step;
    speed->bytes = session_bytes(session);
    speed->phase[SPEED_TRAIN].tokens =
        (double)(speed->batch * session->problem.sequences * speed->length);
    speed->phase[SPEED_PREFILL].tokens =
        (double)(session->evaluate.batch * session->problem.sequences *
                 session->evaluation_problem.length);
    speed->phase[SPEED_DECODE].tokens = 1;
    if (cell->model->state_floats)
        speed->state_bytes = 4 * cell->model->state_floats(&cell->backbone, cell->model_options,
                                                           session->problem.length);
}

static void fill(Subject *subject) {
    const Session *session = &subject->session;
    const Cell *cell = session->cell;
    const Problem *longest = &session->evaluation_problem;
    subject->batch = batch_open(&session->problem, cell->run.batch);
    batch_fill(&subject->batch, cell, &session->problem, session->data, SPLIT_TRAIN, 0, NULL,
               cell->run.batch, session->threads);
    subject->prompts = batch_open(longest, session->evaluate.batch);
    batch_fill(&subject->prompts, cell, longest, session->data, SPLIT_VALIDATION, 0, NULL,
               session->evaluate.batch, session->threads);
    network_load(&subject->session.evaluate, longest, &subject->prompts, 0, 1);
}

static Status check_limit(const Session *session, const SpeedLimit *limit, Error *error) {
    const double expected = session->flops_per_step / limit->rate;
    if (!(limit->rate > 0) || expected <= limit->step) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "a training step would take about %.0f s (%.3g FLOP); --limit %.0f measures "
                     "it all the same",
                     expected, session->flops_per_step, 2 * expected);
}

Status speed_measure(Speed *speed, const Cell *cell, int threads, const SpeedLimit *limit,
                     Error *error) {
    *speed = (Speed){0};
    Subject subject = {0};
    Session *session = &subject.session;
    peak_memory_reset();
    Status status = session_open(session, cell, threads, error);
    const bool gpu = status == STATUS_OK && session->device.kind->remote;
    const int64_t before = gpu ? session->device.kind->available(&session->device) : 0;
    if (status == STATUS_OK) status = check_limit(session, limit, error);
    if (status == STATUS_OK) status = session_allocate(session, error);
    if (status == STATUS_OK) {
        fill(&subject);
        describe(speed, &subject);
        status = open_decode(&subject, error);
    }
    if (status == STATUS_OK) {
        timing_measure(&speed->phase[SPEED_TRAIN], train_step, &subject, gpu, limit->seconds);
        speed->resident_bytes = peak_memory();
        timing_measure(&speed->phase[SPEED_PREFILL], prefill, &subject, gpu, limit->seconds);
        speed->overhead = overhead_of(&subject, limit->seconds);
        if (subject.decode.tape)
            timing_measure(&speed->phase[SPEED_DECODE], decode_token, &subject, gpu,
                           limit->seconds);
        if (gpu) /* nothing is given back before the end, so this is the peak */
            speed->device_bytes = before - session->device.kind->available(&session->device);
    }
    if (status == STATUS_OK) status = device_synchronise(&session->device, error);
    if (subject.decode.tape) network_close(&subject.decode);
    batch_close(&subject.batch);
    batch_close(&subject.prompts);
    session_close(session);
    return status;
}

void speed_free(Speed *speed) {
    for (int p = 0; p < SPEED_PHASES; p++) free(speed->phase[p].seconds);
    *speed = (Speed){0};
}

double speed_token_seconds(const Speed *speed, SpeedPhase phase) {
    const Timing *timing = &speed->phase[phase];
    return timing->count ? timing->median / timing->tokens : NAN;
}
