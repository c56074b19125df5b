/* The speed report as JSON, in the form that `longhaul compare` reads. */
#include <math.h>

#include "bench/speed/measured.h"
#include "bench/speed/speed_grid.h"

static json_t *number_or_null(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

/* One phase of one row; what must be equal for two files to compare is in "work". */
static json_t *phase_json(const SpeedReport *report, const SpeedRow *row, SpeedPhase phase) {
    const Speed *speed = &row->speed;
    const Timing *timing = &speed->phase[phase];
    char name[160], work[256], batch[32] = "", generated[48] = "";
    if (report->generated) {
        snprintf(batch, sizeof batch, "/batch%lld", (long long)row->batch);
        snprintf(generated, sizeof generated, ", %lld tokens after the prompt",
                 (long long)report->generated);
    }
    snprintf(name, sizeof name, "%s/width%lld/length%lld%s/%s", row->model, (long long)row->width,
             (long long)row->length, batch, speed_phase_names[phase]);
    snprintf(work, sizeof work, "task %s version %d, batch %lld, %lld parameters%s%s%s",
             report->task, speed->task_version, (long long)speed->batch,
             (long long)speed->parameters, generated,
             report->products == PRODUCTS_FLOAT ? "" : ", products ",
             report->products == PRODUCTS_FLOAT ? "" : products_name(report->products));
    json_t *json = json_pack(
        "{s:s, s:s, s:o, s:f, s:f, s:f, s:f, s:s, s:I, s:I, s:f}", "case", name, "work", work,
        "seconds", measured_numbers(timing->seconds, timing->count), "flops",
        phase == SPEED_TRAIN || phase == SPEED_GENERATE ? speed->flops : 0.0, "specials", 0.0,
        "bytes_read", 0.0, "bytes_written", 0.0, "model", row->model, "width",
        (json_int_t)row->width, "length", (json_int_t)row->length, "tokens", timing->tokens);
    if (report->generated)
        json_object_set_new(json, "batch", json_integer(row->batch));
    else
        json_object_set_new(json, "crossover",
                            number_or_null(speed_crossover(report, row->model, row->width, phase)));
    json_object_set_new(json, "skipped", json_string(row->skipped));
    if ((phase != SPEED_TRAIN && phase != SPEED_GENERATE) || row->skipped[0]) return json;
    if (phase == SPEED_TRAIN) {
        json_object_set_new(json, "utilisation", number_or_null(speed_utilisation(report, row)));
        json_object_set_new(json, "overhead", number_or_null(speed->overhead));
    } else {
        json_object_set_new(json, "tokens_per_second",
                            number_or_null(1 / speed_token_seconds(speed, phase)));
    }
    json_object_set_new(json, "bytes", json_integer(speed->bytes));
    json_object_set_new(json, "resident_bytes", json_integer(speed->resident_bytes));
    json_object_set_new(json, "device_bytes", json_integer(speed->device_bytes));
    json_object_set_new(json, "state_bytes", json_integer(speed->state_bytes));
    json_object_set_new(json, "parameters", json_integer(speed->parameters));
    return json;
}

Status speed_write(const SpeedReport *report, const char *path, Error *error) {
    json_t *rows = json_array();
    for (int i = 0; i < report->count; i++)
        for (int p = 0; p < SPEED_PHASES; p++)
            if (report->rows[i].skipped[0] ? speed_has_phase(report, (SpeedPhase)p)
                                           : report->rows[i].speed.phase[p].count > 0)
                json_array_append_new(rows, phase_json(report, &report->rows[i], (SpeedPhase)p));
    json_t *file =
        measured_heading("speed", report->gpu[0] ? report->gpu : NULL, isa_best(), report->threads);
    json_object_set_new(file, "peak_flops", json_real(speed_peak(report)));
    json_object_set_new(file, "task", json_string(report->task));
    json_object_set_new(file, "setting", json_string(report->setting));
    if (report->generated) json_object_set_new(file, "generated", json_integer(report->generated));
    json_object_set_new(file, "against", json_string(report->against));
    json_object_set_new(file, "rows", rows);
    return measured_write(file, path, error);
}
