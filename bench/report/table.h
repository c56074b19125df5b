/* The table of a suite: columns from one list of descriptors, written by exporters of which there
 * is one list too. Every exporter shows the same rows. */
#ifndef LONGHAUL_TABLE_H
#define LONGHAUL_TABLE_H

#include <stdbool.h>
#include <stdio.h>

#include "bench/common/format.h"
#include "bench/report/study.h"

typedef enum Audience {
    READ_BY_PEOPLE = 1,   /* console, Markdown, LaTeX */
    READ_BY_PROGRAMS = 2, /* CSV, JSON */
    READ_BY_ALL = 3
} Audience;

/* A column. Numbers are kept as numbers; people see them through the format. */
typedef struct Column {
    char key[STUDY_VALUE];   /* for programs: "metric_mean" */
    char title[STUDY_VALUE]; /* for people: "params" */
    Audience audience;
    bool is_number;
    NumberFormat format;
} Column;

typedef struct Value {
    double number;  /* not-a-number: nothing known */
    char text[256]; /* of columns that are no numbers; UTF-8 */
} Value;

enum { TABLE_COLUMNS = 64, TABLE_CAPTION_LINES = 10 };

typedef struct Table {
    char name[64]; /* of the suite */
    char caption[TABLE_CAPTION_LINES][512];
    int caption_lines;
    Column columns[TABLE_COLUMNS];
    int column_count;
    Value *values; /* rows x columns; owned */
    bool *best;    /* rows: best of its case; owned */
    int *cases;    /* rows: number of its case, rising; owned */
    int rows;
} Table;

Table table_build(const Study *study, const Summary *summary);
/* Fills the caption: preset, budget, seeds, task version, data, and the rule of selection. */
void table_caption(Table *table, const Study *study, const Summary *summary);
void table_free(Table *table);

const Value *table_value(const Table *table, int row, int column);

/* What people read in a cell; "-" where nothing is known. */
void table_text(const Table *table, int row, int column, char text[256]);

/* How the console can show it. */
typedef struct TableStyle {
    bool unicode; /* otherwise "+-" for the plus-minus sign */
    bool colour;  /* bold for the best of each case */
} TableStyle;

typedef struct Exporter {
    const char *name;      /* of --format */
    const char *extension; /* of the file in results/SUITE; NULL: only on the terminal */
    void (*write)(const Table *table, const TableStyle *style, FILE *file);
} Exporter;

const Exporter *exporter_list(int *count);
const Exporter *exporter_find(const char *name); /* NULL when there is none */

/* folder/table.EXTENSION for every exporter that has one; each file appears whole. STATUS_IO. */
Status table_save(const Table *table, const char *folder, Error *error);

#endif
