#include "tasks/word_map.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/hash.h"
#include "engine/memory.h"

/* FNV-1a, folded so that the low bits depend on all. */
static uint32_t hash_of(const void *word, size_t bytes) {
    const uint64_t hash = hash_bytes(HASH_START, word, bytes);
    return (uint32_t)(hash ^ hash >> 32);
}

static bool equals(const WordMap *map, const WordEntry *entry, uint32_t hash, const void *word,
                   size_t bytes) {
    return entry->hash == hash && entry->bytes == bytes &&
           memcmp(map->text + entry->start, word, bytes) == 0;
}

/* The slot that holds the word, or the free one where it belongs. */
static int32_t *slot_of(const WordMap *map, uint32_t hash, const void *word, size_t bytes) {
    const uint64_t mask = (uint64_t)map->slot_count - 1;
    for (uint64_t at = hash & mask;; at = (at + 1) & mask) {
        int32_t *slot = &map->slots[at];
        if (*slot == 0 || equals(map, &map->entries[*slot - 1], hash, word, bytes)) return slot;
    }
}

static void make_room(WordMap *map, size_t bytes) {
    if (2 * (map->count + 1) > map->slot_count) {
        map->slot_count = map->slot_count ? 2 * map->slot_count : 1024;
        free(map->slots);
        map->slots = memory_resize(NULL, (size_t)map->slot_count * sizeof *map->slots);
        memset(map->slots, 0, (size_t)map->slot_count * sizeof *map->slots);
        const uint64_t mask = (uint64_t)map->slot_count - 1;
        for (int64_t i = 0; i < map->count; i++) {
            uint64_t at = map->entries[i].hash & mask;
            while (map->slots[at]) at = (at + 1) & mask;
            map->slots[at] = (int32_t)i + 1;
        }
    }
    if (map->count == map->entry_room) {
        map->entry_room = map->entry_room ? 2 * map->entry_room : 512;
        map->entries = memory_resize(map->entries, (size_t)map->entry_room * sizeof *map->entries);
    }
    if (map->used + bytes + 1 > map->text_room) {
        map->text_room = 2 * (map->used + bytes + 1);
        map->text = memory_resize(map->text, map->text_room);
    }
}

WordEntry *word_map_add(WordMap *map, const void *word, size_t bytes) {
    const uint32_t hash = hash_of(word, bytes);
    make_room(map, bytes);
    int32_t *slot = slot_of(map, hash, word, bytes);
    if (*slot) return &map->entries[*slot - 1];
    map->entries[map->count] = (WordEntry){map->used, (uint32_t)bytes, hash, 0};
    memcpy(map->text + map->used, word, bytes);
    map->text[map->used + bytes] = '\0';
    map->used += bytes + 1;
    *slot = (int32_t)++map->count;
    return &map->entries[map->count - 1];
}

const WordEntry *word_map_find(const WordMap *map, const void *word, size_t bytes) {
    if (map->count == 0) return NULL;
    const int32_t slot = *slot_of(map, hash_of(word, bytes), word, bytes);
    return slot ? &map->entries[slot - 1] : NULL;
}

void word_map_free(WordMap *map) {
    free(map->entries);
    free(map->slots);
    free(map->text);
    *map = (WordMap){0};
}
