/* The released format of ListOps: https://storage.googleapis.com/long-range-arena/lra_release.gz,
 * listops-1000/basic_{train,val,test}.tsv. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/listops_tree.h"
#include "tasks/packed.h"
#include "tasks/sampling.h"

static int32_t token_id(const char *word, size_t length) {
    static const char *const names[] = {"[MIN", "[MAX", "[MED", "[SM", "]"};
    if (length == 1 && word[0] >= '0' && word[0] <= '9') return LISTOPS_DIGIT + word[0] - '0';
    for (int32_t i = 0; i < 5; i++)
        if (strlen(names[i]) == length && memcmp(names[i], word, length) == 0)
            return LISTOPS_MIN + i;
    return -1;
}

/* Value of an expression, or -1 when its brackets do not match. Stack of open operators and of the
 * values seen so far. */
static int32_t evaluate(const uint8_t *tokens, int64_t length) {
    int32_t *values = scratch_open((size_t)length * sizeof *values);
    int64_t *open = scratch_open((size_t)length * sizeof *open);
    int64_t depth = 0, count = 0;
    bool sound = length > 0;
    for (int64_t t = 0; t < length && sound; t++) {
        if (tokens[t] < LISTOPS_MIN) {
            values[count++] = tokens[t] - LISTOPS_DIGIT;
        } else if (tokens[t] != LISTOPS_CLOSE) {
            open[depth++] = count;
            values[count++] = tokens[t];
        } else {
            sound = depth > 0 && count - open[depth - 1] >= 2;
            if (!sound) break;
            const int64_t first = open[--depth];
            values[first] = listops_apply(values[first], values + first + 1, count - first - 1);
            count = first + 1;
        }
        if (count == 1 && depth == 0) sound = t == length - 1;
    }
    const int32_t value = sound && depth == 0 && count == 1 ? values[0] : -1;
    free(values);
    free(open);
    return value;
}

/* Tokens of a line without parentheses into tokens; -1 for an unknown one (*bad shows it). */
static int64_t tokenize(char *source, uint8_t *tokens, char bad[32]) {
    int64_t length = 0;
    for (char *word = source; *word;) {
        const size_t size = strcspn(word, " ");
        if (size > 0 && !(size == 1 && (*word == '(' || *word == ')'))) {
            const int32_t id = token_id(word, size);
            if (id < 0) {
                snprintf(bad, 32, "%.*s", (int)(size < 31 ? size : 31), word);
                return -1;
            }
            tokens[length++] = (uint8_t)id;
        }
        word += size;
        if (*word == ' ') word++;
    }
    return length;
}

static Status read_line(const char *path, long long number, char *line, int64_t most,
                        uint8_t *tokens, Records *records, Error *error) {
    line[strcspn(line, "\r\n")] = '\0';
    char *tab = strchr(line, '\t');
    if (!tab || strlen(tab) != 2 || tab[1] < '0' || tab[1] > '9')
        return error_set(error, STATUS_DATA,
                         "%s line %lld: expected an expression, a tab and an answer 0 to 9; the "
                         "file may be cut off: fetch it again",
                         path, number);
    *tab = '\0';
    char bad[32];
    const int64_t length = tokenize(line, tokens, bad);
    if (length < 0)
        return error_set(error, STATUS_DATA,
                         "%s line %lld: unknown token '%s'; expected 0 to 9, [MIN, [MAX, [MED, "
                         "[SM, ] or parentheses",
                         path, number, bad);
    if (length > most)
        return error_set(error, STATUS_DATA,
                         "%s line %lld: %lld tokens (parentheses do not count), more than "
                         "longest=%lld; set longest=%lld",
                         path, number, (long long)length, (long long)most, (long long)length);
    const int32_t value = evaluate(tokens, length);
    if (value < 0)
        return error_set(error, STATUS_DATA, "%s line %lld: brackets do not match", path, number);
    if (value != tab[1] - '0')
        return error_set(error, STATUS_DATA,
                         "%s line %lld: the answer is given as %c, but the expression is %d; the "
                         "file is damaged or mislabelled",
                         path, number, tab[1], value);
    records_add(records, tokens, length, value);
    return STATUS_OK;
}

Status listops_read(const char *path, int64_t most, Records *records, Error *error) {
    PackedFile file;
    if (packed_open(&file, path, error) != STATUS_OK) return error->status;
    char *line = NULL;
    size_t room = 0;
    Status status = STATUS_OK;
    ssize_t size = getline(&line, &room, file.stream);
    if (size < 0 || strncmp(line, "Source\tTarget", 13) != 0)
        status = error_set(error, STATUS_DATA,
                           "%s: the first line is not 'Source<tab>Target'; expected a ListOps file "
                           "of the Long Range Arena",
                           path);
    for (long long number = 2;
         status == STATUS_OK && (size = getline(&line, &room, file.stream)) > 0; number++) {
        uint8_t *tokens = scratch_open(room);
        if (strlen(line) == (size_t)size)
            status = read_line(path, number, line, most, tokens, records, error);
        else
            status = error_set(error, STATUS_DATA,
                               "%s line %lld: a zero byte; the file is damaged: fetch it again",
                               path, number);
        free(tokens);
    }
    const Status closed = packed_close(&file, status == STATUS_OK ? error : NULL);
    if (status == STATUS_OK) status = closed;
    if (status == STATUS_OK && records->count == 0)
        status = error_set(error, STATUS_DATA, "%s: no examples after the header", path);
    free(line);
    return status;
}
