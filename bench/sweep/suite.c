#include "bench/sweep/suite.h"

#include <glob.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/common/home.h"
#include "bench/sweep/suite_file.h"
#include "engine/memory.h"
#include "engine/word.h"

/* Nearest name among the suites that come with the program. */
static Status unknown_suite(const char *name, const char *folder, Error *error) {
    char pattern[PATH_MAX + 8];
    snprintf(pattern, sizeof pattern, "%s/*.yaml", folder);
    glob_t found = {0};
    Nearest nearest = {.wanted = name};
    glob(pattern, 0, NULL, &found);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char *word = strrchr(found.gl_pathv[i], '/') + 1;
        word[strlen(word) - strlen(".yaml")] = '\0';
        nearest_offer(&nearest, word);
    }
    char advice[128];
    nearest_advice(&nearest, advice, sizeof advice);
    globfree(&found);
    return error_set(error, STATUS_USAGE, "no suite '%s'%s (longhaul list suites, or a .yaml file)",
                     name, advice);
}

static bool ends_in_yaml(const char *name) {
    const size_t length = strlen(name), tail = strlen(".yaml");
    return length > tail && strcmp(name + length - tail, ".yaml") == 0;
}

/* Path of the suite's file, and its name: the file's without ".yaml". */
static Status find_file(const char *wanted, char path[PATH_MAX], char *name, size_t bytes,
                        Error *error) {
    char folder[PATH_MAX];
    if (ends_in_yaml(wanted)) {
        snprintf(path, PATH_MAX, "%s", wanted);
    } else {
        const Status status = home_path("bench/suites", folder, sizeof folder, error);
        if (status != STATUS_OK) return status;
        FILE *file = NULL;
        if (!strchr(wanted, '/') &&
            snprintf(path, PATH_MAX, "%s/%s.yaml", folder, wanted) < PATH_MAX)
            file = fopen(path, "r");
        if (!file) return unknown_suite(wanted, folder, error);
        fclose(file);
    }
    const char *slash = strrchr(path, '/'), *last = slash ? slash + 1 : path;
    snprintf(name, bytes, "%.*s", (int)(strlen(last) - strlen(".yaml")), last);
    return STATUS_OK;
}

/* The axes in the order of the product, and where each kind begins. */
typedef struct Product {
    const Axis *axes[3 + 2 * SUITE_KEYS];
    int digits[3 + 2 * SUITE_KEYS]; /* the choice of each axis: a counter of mixed radix */
    int count, tune_begin, seed_begin;
} Product;

static void product_open(Product *product, const SuiteFile *file) {
    *product = (Product){0};
    product->axes[product->count++] = &file->models;
    if (file->cases.count > 0) product->axes[product->count++] = &file->cases;
    for (int i = 0; i < file->grid_count; i++) product->axes[product->count++] = &file->grid[i];
    product->tune_begin = product->count;
    for (int i = 0; i < file->tune_count; i++) product->axes[product->count++] = &file->tune[i];
    product->seed_begin = product->count;
    product->axes[product->count++] = &file->seeds;
}

/* Each is a cell with all its settings in memory. */
enum { MOST_CELLS = 100000 };

static Status check_size(const Product *product, const Suite *suite, Error *error) {
    double cells = 1;
    for (int i = 0; i < product->count; i++) cells *= product->axes[i]->count;
    if (cells <= MOST_CELLS) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "suite %s, preset %s: its lists multiply to %.0f cells; expected at most %d: "
                     "fewer values, or several suites",
                     suite->name, suite->preset, cells, MOST_CELLS);
}

/* False after the last. *lowest: the first axis that turned. */
static bool product_next(Product *product, int *lowest) {
    for (int i = product->count - 1; i >= 0; i--) {
        *lowest = i;
        if (++product->digits[i] < product->axes[i]->count) return true;
        product->digits[i] = 0;
    }
    return false;
}

static const Settings *chosen(const Product *product, int axis) {
    return &product->axes[axis]->choices[product->digits[axis]];
}

/* What goes with a case: "transformer.heads: 4" there is for that model alone. */
static Status add_case_set(Settings *settings, const Settings *set, const SuiteFile *file,
                           int model, Error *error) {
    Status status = STATUS_OK;
    for (int i = 0; i < set->count && status == STATUS_OK; i++) {
        const Setting *one = &set->list[i];
        const char *dot = strchr(one->key, '.');
        if (!dot || suite_names(file, model, one->key))
            status =
                settings_add(settings, dot ? dot + 1 : one->key, one->value, one->source, error);
    }
    return status;
}

static Status gather(const Product *product, const SuiteFile *file, Settings *settings,
                     Error *error) {
    const int model = product->digits[0];
    Status status = settings_add_all(settings, &file->base, error);
    for (int i = 0; i < product->count && status == STATUS_OK; i++) {
        if (product->axes[i] == &file->cases)
            status = add_case_set(settings, &file->case_sets.choices[product->digits[i]], file,
                                  model, error);
        if (status == STATUS_OK) status = settings_add_all(settings, chosen(product, i), error);
        if (status == STATUS_OK && product->axes[i] == &file->models)
            status = settings_add_all(settings, &file->names[model].own, error);
    }
    if (status == STATUS_OK) status = settings_add_all(settings, &file->last, error);
    if (status == STATUS_OK) status = settings_add_all(settings, &file->names[model].last, error);
    return status;
}

/* "mamba length=64 width=64 lr=0.001 seed=1": the model, then what the axes choose. */
static void make_label(const Product *product, SuiteCell *cell) {
    size_t length = (size_t)snprintf(cell->label, sizeof cell->label, "%s", cell->name);
    for (int i = 1; i < product->count; i++) {
        const Settings *choice = chosen(product, i);
        for (int j = 0; j < choice->count && length < sizeof cell->label; j++) {
            const Setting *effective = settings_find(&cell->settings, choice->list[j].key);
            length += (size_t)snprintf(cell->label + length, sizeof cell->label - length, " %s=%s",
                                       effective->key, effective->value);
        }
    }
}

/* The cells by their identity: a table with room for twice as many, a power of two. */
typedef struct Known {
    int *numbers; /* of a cell, from 1 on; 0: free */
    size_t room;
} Known;

/* Where the identity is, or belongs. */
static int *place_of(const Known *known, const Suite *suite, const char *identity) {
    size_t at = strtoull(identity, NULL, 16) & (known->room - 1);
    while (known->numbers[at] &&
           strcmp(suite->cells[known->numbers[at] - 1].identity, identity) != 0)
        at = (at + 1) & (known->room - 1);
    return &known->numbers[at];
}

static void make_room(Known *known, const Suite *suite) {
    if (known->room > 2 * (size_t)suite->count) return;
    known->room = known->room ? 2 * known->room : 64;
    free(known->numbers);
    known->numbers = memory_take_zeroed(known->room, sizeof *known->numbers);
    for (int i = 0; i < suite->count; i++)
        *place_of(known, suite, suite->cells[i].identity) = i + 1;
}

static void suite_cell_free(SuiteCell *cell) {
    cell_close(&cell->cell);
    settings_free(&cell->settings);
}

/* *wanted: whether the request's tasks have the cell's. Of others nothing is looked at, so that a
 * key of one task and the data of another are no matter. */
static Status build_cell(const Product *product, const SuiteFile *file, const SuiteRequest *request,
                         SuiteCell *cell, bool *wanted, Error *error) {
    Status status = gather(product, file, &cell->settings, error);
    const Setting *task = settings_find(&cell->settings, "task");
    *wanted = !task || word_selected(request->tasks, task->value);
    if (status != STATUS_OK || !*wanted) return status;
    status = cell_build(&cell->cell, &cell->settings, error);
    if (status != STATUS_OK) return status;
    const char *device = request->device;
    memcpy(cell->name, file->names[product->digits[0]].name, sizeof cell->name);
    make_label(product, cell);
    snprintf(cell->cell.device, sizeof cell->cell.device, "%s", device && *device ? device : "cpu");
    cell_identity(&cell->cell, cell->identity);
    status = cell_validate(&cell->cell, &cell->problem, error);
    return status == STATUS_OK ? status : error_context(error, "cell %s", cell->label);
}

/* Takes the cell, unless an equal one is there: settings of the command line may make two cells of
 * the file equal. */
static Status take_cell(Suite *suite, Known *known, SuiteCell *cell, bool *new_group,
                        Error *error) {
    make_room(known, suite);
    int *place = place_of(known, suite, cell->identity);
    const SuiteCell *equal = *place ? &suite->cells[*place - 1] : NULL;
    if (equal && strcmp(equal->name, cell->name) != 0) {
        error_set(error, STATUS_USAGE,
                  "models '%s' and '%s' of suite %s are the same: cell %s is cell %s; give them "
                  "settings that differ, or choose one with --model",
                  equal->name, cell->name, suite->name, equal->label, cell->label);
        suite_cell_free(cell);
        return STATUS_USAGE;
    }
    if (equal) {
        suite_cell_free(cell);
        return STATUS_OK;
    }
    /* Grows by doubling: the count is a power of two exactly when the memory is full. */
    if ((suite->count & (suite->count - 1)) == 0) {
        const size_t capacity = suite->count ? 2 * (size_t)suite->count : 1;
        suite->cells = memory_resize(suite->cells, capacity * sizeof *suite->cells);
    }
    if (*new_group) suite->groups++;
    *new_group = false;
    cell->group = suite->groups - 1;
    suite->cells[suite->count++] = *cell;
    *place = suite->count;
    return STATUS_OK;
}

static Status expand(Suite *suite, const SuiteFile *file, const SuiteRequest *request,
                     Error *error) {
    Product product;
    Known known = {0};
    product_open(&product, file);
    Status status = check_size(&product, suite, error);
    if (status != STATUS_OK) return status;
    bool new_group = true;
    int lowest, variant = 0;
    do {
        SuiteCell cell = {.variant = variant, .repeat = product.digits[product.seed_begin]};
        bool wanted;
        status = build_cell(&product, file, request, &cell, &wanted, error);
        if (status == STATUS_OK && wanted)
            status = take_cell(suite, &known, &cell, &new_group, error);
        else
            suite_cell_free(&cell);
        if (status != STATUS_OK || !product_next(&product, &lowest)) break;
        if (lowest < product.seed_begin) variant++;
        if (lowest < product.tune_begin) {
            new_group = true;
            variant = 0;
        }
    } while (true);
    free(known.numbers);
    if (status == STATUS_OK && suite->count == 0)
        status =
            error_set(error, STATUS_USAGE, "nothing to run: --task '%s' fits no task of suite %s",
                      request->tasks ? request->tasks : "", suite->name);
    return status;
}

static void add_key(char keys[SUITE_KEYS][SUITE_KEY_BYTES], int *count, const char *key) {
    for (int i = 0; i < *count; i++)
        if (strcmp(keys[i], key) == 0) return;
    if (*count < SUITE_KEYS) snprintf(keys[(*count)++], SUITE_KEY_BYTES, "%s", key);
}

static const SuiteCell *first_cell(const Suite *suite, const char *name) {
    for (int i = 0; i < suite->count; i++)
        if (!strcmp(suite->cells[i].name, name)) return &suite->cells[i];
    return NULL;
}

/* What the names that the suite has given stand for, by what its cells have. */
static void describe_names(Suite *suite, const SuiteFile *file) {
    size_t used = 0;
    int named = -1; /* the model that was named last */
    for (int i = 0; i < file->models.count; i++) {
        const SuiteCell *cell = first_cell(suite, file->names[i].name);
        const Settings *own = &file->names[i].own;
        for (int k = 0; cell && k < own->count && used < sizeof suite->named; k++) {
            const Setting *one = settings_find(&cell->settings, own->list[k].key);
            if (settings_find(own, one->key) != &own->list[k]) continue; /* set again */
            char *at = suite->named + used;
            const size_t room = sizeof suite->named - used;
            used += (size_t)(named == i ? snprintf(at, room, ", %s %s", one->key, one->value)
                                        : snprintf(at, room, "%s%s is %s with %s %s",
                                                   used ? "; " : "", cell->name,
                                                   cell->cell.model->name, one->key, one->value));
            named = i;
        }
    }
    if (used >= sizeof suite->named) strcpy(suite->named + sizeof suite->named - 5, " ...");
}

static void describe_axes(Suite *suite, const SuiteFile *file) {
    for (int i = 0; i < file->cases.count; i++)
        for (int j = 0; j < file->cases.choices[i].count; j++)
            add_key(suite->axes, &suite->axis_count, file->cases.choices[i].list[j].key);
    suite->cases = file->cases.count > 0 ? file->cases.count : 1;
    for (int i = 0; i < file->grid_count; i++) {
        add_key(suite->axes, &suite->axis_count, file->grid[i].choices[0].list[0].key);
        suite->cases *= file->grid[i].count;
    }
    suite->variants = 1;
    for (int i = 0; i < file->tune_count; i++) {
        add_key(suite->tuned, &suite->tuned_count, file->tune[i].choices[0].list[0].key);
        suite->variants *= file->tune[i].count;
    }
    suite->repeats = file->seeds.count;
}

Status suite_open(Suite *suite, const SuiteRequest *request, Error *error) {
    *suite = (Suite){0};
    SuiteFile file = {0};
    char path[PATH_MAX];
    snprintf(suite->preset, sizeof suite->preset, "%s", request->preset);
    Status status = find_file(request->suite, path, suite->name, sizeof suite->name, error);
    if (status == STATUS_OK) status = suite_file_read(&file, suite, path, request, error);
    if (status == STATUS_OK) status = suite_file_override(&file, request, error);
    if (status == STATUS_OK) {
        describe_axes(suite, &file);
        status = expand(suite, &file, request, error);
        describe_names(suite, &file);
    }
    suite_file_free(&file);
    if (status != STATUS_OK) suite_close(suite);
    return status;
}

void suite_close(Suite *suite) {
    for (int i = 0; i < suite->count; i++) suite_cell_free(&suite->cells[i]);
    for (int i = 0; i < suite->average_count; i++) settings_free(&suite->averages[i].where);
    free(suite->cells);
    *suite = (Suite){0};
}

static bool better(const Problem *problem, const Tried *a, const Tried *b) {
    if (isnan(a->validation) || isnan(b->validation))
        return !isnan(a->validation) && isnan(b->validation);
    if (a->validation == b->validation) return a->flops < b->flops;
    return (a->validation > b->validation) == problem->higher_is_better;
}

/* The first cell whose group is this one or a later one. */
static int first_of_group(const Suite *suite, int group) {
    int from = 0, to = suite->count;
    while (from < to) {
        const int middle = from + (to - from) / 2;
        if (suite->cells[middle].group < group)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

void suite_group(const Suite *suite, int group, int *first, int *end) {
    *first = first_of_group(suite, group);
    *end = first_of_group(suite, group + 1);
}

int suite_select(const Suite *suite, int group, const Tried *tried) {
    int best = -1, first, end;
    suite_group(suite, group, &first, &end);
    for (int i = first; i < end; i++) {
        const SuiteCell *cell = &suite->cells[i];
        if (cell->repeat != 0 || !tried[i].finished) continue;
        if (best < 0 || better(&cell->problem, &tried[i], &tried[best])) best = i;
    }
    return best < 0 ? -1 : suite->cells[best].variant;
}

bool suite_in_shard(const SuiteCell *cell, const Shard *shard) {
    return cell->group % shard->count == shard->number - 1;
}

int suite_cells_in_the_end(const Suite *suite) {
    int count = 0;
    for (int i = 0; i < suite->count; i++) /* repeats of one variant of each group */
        count += suite->cells[i].repeat == 0 || suite->cells[i].variant == 0;
    return count;
}
