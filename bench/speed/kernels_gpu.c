/* The kernel benchmark on a GPU. A sample is one replay between two marks of the GPU's own clock,
 * with its caches emptied before; emptying takes longer than the host needs to enqueue the replay,
 * so that the GPU never waits for the host in between. One case is open at a time, since a case may
 * fill much of the memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/common/terminal.h"
#include "bench/speed/kernels.h"
#include "engine/clock.h"
#include "engine/gpu_clock.h"

/* Samples between two looks at the clock: enqueued together, then waited for. */
enum { GROUP = 10, LEAST_SAMPLES = 10, MOST_SAMPLES = 500, WARM_UPS = 3 };

typedef struct Bench {
    KernelReport *report;
    const KernelRequest *request;
    GpuClock *clock; /* NULL: the driver does not tell */
    void *first[GROUP], *second[GROUP];
} Bench;

static void replay(Tape *tape, Phase phase, const Run *run) {
    if (phase == PHASE_FORWARD)
        tape_forward(tape, run);
    else
        tape_backward(tape, run);
}

static bool look_at_clock(const Bench *bench) {
    KernelClocks *clocks = &bench->report->clocks;
    GpuClockReading reading;
    if (!gpu_clock_read(bench->clock, &reading)) return false;
    if (!(clocks->lowest > 0) || reading.megahertz < clocks->lowest)
        clocks->lowest = reading.megahertz;
    if (reading.megahertz > clocks->highest) clocks->highest = reading.megahertz;
    clocks->held |= reading.held;
    return reading.held != 0;
}

/* One group of samples. The clock is read while the last of them still run. */
static Status sample(Bench *bench, Trial *trial, const KernelCase *from, KernelRow *row,
                     const Run *run, Error *error) {
    Device *device = &trial->device;
    const DeviceRemote *remote = device->kind->remote;
    for (int i = 0; i < GROUP; i++) {
        if (!remote->flush(device))
            return error_set(error, STATUS_USAGE, "no memory left to empty the caches with");
        bench->first[i] = remote->mark(device, bench->first[i]);
        replay(trial->tape, from->phase, run);
        bench->second[i] = remote->mark(device, bench->second[i]);
    }
    const bool held = look_at_clock(bench);
    if (device_synchronise(device, error) != STATUS_OK) return error->status;
    for (int i = 0; i < GROUP; i++) {
        const double seconds = remote->between(device, bench->first[i], bench->second[i]);
        if (!(seconds > 0)) continue; /* below the resolution of the clock, 0.5 us */
        row->held[row->count] = held;
        row->seconds[row->count++] = seconds;
    }
    return STATUS_OK;
}

static Status sample_phase(Bench *bench, Trial *trial, const KernelCase *from, KernelRow *row,
                           const Run *run, Error *error) {
    Device *device = &trial->device;
    kernel_describe(row, from, trial, run->products);
    row->replays = 1;
    for (int i = 0; i < WARM_UPS; i++) replay(trial->tape, from->phase, run);
    Status status = device_synchronise(device, error);
    const double start = seconds_now();
    while (status == STATUS_OK && row->count + GROUP <= MOST_SAMPLES &&
           (row->count < LEAST_SAMPLES || seconds_now() - start < bench->request->seconds)) {
        const int before = row->count;
        status = sample(bench, trial, from, row, run, error);
        if (row->count == before) break;
    }
    for (int i = 0; i < GROUP; i++) {
        device->kind->remote->drop(device, bench->first[i]);
        device->kind->remote->drop(device, bench->second[i]);
        bench->first[i] = bench->second[i] = NULL;
    }
    return status;
}

/* Fills inputs and cotangent and brings them to the device, where they stay. */
static Status open_case(Trial *trial, const KernelCase *from, const char *device, const Run *run,
                        Error *error) {
    if (trial_open(trial, from->op, from->row,
                   (TrialDevice){.device = device, .products = run->products}, run->threads,
                   error) != STATUS_OK)
        return error->status;
    trial_fill(trial);
    Tensor *out = trial->call->out[0];
    for (int64_t i = 0; out->host_gradient && i < tensor_size(out); i++)
        out->host_gradient[i] = 0.01f * (float)(i % 7 - 3);
    tape_forward(trial->tape, run);
    if (!from->row->gradient_free) tape_backward(trial->tape, run);
    tape_stay(trial->tape);
    tape_record(trial->tape);
    return tape_finish(trial->tape, error);
}

/* Both phases of one case: rows i and, where it has a backward, the next. Returns how many. */
static int measure_case(Bench *bench, const KernelCase *cases, int i, const Run *run) {
    KernelReport *report = bench->report;
    int rows = 1;
    while (i + rows < report->count && cases[i + rows].row == cases[i].row) rows++;
    Trial trial = {0};
    Error error = {0};
    Status status = open_case(&trial, &cases[i], bench->request->device, run, &error);
    for (int k = i; k < i + rows; k++) {
        if (status == STATUS_OK)
            status = sample_phase(bench, &trial, &cases[k], &report->rows[k], run, &error);
        if (status != STATUS_OK) {
            report->rows[k].count = 0;
            snprintf(report->rows[k].skipped, sizeof report->rows[k].skipped, "%.250s",
                     error.message);
        }
    }
    trial_close(&trial);
    return rows;
}

static void show_progress(const KernelReport *report, int i) {
    char line[192];
    snprintf(line, sizeof line, "[%d/%d] %s", i + 1, report->count, report->rows[i].name);
    terminal_status(line);
}

Status kernels_measure_gpu(KernelReport *report, const KernelRequest *request,
                           const KernelCase *cases, Error *error) {
    Device device;
    if (device_open(&device, request->device, error) != STATUS_OK) return error->status;
    const DeviceRemote *remote = device.kind->remote;
    char address[64];
    device.kind->describe(&device, report->gpu, sizeof report->gpu);
    remote->address(&device, address, sizeof address);
    Bench bench = {.report = report, .request = request};
    bench.clock = *address ? gpu_clock_open(address) : NULL;
    report->clocks.possible = gpu_clock_highest(bench.clock);
    Status status = remote->ceiling(&device, &report->ceiling, error);
    const Run run = {.threads = 1, .training = true, .seed = 1, .products = request->products};
    for (int i = 0; status == STATUS_OK && i < report->count;) {
        if (request->progress) show_progress(report, i);
        i += measure_case(&bench, cases, i, &run);
    }
    if (request->progress) terminal_status("");
    /* The roof is what the GPU could do at its best moment of the run. */
    Ceiling after;
    if (status == STATUS_OK) status = remote->ceiling(&device, &after, error);
    if (status == STATUS_OK) ceiling_keep_best(&report->ceiling, &after);
    gpu_clock_close(bench.clock);
    device_close(&device);
    return status;
}
