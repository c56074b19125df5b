#include "bench/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/random.h"

enum { RESAMPLES = 2000 };

static const char *const verdict_names[] = {"faster", "same", "slower", "uncertain"};

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double resampled_median(const double *values, int n, double *scratch, Random *random) {
    for (int i = 0; i < n; i++) scratch[i] = values[random_below(random, (uint64_t)n)];
    return median(scratch, n);
}

Comparison compare_samples(const double *base, int base_count, const double *news, int new_count,
                           double threshold) {
    double *ratios = malloc(RESAMPLES * sizeof *ratios);
    const int most = base_count > new_count ? base_count : new_count;
    double *scratch = malloc((size_t)most * sizeof *scratch);
    Random random = random_open(1, random_stream("compare"), 0);
    for (int r = 0; r < RESAMPLES; r++) {
        const double below = resampled_median(base, base_count, scratch, &random);
        ratios[r] = resampled_median(news, new_count, scratch, &random) / below;
    }
    qsort(ratios, RESAMPLES, sizeof *ratios, by_value);
    Comparison result = {.ratio = median(news, new_count) / median(base, base_count),
                         .interval = {ratios[RESAMPLES / 40], ratios[RESAMPLES - RESAMPLES / 40]}};
    free(scratch);
    free(ratios);
    const double high = 1 + threshold, low = 1 / high;
    if (result.interval.low > high)
        result.verdict = VERDICT_SLOWER;
    else if (result.interval.high < low)
        result.verdict = VERDICT_FASTER;
    else if (result.interval.low >= low && result.interval.high <= high)
        result.verdict = VERDICT_SAME;
    else
        result.verdict = VERDICT_UNCERTAIN;
    return result;
}

static const KernelRow *find_row(const KernelFile *file, const char *name) {
    for (int i = 0; i < file->count; i++)
        if (strcmp(file->rows[i].name, name) == 0 && file->rows[i].count) return &file->rows[i];
    return NULL;
}

Status compare_reports(ComparisonReport *report, const KernelFile *base, const KernelFile *news,
                       double threshold, bool force, Error *error) {
    *report = (ComparisonReport){0};
    if (!force && strcmp(base->machine, news->machine) != 0)
        return error_set(error, STATUS_USAGE,
                         "%s was measured on '%s' and %s on '%s': times of different machines do "
                         "not compare (--force does it all the same)",
                         base->path, base->machine, news->path, news->machine);
    if (!force && base->threads != news->threads)
        return error_set(error, STATUS_USAGE,
                         "%s used %d threads and %s %d: measure both with the same --threads, or "
                         "compare with --force",
                         base->path, base->threads, news->path, news->threads);
    report->rows = calloc((size_t)base->count + 1, sizeof *report->rows);
    double logarithms = 0;
    for (int i = 0; i < base->count; i++) {
        const KernelRow *old = &base->rows[i];
        const KernelRow *now = find_row(news, old->name);
        if (!old->count) continue;
        if (!now) {
            report->only_base++;
            continue;
        }
        Comparison *row = &report->rows[report->count++];
        *row = compare_samples(old->seconds, old->count, now->seconds, now->count, threshold);
        memcpy(row->name, old->name, sizeof row->name);
        report->verdicts[row->verdict]++;
        logarithms += log(row->ratio);
    }
    for (int i = 0; i < news->count; i++) report->only_new += !find_row(base, news->rows[i].name);
    if (report->count == 0)
        return error_set(error, STATUS_USAGE, "%s and %s have no measured case in common",
                         base->path, news->path);
    report->geometric_mean = exp(logarithms / report->count);
    return STATUS_OK;
}

void comparison_free(ComparisonReport *report) {
    free(report->rows);
    *report = (ComparisonReport){0};
}

void comparison_print(const ComparisonReport *report, double threshold, FILE *out) {
    fprintf(out, "%-52s %9s %17s  %s\n", "case", "new/base", "95 % interval", "verdict");
    for (int i = 0; i < report->count; i++) {
        const Comparison *row = &report->rows[i];
        fprintf(out, "%-52s %9.3f %8.3f-%8.3f  %s\n", row->name, row->ratio, row->interval.low,
                row->interval.high, verdict_names[row->verdict]);
    }
    fprintf(out, "\nthreshold %.0f %%:", 100 * threshold);
    for (int v = 0; v < 4; v++)
        fprintf(out, " %d %s%s", report->verdicts[v], verdict_names[v], v < 3 ? "," : "");
    fprintf(out, "; geometric mean %.3f\n", report->geometric_mean);
    if (report->only_base + report->only_new)
        fprintf(out, "not compared: %d cases only in the base, %d only in the new report\n",
                report->only_base, report->only_new);
}
