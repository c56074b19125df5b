/* The table as CSV. */
#include <math.h>

#include "bench/common/csv.h"
#include "bench/report/exporters.h"

void export_csv(const Table *table, const TableStyle *style, FILE *file) {
    (void)style;
    const char *separator = "";
    for (int c = 0; c < table->column_count; c++) {
        if (!(table->columns[c].audience & READ_BY_PROGRAMS)) continue;
        fputs(separator, file);
        csv_write_field(file, table->columns[c].key);
        separator = ",";
    }
    fputs("\r\n", file);
    for (int r = 0; r < table->rows; r++) {
        separator = "";
        for (int c = 0; c < table->column_count; c++) {
            if (!(table->columns[c].audience & READ_BY_PROGRAMS)) continue;
            const Value *value = table_value(table, r, c);
            fputs(separator, file);
            if (!table->columns[c].is_number) {
                csv_write_field(file, value->text);
            } else if (!isnan(value->number)) {
                fprintf(file, "%.9g", value->number);
            }
            separator = ",";
        }
        fputs("\r\n", file);
    }
}
