#include "bench/cell/result.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"

/* One table drives writing and reading of Result. */
typedef enum FieldType { FIELD_INTEGER, FIELD_INT, FIELD_REAL, FIELD_BOOL } FieldType;
typedef struct Field {
    const char *name;
    FieldType type;
    size_t offset;
} Field;

#define RESULT(type, field)                                                                        \
    { #field, type, offsetof(Result, field) }
static const Field result_fields[] = {
    RESULT(FIELD_BOOL, at_chance),
    RESULT(FIELD_INTEGER, parameters),
    RESULT(FIELD_INTEGER, embedding_parameters),
    RESULT(FIELD_INTEGER, state_floats),
    RESULT(FIELD_INTEGER, steps),
    RESULT(FIELD_INTEGER, samples),
    RESULT(FIELD_INTEGER, tokens),
    RESULT(FIELD_REAL, flops),
    RESULT(FIELD_REAL, flops_per_step),
    RESULT(FIELD_REAL, executed_flops_per_step),
    RESULT(FIELD_REAL, six_n_flops_per_step),
    RESULT(FIELD_REAL, train_seconds),
    RESULT(FIELD_REAL, evaluation_seconds),
    RESULT(FIELD_REAL, wall_seconds),
    RESULT(FIELD_REAL, step_seconds_median),
    RESULT(FIELD_INTEGER, peak_bytes),
    RESULT(FIELD_INTEGER, planned_bytes),
    RESULT(FIELD_REAL, train_loss),
    RESULT(FIELD_REAL, validation_loss),
    RESULT(FIELD_REAL, validation_metric),
    RESULT(FIELD_REAL, test_loss),
    RESULT(FIELD_REAL, test_metric),
    RESULT(FIELD_REAL, best_validation_metric),
    RESULT(FIELD_INTEGER, best_step),
    RESULT(FIELD_INT, threads),
    RESULT(FIELD_INT, sessions),
};
enum { RESULT_FIELDS = sizeof result_fields / sizeof *result_fields };

#define POINT(type, field)                                                                         \
    { #field, type, offsetof(CurvePoint, field) }
static const Field point_fields[] = {
    POINT(FIELD_INTEGER, step),           POINT(FIELD_REAL, flops),
    POINT(FIELD_REAL, seconds),           POINT(FIELD_REAL, tokens),
    POINT(FIELD_REAL, train_loss),        POINT(FIELD_REAL, validation_loss),
    POINT(FIELD_REAL, validation_metric),
};
enum { POINT_FIELDS = sizeof point_fields / sizeof *point_fields };

static const char *const outcome_names[] = {[OUTCOME_FINISHED] = "finished",
                                            [OUTCOME_SOLVED] = "solved",
                                            [OUTCOME_DIVERGED] = "diverged",
                                            [OUTCOME_INTERRUPTED] = "interrupted"};
enum { OUTCOMES = sizeof outcome_names / sizeof *outcome_names };

/* JSON has no infinities and no not-a-number. */
static json_t *real_to_json(double value) {
    if (isnan(value)) return json_null();
    if (isinf(value)) return json_string(value > 0 ? "inf" : "-inf");
    return json_real(value);
}

static void fields_to_json(json_t *object, const Field *fields, int count, const void *values) {
    for (int i = 0; i < count; i++) {
        const void *field = (const char *)values + fields[i].offset;
        json_t *value = NULL;
        switch (fields[i].type) {
        case FIELD_INTEGER:
            value = json_integer(*(const int64_t *)field);
            break;
        case FIELD_INT:
            value = json_integer(*(const int *)field);
            break;
        case FIELD_REAL:
            value = real_to_json(*(const double *)field);
            break;
        case FIELD_BOOL:
            value = json_boolean(*(const bool *)field);
            break;
        }
        json_object_set_new(object, fields[i].name, value);
    }
}

static bool real_from_json(const json_t *value, double *real) {
    if (json_is_string(value)) {
        const bool positive = strcmp(json_string_value(value), "inf") == 0;
        *real = positive ? INFINITY : -INFINITY;
        return positive || strcmp(json_string_value(value), "-inf") == 0;
    }
    *real = json_is_null(value) ? NAN : json_number_value(value);
    return json_is_null(value) || json_is_number(value);
}

static bool field_from_json(const json_t *value, FieldType type, void *field) {
    switch (type) {
    case FIELD_INTEGER:
        *(int64_t *)field = json_integer_value(value);
        return json_is_integer(value);
    case FIELD_INT:
        *(int *)field = (int)json_integer_value(value);
        return json_is_integer(value);
    case FIELD_REAL:
        return real_from_json(value, field);
    case FIELD_BOOL:
        *(bool *)field = json_is_true(value);
        return json_is_boolean(value);
    }
    return false;
}

/* Name of the first field that is missing or of another type, or NULL. */
static const char *fields_from_json(const json_t *object, const Field *fields, int count,
                                    void *values) {
    for (int i = 0; i < count; i++)
        if (!field_from_json(json_object_get(object, fields[i].name), fields[i].type,
                             (char *)values + fields[i].offset))
            return fields[i].name;
    return NULL;
}

char *point_text(const CurvePoint *point) {
    json_t *object = json_object();
    fields_to_json(object, point_fields, POINT_FIELDS, point);
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

bool point_parse(const char *text, size_t bytes, CurvePoint *point) {
    json_t *object = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
    const bool good = object && !fields_from_json(object, point_fields, POINT_FIELDS, point);
    json_decref(object);
    return good;
}

json_t *result_to_json(const Result *result) {
    json_t *object = json_object(), *curve = json_array(), *times = json_array();
    json_object_set_new(object, "outcome", json_string(outcome_names[result->outcome]));
    json_object_set_new(object, "failure", json_string(result->failure));
    fields_to_json(object, result_fields, RESULT_FIELDS, result);
    char hash[17]; /* 64 bits do not fit a JSON number of every reader */
    snprintf(hash, sizeof hash, "%016" PRIx64, result->data_hash);
    json_object_set_new(object, "data_hash", json_string(hash));
    json_object_set_new(object, "processes", json_integer(result->processes));
    for (int i = 0; i < result->curve_count; i++) {
        json_t *point = json_object();
        fields_to_json(point, point_fields, POINT_FIELDS, &result->curve[i]);
        json_array_append_new(curve, point);
    }
    json_object_set_new(object, "curve", curve);
    for (int i = 0; i < result->step_seconds_count; i++)
        json_array_append_new(times, real_to_json(result->step_seconds[i]));
    json_object_set_new(object, "step_seconds", times);
    json_t *breakdown = breakdown_to_json(&result->test);
    if (json_object_size(breakdown) > 0) json_object_set(object, "test_breakdown", breakdown);
    json_decref(breakdown);
    return object;
}

static const char *curve_from_json(const json_t *curve, Result *result) {
    const size_t count = json_array_size(curve);
    if (!json_is_array(curve) || count > INT32_MAX) return "curve";
    result->curve = memory_take_zeroed(count + 1, sizeof *result->curve);
    result->curve_count = (int)count;
    for (size_t i = 0; i < count; i++)
        if (fields_from_json(json_array_get(curve, i), point_fields, POINT_FIELDS,
                             &result->curve[i]))
            return "curve";
    return NULL;
}

static const char *times_from_json(const json_t *times, Result *result) {
    const size_t count = json_array_size(times);
    if (!json_is_array(times) || count > RESULT_STEPS) return "step_seconds";
    result->step_seconds = memory_take_zeroed(count + 1, sizeof *result->step_seconds);
    result->step_seconds_count = (int)count;
    for (size_t i = 0; i < count; i++)
        if (!real_from_json(json_array_get(times, i), &result->step_seconds[i]))
            return "step_seconds";
    return NULL;
}

static const char *words_from_json(const json_t *object, Result *result) {
    const char *outcome = json_string_value(json_object_get(object, "outcome"));
    const char *failure = json_string_value(json_object_get(object, "failure"));
    const char *hash = json_string_value(json_object_get(object, "data_hash"));
    int which = 0;
    while (outcome && which < OUTCOMES && strcmp(outcome, outcome_names[which]) != 0) which++;
    if (!outcome || which == OUTCOMES) return "outcome";
    if (!failure) return "failure";
    if (!hash || sscanf(hash, "%16" SCNx64, &result->data_hash) != 1) return "data_hash";
    const json_t *processes = json_object_get(object, "processes"); /* not in older results */
    if (processes && !json_is_integer(processes)) return "processes";
    result->processes = processes ? (int)json_integer_value(processes) : 1;
    result->outcome = (Outcome)which;
    snprintf(result->failure, sizeof result->failure, "%s", failure);
    return NULL;
}

bool result_from_json(const json_t *json, Result *result, char *field, size_t field_bytes) {
    *result = (Result){0};
    const char *wrong = words_from_json(json, result);
    if (!wrong) wrong = fields_from_json(json, result_fields, RESULT_FIELDS, result);
    if (!wrong) wrong = curve_from_json(json_object_get(json, "curve"), result);
    if (!wrong) wrong = times_from_json(json_object_get(json, "step_seconds"), result);
    if (!wrong && !breakdown_from_json(json_object_get(json, "test_breakdown"), &result->test))
        wrong = "test_breakdown";
    if (!wrong) return true;
    snprintf(field, field_bytes, "%s", wrong);
    result_free(result);
    return false;
}

void result_free(Result *result) {
    free(result->step_seconds);
    free(result->curve);
    *result = (Result){0};
}
