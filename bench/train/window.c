#include "bench/train/window.h"

#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"

/* Where samples differ in length a window is this many replays of training, so that most replays of
 * a length are full; but no more samples than have so many bytes of results. */
enum { REPLAYS = 32 };
static const int64_t most_result_bytes = 16 << 20;

static int64_t result_bytes(const Session *session) {
    const Problem *problem = &session->evaluation_problem;
    return (int64_t)sizeof(float) * (5 * problem->labels + problem->sequences);
}

int64_t window_samples(const Session *session) {
    const int64_t rows = session->evaluate.batch;
    if (session->shorter_count == 0) return rows;
    const int64_t wanted = REPLAYS * session->micro_batch;
    const int64_t most = most_result_bytes / result_bytes(session);
    const int64_t samples = wanted < most ? wanted : most;
    return samples > rows ? samples : rows;
}

size_t window_result_bytes(const Session *session) {
    return (size_t)(window_samples(session) * result_bytes(session));
}

Replayed window_results(const Session *session, void *memory) {
    const int64_t rows = window_samples(session) * session->evaluation_problem.labels;
    int32_t *integers = memory;
    float *reals = (float *)memory + 3 * rows;
    return (Replayed){.classes = integers,
                      .predictions = integers + rows,
                      .positions = integers + 2 * rows,
                      .weights = reals,
                      .losses = reals + rows,
                      .lengths = integers + 5 * rows};
}

/* Samples that wait for a replay at one length. */
typedef struct Queue {
    const Problem *problem;
    Network *network;
    Batch batch;
    int64_t *places; /* in the window */
    bool begun;      /* has been replayed with these parameters */
} Queue;

struct Window {
    Session *session;
    Batch made; /* as the task writes them, all at the longest length; where there are others */
    Queue queue[1 + SESSION_SHORTER]; /* longest first */
    int queues;
};

int64_t window_bytes(const Session *session) {
    const Problem *problem = &session->evaluation_problem;
    int64_t bytes =
        batch_bytes(problem, session->evaluate.batch) + (int64_t)window_result_bytes(session);
    if (session->shorter_count > 0) bytes += batch_bytes(problem, session->evaluate.batch);
    for (int i = 0; i < session->shorter_count; i++)
        bytes += batch_bytes(&session->shorter[i].problem, session->shorter[i].network.batch);
    return bytes;
}

static Queue queue_open(const Problem *problem, Network *network) {
    return (Queue){.problem = problem,
                   .network = network,
                   .batch = batch_open(problem, network->batch),
                   .places = memory_take((size_t)network->batch * sizeof(int64_t))};
}

Window *window_open(Session *session) {
    Window *window = memory_take(sizeof *window);
    *window = (Window){.session = session, .queues = 1 + session->shorter_count};
    if (window->queues > 1)
        window->made = batch_open(&session->evaluation_problem, session->evaluate.batch);
    window->queue[0] = queue_open(&session->evaluation_problem, &session->evaluate);
    for (int i = 0; i < session->shorter_count; i++)
        window->queue[1 + i] =
            queue_open(&session->shorter[i].problem, &session->shorter[i].network);
    return window;
}

void window_close(Window *window) {
    for (int q = 0; q < window->queues; q++) {
        batch_close(&window->queue[q].batch);
        free(window->queue[q].places);
    }
    batch_close(&window->made);
    free(window);
}

/* Replays what waits. */
static void flush(const Window *window, Queue *queue, const Replayed *to) {
    const Problem *problem = queue->problem;
    const Network *network = queue->network;
    Batch *batch = &queue->batch;
    const Run run = session_run(window->session);
    const size_t labels = (size_t)problem->labels, sequences = (size_t)problem->sequences;
    batch_count_labels(batch, problem, batch->samples);
    network_load(queue->network, problem, batch, 0, batch->labels > 0 ? batch->labels : 1);
    tape_share(network->tape, !queue->begun, false);
    queue->begun = true;
    tape_forward(network->tape, &run);
    tape_finish(network->tape, NULL); /* a failure stays: whoever saves next reports it */
    for (int64_t i = 0; i < batch->samples; i++) {
        const size_t from = (size_t)i * labels, at = (size_t)queue->places[i] * labels;
        memcpy(to->classes + at, batch->classes + from, labels * sizeof(int32_t));
        memcpy(to->positions + at, batch->positions + from, labels * sizeof(int32_t));
        memcpy(to->weights + at, batch->weights + from, labels * sizeof(float));
        memcpy(to->losses + at, network->row_loss->host + from, labels * sizeof(float));
        if (network->prediction)
            memcpy(to->predictions + at, network->prediction->host_integers + from,
                   labels * sizeof(int32_t));
        memcpy(to->lengths + (size_t)queue->places[i] * sequences,
               batch->lengths + (size_t)i * sequences, sequences * sizeof(int32_t));
    }
    batch->samples = 0;
}

static void make(const Window *window, Batch *batch, Split split, int64_t first, int64_t samples) {
    const Session *session = window->session;
    batch_fill(batch, session->cell, &session->evaluation_problem, session->data, split, first,
               NULL, samples, session->threads);
}

/* The queue of the shortest length that holds sample i of those made. */
static Queue *queue_for(Window *window, int64_t i) {
    const Problem *problem = &window->session->evaluation_problem;
    int32_t longest = 0;
    for (int64_t s = i * problem->sequences; s < (i + 1) * problem->sequences; s++)
        if (window->made.lengths[s] > longest) longest = window->made.lengths[s];
    int q = 0;
    while (q + 1 < window->queues && window->queue[q + 1].problem->length >= longest) q++;
    return &window->queue[q];
}

/* Samples from `done` on of the window, made and each put where it belongs. */
static void sort_in(Window *window, Split split, int64_t first, int64_t done, int64_t samples,
                    const Replayed *results) {
    make(window, &window->made, split, first + done, samples);
    for (int64_t i = 0; i < samples; i++) {
        Queue *queue = queue_for(window, i);
        queue->places[queue->batch.samples] = done + i;
        batch_copy(&queue->batch, queue->problem, queue->batch.samples++, &window->made,
                   window->queue[0].problem, i);
        if (queue->batch.samples == queue->network->batch) flush(window, queue, results);
    }
}

void window_replay(Window *window, Split split, int64_t first, int64_t count,
                   const Replayed *results) {
    const int64_t rows = window->session->evaluate.batch;
    for (int64_t done = 0; done < count; done += rows) {
        const int64_t samples = count - done < rows ? count - done : rows;
        if (window->queues > 1) {
            sort_in(window, split, first, done, samples, results);
        } else { /* all of one length, where they are wanted */
            Queue *only = &window->queue[0];
            make(window, &only->batch, split, first + done, samples);
            for (int64_t i = 0; i < samples; i++) only->places[i] = done + i;
            flush(window, only, results);
        }
    }
    for (int q = 0; q < window->queues; q++)
        if (window->queue[q].batch.samples > 0) flush(window, &window->queue[q], results);
}
