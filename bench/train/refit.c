#include "bench/train/refit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/train/checkpoint.h"
#include "bench/train/network.h"
#include "engine/shape_text.h"

/* Settings of the runner that an evaluation reads beside the network that it records. */
static const char *const evaluation_keys[] = {"batch", "micro_batch",  "products",
                                              "seed",  "test_samples", "validation_samples"};

/* A cell with the network of its evaluation, for comparison. Never allocated, so it is small. */
typedef struct Draft {
    Cell cell;
    Problem problem;
    Parameters *parameters;
    Network network;
} Draft;

static void draft_close(Draft *draft) {
    network_close(&draft->network);
    parameters_close(draft->parameters);
    cell_close(&draft->cell);
    *draft = (Draft){0};
}

/* trained_length 0: the cell's own. */
static Status draft_open(Draft *draft, const Settings *settings, int64_t trained_length,
                         Error *error) {
    *draft = (Draft){0};
    Status status = cell_build(&draft->cell, settings, error);
    if (status != STATUS_OK) return status;
    draft->cell.trained_length = trained_length;
    status = cell_validate(&draft->cell, &draft->problem, error);
    if (status == STATUS_OK) {
        const Problem problem = problem_for(&draft->problem, SPLIT_TEST);
        draft->parameters = parameters_open();
        network_record(&draft->network, &draft->cell, &problem, draft->parameters, TAPE_EVALUATE,
                       1);
        status = tape_plan(draft->network.tape, 1, error);
    }
    if (status != STATUS_OK) draft_close(draft);
    return status;
}

static const char *find_value(const CellValue *values, int count, const char *key) {
    for (int i = 0; i < count; i++)
        if (strcmp(values[i].key, key) == 0) return values[i].text;
    return "";
}

static bool same_value(const Cell *a, const Cell *b, const char *key) {
    int count_a, count_b;
    CellValue *values_a = cell_values(a, &count_a), *values_b = cell_values(b, &count_b);
    const bool same =
        strcmp(find_value(values_a, count_a, key), find_value(values_b, count_b, key)) == 0;
    free(values_a);
    free(values_b);
    return same;
}

/* Whether two networks do the same to tensors of the same shapes, whatever their weights. */
static bool same_network(const Tape *a, const Tape *b) {
    if (tape_call_count(a) != tape_call_count(b)) return false;
    for (int i = 0; i < tape_call_count(a); i++) {
        const OpCall *x = tape_call(a, i), *y = tape_call(b, i);
        if (x->op != y->op || x->inputs != y->inputs || x->outputs != y->outputs) return false;
        if (x->attributes && memcmp(x->attributes, y->attributes, x->op->attribute_bytes) != 0)
            return false;
        for (int j = 0; j < x->outputs; j++)
            if (!shape_equal(&x->out[j]->shape, &y->out[j]->shape)) return false;
        for (int j = 0; j < x->inputs; j++)
            if (!x->in[j] != !y->in[j] || (x->in[j] && x->in[j]->number != y->in[j]->number))
                return false;
    }
    return true;
}

/* Numbers that are not trained may depend on settings, too: distances of a clamp. */
static bool same_frozen(const Parameters *a, const Parameters *b) {
    for (int i = 0; i < a->count; i++) {
        const Parameter *found = parameters_find(b, a->list[i]->tensor.name);
        if (a->list[i]->group.frozen && !(found && starts_alike(a->list[i], found))) return false;
    }
    return true;
}

static bool takes_part(const Draft *draft, const char *key) {
    for (size_t i = 0; i < sizeof evaluation_keys / sizeof *evaluation_keys; i++)
        if (strcmp(evaluation_keys[i], key) == 0) return true;
    return option_find(&draft->cell.task->options, key) != NULL;
}

static Status check_weights(const Draft *trained, const Draft *other, const char *what,
                            Error *error) {
    const Draft *const sides[] = {trained, other};
    for (int side = 0; side < 2; side++) {
        const Parameters *own = sides[side]->parameters, *others = sides[1 - side]->parameters;
        for (int i = 0; i < own->count; i++) {
            const Parameter *parameter = own->list[i];
            const Parameter *found = parameters_find(others, parameter->tensor.name);
            char want[SHAPE_TEXT_BYTES], have[SHAPE_TEXT_BYTES];
            if (parameter->group.frozen || (found && found->group.frozen)) continue;
            if (!found)
                return error_set(
                    error, STATUS_USAGE, "%s: weight '%s' %s; leave out what changes weights", what,
                    parameter->tensor.name, side ? "has not been trained" : "would not be used");
            if (shape_equal(&parameter->tensor.shape, &found->tensor.shape)) continue;
            shape_text(&parameter->tensor.shape, have);
            shape_text(&found->tensor.shape, want);
            return error_set(error, STATUS_USAGE,
                             "%s: weight '%s' was trained with shape %s and would have shape %s; "
                             "leave out what changes weights",
                             what, parameter->tensor.name, have, want);
        }
    }
    return STATUS_OK;
}

static Status check_length(const Draft *trained, const Draft *other, const char *what,
                           Error *error) {
    const int64_t before = problem_longest(&trained->problem),
                  after = problem_longest(&other->problem);
    const Model *model = trained->cell.model;
    if (after <= before || !(model->exempt & EXEMPT_LONGER)) return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "%s: model %s was trained for %lld positions at most, and its weights would "
                     "make other filters for %lld; expected %lld or fewer, or train with tests of "
                     "that length",
                     what, model->name, (long long)before, (long long)after, (long long)before);
}

static Status check_all(const Draft *trained, const Draft *other, const char *what, Error *error) {
    const Status status = check_weights(trained, other, what, error);
    return status == STATUS_OK ? check_length(trained, other, what, error) : status;
}

/* settings: the trained ones and the change. What cannot stand alone (a length that needs another
 * stride) is left to the check of all changes together. */
static Status check_one(const Draft *trained, const Settings *settings, const Setting *change,
                        Error *error) {
    const char *key = change->key;
    char what[OPTION_TEXT_BYTES + 80];
    snprintf(what, sizeof what, "%s=%s", key, change->value);
    if (strcmp(key, "task") == 0 || strcmp(key, "model") == 0) {
        const char *own = key[0] == 't' ? trained->cell.task->name : trained->cell.model->name;
        if (strcmp(own, change->value) == 0) return STATUS_OK;
        return error_set(error, STATUS_USAGE, "%s: these weights are of %s %s", what, key, own);
    }
    Cell cell;
    if (cell_build(&cell, settings, error) != STATUS_OK) return error->status;
    const bool same = same_value(&trained->cell, &cell, key);
    cell_close(&cell);
    Draft draft;
    if (same || draft_open(&draft, settings, problem_longest(&trained->problem), NULL) != STATUS_OK)
        return STATUS_OK;
    Status status = check_all(trained, &draft, what, error);
    if (status == STATUS_OK && !takes_part(trained, key) &&
        same_network(trained->network.tape, draft.network.tape) &&
        same_frozen(draft.parameters, trained->parameters))
        status = error_set(error, STATUS_USAGE,
                           "%s has no part in an evaluation: it says how weights start or how they "
                           "are trained; leave it out",
                           what);
    draft_close(&draft);
    return status;
}

/* Each change by itself, so that the message names its key. */
static Status check_each(const Draft *trained, const Settings *settings, const Settings *changes,
                         Error *error) {
    Status status = STATUS_OK;
    for (int i = 0; i < changes->count && status == STATUS_OK; i++) {
        const Setting *change = &changes->list[i];
        if (settings_find(changes, change->key) != change) continue; /* a later one holds */
        Settings alone = {0};
        status = settings_add_all(&alone, settings, error);
        if (status == STATUS_OK)
            status = settings_add(&alone, change->key, change->value, change->source, error);
        if (status == STATUS_OK) status = check_one(trained, &alone, change, error);
        settings_free(&alone);
    }
    return status;
}

Status cell_refit(Cell *cell, const Settings *trained, const Settings *changes,
                  Parameters **as_trained, Error *error) {
    Draft before, after;
    Settings all = {0};
    Status status = draft_open(&before, trained, 0, error);
    if (status != STATUS_OK) return status;
    status = check_each(&before, trained, changes, error);
    if (status == STATUS_OK) status = settings_add_all(&all, trained, error);
    if (status == STATUS_OK) status = settings_add_all(&all, changes, error);
    if (status == STATUS_OK)
        status = draft_open(&after, &all, problem_longest(&before.problem), error);
    settings_free(&all);
    if (status == STATUS_OK) {
        status = check_all(&before, &after, "these settings together", error);
        if (status == STATUS_OK) {
            *cell = after.cell;
            after.cell = (Cell){0};
            *as_trained = before.parameters;
            before.parameters = NULL; /* tapes do not look at them when they close */
        }
        draft_close(&after);
    }
    draft_close(&before);
    return status;
}
