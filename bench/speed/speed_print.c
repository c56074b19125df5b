/* The speed report as console table and CSV: training steps. */
#include <math.h>
#include <string.h>

#include "bench/common/csv.h"
#include "bench/speed/speed_grid.h"

enum { STEP_PHASES = SPEED_GENERATE }; /* those before it */

void speed_print_heading(const SpeedReport *report, FILE *out) {
    const bool gpu = report->gpu[0];
    fprintf(out, "task %s%s%s, ", report->task, *report->setting ? ", " : "", report->setting);
    if (gpu)
        fprintf(out, "%s", report->gpu);
    else
        fprintf(out, "%d thread%s", report->threads, report->threads == 1 ? "" : "s");
    if (report->generated) {
        fprintf(out, ", %lld tokens after each prompt\n", (long long)report->generated);
        speed_generation_heading(out);
        return;
    }
    fprintf(out, ", peak %.1f GFLOP/s\n", speed_peak(report) / 1e9);
    fprintf(out, "%-18s %5s %7s %5s %10s %9s %6s %10s %10s %8s %9s %9s %10s\n", "model", "width",
            "length", "batch", "train ms", "tokens/s", "peak", "prefill us", "decode us",
            gpu ? "idle" : "overhead", "MiB", gpu ? "driver" : "resident", "state KiB");
}

void speed_print_row(const SpeedReport *report, const SpeedRow *row, FILE *out) {
    const Speed *speed = &row->speed;
    if (report->generated) {
        speed_generation_row(report, row, out);
        return;
    }
    fprintf(out, "%-18s %5lld %7lld ", row->model, (long long)row->width, (long long)row->length);
    if (row->skipped[0]) {
        fprintf(out, "skipped: %s\n", row->skipped);
        return;
    }
    const double decode = 1e6 * speed_token_seconds(speed, SPEED_DECODE);
    fprintf(out, "%5lld %10.2f %9.0f %5.1f%% %10.3f ", (long long)speed->batch,
            1e3 * speed->phase[SPEED_TRAIN].median, 1 / speed_token_seconds(speed, SPEED_TRAIN),
            100 * speed_utilisation(report, row), 1e6 * speed_token_seconds(speed, SPEED_PREFILL));
    if (isnan(decode))
        fprintf(out, "%10s ", "-");
    else
        fprintf(out, "%10.2f ", decode);
    fprintf(out, "%7.2f%% %9.1f %9.1f %10.1f\n", 100 * speed->overhead,
            (double)speed->bytes / 0x1p20,
            (double)(report->gpu[0] ? speed->device_bytes : speed->resident_bytes) / 0x1p20,
            (double)speed->state_bytes / 1024);
}

static void print_crossover(double length, FILE *out) {
    if (isnan(length))
        fprintf(out, " %10s", "-");
    else if (isinf(length))
        fprintf(out, " %10s", "never");
    else if (length > 0)
        fprintf(out, " %10.0f",
                pow(10, floor(log10(length)) - 1) *
                    round(length / pow(10, floor(log10(length)) - 1)));
    else
        fprintf(out, " %10s", "always");
}

void speed_print_crossovers(const SpeedReport *report, FILE *out) {
    bool heading = false;
    for (int i = 0; i < report->count; i++) {
        const SpeedRow *row = &report->rows[i];
        const bool again =
            i > 0 && row->width == row[-1].width && strcmp(row->model, row[-1].model) == 0;
        if (again || strcmp(row->model, report->against) == 0) continue;
        double lengths[STEP_PHASES];
        bool known = false;
        for (int p = 0; p < STEP_PHASES; p++) {
            lengths[p] = speed_crossover(report, row->model, row->width, (SpeedPhase)p);
            known |= !isnan(lengths[p]);
        }
        if (!known) continue;
        if (!heading)
            fprintf(out,
                    "\nlength from which on a token costs less than with %s (within the lengths "
                    "that both were measured at)\n%-18s %5s %10s %10s %10s\n",
                    report->against, "model", "width", "train", "prefill", "decode");
        heading = true;
        fprintf(out, "%-18s %5lld", row->model, (long long)row->width);
        for (int p = 0; p < STEP_PHASES; p++) print_crossover(lengths[p], out);
        fputc('\n', out);
    }
}

static void csv_number(double value, FILE *out) {
    if (isfinite(value)) fprintf(out, "%.6g", value);
    fputc(',', out);
}

void speed_csv(const SpeedReport *report, FILE *out) {
    if (report->generated) {
        speed_generation_csv(report, out);
        return;
    }
    fputs("model,width,length,batch,train_seconds,train_low,train_high,train_seconds_per_token,"
          "prefill_seconds_per_token,decode_seconds_per_token,tokens_per_second,utilisation,"
          "overhead,bytes,resident_bytes,device_bytes,state_bytes,parameters,flops,train_crossover,"
          "prefill_crossover,decode_crossover,skipped\n",
          out);
    for (int i = 0; i < report->count; i++) {
        const SpeedRow *row = &report->rows[i];
        const Speed *speed = &row->speed;
        const Timing *train = &speed->phase[SPEED_TRAIN];
        const double none = row->skipped[0] ? NAN : 1;
        fprintf(out, "%s,%lld,%lld,%lld,", row->model, (long long)row->width,
                (long long)row->length, (long long)speed->batch);
        const double values[] = {train->median * none,
                                 train->interval.low * none,
                                 train->interval.high * none,
                                 speed_token_seconds(speed, SPEED_TRAIN),
                                 speed_token_seconds(speed, SPEED_PREFILL),
                                 speed_token_seconds(speed, SPEED_DECODE),
                                 1 / speed_token_seconds(speed, SPEED_TRAIN),
                                 speed_utilisation(report, row) * none,
                                 speed->overhead * none,
                                 (double)speed->bytes * none,
                                 (double)speed->resident_bytes * none,
                                 (double)speed->device_bytes * none,
                                 (double)speed->state_bytes * none,
                                 (double)speed->parameters * none,
                                 speed->flops * none};
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) csv_number(values[v], out);
        for (int p = 0; p < STEP_PHASES; p++)
            csv_number(speed_crossover(report, row->model, row->width, (SpeedPhase)p), out);
        csv_write_field(out, row->skipped);
        fputc('\n', out);
    }
}
