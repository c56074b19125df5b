/* Comma-separated values as in RFC 4180: quoted fields may hold commas, line ends and doubled
 * quotes; lines end in LF or CRLF. The first line names the columns. */
#ifndef LONGHAUL_CSV_H
#define LONGHAUL_CSV_H

#include <stdio.h>

#include "engine/status.h"

typedef struct Csv {
    int columns, rows; /* rows: without the heading */
    char **cells;      /* (1 + rows) x columns, heading first; they point into text */
    char *text;
} Csv;

/* STATUS_DATA with path and line: unclosed quote, text after a closing quote, a row whose number
 * of fields differs from the heading's, no heading. csv_free it in any case. */
Status csv_read(const char *path, Csv *csv, Error *error);
void csv_free(Csv *csv);

/* The cell of a row in the named column, or NULL when there is no such column. */
const char *csv_cell(const Csv *csv, int row, const char *column);

/* Writes one field, quoted when it has to be. */
void csv_write_field(FILE *file, const char *text);

#endif
