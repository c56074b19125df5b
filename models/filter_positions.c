#include "models/filter_positions.h"

#include <math.h>

static void fill_positions(float *data, const Shape *shape, Random *random, double a, double b) {
    (void)random, (void)a, (void)b;
    const int64_t length = shape->extent[0], features = shape->extent[1],
                  bands = (features - 1) / 2;
    for (int64_t t = 0; t < length; t++) {
        float *z = data + t * features;
        z[0] = length > 1 ? (float)((double)t / (double)(length - 1)) : 0;
        for (int64_t k = 0; k < bands; k++) {
            const double step = bands > 1 ? ((double)(bands - 1) - 1e-4) / (double)(bands - 1) : 0;
            const double frequency = 1e-4 + step * (double)k;
            const double angle = frequency * 2 * M_PI * (double)t / (double)length;
            z[1 + k] = (float)cos(angle);
            z[1 + bands + k] = (float)-sin(angle);
        }
    }
}

Init filter_positions(void) {
    return init_fill(fill_positions, 0, 0);
}
