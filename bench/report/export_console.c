/* The table in aligned columns, for a terminal. */
#include <string.h>

#include "bench/report/exporters.h"

/* Columns that text takes on a terminal: code points, which all are narrow here. */
static int text_width(const char *text) {
    int width = 0;
    for (; *text; text++) width += (*text & 0xC0) != 0x80;
    return width;
}

static void shown_text(const Table *table, const TableStyle *style, int row, int column,
                       char text[256]) {
    table_text(table, row, column, text);
    char *sign = strstr(text, "±");
    if (sign && !style->unicode) memcpy(sign, "+-", 2); /* as many bytes as the sign has */
}

static void pad(FILE *file, int count) {
    fprintf(file, "%*s", count > 0 ? count : 0, "");
}

static void write_row(const Table *table, const TableStyle *style, const int *widths, int row,
                      FILE *file) {
    const char *start = style->colour && table->best[row] ? "\033[1m" : "";
    int owed = 0; /* blanks before the next column: none at the end of a line */
    fputs(start, file);
    for (int c = 0; c < table->column_count; c++) {
        if (!(table->columns[c].audience & READ_BY_PEOPLE)) continue;
        char text[256];
        shown_text(table, style, row, c, text);
        const int spare = widths[c] - text_width(text);
        pad(file, owed + (table->columns[c].is_number ? spare : 0));
        fputs(text, file);
        owed = 2 + (table->columns[c].is_number ? 0 : spare);
    }
    fputs(*start ? "\033[0m\n" : "\n", file);
}

void export_console(const Table *table, const TableStyle *style, FILE *file) {
    int widths[TABLE_COLUMNS], total = -2, owed = 0;
    for (int c = 0; c < table->column_count; c++) {
        if (!(table->columns[c].audience & READ_BY_PEOPLE)) continue;
        widths[c] = text_width(table->columns[c].title);
        for (int r = 0; r < table->rows; r++) {
            char text[256];
            shown_text(table, style, r, c, text);
            if (text_width(text) > widths[c]) widths[c] = text_width(text);
        }
        total += widths[c] + 2;
    }
    for (int c = 0; c < table->column_count; c++) {
        const Column *column = &table->columns[c];
        if (!(column->audience & READ_BY_PEOPLE)) continue;
        const int spare = widths[c] - text_width(column->title);
        pad(file, owed + (column->is_number ? spare : 0));
        fputs(column->title, file);
        owed = 2 + (column->is_number ? 0 : spare);
    }
    fputc('\n', file);
    for (int i = 0; i < total; i++) fputs(style->unicode ? "─" : "-", file);
    fputc('\n', file);
    for (int r = 0; r < table->rows; r++) {
        if (r > 0 && table->cases[r] != table->cases[r - 1]) fputc('\n', file);
        write_row(table, style, widths, r, file);
    }
    fputc('\n', file);
    for (int i = 0; i < table->caption_lines; i++) {
        char line[512];
        snprintf(line, sizeof line, "%s", table->caption[i]);
        char *sign = strstr(line, "±");
        if (sign && !style->unicode) memcpy(sign, "+-", 2);
        fprintf(file, "%s\n", line);
    }
}
