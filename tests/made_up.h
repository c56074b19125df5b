/* Made-up results for the tests of tables and figures. */
#ifndef LONGHAUL_MADE_UP_H
#define LONGHAUL_MADE_UP_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cell/setting.h"
#include "bench/report/study.h"

static inline Study made_up_study(void) {
    Study study = {.suite = "mqar",
                   .preset = "quick",
                   .task = "mqar",
                   .task_version = 1,
                   .metric = "accuracy",
                   .higher_is_better = true,
                   .chance = 1.0 / 4096,
                   .solved = 0.99,
                   .axes = {"length", "pairs", "width"},
                   .axis_count = 3,
                   .tuned = {"lr"},
                   .tuned_count = 1};
    return study;
}

/* Adds a finished cell. settings: "key=value key=value"; model and seed are among them. The curve
 * climbs to the validation metric in ten points. */
static inline Record *made_up_cell(Study *study, const char *settings, double validation,
                                   double test) {
    if ((study->count & (study->count - 1)) == 0) /* full: grows by doubling */
        study->records = realloc(study->records, (size_t)(2 * study->count + 1) * sizeof(Record));
    Record *record = &study->records[study->count++];
    *record = (Record){.task_version = 1, .chance = study->chance, .solved = study->solved};
    snprintf(record->metric, sizeof record->metric, "%s", study->metric);
    snprintf(record->task, sizeof record->task, "mqar");
    char copy[512];
    snprintf(copy, sizeof copy, "%s", settings);
    for (char *rest = copy, *word; (word = strtok_r(rest, " ", &rest));) {
        char *equals = strchr(word, '=');
        *equals = 0;
        settings_add(&record->settings, word, equals + 1, "test", NULL);
        if (!strcmp(word, "model")) snprintf(record->model, sizeof record->model, "%s", equals + 1);
    }
    Result *result = &record->result;
    *result = (Result){.outcome = test >= 0.99 ? OUTCOME_SOLVED : OUTCOME_FINISHED,
                       .parameters = 582144,
                       .state_floats = 16384,
                       .flops = 1.2e12,
                       .train_seconds = 21,
                       .wall_seconds = 23.5,
                       .step_seconds_median = 0.0123,
                       .peak_bytes = 41 << 20,
                       .best_validation_metric = validation,
                       .test_metric = test,
                       .data_hash = 0x1234};
    result->curve_count = 10;
    result->curve = calloc(10, sizeof *result->curve);
    for (int i = 0; i < 10; i++) {
        result->curve[i].flops = 1.2e11 * (i + 1);
        result->curve[i].validation_metric = validation / (1 + exp(5.0 - 1.2 * (i + 1)));
    }
    return record;
}

#endif
