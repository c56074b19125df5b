/* ListOps: the value of a nested expression of MIN, MAX, MED (median) and SM (sum modulo 10) over
 * digits, as one of ten classes.
 *
 * Source: Nangia and Bowman 2018, arXiv 1804.06028, in the long form of Tay et al. 2021, "Long
 * Range Arena", arXiv 2011.04006; the grammar is that of the authors' generator: an operator with
 * probability 1/4 down to depth 10, 2 to 10 arguments, trees of 500 to 2,000 tokens kept. Here
 * samples keep the order of drawing and are not searched for duplicates (at 500 tokens there are
 * none). source=files reads the released TSV files.
 *
 * Two rules to compare with: the commonest answer, 9, is right in 17.3 % of the published grammar's
 * expressions (`chance`), and the commonest after the same first token in 36.6 %. A model below
 * 0.38 has not begun to solve the task. Other grammars have other shares, so every cell measures
 * both on its own samples (Problem.guessable), and `chance` there is that of one answer in ten. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "tasks/data.h"
#include "tasks/labels.h"
#include "tasks/listops_tree.h"
#include "tasks/task.h"

typedef enum Source { SOURCE_GENERATED, SOURCE_FILES } Source;

typedef struct Listops {
    int source;
    int64_t shortest, longest, depth, arguments;
} Listops;

static const Option options[] = {
    {"source", OPTION_CHOICE, offsetof(Listops, source), "generated", 0, -1, "generated|files",
     "fresh expressions, or the Long Range Arena's files"},
    {"shortest", OPTION_INTEGER, offsetof(Listops, shortest), "500", 0, 1 << 20, NULL,
     "generated expressions are longer than this, in tokens"},
    {"longest", OPTION_INTEGER, offsetof(Listops, longest), "2000", 2, 1 << 20, NULL,
     "positions of a sample; generated expressions are shorter than this"},
    {"depth", OPTION_INTEGER, offsetof(Listops, depth), "10", 1, 64, NULL,
     "deepest nesting of generated expressions"},
    {"arguments", OPTION_INTEGER, offsetof(Listops, arguments), "10", 2, LISTOPS_MOST_ARGUMENTS,
     NULL, "most arguments of an operator"},
};

/* Accuracy of the commonest answer in the published grammar, of any answer in others. */
static double chance_of(const Listops *listops) {
    const bool published = listops->shortest == 500 && listops->longest == 2000 &&
                           listops->depth == 10 && listops->arguments == 10;
    return listops->source == SOURCE_FILES || published ? 0.173 : 0.1;
}

/* Expressions of up to arguments^(depth-1) leaves exist; far fewer are likely. Refuses what would
 * be drawn for ever: nearly all of the mass lies below arguments * 2^depth tokens. */
static Status listops_problem(const void *values, Problem *problem, Error *error) {
    const Listops *listops = values;
    if (listops->source == SOURCE_GENERATED && listops->shortest + 2 > listops->longest)
        return error_set(error, STATUS_USAGE,
                         "task listops: no length lies between shortest=%lld and longest=%lld; use "
                         "longest=%lld or more",
                         (long long)listops->shortest, (long long)listops->longest,
                         (long long)listops->shortest + 2);
    const double reach =
        listops->depth == 1 ? 1.0 : ldexp((double)listops->arguments, (int)listops->depth - 1);
    if (listops->source == SOURCE_GENERATED && (double)listops->shortest >= reach)
        return error_set(error, STATUS_USAGE,
                         "task listops: expressions longer than shortest=%lld hardly ever come at "
                         "depth=%lld with arguments=%lld; use shortest=%lld or less, or more depth",
                         (long long)listops->shortest, (long long)listops->depth,
                         (long long)listops->arguments, (long long)reach - 1);
    const ListopsGrammar grammar = {listops->shortest, listops->longest, listops->depth,
                                    listops->arguments};
    if (listops->source == SOURCE_GENERATED && !listops_comes(&grammar))
        return error_set(
            error, STATUS_USAGE,
            "task listops: hardly any expression of depth=%lld and arguments=%lld is "
            "longer than shortest=%lld and shorter than longest=%lld: most are shorter, "
            "or grow without end; use less depth, or lengths further apart",
            (long long)listops->depth, (long long)listops->arguments, (long long)listops->shortest,
            (long long)listops->longest);
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = LISTOPS_IDS,
        .length = listops->longest,
        .padded = true,
        .sequences = 1,
        .target = TARGET_SEQUENCE,
        .classes = 10,
        .labels = 1,
        .guessable = true,
        .causal = false,
        .chance = chance_of(listops),
        .solved = 0.99,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

typedef struct Files {
    Records splits[3];
} Files;

static void listops_close(void *data) {
    Files *files = data;
    for (int split = 0; split < 3; split++) records_free(&files->splits[split]);
    free(files);
}

/* The published generator throws duplicates away. */
static Status check_splits(const Files *files, Error *error) {
    static const char *const names[] = {"basic_train.tsv", "basic_val.tsv", "basic_test.tsv"};
    SplitOverlap overlap;
    if (records_overlap(files->splits, 1, false, &overlap))
        return error_set(error, STATUS_DATA,
                         "listops-1000: %lld expressions of %s are in %s, too; the splits of the "
                         "release have none in common: fetch it again",
                         (long long)overlap.shared, names[overlap.later], names[overlap.earlier]);
    return STATUS_OK;
}

static Status listops_open(const void *values, void **data, Error *error) {
    const Listops *listops = values;
    static const char *const names[] = {"listops-1000/basic_train.tsv",
                                        "listops-1000/basic_val.tsv",
                                        "listops-1000/basic_test.tsv"};
    *data = NULL;
    if (listops->source == SOURCE_GENERATED) return STATUS_OK;
    Files *files = memory_take_zeroed(1, sizeof *files);
    for (int split = 0; split < 3; split++) {
        char path[PATH_MAX];
        if (data_find("listops", names[split], DATA_FILE, path, error) != STATUS_OK ||
            listops_read(path, listops->longest, &files->splits[split], error) != STATUS_OK) {
            listops_close(files);
            return error->status;
        }
    }
    if (check_splits(files, error) != STATUS_OK) {
        listops_close(files);
        return error->status;
    }
    *data = files;
    return STATUS_OK;
}

static int64_t listops_count(const void *values, const void *data, Split split) {
    const Listops *listops = values;
    return listops->source == SOURCE_FILES ? ((const Files *)data)->splits[split].count : 0;
}

extern const Task task_listops;

static void listops_sample(const void *values, const void *data, uint64_t seed, Split split,
                           int64_t index, Sample *sample) {
    const Listops *listops = values;
    int64_t length;
    int32_t value;
    if (listops->source == SOURCE_FILES) {
        const Records *records = &((const Files *)data)->splits[split];
        const uint8_t *tokens = record_bytes(records, index);
        length = record_length(records, index);
        value = records->classes[index];
        for (int64_t t = 0; t < length; t++) sample->tokens[t] = tokens[t];
    } else {
        const ListopsGrammar grammar = {listops->shortest, listops->longest, listops->depth,
                                        listops->arguments};
        Random random = task_random(&task_listops, seed, split, index);
        length = listops_draw(&grammar, &random, sample->tokens, &value);
    }
    for (int64_t t = length; t < listops->longest; t++) sample->tokens[t] = 0;
    label_set(sample, 0, length - 1, value);
    sample->lengths[0] = (int32_t)length;
}

static void listops_spell(const void *values, const void *data, int64_t id,
                          char text[TASK_SPELL_BYTES]) {
    (void)data;
    (void)values;
    static const char *const names[] = {".", "0", "1", "2",    "3",    "4",    "5",   "6",
                                        "7", "8", "9", "[MIN", "[MAX", "[MED", "[SM", "]"};
    snprintf(text, TASK_SPELL_BYTES, "%s", names[id]);
}

const Task task_listops = {
    .name = "listops",
    .title = "ListOps (Long Range Arena)",
    .paper = "Tay et al. 2021, arXiv 2011.04006; Nangia and Bowman 2018, arXiv 1804.06028",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Listops)},
    .problem = listops_problem,
    .open = listops_open,
    .close = listops_close,
    .count = listops_count,
    .sample = listops_sample,
    .spell = listops_spell,
};
