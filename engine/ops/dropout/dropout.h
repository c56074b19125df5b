/* Dropout (Srivastava et al. 2014, inverted form): while training, each element is zero with
 * probability rate and divided by 1 - rate otherwise; outside training, the identity.
 *
 * Element i is kept when word i mod 4 of the random block i / 4 of (seed, stream "dropout" xor call
 * number, item run->pass) is below (1 - rate) 2^32. Backward draws the same words again, so nothing
 * is stored.
 *
 * Tied, whole features go (Tompson et al. 2015, arXiv 1411.4280, section 3.2): of x (.., L, D),
 * seen as (B, L, D), channel d of sequence b is kept at all L positions or at none, by word d mod 4
 * of block b ceil(D / 4) + d / 4. */
#ifndef LONGHAUL_DROPOUT_H
#define LONGHAUL_DROPOUT_H

#include "engine/random.h"
#include "engine/tape.h"

typedef struct Dropout {
    double rate; /* 0 <= rate < 1 */
    bool tied;   /* over the last extent but one */
} Dropout;

extern const Op op_dropout;

/* Rate 0 records nothing and returns x. */
Tensor *dropout(Tape *tape, Tensor *x, double rate);
/* The same for all positions of a sequence: x (.., L, D). */
Tensor *dropout_tied(Tape *tape, Tensor *x, double rate);

/* Key of the call's random words, and the bound below which a word keeps its element. */
static inline void dropout_key(const OpCall *call, const Run *run, uint32_t key[2]) {
    random_key(run->seed, random_stream("dropout") ^ (uint64_t)call->number, key);
}

/* Blocks of random words of a sequence whose mask is tied. */
static inline int64_t dropout_blocks(int64_t channels) {
    return (channels + 3) / 4;
}

static inline uint32_t dropout_bound(const Dropout *attributes) {
    const double bound = (1 - attributes->rate) * 0x1p32;
    return bound < 0xFFFFFFFFp0 ? (uint32_t)bound : 0xFFFFFFFFu;
}

#endif
