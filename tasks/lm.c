/* Language modelling on bytes: at every position of a window the next byte.
 *
 * Corpora: enwik8 and text8 (Mahoney; 27 symbols), tiny Shakespeare (Karpathy 2015), any file. The
 * first 90 % train, 5 % validate, 5 % test, which is the customary 90M / 5M / 5M of enwik8 and
 * text8. Training windows lie anywhere; validation and test windows cover the text once, in order:
 * the first one is scored whole, each later one scores its last `stride` bytes, so that a small
 * stride gives every byte a long context (Baevski and Auli 2019, arXiv 1809.10853, section 4). Bits
 * per byte are log2 of the perplexity. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/file.h"
#include "tasks/byte_text.h"
#include "tasks/data.h"
#include "tasks/labels.h"
#include "tasks/packed.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

typedef enum Corpus { CORPUS_ENWIK8, CORPUS_TEXT8, CORPUS_SHAKESPEARE, CORPUS_FILE } Corpus;

typedef struct Lm {
    int64_t length, stride;
    int corpus;
    char path[OPTION_TEXT_BYTES];
} Lm;

static const Option options[] = {
    {"corpus", OPTION_CHOICE, offsetof(Lm, corpus), "shakespeare", 0, -1,
     "enwik8|text8|shakespeare|file", "text to learn"},
    {"path", OPTION_TEXT, offsetof(Lm, path), "", 0, -1, NULL,
     "corpus=file: the file, UTF-8; below the data folder unless it begins with /"},
    {"length", OPTION_INTEGER, offsetof(Lm, length), "512", 1, 1 << 24, NULL, "bytes of a window"},
    {"stride", OPTION_INTEGER, offsetof(Lm, stride), "0", 0, 1 << 24, NULL,
     "bytes by which validation and test windows advance; 0: length"},
};

enum { LETTERS = 27 };

static int64_t stride_of(const Lm *lm) {
    return lm->stride > 0 ? lm->stride : lm->length;
}

static Status lm_problem(const void *values, Problem *problem, Error *error) {
    const Lm *lm = values;
    if (lm->stride > lm->length)
        return error_set(
            error, STATUS_USAGE,
            "task lm: stride=%lld would skip bytes between windows of length=%lld; use "
            "stride=%lld or less",
            (long long)lm->stride, (long long)lm->length, (long long)lm->length);
    if ((lm->corpus == CORPUS_FILE) != (lm->path[0] != '\0'))
        return error_set(error, STATUS_USAGE,
                         "task lm: corpus=file and path=FILE go together, and other corpora have "
                         "no path");
    const int64_t ids = lm->corpus == CORPUS_TEXT8 ? LETTERS : 256;
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = ids,
        .length = lm->length,
        .sequences = 1,
        .target = TARGET_TOKENS,
        .classes = ids,
        .labels = lm->length,
        .causal = true,
        .chance = (double)ids,
        .solved = 1.0,
        .higher_is_better = false,
        .metric = "perplexity",
        .measure = MEASURE_PERPLEXITY,
    };
    return STATUS_OK;
}

typedef struct LmData {
    uint8_t *bytes;    /* ids of the text */
    int64_t starts[4]; /* of the splits */
} LmData;

static void lm_close(void *data) {
    LmData *d = data;
    free(d->bytes);
    free(d);
}

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

/* A few bytes at the end may belong to a character that was cut. */
static Status check_text(const char *path, const uint8_t *text, int64_t count, Error *error) {
    int64_t line = 1;
    for (int64_t at = 0; at < count;) {
        const int bytes = character_bytes(text + at, count - at);
        if (bytes == 0 && count - at < 4 && text[at] >= 0xC2) return STATUS_OK;
        if (bytes == 0 || text[at] == 0)
            return error_set(error, STATUS_DATA,
                             "%s line %lld: byte %lld (0x%02X) is not UTF-8 text; the file is "
                             "damaged, packed, or in another encoding (iconv converts it)",
                             path, (long long)line, (long long)at, text[at]);
        line += text[at] == '\n';
        at += bytes;
    }
    return STATUS_OK;
}

static Status to_letters(const char *path, uint8_t *text, int64_t count, Error *error) {
    for (int64_t at = 0; at < count; at++) {
        if (text[at] != ' ' && (text[at] < 'a' || text[at] > 'z'))
            return error_set(error, STATUS_DATA,
                             "%s: byte %lld is '%c', but text8 has only a to z and blanks", path,
                             (long long)at, text[at]);
        text[at] = text[at] == ' ' ? 0 : (uint8_t)(text[at] - 'a' + 1);
    }
    return STATUS_OK;
}

static Status find_corpus(const Lm *lm, char path[PATH_MAX], Error *error) {
    static const struct {
        const char *set, *file;
    } corpora[] = {[CORPUS_ENWIK8] = {"enwik8", "enwik8"},
                   [CORPUS_TEXT8] = {"text8", "text8"},
                   [CORPUS_SHAKESPEARE] = {"tiny-shakespeare", "input.txt"}};
    if (lm->corpus != CORPUS_FILE)
        return data_find(corpora[lm->corpus].set, corpora[lm->corpus].file, DATA_FILE, path, error);
    if (lm->path[0] != '/') return path_join(path, data_folder(), lm->path, error);
    snprintf(path, PATH_MAX, "%s", lm->path);
    return STATUS_OK;
}

static Status lm_open(const void *values, void **data, Error *error) {
    const Lm *lm = values;
    char path[PATH_MAX], *text;
    size_t size;
    if (find_corpus(lm, path, error) != STATUS_OK) return error->status;
    if (packed_read(path, &text, &size, error) != STATUS_OK) return error->status;
    LmData *d = scratch_open(sizeof *d);
    const int64_t count = (int64_t)size;
    *d = (LmData){(uint8_t *)text, {0, count / 10 * 9, count / 20 * 19, count}};
    Status status = lm->corpus == CORPUS_TEXT8 ? to_letters(path, d->bytes, count, error)
                                               : check_text(path, d->bytes, count, error);
    for (int split = 0; split < 3 && status == STATUS_OK; split++)
        if (d->starts[split + 1] - d->starts[split] < lm->length + 1)
            status = error_set(error, STATUS_DATA,
                               "%s: its %lld bytes give %lld for the %s split, fewer than one "
                               "window and the byte after it; use a longer text or length=%lld",
                               path, (long long)count,
                               (long long)(d->starts[split + 1] - d->starts[split]),
                               split_name((Split)split), (long long)count / 20 - 2);
    if (status != STATUS_OK) {
        lm_close(d);
        return status;
    }
    *data = d;
    return STATUS_OK;
}

static int64_t split_bytes(const LmData *d, Split split) {
    return d->starts[split + 1] - d->starts[split];
}

static int64_t lm_count(const void *values, const void *data, Split split) {
    const Lm *lm = values;
    if (split == SPLIT_TRAIN) return 0;
    const int64_t rest = split_bytes(data, split) - 1 - lm->length, stride = stride_of(lm);
    return 1 + (rest + stride - 1) / stride;
}

extern const Task task_lm;

static void lm_sample(const void *values, const void *data, uint64_t seed, Split split,
                      int64_t index, Sample *sample) {
    const Lm *lm = values;
    const LmData *d = data;
    const int64_t length = lm->length, bytes = split_bytes(d, split);
    int64_t start, scored = length;
    if (split == SPLIT_TRAIN) {
        Random random = task_random(&task_lm, seed, split, index);
        start = (int64_t)random_below(&random, (uint64_t)(bytes - length));
    } else {
        const int64_t stride = stride_of(lm), end = length + index * stride;
        const int64_t stop = end < bytes - 1 ? end : bytes - 1;
        start = stop - length;
        if (index > 0) scored = stop - (end - stride);
    }
    const uint8_t *text = d->bytes + d->starts[split] + start;
    for (int64_t t = 0; t < length; t++) sample->tokens[t] = text[t];
    for (int64_t i = 0; i < scored; i++) {
        const int64_t t = length - scored + i;
        label_set(sample, i, t, text[t + 1]);
    }
    label_unused(sample, scored, length);
    sample->lengths[0] = (int32_t)length;
}

static void lm_spell(const void *values, int64_t id, char text[TASK_SPELL_BYTES]) {
    const bool letters = ((const Lm *)values)->corpus == CORPUS_TEXT8;
    byte_spell(values, 1 + (!letters ? id : id == 0 ? ' ' : 'a' + id - 1), text);
}

const Task task_lm = {
    .name = "lm",
    .title = "Language modelling on bytes",
    .paper = "enwik8, text8 (Mahoney), tiny Shakespeare (Karpathy 2015), or any text",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Lm)},
    .problem = lm_problem,
    .open = lm_open,
    .close = lm_close,
    .count = lm_count,
    .sample = lm_sample,
    .spell = lm_spell,
};
