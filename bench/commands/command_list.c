/* longhaul list: what there is, one per line, the name first. */
#include <glob.h>
#include <stdio.h>
#include <string.h>

#include "bench/cell/cell.h"
#include "bench/cell/schedule.h"
#include "bench/cli/command.h"
#include "bench/common/home.h"
#include "bench/common/yaml.h"
#include "bench/report/figure.h"
#include "engine/op.h"
#include "engine/word.h"

static const char *const kind_names[] = {[KIND_ATTENTION] = "attention",
                                         [KIND_RECURRENT] = "recurrent",
                                         [KIND_STATE_SPACE] = "state space",
                                         [KIND_CONVOLUTION] = "convolution",
                                         [KIND_HYBRID] = "hybrid"};

static Status list_models(const char *pattern, Error *error) {
    (void)error;
    int count;
    const Model *const *models = model_list(&count);
    for (int i = 0; i < count; i++) {
        const Model *model = models[i];
        if (!word_selected(pattern, model->name)) continue;
        const bool archived = *model->paper.arxiv;
        printf("%-18s %-12s %s; %s %d, %s%s%s%s\n", model->name, kind_names[model->kind],
               model->title, model->paper.authors, model->paper.year, archived ? "arXiv " : "",
               archived ? model->paper.arxiv : model->paper.venue, *model->note ? "; note: " : "",
               model->note);
    }
    return STATUS_OK;
}

static Status list_tasks(const char *pattern, Error *error) {
    (void)error;
    int count;
    const Task *const *tasks = task_list(&count);
    for (int i = 0; i < count; i++)
        if (word_selected(pattern, tasks[i]->name))
            printf("%-22s version %d  %s; %s\n", tasks[i]->name, tasks[i]->version, tasks[i]->title,
                   tasks[i]->paper);
    return STATUS_OK;
}

static Status list_ops(const char *pattern, Error *error) {
    (void)error;
    int count;
    const Op *const *ops = op_list(&count);
    for (int i = 0; i < count; i++)
        if (word_selected(pattern, ops[i]->name))
            printf("%-22s %s%s\n", ops[i]->name, ops[i]->summary,
                   ops[i]->multiplies ? "; obeys products=" : "");
    return STATUS_OK;
}

static Status list_schedules(const char *pattern, Error *error) {
    (void)error;
    int count;
    const ScheduleKind *kinds = schedule_kinds(&count);
    for (int i = 0; i < count; i++)
        if (word_selected(pattern, kinds[i].name))
            printf("%-22s %s%s%s\n", kinds[i].name, kinds[i].help,
                   *kinds[i].reads ? "; settings: " : "", kinds[i].reads);
    return STATUS_OK;
}

static Status list_suites(const char *pattern, Error *error) {
    char where[4096], name[64];
    if (home_path("bench/suites", where, sizeof where, error) != STATUS_OK) return error->status;
    snprintf(where + strlen(where), sizeof where - strlen(where), "/*.yaml");
    glob_t found;
    if (glob(where, 0, NULL, &found) != 0)
        return error_set(error, STATUS_IO, "no suites in %s", where);
    Status status = STATUS_OK;
    for (size_t i = 0; i < found.gl_pathc && status == STATUS_OK; i++) {
        const char *file = strrchr(found.gl_pathv[i], '/') + 1;
        snprintf(name, sizeof name, "%.*s", (int)(strlen(file) - strlen(".yaml")), file);
        if (!word_selected(pattern, name)) continue;
        Yaml *yaml;
        status = yaml_open(&yaml, found.gl_pathv[i], error);
        if (status != STATUS_OK) break;
        const YamlNode *title = yaml_get(yaml_root(yaml), "title");
        printf("%-16s %s\n", name, title && title->kind == YAML_WORD ? title->word : "");
        yaml_close(yaml);
    }
    globfree(&found);
    return status;
}

static Status list_figures(const char *pattern, Error *error) {
    (void)error;
    int count;
    const Figure *figures = figure_list(&count);
    for (int i = 0; i < count; i++)
        if (word_selected(pattern, figures[i].name))
            printf("%-12s %s\n", figures[i].name, figures[i].title);
    return STATUS_OK;
}

static void print_options(const OptionTable *table, const char *owner, const char *pattern) {
    for (int i = 0; i < table->count; i++) {
        const Option *option = &table->options[i];
        if (!word_selected(pattern, option->name)) continue;
        printf("%-22s %-22s %s; default %s", option->name, owner, option->help,
               option->standard[0] ? option->standard : "empty");
        if (option->choices) printf("; one of %s", option->choices);
        if ((option->type == OPTION_INTEGER || option->type == OPTION_REAL) &&
            option->maximum >= option->minimum)
            printf("; %g to %g", option->minimum, option->maximum);
        printf("\n");
    }
}

static Status list_settings(const char *pattern, Error *error) {
    (void)error;
    char owner[80];
    int count;
    print_options(&run_options, "run", pattern);
    print_options(&backbone_options, "backbone", pattern);
    const Task *const *tasks = task_list(&count);
    for (int i = 0; i < count; i++) {
        snprintf(owner, sizeof owner, "task %s", tasks[i]->name);
        print_options(&tasks[i]->options, owner, pattern);
    }
    const Model *const *models = model_list(&count);
    for (int i = 0; i < count; i++) {
        snprintf(owner, sizeof owner, "model %s", models[i]->name);
        print_options(&models[i]->options, owner, pattern);
    }
    return STATUS_OK;
}

static const struct {
    const char *name;
    Status (*list)(const char *pattern, Error *error);
} lists[] = {{"models", list_models},      {"tasks", list_tasks},     {"ops", list_ops},
             {"suites", list_suites},      {"figures", list_figures}, {"settings", list_settings},
             {"schedules", list_schedules}};

static Status list(const Invocation *invocation, Error *error) {
    const char *what = invocation->arguments[0];
    const char *pattern = invocation->argument_count > 1 ? invocation->arguments[1] : NULL;
    Nearest nearest = {.wanted = what};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        if (strcmp(lists[i].name, what) == 0) return lists[i].list(pattern, error);
        nearest_offer(&nearest, lists[i].name);
    }
    char advice[128];
    nearest_advice(&nearest, advice, sizeof advice);
    return error_set(error, STATUS_USAGE, "cannot list '%s'%s; expected %s", what, advice,
                     invocation->command->arguments);
}

const Command command_list = {
    .name = "list",
    .arguments = "models|tasks|ops|suites|figures|settings|schedules [PATTERN]",
    .summary =
        "what there is: architectures, tasks, operations, suites, figures, settings, schedules",
    .detail = "PATTERN is a list such as 'm*,!mamba'.",
    .flags = "",
    .least_arguments = 1,
    .most_arguments = 2,
    .run = list,
};
