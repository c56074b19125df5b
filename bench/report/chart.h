/* A figure as data: panels of series of points, without any word on how it is drawn. Two backends
 * draw it: gnuplot (SVG, PNG, PDF) and plain text. */
#ifndef LONGHAUL_CHART_H
#define LONGHAUL_CHART_H

#include <stdbool.h>
#include <stdio.h>

#include "engine/status.h"

typedef struct ChartPoint {
    double x, y, low, high; /* low, high: interval of y; not-a-number: none */
} ChartPoint;

typedef enum SeriesKind {
    SERIES_MEAN,      /* line, filled markers, intervals */
    SERIES_SEEDS,     /* single seeds: small dots without a line */
    SERIES_CURVE,     /* thin line; a marker at the point that has an interval: its end */
    SERIES_PUBLISHED, /* dotted line, open markers */
    SERIES_POINTS,    /* filled markers without a line */
    SERIES_OPEN,      /* open markers without a line */
    SERIES_ROOF,      /* thin grey line with its name at the second point; not in the key */
    SERIES_CHANCE,    /* thin dashed grey line; not in the key */
    SERIES_BAR        /* horizontal bars: x their length, y the number of the chart's row */
} SeriesKind;

typedef struct Series {
    char model[64]; /* or another name for the key */
    int slot;       /* of the palette: by model unless set otherwise */
    SeriesKind kind;
    ChartPoint *points; /* owned */
    int count;
} Series;

typedef struct Panel {
    char title[128];
    Series *series; /* owned */
    int count;
} Panel;

typedef struct Axis {
    char label[64];
    int base;         /* of a logarithmic axis; 0: linear */
    double low, high; /* fixed range; not-a-number: from the points */
} Axis;

typedef struct Chart {
    char name[64]; /* of its files */
    char title[128];
    Axis x, y;
    Panel *panels; /* owned */
    int count;
    char **rows; /* names of a bar chart's rows, from the top; owned */
    int row_count;
    char **names; /* of the places 1, 2, ... along x, where it has no numbers; owned */
    int name_count;
    double chance;     /* drawn as a thin line; not-a-number: none */
    char sources[512]; /* of the published points; "" for none */
    char note[256];    /* preset, budget, seeds */
} Chart;

Panel *chart_add_panel(Chart *chart, const char *title);
Series *panel_add_series(Panel *panel, const char *model, SeriesKind kind);
void series_add_point(Series *series, ChartPoint point);
void chart_add_row(Chart *chart, const char *name);
void chart_add_name(Chart *chart, const char *name);
/* Takes away all panels: there is nothing to show after all. */
void chart_clear(Chart *chart);
void chart_free(Chart *chart);

/* Relative to home (bench/common/home.h): the gnuplot template of this kind of chart. */
const char *chart_template(const Chart *chart);

/* A range for all panels of a logarithmic axis, ending at round numbers, so that they can be
 * compared. */
void chart_share_range(const Chart *chart, bool vertical, Axis *axis);

/* Draws, or prints with ascii; the points are written in any case. Names of pictures go to standard
 * output. */
Status chart_show(const Chart *chart, const char *folder, bool ascii, Error *error);

/* Different names for the key in the order of the palette, with their slots; returns the number, at
 * most `most`. */
int chart_models(const Chart *chart, const char **models, int *slots, int most);

/* Text: one plot under another, at most `width` characters wide. */
void chart_write_text(const Chart *chart, int width, FILE *file);

/* folder/NAME.dat (points) and folder/NAME.gp (settings; loads the template). STATUS_IO. */
Status chart_write_data(const Chart *chart, const char *folder, Error *error);

/* Draws folder/NAME.{svg,png,pdf} from the files of chart_write_data and writes the path of each
 * to names. A format whose terminal this gnuplot lacks is named on standard error and left out.
 * STATUS_IO when gnuplot is missing or fails, with what it said; older pictures stay. */
Status chart_draw(const Chart *chart, const char *folder, FILE *names, Error *error);

#endif
