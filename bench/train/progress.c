#include "bench/train/progress.h"

#include <math.h>
#include <stdio.h>

int progress_format(const Progress *progress, char line[PROGRESS_BYTES]) {
    return snprintf(line, PROGRESS_BYTES, "progress %.6f %.6f %.3f\n", progress->fraction,
                    progress->metric, progress->seconds_left);
}

bool progress_parse(const char *line, Progress *progress) {
    return sscanf(line, "progress %lf %lf %lf", &progress->fraction, &progress->metric,
                  &progress->seconds_left) == 3;
}

void duration_text(double seconds, char text[DURATION_BYTES]) {
    if (!isfinite(seconds) || seconds < 0 || seconds > 1e8) {
        snprintf(text, DURATION_BYTES, "?");
        return;
    }
    const int whole = (int)ceil(seconds);
    if (whole < 100)
        snprintf(text, DURATION_BYTES, "%d s", whole);
    else if (whole < 3600)
        snprintf(text, DURATION_BYTES, "%d:%02d min", whole / 60, whole % 60);
    else
        snprintf(text, DURATION_BYTES, "%d:%02d h", whole / 3600, whole / 60 % 60);
}
