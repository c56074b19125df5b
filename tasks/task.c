#include "tasks/task.h"

#include <stdio.h>
#include <string.h>

#define TASK(name) extern const Task task_##name;
#include "tasks/tasks.def"
#undef TASK

static const Task *const tasks[] = {
#define TASK(name) &task_##name,
#include "tasks/tasks.def"
#undef TASK
};

const Task *const *task_list(int *count) {
    *count = (int)(sizeof tasks / sizeof *tasks);
    return tasks;
}

const Task *task_find(const char *name) {
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
        if (strcmp(tasks[i]->name, name) == 0) return tasks[i];
    return NULL;
}

const char *split_name(Split split) {
    static const char *const names[] = {"train", "validation", "test"};
    return names[split];
}

Random task_random(const Task *task, uint64_t seed, Split split, int64_t index) {
    char name[128];
    snprintf(name, sizeof name, "task/%s/%s", task->name, split_name(split));
    return random_open(seed, random_stream(name), (uint64_t)index);
}

Problem problem_for(const Problem *problem, Split split) {
    Problem other = *problem;
    if (split == SPLIT_TRAIN || problem->evaluation_length == 0) return other;
    other.length = problem->evaluation_length;
    other.labels = problem->evaluation_labels;
    other.evaluation_length = problem->length;
    other.evaluation_labels = problem->labels;
    return other;
}

int64_t problem_longest(const Problem *problem) {
    return problem->length > problem->evaluation_length ? problem->length
                                                        : problem->evaluation_length;
}

bool problem_is_pooled(const Problem *problem) {
    return problem->target == TARGET_SEQUENCE || problem->target == TARGET_REAL;
}
