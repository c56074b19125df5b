/* Text corpora: three splits of UTF-8 text, cut into documents. */
#ifndef LONGHAUL_CORPUS_H
#define LONGHAUL_CORPUS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/status.h"

/* Text of one split. Document d is bytes starts[d] .. starts[d + 1] - 1. */
typedef struct Text {
    uint8_t *bytes;
    int64_t count;
    int64_t *starts; /* documents + 1 */
    int64_t documents;
    char where[160]; /* for messages: the file, or the folder */
} Text;

typedef struct Corpus {
    Text splits[3]; /* by Split */
} Corpus;

/* How the files of a set make a corpus. */
typedef enum CorpusForm {
    CORPUS_ONE_FILE,    /* first 90 % train, 5 % validate, 5 % test: 90M / 5M / 5M of enwik8 */
    CORPUS_THREE_FILES, /* one a split */
    CORPUS_FOLDERS      /* folders train, validation, test; every file a document */
} CorpusForm;

/* A corpus of the table of data sets. */
typedef struct CorpusSource {
    const char *set; /* its name there */
    CorpusForm form;
    const char *files[3]; /* of the set: one, or by split */
    bool articles;        /* lines " = Title = " begin documents (WikiText) */
    bool letters;         /* only a to z and blanks (text8) */
} CorpusSource;

/* Reads. test_is_validation: the set's test file is not used, and the second half of the validation
 * text is tested on instead. STATUS_DATA: missing or damaged files, not UTF-8 (file, line, byte).
 * Close with corpus_close, also after an error. */
Status corpus_read(const CorpusSource *source, bool test_is_validation, Corpus *corpus,
                   Error *error);

/* Reads a user's own: a file (one document, cut 90 / 5 / 5); a folder with folders or files whose
 * names contain train, valid and test; or any folder, whose files, in the order of their names, are
 * documents (again cut 90 / 5 / 5). A relative path is below the data folder. */
Status corpus_read_path(const char *path, Corpus *corpus, Error *error);

void corpus_close(Corpus *corpus);

/* STATUS_DATA unless the bytes are UTF-8 without zero bytes, and not nearly all the same. A
 * character cut at the end passes. */
Status text_check(const char *path, const uint8_t *text, int64_t count, Error *error);

#endif
