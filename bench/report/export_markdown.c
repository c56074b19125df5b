/* The table as Markdown. */
#include "bench/report/exporters.h"

static void write_escaped(const char *text, FILE *file) {
    for (; *text; text++) {
        if (*text == '|') fputc('\\', file);
        fputc(*text, file);
    }
}

void export_markdown(const Table *table, const TableStyle *style, FILE *file) {
    (void)style;
    for (int i = 0; i < table->caption_lines; i++) fprintf(file, "%s\n", table->caption[i]);
    fputs("\n|", file);
    for (int c = 0; c < table->column_count; c++) {
        if (!(table->columns[c].audience & READ_BY_PEOPLE)) continue;
        fputc(' ', file);
        write_escaped(table->columns[c].title, file);
        fputs(" |", file);
    }
    fputs("\n|", file);
    for (int c = 0; c < table->column_count; c++) {
        if (!(table->columns[c].audience & READ_BY_PEOPLE)) continue;
        fputs(table->columns[c].is_number ? "---:|" : "---|", file);
    }
    fputc('\n', file);
    for (int r = 0; r < table->rows; r++) {
        fputc('|', file);
        for (int c = 0; c < table->column_count; c++) {
            if (!(table->columns[c].audience & READ_BY_PEOPLE)) continue;
            char text[256];
            table_text(table, r, c, text);
            const char *mark = table->best[r] && c == 0 ? "**" : "";
            fprintf(file, " %s", mark);
            write_escaped(text, file);
            fprintf(file, "%s |", mark);
        }
        fputc('\n', file);
    }
}
