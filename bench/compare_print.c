/* A comparison as console table and CSV. */
#include "bench/compare.h"

static const char *const verdict_names[] = {"faster", "same", "slower", "uncertain"};

void comparison_print(const ComparisonReport *report, FILE *out) {
    fprintf(out, "%-52s %9s %17s  %s\n", "case", "new/base", "95 % interval", "verdict");
    for (int i = 0; i < report->count; i++) {
        const Comparison *row = &report->rows[i];
        fprintf(out, "%-52s %9.3f %8.3f-%8.3f  %s\n", row->name, row->ratio, row->interval.low,
                row->interval.high, verdict_names[row->verdict]);
    }
    fprintf(out, "\n%d round%s, threshold %.3g %%:", report->rounds, report->rounds == 1 ? "" : "s",
            100 * report->threshold);
    for (int v = 0; v < 4; v++)
        fprintf(out, " %d %s%s", report->verdicts[v], verdict_names[v], v < 3 ? "," : "");
    fprintf(out, "; geometric mean %.3f\n", report->geometric_mean);
    if (report->only_base + report->only_new)
        fprintf(out, "not compared: %d cases only in the base, %d only in the new report\n",
                report->only_base, report->only_new);
}

void comparison_csv(const ComparisonReport *report, FILE *out) {
    fputs("case,ratio,low,high,verdict,threshold,rounds\n", out);
    for (int i = 0; i < report->count; i++) {
        const Comparison *row = &report->rows[i];
        fprintf(out, "%s,%.6g,%.6g,%.6g,%s,%g,%d\n", row->name, row->ratio, row->interval.low,
                row->interval.high, verdict_names[row->verdict], report->threshold, report->rounds);
    }
}
