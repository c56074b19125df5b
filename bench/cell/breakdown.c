#include "bench/cell/breakdown.h"

#include <jansson.h>
#include <math.h>

/* Groups of places: 0 .. 7, then quarters of each octave. */
enum { SINGLE = 8, QUARTERS = 4, SINGLE_BITS = 3 };

static int position_group(int64_t position) {
    if (position < SINGLE) return (int)position;
    int bits = SINGLE_BITS;
    while (position >> (bits + 1)) bits++;
    const int64_t quarter = (position - ((int64_t)1 << bits)) >> (bits - 2);
    const int group = SINGLE + (bits - SINGLE_BITS) * QUARTERS + (int)quarter;
    return group < BREAKDOWN_POSITIONS ? group : BREAKDOWN_POSITIONS - 1;
}

static void position_bounds(int group, int64_t *from, int64_t *to) {
    *from = *to = group;
    if (group < SINGLE) return;
    const int bits = SINGLE_BITS + (group - SINGLE) / QUARTERS;
    const int64_t width = (int64_t)1 << (bits - 2);
    *from = ((int64_t)1 << bits) + (group - SINGLE) % QUARTERS * width;
    *to = *from + width - 1;
}

static int frequency_group(int64_t frequency) {
    int group = 0;
    for (; frequency > 0 && group < BREAKDOWN_FREQUENCIES - 1; group++) frequency /= 10;
    return group;
}

static void frequency_bounds(int group, int64_t *from, int64_t *to) {
    int64_t power = 1;
    for (int i = 1; i < group; i++) power *= 10;
    *from = group > 0 ? power : 0;
    *to = group == 0 ? 0 : power > INT64_MAX / 10 ? INT64_MAX : 10 * power - 1;
}

static void add_to(LossGroup *group, int64_t from, int64_t to, double nats) {
    group->from = from;
    group->to = to;
    group->labels += 1;
    group->nats += nats;
}

void breakdown_add(Breakdown *breakdown, int64_t position, int64_t frequency, double nats) {
    int64_t from, to;
    breakdown->labels += 1;
    breakdown->nats += nats;
    const int place = position_group(position);
    position_bounds(place, &from, &to);
    add_to(&breakdown->positions[place], from, to, nats);
    if (frequency < 0) return;
    const int often = frequency_group(frequency);
    frequency_bounds(often, &from, &to);
    add_to(&breakdown->frequencies[often], from, to, nats);
}

void sample_group_add(SampleGroup groups[BREAKDOWN_POSITIONS], int64_t number, double accuracy,
                      double weight) {
    SampleGroup *group = &groups[position_group(number)];
    position_bounds(position_group(number), &group->from, &group->to);
    group->samples += 1;
    group->weight += weight;
    group->accuracy += weight * accuracy;
}

double sample_group_accuracy(const SampleGroup *group) {
    return group->accuracy / group->weight;
}

double breakdown_last(const Breakdown *breakdown) {
    const LastLabels *last = &breakdown->last;
    return last->samples > 0 ? last->loss / last->samples : NAN;
}

void breakdown_add_extent(Breakdown *breakdown, const Extent *extent) {
    breakdown->extent.bytes += extent->bytes;
    breakdown->extent.words += extent->words;
    breakdown->extent.lines += extent->lines;
}

double breakdown_bits_per_byte(const Breakdown *breakdown) {
    const double bytes = breakdown->extent.bytes;
    return bytes > 0 ? breakdown->nats / (bytes * log(2)) : NAN;
}

double breakdown_word_perplexity(const Breakdown *breakdown) {
    const double words = breakdown->extent.words + breakdown->extent.lines;
    return words > 0 ? exp(breakdown->nats / words) : NAN;
}

/* ---- JSON ---- */

static json_t *real(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *bounds_to_json(int64_t from, int64_t to) {
    json_t *object = json_object();
    json_object_set_new(object, "from", json_integer(from));
    json_object_set_new(object, "to", json_integer(to));
    return object;
}

static json_t *groups_to_json(const LossGroup *groups, int count) {
    json_t *list = json_array();
    for (int i = 0; i < count; i++) {
        const LossGroup *group = &groups[i];
        if (group->labels == 0) continue;
        json_t *object = bounds_to_json(group->from, group->to);
        json_object_set_new(object, "labels", real(group->labels));
        json_object_set_new(object, "nats", real(group->nats));
        json_object_set_new(object, "perplexity", real(exp(group->nats / group->labels)));
        json_array_append_new(list, object);
    }
    return list;
}

static void add_sample_groups(json_t *object, const char *key, const SampleGroup *groups) {
    json_t *list = json_array();
    for (int i = 0; i < BREAKDOWN_POSITIONS; i++) {
        const SampleGroup *group = &groups[i];
        if (group->samples == 0) continue;
        json_t *entry = bounds_to_json(group->from, group->to);
        json_object_set_new(entry, "samples", real(group->samples));
        if (group->weight != group->samples)
            json_object_set_new(entry, "labels", real(group->weight));
        json_object_set_new(entry, "accuracy", real(sample_group_accuracy(group)));
        json_array_append_new(list, entry);
    }
    if (json_array_size(list) > 0) json_object_set(object, key, list);
    json_decref(list);
}

static void add_last(json_t *object, const Breakdown *breakdown) {
    if (breakdown->last.samples == 0) return;
    json_t *entry = json_object();
    json_object_set_new(entry, "samples", real(breakdown->last.samples));
    json_object_set_new(entry, "loss", real(breakdown_last(breakdown)));
    json_object_set_new(object, "last_label", entry);
}

static void add_guesses(json_t *object, const Guesses *guesses) {
    if (guesses->samples == 0) return;
    json_t *entry = json_object();
    json_object_set_new(entry, "samples", real(guesses->samples));
    json_object_set_new(entry, "most_frequent", real(guesses->most_frequent));
    json_object_set_new(entry, "first_token", real(guesses->first_token));
    json_object_set_new(object, "guesses", entry);
}

json_t *breakdown_to_json(const Breakdown *breakdown) {
    json_t *object = json_object();
    add_last(object, breakdown);
    add_guesses(object, &breakdown->guesses);
    add_sample_groups(object, "by_length", breakdown->lengths);
    add_sample_groups(object, "by_labels", breakdown->label_counts);
    if (breakdown->labels == 0) return object;
    json_object_set_new(object, "labels", real(breakdown->labels));
    json_object_set_new(object, "nats", real(breakdown->nats));
    json_object_set_new(object, "bytes", real(breakdown->extent.bytes));
    json_object_set_new(object, "words", real(breakdown->extent.words));
    json_object_set_new(object, "lines", real(breakdown->extent.lines));
    json_object_set_new(object, "bits_per_byte", real(breakdown_bits_per_byte(breakdown)));
    json_object_set_new(object, "word_perplexity", real(breakdown_word_perplexity(breakdown)));
    json_object_set_new(object, "by_position",
                        groups_to_json(breakdown->positions, BREAKDOWN_POSITIONS));
    json_object_set_new(object, "by_training_count",
                        groups_to_json(breakdown->frequencies, BREAKDOWN_FREQUENCIES));
    return object;
}

static bool take(const json_t *object, const char *name, double *value) {
    const json_t *field = json_object_get(object, name);
    *value = json_is_number(field) ? json_number_value(field) : NAN;
    return json_is_number(field) || json_is_null(field);
}

/* Bounds of a group, and its place among count; -1 when that is damaged. */
static int bounds_from_json(const json_t *object, int count, int (*group_of)(int64_t from),
                            int64_t *first, int64_t *last) {
    const json_t *from = json_object_get(object, "from"), *to = json_object_get(object, "to");
    if (!json_is_integer(from) || !json_is_integer(to) || json_integer_value(from) < 0) return -1;
    *first = json_integer_value(from);
    *last = json_integer_value(to);
    const int index = group_of(*first);
    return index < count ? index : -1;
}

static bool groups_from_json(const json_t *list, LossGroup *groups, int count,
                             int (*group_of)(int64_t from)) {
    size_t i;
    json_t *object;
    json_array_foreach(list, i, object) {
        int64_t from, to;
        const int index = bounds_from_json(object, count, group_of, &from, &to);
        if (index < 0) return false;
        LossGroup *group = &groups[index];
        group->from = from;
        group->to = to;
        if (!take(object, "labels", &group->labels) || !take(object, "nats", &group->nats))
            return false;
    }
    return json_is_array(list);
}

static bool samples_from_json(const json_t *list, SampleGroup *groups) {
    size_t i;
    json_t *object;
    json_array_foreach(list, i, object) {
        int64_t from, to;
        const int index = bounds_from_json(object, BREAKDOWN_POSITIONS, position_group, &from, &to);
        if (index < 0) return false;
        SampleGroup *group = &groups[index];
        group->from = from;
        group->to = to;
        if (!take(object, "samples", &group->samples) ||
            !take(object, "accuracy", &group->accuracy))
            return false;
        group->weight = group->samples;
        if (json_object_get(object, "labels") && !take(object, "labels", &group->weight))
            return false;
        group->accuracy *= group->weight;
    }
    return !list || json_is_array(list);
}

static bool last_from_json(const json_t *json, LastLabels *last) {
    if (!json) return true;
    if (!take(json, "samples", &last->samples) || !take(json, "loss", &last->loss)) return false;
    last->loss *= last->samples;
    return true;
}

static bool guesses_from_json(const json_t *json, Guesses *guesses) {
    return !json || (take(json, "samples", &guesses->samples) &&
                     take(json, "most_frequent", &guesses->most_frequent) &&
                     take(json, "first_token", &guesses->first_token));
}

/* Without a loss by position there must be another part: an object of none is damaged. */
static bool has_other_part(const json_t *json) {
    static const char *const parts[] = {"by_length", "last_label", "guesses"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (json_object_get(json, parts[i])) return true;
    return false;
}

bool breakdown_from_json(const json_t *json, Breakdown *breakdown) {
    *breakdown = (Breakdown){0};
    if (!json || json_object_size(json) == 0) return true;
    if (!samples_from_json(json_object_get(json, "by_length"), breakdown->lengths) ||
        !samples_from_json(json_object_get(json, "by_labels"), breakdown->label_counts) ||
        !last_from_json(json_object_get(json, "last_label"), &breakdown->last) ||
        !guesses_from_json(json_object_get(json, "guesses"), &breakdown->guesses))
        return false;
    if (!json_object_get(json, "labels")) return has_other_part(json);
    return take(json, "labels", &breakdown->labels) && take(json, "nats", &breakdown->nats) &&
           take(json, "bytes", &breakdown->extent.bytes) &&
           take(json, "words", &breakdown->extent.words) &&
           take(json, "lines", &breakdown->extent.lines) &&
           groups_from_json(json_object_get(json, "by_position"), breakdown->positions,
                            BREAKDOWN_POSITIONS, position_group) &&
           groups_from_json(json_object_get(json, "by_training_count"), breakdown->frequencies,
                            BREAKDOWN_FREQUENCIES, frequency_group);
}
