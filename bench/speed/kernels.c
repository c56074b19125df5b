#include "bench/speed/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/check/trial.h"
#include "bench/common/terminal.h"
#include "engine/clock.h"
#include "engine/memory.h"
#include "engine/word.h"

/* Long enough that the clock (about 50 ns a reading) and one interrupt do not matter, shorter than
 * the gaps in which a shared machine takes a processor away, so that a disturbed sample stands out.
 */
static const double sample_seconds = 3e-3;
enum { LEAST_SAMPLES = 5, MOST_REPLAYS = 1 << 20, RESAMPLES = 1000 };

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

void kernel_describe(KernelRow *row, const KernelCase *from, const Trial *trial,
                     Products products) {
    Cost forward = {0}, backward = {0};
    from->op->cost(trial->call, &forward, &backward);
    row->cost = from->phase == PHASE_FORWARD ? forward : backward;
    row->bytes = (size_t)(row->cost.bytes_read + row->cost.bytes_written);
    trial_inputs(from->op, from->row, row->work, sizeof row->work / 2);
    size_t used = strlen(row->work);
    used += (size_t)snprintf(row->work + used, sizeof row->work - used,
                             "; %.6g flops, %.6g specials", row->cost.flops, row->cost.specials);
    if (products != PRODUCTS_FLOAT) /* other work: `longhaul compare` must not mix them */
        snprintf(row->work + used, sizeof row->work - used, "; %s products",
                 products_name(products));
}

/* Opens the case, warms it up and finds how many replays make a sample. */
static Status prepare(Runner *runner, KernelRow *row, const KernelReport *report,
                      const KernelCase *from, const Run *run) {
    Error error = {0};
    if (trial_open(&runner->trial, from->op, from->row,
                   (TrialDevice){"cpu", report->isa, run->products}, report->threads,
                   &error) != STATUS_OK) {
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
    kernel_describe(row, from, &runner->trial, run->products);
    for (runner->replays = 1; runner->replays < MOST_REPLAYS; runner->replays *= 2)
        if (timed(runner, run) * (double)runner->replays >= sample_seconds) break;
    row->replays = runner->replays;
    return STATUS_OK;
}

static void add_sample(KernelRow *row, double seconds) {
    if (row->count == MOST_KERNEL_SAMPLES) return;
    row->seconds[row->count++] = seconds;
}

/* One sample of every row in each round, in an order that changes from round to round, so that a
 * slow minute of the machine falls on all rows alike. */
static void sample_rounds(KernelReport *report, Runner *runners, const Run *run, double seconds,
                          bool progress) {
    int *order = memory_take((size_t)report->count * sizeof *order);
    report->probes = memory_take(MOST_KERNEL_SAMPLES * sizeof *report->probes);
    const double start = seconds_now();
    for (uint64_t round = 0; round < MOST_KERNEL_SAMPLES; round++) {
        const double spent = seconds_now() - start, whole = seconds * report->count;
        if (progress) {
            char line[96];
            snprintf(line, sizeof line, "%d cases, round %d, %.0f of %.0f s", report->count,
                     (int)round + 1, spent, whole);
            terminal_status(line);
        }
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
    if (progress) terminal_status("");
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
}

/* The arithmetic roof of an operation, FLOP/s. */
static double roof_flops(const KernelReport *report, const Op *op) {
    const double matrix = report->ceiling.matrix[report->products];
    return op->multiplies && matrix > 0 ? matrix : report->ceiling.flops;
}

/* floor and bound of every measured row. */
static void find_floors(KernelReport *report, const KernelCase *cases) {
    for (int i = 0; i < report->count; i++) {
        KernelRow *row = &report->rows[i];
        if (row->count)
            row->floor = ceiling_seconds(&report->ceiling, &row->cost,
                                         roof_flops(report, cases[i].op), row->bytes, &row->bound);
    }
}

/* Rows of the report for all selected cases, and where they come from; NULL: only counts. The
 * emulation, which is for tests, takes the processor's rows. */
static int select_rows(KernelReport *report, const KernelRequest *request, KernelCase *cases) {
    int n = 0, count;
    const Op *const *list = op_list(&count);
    const bool gpu = strcmp(request->device, "cuda") == 0;
    for (int o = 0; o < count; o++)
        for (int c = 0; c < list[o]->case_count; c++)
            for (int phase = 0; phase < 2; phase++) {
                const OpCase *row = &list[o]->cases[c];
                char name[128];
                snprintf(name, sizeof name, "%s/%s/%s", list[o]->name, row->name,
                         phase == PHASE_FORWARD ? "forward" : "backward");
                if (!(gpu ? row->gpu : row->benchmark)) continue;
                if (request->filter && !strstr(name, request->filter)) continue;
                if (row->gradient_free && phase == PHASE_BACKWARD) continue;
                if (cases) {
                    KernelRow *entry = &report->rows[n];
                    memcpy(entry->name, name, sizeof name);
                    entry->seconds = memory_take(MOST_KERNEL_SAMPLES * sizeof *entry->seconds);
                    entry->held = memory_take_zeroed(MOST_KERNEL_SAMPLES, sizeof *entry->held);
                    cases[n] = (KernelCase){list[o], row, (Phase)phase};
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

/* All cases stay open, and one sample of each is taken in every round. */
static Status measure_cpu(KernelReport *report, const KernelRequest *request,
                          const KernelCase *cases, Error *error) {
    if (request->isa > isa_best())
        return error_set(error, STATUS_USAGE, "this processor runs %s kernels at most, not %s",
                         isa_name(isa_best()), isa_name(request->isa));
    Runner *runners = memory_take_zeroed((size_t)report->count, sizeof *runners);
    ceiling_measure(&report->ceiling, request->isa, request->threads);
    const Run run = {
        .threads = request->threads, .training = true, .seed = 1, .products = request->products};
    for (int i = 0; i < report->count; i++) {
        runners[i].phase = cases[i].phase;
        prepare(&runners[i], &report->rows[i], report, &cases[i], &run);
    }
    sample_rounds(report, runners, &run, request->seconds, request->progress);
    raise_roof(report);
    for (int i = 0; i < report->count; i++)
        if (runners[i].open) trial_close(&runners[i].trial);
    free(runners);
    return STATUS_OK;
}

Status kernels_measure(KernelReport *report, const KernelRequest *request, Error *error) {
    *report = (KernelReport){
        .isa = request->isa, .threads = request->threads, .products = request->products};
    const int n = select_rows(report, request, NULL);
    if (n == 0) return nothing_selected(request->filter ? request->filter : "", error);
    report->rows = memory_take_zeroed((size_t)n, sizeof *report->rows);
    report->count = n;
    KernelCase *cases = memory_take_zeroed((size_t)n, sizeof *cases);
    select_rows(report, request, cases);
    const bool cpu = strcmp(request->device, "cpu") == 0;
    const Status status = cpu ? measure_cpu(report, request, cases, error)
                              : kernels_measure_gpu(report, request, cases, error);
    if (status == STATUS_OK) {
        for (int i = 0; i < n; i++) {
            KernelRow *row = &report->rows[i];
            if (!row->count) continue;
            row->median = median(row->seconds, row->count);
            row->interval = median_interval(row->seconds, row->count, 0.95, RESAMPLES);
        }
        find_floors(report, cases);
        kernels_warn(report);
    }
    free(cases);
    return status;
}

void kernels_free(KernelReport *report) {
    for (int i = 0; i < report->count; i++) {
        free(report->rows[i].seconds);
        free(report->rows[i].held);
    }
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
