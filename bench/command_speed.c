/* longhaul speed: training step, forward pass and decoding of whole models. */
#include <stdio.h>
#include <string.h>

#include "bench/command.h"
#include "bench/speed.h"
#include "engine/ceiling.h"
#include "engine/word.h"

static const char *const columns =
    "model,width,length,batch,train_seconds,train_low,train_high,tokens_per_second,utilisation,"
    "forward_seconds_per_token,decode_seconds_per_token,overhead,bytes,state_bytes,parameters,"
    "flops\n";

static void print_row(const Cell *cell, const Speed *speed, double peak, bool csv) {
    const double tokens = (double)(speed->batch * speed->length);
    const double forward_tokens = (double)(speed->micro_batch * speed->length);
    const double decode =
        speed->decode.count ? speed->decode.median / (double)speed->micro_batch : 0;
    const double share = speed->flops / speed->train.median / peak;
    if (csv)
        printf("%s,%lld,%lld,%lld,%.6g,%.6g,%.6g,%.6g,%.4f,%.6g,%.6g,%.4f,%lld,%lld,%lld,%.6g\n",
               cell->model->name, (long long)cell->backbone.width, (long long)speed->length,
               (long long)speed->batch, speed->train.median, speed->train.interval.low,
               speed->train.interval.high, tokens / speed->train.median, share,
               speed->forward.median / forward_tokens, decode, speed->overhead,
               (long long)speed->bytes, (long long)speed->state_bytes, (long long)speed->parameters,
               speed->flops);
    else
        printf("%-14s %6lld %8lld %6lld %11.3f %12.0f %6.1f%% %11.3f %11.3f %7.2f%% %9.1f %11.1f\n",
               cell->model->name, (long long)cell->backbone.width, (long long)speed->length,
               (long long)speed->batch, 1e3 * speed->train.median, tokens / speed->train.median,
               100 * share, 1e6 * speed->forward.median / forward_tokens, 1e6 * decode,
               100 * speed->overhead, (double)speed->bytes / 0x1p20,
               (double)speed->state_bytes / 1024);
    fflush(stdout);
}

static Status measure_model(const char *name, const Invocation *invocation, double peak,
                            Error *error) {
    Settings settings = {0};
    Cell cell = {0};
    Speed speed;
    const Flags *flags = &invocation->flags;
    Status status = settings_add(&settings, "model", name, "flag --model", error);
    if (status == STATUS_OK) status = settings_add_all(&settings, &invocation->settings, error);
    if (status == STATUS_OK) status = cell_build(&cell, &settings, error);
    if (status == STATUS_OK) {
        status = speed_measure(&speed, &cell, (int)flags->threads, flags->seconds, error);
        if (status == STATUS_OK) print_row(&cell, &speed, peak, flags->format == FORMAT_CSV);
        speed_free(&speed);
    }
    settings_free(&settings);
    cell_close(&cell);
    return status;
}

static Status speed(const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    Ceiling ceiling;
    ceiling_measure(&ceiling, isa_best(), (int)flags->threads);
    if (flags->format == FORMAT_CSV)
        fputs(columns, stdout);
    else
        printf(
            "%lld thread%s, peak %.1f GFLOP/s\n%-14s %6s %8s %6s %11s %12s %7s %11s %11s %8s %9s "
            "%11s\n",
            (long long)flags->threads, flags->threads == 1 ? "" : "s", ceiling.flops / 1e9, "model",
            "width", "length", "batch", "train ms", "tokens/s", "peak", "forward us", "decode us",
            "overhead", "MiB", "state KiB");
    int count, measured = 0;
    const Model *const *models = model_list(&count);
    for (int i = 0; i < count; i++) {
        if (!word_selected(flags->model, models[i]->name)) continue;
        const Status status = measure_model(models[i]->name, invocation, ceiling.flops, error);
        if (status != STATUS_OK) return status;
        measured++;
    }
    if (measured) return STATUS_OK;
    return error_set(error, STATUS_USAGE, "no model fits --model '%s'; see `longhaul list models`",
                     flags->model);
}

const Command command_speed = {
    .name = "speed",
    .arguments = "key=value ...",
    .summary = "time training step, forward pass and decoding of whole models",
    .detail =
        "Settings as for `longhaul train`, the model excepted: every model that --model lets\n"
        "through is measured. Columns: time of one optimiser step, tokens a second, share of\n"
        "the peak multiply-add rate of this run, microseconds a token forward and decoding,\n"
        "share of the step outside kernels, planned memory, state of one sequence.",
    .flags = "model threads seconds format",
    .takes_settings = true,
    .run = speed,
};
