#include "bench/kernels_file.h"

#include <math.h>

#include "bench/csv.h"

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
                row->median * 1e6, row->interval.low * 1e6, row->interval.high * 1e6,
                kernel_flops(row) / 1e9, kernel_bandwidth(row) / 1e9, 100 * kernel_fraction(row),
                row->bound);
    }
}

void kernels_csv(const KernelReport *report, FILE *out) {
    fputs("case,median_seconds,low_seconds,high_seconds,samples,flops,specials,bytes_read,"
          "bytes_written,flops_per_second,bytes_per_second,floor_seconds,roof_fraction,bound,"
          "skipped\n",
          out);
    for (int i = 0; i < report->count; i++) {
        const KernelRow *row = &report->rows[i];
        fprintf(out, "%s,%.9g,%.9g,%.9g,%d,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.9g,%.4f,%s,", row->name,
                row->median, row->interval.low, row->interval.high, row->count, row->cost.flops,
                row->cost.specials, row->cost.bytes_read, row->cost.bytes_written,
                row->count ? kernel_flops(row) : 0, row->count ? kernel_bandwidth(row) : 0,
                row->floor, row->count ? kernel_fraction(row) : 0, row->bound ? row->bound : "");
        csv_write_field(out, row->skipped);
        fputc('\n', out);
    }
}

static json_t *row_json(const KernelRow *row) {
    return json_pack("{s:s, s:s, s:o, s:f, s:f, s:f, s:f, s:f, s:s, s:s}", "case", row->name,
                     "work", row->work, "seconds", measured_numbers(row->seconds, row->count),
                     "flops", row->cost.flops, "specials", row->cost.specials, "bytes_read",
                     row->cost.bytes_read, "bytes_written", row->cost.bytes_written,
                     "floor_seconds", row->floor, "bound", row->bound ? row->bound : "", "skipped",
                     row->skipped);
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

Status kernels_write(const KernelReport *report, const char *path, Error *error) {
    json_t *rows = json_array(), *warnings = json_array();
    for (int i = 0; i < report->count; i++) json_array_append_new(rows, row_json(&report->rows[i]));
    for (int i = 0; i < report->warning_count; i++)
        json_array_append_new(warnings, json_pack("{s:s, s:s}", "id", report->warnings[i].id,
                                                  "text", report->warnings[i].text));
    json_t *file = measured_heading("kernels", report->isa, report->threads);
    json_object_set_new(file, "roof", roof_json(&report->ceiling));
    json_object_set_new(file, "probes", measured_numbers(report->probes, report->probe_count));
    json_object_set_new(file, "warnings", warnings);
    json_object_set_new(file, "rows", rows);
    return measured_write(file, path, error);
}
