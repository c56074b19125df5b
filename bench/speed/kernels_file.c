#include "bench/speed/kernels_file.h"

#include "bench/common/csv.h"

/* What was measured and how fast it is at best. */
static void print_roof(const KernelReport *report, FILE *out) {
    const Ceiling *roof = &report->ceiling;
    const KernelClocks *clocks = &report->clocks;
    if (report->gpu[0])
        fprintf(out, "%s; %s products", report->gpu, products_name(report->products));
    else
        fprintf(out, "%s kernels, %s products, %d thread%s", isa_name(report->isa),
                products_name(report->products), report->threads, report->threads == 1 ? "" : "s");
    fprintf(out, "; roof: %.1f GFLOP/s,", roof->flops / 1e9);
    for (int i = 0; i < PRODUCTS_COUNT; i++)
        if (roof->matrix[i] > 0)
            fprintf(out, " %s products %.0f,", products_name((Products)i), roof->matrix[i] / 1e9);
    fprintf(out, " %.2f G exponentials/s, GB/s", roof->specials / 1e9);
    for (int i = 0; i < roof->levels; i++)
        fprintf(out, " %s %.0f", roof->level[i].name, ceiling_bandwidth(&roof->level[i]) / 1e9);
    if (clocks->highest > 0)
        fprintf(out, "; clock %.0f to %.0f MHz of %.0f", clocks->lowest, clocks->highest,
                clocks->possible);
}

void kernels_print(const KernelReport *report, FILE *out) {
    print_roof(report, out);
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

/* Numbers of the samples that were taken while the GPU's clock was held down. */
static json_t *held_json(const KernelRow *row) {
    json_t *held = json_array();
    for (int i = 0; i < row->count; i++)
        if (row->held[i]) json_array_append_new(held, json_integer(i));
    return held;
}

static json_t *row_json(const KernelRow *row) {
    json_t *json =
        json_pack("{s:s, s:s, s:o, s:f, s:f, s:f, s:f, s:f, s:s, s:s}", "case", row->name, "work",
                  row->work, "seconds", measured_numbers(row->seconds, row->count), "flops",
                  row->cost.flops, "specials", row->cost.specials, "bytes_read",
                  row->cost.bytes_read, "bytes_written", row->cost.bytes_written, "floor_seconds",
                  row->floor, "bound", row->bound ? row->bound : "", "skipped", row->skipped);
    json_object_set_new(json, "held", held_json(row));
    return json;
}

static json_t *roof_json(const Ceiling *roof) {
    json_t *levels = json_array(), *matrix = json_object();
    for (int i = 0; i < PRODUCTS_COUNT; i++)
        if (roof->matrix[i] > 0)
            json_object_set_new(matrix, products_name((Products)i), json_real(roof->matrix[i]));
    for (int i = 0; i < roof->levels; i++)
        json_array_append_new(levels, json_pack("{s:s, s:I, s:f, s:f}", "name", roof->level[i].name,
                                                "bytes", (json_int_t)roof->level[i].bytes, "read",
                                                roof->level[i].read, "copy", roof->level[i].copy));
    return json_pack("{s:f, s:f, s:o, s:o}", "flops", roof->flops, "specials", roof->specials,
                     "matrix", matrix, "levels", levels);
}

Status kernels_write(const KernelReport *report, const char *path, Error *error) {
    json_t *rows = json_array(), *warnings = json_array();
    for (int i = 0; i < report->count; i++) json_array_append_new(rows, row_json(&report->rows[i]));
    for (int i = 0; i < report->warning_count; i++)
        json_array_append_new(warnings, json_pack("{s:s, s:s}", "id", report->warnings[i].id,
                                                  "text", report->warnings[i].text));
    const bool gpu = report->gpu[0];
    json_t *file =
        measured_heading("kernels", gpu ? report->gpu : NULL, report->isa, report->threads);
    if (gpu) {
        json_object_set_new(file, "products", json_string(products_name(report->products)));
        json_object_set_new(file, "clocks",
                            json_pack("{s:f, s:f, s:f}", "lowest", report->clocks.lowest, "highest",
                                      report->clocks.highest, "possible", report->clocks.possible));
    }
    json_object_set_new(file, "roof", roof_json(&report->ceiling));
    json_object_set_new(file, "probes", measured_numbers(report->probes, report->probe_count));
    json_object_set_new(file, "warnings", warnings);
    json_object_set_new(file, "rows", rows);
    return measured_write(file, path, error);
}
