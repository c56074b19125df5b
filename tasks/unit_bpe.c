/* Byte pairs as tokens, with a vocabulary and merges in the format of GPT-2 (Radford et al. 2019;
 * Sennrich et al. 2016, arXiv 1508.07909): a JSON object of tokens with their ids, and a text of
 * merges, best first, each a pair of tokens. In both, a byte is written as a character: itself when
 * it is printable, and the characters from U+0100 on for the others. A text is first cut into
 * words, numbers and runs of signs or blanks (the pattern of GPT-2); within each piece the best
 * merge that applies is done everywhere, until none does. */
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/file.h"
#include "tasks/byte_text.h"
#include "tasks/data.h"
#include "tasks/digest.h"
#include "tasks/pieces.h"
#include "tasks/sampling.h"
#include "tasks/unit.h"
#include "tasks/word_map.h"

/* A merge: its place in the list, and the token that it makes. */
typedef struct Merge {
    int32_t rank, id;
} Merge;

typedef struct Bpe {
    WordMap tokens;   /* by their bytes; value: id */
    int32_t *entries; /* entry of each id in tokens; -1: none */
    int64_t ids;
    WordMap pairs; /* by the two ids; value: index of a merge */
    Merge *merges;
    int32_t bytes[256]; /* id of each single byte */
    int64_t separator;  /* <|endoftext|> between documents; -1: none */
} Bpe;

/* ---- the characters that stand for bytes ---- */

/* The byte that a character stands for; -1 for none. Bytes that print stand for themselves, the
 * other 68 follow from U+0100 in their order. */
static int byte_of(uint32_t character) {
    int next = 0x100;
    for (int byte = 0; byte < 256; byte++) {
        const bool prints = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
        if (character == (uint32_t)(prints ? byte : next)) return byte;
        next += !prints;
    }
    return -1;
}

/* Bytes of a token written in characters, or -1. `bytes` holds at least strlen(text). */
static int64_t bytes_of(const char *text, size_t count, uint8_t *bytes) {
    int64_t used = 0;
    for (size_t at = 0; at < count;) {
        int size;
        const uint32_t character = character_at((const uint8_t *)text + at, count - at, &size);
        const int byte = byte_of(character);
        if (byte < 0) return -1;
        bytes[used++] = (uint8_t)byte;
        at += (size_t)size;
    }
    return used;
}

/* ---- files ---- */

static const char *const vocabulary_files[2] = {"vocab.json", "encoder.json"};
static const char *const merges_files[2] = {"merges.txt", "vocab.bpe"};

/* Finds one of two names in the folder: those of common libraries, those of OpenAI. */
static Status find_either(const char *folder, const char *const names[2], char path[PATH_MAX],
                          Error *error) {
    char below[PATH_MAX];
    snprintf(below, sizeof below, "%s", folder);
    if (folder[0] != '/' && path_join(below, data_folder(), folder, error) != STATUS_OK)
        return error->status;
    for (int i = 0; i < 2; i++) {
        if (path_join(path, below, names[i], error) != STATUS_OK) return error->status;
        if (file_exists(path)) return STATUS_OK;
    }
    return error_set(error, STATUS_DATA,
                     "no %s or %s in %s; unit=bpe needs bpe=FOLDER with vocab.json and merges.txt "
                     "of GPT-2's format",
                     names[0], names[1], below);
}

static Status read_vocabulary(const UnitSettings *settings, json_t **json, char path[PATH_MAX],
                              Error *error) {
    json_error_t wrong;
    if (!*settings->bpe)
        return error_set(error, STATUS_USAGE,
                         "task lm: unit=bpe needs bpe=FOLDER with vocab.json and merges.txt");
    if (find_either(settings->bpe, vocabulary_files, path, error) != STATUS_OK)
        return error->status;
    *json = json_load_file(path, JSON_REJECT_DUPLICATES, &wrong);
    if (!*json)
        return error_set(error, STATUS_DATA, "%s line %d: %s; expected an object of tokens and ids",
                         path, wrong.line, wrong.text);
    if (json_is_object(*json) && json_object_size(*json) > 0) return STATUS_OK;
    json_decref(*json);
    return error_set(error, STATUS_DATA, "%s: expected an object of tokens and ids", path);
}

static Status bpe_size(const UnitSettings *settings, int64_t *ids, Error *error) {
    json_t *json;
    char path[PATH_MAX];
    if (read_vocabulary(settings, &json, path, error) != STATUS_OK) return error->status;
    *ids = (int64_t)json_object_size(json);
    json_decref(json);
    return STATUS_OK;
}

static Status take_tokens(Bpe *bpe, json_t *json, const char *path, Error *error) {
    const char *name;
    json_t *value;
    bpe->ids = (int64_t)json_object_size(json);
    bpe->entries = scratch_open((size_t)bpe->ids * sizeof *bpe->entries);
    for (int64_t i = 0; i < bpe->ids; i++) bpe->entries[i] = -1;
    json_object_foreach(json, name, value) {
        const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= bpe->ids || bpe->entries[id] >= 0)
            return error_set(error, STATUS_DATA,
                             "%s: token '%s' has no id of its own below %lld, the number of tokens",
                             path, name, (long long)bpe->ids);
        const size_t length = strlen(name);
        uint8_t *bytes = scratch_open(length + 1);
        const bool special = strcmp(name, "<|endoftext|>") == 0;
        const int64_t count = special ? -1 : bytes_of(name, length, bytes);
        if (special) bpe->separator = id;
        /* A token that no bytes make (a mark of some library) keeps its name for people. */
        WordEntry *entry = count >= 0 ? word_map_add(&bpe->tokens, bytes, (size_t)count)
                                      : word_map_add(&bpe->tokens, name, length);
        entry->value = id;
        bpe->entries[id] = (int32_t)(entry - bpe->tokens.entries);
        free(bytes);
    }
    for (int byte = 0; byte < 256; byte++) {
        const uint8_t one = (uint8_t)byte;
        const WordEntry *entry = word_map_find(&bpe->tokens, &one, 1);
        if (!entry)
            return error_set(error, STATUS_DATA,
                             "%s: no token for the byte 0x%02X; expected one for each byte", path,
                             byte);
        bpe->bytes[byte] = (int32_t)entry->value;
    }
    return STATUS_OK;
}

/* "LEFT RIGHT" */
static Status take_merge(Bpe *bpe, const char *line, int32_t index, const char *path, int number,
                         Error *error) {
    const char *blank = strchr(line, ' ');
    const size_t length = strlen(line);
    uint8_t *bytes = scratch_open(length + 1);
    const int64_t left = blank ? bytes_of(line, (size_t)(blank - line), bytes) : -1;
    const int64_t right = left > 0 ? bytes_of(blank + 1, strlen(blank + 1), bytes + left) : -1;
    const WordEntry *parts[3] = {0};
    if (right > 0) {
        parts[0] = word_map_find(&bpe->tokens, bytes, (size_t)left);
        parts[1] = word_map_find(&bpe->tokens, bytes + left, (size_t)right);
        parts[2] = word_map_find(&bpe->tokens, bytes, (size_t)(left + right));
    }
    free(bytes);
    if (!parts[0] || !parts[1] || !parts[2])
        return error_set(error, STATUS_DATA,
                         "%s line %d: '%.60s': expected two tokens of the vocabulary, a blank "
                         "between them, that together are a token of it",
                         path, number, line);
    const int32_t pair[2] = {(int32_t)parts[0]->value, (int32_t)parts[1]->value};
    bpe->merges[index] = (Merge){index, (int32_t)parts[2]->value};
    word_map_add(&bpe->pairs, pair, sizeof pair)->value = index;
    return STATUS_OK;
}

static Status read_merges(const UnitSettings *settings, Bpe *bpe, Error *error) {
    char path[PATH_MAX], *text, *line;
    size_t bytes;
    if (find_either(settings->bpe, merges_files, path, error) != STATUS_OK ||
        file_read(path, &text, &bytes, error) != STATUS_OK)
        return error->status;
    size_t lines = 1;
    for (size_t i = 0; i < bytes; i++) lines += text[i] == '\n';
    bpe->merges = scratch_open(lines * sizeof *bpe->merges);
    Status status = STATUS_OK;
    char *rest = text;
    int32_t count = 0;
    for (int number = 1; status == STATUS_OK && (line = strsep(&rest, "\n")); number++) {
        line[strcspn(line, "\r")] = '\0';
        if (!*line || (number == 1 && strncmp(line, "#version", 8) == 0)) continue;
        status = take_merge(bpe, line, count++, path, number, error);
    }
    free(text);
    return status;
}

static void bpe_close(void *lexicon) {
    Bpe *bpe = lexicon;
    word_map_free(&bpe->tokens);
    word_map_free(&bpe->pairs);
    free(bpe->entries);
    free(bpe->merges);
    free(bpe);
}

static Status bpe_open(const UnitSettings *settings, const Text *train, void **lexicon,
                       Error *error) {
    (void)train;
    json_t *json;
    char path[PATH_MAX];
    if (read_vocabulary(settings, &json, path, error) != STATUS_OK) return error->status;
    Bpe *bpe = scratch_open(sizeof *bpe);
    bpe->separator = -1;
    Status status = take_tokens(bpe, json, path, error);
    json_decref(json);
    if (status == STATUS_OK) status = read_merges(settings, bpe, error);
    if (status == STATUS_OK)
        *lexicon = bpe;
    else
        bpe_close(bpe);
    return status;
}

/* ---- encoding ---- */

static const Merge *merge_of(const Bpe *bpe, int32_t left, int32_t right) {
    const int32_t pair[2] = {left, right};
    const WordEntry *entry = word_map_find(&bpe->pairs, pair, sizeof pair);
    return entry ? &bpe->merges[entry->value] : NULL;
}

/* Ids of a piece of text, at first one a byte, merged in place; how many are left. */
static int64_t merge_all(const Bpe *bpe, int32_t *ids, int64_t count) {
    for (;;) {
        const Merge *best = NULL;
        for (int64_t i = 0; i + 1 < count; i++) {
            const Merge *merge = merge_of(bpe, ids[i], ids[i + 1]);
            if (merge && (!best || merge->rank < best->rank)) best = merge;
        }
        if (!best) return count;
        int64_t kept = 0;
        for (int64_t i = 0; i < count; i++, kept++) {
            const bool merged = i + 1 < count && merge_of(bpe, ids[i], ids[i + 1]) == best;
            ids[kept] = merged ? best->id : ids[i];
            i += merged;
        }
        count = kept;
    }
}

/* Pieces come again and again: what became of each is kept. */
typedef struct Encoding {
    const Bpe *bpe;
    Tokens *tokens;
    WordMap seen; /* value: 1 + place in ids, where the count stands and then the ids */
    int32_t *ids;
    int64_t used, room;
} Encoding;

static int64_t encode_new(Encoding *encoding, const uint8_t *piece, int64_t count) {
    if (encoding->used + count + 1 > encoding->room) {
        encoding->room = 2 * (encoding->used + count + 1);
        int32_t *more = scratch_open((size_t)encoding->room * sizeof *more);
        if (encoding->used > 0) memcpy(more, encoding->ids, (size_t)encoding->used * sizeof *more);
        free(encoding->ids);
        encoding->ids = more;
    }
    const int64_t place = encoding->used;
    int32_t *ids = encoding->ids + place + 1;
    for (int64_t i = 0; i < count; i++) ids[i] = encoding->bpe->bytes[piece[i]];
    const int64_t left = merge_all(encoding->bpe, ids, count);
    encoding->ids[place] = (int32_t)left;
    encoding->used += left + 1;
    return place;
}

static void encode_piece(Encoding *encoding, const uint8_t *text, int64_t start, int64_t end) {
    const Bpe *bpe = encoding->bpe;
    WordEntry *entry = word_map_add(&encoding->seen, text + start, (size_t)(end - start));
    if (entry->value == 0) entry->value = 1 + encode_new(encoding, text + start, end - start);
    const int32_t *ids = encoding->ids + entry->value - 1;
    for (int32_t i = 1; i <= ids[0]; i++) {
        start += bpe->tokens.entries[bpe->entries[ids[i]]].bytes;
        tokens_add(encoding->tokens, ids[i], start);
    }
}

static void bpe_encode(const void *lexicon, const Text *text, Tokens *tokens) {
    const Bpe *bpe = lexicon;
    Encoding encoding = {.bpe = bpe, .tokens = tokens};
    tokens_open(tokens, text);
    for (int64_t d = 0; d < text->documents; d++) {
        tokens_document(tokens);
        if (d > 0 && bpe->separator >= 0)
            tokens_add(tokens, (int32_t)bpe->separator, text->starts[d]);
        const int64_t stop = text->starts[d + 1];
        for (int64_t at = text->starts[d], end; at < stop; at = end) {
            end = at + piece_bytes(text->bytes + at, stop - at);
            encode_piece(&encoding, text->bytes, at, end);
        }
    }
    tokens_finish(tokens);
    free(encoding.ids);
    word_map_free(&encoding.seen);
}

static void bpe_spell(const void *lexicon, int64_t id, char text[TASK_SPELL_BYTES]) {
    const Bpe *bpe = lexicon;
    const WordEntry *entry = bpe->entries[id] >= 0 ? &bpe->tokens.entries[bpe->entries[id]] : NULL;
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; entry && i < entry->bytes && used + 5 < TASK_SPELL_BYTES; i++) {
        char one[TASK_SPELL_BYTES];
        byte_spell(NULL, NULL, 1 + (uint8_t)word_map_text(&bpe->tokens, entry)[i], one);
        used += (size_t)snprintf(text + used, TASK_SPELL_BYTES - used, "%.4s", one);
    }
}

static Status bpe_identify(const UnitSettings *settings, SHA2_CTX *hash, Error *error) {
    const char *const *const files[] = {vocabulary_files, merges_files};
    for (int i = 0; i < 2; i++) {
        char path[PATH_MAX], digest[DIGEST_BYTES];
        if (find_either(settings->bpe, files[i], path, error) != STATUS_OK ||
            digest_file(path, "sha256:", digest, error) != STATUS_OK)
            return error->status;
        SHA256Update(hash, (const uint8_t *)digest, strlen(digest));
    }
    return STATUS_OK;
}

const Unit unit_bpe = {
    .name = "bpe",
    .size = bpe_size,
    .open = bpe_open,
    .close = bpe_close,
    .encode = bpe_encode,
    .spell = bpe_spell,
    .identify = bpe_identify,
};
