#include "bench/speed/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"
#include "engine/random.h"

enum { RESAMPLES = 2000 };

static const char *const verdict_names[VERDICTS] = {"faster", "same", "slower", "uncertain",
                                                    "changed"};

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double resampled_median(const double *values, int n, double *scratch, Random *random) {
    for (int i = 0; i < n; i++) scratch[i] = values[random_below(random, (uint64_t)n)];
    return median(scratch, n);
}

/* Logarithm of the ratio of medians, mean over rounds drawn with replacement. Whole rounds are
 * drawn first because two runs of one program differ by more than their samples tell (where its
 * memory lay, who else was on the machine); both sides of a round shared most of that. */
static double resampled_ratio(const SampleRound *rounds, int count, double *scratch,
                              Random *random) {
    double logarithms = 0;
    for (int i = 0; i < count; i++) {
        const SampleRound *round = &rounds[random_below(random, (uint64_t)count)];
        const double below = resampled_median(round->base, round->base_count, scratch, random);
        const double above = resampled_median(round->news, round->new_count, scratch, random);
        logarithms += log(above / below);
    }
    return exp(logarithms / count);
}

static Verdict verdict_of(Interval interval, double threshold) {
    const double high = 1 + threshold, low = 1 / high;
    if (interval.low > high) return VERDICT_SLOWER;
    if (interval.high < low) return VERDICT_FASTER;
    return interval.low >= low && interval.high <= high ? VERDICT_SAME : VERDICT_UNCERTAIN;
}

Comparison compare_samples(const SampleRound *rounds, int count, double threshold) {
    int most = 0;
    double logarithms = 0;
    for (int i = 0; i < count; i++) {
        if (rounds[i].base_count > most) most = rounds[i].base_count;
        if (rounds[i].new_count > most) most = rounds[i].new_count;
        logarithms += log(median(rounds[i].news, rounds[i].new_count) /
                          median(rounds[i].base, rounds[i].base_count));
    }
    double *ratios = memory_take(RESAMPLES * sizeof *ratios);
    double *scratch = memory_take((size_t)most * sizeof *scratch);
    Random random = random_open(1, random_stream("compare"), 0);
    for (int r = 0; r < RESAMPLES; r++)
        ratios[r] = resampled_ratio(rounds, count, scratch, &random);
    qsort(ratios, RESAMPLES, sizeof *ratios, by_value);
    Comparison result = {.ratio = exp(logarithms / count),
                         .interval = {ratios[RESAMPLES / 40], ratios[RESAMPLES - RESAMPLES / 40]}};
    free(scratch);
    free(ratios);
    result.verdict = verdict_of(result.interval, threshold);
    return result;
}

/* All files must be of one kind and, unless forced, from one machine and one thread count. */
static Status check_setting(const MeasuredFile *files, int count, bool force, Error *error) {
    const MeasuredFile *base = &files[0];
    for (int i = 1; i < count; i++) {
        const MeasuredFile *file = &files[i];
        if (strcmp(base->kind, file->kind) != 0)
            return error_set(error, STATUS_USAGE,
                             "%s holds times of %s and %s of %s: these do not compare", base->path,
                             base->kind, file->path, file->kind);
        if (force) continue;
        if (strcmp(base->machine, file->machine) != 0)
            return error_set(error, STATUS_USAGE,
                             "%s was measured on '%s' and %s on '%s': times of different machines "
                             "do not compare (--force does it all the same)",
                             base->path, base->machine, file->path, file->machine);
        if (base->threads != file->threads)
            return error_set(error, STATUS_USAGE,
                             "%s used %d threads and %s %d: measure both with the same --threads, "
                             "or compare with --force",
                             base->path, base->threads, file->path, file->threads);
    }
    return STATUS_OK;
}

/* The rounds in which both sides measured the case; *changed: not with the same cost everywhere. */
static int collect(const MeasuredFile *files, int rounds, const char *name, SampleRound *found,
                   bool *changed) {
    const MeasuredCase *first = NULL;
    int count = 0;
    for (int r = 0; r < rounds; r++) {
        const MeasuredCase *base = measured_find(&files[2 * r], name);
        const MeasuredCase *news = measured_find(&files[2 * r + 1], name);
        if (!base || !news) continue;
        if (!first) first = base;
        *changed |= !measured_same_work(first, base) || !measured_same_work(first, news);
        found[count++] = (SampleRound){base->seconds, news->seconds, base->count, news->count};
    }
    return count;
}

Status compare_reports(ComparisonReport *report, const MeasuredFile *files, int rounds,
                       double threshold, bool force, Error *error) {
    const MeasuredFile *base = &files[0], *news = &files[1];
    *report = (ComparisonReport){0};
    if (check_setting(files, 2 * rounds, force, error) != STATUS_OK) return error->status;
    report->rows = memory_take_zeroed((size_t)base->count + 1, sizeof *report->rows);
    SampleRound *found = memory_take_zeroed((size_t)rounds, sizeof *found);
    double logarithms = 0;
    for (int i = 0; i < base->count; i++) {
        if (!base->cases[i].count) continue;
        bool changed = false;
        const int count = collect(files, rounds, base->cases[i].name, found, &changed);
        if (count == 0) {
            report->only_base++;
            continue;
        }
        Comparison *row = &report->rows[report->count++];
        *row = compare_samples(found, count, threshold);
        if (changed && !force) row->verdict = VERDICT_CHANGED;
        memcpy(row->name, base->cases[i].name, sizeof row->name);
        report->verdicts[row->verdict]++;
        if (row->verdict != VERDICT_CHANGED) logarithms += log(row->ratio);
    }
    free(found);
    for (int i = 0; i < news->count; i++)
        report->only_new += news->cases[i].count && !measured_find(base, news->cases[i].name);
    const int changed = report->verdicts[VERDICT_CHANGED], compared = report->count - changed;
    if (report->count == 0)
        return error_set(error, STATUS_USAGE, "%s and %s have no measured case in common",
                         base->path, news->path);
    if (compared == 0)
        return error_set(error, STATUS_USAGE,
                         "%s and %s: all %d common cases do other work (FLOPs or bytes) under the "
                         "same name, such as %s; their times do not compare (--force does it all "
                         "the same)",
                         base->path, news->path, changed, report->rows[0].name);
    report->geometric_mean = exp(logarithms / compared);
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
        if (row->verdict == VERDICT_CHANGED)
            fprintf(out, "%-52s %9s %17s  %s\n", row->name, "-", "-", "changed");
        else
            fprintf(out, "%-52s %9.3f %8.3f-%8.3f  %s\n", row->name, row->ratio, row->interval.low,
                    row->interval.high, verdict_names[row->verdict]);
    }
    fprintf(out, "\nthreshold %.3g %%:", 100 * threshold);
    for (int v = 0; v < VERDICT_CHANGED; v++)
        fprintf(out, " %d %s%s", report->verdicts[v], verdict_names[v],
                v + 1 < VERDICT_CHANGED ? "," : "");
    fprintf(out, "; geometric mean %.3f\n", report->geometric_mean);
    if (report->verdicts[VERDICT_CHANGED])
        fprintf(out,
                "changed: %d with other FLOPs or bytes under the same name, not compared "
                "(--force compares)\n",
                report->verdicts[VERDICT_CHANGED]);
    if (report->only_base + report->only_new)
        fprintf(out, "not compared: %d cases only in the base, %d only in the new report\n",
                report->only_base, report->only_new);
}
