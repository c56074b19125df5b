/* The lines below a table: what stands in it, and what a reader must know of it. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "bench/report/table.h"

__attribute__((format(printf, 2, 3))) static void add_line(Table *table, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(table->caption[table->caption_lines++], sizeof *table->caption, format, arguments);
    va_end(arguments);
}

enum { MOST_VALUES = 12 };

/* The different values of a key in the study, in order: "1 2 3". */
static void list_values(const Study *study, const char *key, char *text, size_t size) {
    const char *values[MOST_VALUES];
    int count = 0;
    for (int i = 0; i < study->count && count < MOST_VALUES; i++) {
        const char *value = study_value(&study->records[i], key);
        int place = 0;
        while (place < count && value_order(values[place], value) < 0) place++;
        if (place < count && !strcmp(values[place], value)) continue;
        memmove(values + place + 1, values + place, (size_t)(count - place) * sizeof *values);
        values[place] = value;
        count++;
    }
    text[0] = 0;
    for (int i = 0; i < count; i++) {
        const size_t used = strlen(text);
        snprintf(text + used, size - used, "%s%s", i ? " " : "", values[i]);
    }
}

/* One number for all the training sets of the study, whatever the order of its records. */
static uint64_t data_fingerprint(const Study *study, int *sets) {
    uint64_t sum = 0;
    *sets = 0;
    for (int i = 0; i < study->count; i++) {
        const uint64_t hash = study->records[i].result.data_hash;
        bool seen = false;
        for (int j = 0; j < i && !seen; j++) seen = study->records[j].result.data_hash == hash;
        if (seen) continue;
        sum += hash;
        (*sets)++;
    }
    return sum;
}

static void describe_selection(Table *table, const Study *study) {
    char keys[STUDY_KEYS * (STUDY_VALUE + 2)] = "";
    for (int i = 0; i < study->tuned_count; i++) {
        const size_t used = strlen(keys);
        snprintf(keys + used, sizeof keys - used, "%s%s", i ? ", " : "", study->tuned[i]);
    }
    if (*keys) {
        add_line(table,
                 "Selection: for each row the %s whose first seed has the best validation %s; the "
                 "other seeds ran with it. Test is reported once, for the selected cells, with the "
                 "weights at the end of training; the column cells counts all that were tried.",
                 keys, study->metric);
    } else {
        add_line(table,
                 "No setting was tuned; test is reported once, with the weights at the end of "
                 "training.");
    }
}

/* The level from which a cell counts as solved; cases of several tasks or sizes may differ in it.
 */
static void describe_solved(const Study *study, char *text, size_t size) {
    double low = study->solved, high = low;
    for (int i = 0; i < study->count; i++) {
        low = fmin(low, study->records[i].solved);
        high = fmax(high, study->records[i].solved);
    }
    *text = '\0';
    if (low == high) snprintf(text, size, ", solved from %.4g", low);
    if (low < high) snprintf(text, size, ", solved from %.4g to %.4g by case", low, high);
}

static bool any_early(const Summary *summary) {
    for (int r = 0; r < summary->count; r++)
        if (!isnan(summary->rows[r].early)) return true;
    return false;
}

/* Averages say in their own line what they are. */
static bool any_published(const Summary *summary) {
    for (int r = 0; r < summary->count; r++)
        if (summary->rows[r].seeds && *summary->rows[r].published) return true;
    return false;
}

void table_caption(Table *table, const Study *study, const Summary *summary) {
    char budgets[160], seeds[96], planned[32] = "";
    int sets;
    const uint64_t data = data_fingerprint(study, &sets);
    list_values(study, "budget", budgets, sizeof budgets);
    list_values(study, "seed", seeds, sizeof seeds);
    if (study->planned) snprintf(planned, sizeof planned, " of %d", study->planned);
    add_line(table, "%s, preset %s: budget %s a cell, seeds %s, %d%s cells finished.", study->suite,
             study->preset, budgets, seeds, study->count, planned);
    char tasks[256];
    study_tasks(study, tasks, sizeof tasks);
    add_line(table, "Task %s; data %016" PRIx64 " (%d set%s).", tasks, data, sets,
             sets == 1 ? "" : "s");
    describe_selection(table, study);
    char solved[64];
    describe_solved(study, solved, sizeof solved);
    char chance[32] = "";
    if (!study_chance_varies(study)) snprintf(chance, sizeof chance, "Chance %.3g", study->chance);
    add_line(table,
             "%s: mean over seeds ± half the %d %% interval (Student's t). Every seed is shown and "
             "counts; one that diverged counts as chance. "
             "%s%s%s.",
             study->metric, STUDY_CONFIDENCE_PERCENT, chance,
             *chance ? "" : "Chance differs: see its column", solved);
    if (any_early(summary))
        add_line(
            table,
            "early: validation %s after a tenth of the budget (the first validation between 10 "
            "and 25 %%), mean over seeds.",
            study->metric);
    if (any_published(summary))
        add_line(table, "published: a paper's number on the same problem, at the sizes that it "
                        "states; how it trained may differ.");
    if (*study->named) add_line(table, "%s.", study->named);
    if (*summary->averages) add_line(table, "%s", summary->averages);
    if (study->failed) {
        add_line(table, "%d cell%s could not be run and %s no row: %s", study->failed,
                 study->failed == 1 ? "" : "s", study->failed == 1 ? "has" : "have",
                 study->failure);
    }
    if (!study_same_data(study)) {
        add_line(table,
                 "WARNING: cells of the same case and seed were trained on different data, so the "
                 "rows cannot be compared. Run the suite again with --force.");
    }
}
