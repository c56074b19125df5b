#include "engine/optimizer.h"

#include <math.h>
#include <string.h>

#include "engine/adamw.h"

static AdamWPart part_of(const Optimizer *optimizer, const Parameter *parameter, int64_t step) {
    const Group *group = &parameter->group;
    const double factor = group->rate_factor > 0 ? group->rate_factor : 1;
    const double replays = optimizer->replays > 0 ? (double)optimizer->replays : 1;
    return (AdamWPart){.settings = {.rate = group->fixed_rate > 0
                                                ? group->fixed_rate * optimizer->factor
                                                : optimizer->rate * factor,
                                    .beta1 = optimizer->beta1,
                                    .beta2 = optimizer->beta2,
                                    .epsilon = optimizer->epsilon,
                                    .decay = group->no_decay ? 0 : optimizer->weight_decay,
                                    .gradient_scale = 1,
                                    .step = step,
                                    .zero_gradients = true},
                       .from = parameter->offset,
                       .frozen = group->frozen && !(group->average > 0),
                       .averages = group->average > 0,
                       .keep = (float)(1 - group->average),
                       .take = (float)(group->average / replays)};
}

static bool same_rates(const AdamWPart *a, const AdamWPart *b) {
    return a->settings.rate == b->settings.rate && a->settings.decay == b->settings.decay &&
           a->frozen == b->frozen && a->averages == b->averages && a->keep == b->keep;
}

/* Neighbours with equal rates are one part, padding included. Parts: at most one a parameter, in
 * the order of the flat arrays, where running averages are last. */
static int cut(const Optimizer *optimizer, const Parameters *parameters, int64_t step,
               AdamWPart *parts) {
    int count = 0;
    for (int averages = 0; averages < 2; averages++)
        for (int i = 0; i < parameters->count; i++) {
            const AdamWPart own = part_of(optimizer, parameters->list[i], step);
            if (own.averages != averages) continue;
            if (count && same_rates(&own, &parts[count - 1])) continue;
            if (count) parts[count - 1].to = own.from;
            parts[count++] = own;
        }
    if (count) parts[count - 1].to = parameters->size;
    return count;
}

static void update_averages(const AdamWPart *part, const Parameters *parameters) {
    for (int64_t i = part->from; i < part->to; i++) {
        parameters->values[i] =
            part->keep * parameters->values[i] + part->take * parameters->gradients[i];
        parameters->gradients[i] = 0;
    }
}

static double update(const Optimizer *optimizer, const Parameters *parameters, AdamWPart *parts,
                     int count, int threads) {
    const Isa isa = parameters->device->isa;
    const int64_t normed = parameters->size - parameters->averages;
    const double norm = sqrt(sum_of_squares(isa, parameters->gradients, normed, threads));
    if (!isfinite(norm)) {
        memset(parameters->gradients, 0, (size_t)parameters->size * sizeof(float));
        return norm;
    }
    for (int i = 0; i < count; i++) {
        if (parts[i].frozen) continue;
        if (parts[i].averages) {
            update_averages(&parts[i], parameters);
            continue;
        }
        if (optimizer->clip > 0 && norm > optimizer->clip)
            parts[i].settings.gradient_scale = optimizer->clip / norm;
        const int64_t from = parts[i].from;
        const AdamWRange range = {parameters->values + from, parameters->gradients + from,
                                  parameters->moments1 + from, parameters->moments2 + from,
                                  parts[i].to - from};
        adamw_update(isa, &parts[i].settings, range, threads);
    }
    return norm;
}

void optimizer_step(const Optimizer *optimizer, Parameters *parameters, int64_t step, int threads,
                    double *norm) {
    Device *device = parameters->device;
    AdamWPart *parts = parameters->parts;
    const int count = cut(optimizer, parameters, step, parts);
    const AdamWFlat flat = {parameters->values,   parameters->gradients,
                            parameters->moments1, parameters->moments2,
                            parameters->size,     parameters->size - parameters->averages};
    if (device->kind->remote) {
        device->kind->remote->update(device, &flat, parts, count, optimizer->clip, norm);
        return;
    }
    const double own = update(optimizer, parameters, parts, count, threads);
    if (norm) *norm = own;
}
