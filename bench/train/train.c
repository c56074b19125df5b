/* The training loop: replay, clip, update, validate, save; continue where the last process stopped.
 */
#include "bench/train/train.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/cell/result.h"
#include "bench/cell/schedule.h"
#include "bench/common/statistics.h"
#include "bench/train/checkpoint.h"
#include "bench/train/evaluate.h"
#include "bench/train/flight.h"
#include "bench/train/part_sum.h"
#include "bench/train/session.h"
#include "bench/train/share.h"
#include "bench/train/training_set.h"
#include "engine/clock.h"
#include "engine/file.h"
#include "engine/memory.h"
#include "engine/optimizer.h"

static const double checkpoint_seconds = 60;
static const double progress_seconds = 0.1;

typedef struct Training {
    Session session;
    const TrainOptions *options;
    Budget budget;
    int64_t steps; /* -1: until the seconds are used */
    Schedule schedule;
    CheckpointState state;
    int64_t issued; /* steps begun: state.step, which have been looked at, plus those in flight */
    Flights flights;
    Result *result; /* = &state.so_far */
    PartSum sum;    /* of the gradients of a step's parts */
    TrainingSet set;
    double session_start, wall_before;
    double last_save, last_report;
} Training;

/* Of the budget. cell_validate has seen to it that both are lengths of the same kind. */
static double warmup_share(const Training *training) {
    const Session *session = &training->session;
    Budget warmup = {0};
    warmup_parse(session->cell->run.warmup, &warmup, NULL);
    if (warmup.unit == BUDGET_SHARE) return warmup.amount;
    if (warmup.unit == BUDGET_SECOND) return warmup.amount / training->budget.amount;
    return (double)budget_steps(&warmup, session->cell->run.batch, &session->problem,
                                session->flops_per_step, session->train_samples) /
           (double)training->steps;
}

/* Share of the budget that has been used, 0 to 1. */
static double progress_of(const Training *training) {
    if (training->steps > 0) return (double)training->issued / (double)training->steps;
    return training->result->train_seconds / training->budget.amount;
}

static Run run_of(const Training *training, int64_t step, int64_t replay) {
    const Session *session = &training->session;
    Run run = session_run(session);
    run.training = true;
    run.seed = (uint64_t)session->cell->run.seed;
    run.pass = (uint64_t)(step * session->replays + replay);
    return run;
}

/* Names the first operation whose output is not finite, for the record of a diverged cell. Steps
 * after it that were in flight have changed nothing (DeviceRemote.update). */
static void explain_divergence(Training *training, double loss, double norm) {
    Session *session = &training->session;
    Result *result = training->result;
    const char *op = "backward", *scope = "";
    const Batch *batch = &training->set.batch;
    training_set_take_all(&training->set, training->state.step);
    for (int64_t m = 0; m < session->replays; m++) {
        const Run run = run_of(training, training->state.step, m);
        tape_turn(session->train.tape);
        network_load(&session->train, &session->problem, batch, m * session->micro_batch,
                     batch->labels);
        const OpCall *call = tape_find_not_finite(session->train.tape, &run);
        if (!call) continue;
        op = call->op->name;
        scope = call->scope;
        break;
    }
    snprintf(result->failure, sizeof result->failure,
             "step %" PRId64 ": loss %g, gradient norm %g; first not finite in operation %s%s%s of "
             "model %s",
             training->state.step + 1, loss, norm, op, *scope ? " at " : "", scope,
             session->cell->model->name);
    result->outcome = OUTCOME_DIVERGED;
}

static Optimizer optimizer_at(const Training *training, double progress) {
    const RunOptions *run = &training->session.cell->run;
    const double factor = schedule_factor(&training->schedule, progress);
    return (Optimizer){.rate = run->lr * factor,
                       .factor = factor,
                       .weight_decay = run->weight_decay,
                       .beta1 = run->beta1,
                       .beta2 = run->beta2,
                       .epsilon = run->epsilon,
                       .clip = run->clip,
                       .replays = training->session.replays};
}

/* Waits for the oldest step in flight and counts it. Diverged when its loss or gradient is not
 * finite; parameters have not been changed by a gradient that is not. Fails only when the device
 * does. */
static Status land(Training *training, bool *diverged, Error *error) {
    Session *session = &training->session;
    Result *result = training->result;
    const Flight *flight = flight_of(&training->flights, training->state.step);
    if (flight_wait(&training->flights, training->state.step, error) != STATUS_OK)
        return error->status;
    double loss = 0;
    for (int64_t m = 0; m < session->replays; m++) loss += (double)flight->losses[m];
    const double norm = *flight->norm;
    if (!isfinite(loss) || !isfinite(norm)) {
        training->issued = training->state.step;
        if (device_synchronise(&session->device, error) != STATUS_OK) return error->status;
        explain_divergence(training, loss, norm);
        *diverged = true;
        return STATUS_OK;
    }
    training->state.step++;
    training->state.loss_sum += loss;
    training->state.loss_steps++;
    result->steps = training->state.step;
    result->samples = training->state.step * session->cell->run.batch;
    result->tokens = result->samples * session->problem.length * session->problem.sequences;
    result->flops = (double)training->state.step * session->flops_per_step;
    return STATUS_OK;
}

/* Lands all steps in flight. Their wait is shared out among them. */
static Status land_all(Training *training, bool *diverged, Error *error) {
    Result *result = training->result;
    const double start = seconds_now();
    const int64_t first = training->state.step, last = training->issued;
    while (!*diverged && training->state.step < training->issued)
        if (land(training, diverged, error) != STATUS_OK) return error->status;
    if (first == last) return STATUS_OK;
    const double seconds = seconds_now() - start;
    for (int64_t step = first; step < last; step++)
        result->step_seconds[step % RESULT_STEPS] += seconds / (double)(last - first);
    result->train_seconds += seconds;
    return STATUS_OK;
}

/* Replays this process's parts of a step, and adds up losses and gradients of all processes. */
static void replay_own_parts(Training *training, int64_t step, float *losses) {
    Session *session = &training->session;
    Network *network = &session->train;
    const Batch *batch = &training->set.batch;
    float *gradients = session->parameters->gradients;
    const Team *team = session->team;
    const int64_t own = session->replays / team->count, first = team->rank * own;
    const int64_t part = session->replays / session->cell->run.replicas;
    for (int64_t m = first; m < first + own; m++) {
        const Run run = run_of(training, step, m);
        tape_turn(network->tape);
        network_load(network, &session->problem, batch, m * session->micro_batch, batch->labels);
        network->loss->host_gradient[0] = 1;
        tape_share(network->tape, m % part == 0, (m + 1) % part == 0);
        tape_forward(network->tape, &run);
        device_download(&session->device, &losses[m], network->loss->data, sizeof(float));
        tape_backward(network->tape, &run);
        if ((m + 1) % part == 0) part_sum_add(&training->sum, gradients, session->threads);
    }
    part_sum_finish(&training->sum, gradients, session->threads);
    team_gather(team, losses, (size_t)own * sizeof *losses);
}

/* Gives the device one optimiser step, whose batch is made while it still runs the one before, and
 * lands the step before that. The CPU's step has been done when it returns, and lands at once. */
static Status train_step(Training *training, bool *diverged, Error *error) {
    Session *session = &training->session;
    Result *result = training->result;
    const double start = seconds_now();
    const int64_t step = training->issued;
    const Flight *flight = flight_of(&training->flights, step);
    training_set_take(&training->set, step);
    if (step - training->state.step == FLIGHTS) {
        if (land(training, diverged, error) != STATUS_OK) return error->status;
        if (*diverged) return STATUS_OK;
    }
    replay_own_parts(training, step, flight->losses);
    /* The warm-up begins above zero: the first step uses the rate at its own end. */
    const double done =
        training->steps > 0 ? (double)(step + 1) / (double)training->steps : progress_of(training);
    const Optimizer optimizer = optimizer_at(training, done);
    optimizer_step(&optimizer, session->parameters, step + 1, session->threads, flight->norm);
    flight_begun(&training->flights, step);
    training->issued++;
    if (!session->device.kind->remote && land(training, diverged, error) != STATUS_OK)
        return error->status;
    if (*diverged) return STATUS_OK;

    const double seconds = team_largest(session->team, seconds_now() - start);
    result->step_seconds[step % RESULT_STEPS] = seconds;
    if (result->step_seconds_count < RESULT_STEPS) result->step_seconds_count++;
    result->train_seconds += seconds;
    return STATUS_OK;
}

/* log.jsonl mirrors the curve: one line per validation. */
static Status write_log(const Training *training, Error *error) {
    const Result *result = training->result;
    char path[PATH_MAX], *text;
    size_t bytes;
    Status status = path_join(path, training->options->folder, "log.jsonl", error);
    if (status != STATUS_OK) return status;
    FILE *lines = memory_stream(&text, &bytes);
    for (int i = 0; i < result->curve_count; i++) {
        char *line = point_text(&result->curve[i]);
        fprintf(lines, "%s\n", line);
        free(line);
    }
    fclose(lines);
    status = file_write(path, text, bytes, error);
    free(text);
    return status;
}

static Status save(Training *training, Error *error) {
    const Team *team = training->session.team;
    if (parameters_fetch(training->session.parameters, error) != STATUS_OK) return error->status;
    if (!training->options->folder) return STATUS_OK;
    training->result->wall_seconds =
        training->wall_before + seconds_now() - training->session_start;
    training->last_save = seconds_now();
    Status status = STATUS_OK;
    if (team->rank == 0)
        status = checkpoint_save(training->options->folder, training->session.parameters,
                                 &training->state, error);
    if (team->rank == 0 && status == STATUS_OK) status = write_log(training, error);
    return team_agree(team, status, error);
}

static bool better(const Problem *problem, double a, double b) {
    return problem->higher_is_better ? a > b : a < b;
}

/* Validates and adds a point to the curve. Returns whether the task counts as solved. */
static bool validate(Training *training) {
    Session *session = &training->session;
    Result *result = training->result;
    const double start = seconds_now();
    const Evaluation evaluation =
        session_evaluate(session, SPLIT_VALIDATION, session->cell->run.validation_samples, NULL);
    result->evaluation_seconds += seconds_now() - start;
    result->train_loss = training->state.loss_steps
                             ? training->state.loss_sum / (double)training->state.loss_steps
                             : NAN;
    training->state.loss_sum = 0;
    training->state.loss_steps = 0;
    result->validation_loss = evaluation.loss;
    result->validation_metric = evaluation.metric;
    if (result->curve_count == 0 ||
        better(&session->problem, evaluation.metric, result->best_validation_metric)) {
        result->best_validation_metric = evaluation.metric;
        result->best_step = training->state.step;
    }
    result->curve =
        memory_resize(result->curve, (size_t)(result->curve_count + 1) * sizeof *result->curve);
    result->curve[result->curve_count++] = (CurvePoint){
        .step = training->state.step,
        .flops = result->flops,
        .seconds = result->train_seconds,
        .tokens = (double)result->tokens,
        .train_loss = result->train_loss,
        .validation_loss = evaluation.loss,
        .validation_metric = evaluation.metric,
    };
    schedule_observe(&training->schedule, evaluation.metric);
    return !better(&session->problem, session->problem.solved, evaluation.metric);
}

static void report(Training *training) {
    const TrainOptions *options = training->options;
    const double now = seconds_now();
    if (!options->progress || now - training->last_report < progress_seconds) return;
    training->last_report = now;
    const double done = progress_of(training);
    const double spent = training->result->train_seconds + training->result->evaluation_seconds;
    const double metric = training->result->curve_count ? training->result->validation_metric : NAN;
    options->progress(options->context, done, metric, done > 0 ? spent * (1 - done) / done : NAN);
}

static bool due(const Training *training, double before) {
    const int64_t points = training->session.cell->run.evaluations;
    const double after = progress_of(training);
    return after >= 1 || floor(after * (double)points) > floor(before * (double)points);
}

/* Whether a process of the team wants it: then all do it. */
static bool someone(const Training *training, bool wants) {
    return team_largest(training->session.team, wants) > 0;
}

/* Steps until the budget is used, the task is solved, training diverges or someone asks to stop. */
static Status train_loop(Training *training, Error *error) {
    const RunOptions *run = &training->session.cell->run;
    const TrainOptions *options = training->options;
    Result *result = training->result;
    result->outcome = OUTCOME_FINISHED;
    while (progress_of(training) < 1) {
        const double before = progress_of(training);
        bool diverged = false;
        if (train_step(training, &diverged, error) != STATUS_OK) return error->status;
        if (diverged) return STATUS_OK;
        if (due(training, before)) {
            if (land_all(training, &diverged, error) != STATUS_OK) return error->status;
            if (diverged) return STATUS_OK;
            const bool solved = validate(training);
            if (solved && run->stop_when_solved) {
                result->outcome = OUTCOME_SOLVED;
                return STATUS_OK;
            }
        }
        report(training);
        const bool stop =
            someone(training, options->stop && options->stop(options->context, training->issued));
        const bool by_step = run->checkpoint_every && training->issued % run->checkpoint_every == 0;
        const bool by_time =
            someone(training, seconds_now() - training->last_save > checkpoint_seconds);
        if (stop || by_step || by_time) {
            if (land_all(training, &diverged, error) != STATUS_OK) return error->status;
            if (diverged) return STATUS_OK;
        }
        if ((stop || by_step || by_time) && save(training, error) != STATUS_OK)
            return error->status;
        if (stop) {
            result->outcome = OUTCOME_INTERRUPTED;
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

static void finish(Training *training) {
    Session *session = &training->session;
    Result *result = training->result;
    result->test_loss = result->test_metric = NAN;
    result->at_chance = true;
    if (result->outcome != OUTCOME_DIVERGED) {
        const double start = seconds_now();
        const Evaluation test =
            session_evaluate(session, SPLIT_TEST, session->cell->run.test_samples, &result->test);
        result->evaluation_seconds += seconds_now() - start;
        result->test_loss = test.loss;
        result->test_metric = test.metric;
        result->at_chance = test.at_chance;
    }
    result->step_seconds_median =
        result->step_seconds_count ? median(result->step_seconds, result->step_seconds_count) : NAN;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    result->peak_bytes = (int64_t)team_largest(session->team, (double)usage.ru_maxrss) * 1024;
    result->wall_seconds = training->wall_before + seconds_now() - training->session_start;
}

static void describe(Training *training) {
    const Session *session = &training->session;
    const Cell *cell = session->cell;
    Result *result = training->result;
    result->parameters = session->parameters->trained;
    result->embedding_parameters = session_embedding_parameters(session);
    if (cell->model->state_floats)
        result->state_floats = cell->model->state_floats(&cell->backbone, cell->model_options,
                                                         session->problem.length);
    result->flops_per_step = session->flops_per_step;
    result->executed_flops_per_step = session->executed_flops_per_step;
    result->six_n_flops_per_step = 6.0 * (double)session->parameters->trained *
                                   (double)cell->run.batch *
                                   (double)(session->problem.length * session->problem.sequences);
    result->planned_bytes = session_bytes(session);
    result->threads = session->threads;
    result->processes = session->team->count;
}

static Status begin(Training *training, Error *error) {
    Session *session = &training->session;
    const Cell *cell = session->cell;
    if (session_allocate(session, error) != STATUS_OK) return error->status;
    char identity[sizeof training->state.identity];
    cell_identity(cell, identity);
    bool found = false;
    if (training->options->folder &&
        checkpoint_load(training->options->folder, session->parameters, identity, &training->state,
                        &found, error) != STATUS_OK)
        return error->status;
    memcpy(training->state.identity, identity, sizeof identity);
    if (!found && training->options->weights &&
        weights_load(training->options->weights, session->parameters, error) != STATUS_OK)
        return error->status;
    if (parameters_send(session->parameters, error) != STATUS_OK) return error->status;
    Result *result = training->result;
    training->schedule =
        schedule_open(&cell->run, warmup_share(training), session->problem.higher_is_better);
    for (int i = 0; i < result->curve_count; i++)
        schedule_observe(&training->schedule, result->curve[i].validation_metric);
    result->sessions++;
    double *samples = memory_take_zeroed(RESULT_STEPS, sizeof *samples);
    for (int i = 0; i < result->step_seconds_count; i++) samples[i] = result->step_seconds[i];
    free(result->step_seconds);
    result->step_seconds = samples;
    training->wall_before = result->wall_seconds;
    training->set = training_set_open(session);
    training->issued = training->state.step;
    if (session->device.kind->remote)
        tape_leave(session->train.tape); /* the losses are all that is wanted */
    if (flights_open(&training->flights, &session->device, session->replays, error) != STATUS_OK ||
        part_sum_open(&training->sum, cell->run.replicas, session->team, session->parameters->size,
                      error) != STATUS_OK)
        return error->status;
    if (!found) result->data_hash = training_set_hash(&training->set);
    describe(training);
    return STATUS_OK;
}

static Status compare_starts(const Training *training, Error *error) {
    const Session *session = &training->session;
    Start start = {.step = training->state.step, .data_hash = training->result->data_hash};
    memcpy(start.identity, training->state.identity, sizeof start.identity);
    snprintf(start.instructions, sizeof start.instructions, "%s", isa_name(session->device.isa));
    return share_compare(session->team, &start, error);
}

/* What every process does by itself before the first step. */
static Status prepare(Training *training, const Cell *cell, Error *error) {
    Session *session = &training->session;
    const TrainOptions *options = training->options;
    Status status = budget_parse(cell->run.budget, &training->budget, error);
    if (status == STATUS_OK) status = session_open(session, cell, options->threads, error);
    if (options->team) session->team = options->team;
    if (status == STATUS_OK) status = share_check(session, error);
    if (status != STATUS_OK) return status;
    training->steps = budget_steps(&training->budget, cell->run.batch, &session->problem,
                                   session->flops_per_step, session->train_samples);
    return begin(training, error);
}

/* A device that has failed stays so, wherever that was noticed: says which step it was. */
static void blame(Training *training, Error *error) {
    Session *session = &training->session;
    const Device *device = &session->device;
    if (!device->state || !device->kind->remote || /* one that did not open has no state */
        device_synchronise(&session->device, NULL) == STATUS_OK)
        return;
    const int64_t first = training->state.step + 1, last = training->issued;
    training->result->failed_step = last > first ? last : first;
    if (last > first)
        error_context(error, "model %s, one of the steps %" PRId64 " to %" PRId64,
                      session->cell->model->name, first, last);
    else
        error_context(error, "model %s, step %" PRId64, session->cell->model->name, first);
}

Status cell_train(const Cell *cell, const TrainOptions *options, Result *result, Error *error) {
    Training training = {.options = options, .session_start = seconds_now()};
    training.result = &training.state.so_far;
    training.last_save = training.session_start;
    Status status = prepare(&training, cell, error);
    status = team_agree(options->team ? options->team : &team_alone, status, error);
    if (status == STATUS_OK) status = compare_starts(&training, error);
    if (status == STATUS_OK) status = train_loop(&training, error);
    if (status == STATUS_OK && training.result->outcome != OUTCOME_INTERRUPTED) {
        finish(&training);
        status = save(&training, error); /* the weights that the test was taken with */
    }
    if (status != STATUS_OK) blame(&training, error);
    training_set_close(&training.set);
    part_sum_close(&training.sum);
    flights_close(&training.flights);
    session_close(&training.session);
    *result = training.state.so_far;
    return status;
}
