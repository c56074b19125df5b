/* The table as LaTeX. */
#include <string.h>

#include "bench/report/exporters.h"

/* Characters that LaTeX would not print as they are. */
static void write_escaped(const char *text, FILE *file) {
    static const struct {
        const char *text, *latex;
    } special[] = {{"±", "$\\pm$"},
                   {"%", "\\%"},
                   {"&", "\\&"},
                   {"_", "\\_"},
                   {"#", "\\#"},
                   {"$", "\\$"},
                   {"{", "\\{"},
                   {"}", "\\}"},
                   {"\\", "\\textbackslash{}"},
                   {"~", "\\textasciitilde{}"},
                   {"^", "\\textasciicircum{}"}};
    while (*text) {
        size_t step = 0;
        for (size_t i = 0; i < sizeof special / sizeof *special && !step; i++) {
            const size_t length = strlen(special[i].text);
            if (strncmp(text, special[i].text, length)) continue;
            fputs(special[i].latex, file);
            step = length;
        }
        if (!step) fputc(*text, file);
        text += step ? step : 1;
    }
}

void export_latex(const Table *table, const TableStyle *style, FILE *file) {
    (void)style;
    fputs("% needs \\usepackage{booktabs}\n\\begin{table*}\n\\centering\\small\n\\begin{tabular}{",
          file);
    for (int c = 0; c < table->column_count; c++) {
        if (!(table->columns[c].audience & READ_BY_PEOPLE)) continue;
        fputc(table->columns[c].is_number ? 'r' : 'l', file);
    }
    fputs("}\n\\toprule\n", file);
    const char *separator = "";
    for (int c = 0; c < table->column_count; c++) {
        if (!(table->columns[c].audience & READ_BY_PEOPLE)) continue;
        fputs(separator, file);
        write_escaped(table->columns[c].title, file);
        separator = " & ";
    }
    fputs(" \\\\\n\\midrule\n", file);
    for (int r = 0; r < table->rows; r++) {
        if (r > 0 && table->cases[r] != table->cases[r - 1]) fputs("\\addlinespace\n", file);
        separator = "";
        for (int c = 0; c < table->column_count; c++) {
            if (!(table->columns[c].audience & READ_BY_PEOPLE)) continue;
            char text[256];
            table_text(table, r, c, text);
            fputs(separator, file);
            if (table->best[r] && c == 0) fputs("\\textbf{", file);
            write_escaped(text, file);
            if (table->best[r] && c == 0) fputc('}', file);
            separator = " & ";
        }
        fputs(" \\\\\n", file);
    }
    fputs("\\bottomrule\n\\end{tabular}\n\\caption{", file);
    for (int i = 0; i < table->caption_lines; i++) {
        if (i) fputc('\n', file);
        write_escaped(table->caption[i], file);
    }
    fputs("}\n\\label{tab:", file);
    fputs(table->name, file);
    fputs("}\n\\end{table*}\n", file);
}
