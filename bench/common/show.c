#include "bench/common/show.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/sampling.h"

enum {
    CELL = TASK_SPELL_BYTES,
    MARGIN = 18
}; /* characters of a cell at most; of what stands before a row */

/* A grid of texts: rows of the sample (tokens or channels, then targets) by its positions. */
typedef struct Grid {
    const Problem *problem;
    int rows;
    int64_t columns;
    char (*cells)[CELL]; /* rows x columns; empty: nothing there */
    char names[8][24];
    bool *labelled; /* columns */
} Grid;

static char *cell(const Grid *grid, int row, int64_t column) {
    return grid->cells[row * grid->columns + column];
}

static void spell(const ShownTask *shown, int64_t id, char text[CELL]) {
    if (shown->task->spell)
        shown->task->spell(shown->options, shown->data, id, text);
    else
        snprintf(text, CELL, "%lld", (long long)id);
}

static void fill_inputs(Grid *grid, const ShownTask *shown, const Sample *sample, int sequence) {
    const Problem *problem = grid->problem;
    const int64_t first = sequence * problem->length;
    if (problem->input == INPUT_TOKENS) {
        snprintf(grid->names[0], sizeof grid->names[0], "token");
        for (int64_t t = 0; t < grid->columns; t++)
            spell(shown, sample->tokens[first + t], cell(grid, 0, t));
        return;
    }
    for (int row = 0; row < grid->rows - 1; row++) {
        snprintf(grid->names[row], sizeof grid->names[row], "channel %d", row);
        for (int64_t t = 0; t < grid->columns; t++)
            snprintf(cell(grid, row, t), CELL, "%.3f",
                     (double)sample->reals[(first + t) * problem->channels + row]);
    }
}

static void fill_targets(Grid *grid, const ShownTask *shown, const Sample *sample) {
    const Problem *problem = grid->problem;
    const int row = grid->rows - 1;
    snprintf(grid->names[row], sizeof grid->names[row], "target");
    if (problem_is_pooled(problem)) return;
    for (int64_t j = 0; j < problem->labels; j++) {
        const int64_t t = sample->positions[j];
        if (sample->weights[j] == 0 || t >= grid->columns) continue;
        grid->labelled[t] = true;
        if (problem->target == TARGET_TOKENS)
            spell(shown, sample->classes[j], cell(grid, row, t));
        else
            snprintf(cell(grid, row, t), CELL, "%.3f", (double)sample->value[j]);
    }
}

static bool same_line(const Grid *grid, int64_t start, int64_t wide) {
    if (start < wide || start + wide > grid->columns) return false;
    for (int64_t t = start - wide; t < start + wide; t++)
        if (grid->labelled[t]) return false;
    for (int row = 0; row < grid->rows; row++)
        for (int64_t t = start; t < start + wide; t++)
            if (strcmp(cell(grid, row, t), cell(grid, row, t - wide)) != 0) return false;
    return true;
}

static void print_grid(FILE *file, const Grid *grid, int columns) {
    int width = 1;
    for (int64_t i = 0; i < grid->rows * grid->columns; i++) {
        const int length = (int)strlen(grid->cells[i]);
        if (length > width) width = length;
    }
    int64_t wide = (columns - MARGIN) / (width + 1);
    if (wide < 1) wide = 1;
    bool skipping = false;
    for (int64_t start = 0; start < grid->columns; start += wide) {
        if (same_line(grid, start, wide)) {
            if (!skipping) fprintf(file, "%7s\n", "*");
            skipping = true;
            continue;
        }
        skipping = false;
        const int64_t end = start + wide < grid->columns ? start + wide : grid->columns;
        bool labelled = false;
        for (int64_t t = start; t < end; t++) labelled |= grid->labelled[t];
        for (int row = 0; row < grid->rows - !labelled; row++) {
            if (row == 0)
                fprintf(file, "%7lld  %-9s", (long long)start, grid->names[row]);
            else
                fprintf(file, "%7s  %-9s", "", grid->names[row]);
            for (int64_t t = start; t < end; t++) {
                const char *text = cell(grid, row, t);
                fprintf(file, " %*s", width, *text ? text : ".");
            }
            fputc('\n', file);
        }
    }
}

void show_sample(FILE *file, const ShownTask *shown, const Sample *sample, int columns) {
    const Problem *problem = shown->problem;
    for (int sequence = 0; sequence < problem->sequences; sequence++) {
        const int inputs = problem->input == INPUT_TOKENS ? 1 : (int)problem->channels;
        Grid grid = {.problem = problem,
                     .rows = (inputs < 7 ? inputs : 7) + 1,
                     .columns = sample->lengths[sequence]};
        grid.cells = scratch_open((size_t)(grid.rows * grid.columns) * CELL);
        grid.labelled = scratch_open((size_t)grid.columns);
        fill_inputs(&grid, shown, sample, sequence);
        if (sequence == 0) fill_targets(&grid, shown, sample);
        if (problem->sequences > 1) fprintf(file, "  sequence %d\n", sequence + 1);
        print_grid(file, &grid, columns);
        free(grid.cells);
        free(grid.labelled);
    }
    if (problem->target == TARGET_SEQUENCE)
        fprintf(file, "%7s  target    class %d of %lld\n", "", sample->classes[0],
                (long long)problem->classes);
    if (problem->target == TARGET_REAL)
        fprintf(file, "%7s  target    %.6f\n", "", (double)sample->value[0]);
}

/* A character is about twice as high as wide, so one stands for a block of 1 x 2 pixels or more. */
void show_picture(FILE *file, const uint8_t *grey, int64_t width, int64_t height, int columns) {
    static const char ramp[] = " .:-=+*#%@";
    enum { LEVELS = sizeof ramp - 1 };
    int64_t block = 1;
    while (width / block > columns) block++;
    for (int64_t top = 0; top < height; top += 2 * block) {
        for (int64_t left = 0; left + block <= width; left += block) {
            int brightest = 0;
            for (int64_t y = top; y < top + 2 * block && y < height; y++)
                for (int64_t x = left; x < left + block; x++)
                    if (grey[y * width + x] > brightest) brightest = grey[y * width + x];
            fputc(ramp[brightest * LEVELS / 256], file);
        }
        fputc('\n', file);
    }
}
