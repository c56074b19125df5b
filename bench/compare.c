#include "bench/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/random.h"

enum { RESAMPLES = 2000 };

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double resampled_median(const double *values, int n, double *scratch, Random *random) {
    for (int i = 0; i < n; i++) scratch[i] = values[random_below(random, (uint64_t)n)];
    return median(scratch, n);
}

static Verdict verdict_of(Interval interval, double threshold) {
    const double high = 1 + threshold, low = 1 / high;
    if (interval.low > high) return VERDICT_SLOWER;
    if (interval.high < low) return VERDICT_FASTER;
    return interval.low >= low && interval.high <= high ? VERDICT_SAME : VERDICT_UNCERTAIN;
}

Comparison compare_rounds(const Round *rounds, int count, double threshold) {
    int most = 0;
    for (int k = 0; k < count; k++) {
        if (rounds[k].base_count > most) most = rounds[k].base_count;
        if (rounds[k].new_count > most) most = rounds[k].new_count;
    }
    double *scratch = malloc((size_t)most * sizeof *scratch);
    double *ratios = malloc((size_t)count * sizeof *ratios);
    double *drawn = malloc(RESAMPLES * sizeof *drawn);
    Comparison result = {0};
    for (int k = 0; k < count; k++)
        ratios[k] = median(rounds[k].news, rounds[k].new_count) /
                    median(rounds[k].base, rounds[k].base_count);
    result.ratio = median(ratios, count);
    Random random = random_open(1, random_stream("compare"), 0);
    for (int r = 0; r < RESAMPLES; r++) {
        for (int k = 0; k < count; k++) {
            const Round *round = &rounds[random_below(&random, (uint64_t)count)];
            const double below = resampled_median(round->base, round->base_count, scratch, &random);
            ratios[k] = resampled_median(round->news, round->new_count, scratch, &random) / below;
        }
        drawn[r] = median(ratios, count);
    }
    qsort(drawn, RESAMPLES, sizeof *drawn, by_value);
    result.interval = (Interval){drawn[RESAMPLES / 40], drawn[RESAMPLES - RESAMPLES / 40]};
    result.verdict = verdict_of(result.interval, threshold);
    free(drawn);
    free(ratios);
    free(scratch);
    return result;
}

/* What was measured must be one thing on one machine, but for the code. */
static Status check_file(const MeasuredFile *first, const MeasuredFile *file, bool force,
                         Error *error) {
    if (strcmp(first->kind, file->kind) != 0)
        return error_set(error, STATUS_USAGE,
                         "%s holds times of %s and %s of %s: these do not compare", first->path,
                         first->kind, file->path, file->kind);
    if (!force && strcmp(first->machine, file->machine) != 0)
        return error_set(error, STATUS_USAGE,
                         "%s was measured on '%s' and %s on '%s': times of different machines do "
                         "not compare (--force does it all the same)",
                         first->path, first->machine, file->path, file->machine);
    if (!force && first->threads != file->threads)
        return error_set(error, STATUS_USAGE,
                         "%s used %d threads and %s %d: measure both with the same --threads, or "
                         "compare with --force",
                         first->path, first->threads, file->path, file->threads);
    for (int i = 0; i < first->count && !force; i++) {
        const MeasuredCase *other = measured_find(file, first->cases[i].name);
        if (other && !measured_same_work(&first->cases[i], other))
            return error_set(error, STATUS_USAGE,
                             "%s is other work in %s (%.160s) than in %s (%.160s): a case that "
                             "changes needs a new name; --force compares all the same",
                             other->name, first->path,
                             first->cases[i].work[0] ? first->cases[i].work : "of other cost",
                             file->path, other->work[0] ? other->work : "of other cost");
    }
    return STATUS_OK;
}

/* The rounds of one case; 0 when some file lacks it. */
static int collect(const MeasuredFile *files, int count, const char *name, Round *rounds) {
    for (int k = 0; k < count / 2; k++) {
        const MeasuredCase *base = measured_find(&files[2 * k], name);
        const MeasuredCase *news = measured_find(&files[2 * k + 1], name);
        if (!base || !news) return 0;
        rounds[k] = (Round){base->seconds, news->seconds, base->count, news->count};
    }
    return count / 2;
}

Status compare_files(ComparisonReport *report, const MeasuredFile *files, int count,
                     double threshold, bool force, Error *error) {
    *report = (ComparisonReport){.rounds = count / 2, .threshold = threshold};
    for (int i = 1; i < count; i++)
        if (check_file(&files[0], &files[i], force, error) != STATUS_OK) return error->status;
    report->rows = calloc((size_t)files[0].count + 1, sizeof *report->rows);
    Round *rounds = calloc((size_t)count, sizeof *rounds);
    double logarithms = 0;
    for (int i = 0; i < files[0].count; i++) {
        const MeasuredCase *old = &files[0].cases[i];
        if (!old->count) continue;
        const int found = collect(files, count, old->name, rounds);
        report->only_base += !found;
        if (!found) continue;
        Comparison *row = &report->rows[report->count++];
        *row = compare_rounds(rounds, found, threshold);
        memcpy(row->name, old->name, sizeof row->name);
        report->verdicts[row->verdict]++;
        logarithms += log(row->ratio);
    }
    free(rounds);
    for (int i = 0; i < files[1].count; i++)
        report->only_new +=
            files[1].cases[i].count && !measured_find(&files[0], files[1].cases[i].name);
    if (report->count == 0)
        return error_set(error, STATUS_USAGE, "%s and %s have no measured case in common",
                         files[0].path, files[1].path);
    report->geometric_mean = exp(logarithms / report->count);
    return STATUS_OK;
}

void comparison_free(ComparisonReport *report) {
    free(report->rows);
    *report = (ComparisonReport){0};
}
