/* FNV-1a, 64 bits: of names and of data, where no one tries to find collisions. */
#ifndef LONGHAUL_HASH_H
#define LONGHAUL_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_START UINT64_C(0xCBF29CE484222325)

/* The hash goes on over the bytes; HASH_START begins one. */
static inline uint64_t hash_bytes(uint64_t hash, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const uint8_t *)data)[i]) * UINT64_C(0x100000001B3);
    return hash;
}

#endif
