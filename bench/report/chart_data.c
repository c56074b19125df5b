/* The files that gnuplot reads: points, and the settings that load the template. */
#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/common/home.h"
#include "bench/report/chart.h"
#include "bench/report/palette.h"
#include "engine/file.h"
#include "engine/memory.h"

enum { MOST_MODELS = 48 };

/* A string in gnuplot's single quotes. */
static void write_quoted(FILE *file, const char *text) {
    fputc('\'', file);
    for (; *text; text++) {
        if (*text == '\'') fputc('\'', file);
        fputc(isprint((unsigned char)*text) || *text & 0x80 ? *text : ' ', file);
    }
    fputc('\'', file);
}

static void write_text(FILE *file, const char *name, const char *text) {
    fprintf(file, "%s = ", name);
    write_quoted(file, text);
    fputc('\n', file);
}

/* Infinite and unknown values are NaN to gnuplot, which leaves them out. */
static void write_number(FILE *file, double value) {
    if (isfinite(value)) {
        fprintf(file, "%.9g", value);
    } else {
        fputs("NaN", file);
    }
}

static void write_range(FILE *file, const char *name, const Axis *axis) {
    write_text(file, name, axis->label);
    fprintf(file, "%s_base = %d\n", name, axis->base);
    const double ends[] = {axis->low, axis->high};
    for (int i = 0; i < 2; i++) {
        fprintf(file, "%s_%s = ", name, i ? "high" : "low");
        write_number(file, ends[i]);
        fputc('\n', file);
    }
}

/* Whether some series has a line of its style: then the key shows lines. */
static bool has_lines(const Chart *chart) {
    for (int p = 0; p < chart->count; p++)
        for (int s = 0; s < chart->panels[p].count; s++)
            if (chart->panels[p].series[s].kind <= SERIES_PUBLISHED) return true;
    return false;
}

/* How published points look in this chart. */
static const char *published_look(const Chart *chart) {
    for (int p = 0; p < chart->count; p++)
        for (int s = 0; s < chart->panels[p].count; s++)
            if (chart->panels[p].series[s].kind == SERIES_OPEN) return "open";
    return "dotted";
}

/* array[1] = "..", array[2] = ".." */
static void write_names(FILE *file, const char *array, char *const *names, int count) {
    if (count) fprintf(file, "array %s[%d]\n", array, count);
    for (int n = 0; n < count; n++) {
        fprintf(file, "%s[%d] = ", array, n + 1);
        write_quoted(file, names[n]);
        fputc('\n', file);
    }
}

static void write_styles(const char *const *models, const int *slots, int count, FILE *file) {
    fprintf(file, "models = %d\narray model[%d]\narray colour[%d]\narray filled[%d]\n", count,
            count, count, count);
    fprintf(file, "array open[%d]\narray dash[%d]\n", count, count);
    for (int i = 0; i < count; i++) {
        const LineStyle style = palette_style(slots[i]);
        fprintf(file, "model[%d] = ", i + 1);
        write_quoted(file, models[i]);
        fprintf(file, "; colour[%d] = '%s'; filled[%d] = %d; open[%d] = %d; dash[%d] = %d\n", i + 1,
                style.colour, i + 1, style.filled, i + 1, style.open, i + 1, style.dash);
    }
}

/* For each panel its title and blocks of the data file; for each block the style of its model, and
 * its kind. */
static void write_panels(const Chart *chart, const char *const *models, int count, FILE *file) {
    int blocks = 0;
    for (int p = 0; p < chart->count; p++) blocks += chart->panels[p].count;
    fprintf(file, "panels = %d\narray title[%d]\narray first[%d]\narray last[%d]\n", chart->count,
            chart->count, chart->count, chart->count);
    fprintf(file, "array style[%d]\narray kind[%d]\narray roof[%d]\n", blocks, blocks, blocks);
    int block = 0;
    for (int p = 0; p < chart->count; p++) {
        const Panel *panel = &chart->panels[p];
        fprintf(file, "title[%d] = ", p + 1);
        write_quoted(file, panel->title);
        fprintf(file, "; first[%d] = %d; last[%d] = %d\n", p + 1, block + 1, p + 1,
                block + panel->count);
        for (int s = 0; s < panel->count; s++) {
            int style = 0;
            while (style < count && strcmp(models[style], panel->series[s].model) != 0) style++;
            block++;
            /* A roof is not in the key: it has no style, and brings its name along. */
            fprintf(file, "style[%d] = %d; kind[%d] = %d; roof[%d] = ", block,
                    style < count ? style + 1 : 1, block, (int)panel->series[s].kind, block);
            write_quoted(file, panel->series[s].model);
            fputc('\n', file);
        }
    }
}

/* What the template draws with, and the template. */
static void write_script(const Chart *chart, const char *template, FILE *file) {
    const char *models[MOST_MODELS];
    int slots[MOST_MODELS];
    const int count = chart_models(chart, models, slots, MOST_MODELS);
    fputs("# gnuplot -e \"format='svg'\" THIS_FILE draws the figure again.\n", file);
    write_text(file, "name", chart->name);
    write_text(file, "sources", chart->sources);
    write_text(file, "look", published_look(chart));
    write_text(file, "note", chart->note);
    write_range(file, "x_axis", &chart->x);
    write_range(file, "y_axis", &chart->y);
    fputs("chance = ", file);
    write_number(file, chart->chance);
    fprintf(file, "\nlines = %d\n", has_lines(chart));
    write_styles(models, slots, count, file);
    if (chart->row_count) fprintf(file, "rows = %d\n", chart->row_count);
    write_names(file, "row_name", chart->rows, chart->row_count);
    fprintf(file, "places = %d\n", chart->name_count);
    write_names(file, "place", chart->names, chart->name_count);
    write_panels(chart, models, count, file);
    fputs("load ", file);
    write_quoted(file, template);
    fputc('\n', file);
}

static void write_points(const Chart *chart, FILE *file) {
    static const char *const kinds[] = {"mean", "seeds", "curve",  "published", "points",
                                        "open", "roof",  "chance", "bar"};
    fprintf(file, "# %s: x (%s), y (%s), low, high\n", chart->title, chart->x.label,
            chart->y.label);
    for (int p = 0; p < chart->count; p++) {
        for (int s = 0; s < chart->panels[p].count; s++) {
            const Series *series = &chart->panels[p].series[s];
            fprintf(file, "# %s; %s; %s\n", chart->panels[p].title, series->model,
                    kinds[series->kind]);
            for (int i = 0; i < series->count; i++) {
                const ChartPoint *point = &series->points[i];
                const double values[] = {point->x, point->y, point->low, point->high};
                for (int v = 0; v < 4; v++) {
                    write_number(file, values[v]);
                    fputc(v < 3 ? '\t' : '\n', file);
                }
            }
            fputs("\n\n", file); /* gnuplot: two empty lines end a block */
        }
    }
}

static Status save(const char *folder, const Chart *chart, const char *extension,
                   const char *template, Error *error) {
    char path[PATH_MAX], name[96], *text = NULL;
    size_t bytes = 0;
    FILE *memory = memory_stream(&text, &bytes);
    if (template) {
        write_script(chart, template, memory);
    } else {
        write_points(chart, memory);
    }
    fclose(memory);
    snprintf(name, sizeof name, "%s.%s", chart->name, extension);
    Status status = path_join(path, folder, name, error);
    if (!status) status = file_update(path, text, bytes, error);
    free(text);
    return status;
}

Status chart_write_data(const Chart *chart, const char *folder, Error *error) {
    char template[PATH_MAX];
    Status status = folder_make(folder, error);
    if (!status) status = save(folder, chart, "dat", NULL, error);
    if (!status) status = home_path(chart_template(chart), template, sizeof template, error);
    if (!status) status = save(folder, chart, "gp", template, error);
    return status;
}
