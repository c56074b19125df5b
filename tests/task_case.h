/* A task under test: options set from text as on the command line, and memory for one sample. */
#ifndef LONGHAUL_TESTS_TASK_CASE_H
#define LONGHAUL_TESTS_TASK_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tasks/sample.h"
#include "tasks/task.h"

typedef struct TaskCase {
    const Task *task;
    void *options, *data;
    Problem problem;
    Problem drawn; /* as the split of the last drawn sample poses it */
    Error error;
    Sample sample;
} TaskCase;

/* Status of the task's own check of "key=value key=value"; options that fail one by one stop the
 * test. The message is left in error. */
static inline Status case_check(TaskCase *c, const char *name, const char *settings) {
    *c = (TaskCase){.task = task_find(name)};
    assert_non_null(c->task);
    c->options = calloc(1, c->task->options.bytes + 1);
    option_defaults(&c->task->options, c->options);
    char copy[1024];
    snprintf(copy, sizeof copy, "%s", settings);
    for (char *rest = copy, *word; (word = strtok_r(rest, " ", &rest));) {
        char *value = strchr(word, '=');
        assert_non_null(value);
        *value++ = '\0';
        if (option_set(&c->task->options, c->options, word, value, &c->error) != STATUS_OK)
            fail_msg("%s", c->error.message);
    }
    return c->task->problem(c->options, &c->problem, &c->error);
}

static inline void case_open(TaskCase *c, const char *name, const char *settings) {
    if (case_check(c, name, settings) != STATUS_OK) fail_msg("%s", c->error.message);
    if (c->task->open && c->task->open(c->options, &c->data, &c->error) != STATUS_OK)
        fail_msg("%s", c->error.message);
    Problem larger = c->problem; /* room for the samples of any split */
    larger.length = problem_longest(&c->problem);
    if (c->problem.evaluation_labels > larger.labels) larger.labels = c->problem.evaluation_labels;
    sample_open(&larger, &c->sample);
}

static inline void case_draw(TaskCase *c, uint64_t seed, Split split, int64_t index) {
    c->drawn = problem_for(&c->problem, split);
    c->task->sample(c->options, c->data, seed, split, index, &c->sample);
}

static inline void case_close(TaskCase *c) {
    if (c->data && c->task->close) c->task->close(c->data);
    sample_close(&c->sample);
    free(c->options);
}

/* Fails unless the task refuses the settings with the status and a message that has the words. */
static inline void case_refused(const char *name, const char *settings, Status status,
                                const char *words) {
    TaskCase c;
    const Status got = case_check(&c, name, settings);
    if (got != status || !strstr(c.error.message, words))
        fail_msg("%s %s: status %d, message \"%s\"; expected status %d and \"%s\"", name, settings,
                 (int)got, c.error.message, (int)status, words);
    case_close(&c);
}

/* FNV-1a over everything that the last drawn sample holds. */
static inline uint64_t case_hash(const TaskCase *c, uint64_t hash) {
    const Problem *p = &c->drawn;
    const size_t positions = (size_t)(p->sequences * p->length), labels = (size_t)p->labels;
    const struct {
        const void *data;
        size_t bytes;
    } parts[] = {
        {c->sample.tokens, p->input == INPUT_TOKENS ? positions * sizeof(int32_t) : 0},
        {c->sample.reals,
         p->input == INPUT_REALS ? positions * (size_t)p->channels * sizeof(float) : 0},
        {c->sample.lengths, (size_t)p->sequences * sizeof(int32_t)},
        {c->sample.positions, labels * sizeof(int32_t)},
        {c->sample.classes, labels * sizeof(int32_t)},
        {c->sample.weights, labels * sizeof(float)},
        {c->sample.value, labels * sizeof(float)},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        for (size_t j = 0; j < parts[i].bytes; j++)
            hash = (hash ^ ((const uint8_t *)parts[i].data)[j]) * UINT64_C(0x100000001B3);
    return hash;
}

/* Fails when one of the splits from training to `last` is empty or has a sample of another. */
static inline void case_splits_disjoint(TaskCase *c, Split last) {
    enum { MOST = 1000 };
    uint64_t hashes[MOST];
    int splits[MOST], drawn = 0;
    for (int split = SPLIT_TRAIN; split <= (int)last; split++) {
        const int64_t count = c->task->count(c->options, c->data, (Split)split);
        assert_in_range(count, 1, MOST - drawn);
        for (int64_t i = 0; i < count; i++, drawn++) {
            case_draw(c, 1, (Split)split, i);
            hashes[drawn] = case_hash(c, 0);
            splits[drawn] = split;
            for (int k = 0; k < drawn; k++)
                if (hashes[k] == hashes[drawn] && splits[k] != split)
                    fail_msg("%s: sample %lld of %s is in %s, too", c->task->name, (long long)i,
                             split_name((Split)split), split_name((Split)splits[k]));
        }
    }
}

#endif
