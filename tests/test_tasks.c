/* What every registered task promises, with no code per task: samples are pure functions of their
 * address, stay inside the shape that the task describes, and splits never share one. */
#include "tests/task_case.h"

enum { SAMPLES = 100 };

/* Tasks that read files are tested with files of their own. */
static bool is_generated(const Task *task) {
    TaskCase c;
    const bool generated = case_check(&c, task->name, "") == STATUS_OK &&
                           (!task->open || task->open(c.options, &c.data, &c.error) == STATUS_OK);
    case_close(&c);
    return generated;
}

static void descriptors_are_complete(void **state) {
    (void)state;
    int count;
    const Task *const *tasks = task_list(&count);
    for (int i = 0; i < count; i++) {
        const Task *task = tasks[i];
        assert_ptr_equal(task_find(task->name), task);
        assert_true(task->title && *task->title && task->paper && *task->paper);
        assert_true(task->version > 0 && task->problem && task->count && task->sample);
        assert_true(i == 0 || strcmp(tasks[i - 1]->name, task->name) < 0);
        for (int o = 0; o < task->options.count; o++)
            assert_true(strlen(task->options.options[o].help) > 3);
    }
    assert_null(task_find("no such task"));
}

/* A record's task alone tells which architectures saw the whole sequence (bench/report/study.c). */
static void no_option_changes_what_a_position_may_see(void **state) {
    (void)state;
    int count;
    const Task *const *tasks = task_list(&count);
    for (int i = 0; i < count; i++) {
        const OptionTable *table = &tasks[i]->options;
        void *options = calloc(1, table->bytes + 1);
        Problem standard, problem;
        Error error = {0};
        option_defaults(table, options);
        assert_int_equal(tasks[i]->problem(options, &standard, &error), STATUS_OK);
        for (int o = 0; o < table->count; o++) {
            char choices[512], *rest = choices;
            snprintf(choices, sizeof choices, "%s",
                     table->options[o].choices ? table->options[o].choices : "");
            for (char *choice; (choice = strtok_r(rest, "|", &rest));) {
                option_defaults(table, options);
                assert_int_equal(option_set(table, options, table->options[o].name, choice, &error),
                                 STATUS_OK);
                if (tasks[i]->problem(options, &problem, &error) != STATUS_OK) continue;
                assert_int_equal(problem.causal, standard.causal);
            }
        }
        free(options);
    }
}

static void samples_fit_the_described_shape(void **state) {
    (void)state;
    int count;
    const Task *const *tasks = task_list(&count);
    for (int i = 0; i < count; i++) {
        if (!is_generated(tasks[i])) continue;
        TaskCase c;
        case_open(&c, tasks[i]->name, "");
        const Problem *p = &c.drawn; /* of the split */
        c.drawn = c.problem;
        assert_true(p->length > 0 && p->labels > 0 && p->sequences >= 1 && p->sequences <= 2);
        assert_true(p->higher_is_better ? p->chance < p->solved : p->solved < p->chance);
        for (int split = SPLIT_TRAIN; split <= SPLIT_TEST; split++)
            for (int64_t index = 0; index < SAMPLES; index++) {
                c.drawn = problem_for(&c.problem, (Split)split);
                /* what the task leaves unwritten must not look right by accident */
                memset(c.sample.positions, 0x7f, (size_t)p->labels * sizeof(int32_t));
                memset(c.sample.weights, 0x7f, (size_t)p->labels * sizeof(float));
                if (p->input == INPUT_TOKENS)
                    memset(c.sample.tokens, 0x7f,
                           (size_t)(p->sequences * p->length) * sizeof(int32_t));
                case_draw(&c, 1, (Split)split, index);
                float used = 0;
                for (int s = 0; s < p->sequences; s++) {
                    assert_in_range(c.sample.lengths[s], 1, p->length);
                    if (!p->padded) assert_int_equal(c.sample.lengths[s], p->length);
                }
                for (int64_t j = 0; j < p->labels; j++) {
                    assert_true(c.sample.weights[j] == 0 || c.sample.weights[j] == 1);
                    used += c.sample.weights[j];
                    assert_in_range(c.sample.positions[j], 0, p->length - 1);
                    if (c.sample.weights[j] == 0) assert_int_equal(c.sample.positions[j], 0);
                    if (c.sample.weights[j] == 1)
                        assert_in_range(c.sample.positions[j], 0, c.sample.lengths[0] - 1);
                    if (p->target == TARGET_TOKENS || p->target == TARGET_SEQUENCE)
                        assert_in_range(c.sample.classes[j], 0, p->classes - 1);
                }
                assert_true(used > 0);
                if (p->input == INPUT_TOKENS)
                    for (int64_t t = 0; t < p->sequences * p->length; t++)
                        assert_in_range(c.sample.tokens[t], 0, p->vocabulary - 1);
            }
        case_close(&c);
    }
}

static void samples_are_pure_functions_of_their_address(void **state) {
    (void)state;
    int count;
    const Task *const *tasks = task_list(&count);
    for (int i = 0; i < count; i++) {
        if (!is_generated(tasks[i])) continue;
        TaskCase c;
        case_open(&c, tasks[i]->name, "");
        uint64_t hashes[3][SAMPLES];
        for (int split = 0; split < 3; split++)
            for (int64_t index = 0; index < SAMPLES; index++) {
                case_draw(&c, 1, (Split)split, index);
                hashes[split][index] = case_hash(&c, 0);
            }
        int equal = 0;
        for (int64_t index = SAMPLES - 1; index >= 0; index--) /* other order, splits interleaved */
            for (int split = 0; split < 3; split++) {
                case_draw(&c, 1, (Split)split, index);
                if (case_hash(&c, 0) != hashes[split][index])
                    fail_msg("%s: sample %lld of %s depends on what was drawn before",
                             tasks[i]->name, (long long)index, split_name((Split)split));
                case_draw(&c, 2, (Split)split, index);
                equal += case_hash(&c, 0) == hashes[split][index];
            }
        if (tasks[i]->count(c.options, c.data, SPLIT_TRAIN) == 0 && equal > 0)
            fail_msg("%s: the seed changes nothing", tasks[i]->name);
        case_close(&c);
    }
}

typedef struct Drawn {
    uint64_t hash;
    int split;
} Drawn;

static int compare_drawn(const void *a, const void *b) {
    const uint64_t x = ((const Drawn *)a)->hash, y = ((const Drawn *)b)->hash;
    return (x > y) - (x < y);
}

/* Within a split a short sample may come twice; across splits none may. */
static void splits_never_share_a_sample(void **state) {
    (void)state;
    int count;
    const Task *const *tasks = task_list(&count);
    for (int i = 0; i < count; i++) {
        if (!is_generated(tasks[i])) continue;
        TaskCase c;
        case_open(&c, tasks[i]->name, "");
        Drawn drawn[3 * SAMPLES];
        for (int k = 0; k < 3 * SAMPLES; k++) {
            drawn[k].split = k / SAMPLES;
            case_draw(&c, 1, (Split)drawn[k].split, k % SAMPLES);
            drawn[k].hash = case_hash(&c, 0);
        }
        qsort(drawn, 3 * SAMPLES, sizeof *drawn, compare_drawn);
        for (int k = 1; k < 3 * SAMPLES; k++)
            if (drawn[k].hash == drawn[k - 1].hash && drawn[k].split != drawn[k - 1].split)
                fail_msg("%s: a sample is in two splits", tasks[i]->name);
        case_close(&c);
    }
}

/* Hash of the first samples of every split with the standard options, seed 1. Results are compared
 * over years: when a number here moves, the task's version has to rise. */
static void samples_are_those_of_this_version(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int version;
        uint64_t hash;
    } pins[] = {
        {"adding", 1, 0xacefbd53f5cd0a28},
        {"copy", 1, 0x18e3f1222147916c},
        {"counting", 1, 0xa6ea242f2b8d4383},
        {"digit_addition", 1, 0x86c01011552dc85d},
        {"formal", 3, 0xa431cfc32d1e0bde},
        {"induction", 1, 0x4a070b3f6c913bd3},
        {"linear_function", 1, 0xcfca3861a8cf1eaf},
        {"listops", 1, 0xd982546fb62b09b9},
        {"lm", 1, 0x9edaadc2de71b6e1},
        {"lm_synthetic", 1, 0x9edaadc2de71b6e1},
        {"mad", 2, 0xffd325fe0b02ed55},
        {"majority", 1, 0x1c6011ebbf016d3b},
        {"mqar", 1, 0x187c6dcccebf6d69},
        {"nns", 1, 0xd7e65929ee08c218},
        {"pathfinder", 1, 0x5a579b6c934fdbba},
        {"recall", 1, 0xe27f7e43de8fe648},
        {"selective_copy", 1, 0xa09c6abb443f5aa5},
        {"text_synthetic", 1, 0x42d936130f66d410},
        {"retrieval_synthetic", 1, 0x456cee84c7bc14f3},
        {"image_synthetic", 1, 0xcc89fcf27c972098},

    };
    int count, pinned = 0;
    const Task *const *tasks = task_list(&count);
    for (int i = 0; i < count; i++) {
        if (!is_generated(tasks[i])) continue;
        TaskCase c;
        case_open(&c, tasks[i]->name, "");
        uint64_t hash = 0xCBF29CE484222325u;
        for (int k = 0; k < 12; k++) {
            case_draw(&c, 1, (Split)(k % 3), k / 3);
            hash = case_hash(&c, hash);
        }
        case_close(&c);
        size_t p = 0;
        while (p < sizeof pins / sizeof *pins && strcmp(pins[p].name, tasks[i]->name) != 0) p++;
        if (p == sizeof pins / sizeof *pins || pins[p].version != tasks[i]->version ||
            pins[p].hash != hash)
            fail_msg("%s version %d has hash 0x%016llx", tasks[i]->name, tasks[i]->version,
                     (unsigned long long)hash);
        pinned++;
    }
    assert_int_equal(pinned, sizeof pins / sizeof *pins);
}

int main(void) {
    setenv("LONGHAUL_DATA", "/nonexistent", 1); /* whatever real data there are */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_are_complete),
        cmocka_unit_test(no_option_changes_what_a_position_may_see),
        cmocka_unit_test(samples_fit_the_described_shape),
        cmocka_unit_test(samples_are_pure_functions_of_their_address),
        cmocka_unit_test(splits_never_share_a_sample),
        cmocka_unit_test(samples_are_those_of_this_version),
    };
    return cmocka_run_group_tests_name("tasks", tests, NULL, NULL);
}
