/* Retrieval: two papers, byte by byte: does one cite the other?
 *
 * Source: Tay et al. 2021, "Long Range Arena", arXiv 2011.04006, with pairs from the ACL Anthology
 * Network (Radev et al. 2009): the first 4,000 bytes of each. Files new_aan_pairs.{train,eval,test}
 * .tsv: label, two ids, two texts, separated by tabs, no header and no quoting, so a bare quotation
 * mark means nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/byte_text.h"
#include "tasks/data.h"
#include "tasks/labels.h"
#include "tasks/packed.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

typedef struct Retrieval {
    int64_t length;
} Retrieval;

typedef struct RetrievalData {
    Records texts[3][2]; /* by split, first and second */
} RetrievalData;

static const Option options[] = {
    {"length", OPTION_INTEGER, offsetof(Retrieval, length), "4000", 1, 1 << 20, NULL,
     "bytes of each paper that are read"},
};

static Status retrieval_problem(const void *values, Problem *problem, Error *error) {
    (void)error;
    const Retrieval *retrieval = values;
    *problem = (Problem){
        .input = INPUT_TOKENS,
        .vocabulary = BYTE_IDS,
        .length = retrieval->length,
        .padded = true,
        .sequences = 2,
        .target = TARGET_SEQUENCE,
        .classes = 2,
        .labels = 1,
        .causal = false,
        .chance = 0.5,
        .solved = 0.95,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

/* Cuts the line into its five fields. */
static Status read_pair(const char *path, long long number, char *line, int64_t length,
                        Records texts[2], Error *error) {
    char *fields[5], *rest = line;
    int count = 0;
    line[strcspn(line, "\r\n")] = '\0';
    for (char *field; (field = strsep(&rest, "\t")); count++)
        if (count < 5) fields[count] = field;
    if (count != 5)
        return error_set(error, STATUS_DATA,
                         "%s line %lld: %d fields between tabs, expected 5: label, two ids, two "
                         "texts; the file may be cut off: fetch it again",
                         path, number, count);
    char *end;
    const double label = strtod(fields[0], &end);
    if (end == fields[0] || *end || (label != 0 && label != 1))
        return error_set(error, STATUS_DATA, "%s line %lld: label '%.20s', expected 0.0 or 1.0",
                         path, number, fields[0]);
    for (int i = 0; i < 2; i++) {
        const int64_t bytes = (int64_t)strlen(fields[3 + i]);
        if (bytes == 0)
            return error_set(error, STATUS_DATA, "%s line %lld: text %d is empty", path, number,
                             i + 1);
        records_add(&texts[i], (uint8_t *)fields[3 + i], bytes < length ? bytes : length,
                    label == 1);
    }
    return STATUS_OK;
}

static Status read_file(const char *path, int64_t length, Records texts[2], Error *error) {
    PackedFile file;
    if (packed_open(&file, path, error) != STATUS_OK) return error->status;
    char *line = NULL;
    size_t room = 0;
    Status status = STATUS_OK;
    int64_t linked = 0;
    for (long long number = 1; status == STATUS_OK && getline(&line, &room, file.stream) > 0;
         number++)
        status = read_pair(path, number, line, length, texts, error);
    const Status closed = packed_close(&file, status == STATUS_OK ? error : NULL);
    if (status == STATUS_OK) status = closed;
    for (int64_t i = 0; i < texts[0].count; i++) linked += texts[0].classes[i];
    if (status == STATUS_OK && (linked == 0 || linked == texts[0].count))
        status = error_set(error, STATUS_DATA,
                           "%s: %lld pairs, %lld of them linked; expected both kinds", path,
                           (long long)texts[0].count, (long long)linked);
    free(line);
    return status;
}

static void retrieval_close(void *data) {
    RetrievalData *d = data;
    for (int split = 0; split < 3; split++)
        for (int i = 0; i < 2; i++) records_free(&d->texts[split][i]);
    free(d);
}

/* A few pairs may come twice; a whole split that does is a file under two names. */
static Status check_splits(const RetrievalData *d, const char *const names[3], Error *error) {
    SplitOverlap overlap;
    if (records_overlap(&d->texts[0][0], 2, true, &overlap))
        return error_set(error, STATUS_DATA,
                         "tsv_data: all pairs of new_aan_pairs.%s.tsv are in new_aan_pairs.%s.tsv, "
                         "too; one of them is not what its name says",
                         names[overlap.later], names[overlap.earlier]);
    return STATUS_OK;
}

static Status retrieval_open(const void *values, void **data, Error *error) {
    const Retrieval *retrieval = values;
    static const char *const names[] = {"train", "eval", "test"};
    RetrievalData *d = scratch_open(sizeof *d);
    for (int split = 0; split < 3; split++) {
        char name[64], path[PATH_MAX];
        snprintf(name, sizeof name, "tsv_data/new_aan_pairs.%s.tsv", names[split]);
        if (data_find("aan", name, DATA_FILE, path, error) != STATUS_OK ||
            read_file(path, retrieval->length, d->texts[split], error) != STATUS_OK) {
            retrieval_close(d);
            return error->status;
        }
    }
    if (check_splits(d, names, error) != STATUS_OK) {
        retrieval_close(d);
        return error->status;
    }
    *data = d;
    return STATUS_OK;
}

static int64_t retrieval_count(const void *values, const void *data, Split split) {
    (void)values;
    return ((const RetrievalData *)data)->texts[split][0].count;
}

static void retrieval_sample(const void *values, const void *data, uint64_t seed, Split split,
                             int64_t index, Sample *sample) {
    (void)seed;
    const Retrieval *retrieval = values;
    const RetrievalData *d = data;
    for (int i = 0; i < 2; i++) {
        const Records *records = &d->texts[split][i];
        sample->lengths[i] =
            byte_tokens(record_bytes(records, index), record_length(records, index),
                        retrieval->length, sample->tokens + i * retrieval->length);
    }
    label_set(sample, 0, sample->lengths[0] - 1, d->texts[split][0].classes[index]);
}

const Task task_retrieval = {
    .name = "retrieval",
    .title = "Citing papers as bytes (Long Range Arena)",
    .paper = "Tay et al. 2021, arXiv 2011.04006",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Retrieval)},
    .problem = retrieval_problem,
    .open = retrieval_open,
    .close = retrieval_close,
    .count = retrieval_count,
    .sample = retrieval_sample,
    .spell = byte_spell,
};
