#include "bench/kernels_file.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/environment.h"
#include "engine/device.h"
#include "engine/file.h"

static double gflops(const KernelRow *row) {
    return (row->cost.flops + row->cost.specials) / row->median / 1e9;
}

static double gbytes(const KernelRow *row) {
    return (row->cost.bytes_read + row->cost.bytes_written) / row->median / 1e9;
}

void kernels_print(const KernelReport *report, FILE *out) {
    const Ceiling *roof = &report->ceiling;
    fprintf(out, "%s kernels, %d thread%s; roof: %.1f GFLOP/s, %.2f G exponentials/s, GB/s",
            isa_name(report->isa), report->threads, report->threads == 1 ? "" : "s",
            roof->flops / 1e9, roof->specials / 1e9);
    for (int i = 0; i < CEILING_LEVELS; i++)
        fprintf(out, " %s %.0f", roof->level[i].name,
                fmax(roof->level[i].read, roof->level[i].copy) / 1e9);
    fprintf(out, "\n\n%-52s %12s %19s %9s %8s %6s  %s\n", "case", "median us", "95 % interval",
            "GFLOP/s", "GB/s", "roof", "bound by");
    for (int i = 0; i < report->count; i++) {
        const KernelRow *row = &report->rows[i];
        if (!row->count) {
            fprintf(out, "%-52s skipped: %s\n", row->name, row->skipped);
            continue;
        }
        fprintf(out, "%-52s %12.2f %9.2f-%9.2f %9.1f %8.1f %5.0f%%  %s\n", row->name,
                row->median * 1e6, row->interval.low * 1e6, row->interval.high * 1e6, gflops(row),
                gbytes(row), 100 * kernel_fraction(row), row->bound);
    }
    for (int i = 0; i < report->warning_count; i++)
        fprintf(out, "\nwarning [%s]: %s", report->warnings[i].id, report->warnings[i].text);
    if (report->warning_count) fputc('\n', out);
}

void kernels_csv(const KernelReport *report, FILE *out) {
    fputs("case,median_seconds,low_seconds,high_seconds,samples,flops,specials,bytes_read,"
          "bytes_written,floor_seconds,roof_fraction,bound,skipped\n",
          out);
    for (int i = 0; i < report->count; i++) {
        const KernelRow *row = &report->rows[i];
        fprintf(out, "%s,%.9g,%.9g,%.9g,%d,%.6g,%.6g,%.6g,%.6g,%.9g,%.4f,%s,\"%s\"\n", row->name,
                row->median, row->interval.low, row->interval.high, row->count, row->cost.flops,
                row->cost.specials, row->cost.bytes_read, row->cost.bytes_written, row->floor,
                row->count ? kernel_fraction(row) : 0, row->bound ? row->bound : "", row->skipped);
    }
}

static json_t *numbers(const double *values, int count) {
    json_t *array = json_array();
    for (int i = 0; i < count; i++) json_array_append_new(array, json_real(values[i]));
    return array;
}

static json_t *row_json(const KernelRow *row) {
    return json_pack("{s:s, s:o, s:f, s:f, s:f, s:f, s:f, s:s, s:s}", "case", row->name, "seconds",
                     numbers(row->seconds, row->count), "flops", row->cost.flops, "specials",
                     row->cost.specials, "bytes_read", row->cost.bytes_read, "bytes_written",
                     row->cost.bytes_written, "floor_seconds", row->floor, "bound",
                     row->bound ? row->bound : "", "skipped", row->skipped);
}

static json_t *roof_json(const Ceiling *roof) {
    json_t *levels = json_array();
    for (int i = 0; i < CEILING_LEVELS; i++)
        json_array_append_new(levels, json_pack("{s:s, s:I, s:f, s:f}", "name", roof->level[i].name,
                                                "bytes", (json_int_t)roof->level[i].bytes, "read",
                                                roof->level[i].read, "copy", roof->level[i].copy));
    return json_pack("{s:f, s:f, s:o}", "flops", roof->flops, "specials", roof->specials, "levels",
                     levels);
}

static void machine_text(Isa isa, char *text, size_t bytes) {
    Device device;
    if (device_open(&device, "cpu", NULL) != STATUS_OK) return;
    device.isa = isa;
    device.kind->describe(&device, text, bytes);
    device_close(&device);
}

Status kernels_write(const KernelReport *report, const char *path, Error *error) {
    char machine[256] = "";
    machine_text(report->isa, machine, sizeof machine);
    json_t *rows = json_array(), *warnings = json_array();
    for (int i = 0; i < report->count; i++) json_array_append_new(rows, row_json(&report->rows[i]));
    for (int i = 0; i < report->warning_count; i++)
        json_array_append_new(warnings, json_pack("{s:s, s:s}", "id", report->warnings[i].id,
                                                  "text", report->warnings[i].text));
    json_t *file =
        json_pack("{s:i, s:s, s:s, s:i, s:o, s:o, s:o, s:o, s:o}", "schema", KERNELS_SCHEMA, "kind",
                  "kernels", "machine", machine, "threads", report->threads, "environment",
                  environment_json(), "roof", roof_json(&report->ceiling), "probes",
                  numbers(report->probes, report->probe_count), "warnings", warnings, "rows", rows);
    char *text = json_dumps(file, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    const Status status = text ? file_write(path, text, strlen(text), error)
                               : error_set(error, STATUS_IO, "%s: report has no JSON form", path);
    free(text);
    json_decref(file);
    return status;
}

static bool read_row(const json_t *json, KernelRow *row) {
    const char *name = NULL;
    json_t *seconds = NULL;
    Cost *cost = &row->cost;
    if (json_unpack((json_t *)(uintptr_t)json, "{s:s, s:o, s:F, s:F, s:F, s:F}", "case", &name,
                    "seconds", &seconds, "flops", &cost->flops, "specials", &cost->specials,
                    "bytes_read", &cost->bytes_read, "bytes_written", &cost->bytes_written) ||
        !json_is_array(seconds))
        return false;
    snprintf(row->name, sizeof row->name, "%s", name);
    row->count = (int)json_array_size(seconds);
    row->seconds = malloc(((size_t)row->count + 1) * sizeof(double));
    for (int i = 0; i < row->count; i++) {
        row->seconds[i] = json_number_value(json_array_get(seconds, (size_t)i));
        if (!(row->seconds[i] > 0)) return false;
    }
    if (row->count) row->median = median(row->seconds, row->count);
    return true;
}

static Status read_all(KernelFile *file, const json_t *json, Error *error) {
    int schema = 0;
    const char *kind = "", *machine = NULL;
    json_t *rows = NULL;
    if (json_unpack((json_t *)(uintptr_t)json, "{s:i, s:s, s:s, s:i, s:o}", "schema", &schema,
                    "kind", &kind, "machine", &machine, "threads", &file->threads, "rows", &rows) ||
        strcmp(kind, "kernels") != 0 || !json_is_array(rows))
        return error_set(error, STATUS_DATA,
                         "%s: this is not a kernel report; make one with `longhaul kernels "
                         "--output FILE`",
                         file->path);
    if (schema != KERNELS_SCHEMA)
        return error_set(error, STATUS_DATA,
                         "%s: schema %d, this program reads %d; measure again with this version",
                         file->path, schema, KERNELS_SCHEMA);
    snprintf(file->machine, sizeof file->machine, "%s", machine);
    const char *compiler, *flags;
    if (!json_unpack((json_t *)(uintptr_t)json, "{s:{s:s, s:s}}", "environment", "compiler",
                     &compiler, "compiler_flags", &flags))
        snprintf(file->build, sizeof file->build, "%s, %s", compiler, flags);
    file->rows = calloc(json_array_size(rows) + 1, sizeof *file->rows);
    for (size_t i = 0; i < json_array_size(rows); i++)
        if (!read_row(json_array_get(rows, i), &file->rows[file->count++]))
            return error_set(error, STATUS_DATA,
                             "%s: row %zu has no name, no cost or no valid times; measure again "
                             "with `longhaul kernels --output FILE`",
                             file->path, i + 1);
    return STATUS_OK;
}

Status kernels_read(KernelFile *file, const char *path, Error *error) {
    *file = (KernelFile){0};
    snprintf(file->path, sizeof file->path, "%s", path);
    char *text;
    size_t bytes;
    if (file_read(path, &text, &bytes, error) != STATUS_OK) return error->status;
    json_error_t problem;
    json_t *json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &problem);
    free(text);
    if (!json)
        return error_set(error, STATUS_DATA,
                         "%s:%d: not JSON (%s): half-written or not a kernel report", path,
                         problem.line, problem.text);
    const Status status = read_all(file, json, error);
    json_decref(json);
    if (status != STATUS_OK) kernels_file_close(file);
    return status;
}

void kernels_file_close(KernelFile *file) {
    for (int i = 0; i < file->count; i++) free(file->rows[i].seconds);
    free(file->rows);
    *file = (KernelFile){0};
}
