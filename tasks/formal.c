/* Formal languages: read a word, name what the language computes from it; trained on short words,
 * tested on long ones.
 *
 * Source: Beck et al. 2024 (xLSTM), arXiv 2405.04517, figures 4 and 12 and appendix B.1.1 (tasks,
 * alphabets, lengths 3 to 40 in training, 40 to 256 in validation and test), after Deletang et al.
 * 2022, "Neural networks and the Chomsky hierarchy", arXiv 2207.02098. Parity, even pairs, cycle
 * and arithmetic are exact copies in law of the released generators; the others are not released
 * and follow the definitions of the second paper with the alphabets of the first. Binary addition
 * and square root are of the second paper alone.
 *
 * A word is its prompt, for some languages a token that says "now", and the answer. In the input
 * the answer is hidden by the pad; answer token i is named at the position before it, so the first
 * one at the last token of the prompt. The paper plots accuracy scaled to (a - s) / (1 - s) with s
 * the chance level; its released code counts every answer token alike. Deletang et al. average over
 * lengths instead: average=words does, as lengths are uniform. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/formal_language.h"
#include "tasks/labels.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

static const char choices[] =
    "parity|even_pairs|cycle|arithmetic|brackets|equation|reverse|stack|majority|majority_count|"
    "missing_duplicate|bucket_sort|odds_first|repetition|set|binary_addition|square_root";

#define DECIMAL "0 1 2 3 4 5 6 7 8 9"
static const Language languages[] = {
    {"parity", 3, 2, 1, 0, 2, 1, draw_parity, ". 0 1"},
    {"even_pairs", 3, 2, 1, 0, 2, 1, draw_even_pairs, ". 0 1"},
    {"cycle", 9, 5, 1, 0, 2, 1, draw_cycle, ". stay +1 -1 0 1 2 3 4"},
    {"arithmetic", 10, 5, 2, -1, 2, 1, draw_arithmetic, ". + - * = 0 1 2 3 4"},
    {"brackets", 12, 5, 1, 2, 1, 1, draw_brackets, ". + - * = ( ) 0 1 2 3 4"},
    {"equation", 14, 5, 1, 4, 1, 1, draw_equation, ". + - * = ( ) x [ACT] 0 1 2 3 4"},
    {"reverse", 12, 10, 2, 1, 1, ANSWERS_MANY, draw_reverse, ". " DECIMAL " [ACT]"},
    {"stack", 11, 4, 2, 1, 1, ANSWERS_MANY, draw_stack,
     ". a b c d pop push-a push-b push-c push-d [ACT]"},
    {"majority", 64, 63, 1, 1, 1, 1, draw_majority, "."},
    {"majority_count", 64, 63, 1, 1, 1, 1, draw_majority_count, "."},
    {"missing_duplicate", 11, 9, 2, 1, 1, 1, draw_missing_duplicate, ". 1 2 3 4 5 6 7 8 9 [MIS]"},
    {"bucket_sort", 11, 10, 2, 0, 1, ANSWERS_MANY, draw_bucket_sort, ". " DECIMAL},
    {"odds_first", 12, 10, 2, 1, 1, ANSWERS_MANY, draw_odds_first, ". " DECIMAL " [ACT]"},
    {"repetition", 12, 10, 2, 1, 1, ANSWERS_MANY, draw_repetition, ". " DECIMAL " [ACT]"},
    {"set", 128, 126, 2, 1, 1, ANSWERS_MANY, draw_set, "."},
    {"binary_addition", 5, 2, 2, 1, 3, ANSWERS_MANY, draw_binary_addition, ". 0 1 + [ACT]"},
    {"square_root", 4, 2, 2, 1, 1, ANSWERS_MANY, draw_square_root, ". 0 1 [ACT]"},
};

typedef enum Average { AVERAGE_TOKENS, AVERAGE_WORDS } Average;

typedef struct Formal {
    int language, average;
    int64_t shortest, longest, test_shortest, test_longest;
} Formal;

enum { LONGEST = 1 << 20 };

static const Option options[] = {
    {"language", OPTION_CHOICE, offsetof(Formal, language), "parity", 0, -1, choices,
     "what to compute"},
    {"shortest", OPTION_INTEGER, offsetof(Formal, shortest), "3", 2, LONGEST, NULL,
     "shortest word in training, in tokens with its answer"},
    {"longest", OPTION_INTEGER, offsetof(Formal, longest), "40", 2, LONGEST, NULL,
     "longest word in training"},
    {"test_shortest", OPTION_INTEGER, offsetof(Formal, test_shortest), "40", 2, LONGEST, NULL,
     "shortest word in validation and test"},
    {"test_longest", OPTION_INTEGER, offsetof(Formal, test_longest), "256", 2, LONGEST, NULL,
     "longest word in validation and test"},
    {"average", OPTION_CHOICE, offsetof(Formal, average), "tokens", 0, -1, "tokens|words",
     "what counts alike in the accuracy: every answer token, or every word with its share"},
};

/* Measures k of words with shortest to longest tokens. Where sizes come in steps, the smallest may
 * be one token shorter, as in the released generator. */
typedef struct Range {
    int64_t low, high;
} Range;

static Range measures(const Language *language, int64_t shortest, int64_t longest) {
    const int64_t low = (shortest - language->shift) / language->stride;
    return (Range){low > language->least ? low : language->least,
                   (longest - language->shift) / language->stride};
}

static Range split_measures(const Formal *formal, Split split) {
    const Language *language = &languages[formal->language];
    return split == SPLIT_TRAIN ? measures(language, formal->shortest, formal->longest)
                                : measures(language, formal->test_shortest, formal->test_longest);
}

static Status formal_problem(const void *values, Problem *problem, Error *error) {
    const Formal *formal = values;
    const Language *language = &languages[formal->language];
    int64_t most[2]; /* of training, of validation and test */
    for (int split = SPLIT_TRAIN; split <= SPLIT_VALIDATION; split++) {
        const char *prefix = split == SPLIT_TRAIN ? "" : "test_";
        const int64_t shortest = split == SPLIT_TRAIN ? formal->shortest : formal->test_shortest;
        const int64_t longest = split == SPLIT_TRAIN ? formal->longest : formal->test_longest;
        const Range range = split_measures(formal, (Split)split);
        if (shortest > longest || range.low > range.high)
            return error_set(
                error, STATUS_USAGE,
                "task formal: no word of %s has %sshortest=%lld to %slongest=%lld tokens; the "
                "shortest word has %lld, so use %slongest=%lld or more",
                language->name, prefix, (long long)shortest, prefix, (long long)longest,
                (long long)(language->stride * language->least + language->shift), prefix,
                (long long)(language->stride * range.low + language->shift));
        most[split] = range.high;
    }
    const bool many = language->answers == ANSWERS_MANY;
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = language->vocabulary,
        .length = language->stride * most[0] + language->shift - 1,
        .evaluation_length = language->stride * most[1] + language->shift - 1,
        .padded = true,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .classes = language->vocabulary,
        .labels = many ? most[0] : 1,
        .evaluation_labels = many ? most[1] : 1,
        .averaging = formal->average == AVERAGE_TOKENS ? AVERAGE_LABELS : AVERAGE_SAMPLES,
        .causal = true,
        .chance = 1.0 / (double)language->guess,
        .solved = 0.99,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

extern const Task task_formal;

static void formal_sample(const void *values, const void *data, uint64_t seed, Split split,
                          int64_t index, Sample *sample) {
    (void)data;
    const Formal *formal = values;
    const Language *language = &languages[formal->language];
    Problem problem;
    formal_problem(values, &problem, NULL);
    problem = problem_for(&problem, split);
    const Range range = split_measures(formal, split);
    Random random = task_random(&task_formal, seed, split, index);
    const int64_t k =
        range.low + (int64_t)random_below(&random, (uint64_t)(range.high - range.low) + 1);
    int32_t *tokens = scratch_open((size_t)(2 * problem.length + 4) * sizeof *tokens);
    Word word = {.prompt = tokens, .answer = tokens + problem.length + 2};
    language->draw(&random, k, &word);
    for (int64_t t = 0; t < problem.length; t++)
        sample->tokens[t] = t < word.prompt_length ? word.prompt[t] : 0;
    for (int64_t i = 0; i < word.answer_length; i++)
        label_set(sample, i, word.prompt_length - 1 + i, word.answer[i]);
    label_unused(sample, word.answer_length, problem.labels);
    sample->lengths[0] = (int32_t)(word.prompt_length + word.answer_length - 1);
    free(tokens);
}

static void formal_spell(const void *values, const void *data, int64_t id,
                         char text[TASK_SPELL_BYTES]) {
    (void)data;
    const char *name = languages[((const Formal *)values)->language].spelling;
    int64_t i = 0;
    for (; name && i < id; i++) {
        name = strchr(name, ' ');
        if (name) name++;
    }
    if (name)
        snprintf(text, TASK_SPELL_BYTES, "%.*s", (int)strcspn(name, " "), name);
    else
        snprintf(text, TASK_SPELL_BYTES, "%lld", (long long)id);
}

const Task task_formal = {
    .name = "formal",
    .title = "Formal languages",
    .paper = "Beck et al. 2024 (xLSTM), arXiv 2405.04517; Deletang et al. 2022, arXiv 2207.02098",
    .version = 3,
    .options = {options, sizeof options / sizeof *options, sizeof(Formal)},
    .problem = formal_problem,
    .count = count_endless,
    .sample = formal_sample,
    .spell = formal_spell,
};
