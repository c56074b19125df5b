/* Majority: ordinary tokens, then a question mark, at which the model names the token that came
 * most often ("a g g g e f g" gives g). Needs a count of every token and their comparison.
 *
 * Source: Poli et al. 2023 (Hyena), arXiv 2302.10866, table 4.1 and appendix A.1, which show only
 * that prompt; the generator was never released. Our own completion: tokens are uniform with
 * replacement, samples in which two tokens tie are drawn again, and only the answer is scored. So
 * every ordinary token is the answer equally often. Another problem than language=majority of
 * `formal`: that has 63 symbols, no question mark, and is tested at lengths beyond training's. */
#include "tasks/labels.h"
#include "tasks/most_frequent.h"

extern const Task task_majority;

static Status majority_problem(const void *values, Problem *problem, Error *error) {
    const MostFrequent *own = values;
    if (most_frequent_problem(&task_majority, own, problem, error) != STATUS_OK)
        return error->status;
    problem->classes = own->vocabulary;
    problem->chance = 1.0 / (double)most_frequent_kinds(own);
    return STATUS_OK;
}

static void majority_sample(const void *values, const void *data, uint64_t seed, Split split,
                            int64_t index, Sample *sample) {
    (void)data;
    const MostFrequent *own = values;
    Random random = task_random(&task_majority, seed, split, index);
    Mode mode;
    do mode = most_frequent_draw(own, &random, sample);
    while (mode.tied);
    label_set(sample, 0, most_frequent_shown(own), mode.symbol);
}

const Task task_majority = {
    .name = "majority",
    .title = "Majority: the most frequent token",
    .paper = "Poli et al. 2023 (Hyena), arXiv 2302.10866",
    .version = 1,
    .options = {most_frequent_options, MOST_FREQUENT_OPTIONS, sizeof(MostFrequent)},
    .problem = majority_problem,
    .count = count_endless,
    .sample = majority_sample,
};
