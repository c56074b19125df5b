/* Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random
 * numbers: as easy as 1, 2, 3", section 3.3). Every number has an address (seed, stream, item,
 * draw), so it can be produced without producing the ones before it, on any thread and any device.
 */
#ifndef LONGHAUL_RANDOM_H
#define LONGHAUL_RANDOM_H

#include <stdint.h>

/* One Philox4x32-10 block: key and counter to four words. */
void philox(const uint32_t key[2], const uint32_t counter[4], uint32_t out[4]);

/* Stream number of a name ("weights/layers.0.q", "task/mqar/train", "dropout"): FNV-1a, 64 bits. */
uint64_t random_stream(const char *name);

/* A key from (seed, stream): one mixing round each way, so that neighbours differ in all bits. */
void random_key(uint64_t seed, uint64_t stream, uint32_t key[2]);

/* Sequential reader of the draws of one item. Copying the struct forks it. */
typedef struct Random {
    uint32_t key[2];
    uint64_t item;  /* counter words 2 and 3 */
    uint64_t block; /* counter words 0 and 1: next block to draw */
    uint32_t words[4];
    int left; /* unread words */
} Random;

Random random_open(uint64_t seed, uint64_t stream, uint64_t item);
uint32_t random_u32(Random *random);
uint64_t random_below(Random *random, uint64_t n); /* uniform on 0..n-1, no bias; n > 0 */
double random_real(Random *random);                /* uniform on [0, 1), 53 bits */
double random_normal(Random *random);              /* mean 0, variance 1 */

#endif
