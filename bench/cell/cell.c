#include "bench/cell/cell.h"

#include <sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cell/schedule.h"
#include "engine/memory.h"
#include "engine/ops/pool/pool.h"
#include "engine/word.h"

/* Raised when the engine would give other numbers for the same settings. */
#define NUMBERS_VERSION "6"

/* "|constant|cosine|...", in the order of schedule_kinds. */
static const char schedule_names[] =
#define SCHEDULE(name, help, reads, check) "|" #name
#include "bench/cell/schedules.def"
#undef SCHEDULE
    ;

#define RUN(field) offsetof(RunOptions, field)
static const Option options[] = {
    {"budget", OPTION_TEXT, RUN(budget), "1e12flop", 0, -1, NULL,
     "training: number and flop, s, min, h, token, step or epoch"},
    {"seed", OPTION_INTEGER, RUN(seed), "1", 0, 9e15, NULL, "of weights, data and dropout"},
    {"batch", OPTION_INTEGER, RUN(batch), "64", 1, 1 << 24, NULL, "samples in an optimiser step"},
    {"micro_batch", OPTION_INTEGER, RUN(micro_batch), "0", 0, 1 << 24, NULL,
     "samples computed at once; 0: as many as fit the cache"},
    {"replicas", OPTION_INTEGER, RUN(replicas), "1", 1, 1 << 20, NULL,
     "parts of the batch whose gradients are summed apart; that many processes can share it"},
    {"lr", OPTION_REAL, RUN(lr), "1e-3", 0, 100, NULL, "peak learning rate"},
    {"lr_end", OPTION_REAL, RUN(lr_end), "0", 0, 1, NULL, "final learning rate as a part of lr"},
    {"lr_floor", OPTION_REAL, RUN(lr_floor), "0", 0, 100, NULL,
     "final learning rate itself, the same whatever lr is; 0: lr_end counts"},
    {"schedule", OPTION_CHOICE, RUN(schedule), "cosine", 0, -1, schedule_names + 1,
     "of the learning rate after the warm-up; longhaul list schedules says what they do"},
    {"warmup", OPTION_TEXT, RUN(warmup), "0.1", 0, -1, NULL,
     "of the learning rate: part of the budget, or number and flop, s, min, h, token, step or "
     "epoch"},
    {"warmup_power", OPTION_REAL, RUN(warmup_power), "1", 0.01, 100, NULL,
     "of the share of the warm-up that is over: lr times its first power, its square .."},
    {"restarts", OPTION_INTEGER, RUN(restarts), "0", 0, 1e6, NULL,
     "times that schedule=cosine begins anew"},
    {"plateau_factor", OPTION_REAL, RUN(plateau_factor), "0.2", 1e-6, 0.999999, NULL,
     "that schedule=plateau multiplies the learning rate with"},
    {"plateau_patience", OPTION_INTEGER, RUN(plateau_patience), "5", 0, 1e6, NULL,
     "validations without improvement that schedule=plateau lets pass before it acts"},
    {"weight_decay", OPTION_REAL, RUN(weight_decay), "0.1", 0, 10, NULL, "decoupled (AdamW)"},
    {"beta1", OPTION_REAL, RUN(beta1), "0.9", 0, 0.9999999, NULL, "decay of the first moment"},
    {"beta2", OPTION_REAL, RUN(beta2), "0.95", 0, 0.9999999, NULL, "decay of the second moment"},
    {"epsilon", OPTION_REAL, RUN(epsilon), "1e-8", 1e-30, 1, NULL, "added to Adam's divisor"},
    {"clip", OPTION_REAL, RUN(clip), "1", 0, 1e9, NULL, "largest global gradient norm; 0: off"},
    {"train_samples", OPTION_INTEGER, RUN(train_samples), "0", 0, 1e15, NULL,
     "size of the training set; 0: fresh samples for ever, or the whole real set"},
    {"shuffle", OPTION_SWITCH, RUN(shuffle), "yes", 0, -1, NULL,
     "train_samples in a new order each epoch; no: in their own, the same each epoch"},
    {"validation_samples", OPTION_INTEGER, RUN(validation_samples), "1000", 1, 1e9, NULL,
     "samples of a validation"},
    {"test_samples", OPTION_INTEGER, RUN(test_samples), "3000", 1, 1e9, NULL,
     "samples of the test at the end"},
    {"evaluations", OPTION_INTEGER, RUN(evaluations), "10", 1, 1e6, NULL,
     "validations during training, evenly spread"},
    {"stop_when_solved", OPTION_SWITCH, RUN(stop_when_solved), "yes", 0, -1, NULL,
     "stop at the first validation that reaches the task's solved level"},
    {"products", OPTION_CHOICE, RUN(products), "float", 0, -1, "float|tf32|bf16",
     "what matrix products round their inputs to (tf32: GPU); sums stay in float32"},
    {"checkpoint_every", OPTION_INTEGER, RUN(checkpoint_every), "0", 0, 1e15, NULL,
     "steps; 0: about once a minute"},
    {"causal", OPTION_SWITCH, RUN(causal), "no", 0, -1, NULL,
     "read forwards only where the task lets the model read both ways, too"},
    {"pool", OPTION_CHOICE, RUN(pool), "mean", 0, -1, "mean|last|token",
     "how a sequence becomes one vector, for tasks with one answer a sequence; token: what stands "
     "at a learned token in front of it"},
    {"tied", OPTION_SWITCH, RUN(tied), "yes", 0, -1, NULL,
     "the head shares the embedding table, where both have the same size"},
    {"embedding_deviation", OPTION_REAL, RUN(embedding_deviation), "0.02", 0, 100, NULL,
     "standard deviation of the initial embedding; 0: 1 / sqrt(width)"},
};
const OptionTable run_options = {options, sizeof options / sizeof *options, sizeof(RunOptions)};

/* The four tables of a cell and the structs they describe. */
enum { TABLES = 4 };
typedef struct Place {
    const OptionTable *table;
    void *values;
} Place;

static void places_of(const Cell *cell, Place places[TABLES]) {
    Cell *writable = (Cell *)cell; /* readers of the places only read */
    places[0] = (Place){&run_options, &writable->run};
    places[1] = (Place){&backbone_options, &writable->backbone};
    places[2] = (Place){&cell->task->options, cell->task_options};
    places[3] = (Place){&cell->model->options, cell->model_options};
}

/* what: "key"; where: " of task mqar with model lstm", or "". */
static Status unknown(const char *what, const Nearest *nearest, const char *where, Error *error) {
    char advice[OPTION_TEXT_BYTES];
    nearest_advice(nearest, advice, sizeof advice);
    return error_set(error, STATUS_USAGE, "unknown %s '%s'%s%s", what, nearest->wanted, where,
                     advice);
}

static Status no_task(const char *name, Error *error) {
    Nearest nearest = {.wanted = name};
    int count;
    const Task *const *tasks = task_list(&count);
    for (int i = 0; i < count; i++) nearest_offer(&nearest, tasks[i]->name);
    return unknown("task", &nearest, "", error);
}

static Status no_model(const char *name, Error *error) {
    Nearest nearest = {.wanted = name};
    int count;
    const Model *const *models = model_list(&count);
    for (int i = 0; i < count; i++) nearest_offer(&nearest, models[i]->name);
    return unknown("model", &nearest, "", error);
}

/* "mlp=none norm=rms" into the backbone. */
static Status set_backbone(Cell *cell, Error *error) {
    char text[OPTION_TEXT_BYTES], *rest = text;
    snprintf(text, sizeof text, "%s", cell->model->backbone ? cell->model->backbone : "");
    for (char *word; (word = strtok_r(rest, " ", &rest));) {
        char *equals = strchr(word, '=');
        if (equals) *equals = '\0';
        const Status status =
            option_set(&backbone_options, &cell->backbone, word, equals ? equals + 1 : "", error);
        if (status != STATUS_OK)
            return error_context(error, "backbone of model %s", cell->model->name);
    }
    return STATUS_OK;
}

Status cell_open(Cell *cell, const char *task, const char *model, Error *error) {
    *cell = (Cell){.task = task_find(task), .model = model_find(model), .device = "cpu"};
    if (!cell->task) return no_task(task, error);
    if (!cell->model) return no_model(model, error);
    cell->task_options = memory_take(cell->task->options.bytes + 1);
    cell->model_options = memory_take(cell->model->options.bytes + 1);
    Place places[TABLES];
    places_of(cell, places);
    for (int i = 0; i < TABLES; i++) option_defaults(places[i].table, places[i].values);
    const Status status = set_backbone(cell, error);
    if (status != STATUS_OK) cell_close(cell);
    return status;
}

void cell_close(Cell *cell) {
    free(cell->task_options);
    free(cell->model_options);
    *cell = (Cell){0};
}

static Status no_key(const Cell *cell, const Place places[TABLES], const char *key, Error *error) {
    Nearest nearest = {.wanted = key};
    for (int i = 0; i < TABLES; i++)
        for (int j = 0; j < places[i].table->count; j++)
            nearest_offer(&nearest, places[i].table->options[j].name);
    char where[160];
    snprintf(where, sizeof where, " for task %s with model %s", cell->task->name,
             cell->model->name);
    return unknown("key", &nearest, where, error);
}

/* Settings of number and unit, which belong together: 10min and 600s are equal. */
static const struct {
    const char *key;
    Status (*parse)(const char *text, Budget *amount, Error *error);
} amounts[] = {{"budget", budget_parse}, {"warmup", warmup_parse}};

Status cell_set(Cell *cell, const char *key, const char *text, Error *error) {
    Place places[TABLES];
    places_of(cell, places);
    char canonical[OPTION_TEXT_BYTES];
    for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
        Budget amount;
        if (strcmp(key, amounts[i].key) != 0) continue;
        if (amounts[i].parse(text, &amount, error) != STATUS_OK) return STATUS_USAGE;
        budget_text(&amount, canonical);
        text = canonical;
    }
    for (int i = 0; i < TABLES; i++)
        if (option_find(places[i].table, key))
            return option_set(places[i].table, places[i].values, key, text, error);
    return no_key(cell, places, key, error);
}

Status cell_build(Cell *cell, const Settings *settings, Error *error) {
    const Setting *task = settings_find(settings, "task"),
                  *model = settings_find(settings, "model");
    if (!task || !model)
        return error_set(error, STATUS_USAGE, "no %s given; expected task=NAME model=NAME",
                         task ? "model" : "task");
    Status status = cell_open(cell, task->value, model->value, error);
    if (status != STATUS_OK)
        return error_context(error, "%s", task_find(task->value) ? model->source : task->source);
    for (int i = 0; i < settings->count && status == STATUS_OK; i++) {
        const Setting *setting = &settings->list[i];
        if (strcmp(setting->key, "task") == 0 || strcmp(setting->key, "model") == 0) continue;
        status = cell_set(cell, setting->key, setting->value, error);
        if (status != STATUS_OK) error_context(error, "%s", setting->source);
    }
    if (status != STATUS_OK) cell_close(cell);
    return status;
}

/* Budget and warm-up must be lengths that this cell has, of which one is a part of the other. */
static Status check_lengths(const Cell *cell, Error *error) {
    const RunOptions *run = &cell->run;
    Budget budget, warmup;
    if (budget_parse(run->budget, &budget, error) != STATUS_OK ||
        warmup_parse(run->warmup, &warmup, error) != STATUS_OK)
        return STATUS_USAGE;
    const bool share = warmup.unit == BUDGET_SHARE;
    if (!share && (warmup.unit == BUDGET_SECOND) != (budget.unit == BUDGET_SECOND))
        return error_set(error, STATUS_USAGE,
                         "warmup=%s of budget=%s: how many steps a second has is not known; give "
                         "both in time or neither, or the warm-up as a part of the budget (0.1)",
                         run->warmup, run->budget);
    /* Only a generated task is known to be endless before its files are read. */
    const bool endless = !cell->task->open && run->train_samples == 0 &&
                         cell->task->count(cell->task_options, NULL, SPLIT_TRAIN) == 0;
    const bool by_budget = budget.unit == BUDGET_EPOCH;
    if (endless && (by_budget || warmup.unit == BUDGET_EPOCH))
        return error_set(error, STATUS_USAGE,
                         "%s=%s: task %s never repeats a sample, so it has no epochs; set "
                         "train_samples, or %s",
                         by_budget ? "budget" : "warmup", by_budget ? run->budget : run->warmup,
                         cell->task->name,
                         by_budget ? "a budget in flop, token or step"
                                   : "a warm-up in step, or as a part of the budget");
    return STATUS_OK;
}

bool cell_reads_forwards(const Cell *cell, const Problem *problem) {
    return problem->causal || cell->run.causal;
}

static Status check_pool(const Cell *cell, const Problem *problem, Error *error) {
    if (cell->run.pool != POOL_FIRST) return STATUS_OK;
    const bool forwards = cell_reads_forwards(cell, problem);
    if (!problem_is_pooled(problem) || (!forwards && cell->model->bidirectional)) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "pool=token: %s%s reads forwards only%s, so the learned token in front of the "
                     "sequence would see nothing of it; use pool=mean or pool=last",
                     problem->causal ? "task " : "model ",
                     problem->causal ? cell->task->name : cell->model->name,
                     !problem->causal && cell->run.causal ? " with causal=yes" : "");
}

/* Numbers of one activation of a replay: more are in no machine's memory, and sizes that follow
 * from them (a state or a weight for each) still fit 64 bits. */
static const double most_numbers = 0x1p40;

static Status check_size(const Cell *cell, const Problem *problem, int64_t part, Error *error) {
    const int64_t rows = cell->run.micro_batch > 0 ? cell->run.micro_batch : part;
    const int64_t length = problem_longest(problem), width = cell->backbone.width;
    const double numbers = (double)rows * problem->sequences * (double)length * (double)width;
    if (numbers <= most_numbers) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "%lld samples of %lld positions and width %lld at once are %.0f GiB for every "
                     "activation; expected a smaller micro_batch, batch, length or width",
                     (long long)rows, (long long)(length * problem->sequences), (long long)width,
                     numbers * sizeof(float) / 0x1p30);
}

Status cell_validate(const Cell *cell, Problem *problem, Error *error) {
    const RunOptions *run = &cell->run;
    Status status = schedule_check(run, error);
    if (status == STATUS_OK) status = cell->task->problem(cell->task_options, problem, error);
    if (status == STATUS_OK && cell->model->validate)
        status = cell->model->validate(&cell->backbone, cell->model_options, error);
    if (status != STATUS_OK) return status;
    if (run->batch % run->replicas != 0)
        return error_set(error, STATUS_USAGE,
                         "replicas=%lld does not divide batch=%lld; expected a divisor",
                         (long long)run->replicas, (long long)run->batch);
    const int64_t part = run->batch / run->replicas;
    if (run->micro_batch > 0 && part % run->micro_batch != 0)
        return error_set(error, STATUS_USAGE,
                         "micro_batch=%lld does not divide batch=%lld%s; expected a divisor, or 0 "
                         "to have it chosen",
                         (long long)run->micro_batch, (long long)part,
                         run->replicas > 1 ? " (that of one of the replicas)" : "");
    status = check_pool(cell, problem, error);
    if (status == STATUS_OK) status = check_size(cell, problem, part, error);
    return status == STATUS_OK ? check_lengths(cell, error) : status;
}

static int compare_keys(const void *a, const void *b) {
    return strcmp(((const CellValue *)a)->key, ((const CellValue *)b)->key);
}

CellValue *cell_values(const Cell *cell, int *count) {
    Place places[TABLES];
    places_of(cell, places);
    enum { NAMES = 2 };
    int total = NAMES;
    for (int i = 0; i < TABLES; i++) total += places[i].table->count;
    CellValue *values = memory_take_zeroed((size_t)total, sizeof *values);
    values[0] = (CellValue){.key = "task", .help = ""};
    values[1] = (CellValue){.key = "model", .help = ""};
    snprintf(values[0].text, OPTION_VALUE_BYTES, "%s", cell->task->name);
    snprintf(values[1].text, OPTION_VALUE_BYTES, "%s", cell->model->name);
    CellValue *at = values + NAMES;
    for (int i = 0; i < TABLES; i++)
        for (int j = 0; j < places[i].table->count; j++, at++) {
            const Option *option = &places[i].table->options[j];
            *at = (CellValue){.key = option->name, .help = option->help};
            option_text(option, places[i].values, at->text);
        }
    qsort(values + NAMES, (size_t)(total - NAMES), sizeof *values, compare_keys);
    *count = total;
    return values;
}

/* Settings that came later, with the value that stands for what was before them: so set they are no
 * part of what a cell is, and cells have the identity that they have always had. */
static const struct {
    const char *key, *before;
} later[] = {
    {"block", "mamba"},
    {"causal", "no"},
    {"dropout_tied", "no"},
    {"evaluation_clamp", "0"},
    {"evaluation_memory", "-1"},
    {"evaluation_segment", "0"},
    {"fast_dt", "no"},
    {"filter", "network"},
    {"filter_size", "64"},
    {"layer", "s6"},
    {"lr_floor", "0"},
    {"norm_momentum", "0.1"},
    {"plateau_factor", "0.2"},
    {"plateau_patience", "5"},
    {"replicas", "1"},
    {"restarts", "0"},
    {"segments", "mixed"},
    {"shuffle", "yes"},
    {"slow_c", "no"},
    {"slstm_convolution", "-1"},
    {"test_length", "0"},
    {"warmup_power", "1"},
};

/* Whether a setting is part of what a cell is. */
static bool identifies(const CellValue *value) {
    for (size_t i = 0; i < sizeof later / sizeof *later; i++)
        if (strcmp(value->key, later[i].key) == 0) return strcmp(value->text, later[i].before) != 0;
    return strcmp(value->key, "checkpoint_every") != 0;
}

bool cell_evaluates_by_length(const Cell *cell, const Problem *problem) {
    return !cell->task->open && problem->padded && problem->evaluation_length > 0 &&
           problem->causal && !problem_is_pooled(problem) && !problem->bottleneck &&
           problem->length >= 2 * CELL_SHORTEST_EVALUATION;
}

/* Other lengths of transforms round otherwise, so it is part of what a cell is. */
static bool by_length(const Cell *cell) {
    Problem problem;
    Error error = {0};
    if (cell->task->open || cell->task->problem(cell->task_options, &problem, &error) != STATUS_OK)
        return false;
    problem = problem_for(&problem, SPLIT_TEST);
    return cell_evaluates_by_length(cell, &problem);
}

char *cell_text(const Cell *cell) {
    int count;
    CellValue *values = cell_values(cell, &count);
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = memory_stream(&text, &bytes);
    fprintf(out, "numbers_version: " NUMBERS_VERSION "\ntask_version: %d\n", cell->task->version);
    if (by_length(cell)) fprintf(out, "evaluation: by length\n");
    for (int i = 0; i < count; i++)
        if (identifies(&values[i])) fprintf(out, "%s: %s\n", values[i].key, values[i].text);
    fclose(out);
    free(values);
    return text;
}

void cell_identity(const Cell *cell, char identity[17]) {
    char *text = cell_text(cell), digest[SHA256_DIGEST_STRING_LENGTH];
    SHA256Data((const uint8_t *)text, strlen(text), digest);
    snprintf(identity, 17, "%.16s", digest);
    free(text);
}
