#include "bench/speed.h"

#include <stdlib.h>
#include <string.h>

#include "bench/session.h"
#include "engine/optimizer.h"

enum { LEAST_SAMPLES = 3, MOST_SAMPLES = 1000, RESAMPLES = 1000 };

typedef struct Subject {
    Session session;
    Network decode;
    Batch batch;
    int64_t step;
    bool profiling;
} Subject;

static void train_step(Subject *subject) {
    Session *session = &subject->session;
    for (int64_t m = 0; m < session->replays; m++) {
        const Run run = {.threads = session->threads,
                         .training = true,
                         .seed = 1,
                         .pass = (uint64_t)(subject->step * session->replays + m)};
        network_load(&session->train, &session->problem, &subject->batch, m * session->micro_batch,
                     subject->batch.labels);
        session->train.loss->gradient[0] = 1;
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
    optimizer_step(&optimizer, session->parameters, ++subject->step, session->threads);
}

static void forward_pass(Subject *subject) {
    const Run run = {.threads = subject->session.threads};
    tape_forward(subject->session.evaluate.tape, &run);
}

static void decode_token(Subject *subject) {
    const Run run = {.threads = subject->session.threads};
    const Tensor *tokens = subject->decode.tokens;
    if (subject->step++ % subject->session.problem.length == 0)
        tape_reset_state(subject->decode.tape);
    for (int64_t i = 0; tokens && i < tensor_size(tokens); i++)
        tokens->integers[i] = subject->batch.tokens[i % subject->session.problem.length];
    tape_forward(subject->decode.tape, &run);
}

static void measure(Timing *timing, void (*work)(Subject *), Subject *subject, double seconds) {
    timing->seconds = malloc(MOST_SAMPLES * sizeof *timing->seconds);
    work(subject); /* warm-up: pages, caches, thread pool */
    const double start = seconds_now();
    while (timing->count < MOST_SAMPLES &&
           (timing->count < LEAST_SAMPLES || seconds_now() - start < seconds)) {
        const double before = seconds_now();
        work(subject);
        timing->seconds[timing->count++] = seconds_now() - before;
    }
    timing->median = median(timing->seconds, timing->count);
    timing->interval = median_interval(timing->seconds, timing->count, 0.95, RESAMPLES);
}

/* Share of a training step that no kernel accounts for. */
static double overhead_of(Subject *subject, double seconds) {
    Tape *tape = subject->session.train.tape;
    tape_profile(tape, true);
    double whole = 0, kernels = 0;
    for (int i = 0; i < LEAST_SAMPLES || whole < seconds; i++) {
        const Run run = {.threads = subject->session.threads, .training = true, .seed = 1};
        const double start = seconds_now();
        tape_forward(tape, &run);
        tape_backward(tape, &run);
        whole += seconds_now() - start;
    }
    for (int c = 0; c < tape_call_count(tape); c++) kernels += tape_seconds(tape, c);
    tape_profile(tape, false);
    return 1 - kernels / whole;
}

static Status open_decode(Subject *subject, Error *error) {
    Session *session = &subject->session;
    const Problem *problem = &session->problem;
    if ((session->cell->model->exempt & EXEMPT_STEP) || !problem->causal) return STATUS_OK;
    network_record(&subject->decode, session->cell, problem, session->parameters, TAPE_STEP,
                   session->micro_batch);
    if (tape_plan(subject->decode.tape, session->threads, error) != STATUS_OK ||
        tape_allocate(subject->decode.tape, &session->device, error) != STATUS_OK)
        return error->status;
    tape_reset_state(subject->decode.tape);
    return STATUS_OK;
}

static void describe(Speed *speed, const Subject *subject) {
    const Session *session = &subject->session;
    const Cell *cell = session->cell;
    speed->batch = cell->run.batch;
    speed->micro_batch = session->micro_batch;
    speed->length = session->problem.length;
    speed->parameters = session->parameters->trained;
    speed->flops = session->flops_per_step;
    speed->bytes = session_bytes(session);
    if (cell->model->state_floats)
        speed->state_bytes = 4 * cell->model->state_floats(&cell->backbone, cell->model_options,
                                                           session->problem.length);
}

Status speed_measure(Speed *speed, const Cell *cell, int threads, double seconds, Error *error) {
    *speed = (Speed){0};
    Subject subject = {0};
    Session *session = &subject.session;
    Status status = session_open(session, cell, threads, error);
    if (status == STATUS_OK) status = session_allocate(session, error);
    if (status == STATUS_OK) status = open_decode(&subject, error);
    if (status == STATUS_OK) {
        subject.batch = batch_open(&session->problem, cell->run.batch);
        batch_fill(&subject.batch, cell, &session->problem, session->data, SPLIT_TRAIN, 0, NULL,
                   cell->run.batch, threads);
        network_load(&session->evaluate, &session->problem, &subject.batch, 0, 1);
        describe(speed, &subject);
        measure(&speed->train, train_step, &subject, seconds);
        measure(&speed->forward, forward_pass, &subject, seconds);
        speed->overhead = overhead_of(&subject, seconds);
        subject.step = 0;
        if (subject.decode.tape) measure(&speed->decode, decode_token, &subject, seconds);
    }
    if (subject.decode.tape) network_close(&subject.decode);
    batch_close(&subject.batch);
    session_close(session);
    return status;
}

void speed_free(Speed *speed) {
    free(speed->train.seconds);
    free(speed->forward.seconds);
    free(speed->decode.seconds);
    *speed = (Speed){0};
}
