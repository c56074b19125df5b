/* The writers behind the list of exporters, one file each. */
#ifndef LONGHAUL_EXPORTERS_H
#define LONGHAUL_EXPORTERS_H

#include "bench/report/table.h"

/* Aligned columns under a rule, a blank line between cases. */
void export_console(const Table *table, const TableStyle *style, FILE *file);
/* A pipe table; the best of each case in bold. */
void export_markdown(const Table *table, const TableStyle *style, FILE *file);
/* RFC 4180, numbers in full, nothing known = empty; no caption. */
void export_csv(const Table *table, const TableStyle *style, FILE *file);
/* A table environment with booktabs rules. */
void export_latex(const Table *table, const TableStyle *style, FILE *file);
/* {"suite", "caption": [..], "rows": [{column: value}]}, nothing known = null. */
void export_json(const Table *table, const TableStyle *style, FILE *file);

#endif
