/* From which length on is a model cheaper than attention? Measured, not derived. */
#include <math.h>
#include <string.h>

#include "bench/speed/speed_grid.h"

static double token_seconds(const SpeedReport *report, const char *model, int64_t width,
                            int64_t length, SpeedPhase phase) {
    for (int i = 0; i < report->count; i++) {
        const SpeedRow *row = &report->rows[i];
        if (row->width == width && row->length == length && !row->skipped[0] &&
            strcmp(row->model, model) == 0)
            return speed_token_seconds(&row->speed, phase);
    }
    return NAN;
}

/* The next longer length of the model's rows; 0 after the last. */
static int64_t next_length(const SpeedReport *report, const char *model, int64_t width,
                           int64_t after) {
    int64_t next = 0;
    for (int i = 0; i < report->count; i++) {
        const SpeedRow *row = &report->rows[i];
        if (row->width == width && row->length > after && strcmp(row->model, model) == 0 &&
            (next == 0 || row->length < next))
            next = row->length;
    }
    return next;
}

double speed_crossover(const SpeedReport *report, const char *model, int64_t width,
                       SpeedPhase phase) {
    if (report->generated || phase == SPEED_GENERATE) return NAN;
    double crossover = NAN, before = NAN; /* logarithm of the ratio at the length before */
    int64_t last = 0;
    int common = 0;
    for (int64_t length = 0; (length = next_length(report, model, width, length));) {
        const double ratio = log(token_seconds(report, model, width, length, phase) /
                                 token_seconds(report, report->against, width, length, phase));
        if (isnan(ratio)) continue;
        common++;
        if (ratio >= 0)
            crossover = INFINITY; /* dearer here: whatever came before does not count */
        else if (common == 1)
            crossover = 0;
        else if (before >= 0)
            crossover = exp(log((double)last) +
                            (log((double)length) - log((double)last)) * before / (before - ratio));
        before = ratio;
        last = length;
    }
    return common < 2 ? NAN : crossover;
}
