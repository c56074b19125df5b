#include "tasks/corpus.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/file.h"
#include "engine/memory.h"
#include "tasks/data.h"
#include "tasks/packed.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

void corpus_close(Corpus *corpus) {
    for (int split = 0; split < 3; split++) {
        free(corpus->splits[split].bytes);
        free(corpus->splits[split].starts);
    }
    *corpus = (Corpus){0};
}

/* ---- what is text ---- */

/* Bytes of the UTF-8 character at text, 0 when it is none. Overlong forms and surrogates are not
 * characters (RFC 3629). */
static int character_bytes(const uint8_t *text, int64_t left) {
    const uint8_t first = text[0];
    if (first < 0x80) return 1;
    const int count = first >= 0xC2 && first < 0xE0   ? 2
                      : first >= 0xE0 && first < 0xF0 ? 3
                      : first >= 0xF0 && first < 0xF5 ? 4
                                                      : 0;
    if (count == 0 || left < count) return 0;
    for (int i = 1; i < count; i++)
        if ((text[i] & 0xC0) != 0x80) return 0;
    if ((first == 0xE0 && text[1] < 0xA0) || (first == 0xED && text[1] > 0x9F) ||
        (first == 0xF0 && text[1] < 0x90) || (first == 0xF4 && text[1] > 0x8F))
        return 0;
    return count;
}

/* Of a text that is long enough to tell. A language's commonest byte, the blank, is one of five. */
static Status check_histogram(const char *path, const uint8_t *text, int64_t count, Error *error) {
    enum { LONG_ENOUGH = 4096 };
    int64_t times[256] = {0};
    if (count < LONG_ENOUGH) return STATUS_OK;
    for (int64_t at = 0; at < count; at++) times[text[at]]++;
    int commonest = 0;
    for (int byte = 1; byte < 256; byte++)
        if (times[byte] > times[commonest]) commonest = byte;
    if (10 * times[commonest] <= 9 * count) return STATUS_OK;
    return error_set(error, STATUS_DATA,
                     "%s: %lld of its %lld bytes are 0x%02X, so it is no text; the file is damaged "
                     "(a download that broke off?)",
                     path, (long long)times[commonest], (long long)count, commonest);
}

/* STATUS_DATA unless the bytes are UTF-8 without zero bytes, and not nearly all the same. A
 * character cut at the end passes. */
static Status text_check(const char *path, const uint8_t *text, int64_t count, Error *error) {
    int64_t line = 1;
    for (int64_t at = 0; at < count;) {
        const int bytes = character_bytes(text + at, count - at);
        if (bytes == 0 && count - at < 4 && text[at] >= 0xC2) break;
        if (bytes == 0 || text[at] == 0)
            return error_set(error, STATUS_DATA,
                             "%s line %lld: byte %lld (0x%02X) is not UTF-8 text; the file is "
                             "damaged, packed, or in another encoding (iconv converts it)",
                             path, (long long)line, (long long)at, text[at]);
        line += text[at] == '\n';
        at += bytes;
    }
    return check_histogram(path, text, count, error);
}

static Status check_letters(const char *path, const uint8_t *text, int64_t count, Error *error) {
    for (int64_t at = 0; at < count; at++)
        if (text[at] != ' ' && (text[at] < 'a' || text[at] > 'z'))
            return error_set(error, STATUS_DATA,
                             "%s: byte %lld is '%c', but text8 has only a to z and blanks", path,
                             (long long)at, text[at]);
    return check_histogram(path, text, count, error);
}

/* ---- putting texts together ---- */

static void add_document(Text *text, const char *bytes, size_t count) {
    text->starts =
        memory_resize(text->starts, (size_t)(text->documents + 2) * sizeof *text->starts);
    text->bytes = memory_resize(text->bytes, (size_t)text->count + count + 1);
    if (count > 0) memcpy(text->bytes + text->count, bytes, count);
    text->starts[text->documents++] = text->count;
    text->count += (int64_t)count;
    text->starts[text->documents] = text->count;
}

/* Appends a file as one document. */
static Status add_file(const char *path, bool letters, Text *text, Error *error) {
    char *bytes;
    size_t count;
    if (packed_read(path, &bytes, &count, error) != STATUS_OK) return error->status;
    Status status = STATUS_OK;
    if (count == 0)
        status = error_set(error, STATUS_DATA, "%s is empty; expected text", path);
    else if (letters)
        status = check_letters(path, (uint8_t *)bytes, (int64_t)count, error);
    else
        status = text_check(path, (uint8_t *)bytes, (int64_t)count, error);
    if (status == STATUS_OK) add_document(text, bytes, count);
    if (!text->where[0]) snprintf(text->where, sizeof text->where, "%.159s", path);
    free(bytes);
    return status;
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

/* Every file of the folder as a document, by name. */
static Status add_folder(const char *folder, Text *text, Error *error) {
    struct dirent **entries;
    const int count = scandir(folder, &entries, visible, alphasort);
    if (count < 0) return error_set(error, STATUS_DATA, "%s: %s", folder, strerror(errno));
    Status status = STATUS_OK;
    snprintf(text->where, sizeof text->where, "%.159s", folder);
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        struct stat facts;
        if (status == STATUS_OK) status = path_join(path, folder, entries[i]->d_name, error);
        if (status == STATUS_OK && stat(path, &facts) == 0 && S_ISREG(facts.st_mode))
            status = add_file(path, false, text, error);
        free(entries[i]);
    }
    free(entries);
    if (status == STATUS_OK && text->documents == 0)
        status =
            error_set(error, STATUS_DATA, "%s has no files; expected one or more texts", folder);
    return status;
}

/* Bytes from .. to-1 of `from`, whose documents are cut at the ends, as a text of its own. */
static Text part(const Text *from, int64_t begin, int64_t end) {
    Text text = {0};
    snprintf(text.where, sizeof text.where, "%s", from->where);
    for (int64_t d = 0; d < from->documents; d++) {
        const int64_t a = from->starts[d] > begin ? from->starts[d] : begin;
        const int64_t b = from->starts[d + 1] < end ? from->starts[d + 1] : end;
        if (a < b) add_document(&text, (char *)from->bytes + a, (size_t)(b - a));
    }
    if (text.documents == 0) add_document(&text, "", 0); /* empty, but a text */
    return text;
}

/* 90 %, 5 %, 5 %. */
static void cut_in_three(Text *whole, Corpus *corpus) {
    const int64_t count = whole->count;
    const int64_t edges[] = {0, count / 10 * 9, count / 20 * 19, count};
    for (int split = 0; split < 3; split++)
        corpus->splits[split] = part(whole, edges[split], edges[split + 1]);
    free(whole->bytes);
    free(whole->starts);
}

/* ---- WikiText's articles ---- */

/* A line " = Title = " of the first level; sections have more signs. */
static bool is_title(const uint8_t *line, int64_t length) {
    return length > 6 && memcmp(line, " = ", 3) == 0 && line[3] != '=' &&
           memcmp(line + length - 3, " = ", 3) == 0 && line[length - 4] != '=';
}

/* Cuts the text, one document so far, at titles that follow a blank line. */
static void cut_at_titles(Text *text) {
    bool blank = true;
    int64_t documents = 0, titles = 0, room = 0;
    for (int64_t at = 0; at < text->count;) {
        const uint8_t *line = text->bytes + at,
                      *end = memchr(line, '\n', (size_t)(text->count - at));
        const int64_t length = end ? end - line : text->count - at;
        const bool title = blank && is_title(line, length);
        if (documents + 2 > room) {
            room = 2 * room + 64;
            text->starts = memory_resize(text->starts, (size_t)room * sizeof *text->starts);
        }
        /* What stands before the first title, a blank line, belongs to it. */
        if (documents == 0) text->starts[documents++] = 0;
        if (title && titles++ > 0) text->starts[documents++] = at;
        blank = length == 0 || (length == 1 && *line == ' ');
        at += length + 1;
    }
    text->documents = documents;
    text->starts[documents] = text->count;
}

/* ---- corpora ---- */

static Status read_three(const CorpusSource *source, Corpus *corpus, int count, Error *error) {
    const DataKind kind = source->form == CORPUS_FOLDERS ? DATA_FOLDER : DATA_FILE;
    for (int split = 0; split < count; split++) {
        char path[PATH_MAX];
        Text *text = &corpus->splits[split];
        if (data_find(source->set, source->files[split], kind, path, error) != STATUS_OK)
            return split < SPLIT_TEST
                       ? error->status
                       : error_context(error, "test=validation does without this file");
        const Status status = kind == DATA_FOLDER ? add_folder(path, text, error)
                                                  : add_file(path, source->letters, text, error);
        if (status != STATUS_OK) return status;
        if (source->articles) cut_at_titles(text);
    }
    return STATUS_OK;
}

Status corpus_read(const CorpusSource *source, bool test_is_validation, Corpus *corpus,
                   Error *error) {
    *corpus = (Corpus){0};
    if (source->form == CORPUS_ONE_FILE) {
        char path[PATH_MAX];
        Text whole = {0};
        if (data_find(source->set, source->files[0], DATA_FILE, path, error) != STATUS_OK ||
            add_file(path, source->letters, &whole, error) != STATUS_OK)
            return error->status;
        cut_in_three(&whole, corpus);
        return STATUS_OK;
    }
    if (read_three(source, corpus, test_is_validation ? SPLIT_TEST : 3, error) != STATUS_OK)
        return error->status;
    if (test_is_validation) {
        Text both = corpus->splits[SPLIT_VALIDATION];
        corpus->splits[SPLIT_VALIDATION] = part(&both, 0, both.count / 2);
        corpus->splits[SPLIT_TEST] = part(&both, both.count / 2, both.count);
        free(both.bytes);
        free(both.starts);
    }
    return STATUS_OK;
}

/* The one entry of the folder whose name has the word; "" for none. */
static Status find_split(const char *folder, const char *word, char path[PATH_MAX], Error *error) {
    struct dirent **entries;
    const int count = scandir(folder, &entries, visible, alphasort);
    int found = 0;
    path[0] = '\0';
    Status status = STATUS_OK;
    for (int i = 0; i < count; i++) {
        if (strstr(entries[i]->d_name, word) && found++ == 0)
            status = path_join(path, folder, entries[i]->d_name, error);
        free(entries[i]);
    }
    if (count >= 0) free(entries);
    if (found > 1) path[0] = '\0';
    return status;
}

static bool is_folder(const char *path) {
    struct stat facts;
    return stat(path, &facts) == 0 && S_ISDIR(facts.st_mode);
}

static Status read_split_folder(char paths[3][PATH_MAX], Corpus *corpus, Error *error) {
    for (int split = 0; split < 3; split++) {
        const char *path = paths[split];
        Text *text = &corpus->splits[split];
        const Status status =
            is_folder(path) ? add_folder(path, text, error) : add_file(path, false, text, error);
        if (status != STATUS_OK) return status;
        if (strstr(path, "wiki.")) cut_at_titles(text);
    }
    return STATUS_OK;
}

Status corpus_read_path(const char *given, Corpus *corpus, Error *error) {
    static const char *const words[] = {"train", "valid", "test"};
    char path[PATH_MAX], paths[3][PATH_MAX];
    *corpus = (Corpus){0};
    snprintf(path, sizeof path, "%s", given);
    if (given[0] != '/' && path_join(path, data_folder(), given, error) != STATUS_OK)
        return error->status;
    if (!file_exists(path))
        return error_set(error, STATUS_DATA,
                         "no file or folder %s; data=PATH is taken below the data folder unless it "
                         "begins with /",
                         path);
    Text whole = {0};
    Status status;
    if (is_folder(path)) {
        for (int split = 0; split < 3; split++)
            if (find_split(path, words[split], paths[split], error) != STATUS_OK)
                return error->status;
        if (paths[0][0] && paths[1][0] && paths[2][0])
            return read_split_folder(paths, corpus, error);
        status = add_folder(path, &whole, error);
    } else {
        status = add_file(path, false, &whole, error);
    }
    if (status == STATUS_OK) {
        cut_in_three(&whole, corpus);
    } else { /* of a folder, what came before the file that is wrong */
        free(whole.bytes);
        free(whole.starts);
    }
    return status;
}
