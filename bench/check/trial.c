#include "bench/check/trial.h"

#include <stdio.h>
#include <string.h>

static bool is_integer(const CaseInput *input) {
    return input->fill == FILL_INTEGER || input->fill == FILL_COUNT;
}

/* Rows for GPUs are large and only timed: their numbers come again and again. A prime, so that
 * rows of a matrix differ. */
enum { PERIOD = 65521 };

static void fill_range(const CaseInput *input, Tensor *tensor, Random *random, int64_t size) {
    for (int64_t k = 0; k < size; k++) {
        switch (input->fill) {
        case FILL_NORMAL:
            tensor->host[k] = (float)(input->a * random_normal(random) + input->b);
            break;
        case FILL_UNIFORM:
            tensor->host[k] = (float)(input->a + (input->b - input->a) * random_real(random));
            break;
        case FILL_INTEGER:
            tensor->host_integers[k] =
                (int32_t)(input->a + (double)random_below(random, (uint64_t)(input->b - input->a)));
            break;
        case FILL_COUNT:
            tensor->host_integers[k] = (int32_t)((int64_t)input->a + k);
            break;
        case FILL_NONE:
            break;
        }
    }
}

static void fill_input(const Trial *trial, int i) {
    const CaseInput *input = &trial->row->in[i];
    Tensor *tensor = trial->in[i];
    char stream[200];
    snprintf(stream, sizeof stream, "check/%s/%s", trial->op->name, trial->row->name);
    Random random = random_open(1, random_stream(stream), (uint64_t)i);
    const int64_t size = tensor_size(tensor);
    const bool repeats = trial->row->gpu && size > PERIOD && input->fill != FILL_COUNT;
    fill_range(input, tensor, &random, repeats ? PERIOD : size);
    for (int64_t k = PERIOD; repeats && k < size; k += PERIOD)
        memcpy(tensor->host + k, tensor->host,
               (size_t)(size - k < PERIOD ? size - k : PERIOD) * sizeof(float));
}

void trial_fill(Trial *trial) {
    for (int i = 0; i < trial->inputs; i++)
        if (trial->in[i]) fill_input(trial, i);
}

bool trial_seeds(const Trial *trial, int j) {
    const uint32_t seeds = trial->row->seeds ? trial->row->seeds : 1u;
    return !trial->row->gradient_free && (seeds >> j & 1u);
}

Status trial_open(Trial *trial, const Op *op, const OpCase *row, TrialDevice where, int threads,
                  Error *error) {
    *trial = (Trial){.op = op, .row = row};
    if (device_open(&trial->device, where.device, error) != STATUS_OK) return error->status;
    if (!trial->device.kind->remote) trial->device.isa = where.isa;
    trial->parameters = parameters_open();
    trial->tape = tape_open(trial->parameters, row->gradient_free ? TAPE_EVALUATE : TAPE_TRAIN);
    for (int i = 0; i < op->inputs; i++) {
        const CaseInput *input = &row->in[i];
        if (input->fill == FILL_NONE) continue;
        const bool integer = is_integer(input);
        trial->in[i] = tape_input(trial->tape, "in", integer ? TENSOR_INTEGER : TENSOR_FLOAT,
                                  input->shape, !integer && (op->gradients >> i & 1u));
        trial->inputs = i + 1;
    }
    trial->call = tape_apply(trial->tape, op, trial->in, trial->inputs, row->attributes);
    for (int j = 0; j < trial->call->outputs; j++) tape_keep(trial->tape, trial->call->out[j]);
    for (int j = 0; j < trial->call->outputs; j++)
        if (trial_seeds(trial, j)) tape_seed(trial->tape, trial->call->out[j]);
    tape_set_device(trial->tape, &trial->device, where.products);
    if (tape_plan(trial->tape, threads, error) != STATUS_OK) return error->status;
    return tape_allocate(trial->tape, &trial->device, error);
}

void trial_close(Trial *trial) {
    tape_close(trial->tape);
    parameters_close(trial->parameters);
    device_close(&trial->device);
    *trial = (Trial){0};
}

void trial_inputs(const Op *op, const OpCase *row, char *text, size_t bytes) {
    static const char *const fills[] = {[FILL_NONE] = "none",
                                        [FILL_NORMAL] = "normal",
                                        [FILL_UNIFORM] = "uniform",
                                        [FILL_INTEGER] = "integer",
                                        [FILL_COUNT] = "count"};
    FILE *out = fmemopen(text, bytes, "w"); /* cut off where the text ends */
    if (!out) return;
    for (int i = 0; i < op->inputs; i++) {
        const CaseInput *input = &row->in[i];
        if (i) fputs(", ", out);
        for (int k = 0; k < input->shape.rank; k++)
            fprintf(out, "%s%lld", k ? "x" : "", (long long)input->shape.extent[k]);
        if (input->shape.rank) fputc(' ', out);
        fputs(fills[input->fill], out);
        if (input->fill != FILL_NONE) fprintf(out, " %g %g", input->a, input->b);
    }
    fclose(out);
    text[bytes - 1] = '\0';
}
