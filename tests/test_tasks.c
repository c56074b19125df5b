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

static void samples_fit_the_described_shape(void **state) {
    (void)state;
    int count;
    const Task *const *tasks = task_list(&count);
    for (int i = 0; i < count; i++) {
        if (!is_generated(tasks[i])) continue;
        TaskCase c;
        case_open(&c, tasks[i]->name, "");
        const Problem *p = &c.problem;
        assert_true(p->length > 0 && p->labels > 0 && p->sequences >= 1 && p->sequences <= 2);
        assert_true(p->higher_is_better ? p->chance < p->solved : p->solved < p->chance);
        for (int split = SPLIT_TRAIN; split <= SPLIT_TEST; split++)
            for (int64_t index = 0; index < SAMPLES; index++) {
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_are_complete),
        cmocka_unit_test(samples_fit_the_described_shape),
        cmocka_unit_test(samples_are_pure_functions_of_their_address),
        cmocka_unit_test(splits_never_share_a_sample),
    };
    return cmocka_run_group_tests_name("tasks", tests, NULL, NULL);
}
