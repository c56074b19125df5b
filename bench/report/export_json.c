/* The table as JSON. */
#include <jansson.h>
#include <math.h>

#include "bench/report/exporters.h"

void export_json(const Table *table, const TableStyle *style, FILE *file) {
    (void)style;
    json_t *caption = json_array(), *rows = json_array();
    for (int i = 0; i < table->caption_lines; i++) {
        json_array_append_new(caption, json_string(table->caption[i]));
    }
    for (int r = 0; r < table->rows; r++) {
        json_t *row = json_object();
        for (int c = 0; c < table->column_count; c++) {
            const Column *column = &table->columns[c];
            if (!(column->audience & READ_BY_PROGRAMS)) continue;
            const Value *value = table_value(table, r, c);
            json_t *entry = !column->is_number     ? json_string(value->text)
                            : isnan(value->number) ? json_null()
                                                   : json_real(value->number);
            json_object_set_new(row, column->key, entry);
        }
        json_object_set_new(row, "best", json_boolean(table->best[r]));
        json_array_append_new(rows, row);
    }
    json_t *all = json_pack("{s:i, s:s, s:o, s:o}", "schema", 1, "suite", table->name, "caption",
                            caption, "rows", rows);
    json_dumpf(all, file, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    fputc('\n', file);
    json_decref(all);
}
