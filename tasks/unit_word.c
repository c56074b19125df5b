/* Words as tokens, by the conventions of WikiText and the Penn Treebank: what blanks separate, and
 * <eos> at the end of every line, blank ones too. The vocabulary holds <eos>, <unk> and the
 * commonest words of the training text (of equally common ones the alphabetically first); ids are
 * in the order of their frequency there, and every other word is <unk>. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/sampling.h"
#include "tasks/unit.h"
#include "tasks/word_map.h"

static const char EOS[] = "<eos>", UNK[] = "<unk>";

typedef struct Words {
    WordMap map;      /* value: id, or -1 for words outside the vocabulary */
    int64_t *entries; /* entry of each id */
    int64_t count, unknown, end;
} Words;

static bool is_blank(uint8_t byte) {
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\f' || byte == '\v';
}

/* Calls `word` for every word (start, bytes, end) and for every line end (NULL, 0, end). A text
 * that does not end in a line end has an unfinished last line, without <eos>. */
typedef void WordVisitor(void *context, const uint8_t *word, size_t bytes, int64_t end);

static void walk(const Text *text, int64_t from, int64_t to, WordVisitor *visit, void *context) {
    for (int64_t at = from; at < to;) {
        if (is_blank(text->bytes[at])) {
            at++;
            continue;
        }
        if (text->bytes[at] == '\n') {
            visit(context, NULL, 0, ++at);
            continue;
        }
        const int64_t start = at;
        while (at < to && !is_blank(text->bytes[at]) && text->bytes[at] != '\n') at++;
        visit(context, text->bytes + start, (size_t)(at - start), at);
    }
}

/* ---- the vocabulary ---- */

static void count_word(void *context, const uint8_t *word, size_t bytes, int64_t end) {
    (void)end;
    WordMap *map = context;
    WordEntry *entry = word ? word_map_add(map, word, bytes) : word_map_add(map, EOS, strlen(EOS));
    entry->value++;
}

typedef struct Ranked {
    const WordMap *map;
    int64_t entry, frequency;
    bool kept; /* <eos> and <unk> are in every vocabulary */
} Ranked;

static int by_frequency(const void *a, const void *b) {
    const Ranked *x = a, *y = b;
    if (x->kept != y->kept) return x->kept ? -1 : 1;
    if (x->frequency != y->frequency) return x->frequency > y->frequency ? -1 : 1;
    return strcmp(word_map_text(x->map, &x->map->entries[x->entry]),
                  word_map_text(y->map, &y->map->entries[y->entry]));
}

/* Ranks the words, keeps the first, and puts ids, in the order of frequency, in place of counts. */
static void assign_ids(Words *words, int64_t vocabulary) {
    WordMap *map = &words->map;
    const int64_t end = word_map_add(map, EOS, strlen(EOS)) - map->entries;
    const int64_t unknown = word_map_add(map, UNK, strlen(UNK)) - map->entries;
    Ranked *ranked = scratch_open((size_t)map->count * sizeof *ranked);
    for (int64_t i = 0; i < map->count; i++)
        ranked[i] = (Ranked){map, i, map->entries[i].value, i == end || i == unknown};
    qsort(ranked, (size_t)map->count, sizeof *ranked, by_frequency);
    words->count = vocabulary < map->count ? vocabulary : map->count;
    int64_t cut = 0;
    for (int64_t i = words->count; i < map->count; i++) {
        cut += ranked[i].frequency;
        map->entries[ranked[i].entry].value = -1;
    }
    for (int64_t i = 0; i < words->count; i++) {
        if (ranked[i].entry == unknown) ranked[i].frequency += cut;
        ranked[i].kept = false;
    }
    qsort(ranked, (size_t)words->count, sizeof *ranked, by_frequency);
    words->entries = scratch_open((size_t)words->count * sizeof *words->entries);
    for (int64_t id = 0; id < words->count; id++) {
        words->entries[id] = ranked[id].entry;
        map->entries[ranked[id].entry].value = id;
    }
    words->end = map->entries[end].value;
    words->unknown = map->entries[unknown].value;
    free(ranked);
}

static Status word_size(const UnitSettings *settings, int64_t *ids, Error *error) {
    if (settings->vocabulary == 0)
        return error_set(error, STATUS_USAGE,
                         "task lm: unit=word needs vocabulary=N for this corpus: <eos>, <unk> and "
                         "the N - 2 commonest words of the training text");
    *ids = settings->vocabulary;
    return STATUS_OK;
}

static Status word_open(const UnitSettings *settings, const Text *train, void **lexicon,
                        Error *error) {
    (void)error;
    Words *words = scratch_open(sizeof *words);
    walk(train, 0, train->count, count_word, &words->map);
    assign_ids(words, settings->vocabulary);
    *lexicon = words;
    return STATUS_OK;
}

static void word_close(void *lexicon) {
    Words *words = lexicon;
    word_map_free(&words->map);
    free(words->entries);
    free(words);
}

/* ---- encoding ---- */

typedef struct Encoding {
    const Words *words;
    Tokens *tokens;
} Encoding;

static void encode_word(void *context, const uint8_t *word, size_t bytes, int64_t end) {
    const Encoding *encoding = context;
    const Words *words = encoding->words;
    const WordEntry *entry = word ? word_map_find(&words->map, word, bytes) : NULL;
    const int64_t id = !word                        ? words->end
                       : entry && entry->value >= 0 ? entry->value
                                                    : words->unknown;
    tokens_add(encoding->tokens, (int32_t)id, end);
}

static void word_encode(const void *lexicon, const Text *text, Tokens *tokens) {
    Encoding encoding = {lexicon, tokens};
    tokens_open(tokens, text);
    for (int64_t d = 0; d < text->documents; d++) {
        tokens_document(tokens);
        walk(text, text->starts[d], text->starts[d + 1], encode_word, &encoding);
    }
    tokens_finish(tokens);
}

static void word_spell(const void *lexicon, int64_t id, char text[TASK_SPELL_BYTES]) {
    const Words *words = lexicon;
    if (id < words->count)
        snprintf(text, TASK_SPELL_BYTES, "%s",
                 word_map_text(&words->map, &words->map.entries[words->entries[id]]));
    else
        snprintf(text, TASK_SPELL_BYTES, "unused%lld", (long long)id);
}

/* Its vocabulary follows from the texts. */
static Status word_identify(const UnitSettings *settings, SHA2_CTX *hash, Error *error) {
    (void)settings, (void)hash, (void)error;
    return STATUS_OK;
}

const Unit unit_word = {
    .name = "word",
    .size = word_size,
    .open = word_open,
    .close = word_close,
    .encode = word_encode,
    .spell = word_spell,
    .identify = word_identify,
};
