/* The speed report as console table and CSV: generation. */
#include <math.h>

#include "bench/common/csv.h"
#include "bench/speed/speed_grid.h"

static double rate(const Speed *speed, SpeedPhase phase) {
    return 1 / speed_token_seconds(speed, phase);
}

/* Share of the time that the pass over the prompts takes: what the tokens after the first leave. */
static double prompt_share(const Speed *speed) {
    const double tokens = speed->phase[SPEED_DECODE].count ? speed->phase[SPEED_DECODE].median : 0;
    return fmax(0, 1 - tokens / speed->phase[SPEED_GENERATE].median);
}

void speed_generation_heading(FILE *out) {
    fprintf(out, "%-18s %5s %7s %5s %10s %10s %12s %7s %9s %9s %10s\n", "model", "width", "prompt",
            "batch", "ms", "tokens/s", "after prompt", "prompt", "MiB", "measured", "state KiB");
}

void speed_generation_row(const SpeedReport *report, const SpeedRow *row, FILE *out) {
    const Speed *speed = &row->speed;
    fprintf(out, "%-18s %5lld %7lld %5lld ", row->model, (long long)row->width,
            (long long)row->length, (long long)row->batch);
    if (row->skipped[0]) {
        fprintf(out, "skipped: %s\n", row->skipped);
        return;
    }
    fprintf(out, "%10.2f %10.1f ", 1e3 * speed->phase[SPEED_GENERATE].median,
            rate(speed, SPEED_GENERATE));
    if (speed->phase[SPEED_DECODE].count)
        fprintf(out, "%12.1f ", rate(speed, SPEED_DECODE));
    else
        fprintf(out, "%12s ", "-");
    fprintf(out, "%6.1f%% %9.1f %9.1f %10.1f\n", 100 * prompt_share(speed),
            (double)speed->bytes / 0x1p20,
            (double)(report->gpu[0] ? speed->device_bytes : speed->resident_bytes) / 0x1p20,
            (double)speed->state_bytes / 1024);
}

void speed_generation_csv(const SpeedReport *report, FILE *out) {
    fputs("model,width,prompt,batch,generated,seconds,seconds_low,seconds_high,tokens_per_second,"
          "tokens_per_second_after_prompt,prompt_share,bytes,resident_bytes,device_bytes,"
          "state_bytes,parameters,flops,skipped\n",
          out);
    for (int i = 0; i < report->count; i++) {
        const SpeedRow *row = &report->rows[i];
        const Speed *speed = &row->speed;
        const Timing *all = &speed->phase[SPEED_GENERATE];
        fprintf(out, "%s,%lld,%lld,%lld,%lld,", row->model, (long long)row->width,
                (long long)row->length, (long long)row->batch, (long long)report->generated);
        const double values[] = {all->median,
                                 all->interval.low,
                                 all->interval.high,
                                 rate(speed, SPEED_GENERATE),
                                 rate(speed, SPEED_DECODE),
                                 prompt_share(speed),
                                 (double)speed->bytes,
                                 (double)speed->resident_bytes,
                                 (double)speed->device_bytes,
                                 (double)speed->state_bytes,
                                 (double)speed->parameters,
                                 speed->flops};
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            if (!row->skipped[0] && isfinite(values[v])) fprintf(out, "%.6g", values[v]);
            fputc(',', out);
        }
        csv_write_field(out, row->skipped);
        fputc('\n', out);
    }
}
