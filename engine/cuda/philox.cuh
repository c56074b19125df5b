/* Philox4x32-10 and the keys of streams, word for word those of engine/random.c. */
#ifndef LONGHAUL_CUDA_PHILOX_H
#define LONGHAUL_CUDA_PHILOX_H

#include "engine/cuda/grid.cuh"

__device__ static inline void philox_block(const uint32_t key[2], const uint32_t counter[4],
                                           uint32_t out[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

__device__ static inline uint64_t philox_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* random_stream: FNV-1a of the name. */
static constexpr uint64_t stream_number(const char *name) {
    uint64_t hash = 0xCBF29CE484222325u;
    for (const char *c = name; *c; c++) {
        hash ^= (uint8_t)*c;
        hash *= 0x100000001B3u;
    }
    return hash;
}

/* random_key: on the device, because a recorded replay reads its seed there. */
__device__ static inline void philox_key(uint64_t seed, uint64_t stream, uint32_t key[2]) {
    const uint64_t mixed = philox_mix(philox_mix(seed + 0x9E3779B97F4A7C15u) ^ stream);
    key[0] = (uint32_t)mixed;
    key[1] = (uint32_t)(mixed >> 32);
}

#endif
