#include "bench/train/session.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bench/train/part_sum.h"
#include "bench/train/window.h"

/* Activations of one replay should stay in the last-level cache that a core may call its own:
 * beyond it every elementwise pass runs at memory speed. A constant, because the cut changes the
 * order of the gradient sum and so the bits, and bits must not depend on the machine. */
static const size_t replay_bytes = 24u << 20;
/* A replay may have work that does not shrink with its samples: inside an operation (CKConv's
 * kernels, one for every pair of channels, transformed), or on a device that computes anew what
 * depends on parameters alone. Where that is most of the work, cutting a batch costs more than the
 * cache gives: a cut may make a step's operations grow by half. */
static const double most_repetition = 1.5;
/* A device with memory of its own wants the largest batch that fits any of its kind. */
static const size_t remote_replay_bytes = (size_t)4 << 30;

int64_t session_samples(const Session *session, Split split, int64_t wanted) {
    const Task *task = session->cell->task;
    const int64_t exist = task->count(session->cell->task_options, session->data, split);
    return exist > 0 && (wanted == 0 || exist < wanted) ? exist : wanted;
}

size_t session_replay_bytes(const Device *device) {
    return device->kind->remote ? remote_replay_bytes : replay_bytes;
}

static Status record_train(Session *session, int64_t micro_batch, Error *error) {
    network_close(&session->train);
    network_record(&session->train, session->cell, &session->problem, session->parameters,
                   TAPE_TRAIN, micro_batch);
    tape_set_device(session->train.tape, &session->device, session_run(session).products);
    const int64_t part = session->cell->run.batch / session->cell->run.replicas;
    if (micro_batch < part) tape_repeat(session->train.tape);
    return tape_plan(session->train.tape, session->threads, error);
}

/* The largest divisor of a part of the batch whose replay fits the cache; the whole part where that
 * costs too much, or where the network takes statistics of the batch, which must not depend on what
 * fits; or what was asked for. */
static Status choose_micro_batch(Session *session, Error *error) {
    const int64_t batch = session->cell->run.batch / session->cell->run.replicas;
    if (session->cell->run.micro_batch) {
        session->micro_batch = session->cell->run.micro_batch;
        return record_train(session, session->micro_batch, error);
    }
    const size_t most = session_replay_bytes(&session->device);
    double whole = 0;
    for (int64_t parts = 1; parts <= batch; parts++) {
        if (batch % parts) continue;
        session->micro_batch = batch / parts;
        if (record_train(session, session->micro_batch, error) != STATUS_OK) return error->status;
        const double flops = tape_executed_flops(session->train.tape, parts);
        if (parts == 1) whole = flops;
        if (session->parameters->averages > 0) return STATUS_OK;
        if (flops > most_repetition * whole) {
            session->micro_batch = batch;
            return record_train(session, batch, error);
        }
        if (tape_bytes(session->train.tape) <= most) break;
    }
    return STATUS_OK;
}

static Status plan_evaluate(Session *session, const Problem *problem, Network *network,
                            int64_t rows, bool repeat, Error *error) {
    network_close(network);
    network_record(network, session->cell, problem, session->parameters, TAPE_EVALUATE, rows);
    tape_set_device(network->tape, &session->device, session_run(session).products);
    if (repeat) tape_repeat(network->tape);
    return tape_plan(network->tape, session->threads, error);
}

/* Results that are kept from replay to replay must fit the memory, too. */
static Status record_evaluate(Session *session, const Problem *problem, Network *network,
                              int64_t rows, size_t most, Error *error) {
    const Status status = plan_evaluate(session, problem, network, rows, true, error);
    if (status != STATUS_OK || tape_bytes(network->tape) <= most) return status;
    return plan_evaluate(session, problem, network, rows, false, error);
}

/* As many samples as in a replay of training, but where those of an evaluation are longer no more
 * than fit the memory that a replay may take (training's own, where that is larger): halved until
 * they do, or until the part of each replay that does not depend on samples costs too much. */
static Status choose_evaluation_rows(Session *session, Error *error) {
    const Problem *problem = &session->evaluation_problem;
    Network *network = &session->evaluate;
    const size_t training = tape_bytes(session->train.tape);
    size_t most = session_replay_bytes(&session->device);
    if (most < training) most = training;
    double whole = 0; /* FLOPs of a sample */
    for (int64_t rows = session->micro_batch, larger = rows;; larger = rows, rows /= 2) {
        if (record_evaluate(session, problem, network, rows, most, error) != STATUS_OK)
            return error->status;
        const Tape *tape = network->tape;
        const double flops =
            (tape_executed_flops(tape, 2) - tape_executed_flops(tape, 1)) / (double)rows;
        if (rows == session->micro_batch) whole = flops;
        if (flops > most_repetition * whole)
            return record_evaluate(session, problem, network, larger, most, error);
        if (rows == 1 || tape_bytes(tape) <= most) return STATUS_OK;
    }
}

/* Half the length, and half of that, as long as it is worth it: as many samples of each as the
 * memory for the longest holds. */
static Status record_shorter(Session *session, Error *error) {
    const size_t most = tape_bytes(session->evaluate.tape);
    Problem problem = session->evaluation_problem;
    if (!cell_evaluates_by_length(session->cell, &problem)) return STATUS_OK;
    problem.evaluation_length = problem_longest(&problem); /* filters and positions stay its own */
    while ((problem.length = (problem.length + 1) / 2) >= CELL_SHORTEST_EVALUATION &&
           session->shorter_count < SESSION_SHORTER) {
        Shorter *shorter = &session->shorter[session->shorter_count++];
        shorter->problem = problem;
        int64_t rows = session->micro_batch;
        do {
            if (record_evaluate(session, &problem, &shorter->network, rows, most, error) !=
                STATUS_OK)
                return error->status;
        } while (tape_bytes(shorter->network.tape) > most && (rows /= 2) > 0);
        if (rows > 0) continue;
        network_close(&shorter->network); /* more than at the longest: not worth it either */
        session->shorter_count--;
        break;
    }
    return STATUS_OK;
}

Run session_run(const Session *session) {
    return (Run){.threads = session->threads, .products = (Products)session->cell->run.products};
}

Status session_device_open(Device *device, const Cell *cell, Error *error) {
    if (device_open(device, cell->device, error) != STATUS_OK) return error->status;
    if (cell->run.products == PRODUCTS_TF32 && !device->kind->remote)
        return error_set(
            error, STATUS_USAGE,
            "products=tf32 is a format of GPUs (--device cuda); expected float or bf16 "
            "on device %s",
            cell->device);
    return STATUS_OK;
}

Status session_open(Session *session, const Cell *cell, int threads, Error *error) {
    *session = (Session){.cell = cell, .threads = threads, .team = &team_alone};
    if (cell_validate(cell, &session->problem, error) != STATUS_OK) return error->status;
    if (session_device_open(&session->device, cell, error) != STATUS_OK) return error->status;
    if (cell->run.replicas > 1 && session->device.kind->remote)
        return error_set(error, STATUS_USAGE,
                         "replicas=%" PRId64 " is for CPUs, and this is device %s; leave it out, "
                         "or use --device cpu",
                         cell->run.replicas, cell->device);
    if (cell->task->open &&
        cell->task->open(cell->task_options, &session->data, error) != STATUS_OK)
        return error->status;
    session->train_samples = session_samples(session, SPLIT_TRAIN, cell->run.train_samples);
    session->parameters = parameters_open();
    if (choose_micro_batch(session, error) != STATUS_OK) return error->status;
    session->replays = cell->run.batch / session->micro_batch;
    session->evaluation_problem = problem_for(&session->problem, SPLIT_VALIDATION);
    if (choose_evaluation_rows(session, error) != STATUS_OK ||
        record_shorter(session, error) != STATUS_OK)
        return error->status;

    const int64_t replicas = cell->run.replicas; /* each computes what they share */
    session->flops_per_step = tape_model_flops(session->train.tape, session->replays);
    session->executed_flops_per_step =
        tape_executed_flops(session->train.tape, session->replays / replicas) * (double)replicas;
    return STATUS_OK;
}

void session_close(Session *session) {
    network_close(&session->train);
    for (int i = 0; i < session->shorter_count; i++) network_close(&session->shorter[i].network);
    network_close(&session->evaluate);
    parameters_close(session->parameters);
    if (session->data && session->cell->task->close) session->cell->task->close(session->data);
    device_close(&session->device);
    *session = (Session){0};
}

int64_t session_bytes(const Session *session) {
    return (int64_t)(tape_bytes(session->train.tape) + tape_bytes(session->evaluate.tape) +
                     parameters_bytes(session->parameters, true)) +
           part_sum_bytes(session->cell->run.replicas, session->team->count,
                          session->parameters->size) +
           batch_bytes(&session->problem, session->cell->run.batch) + window_bytes(session);
}

/* advice: "a smaller batch or a smaller width". */
static Status check_memory(Session *session, int64_t needed, const char *advice, Error *error) {
    const int64_t available = session->device.kind->available(&session->device);
    if (needed <= available) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "this cell needs %" PRId64 " bytes (%.2f GiB) and %" PRId64
                     " (%.2f GiB) are available; nothing was started. Use %s",
                     needed, (double)needed / 0x1p30, available, (double)available / 0x1p30,
                     advice);
}

/* Networks of several lengths take turns in one memory. */
static Status allocate_evaluate(Session *session, Error *error) {
    Tape *longest = session->evaluate.tape;
    if (tape_allocate(longest, &session->device, error) != STATUS_OK) return error->status;
    tape_record(longest);
    for (int i = 0; i < session->shorter_count; i++) {
        Tape *tape = session->shorter[i].network.tape;
        if (tape_allocate_in(tape, longest, error) != STATUS_OK) return error->status;
        tape_record(tape);
    }
    return STATUS_OK;
}

Status session_allocate(Session *session, Error *error) {
    if (check_memory(session, session_bytes(session),
                     "a smaller batch, micro_batch=1, recompute=yes, or a smaller length or width",
                     error) != STATUS_OK)
        return error->status;
    tape_double(session->train.tape);
    if (parameters_allocate(session->parameters, &session->device, true,
                            (uint64_t)session->cell->run.seed, error) != STATUS_OK ||
        tape_allocate(session->train.tape, &session->device, error) != STATUS_OK ||
        allocate_evaluate(session, error) != STATUS_OK)
        return error->status;
    tape_record(session->train.tape);
    return STATUS_OK;
}

Status session_allocate_evaluation(Session *session, uint64_t seed, Error *error) {
    const int64_t needed = (int64_t)(tape_bytes(session->evaluate.tape) +
                                     parameters_bytes(session->parameters, false)) +
                           window_bytes(session);
    if (check_memory(session, needed, "micro_batch=1 or a smaller length", error) != STATUS_OK ||
        parameters_allocate(session->parameters, &session->device, false, seed, error) != STATUS_OK)
        return error->status;
    return allocate_evaluate(session, error);
}

int64_t session_embedding_parameters(const Session *session) {
    int64_t sum = 0;
    for (int i = 0; i < session->parameters->count; i++) {
        const Parameter *parameter = session->parameters->list[i];
        const char *name = parameter->tensor.name;
        if (parameter->group.frozen) continue;
        if (strncmp(name, "embedding.", 10) == 0 || strncmp(name, "head.", 5) == 0)
            sum += tensor_size(&parameter->tensor);
    }
    return sum;
}

Status cell_plan(const Cell *cell, int threads, CellPlan *plan, Error *error) {
    Session session;
    *plan = (CellPlan){0};
    const Status status = session_open(&session, cell, threads, error);
    if (status == STATUS_OK) {
        Budget budget;
        budget_parse(cell->run.budget, &budget, error);
        *plan = (CellPlan){
            .parameters = session.parameters->trained,
            .embedding_parameters = session_embedding_parameters(&session),
            .state_floats = cell->model->state_floats
                                ? cell->model->state_floats(&cell->backbone, cell->model_options,
                                                            session.problem.length)
                                : 0,
            .micro_batch = session.micro_batch,
            .steps = budget_steps(&budget, cell->run.batch, &session.problem,
                                  session.flops_per_step, session.train_samples),
            .flops_per_step = session.flops_per_step,
            .executed_flops_per_step = session.executed_flops_per_step,
            .bytes = session_bytes(&session),
            .available_bytes = session.device.kind->available(&session.device),
        };
        plan->total_flops = plan->steps < 0 ? -1 : (double)plan->steps * plan->flops_per_step;
    }
    session_close(&session);
    return status;
}
