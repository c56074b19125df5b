#include "tasks/lanczos.h"

#include <math.h>
#include <stdlib.h>

#include "tasks/sampling.h"

enum { BITS = 22 };

static double sinc(double x) {
    return x == 0 ? 1 : sin(M_PI * x) / (M_PI * x);
}

static double kernel(double x) {
    return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

Lanczos lanczos_open(int from, int to) {
    const double scale = (double)from / to, support = 3 * scale;
    Lanczos filter = {.from = from, .to = to, .taps = 2 * (int)ceil(support) + 1};
    const size_t outputs = (size_t)to;
    filter.starts = scratch_open(outputs * sizeof *filter.starts);
    filter.counts = scratch_open(outputs * sizeof *filter.counts);
    filter.weights = scratch_open(outputs * (size_t)filter.taps * sizeof *filter.weights);
    double *exact = scratch_open((size_t)filter.taps * sizeof *exact);
    for (int i = 0; i < to; i++) {
        const double centre = (i + 0.5) * scale;
        int start = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
        if (start < 0) start = 0;
        if (end > from) end = from;
        double sum = 0;
        for (int t = start; t < end; t++)
            sum += exact[t - start] = kernel((t - centre + 0.5) / scale);
        for (int t = start; t < end; t++)
            filter.weights[i * filter.taps + t - start] =
                (int32_t)round(exact[t - start] / sum * (1 << BITS));
        filter.starts[i] = start;
        filter.counts[i] = end - start;
    }
    free(exact);
    return filter;
}

void lanczos_close(Lanczos *filter) {
    free(filter->starts);
    free(filter->counts);
    free(filter->weights);
    *filter = (Lanczos){0};
}

uint8_t lanczos_sample(const Lanczos *filter, int index, const uint8_t *line, int stride) {
    const int32_t *weights = filter->weights + index * filter->taps;
    const uint8_t *from = line + filter->starts[index] * stride;
    int32_t sum = 1 << (BITS - 1);
    for (int t = 0; t < filter->counts[index]; t++) sum += weights[t] * from[t * stride];
    if (sum < 0) return 0;
    const int32_t value = sum >> BITS;
    return value > 255 ? 255 : (uint8_t)value;
}

void lanczos_square(const Lanczos *filter, const uint8_t *image, uint8_t *out) {
    uint8_t *rows = scratch_open((size_t)(filter->from * filter->to));
    for (int y = 0; y < filter->from; y++)
        for (int x = 0; x < filter->to; x++)
            rows[y * filter->to + x] = lanczos_sample(filter, x, image + y * filter->from, 1);
    for (int y = 0; y < filter->to; y++)
        for (int x = 0; x < filter->to; x++)
            out[y * filter->to + x] = lanczos_sample(filter, y, rows + x, filter->to);
    free(rows);
}
