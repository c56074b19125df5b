#include "engine/random.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/hash.h"

void philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]) {
    uint32_t k0 = key[0], k1 = key[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        const uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t next0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        const uint32_t next2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = next0;
        c2 = next2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t random_stream(const char *name) {
    return hash_bytes(HASH_START, name, strlen(name));
}

/* The finaliser of SplitMix64: a bijection, so distinct inputs keep distinct outputs. */
static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

void random_key(uint64_t seed, uint64_t stream, uint32_t key[2]) {
    const uint64_t mixed = mix(mix(seed + 0x9E3779B97F4A7C15u) ^ stream);
    key[0] = (uint32_t)mixed;
    key[1] = (uint32_t)(mixed >> 32);
}

Random random_open(uint64_t seed, uint64_t stream, uint64_t item) {
    Random random = {.item = item};
    random_key(seed, stream, random.key);
    return random;
}

uint32_t random_u32(Random *random) {
    if (random->left == 0) {
        const uint32_t counter[4] = {(uint32_t)random->block, (uint32_t)(random->block >> 32),
                                     (uint32_t)random->item, (uint32_t)(random->item >> 32)};
        philox(random->key, counter, random->words);
        random->block++;
        random->left = 4;
    }
    return random->words[4 - random->left--];
}

static uint64_t random_u64(Random *random) {
    const uint64_t high = random_u32(random);
    return high << 32 | random_u32(random);
}

uint64_t random_below(Random *random, uint64_t n) {
    assert(n > 0);
    if (n <= UINT32_MAX) {
        /* Lemire's multiply-and-reject: the rejected fringe is 2^32 mod n. */
        const uint32_t bound = (uint32_t)n;
        const uint32_t fringe = (uint32_t)(-bound) % bound;
        for (;;) {
            const uint64_t product = (uint64_t)random_u32(random) * bound;
            if ((uint32_t)product >= fringe) return product >> 32;
        }
    }
    const uint64_t limit = UINT64_MAX - UINT64_MAX % n;
    for (;;) {
        const uint64_t draw = random_u64(random);
        if (draw < limit) return draw % n;
    }
}

double random_real(Random *random) {
    return (double)(random_u64(random) >> 11) * 0x1p-53;
}

double random_normal(Random *random) {
    const double u = 1.0 - random_real(random);
    const double v = random_real(random);
    return sqrt(-2.0 * log(u)) * cos(2 * M_PI * v);
}
