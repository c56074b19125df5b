/* Which of the papers' points are about the experiment of a measured row? */
#ifndef LONGHAUL_BESIDE_H
#define LONGHAUL_BESIDE_H

#include "bench/report/published.h"
#include "bench/report/study.h"

/* What a point may stand beside: a row, or its test samples of so many labels (0: all of them). */
typedef struct Place {
    const Row *row;
    int64_t labels;
} Place;

/* A size that a source can state, and what of ours it stands for. */
typedef struct Fact {
    const char *key; /* a setting, or "parameters" */
    PublishedSize size;
    bool strict; /* must agree even where the suite does not vary it */
    bool own;    /* of the architecture: the lines of one published table differ in it */
} Fact;

void facts_of(const PublishedPoint *point, Fact facts[FACTS]);
bool fact_agrees(const Fact *fact, const Place *place);

/* Value of a numeric setting of the place (or its number of parameters), 0 when it has none. A
 * mixture has no one length, and as many pairs as labels. */
int64_t place_setting(const Place *place, const char *key);

/* Was the place's model trained and tested on several problems at once? */
bool place_is_mixed(const Place *place);

/* The problem of a measured row in the spelling of published_name; "" for one that papers do not
 * have. */
void row_problem(const Row *row, char name[48]);

/* Is the row of the point's architecture, in the variant that its source names? Where the source
 * says what a position sees, the row must be on its problem and see the same. */
bool row_is_model(const Row *row, const PublishedPoint *point);

/* A size that a benchmark fixes, so that its sources do not state it, and the row's own. */
typedef struct Difference {
    const char *key, *published, *here;
} Difference;

/* The next of them in which the row differs; false: no more. *at: 0 at first. */
bool row_differs(const Row *row, size_t *at, Difference *difference);

/* The source's value on the scale of the row. */
double point_value(const PublishedPoint *point, const Row *row);

/* Appends "0.544 (arXiv 2011.04006)", or what else papers have in the place of a number, to the
 * row's column of published values. A value that stands there already adds nothing. */
void row_add_published(Row *row, const char *value, const char *citation);

/* Is the point about what the row measured? All that the source states must agree; where it states
 * no size but the layers, the preset must be the published one. */
bool point_is_beside(const PublishedPoint *point, const Row *row, const Study *study);

/* Fills that column of every row from the points that stand beside it. */
void published_beside_rows(Summary *summary, const Study *study, const Published *published);

#endif
