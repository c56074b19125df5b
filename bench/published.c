#include "bench/published.h"

#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/csv.h"
#include "bench/home.h"
#include "engine/memory.h"
#include "models/model.h"

/* Words of the sources for the quantity that stands after them (or before: "2 layers"). */
static const struct {
    const char *word;
    size_t offset;
    bool before;
} fact_words[] = {
    {"d_model", offsetof(PublishedFacts, width), false},
    {"d", offsetof(PublishedFacts, width), false},
    {"width", offsetof(PublishedFacts, width), false},
    {"layers", offsetof(PublishedFacts, layers), true},
    {"layer", offsetof(PublishedFacts, layers), true},
    {"blocks", offsetof(PublishedFacts, layers), true},
    {"length", offsetof(PublishedFacts, length), false},
    {"at", offsetof(PublishedFacts, length), false}, /* "trained at 256" */
    {"pairs", offsetof(PublishedFacts, pairs), false},
    {"vocab", offsetof(PublishedFacts, vocabulary), false},
    {"vocabulary", offsetof(PublishedFacts, vocabulary), false},
};

/* Names that are more than a difference in spelling. RWKV without a number is version 4: later
 * ones are always written with it. */
static const struct {
    const char *theirs, *ours;
} aliases[] = {
    {"attention", "transformer"},
    {"fullattention", "transformer"},
    {"transformer", "transformer"},
    {"rwkv", "rwkv4"},
    {"lineartransformer", "linear_attention"},
    {"retention", "retnet"},
    {"perceiverar", "perceiver"},
    {"dsssoftmax", "dss"},
    {"s4legs", "s4"},
    {"h3s4", "h3"},
    {"selectivecopying", "selectivecopy"},
    {"inductionhead", "induction"},
    {"inductionheads", "induction"},
    {"associativerecall", "recall"},
    {"mirroredcopy", "copy"},
    {"nearestneighboursearch", "nns"},
    {"reversestring", "reverse"},
    {"stackmanipulation", "stack"},
    {"lralistops", "listops"},
    {"lratext", "text"},
    {"lraretrieval", "retrieval"},
    {"lraimage", "image"},
    {"lragimage", "image"},
    {"lrapathfinder", "pathfinder"},
    {"lrapathx", "pathx"},
    {"llama", "transformer"},
    {"mharope", "transformer"},
    {"transformerlrapaper", "transformer"},
    {"s4dlegs", "s4d"},
    {"mambas6", "mamba"},
    {"h3blockhyena", "hyena"},
    {"hyena2153m", "hyena"},
    {"gpt2smallflashattention", "transformer"},
};

void published_name(const char *theirs, char ours[48]) {
    size_t length = 0;
    for (; *theirs && length < 47; theirs++) {
        if (isalnum((unsigned char)*theirs)) ours[length++] = (char)tolower(*theirs);
    }
    ours[length] = 0;
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        if (!strcmp(ours, aliases[i].theirs)) snprintf(ours, 48, "%s", aliases[i].ours);
    }
}

void published_model(const char *theirs, char ours[48], char variant[16]) {
    char name[48];
    snprintf(name, sizeof name, "%s", theirs);
    char *bracket = strchr(name, '['), *end = strchr(name, ']');
    const bool bracketed = bracket && end > bracket && !end[1];
    variant[0] = '\0';
    if (bracketed) {
        snprintf(variant, 16, "%.*s", (int)(end - bracket - 1), bracket + 1);
        *bracket = '\0';
    }
    published_name(name, ours);
    int count;
    const Model *const *models = model_list(&count);
    for (int i = 0; i < count; i++) {
        char plain[48];
        published_name(models[i]->name, plain);
        if (!strcmp(plain, ours)) snprintf(ours, 48, "%s", models[i]->name);
    }
}

/* A whole number at text ("8192", "16k"), or 0 when it is a fraction, a range or no number. */
static int64_t whole_number(const char *text) {
    char *end;
    if (!isdigit((unsigned char)*text)) return 0;
    int64_t value = strtoll(text, &end, 10);
    if (*end == 'k') {
        value *= 1024;
        end++;
    }
    return *end == 0 || strchr(" ,;)", *end) ? value : 0;
}

static bool word_byte(char byte) {
    return isalnum((unsigned char)byte) || byte == '_';
}

static void read_facts(const char *text, PublishedFacts *facts) {
    const char *number = NULL; /* the word before this one, when it began with a digit */
    for (const char *at = text; *at;) {
        if (!word_byte(*at)) {
            at++;
            continue;
        }
        size_t length = 1;
        while (word_byte(at[length])) length++;
        const char *after = at + length;
        while (*after == ' ' || *after == '=') after++;
        for (size_t i = 0; i < sizeof fact_words / sizeof *fact_words; i++) {
            const char *word = fact_words[i].word;
            if (strlen(word) != length || strncasecmp(at, word, length)) continue;
            const char *digits = fact_words[i].before ? number : after;
            const int64_t value = digits ? whole_number(digits) : 0;
            int64_t *field = (int64_t *)((char *)facts + fact_words[i].offset);
            if (value && !*field) *field = value;
        }
        number = at[0] >= '0' && at[0] <= '9' && (at == text || at[-1] == ' ') ? at : NULL;
        at += length;
    }
}

PublishedFacts published_facts(const char *params, const char *setting) {
    PublishedFacts facts = {0};
    read_facts(params, &facts);
    read_facts(setting, &facts);
    return facts;
}

/* The source up to where it begins to tell how it was read: "..., Fig. 2 (figure stored in ...", or
 * to the end of the brackets in which the paper's number stands. Of a file in a repository, "repo
 * OWNER/NAME, folder/file (2025 update)", the repository and the file's name without folders. */
static void short_citation(const char *source, char *citation, size_t size) {
    const char *comma = strchr(source, ','), *file = strrchr(source, '/');
    if (!strncmp(source, "repo ", strlen("repo ")) && comma && file > comma) {
        snprintf(citation, size, "%.*s, %s", (int)(comma - source - (int)strlen("repo ")),
                 source + strlen("repo "), file + 1);
        return;
    }
    static const char *const asides[] = {" (", ", as listed", ", read in", ") "};
    const char *number = strstr(source, "arXiv");
    size_t length = strlen(source);
    for (size_t i = 0; number && i < sizeof asides / sizeof *asides; i++) {
        const char *aside = strstr(number, asides[i]);
        const size_t kept = aside ? (size_t)(aside - source) + (*asides[i] == ')') : length;
        if (kept < length) length = kept;
    }
    snprintf(citation, size, "%.*s", (int)length, source);
}

/* The number of a row on the scale of our metric; false for rows about something else. Perplexity
 * is a task's own where the source says the unit: bits per character stand for bytes, "word level"
 * for words, and everything else for byte pairs. */
static bool read_value(const char *metric, double number, PublishedPoint *point) {
    const char *accuracy = strstr(metric, "accuracy");
    if (accuracy) {
        point->value = strchr(accuracy, '%') ? number / 100 : number;
        point->scaled = strstr(metric, "scaled") != NULL;
        snprintf(point->metric, sizeof point->metric, "accuracy");
        return true;
    }
    const bool bits = strstr(metric, "test bpc"), perplexity = strstr(metric, "test ppl");
    if (!bits && !perplexity) return false;
    point->value = bits ? exp2(number) : number;
    snprintf(point->metric, sizeof point->metric, "perplexity");
    snprintf(point->unit, sizeof point->unit, "%s",
             bits                     ? "byte"
             : strstr(metric, "word") ? "word"
                                      : "bpe");
    return true;
}

/* "trained at 256, tested at 2^14": 16384; 0 when the setting says nothing of the kind. */
static int64_t tested_at(const char *setting) {
    const char *words = strstr(setting, "tested at 2^");
    const long power = words ? strtol(words + strlen("tested at 2^"), NULL, 10) : 0;
    return power > 0 && power < 40 ? (int64_t)1 << power : 0;
}

/* "recurrent state 2^12.5 bytes", "state size 9400": bytes, 0 when the setting says nothing of the
 * kind. The second form is Zoology's later figure, whose axis has no unit; what both figures have
 * (attention, H3, Mamba) stands at the same numbers. */
static double state_bytes(const char *setting) {
    static const char *const words[] = {"recurrent state ", "state size "};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *at = strstr(setting, words[i]);
        if (!at) continue;
        char *end;
        const double number = strtod(at + strlen(words[i]), &end);
        return *end == '^' ? pow(number, strtod(end + 1, NULL)) : number;
    }
    return 0;
}

/* False for rows that are about something else than a measured quality. */
static bool read_point(const Csv *csv, int row, PublishedPoint *point) {
    const char *metric = csv_cell(csv, row, "metric"), *value = csv_cell(csv, row, "value");
    char *end;
    double number = strtod(value, &end);
    *point = (PublishedPoint){.failed = !strcmp(value, "FAIL") || !strcmp(value, "X")};
    if (point->failed)
        number = NAN;
    else if (end == value || *end)
        return false;
    if (!read_value(metric, number, point)) return false;
    published_name(csv_cell(csv, row, "task"), point->task);
    point->test_length = tested_at(csv_cell(csv, row, "setting"));
    point->state_bytes = state_bytes(csv_cell(csv, row, "setting"));
    short_citation(csv_cell(csv, row, "source"), point->citation, sizeof point->citation);
    published_model(csv_cell(csv, row, "model"), point->model, point->variant);
    point->facts = published_facts(csv_cell(csv, row, "params"), csv_cell(csv, row, "setting"));
    point->uncertain = strstr(csv_cell(csv, row, "note"), "may be permuted") != NULL;
    point->approximate = strstr(csv_cell(csv, row, "note"), "approx") != NULL;
    return true;
}

Status published_read(const char *path, const char *task, Published *published, Error *error) {
    *published = (Published){0};
    static const char *const needed[] = {"source",  "task",   "model", "params",
                                         "setting", "metric", "value", "note"};
    Csv csv;
    Status status = csv_read(path, &csv, error);
    for (size_t i = 0; !status && i < sizeof needed / sizeof *needed; i++) {
        bool found = false;
        for (int c = 0; c < csv.columns; c++) found |= !strcmp(csv.cells[c], needed[i]);
        if (!found) status = error_set(error, STATUS_DATA, "%s: no column '%s'", path, needed[i]);
    }
    char wanted[48];
    published_name(task ? task : "", wanted);
    for (int row = 0; !status && row < csv.rows; row++) {
        PublishedPoint point;
        if (!read_point(&csv, row, &point) || (task && strcmp(point.task, wanted) != 0)) continue;
        const size_t count = (size_t)published->count + 1;
        published->points = memory_resize(published->points, count * sizeof *published->points);
        published->points[published->count++] = point;
    }
    csv_free(&csv);
    return status;
}

Status published_open(const char *file, Published *published, Error *error) {
    char relative[PATH_MAX], path[PATH_MAX];
    *published = (Published){0};
    if (!*file) return STATUS_OK;
    snprintf(relative, sizeof relative, "results/published/%s", file);
    const Status status = home_path(relative, path, sizeof path, error);
    return status == STATUS_OK ? published_read(path, NULL, published, error) : status;
}

void published_free(Published *published) {
    free(published->points);
    *published = (Published){0};
}
