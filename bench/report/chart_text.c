/* Charts as text, for a terminal. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench/report/chart.h"

/* A plot of text: a grid of characters between two axes. */
enum { ROWS = 21, MARGIN = 8, MOST_COLUMNS = 160, MOST_MODELS = 36 };

typedef struct Canvas {
    char cells[ROWS][MOST_COLUMNS + 1];
    int columns;
    double x_low, x_high, y_low, y_high; /* as drawn: logarithms on logarithmic axes */
} Canvas;

static double drawn(const Axis *axis, double value) {
    return axis->base ? log(value) / log(axis->base) : value;
}

/* Where the axis ends: the fixed range, or that of the panel's finite points. */
static void find_range(const Panel *panel, const Axis *axis, bool vertical, double *low,
                       double *high) {
    *low = INFINITY;
    *high = -INFINITY;
    for (int s = 0; s < panel->count; s++) {
        for (int i = 0; i < panel->series[s].count; i++) {
            const ChartPoint *point = &panel->series[s].points[i];
            const double value = drawn(axis, vertical ? point->y : point->x);
            if (!isfinite(value)) continue;
            *low = fmin(*low, value);
            *high = fmax(*high, value);
        }
    }
    if (!isnan(axis->low)) *low = drawn(axis, axis->low);
    if (!isnan(axis->high)) *high = drawn(axis, axis->high);
    if (!isfinite(*low) || !isfinite(*high)) *low = *high = 0;
    if (*low == *high) {
        *low -= 0.5;
        *high += 0.5;
    }
}

static void put(Canvas *canvas, double x, double y, char mark) {
    const double across = (x - canvas->x_low) / (canvas->x_high - canvas->x_low);
    const double up = (y - canvas->y_low) / (canvas->y_high - canvas->y_low);
    if (!(across >= 0 && across <= 1 && up >= 0 && up <= 1)) return;
    const int column = (int)lround(across * (canvas->columns - 1));
    const int row = ROWS - 1 - (int)lround(up * (ROWS - 1));
    char *cell = &canvas->cells[row][column];
    /* Letters cover lines; two different letters on one spot are a star. */
    const bool line = mark == '.' || mark == ':';
    if (line && *cell != ' ') return;
    const bool taken = *cell != ' ' && *cell != '.' && *cell != ':' && *cell != mark;
    *cell = taken ? '*' : mark;
}

static void draw_line(Canvas *canvas, double x0, double y0, double x1, double y1, char mark) {
    const int steps = 2 * canvas->columns;
    for (int i = 0; i <= steps; i++) {
        const double share = (double)i / steps;
        put(canvas, x0 + share * (x1 - x0), y0 + share * (y1 - y0), mark);
    }
}

/* The mark of the model that comes so many-th: letters, of which capitals are ours, then digits. */
static char mark_of(int model, bool published) {
    if (model >= 'Z' - 'A' + 1) return (char)('0' + model - ('Z' - 'A' + 1));
    return (char)((published ? 'a' : 'A') + model);
}

/* Lines first (own '.', published ':'), marks over them. */
static void draw_series(Canvas *canvas, const Chart *chart, const Series *series, int model,
                        bool lines) {
    if (series->kind == SERIES_SEEDS) return;
    const bool points = series->kind == SERIES_POINTS || series->kind == SERIES_OPEN;
    const bool small = series->kind == SERIES_PUBLISHED || series->kind == SERIES_OPEN;
    if (lines ? points : series->kind == SERIES_ROOF) return;
    for (int i = 0; i < series->count; i++) {
        const double x = drawn(&chart->x, series->points[i].x);
        const double y = drawn(&chart->y, series->points[i].y);
        if (!lines) {
            const bool inside = series->kind == SERIES_CURVE && i + 1 < series->count;
            if (!inside) put(canvas, x, y, mark_of(model, small));
        } else if (i > 0) {
            draw_line(canvas, drawn(&chart->x, series->points[i - 1].x),
                      drawn(&chart->y, series->points[i - 1].y), x, y,
                      series->kind == SERIES_PUBLISHED ? ':' : '.');
        }
    }
}

static double undrawn(const Axis *axis, double value) {
    return axis->base ? pow(axis->base, value) : value;
}

/* Numbers under the x axis: on a logarithmic one at the points of lines, else at both ends. */
static void write_ticks(const Canvas *canvas, const Panel *panel, const Axis *axis, FILE *file) {
    char line[MOST_COLUMNS + 33];
    memset(line, ' ', sizeof line);
    const Series ends = {.points = (ChartPoint[]){{.x = undrawn(axis, canvas->x_low)},
                                                  {.x = undrawn(axis, canvas->x_high)}},
                         .count = 2};
    const bool at_points = axis->base && panel->series[0].kind <= SERIES_PUBLISHED;
    for (int s = 0; s < (at_points ? panel->count : 1); s++) {
        const Series *series = at_points ? &panel->series[s] : &ends;
        for (int i = 0; i < series->count; i++) {
            char text[32];
            const int length = snprintf(text, sizeof text, "%.4g", series->points[i].x);
            const double across = (drawn(axis, series->points[i].x) - canvas->x_low) /
                                  (canvas->x_high - canvas->x_low);
            int start = (int)lround(across * (canvas->columns - 1)) - length / 2;
            if (start + length > canvas->columns) start = canvas->columns - length;
            if (start < 0) start = 0;
            memcpy(line + start, text, (size_t)length);
        }
    }
    int length = canvas->columns;
    while (length > 0 && line[length - 1] == ' ') length--;
    fprintf(file, "%*s%.*s\n", MARGIN, "", length, line);
}

/* The places' numbers under the axis, and what they stand for. */
static void write_names(const Canvas *canvas, const Chart *chart, FILE *file) {
    char line[MOST_COLUMNS + 33];
    memset(line, ' ', sizeof line);
    for (int n = 0; n < chart->name_count; n++) {
        char text[16];
        const int length = snprintf(text, sizeof text, "%d", n + 1);
        const double across = (n + 1 - canvas->x_low) / (canvas->x_high - canvas->x_low);
        memcpy(line + (int)lround(across * (canvas->columns - 1)), text, (size_t)length);
    }
    fprintf(file, "%*s%.*s\n", MARGIN, "", canvas->columns, line);
    int used = MARGIN;
    fprintf(file, "%*s", MARGIN, "");
    for (int n = 0; n < chart->name_count; n++) {
        char text[80];
        const int length = snprintf(text, sizeof text, "%d %s  ", n + 1, chart->names[n]);
        if (used + length > MARGIN + canvas->columns && used > MARGIN) {
            fprintf(file, "\n%*s", MARGIN, "");
            used = MARGIN;
        }
        fputs(text, file);
        used += length;
    }
    fputc('\n', file);
}

static void write_canvas(const Canvas *canvas, const Chart *chart, const Panel *panel, FILE *file) {
    for (int row = 0; row < ROWS; row++) {
        char label[32] = "";
        if (row % 5 == 0) {
            const double up = (double)(ROWS - 1 - row) / (ROWS - 1);
            const double value = canvas->y_low + up * (canvas->y_high - canvas->y_low);
            snprintf(label, sizeof label, "%.3g", undrawn(&chart->y, value));
        }
        int length = canvas->columns;
        while (length > 0 && canvas->cells[row][length - 1] == ' ') length--;
        fprintf(file, "%*s |%.*s\n", MARGIN - 2, label, length, canvas->cells[row]);
    }
    fprintf(file, "%*s+", MARGIN - 1, "");
    for (int c = 0; c < canvas->columns; c++) fputc('-', file);
    fputc('\n', file);
    if (chart->name_count) {
        write_names(canvas, chart, file);
    } else {
        write_ticks(canvas, panel, &chart->x, file);
    }
    fprintf(file, "%*s%s\n", MARGIN + (canvas->columns - (int)strlen(chart->x.label)) / 2, "",
            chart->x.label);
}

/* Two letters' bars under each name; a full row of '=' is the longest value of the axis. */
static void write_bars(const Chart *chart, const Panel *panel, const char **models, int count,
                       int width, FILE *file) {
    int longest = 0;
    for (int r = 0; r < chart->row_count; r++)
        if ((int)strlen(chart->rows[r]) > longest) longest = (int)strlen(chart->rows[r]);
    const int room = width - longest - 10 > 10 ? width - longest - 10 : 10;
    for (int r = 0; r < chart->row_count; r++) {
        const char *name = chart->rows[r];
        for (int s = 0; s < panel->count; s++) {
            const Series *series = &panel->series[s];
            int model = 0;
            while (model < count && strcmp(models[model], series->model) != 0) model++;
            for (int i = 0; i < series->count; i++) {
                if ((int)lround(series->points[i].y) != r) continue;
                const double share = fmin(series->points[i].x / chart->x.high, 1);
                fprintf(file, "%-*s %c ", longest, name, mark_of(model, false));
                for (int c = 0; c < (int)lround(share * room); c++) fputc('=', file);
                fprintf(file, " %.0f\n", series->points[i].x);
                name = "";
            }
        }
    }
    fprintf(file, "%*s%s\n", longest + 3, "", chart->x.label);
}

static void write_plot(const Chart *chart, const Panel *panel, const char **models, int count,
                       int width, FILE *file) {
    Canvas canvas = {.columns = width - MARGIN};
    if (canvas.columns > MOST_COLUMNS) canvas.columns = MOST_COLUMNS;
    if (canvas.columns < 20) canvas.columns = 20;
    memset(canvas.cells, ' ', sizeof canvas.cells);
    find_range(panel, &chart->x, false, &canvas.x_low, &canvas.x_high);
    find_range(panel, &chart->y, true, &canvas.y_low, &canvas.y_high);
    for (int pass = 0; pass < 2; pass++) {
        for (int s = 0; s < panel->count; s++) {
            const Series *series = &panel->series[s];
            int model = 0;
            while (model < count && strcmp(models[model], series->model) != 0) model++;
            if (model == count && series->kind != SERIES_ROOF) continue;
            draw_series(&canvas, chart, series, model, pass == 0);
        }
    }
    write_canvas(&canvas, chart, panel, file);
}

void chart_write_text(const Chart *chart, int width, FILE *file) {
    const char *models[MOST_MODELS];
    int slots[MOST_MODELS];
    const int count = chart_models(chart, models, slots, MOST_MODELS);
    fprintf(file, "%s (%s)\n", chart->title, chart->row_count ? chart->x.label : chart->y.label);
    for (int m = 0; m < count; m++)
        fprintf(file, "%s%c %s", m ? "  " : "", mark_of(m, false), models[m]);
    fputs(chart->row_count ? "\n" : "  * several\n", file);
    for (int p = 0; p < chart->count; p++) {
        const Panel *panel = &chart->panels[p];
        fprintf(file, "\n%*s%s\n", MARGIN, "", panel->title);
        if (chart->row_count)
            write_bars(chart, panel, models, count, width, file);
        else
            write_plot(chart, panel, models, count, width, file);
    }
    if (*chart->sources) fprintf(file, "\nSmall letters, ':' : %s\n", chart->sources);
    fprintf(file, "%s%s\n\n", *chart->sources ? "" : "\n", chart->note);
}
