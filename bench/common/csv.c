#include "bench/common/csv.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/file.h"
#include "engine/memory.h"

typedef struct Reader {
    const char *path;
    char *from, *to; /* reading position; where the unquoted field is written, never ahead of it */
    const char *end; /* of the text, where a zero byte stands */
    int line;
} Reader;

/* Reads one field and what ends it. *last: it was the last one of its row. */
static Status read_field(Reader *reader, char **field, bool *last, Error *error) {
    char *from = reader->from, *to = reader->to;
    *field = to;
    if (*from == '"') {
        const int opened = reader->line;
        for (from++; *from && !(from[0] == '"' && from[1] != '"'); from++) {
            if (*from == '"') from++; /* doubled */
            if (*from == '\n') reader->line++;
            *to++ = *from;
        }
        if (!*from) {
            return error_set(error, STATUS_DATA, "%s:%d: quote is never closed", reader->path,
                             opened);
        }
        from++;
    } else {
        while (*from && *from != ',' && *from != '\n' && *from != '\r') *to++ = *from++;
    }
    if (from[0] == '\r' && from[1] == '\n') from++;
    if (*from && *from != ',' && *from != '\n') {
        return error_set(error, STATUS_DATA,
                         "%s:%d: expected a comma or the end of the line after a field, found '%c'",
                         reader->path, reader->line, *from);
    }
    *last = *from != ',';
    if (*from == '\n') reader->line++;
    if (*from) from++;
    reader->from = from;
    *to++ = 0;
    reader->to = to;
    return STATUS_OK;
}

static Status read_rows(Csv *csv, Reader *reader, Error *error) {
    int capacity = 0, count = 0, width = 0;
    while (*reader->from) {
        const int line = reader->line;
        int fields = 0;
        for (bool last = false; !last; fields++, count++) {
            if (count == capacity) {
                capacity = capacity ? 2 * capacity : 256;
                csv->cells = memory_resize(csv->cells, (size_t)capacity * sizeof *csv->cells);
            }
            const Status status = read_field(reader, &csv->cells[count], &last, error);
            if (status) return status;
        }
        if (width == 0) width = fields;
        if (fields != width) {
            return error_set(error, STATUS_DATA, "%s:%d: %d fields; the heading has %d",
                             reader->path, line, fields, width);
        }
    }
    if (reader->from != reader->end)
        return error_set(error, STATUS_DATA, "%s:%d: a zero byte; the file is damaged",
                         reader->path, reader->line);
    if (width == 0) return error_set(error, STATUS_DATA, "%s: empty; no heading", reader->path);
    csv->columns = width;
    csv->rows = count / width - 1;
    return STATUS_OK;
}

Status csv_read(const char *path, Csv *csv, Error *error) {
    *csv = (Csv){0};
    size_t bytes;
    const Status status = file_read(path, &csv->text, &bytes, error);
    if (status) return status;
    /* Unquoting in place: a field and its ending zero never need more room than they came in. */
    Reader reader = {
        .path = path, .from = csv->text, .to = csv->text, .end = csv->text + bytes, .line = 1};
    return read_rows(csv, &reader, error);
}

void csv_free(Csv *csv) {
    free(csv->cells);
    free(csv->text);
    *csv = (Csv){0};
}

const char *csv_cell(const Csv *csv, int row, const char *column) {
    for (int c = 0; c < csv->columns; c++) {
        if (!strcmp(csv->cells[c], column)) return csv->cells[(1 + row) * csv->columns + c];
    }
    return NULL;
}

void csv_write_field(FILE *file, const char *text) {
    if (!strpbrk(text, ",\"\r\n")) {
        fputs(text, file);
        return;
    }
    fputc('"', file);
    for (; *text; text++) {
        if (*text == '"') fputc('"', file);
        fputc(*text, file);
    }
    fputc('"', file);
}
