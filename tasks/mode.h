/* The most frequent of some symbols, kept up to date as they come. */
#ifndef LONGHAUL_MODE_H
#define LONGHAUL_MODE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Mode {
    int32_t symbol; /* one of them where several tie */
    int64_t count;
    bool tied;
} Mode;

/* counts: how often each symbol came before, by symbol. */
static inline void mode_add(Mode *mode, int64_t *counts, int32_t symbol) {
    const int64_t count = ++counts[symbol];
    if (count >= mode->count) *mode = (Mode){symbol, count, count == mode->count};
}

#endif
