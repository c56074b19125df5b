/* Byte strings to numbers: a hash table that only grows. The strings belong to the map. */
#ifndef LONGHAUL_WORD_MAP_H
#define LONGHAUL_WORD_MAP_H

#include <stddef.h>
#include <stdint.h>

typedef struct WordEntry {
    size_t start; /* of the word in the map's text */
    uint32_t bytes;
    uint32_t hash;
    int64_t value;
} WordEntry;

typedef struct WordMap {
    WordEntry *entries; /* in the order of adding */
    int64_t count, entry_room;
    int32_t *slots; /* 1 + index of an entry; 0: free */
    int64_t slot_count;
    char *text; /* the words, each with a zero byte after it */
    size_t used, text_room;
} WordMap;

/* The entry of the word, added with value 0 when it is new. Valid until the next one is added. Ends
 * the program when there is no memory. */
WordEntry *word_map_add(WordMap *map, const void *word, size_t bytes);

/* NULL when there is none. */
const WordEntry *word_map_find(const WordMap *map, const void *word, size_t bytes);

static inline const char *word_map_text(const WordMap *map, const WordEntry *entry) {
    return map->text + entry->start;
}

void word_map_free(WordMap *map);

#endif
