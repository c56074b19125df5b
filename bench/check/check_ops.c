/* Checks of operations: one tape with a single call per row of the op's case table. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "bench/check/check.h"
#include "bench/check/reference.h"
#include "bench/check/trial.h"
#include "engine/memory.h"

/* float32 rounds to 6e-8; a sum of n terms of mixed sign errs by about sqrt(n) of that relative to
 * its root mean square, and the longest sums in the tables have some 10^4 terms. */
static const double output_tolerance = 1e-5;
/* Backward chains two such sums and products of rounded values. */
static const double gradient_tolerance = 5e-5;

/* With rounded products, numbers that both formats hold: a product of inputs is then exact, and
 * what is left is the rounding of numbers that the operation itself has made. */
static void make_representable(const CheckOptions *options, float *values, int64_t size) {
    if (options->products == PRODUCTS_FLOAT) return;
    for (int64_t i = 0; i < size; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits &= 0xFFFF0000u;
        memcpy(&values[i], &bits, sizeof bits);
    }
}

/* Products whose inputs are rounded. bf16 keeps 8 bits of a significand, tf32 11: one rounding errs
 * by up to 2^-9 or 2^-12 of a value, 0.4 of that in the mean square, and where the hardware cuts
 * tf32 off instead by twice as much. Errors of a sum's terms are independent, so relative to its
 * root mean square the sum errs like one term, whatever its length: by 0.6 of a rounding with two
 * inputs, up to 5 times that in the worst of 10^6 elements, and an operation chains two products
 * (attention: scores, then weights by values). Sums of few terms that cancel, in a tensor whose
 * other sums are means of many and small (causal attention's first rows), take twice of that. Eight
 * roundings of 2^-9 or 2^-11 cover it. A row with a tolerance of its own multiplies rounding
 * errors, so the factor is kept. */
static double output_allowed(const CheckOptions *options, const OpCase *row) {
    static const double rounding[] = {[PRODUCTS_TF32] = 0x1p-11, [PRODUCTS_BF16] = 0x1p-9};
    const double own = row->tolerance > 0 ? row->tolerance : output_tolerance;
    if (options->products == PRODUCTS_FLOAT) return own;
    return own / output_tolerance * 8 * rounding[options->products];
}

static double gradient_allowed(const CheckOptions *options, const OpCase *row) {
    const double factor = gradient_tolerance / output_tolerance;
    return factor * output_allowed(options, row);
}

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

typedef struct Check {
    const CheckOptions *options;
    CheckCount *count;
    char name[160];
    Trial *trial;
    Seeds seeds;
    float *inputs[MAX_INPUTS]; /* as they were filled the first time */
} Check;

/* What all instruction sets are compared with, on the tape of the first that was checked. */
typedef struct Expected {
    Trial trials[ISA_COUNT]; /* of each, until all are done */
    Reference *reference;
} Expected;

/* A device that fails is reported once; what it left behind is compared all the same. */
static void finish(Check *check) {
    Error error = {0};
    if (tape_finish(check->trial->tape, &error) != STATUS_OK)
        check_report(check->options, check->count, false, check->name, "%s", error.message);
}

static float *copy_of(const float *data, int64_t size) {
    float *copy = memory_take((size_t)size * sizeof *copy + 1);
    memcpy(copy, data, (size_t)size * sizeof *copy);
    return copy;
}

/* Writes all inputs anew: operations in place change theirs. */
static void fill(Check *check) {
    const bool first = !check->inputs[0];
    if (first) trial_fill(check->trial);
    for (int i = 0; i < check->trial->inputs; i++) {
        Tensor *in = check->trial->in[i];
        if (!in) continue;
        if (first) {
            if (in->type == TENSOR_FLOAT)
                make_representable(check->options, in->host, tensor_size(in));
            check->inputs[i] = copy_of(in->host, tensor_size(in));
        } else {
            memcpy(in->host, check->inputs[i], (size_t)tensor_size(in) * sizeof(float));
        }
    }
}

/* Runs forward and backward; every gradient starts as `before`, which an overwriting kernel must
 * remove and an accumulating one must keep. */
static void replay(Check *check, int threads, bool accumulate, float before) {
    fill(check);
    const Run run = {.threads = threads,
                     .training = true,
                     .seed = 1,
                     .pass = 3,
                     .products = check->options->products};
    tape_forward(check->trial->tape, &run);
    if (check->trial->row->gradient_free) {
        finish(check);
        return;
    }
    for (int j = 0; j < check->seeds.count; j++)
        memcpy(check->seeds.tensor[j]->host_gradient, check->seeds.cotangent[j],
               (size_t)tensor_size(check->seeds.tensor[j]) * sizeof(float));
    for (int i = 0; i < check->trial->inputs; i++) {
        if (!check->trial->in[i] || !check->trial->in[i]->gradient) continue;
        check->trial->call->accumulate[i] = accumulate;
        for (int64_t k = 0; k < tensor_size(check->trial->in[i]); k++)
            check->trial->in[i]->host_gradient[k] = before;
    }
    tape_backward(check->trial->tape, &run);
    finish(check);
}

/* All float outputs and gradients of the last replay, in one array. */
static float *snapshot(Check *check, int64_t *size) {
    *size = 0;
    const Tensor *tensors[MAX_INPUTS + MAX_OUTPUTS];
    const float *sources[MAX_INPUTS + MAX_OUTPUTS];
    int n = 0;
    for (int j = 0; j < check->trial->call->outputs; j++) {
        tensors[n] = check->trial->call->out[j];
        sources[n++] = check->trial->call->out[j]->host;
    }
    for (int i = 0; i < check->trial->inputs; i++) {
        if (!check->trial->in[i] || !check->trial->in[i]->gradient) continue;
        tensors[n] = check->trial->in[i];
        sources[n++] = check->trial->in[i]->host_gradient;
    }
    for (int i = 0; i < n; i++) *size += tensor_size(tensors[i]);
    float *all = memory_take((size_t)*size * sizeof *all + 1);
    int64_t at = 0;
    for (int i = 0; i < n; i++) {
        memcpy(all + at, sources[i], (size_t)tensor_size(tensors[i]) * sizeof(float));
        at += tensor_size(tensors[i]);
    }
    return all;
}

static float *replayed(Check *check, int threads, bool accumulate, float before) {
    int64_t size;
    replay(check, threads, accumulate, before);
    return snapshot(check, &size);
}

static const int other_threads[] = {2, 3};
enum { OTHERS = sizeof other_threads / sizeof *other_threads };

/* Snapshots on one thread and on others; NULL: was not replayed. */
static void check_threads(Check *check, const float *one, int64_t size,
                          float *const again[OTHERS]) {
    for (int i = 0; i < OTHERS; i++) {
        char name[200];
        if (!again[i]) continue;
        snprintf(name, sizeof name, "%s/threads%d", check->name, other_threads[i]);
        check_report(check->options, check->count,
                     memcmp(one, again[i], (size_t)size * sizeof *one) == 0, name,
                     "same bits as one thread");
    }
}

static void check_outputs(Check *check, Reference *reference) {
    const double allowed = output_allowed(check->options, check->trial->row);
    for (int j = 0; j < check->trial->call->outputs; j++) {
        Tensor *out = check->trial->call->out[j];
        if (out->type != TENSOR_FLOAT) continue;
        const int64_t size = tensor_size(out);
        float *actual = copy_of(out->host, size);
        const double *expected = reference_values(reference, out);
        if (check->options->sabotage > 0)
            actual[size / 2] += (float)(check->options->sabotage *
                                        (fabs(expected[size / 2]) + fabs(expected[0]) + 1e-3));
        const double error = reference_error(actual, expected, size);
        char name[200];
        snprintf(name, sizeof name, "%s/out%d", check->name, j);
        check_report(check->options, check->count, error <= allowed, name,
                     "error %.2e, allowed %.0e", error, allowed);
        free(actual);
    }
}

/* Rows above the limit (7e8 FLOPs) are there to be timed: on three instruction sets and with
 * differences of a plain reference they would take minutes. */
static bool only_timed(const Trial *trial, double limit) {
    if (limit <= 0) limit = 7e8;
    Cost forward = {0}, backward = {0};
    trial->op->cost(trial->call, &forward, &backward);
    return trial->row->benchmark && forward.flops + forward.specials > limit;
}

static int probe_count(Check *check) {
    Cost forward = {0}, backward = {0};
    check->trial->op->cost(check->trial->call, &forward, &backward);
    const double work = forward.flops + forward.specials + 1e4;
    const double affordable = 4e7 / work;
    return affordable > 10 ? 10 : affordable < 1 ? 0 : (int)affordable;
}

static void check_gradients(Check *check, Reference *reference) {
    const double allowed = gradient_allowed(check->options, check->trial->row);
    const int probes = probe_count(check);
    for (int i = 0; i < check->trial->inputs; i++) {
        Tensor *in = check->trial->in[i];
        if (!in || !in->gradient) continue;
        if (check->options->sabotage > 0) {
            in->host_gradient[0] *= 1 + (float)check->options->sabotage;
            in->host_gradient[0] += (float)check->options->sabotage;
        }
        const double error = reference_gradient_error(reference, in, &check->seeds, probes);
        char name[200];
        snprintf(name, sizeof name, "%s/gradient%d", check->name, i);
        check_report(check->options, check->count, error <= allowed, name,
                     "error %.2e, allowed %.0e", error, allowed);
    }
}

/* Accumulating onto 1 must give 1 + gradient, to the rounding of that sum. Both are snapshots. */
static void check_accumulation(Check *check, const float *plain, const float *onto_one) {
    const Trial *trial = check->trial;
    int64_t at = 0;
    for (int j = 0; j < trial->call->outputs; j++) at += tensor_size(trial->call->out[j]);
    for (int i = 0; i < trial->inputs; i++) {
        if (!trial->in[i] || !trial->in[i]->gradient) continue;
        double worst = 0, scale = 0;
        for (const int64_t end = at + tensor_size(trial->in[i]); at < end; at++) {
            const double before = (double)plain[at];
            const double error = fabs((double)onto_one[at] - 1.0 - before);
            worst = worse(worst, error);
            if (fabs(before) > scale) scale = fabs(before);
        }
        char name[200];
        snprintf(name, sizeof name, "%s/accumulate%d", check->name, i);
        /* A kernel may add term by term: each of up to some thousand additions rounds at 6e-8. */
        check_report(check->options, check->count, worst <= 2e-5 * (1 + scale), name,
                     "off by %.2e at gradients up to %.2e", worst, scale);
    }
}

/* Of all outputs at which backward begins. */
static float *choose_cotangents(Check *check) {
    int64_t size = 0;
    for (int j = 0; j < check->trial->call->outputs; j++)
        if (trial_seeds(check->trial, j)) size += tensor_size(check->trial->call->out[j]);
    float *all = memory_take((size_t)size * sizeof *all + 1), *at = all;
    Random random = random_open(1, random_stream("check/cotangent"), 0);
    for (int64_t i = 0; i < size; i++) all[i] = (float)random_normal(&random);
    make_representable(check->options, all, size);
    for (int j = 0; j < check->trial->call->outputs; j++) {
        if (!trial_seeds(check->trial, j)) continue;
        const int n = check->seeds.count++;
        check->seeds.tensor[n] = check->trial->call->out[j];
        check->seeds.cotangent[n] = at;
        at += tensor_size(check->trial->call->out[j]);
    }
    return all;
}

static void check_case(const CheckOptions *options, CheckCount *count, const Op *op,
                       const OpCase *row, TrialDevice where, Expected *expected) {
    Check check = {.options = options, .count = count, .trial = &expected->trials[where.isa]};
    const bool cpu = strcmp(where.device, "cpu") == 0;
    snprintf(check.name, sizeof check.name, "op/%s/%s/%s", op->name, row->name,
             cpu ? isa_name(where.isa) : where.device);
    if (row->gpu || !check_selected(options, check.name)) return;
    /* Benchmark rows are large; the small ones reach every branch of the other instruction sets. */
    if (cpu && row->benchmark && where.isa != isa_best()) return;
    Error error = {0};
    if (trial_open(check.trial, op, row, where, 3, &error) != STATUS_OK) {
        check_report(options, count, false, check.name, "%s", error.message);
        return;
    }
    if (only_timed(check.trial, options->work_limit)) {
        return;
    }
    float *cotangents = choose_cotangents(&check);
    float *again[OTHERS] = {0}, *onto_one = NULL;
    /* An emulation is slow: its third order of blocks is the one in which gradients accumulate. */
    const bool emulated = options->work_limit > 0;
    const int others = options->one_order ? 0 : emulated ? 1 : OTHERS;
    for (int i = 0; i < others; i++) again[i] = replayed(&check, other_threads[i], false, NAN);
    if (!row->gradient_free && !options->one_order)
        onto_one = replayed(&check, emulated ? other_threads[OTHERS - 1] : 1, true, 1.0f);
    /* Races are slower still: gradients accumulate in one row and are compared in the next. */
    const bool accumulates = options->one_order && (row - op->cases) % 2 == 1;

    fill(&check); /* an operation in place has changed its inputs */
    static const Run run = {.threads = 1, .training = true, .seed = 1, .pass = 3};
    if (row->gradient_free) { /* may work in place, on the reference's numbers, too */
        reference_close(expected->reference);
        expected->reference = NULL;
    }
    if (!expected->reference) expected->reference = reference_open(check.trial->tape, &run);
    reference_again(expected->reference);
    replay(&check, 1, accumulates, accumulates ? 1 : NAN);
    int64_t size;
    float *plain = snapshot(&check, &size);
    check_threads(&check, plain, size, again);
    if (onto_one) check_accumulation(&check, plain, onto_one);
    reference_forward(expected->reference);
    check_outputs(&check, expected->reference);
    if (!row->gradient_free && !accumulates) check_gradients(&check, expected->reference);
    free(cotangents);
    free(plain);
    free(onto_one);
    for (int i = 0; i < OTHERS; i++) free(again[i]);
    for (int i = 0; i < MAX_INPUTS; i++) free(check.inputs[i]);
}

static void check_row(const CheckOptions *options, CheckCount *count, const Op *op,
                      const OpCase *row) {
    Expected expected = {0};
    if (options->device)
        check_case(options, count, op, row,
                   (TrialDevice){.device = options->device, .products = options->products},
                   &expected);
    else
        for (Isa isa = ISA_PORTABLE; isa <= isa_best(); isa++)
            check_case(options, count, op, row, (TrialDevice){"cpu", isa, options->products},
                       &expected);
    reference_close(expected.reference);
    for (int isa = 0; isa < ISA_COUNT; isa++) trial_close(&expected.trials[isa]);
}

void check_ops(const CheckOptions *options, CheckCount *count) {
    int ops;
    const Op *const *list = op_list(&ops);
    for (int o = 0; o < ops; o++)
        for (int c = 0; c < list[o]->case_count; c++)
            check_row(options, count, list[o], &list[o]->cases[c]);
}
