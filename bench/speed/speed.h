/* `longhaul speed`, one case: a training step (forward, backward, clip, AdamW), the forward pass
 * over a prompt and the decoding of one token; or the generation of tokens after prompts, for one
 * cell's settings. */
#ifndef LONGHAUL_SPEED_H
#define LONGHAUL_SPEED_H

#include "bench/cell/cell.h"
#include "bench/common/statistics.h"

typedef struct Timing {
    double *seconds; /* samples, of one piece of work */
    int count;       /* 0: not measured */
    double tokens;   /* of one piece of work */
    double median;
    Interval interval; /* 95 %, of the median */
} Timing;

/* What is timed. */
typedef enum SpeedPhase {
    SPEED_TRAIN,    /* one optimiser step of the whole batch */
    SPEED_PREFILL,  /* one replay of an evaluation, prediction only */
    SPEED_DECODE,   /* the last token of one sequence; not measured without a one-token form. Of a
                     * generation: all tokens but the first, of all sequences */
    SPEED_GENERATE, /* prompts and all tokens that follow */
    SPEED_PHASES
} SpeedPhase;

extern const char *const speed_phase_names[SPEED_PHASES]; /* "train", "prefill", ... */

typedef struct Speed {
    Timing phase[SPEED_PHASES];
    int task_version;
    int64_t batch, micro_batch, parameters;
    int64_t length;         /* of a sequence; of a generation's prompt */
    double flops;           /* model FLOPs of the training step, of the generation */
    double overhead;        /* share of the training step spent outside kernels; on a GPU, during
                             * which it had nothing to do */
    int64_t bytes;          /* planned peak */
    int64_t resident_bytes; /* largest resident set while it ran; 0: the system does not tell */
    int64_t device_bytes;   /* of a GPU's memory, as its driver counts them; 0 on the CPU */
    int64_t state_bytes;    /* carried per sequence while decoding, at its full length */
} Speed;

/* What a case may cost. */
typedef struct SpeedLimit {
    double seconds; /* to spend on each measurement */
    double step;    /* a training step, or generation, that is expected to take longer is refused */
    double rate;    /* FLOP/s that are expected of it */
} SpeedLimit;

/* STATUS_USAGE, with the reason, when the cell does not fit in memory or takes longer than the
 * limit. Free in any case. */
Status speed_measure(Speed *speed, const Cell *cell, int threads, const SpeedLimit *limit,
                     Error *error);

/* The same for a batch of prompts and `tokens` >= 1 tokens after each; the cell's length is that of
 * both. No weights are trained: any are as fast. */
Status speed_generate(Speed *speed, const Cell *cell, int threads, int64_t tokens,
                      const SpeedLimit *limit, Error *error);
void speed_free(Speed *speed);

/* Samples of one piece of work after a warm-up: for that many seconds, at least three, one where
 * the work takes long. recorded: the device records the work when it is done a second time. */
void timing_measure(Timing *timing, void (*work)(void *), void *context, bool recorded,
                    double seconds);

/* Seconds of one token; not-a-number when the phase was not measured. */
double speed_token_seconds(const Speed *speed, SpeedPhase phase);

#endif
