#include "tasks/most_frequent.h"

#include <stdlib.h>

#include "tasks/sampling.h"

enum { LONGEST = 1 << 16 };

const Option most_frequent_options[MOST_FREQUENT_OPTIONS] = {
    {"length", OPTION_INTEGER, offsetof(MostFrequent, length), "65", 3, LONGEST + 1, NULL,
     "positions of a sample: ordinary tokens and the question mark"},
    {"vocabulary", OPTION_INTEGER, offsetof(MostFrequent, vocabulary), "10", 4, LONGEST, NULL,
     "ids: 0 unused, ordinary tokens, the question mark last"},
};

int64_t most_frequent_shown(const MostFrequent *own) {
    return own->length - 1;
}

int64_t most_frequent_kinds(const MostFrequent *own) {
    return own->vocabulary - 2;
}

/* Where equal tokens are rare there is nothing to count, and nearly every sample ties: a sample
 * shall have one pair of equal tokens in four at least, N (N - 1) / 2 / V >= 1 / 4 on average. */
static bool pairs_are_common(int64_t shown, int64_t kinds) {
    return 2 * shown * (shown - 1) >= kinds;
}

Status most_frequent_problem(const Task *task, const MostFrequent *own, Problem *problem,
                             Error *error) {
    int64_t enough = most_frequent_shown(own);
    while (!pairs_are_common(enough, most_frequent_kinds(own))) enough++;
    if (enough > most_frequent_shown(own))
        return error_set(error, STATUS_USAGE,
                         "task %s: length=%lld is too short for vocabulary=%lld: hardly any token "
                         "would come twice; use length=%lld or more",
                         task->name, (long long)own->length, (long long)own->vocabulary,
                         (long long)enough + 1);
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = own->vocabulary,
        .length = own->length,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .labels = 1,
        .causal = true,
        .solved = 0.97,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

Mode most_frequent_draw(const MostFrequent *own, Random *random, Sample *sample) {
    int64_t *counts = scratch_open((size_t)own->vocabulary * sizeof *counts);
    const int64_t shown = most_frequent_shown(own);
    Mode mode = {0};
    for (int64_t t = 0; t < shown; t++) {
        const int32_t token = 1 + (int32_t)random_below(random, (uint64_t)most_frequent_kinds(own));
        mode_add(&mode, counts, sample->tokens[t] = token);
    }
    sample->tokens[shown] = (int32_t)own->vocabulary - 1;
    sample->lengths[0] = (int32_t)own->length;
    free(counts);
    return mode;
}
