/* What a sweep says: a line while it runs, each cell that ends, and the summary. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/common/terminal.h"
#include "bench/sweep/sweep.h"
#include "engine/clock.h"
#include "engine/memory.h"

static const char *const outcomes[] = {[OUTCOME_FINISHED] = "budget used",
                                       [OUTCOME_SOLVED] = "solved",
                                       [OUTCOME_DIVERGED] = "diverged",
                                       [OUTCOME_INTERRUPTED] = "interrupted"};

typedef struct Count {
    int total, done, failed, elsewhere;
} Count;

/* total: cells that will have run in the end. */
static Count count_cells(const Sweep *sweep) {
    Count count = {0};
    for (int i = 0; i < sweep->suite->count; i++) {
        bool undecided;
        const bool wanted = sweep_wanted(sweep, i, &undecided);
        if (!wanted && !(undecided && sweep->suite->cells[i].variant == 0)) continue;
        const EntryState state = sweep->entries[i].state;
        count.total++;
        count.done += wanted && state == ENTRY_DONE;
        count.failed += wanted && state == ENTRY_FAILED;
        count.elsewhere += wanted && state == ENTRY_ELSEWHERE;
    }
    return count;
}

void sweep_clear_line(const Sweep *sweep) {
    if (sweep->terminal) terminal_status("");
}

void sweep_show_finished(Sweep *sweep, int cell) {
    if (sweep->options->quiet) return;
    const Entry *entry = &sweep->entries[cell];
    const Count count = count_cells(sweep);
    sweep_clear_line(sweep);
    fprintf(stderr, "[%d/%d] %s: ", count.done + count.failed, count.total,
            sweep->suite->cells[cell].label);
    if (entry->state == ENTRY_DONE)
        fprintf(stderr, "%.4f, %s%s\n", entry->metric, outcomes[entry->outcome],
                entry->at_chance ? ", at chance" : "");
    else
        fprintf(stderr, "failed: %s\n", entry->failure);
    if (sweep->terminal) sweep->last_line = 0; /* the line of progress was overwritten */
}

/* "cell 8 of 40 | mamba 45 % 0.31, lstm 12 % - | 3:20 min left", often on a terminal and once a
 * minute in a log. */
void sweep_show_progress(Sweep *sweep) {
    const double now = seconds_now();
    if (sweep->options->quiet || now - sweep->last_line < (sweep->terminal ? 0.5 : 60)) return;
    sweep->last_line = now;
    const Count count = count_cells(sweep);
    char left[DURATION_BYTES];
    duration_text(sweep_seconds_left(sweep), left);
    char *text = NULL;
    size_t bytes;
    FILE *line = memory_stream(&text, &bytes);
    fprintf(line, "%d of %d cells", count.done + count.failed, count.total);
    const char *separator = " | ";
    for (int i = 0; i < sweep->jobs; i++) {
        const Worker *worker = &sweep->workers[i];
        if (worker->pid == 0) continue;
        fprintf(line, "%s%s %.0f %%", separator, sweep->suite->cells[sweep->cells_of[i]].name,
                100 * worker->progress.fraction);
        if (isfinite(worker->progress.metric)) fprintf(line, " %.3f", worker->progress.metric);
        separator = ", ";
    }
    if (count.elsewhere > 0) fprintf(line, " | %d elsewhere", count.elsewhere);
    fprintf(line, " | %s left", left);
    fclose(line);
    if (sweep->terminal)
        terminal_status(text);
    else
        fprintf(stderr, "%s\n", text);
    free(text);
}

void sweep_show_summary(const Sweep *sweep) {
    const Count count = count_cells(sweep);
    printf("%s, preset %s: %d of %d cells done, %d failed; %s/%s\n", sweep->suite->name,
           sweep->suite->preset, count.done, count.total, count.failed, sweep->options->results,
           sweep->suite->name);
    for (int i = 0; i < sweep->suite->count; i++)
        if (sweep->entries[i].state == ENTRY_FAILED)
            printf("failed: %s (%s)\n  %s\n", sweep->suite->cells[i].label,
                   sweep->entries[i].folder, sweep->entries[i].failure);
}
