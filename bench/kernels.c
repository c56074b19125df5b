#include "bench/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/session.h"
#include "bench/trial.h"
#include "engine/word.h"

/* Long enough that the clock (about 50 ns a reading) and one interrupt do not matter, shorter than
 * the gaps in which a shared machine takes a processor away, so that a disturbed sample stands out.
 */
static const double sample_seconds = 3e-3;
enum { LEAST_SAMPLES = 5, MOST_SAMPLES = 2000, MOST_REPLAYS = 1 << 20, RESAMPLES = 1000 };

typedef struct Runner {
    Trial trial;
    Phase phase;
    int64_t replays; /* in one sample */
    bool open;
} Runner;

static void replay(Runner *runner, const Run *run, int64_t times) {
    for (int64_t i = 0; i < times; i++) {
        if (runner->phase == PHASE_FORWARD)
            tape_forward(runner->trial.tape, run);
        else
            tape_backward(runner->trial.tape, run);
    }
}

static double timed(Runner *runner, const Run *run) {
    const double start = seconds_now();
    replay(runner, run, runner->replays);
    return (seconds_now() - start) / (double)runner->replays;
}

/* Opens the case, warms it up and finds how many replays make a sample. */
static Status prepare(Runner *runner, KernelRow *row, const KernelReport *report, const Op *op,
                      const OpCase *table_row, const Run *run) {
    Error error = {0};
    if (trial_open(&runner->trial, op, table_row, (TrialDevice){"cpu", report->isa},
                   report->threads, &error) != STATUS_OK) {
        snprintf(row->skipped, sizeof row->skipped, "%.250s", error.message);
        trial_close(&runner->trial);
        return error.status;
    }
    runner->open = true;
    trial_fill(&runner->trial);
    tape_forward(runner->trial.tape, run);
    Tensor *out = runner->trial.call->out[0];
    for (int64_t i = 0; out->gradient && i < tensor_size(out); i++)
        out->gradient[i] = 0.01f * (float)(i % 7 - 3);
    Cost forward = {0}, backward = {0};
    op->cost(runner->trial.call, &forward, &backward);
    row->cost = runner->phase == PHASE_FORWARD ? forward : backward;
    row->bytes = (size_t)(row->cost.bytes_read + row->cost.bytes_written);
    trial_inputs(op, table_row, row->work, sizeof row->work / 2);
    const size_t used = strlen(row->work);
    snprintf(row->work + used, sizeof row->work - used, "; %.6g flops, %.6g specials",
             row->cost.flops, row->cost.specials);
    for (runner->replays = 1; runner->replays < MOST_REPLAYS; runner->replays *= 2)
        if (timed(runner, run) * (double)runner->replays >= sample_seconds) break;
    row->replays = runner->replays;
    return STATUS_OK;
}

static void add_sample(KernelRow *row, double seconds) {
    if (row->count == MOST_SAMPLES) return;
    row->seconds[row->count++] = seconds;
}

/* One sample of every row in each round, in an order that changes from round to round, so that a
 * slow minute of the machine falls on all rows alike. */
static void sample_rounds(KernelReport *report, Runner *runners, const Run *run, double seconds,
                          bool progress) {
    int *order = malloc((size_t)report->count * sizeof *order);
    report->probes = malloc(MOST_SAMPLES * sizeof *report->probes);
    const double start = seconds_now();
    for (uint64_t round = 0; round < MOST_SAMPLES; round++) {
        const double spent = seconds_now() - start, whole = seconds * report->count;
        if (progress)
            fprintf(stderr, "\r%d cases, round %d, %.0f of %.0f s ", report->count, (int)round + 1,
                    spent, whole);
        if (round >= LEAST_SAMPLES && spent > whole) break;
        Random random = random_open(1, random_stream("kernels/order"), round);
        for (int i = 0; i < report->count; i++) {
            const int j = (int)random_below(&random, (uint64_t)i + 1);
            order[i] = order[j];
            order[j] = i;
        }
        report->probes[report->probe_count++] = ceiling_probe(report->isa);
        for (int i = 0; i < report->count; i++)
            if (runners[order[i]].open)
                add_sample(&report->rows[order[i]], timed(&runners[order[i]], run));
    }
    if (progress) fputs("\r\033[K", stderr);
    free(order);
}

/* The roof is what the machine could do at its best moment of the run: measured before and after
 * the samples and, for arithmetic, beside each round of them. */
static void raise_roof(KernelReport *report) {
    Ceiling after;
    ceiling_measure(&after, report->isa, report->threads);
    for (int i = 0; i < report->probe_count; i++) {
        const double all = report->probes[i] * report->threads;
        if (all > after.flops) after.flops = all;
    }
    ceiling_keep_best(&report->ceiling, &after);
    for (int i = 0; i < report->count; i++) {
        KernelRow *row = &report->rows[i];
        if (row->count)
            row->floor = ceiling_seconds(&report->ceiling, &row->cost, row->bytes, &row->bound);
    }
}

/* Rows of the report for all selected cases; runners in step with them. */
static int select_rows(KernelReport *report, const char *filter, const Op **ops,
                       const OpCase **cases, Runner *runners) {
    int n = 0, count;
    const Op *const *list = op_list(&count);
    for (int o = 0; o < count; o++)
        for (int c = 0; c < list[o]->case_count; c++)
            for (int phase = 0; phase < 2; phase++) {
                const OpCase *row = &list[o]->cases[c];
                char name[128];
                snprintf(name, sizeof name, "%s/%s/%s", list[o]->name, row->name,
                         phase == PHASE_FORWARD ? "forward" : "backward");
                if (!row->benchmark || (filter && !strstr(name, filter))) continue;
                if (row->gradient_free && phase == PHASE_BACKWARD) continue;
                if (report->rows) {
                    KernelRow *entry = &report->rows[n];
                    memcpy(entry->name, name, sizeof name);
                    entry->seconds = malloc(MOST_SAMPLES * sizeof(double));
                    ops[n] = list[o];
                    cases[n] = row;
                    runners[n] = (Runner){.phase = (Phase)phase};
                }
                n++;
            }
    return n;
}

static Status nothing_selected(const char *filter, Error *error) {
    Nearest nearest = {.wanted = filter};
    char advice[256];
    int count;
    const Op *const *list = op_list(&count);
    for (int i = 0; i < count; i++) nearest_offer(&nearest, list[i]->name);
    nearest_advice(&nearest, advice, sizeof advice);
    return error_set(error, STATUS_USAGE, "no benchmark case contains '%s'%s", filter, advice);
}

Status kernels_measure(KernelReport *report, const char *filter, Isa isa, int threads,
                       double seconds, bool progress, Error *error) {
    *report = (KernelReport){.isa = isa, .threads = threads};
    if (isa > isa_best())
        return error_set(error, STATUS_USAGE, "this processor runs %s kernels at most, not %s",
                         isa_name(isa_best()), isa_name(isa));
    const int n = select_rows(report, filter, NULL, NULL, NULL);
    if (n == 0) return nothing_selected(filter ? filter : "", error);
    report->rows = calloc((size_t)n, sizeof *report->rows);
    report->count = n;
    Runner *runners = calloc((size_t)n, sizeof *runners);
    const Op **ops = calloc((size_t)n, sizeof *ops);
    const OpCase **cases = calloc((size_t)n, sizeof *cases);
    select_rows(report, filter, ops, cases, runners);
    ceiling_measure(&report->ceiling, isa, threads);
    const Run run = {.threads = threads, .training = true, .seed = 1};
    for (int i = 0; i < n; i++)
        prepare(&runners[i], &report->rows[i], report, ops[i], cases[i], &run);
    sample_rounds(report, runners, &run, seconds, progress);
    raise_roof(report);
    for (int i = 0; i < n; i++) {
        KernelRow *row = &report->rows[i];
        if (row->count) {
            row->median = median(row->seconds, row->count);
            row->interval = median_interval(row->seconds, row->count, 0.95, RESAMPLES);
        }
        if (runners[i].open) trial_close(&runners[i].trial);
    }
    kernels_warn(report);
    free(runners);
    free(ops);
    free(cases);
    return STATUS_OK;
}

void kernels_free(KernelReport *report) {
    for (int i = 0; i < report->count; i++) free(report->rows[i].seconds);
    free(report->rows);
    free(report->probes);
    *report = (KernelReport){0};
}

double kernel_fraction(const KernelRow *row) {
    return row->count ? row->floor / row->median : NAN;
}

double kernel_flops(const KernelRow *row) {
    return (row->cost.flops + row->cost.specials) / row->median;
}

double kernel_bandwidth(const KernelRow *row) {
    return (row->cost.bytes_read + row->cost.bytes_written) / row->median;
}
