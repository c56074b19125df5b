/* Checks of operations: one tape with a single call per row of the op's case table. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "bench/check.h"
#include "bench/reference.h"
#include "engine/tape_internal.h"

/* float32 rounds to 6e-8; a sum of n terms of mixed sign errs by about sqrt(n) of that relative to
 * its root mean square, and the longest sums in the tables have some 10^4 terms. */
static const double output_tolerance = 1e-5;
/* Backward chains two such sums and products of rounded values. */
static const double gradient_tolerance = 5e-5;

bool check_selected(const CheckOptions *options, const char *name) {
    return !options->filter || strstr(name, options->filter);
}

void check_report(const CheckOptions *options, CheckCount *count, bool good, const char *name,
                  const char *format, ...) {
    *(good ? &count->passed : &count->failed) += 1;
    if (good && !options->verbose) return;
    char detail[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    fprintf(options->out, "%s %s: %s\n", good ? "pass" : "FAIL", name, detail);
}

/* One case on one instruction set. */
typedef struct Trial {
    const CheckOptions *options;
    CheckCount *count;
    const Op *op;
    const OpCase *row;
    char name[160];
    Device device;
    Parameters *parameters;
    Tape *tape;
    Tensor *in[MAX_INPUTS];
    int inputs;
    OpCall *call;
    float *cotangent;
} Trial;

static void fill_input(const Trial *trial, int i) {
    const CaseInput *input = &trial->row->in[i];
    Tensor *tensor = trial->in[i];
    char stream[200];
    snprintf(stream, sizeof stream, "check/%s/%s", trial->op->name, trial->row->name);
    Random random = random_open(1, random_stream(stream), (uint64_t)i);
    for (int64_t k = 0; k < tensor_size(tensor); k++) {
        const int64_t range = (int64_t)(input->b - input->a);
        switch (input->fill) {
        case FILL_NORMAL:
            tensor->data[k] = (float)(input->a * random_normal(&random) + input->b);
            break;
        case FILL_UNIFORM:
            tensor->data[k] = (float)(input->a + (input->b - input->a) * random_real(&random));
            break;
        case FILL_INTEGER:
            tensor->integers[k] =
                (int32_t)((int64_t)input->a + (int64_t)random_below(&random, (uint64_t)range));
            break;
        case FILL_COUNT:
            tensor->integers[k] = (int32_t)((int64_t)input->a + k);
            break;
        case FILL_NONE:
            break;
        }
    }
}

static bool open_trial(Trial *trial) {
    Error error = {0};
    const OpCase *row = trial->row;
    trial->parameters = parameters_open();
    trial->tape = tape_open(trial->parameters, row->gradient_free ? TAPE_EVALUATE : TAPE_TRAIN);
    for (int i = 0; i < trial->op->inputs; i++) {
        const CaseInput *input = &row->in[i];
        if (input->fill == FILL_NONE) continue;
        const bool integer = input->fill == FILL_INTEGER || input->fill == FILL_COUNT;
        trial->in[i] = tape_input(trial->tape, "in", integer ? TENSOR_INTEGER : TENSOR_FLOAT,
                                  input->shape, !integer && (trial->op->gradients >> i & 1u));
        trial->inputs = i + 1;
    }
    trial->call = tape_apply(trial->tape, trial->op, trial->in, trial->inputs, row->attributes);
    for (int j = 0; j < trial->call->outputs; j++) tape_keep(trial->tape, trial->call->out[j]);
    if (!row->gradient_free) tape_seed(trial->tape, trial->call->out[0]);
    if (tape_plan(trial->tape, 3, &error) != STATUS_OK ||
        tape_allocate(trial->tape, &trial->device, &error) != STATUS_OK) {
        check_report(trial->options, trial->count, false, trial->name, "%s", error.message);
        return false;
    }
    return true;
}

static void close_trial(Trial *trial) {
    tape_close(trial->tape);
    parameters_close(trial->parameters);
    free(trial->cotangent);
}

/* Runs forward and backward; every gradient starts as `before`, which an overwriting kernel must
 * remove and an accumulating one must keep. */
static void replay(Trial *trial, int threads, bool accumulate, float before) {
    for (int i = 0; i < trial->inputs; i++)
        if (trial->in[i]) fill_input(trial, i);
    const Run run = {.threads = threads, .training = true, .seed = 1, .pass = 3};
    tape_forward(trial->tape, &run);
    if (trial->row->gradient_free) return;
    Tensor *out = trial->call->out[0];
    memcpy(out->gradient, trial->cotangent, (size_t)tensor_size(out) * sizeof(float));
    for (int i = 0; i < trial->inputs; i++) {
        if (!trial->in[i] || !trial->in[i]->gradient) continue;
        trial->call->accumulate[i] = accumulate;
        for (int64_t k = 0; k < tensor_size(trial->in[i]); k++) trial->in[i]->gradient[k] = before;
    }
    tape_backward(trial->tape, &run);
}

static float *copy_of(const float *data, int64_t size) {
    float *copy = malloc((size_t)size * sizeof *copy + 1);
    memcpy(copy, data, (size_t)size * sizeof *copy);
    return copy;
}

/* All float outputs and gradients of the last replay, in one array. */
static float *snapshot(const Trial *trial, int64_t *size) {
    *size = 0;
    const Tensor *tensors[MAX_INPUTS + MAX_OUTPUTS];
    const float *sources[MAX_INPUTS + MAX_OUTPUTS];
    int n = 0;
    for (int j = 0; j < trial->call->outputs; j++) {
        tensors[n] = trial->call->out[j];
        sources[n++] = trial->call->out[j]->data;
    }
    for (int i = 0; i < trial->inputs; i++) {
        if (!trial->in[i] || !trial->in[i]->gradient) continue;
        tensors[n] = trial->in[i];
        sources[n++] = trial->in[i]->gradient;
    }
    for (int i = 0; i < n; i++) *size += tensor_size(tensors[i]);
    float *all = malloc((size_t)*size * sizeof *all + 1);
    int64_t at = 0;
    for (int i = 0; i < n; i++) {
        memcpy(all + at, sources[i], (size_t)tensor_size(tensors[i]) * sizeof(float));
        at += tensor_size(tensors[i]);
    }
    return all;
}

static void check_threads(Trial *trial) {
    int64_t size, again_size;
    replay(trial, 1, false, NAN);
    float *one = snapshot(trial, &size);
    for (int threads = 2; threads <= 3; threads++) {
        replay(trial, threads, false, NAN);
        float *again = snapshot(trial, &again_size);
        char name[200];
        snprintf(name, sizeof name, "%s/threads%d", trial->name, threads);
        check_report(trial->options, trial->count,
                     memcmp(one, again, (size_t)size * sizeof *one) == 0, name,
                     "same bits as one thread");
        free(again);
    }
    free(one);
}

static void check_outputs(Trial *trial, Reference *reference) {
    const double allowed = trial->row->tolerance > 0 ? trial->row->tolerance : output_tolerance;
    for (int j = 0; j < trial->call->outputs; j++) {
        Tensor *out = trial->call->out[j];
        if (out->type != TENSOR_FLOAT) continue;
        const int64_t size = tensor_size(out);
        float *actual = copy_of(out->data, size);
        const double *expected = reference_values(reference, out);
        if (trial->options->sabotage > 0)
            actual[size / 2] += (float)(trial->options->sabotage *
                                        (fabs(expected[size / 2]) + fabs(expected[0]) + 1e-3));
        const double error = reference_error(actual, expected, size);
        char name[200];
        snprintf(name, sizeof name, "%s/out%d", trial->name, j);
        check_report(trial->options, trial->count, error <= allowed, name,
                     "error %.2e, allowed %.0e", error, allowed);
        free(actual);
    }
}

static int probe_count(const Trial *trial) {
    Cost forward = {0}, backward = {0};
    trial->op->cost(trial->call, &forward, &backward);
    const double work = forward.flops + forward.specials + 1e4;
    const double affordable = 4e7 / work;
    return affordable > 10 ? 10 : affordable < 1 ? 0 : (int)affordable;
}

static void check_gradients(Trial *trial, Reference *reference) {
    const double allowed =
        trial->row->tolerance > 0 ? 5 * trial->row->tolerance : gradient_tolerance;
    const int probes = probe_count(trial);
    for (int i = 0; i < trial->inputs; i++) {
        Tensor *in = trial->in[i];
        if (!in || !in->gradient) continue;
        if (trial->options->sabotage > 0) {
            in->gradient[0] *= 1 + (float)trial->options->sabotage;
            in->gradient[0] += (float)trial->options->sabotage;
        }
        const double error =
            reference_gradient_error(reference, in, trial->call->out[0], trial->cotangent, probes);
        char name[200];
        snprintf(name, sizeof name, "%s/gradient%d", trial->name, i);
        check_report(trial->options, trial->count, error <= allowed, name,
                     "error %.2e, allowed %.0e", error, allowed);
    }
}

/* Accumulating onto 1 must give 1 + gradient, to the rounding of that sum. */
static void check_accumulation(Trial *trial) {
    for (int i = 0; i < trial->inputs; i++) {
        if (!trial->in[i] || !trial->in[i]->gradient) continue;
        const int64_t size = tensor_size(trial->in[i]);
        replay(trial, 1, false, NAN);
        float *plain = copy_of(trial->in[i]->gradient, size);
        replay(trial, 1, true, 1.0f);
        double worst = 0, scale = 0;
        for (int64_t k = 0; k < size; k++) {
            const double error = fabs((double)trial->in[i]->gradient[k] - 1.0 - (double)plain[k]);
            if (!(error <= worst)) worst = error;
            if (fabs((double)plain[k]) > scale) scale = fabs((double)plain[k]);
        }
        char name[200];
        snprintf(name, sizeof name, "%s/accumulate%d", trial->name, i);
        /* A kernel may add term by term: each of up to some thousand additions rounds at 6e-8. */
        check_report(trial->options, trial->count, worst <= 2e-5 * (1 + scale), name,
                     "off by %.2e at gradients up to %.2e", worst, scale);
        free(plain);
    }
}

static void check_case(const CheckOptions *options, CheckCount *count, const Op *op,
                       const OpCase *row, Isa isa) {
    Trial trial = {.options = options, .count = count, .op = op, .row = row};
    snprintf(trial.name, sizeof trial.name, "op/%s/%s/%s", op->name, row->name, isa_name(isa));
    if (!check_selected(options, trial.name)) return;
    Error error = {0};
    if (device_open(&trial.device, "cpu", &error) != STATUS_OK) {
        check_report(options, count, false, trial.name, "%s", error.message);
        return;
    }
    trial.device.isa = isa;
    if (open_trial(&trial)) {
        Tensor *out = trial.call->out[0];
        trial.cotangent = malloc((size_t)tensor_size(out) * sizeof(float));
        Random random = random_open(1, random_stream("check/cotangent"), 0);
        for (int64_t i = 0; i < tensor_size(out); i++)
            trial.cotangent[i] = (float)random_normal(&random);
        check_threads(&trial);
        if (!row->gradient_free) check_accumulation(&trial);
        for (int i = 0; i < trial.inputs; i++) /* an op in place has changed its inputs */
            if (trial.in[i]) fill_input(&trial, i);
        const Run run = {.threads = 1, .training = true, .seed = 1, .pass = 3};
        Reference *reference = reference_open(trial.tape, &run);
        replay(&trial, 1, false, NAN);
        reference_forward(reference);
        check_outputs(&trial, reference);
        if (!row->gradient_free) check_gradients(&trial, reference);
        reference_close(reference);
    }
    close_trial(&trial);
    device_close(&trial.device);
}

void check_ops(const CheckOptions *options, CheckCount *count) {
    int ops;
    const Op *const *list = op_list(&ops);
    for (int o = 0; o < ops; o++)
        for (int c = 0; c < list[o]->case_count; c++)
            for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++)
                check_case(options, count, list[o], &list[o]->cases[c], isa);
}
