#include "engine/optimizer.h"

#include <math.h>
#include <string.h>

#include "engine/adamw.h"

double schedule_factor(ScheduleShape shape, double progress, double warmup, double end) {
    if (progress < warmup) return progress / warmup;
    const double rest = warmup < 1 ? fmin(1, (progress - warmup) / (1 - warmup)) : 1;
    switch (shape) {
    case SHAPE_LINEAR:
        return 1 - (1 - end) * rest;
    case SHAPE_COSINE:
        return end + (1 - end) * 0.5 * (1 + cos(3.14159265358979323846 * rest));
    case SHAPE_CONSTANT:
        break;
    }
    return 1;
}

/* Peak rates of a group; what two neighbours must share to be updated in one pass. */
typedef struct Rates {
    double rate, decay;
    bool frozen;
} Rates;

static Rates rates_of(const Optimizer *optimizer, const Group *group) {
    const double factor = group->rate_factor > 0 ? group->rate_factor : 1;
    return (Rates){.rate = group->fixed_rate > 0 ? group->fixed_rate * optimizer->factor
                                                 : optimizer->rate * factor,
                   .decay = group->no_decay ? 0 : optimizer->weight_decay,
                   .frozen = group->frozen};
}

static bool same_rates(const Rates *a, const Rates *b) {
    return a->rate == b->rate && a->decay == b->decay && a->frozen == b->frozen;
}

static void update(const Optimizer *optimizer, const Parameters *parameters, const Rates *rates,
                   int64_t from, int64_t to, double scale, int64_t step, int threads) {
    if (rates->frozen || to == from) return;
    const AdamW settings = {.rate = rates->rate,
                            .beta1 = optimizer->beta1,
                            .beta2 = optimizer->beta2,
                            .epsilon = optimizer->epsilon,
                            .decay = rates->decay,
                            .gradient_scale = scale,
                            .step = step,
                            .zero_gradients = true};
    const AdamWRange range = {parameters->values + from, parameters->gradients + from,
                              parameters->moments1 + from, parameters->moments2 + from, to - from};
    adamw_update(parameters->device->isa, &settings, range, threads);
}

double optimizer_step(const Optimizer *optimizer, Parameters *parameters, int64_t step,
                      int threads) {
    const double norm = sqrt(
        sum_of_squares(parameters->device->isa, parameters->gradients, parameters->size, threads));
    if (!isfinite(norm)) {
        memset(parameters->gradients, 0, (size_t)parameters->size * sizeof(float));
        return norm;
    }
    const double scale = optimizer->clip > 0 && norm > optimizer->clip ? optimizer->clip / norm : 1;
    int64_t from = 0; /* neighbours with equal rates are one range, padding included */
    Rates rates = {0};
    for (int i = 0; i < parameters->count; i++) {
        const Parameter *parameter = parameters->list[i];
        const Rates own = rates_of(optimizer, &parameter->group);
        if (i > 0 && !same_rates(&own, &rates)) {
            update(optimizer, parameters, &rates, from, parameter->offset, scale, step, threads);
            from = parameter->offset;
        }
        rates = own;
    }
    update(optimizer, parameters, &rates, from, parameters->size, scale, step, threads);
    return norm;
}
