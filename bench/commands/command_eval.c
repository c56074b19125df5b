/* longhaul eval: trained weights on a split, at settings that may differ from those of training. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cell/launch.h"
#include "bench/cli/command.h"
#include "bench/commands/run_folder.h"
#include "bench/train/evaluate.h"
#include "bench/train/refit.h"

/* Everything that one call works on. */
typedef struct Job {
    Settings trained, changes;
    CheckpointWeights weights;
    Cell before, cell; /* as trained, and as evaluated */
    Parameters *as_trained;
    Split split;
    int64_t samples;
    Evaluation evaluation;
    Breakdown breakdown;
} Job;

/* Replicas are about gradients; what they leave to evaluations is the size of a part of the batch,
 * by which samples are cut. */
static Status forget_replicas(Job *job, Error *error) {
    const RunOptions *run = &job->before.run;
    char part[32];
    if (run->replicas == 1) return STATUS_OK;
    snprintf(part, sizeof part, "%lld", (long long)(run->batch / run->replicas));
    Status status = settings_add(&job->trained, "batch", part, "a replica", error);
    if (status == STATUS_OK) status = settings_add(&job->trained, "replicas", "1", "eval", error);
    return status;
}

/* With RUN or --config the command line says what changes, else it is the cell. */
static Status gather(Job *job, const Invocation *invocation, Error *error) {
    const bool described = invocation->argument_count > 0 || invocation->flags.config[0];
    Status status = run_source(invocation, &job->trained, &job->weights, error);
    if (status == STATUS_OK && !job->weights.path[0])
        status =
            error_set(error, STATUS_USAGE,
                      "no weights to evaluate; expected the folder of a run, or --weights FILE "
                      "with settings");
    if (status == STATUS_OK)
        status = settings_add_all(described ? &job->changes : &job->trained, &invocation->settings,
                                  error);
    if (status == STATUS_OK) status = cell_build(&job->before, &job->trained, error);
    if (status == STATUS_OK) status = forget_replicas(job, error);
    if (status == STATUS_OK)
        status = cell_refit(&job->cell, &job->trained, &job->changes, &job->as_trained, error);
    return status;
}

static Status choose_split(Job *job, const Flags *flags, Error *error) {
    job->split = flag_split(flags, SPLIT_TEST);
    if (job->split != SPLIT_TRAIN) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "--split train: training samples are not evaluated; expected test or "
                     "validation");
}

static Status evaluate(Job *job, const Flags *flags, Error *error) {
    Session session;
    const RunOptions *run = &job->cell.run;
    snprintf(job->cell.device, sizeof job->cell.device, "%s", flag_device(flags));
    Status status = session_open(&session, &job->cell, flag_threads(flags), error);
    if (status == STATUS_OK)
        status = session_allocate_evaluation(&session, (uint64_t)job->before.run.seed, error);
    if (status == STATUS_OK)
        status = job->changes.count > 0
                     ? weights_fit(job->weights.path, session.parameters, job->as_trained, error)
                     : weights_load(job->weights.path, session.parameters, error);
    if (status == STATUS_OK) status = parameters_send(session.parameters, error);
    if (status == STATUS_OK) {
        const int64_t wanted =
            job->split == SPLIT_TEST ? run->test_samples : run->validation_samples;
        job->samples = session_samples(&session, job->split, wanted);
        job->evaluation = session_evaluate(&session, job->split, wanted, &job->breakdown);
        status =
            parameters_fetch(session.parameters, error); /* a device that failed says so here */
    }
    session_close(&session);
    return status;
}

/* ---- what it says ---- */

/* Calls with every setting whose value is not the trained one. */
static void each_change(const Job *job,
                        void (*show)(void *context, const char *key, const char *before,
                                     const char *now),
                        void *context) {
    int count, again;
    CellValue *now = cell_values(&job->cell, &count), *before = cell_values(&job->before, &again);
    for (int i = 0; i < count; i++) /* the same tables, so the same keys */
        if (settings_find(&job->changes, now[i].key) && strcmp(now[i].text, before[i].text) != 0)
            show(context, now[i].key, before[i].text, now[i].text);
    free(now);
    free(before);
}

static void print_change(void *context, const char *key, const char *before, const char *now) {
    (void)context;
    printf("%-22s %s (trained with %s)\n", key, now, before);
}

static void print_known(const char *name, double value) {
    if (!isnan(value)) printf("%-22s %.6g\n", name, value);
}

static void print_groups(const char *what, const SampleGroup *groups) {
    bool first = true;
    for (int i = 0; i < BREAKDOWN_POSITIONS; i++) {
        const SampleGroup *group = &groups[i];
        char range[48];
        if (group->samples == 0) continue;
        if (first) printf("\n%-22s %10s %10s\n", what, "samples", "accuracy");
        first = false;
        if (group->from == group->to)
            snprintf(range, sizeof range, "%lld", (long long)group->from);
        else
            snprintf(range, sizeof range, "%lld to %lld", (long long)group->from,
                     (long long)group->to);
        printf("%-22s %10.0f %10.4f\n", range, group->samples, sample_group_accuracy(group));
    }
}

static void print_text(const Job *job, const Problem *problem) {
    const Evaluation *evaluation = &job->evaluation;
    printf("%s %s", job->cell.task->name, job->cell.model->name);
    if (job->weights.step >= 0) printf(" after %lld steps", (long long)job->weights.step);
    printf(", %s, %lld samples\n", split_name(job->split), (long long)job->samples);
    each_change(job, print_change, NULL);
    printf("%-22s %.6g\n", "loss", evaluation->loss);
    printf("%-22s %.6g%s\n", problem->metric, evaluation->metric,
           evaluation->at_chance ? ", at chance" : "");
    print_known("bits/byte", breakdown_bits_per_byte(&job->breakdown));
    print_known("a word", breakdown_word_perplexity(&job->breakdown));
    print_known("at the end", breakdown_last(&job->breakdown));
    print_groups("length", job->breakdown.lengths);
    print_groups("labels", job->breakdown.label_counts);
}

static void add_change(void *context, const char *key, const char *before, const char *now) {
    json_object_set_new(context, key, json_pack("{s:s, s:s}", "trained", before, "value", now));
}

static json_t *real(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

static void print_json(const Job *job, const Problem *problem) {
    const Evaluation *evaluation = &job->evaluation;
    char identity[17];
    json_t *object = json_object(), *settings = json_object(), *changes = json_object();
    int count;
    CellValue *values = cell_values(&job->cell, &count);
    for (int i = 0; i < count; i++)
        json_object_set_new(settings, values[i].key, json_string(values[i].text));
    free(values);
    each_change(job, add_change, changes);
    cell_identity(&job->before, identity);
    json_object_set_new(object, "trained_identity", json_string(identity));
    json_object_set_new(object, "weights", json_string(job->weights.path));
    json_object_set_new(object, "steps",
                        job->weights.step < 0 ? json_null() : json_integer(job->weights.step));
    json_object_set_new(object, "task", json_string(job->cell.task->name));
    json_object_set_new(object, "model", json_string(job->cell.model->name));
    json_object_set_new(object, "device", json_string(job->cell.device));
    json_object_set_new(object, "settings", settings);
    json_object_set_new(object, "changes", changes);
    json_object_set_new(object, "split", json_string(split_name(job->split)));
    json_object_set_new(object, "samples", json_integer(job->samples));
    json_object_set_new(object, "loss", real(evaluation->loss));
    json_object_set_new(object, "metric", json_string(problem->metric));
    json_object_set_new(object, "value", real(evaluation->metric));
    json_object_set_new(object, "at_chance", json_boolean(evaluation->at_chance));
    json_object_set_new(object, "breakdown", breakdown_to_json(&job->breakdown));
    json_dumpf(object, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(object);
}

static Status report(const Job *job, const Flags *flags, Error *error) {
    Problem problem;
    if (cell_validate(&job->cell, &problem, error) != STATUS_OK) return error->status;
    (flags->json ? print_json : print_text)(job, &problem);
    if (isfinite(job->evaluation.loss)) return STATUS_OK;
    return error_set(error, STATUS_NUMERIC, "the loss is not finite: %g", job->evaluation.loss);
}

static Status eval(const Invocation *invocation, Error *error) {
    const Flags *flags = &invocation->flags;
    Job job = {0};
    Status status = launch_refuse("eval", "start one process", error);
    if (status == STATUS_OK) status = choose_split(&job, flags, error);
    if (status == STATUS_OK) status = gather(&job, invocation, error);
    if (status == STATUS_OK) status = evaluate(&job, flags, error);
    if (status == STATUS_OK) status = report(&job, flags, error);
    parameters_close(job.as_trained);
    cell_close(&job.before);
    cell_close(&job.cell);
    settings_free(&job.trained);
    settings_free(&job.changes);
    return status;
}

const Command command_eval = {
    .name = "eval",
    .arguments = "[RUN]",
    .summary = "evaluate trained weights, also at other lengths, strides, seeds or devices",
    .detail =
        "RUN is a cell's folder, finished or with a checkpoint; --config FILE --weights FILE\n"
        "or settings with --weights FILE do without. Beside RUN or --config, key=value says\n"
        "what is other than in training: lengths, stride, memory, seed (of the data),\n"
        "test_samples, validation_samples, products; batch=N micro_batch=N computes N samples\n"
        "at once. What would change a weight is refused, and what has no part in an\n"
        "evaluation. Models whose tables and filters depend on the longest length keep those\n"
        "of training. The result of RUN stays as it is.",
    .flags = "config device force json split threads weights",
    .most_arguments = 1,
    .takes_settings = true,
    .run = eval,
};
