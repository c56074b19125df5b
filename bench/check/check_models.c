/* Properties of every registered model; not a line here is about one of them. A model that cannot
 * have a property says so in its descriptor, and the exemption is counted and printed. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/check/check.h"
#include "bench/check/reference.h"
#include "bench/check/subject.h"
#include "bench/train/network.h"
#include "bench/train/session.h"
#include "engine/memory.h"
#include "engine/optimizer.h"

enum { BATCH = 3, LENGTH = 12, MAX_LENGTH = 16 };

/* Small, but with more than one head, block and odd extent. */
static const char settings[] = "width=24 layers=2";

/* Two float32 evaluations of the same numbers in another order (step against parallel, prefix
 * against whole): rounding of some 10^3 operations in sequence through two blocks. */
static const double same_tolerance = 2e-4;
/* float32 kernels against the double-precision replay of the whole network. */
static const double forward_tolerance = 1e-4;
static const double gradient_tolerance = 2e-3;

typedef struct Bench {
    const CheckOptions *options;
    CheckCount *count;
    const Model *model;
    Device *device; /* NULL: CPU */
} Bench;

static void verdict(const Bench *bench, bool good, const char *property, double measured,
                    double allowed) {
    char name[128];
    snprintf(name, sizeof name, "model/%s/%s", bench->model->name, property);
    check_report(bench->options, bench->count, good, name, "measured %.3e, allowed %.0e", measured,
                 allowed);
}

static bool wanted(const Bench *bench, const char *property, unsigned exemption) {
    char name[128];
    snprintf(name, sizeof name, "model/%s/%s", bench->model->name, property);
    if (!check_selected(bench->options, name)) return false;
    if (!(bench->model->exempt & exemption)) return true;
    bench->count->exempt++;
    fprintf(bench->options->out, "exempt %s\n", name);
    return false;
}

static bool open_or_report(const Bench *bench, Subject *subject, const SubjectShape *shape,
                           const Subject *like, const char *property, const char *more) {
    char text[256], name[128];
    Error error = {0};
    const char *other = bench->options->settings;
    snprintf(text, sizeof text, "%s %s %s", settings, other ? other : "", more);
    if (subject_open_on(bench->device, subject, bench->model, text, shape, like, &error) ==
        STATUS_OK)
        return true;
    snprintf(name, sizeof name, "model/%s/%s", bench->model->name, property);
    check_report(bench->options, bench->count, false, name, "%s", error.message);
    subject_close(subject);
    return false;
}

static void random_values(float *values, int64_t size, const char *stream) {
    Random random = random_open(1, random_stream(stream), 0);
    for (int64_t i = 0; i < size; i++) values[i] = (float)random_normal(&random);
}

static float *values_of(const Tensor *tensor) {
    const size_t bytes = (size_t)tensor_size(tensor) * sizeof(float);
    float *copy = memory_take(bytes);
    memcpy(copy, tensor->host, bytes);
    return copy;
}

/* Largest difference over rows [from, to) of sequence b, relative to the root mean square of both.
 */
static double difference(const float *a, int64_t length_a, const float *b, int64_t length_b,
                         int64_t batch, int64_t width, int64_t from, int64_t to) {
    double worst = 0, square = 0;
    for (int64_t s = 0; s < batch; s++)
        for (int64_t t = from; t < to; t++)
            for (int64_t d = 0; d < width; d++) {
                const double x = (double)a[(s * length_a + t) * width + d];
                const double y = (double)b[(s * length_b + t) * width + d];
                square += x * x + y * y;
                worst = worse(worst, fabs(x - y));
            }
    const double scale = sqrt(square / (double)(2 * batch * (to - from) * width));
    return worst / (scale + 1e-9);
}

static const SubjectShape whole = {BATCH, LENGTH, MAX_LENGTH, TAPE_TRAIN, true, false};
/* What positions and sequences see of each other is a property of a network that does not train:
 * batch normalisation that trains takes statistics of all of them. */
static const SubjectShape evaluated = {BATCH, LENGTH, MAX_LENGTH, TAPE_EVALUATE, true, false};

static void check_gradient(const Bench *bench, bool causal) {
    const char *property = causal ? "gradient" : "gradient-bidirectional";
    if (!wanted(bench, property, 0) || (!causal && !bench->model->bidirectional)) return;
    SubjectShape shape = whole;
    shape.causal = causal;
    Subject subject;
    if (!open_or_report(bench, &subject, &shape, NULL, property, "")) return;
    subject_disturb(&subject, 0.05);
    const int64_t size = tensor_size(subject.out);
    float *cotangent = memory_take((size_t)size * sizeof *cotangent);
    random_values(subject.x->host, tensor_size(subject.x), "check/x");
    random_values(cotangent, size, "check/cotangent");
    subject_backward(&subject, cotangent, 1);

    const Run run = {.threads = 1, .seed = 1};
    Reference *reference = reference_open(subject.tape, &run);
    reference_forward(reference);
    const double forward =
        reference_error(subject.out->host, reference_values(reference, subject.out), size);
    verdict(bench, forward <= forward_tolerance, causal ? "forward" : "forward-bidirectional",
            forward, forward_tolerance);
    const Seeds seeds = {1, {subject.out}, {cotangent}};
    double worst = reference_gradient_error(reference, subject.x, &seeds, 4);
    for (int p = 0; p < subject.parameters->count; p++) {
        const Parameter *parameter = subject.parameters->list[p];
        if (parameter->group.frozen) continue;
        if (p == 0 && bench->options->sabotage > 0)
            parameter->tensor.host_gradient[0] += (float)bench->options->sabotage;
        const double error = reference_gradient_error(reference, &parameter->tensor, &seeds, 3);
        if (!(error <= gradient_tolerance))
            fprintf(bench->options->out, "     gradient of %s is off by %.2e\n",
                    parameter->tensor.name, error);
        worst = worse(worst, error);
    }
    verdict(bench, worst <= gradient_tolerance, property, worst, gradient_tolerance);
    reference_close(reference);
    free(cotangent);
    subject_close(&subject);
}

/* Changing x at position t changes nothing before t. FFTs mix positions only by rounding. */
static void check_causality(const Bench *bench) {
    if (!wanted(bench, "causality", 0)) return;
    Subject subject;
    if (!open_or_report(bench, &subject, &evaluated, NULL, "causality", "")) return;
    subject_disturb(&subject, 0.05);
    const int64_t width = subject.backbone.width;
    random_values(subject.x->host, tensor_size(subject.x), "check/x");
    subject_forward(&subject, 1);
    float *before = values_of(subject.out);
    double worst = 0, least_effect = INFINITY;
    for (int64_t t = 1; t < LENGTH; t += 3) {
        random_values(subject.x->host, tensor_size(subject.x), "check/x");
        for (int64_t b = 0; b < BATCH; b++)
            for (int64_t d = 0; d < width; d++)
                subject.x->host[(b * LENGTH + t) * width + d] += 1.0f + 0.1f * (float)d;
        subject_forward(&subject, 1);
        const double leak =
            difference(before, LENGTH, subject.out->host, LENGTH, BATCH, width, 0, t);
        const double effect =
            difference(before, LENGTH, subject.out->host, LENGTH, BATCH, width, t, LENGTH);
        worst = worse(worst, leak);
        if (effect < least_effect) least_effect = effect;
    }
    verdict(bench, worst <= 1e-5 && least_effect > 1e-3, "causality", worst, 1e-5);
    free(before);
    subject_close(&subject);
}

/* The first outputs do not depend on how long the sequence goes on. */
static void check_prefix(const Bench *bench) {
    if (!wanted(bench, "prefix", EXEMPT_PREFIX)) return;
    SubjectShape shape = evaluated;
    Subject subject, shorter;
    if (!open_or_report(bench, &subject, &shape, NULL, "prefix", "")) return;
    subject_disturb(&subject, 0.05);
    shape.length = 7;
    if (open_or_report(bench, &shorter, &shape, &subject, "prefix", "")) {
        const int64_t width = subject.backbone.width;
        random_values(subject.x->host, tensor_size(subject.x), "check/x");
        for (int64_t b = 0; b < BATCH; b++)
            memcpy(shorter.x->host + b * 7 * width, subject.x->host + b * LENGTH * width,
                   (size_t)(7 * width) * sizeof(float));
        subject_forward(&subject, 1);
        subject_forward(&shorter, 1);
        const double error =
            difference(subject.out->host, LENGTH, shorter.out->host, 7, BATCH, width, 0, 7);
        verdict(bench, error <= same_tolerance, "prefix", error, same_tolerance);
        subject_close(&shorter);
    }
    subject_close(&subject);
}

/* Trained values, and as many rows as both have of tables that are longer in `to`. */
static void copy_rows(Subject *to, const Subject *from) {
    for (int p = 0; p < to->parameters->count; p++) {
        Tensor *own = &to->parameters->list[p]->tensor;
        const Parameter *other = parameters_find(from->parameters, own->name);
        if (!other || other->group.frozen) continue;
        const int64_t size = tensor_size(&other->tensor);
        if (size <= tensor_size(own))
            memcpy(own->host, other->tensor.host, (size_t)size * sizeof(float));
    }
}

/* The same weights compute the same where longer sequences are to be expected, so that `longhaul
 * eval` may ask for these. */
static void check_longer(const Bench *bench) {
    if (!wanted(bench, "longer", EXEMPT_LONGER)) return;
    SubjectShape shape = whole;
    Subject subject, longer;
    if (!open_or_report(bench, &subject, &whole, NULL, "longer", "")) return;
    subject_disturb(&subject, 0.05);
    shape.max_length = 5 * MAX_LENGTH; /* further than to the next power of two */
    if (open_or_report(bench, &longer, &shape, NULL, "longer", "")) {
        copy_rows(&longer, &subject);
        subject_send(&longer);
        random_values(subject.x->host, tensor_size(subject.x), "check/x");
        random_values(longer.x->host, tensor_size(longer.x), "check/x");
        subject_forward(&subject, 1);
        subject_forward(&longer, 1);
        const double error = difference(subject.out->host, LENGTH, longer.out->host, LENGTH, BATCH,
                                        subject.backbone.width, 0, LENGTH);
        verdict(bench, error <= same_tolerance, "longer", error, same_tolerance);
        subject_close(&longer);
    }
    subject_close(&subject);
}

/* A sequence does not see its neighbours in the batch: turning the batch round turns the output. */
static void check_batch(const Bench *bench) {
    if (!wanted(bench, "batch", EXEMPT_BATCH_INDEPENDENCE)) return;
    Subject subject;
    if (!open_or_report(bench, &subject, &evaluated, NULL, "batch", "")) return;
    subject_disturb(&subject, 0.05);
    const int64_t row = LENGTH * subject.backbone.width;
    const size_t bytes = (size_t)row * sizeof(float);
    random_values(subject.x->host, tensor_size(subject.x), "check/x");
    float *x = values_of(subject.x);
    subject_forward(&subject, 1);
    float *out = values_of(subject.out), *turned = values_of(subject.out);
    for (int64_t b = 0; b < BATCH; b++) {
        memcpy(subject.x->host + b * row, x + (BATCH - 1 - b) * row, bytes);
        memcpy(turned + b * row, out + (BATCH - 1 - b) * row, bytes);
    }
    subject_forward(&subject, 1);
    const double error = difference(turned, LENGTH, subject.out->host, LENGTH, BATCH,
                                    subject.backbone.width, 0, LENGTH);
    verdict(bench, error <= same_tolerance, "batch", error, same_tolerance);
    free(x);
    free(out);
    free(turned);
    subject_close(&subject);
}

/* What stands in the padding behind a sequence changes nothing in the sequence. FFTs mix positions
 * only by rounding. */
static void check_padding(const Bench *bench) {
    if (!bench->model->bidirectional || !wanted(bench, "padding", 0)) return;
    static const int32_t lengths[BATCH] = {LENGTH, 5, 1};
    SubjectShape shape = evaluated;
    shape.causal = false;
    shape.padded = true;
    Subject subject;
    if (!open_or_report(bench, &subject, &shape, NULL, "padding", "")) return;
    const int64_t width = subject.backbone.width;
    memcpy(subject.lengths->host_integers, lengths, sizeof lengths);
    subject_disturb(&subject, 0.05);
    random_values(subject.x->host, tensor_size(subject.x), "check/x");
    subject_forward(&subject, 1);
    float *before = values_of(subject.out);
    double leak = 0;
    for (int64_t b = 0; b < BATCH; b++) {
        const int64_t row = b * LENGTH * width, length = lengths[b];
        for (int64_t i = length * width; i < LENGTH * width; i++)
            subject.x->host[row + i] = 5 - 2 * subject.x->host[row + i];
    }
    subject_forward(&subject, 1);
    for (int64_t b = 0; b < BATCH; b++) {
        const int64_t row = b * LENGTH * width;
        leak = worse(leak, difference(before + row, LENGTH, subject.out->host + row, LENGTH, 1,
                                      width, 0, lengths[b]));
    }
    verdict(bench, leak <= 1e-5, "padding", leak, 1e-5);
    free(before);
    subject_close(&subject);
}

static void check_step(const Bench *bench) {
    if (!wanted(bench, "step", EXEMPT_STEP)) return;
    Subject subject, step;
    if (!open_or_report(bench, &subject, &evaluated, NULL, "step", "")) return;
    subject_disturb(&subject, 0.05);
    const SubjectShape one = {BATCH, 1, MAX_LENGTH, TAPE_STEP, true, false};
    if (open_or_report(bench, &step, &one, &subject, "step", "")) {
        const int64_t width = subject.backbone.width;
        const size_t bytes = (size_t)width * sizeof(float);
        random_values(subject.x->host, tensor_size(subject.x), "check/x");
        subject_forward(&subject, 1);
        float *steps = memory_take((size_t)tensor_size(subject.out) * sizeof *steps);
        for (int round = 0; round < 2; round++) { /* twice: the state must reset */
            tape_reset_state(step.tape);
            for (int64_t t = 0; t < LENGTH; t++) {
                for (int64_t b = 0; b < BATCH; b++)
                    memcpy(step.x->host + b * width, subject.x->host + (b * LENGTH + t) * width,
                           bytes);
                subject_forward(&step, 1);
                for (int64_t b = 0; b < BATCH; b++)
                    memcpy(steps + (b * LENGTH + t) * width, step.out->host + b * width, bytes);
            }
        }
        const double error =
            difference(subject.out->host, LENGTH, steps, LENGTH, BATCH, width, 0, LENGTH);
        verdict(bench, error <= same_tolerance, "step", error, same_tolerance);
        free(steps);
        subject_close(&step);
    }
    subject_close(&subject);
}

/* Outputs and gradients have the same bits on 1, 2 and 3 threads, and with recomputation. */
static void check_bits(const Bench *bench) {
    if (!wanted(bench, "bits", 0)) return;
    float *first = NULL;
    size_t bytes = 0;
    bool same = true;
    for (int variant = 0; variant < 4; variant++) {
        const char *more = variant == 3 ? "recompute=yes" : "";
        Subject subject;
        if (!open_or_report(bench, &subject, &whole, NULL, "bits", more)) break;
        subject_disturb(&subject, 0.05);
        float *cotangent = memory_take((size_t)tensor_size(subject.out) * sizeof *cotangent);
        random_values(subject.x->host, tensor_size(subject.x), "check/x");
        random_values(cotangent, tensor_size(subject.out), "check/cotangent");
        subject_backward(&subject, cotangent, variant == 3 ? 1 : variant + 1);
        bytes = (size_t)subject.parameters->size * sizeof(float);
        if (!first) {
            first = memory_take(bytes);
            memcpy(first, subject.parameters->host_gradients, bytes);
        }
        same = same && memcmp(first, subject.parameters->host_gradients, bytes) == 0;
        free(cotangent);
        subject_close(&subject);
    }
    verdict(bench, same && first, "bits", same ? 0 : 1, 0);
    free(first);
}

static bool open_cell(const Bench *bench, Cell *cell, const char *property) {
    static const char *const pairs[][2] = {
        {"length", "16"},       {"pairs", "3"},  {"vocabulary", "64"}, {"width", "32"},
        {"layers", "2"},        {"batch", "8"},  {"lr", "3e-3"},       {"train_samples", "8"},
        {"budget", "1000step"}, {"dropout", "0"}};
    Error error = {0};
    Status status = cell_open(cell, "mqar", bench->model->name, &error);
    for (size_t i = 0; status == STATUS_OK && i < sizeof pairs / sizeof pairs[0]; i++)
        status = cell_set(cell, pairs[i][0], pairs[i][1], &error);
    char *other = memory_copy_text(bench->options->settings ? bench->options->settings : ""),
         *rest = other;
    for (char *key; status == STATUS_OK && (key = strtok_r(rest, "= ", &rest));)
        status = cell_set(cell, key, strtok_r(rest, " ", &rest), &error);
    free(other);
    if (bench->options->device)
        snprintf(cell->device, sizeof cell->device, "%s", bench->options->device);
    if (status == STATUS_OK) return true;
    char name[128];
    snprintf(name, sizeof name, "model/%s/%s", bench->model->name, property);
    check_report(bench->options, bench->count, false, name, "%s", error.message);
    return false;
}

/* An untrained network knows nothing: its loss is near log V. Then it learns eight examples by
 * heart, which no network with a broken gradient, frozen part or wrong label path does. Emulated
 * devices, the ones with a limit, are too slow for that. */
static void check_learning(const Bench *bench) {
    if (bench->options->work_limit > 0 || !wanted(bench, "learns", 0)) return;
    Cell cell;
    Session session;
    Error error = {0};
    if (!open_cell(bench, &cell, "learns")) return;
    if (session_open(&session, &cell, 1, &error) == STATUS_OK &&
        session_allocate(&session, &error) == STATUS_OK) {
        Network *network = &session.train;
        Batch batch = batch_open(&session.problem, 8);
        batch_fill(&batch, &cell, &session.problem, NULL, SPLIT_TRAIN, 0, NULL, 8, 1);
        double first = 0, last = 0;
        int step = 0;
        for (; step < 1000 && (step == 0 || last > 0.05); step++) {
            last = 0;
            for (int64_t m = 0; m < session.replays; m++) {
                const Run run = {.threads = 1, .training = true, .seed = 1};
                network_load(network, &session.problem, &batch, m * session.micro_batch,
                             batch.labels);
                network->loss->host_gradient[0] = 1;
                tape_share(network->tape, m == 0, m + 1 == session.replays);
                tape_forward(network->tape, &run);
                tape_backward(network->tape, &run);
                tape_finish(network->tape, NULL); /* a failure leaves a loss that does not fall */
                last += (double)network->loss->host[0];
            }
            if (step == 0) first = last;
            const Optimizer optimizer = {.rate = cell.run.lr,
                                         .factor = 1,
                                         .beta1 = 0.9,
                                         .beta2 = 0.98,
                                         .epsilon = 1e-8,
                                         .clip = 1,
                                         .replays = session.replays};
            optimizer_step(&optimizer, session.parameters, step + 1, 1, NULL);
        }
        const double surplus = fabs(first / log((double)session.problem.classes) - 1);
        verdict(bench, surplus < 0.25, "loss-at-start", surplus, 0.25);
        verdict(bench, last <= 0.05, "learns", last, 0.05);
        batch_close(&batch);
    } else {
        char name[128];
        snprintf(name, sizeof name, "model/%s/learns", bench->model->name);
        check_report(bench->options, bench->count, false, name, "%s", error.message);
    }
    session_close(&session);
    cell_close(&cell);
}

void check_models(const CheckOptions *options, CheckCount *count) {
    int models;
    const Model *const *list = model_list(&models);
    Device device = {0};
    Error error = {0};
    if (options->device && device_open(&device, options->device, &error) != STATUS_OK) {
        check_report(options, count, false, "model", "%s", error.message);
        return;
    }
    for (int m = 0; m < models; m++) {
        const Bench bench = {.options = options,
                             .count = count,
                             .model = list[m],
                             .device = options->device ? &device : NULL};
        check_gradient(&bench, true);
        check_gradient(&bench, false);
        check_causality(&bench);
        check_prefix(&bench);
        check_longer(&bench);
        check_batch(&bench);
        check_padding(&bench);
        check_step(&bench);
        check_bits(&bench);
        check_learning(&bench);
    }
    if (options->device) device_close(&device);
}
