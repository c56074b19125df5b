/* `longhaul speed`: whole models over widths and lengths, or over batches of prompts. */
#ifndef LONGHAUL_SPEED_GRID_H
#define LONGHAUL_SPEED_GRID_H

#include <stdio.h>

#include "bench/speed/speed.h"
#include "engine/ceiling.h"

typedef struct SpeedRow {
    char model[64];
    int64_t width,
        length;    /* length 0 until measured: the task's own. Of a generation: the prompt's */
    int64_t batch; /* sequences of a generation; 0: a training step's own */
    Speed speed;
    char skipped[1024]; /* why it was not measured; "" when it was */
} SpeedRow;

typedef struct SpeedReport {
    int threads;
    char gpu[256];     /* the GPU in words; "": the processor */
    int64_t generated; /* tokens after each prompt; 0: training steps, prefill and decoding */
    Products products;
    Ceiling ceiling;
    char task[64], setting[256]; /* what the user set beside models, widths and lengths */
    char against[64];            /* the model that crossovers are sought with */
    SpeedRow *rows;              /* by model, width, length */
    int count;
} SpeedReport;

typedef struct SpeedRequest {
    const char *models;       /* pattern */
    const char *against;      /* a model's name */
    const char *device;       /* its name */
    const Settings *settings; /* key=value; width and length may be lists, of a generation batch */
    int threads;
    int64_t generate; /* tokens after each prompt; 0: training steps */
    double seconds, limit;
    bool progress;
    void (*row_done)(const SpeedReport *report, const SpeedRow *row); /* NULL: nobody waits */
} SpeedRequest;

/* A case that does not fit in memory, takes too long or is refused becomes a skipped row with its
 * reason. STATUS_USAGE when nothing is selected or nothing could be measured (then with the first
 * reason), STATUS_INTERRUPTED with the rows so far. Free in any case. */
Status speed_grid(SpeedReport *report, const SpeedRequest *request, Error *error);
void speed_report_free(SpeedReport *report);

/* Whether rows of such a report have times of the phase. */
bool speed_has_phase(const SpeedReport *report, SpeedPhase phase);

/* Length from which on a token of the model is cheaper than one of report->against, between two
 * measured lengths on logarithmic axes. 0: at every measured length; infinite: at none of the
 * longest; not-a-number: fewer than two lengths measured for both, or not a step's phase. */
double speed_crossover(const SpeedReport *report, const char *model, int64_t width,
                       SpeedPhase phase);

/* The peak: multiply-adds, or what a GPU's tensor cores do with such products. FLOP/s. */
double speed_peak(const SpeedReport *report);

/* Share of the peak that the training step reaches with its model FLOPs. */
double speed_utilisation(const SpeedReport *report, const SpeedRow *row);

/* ---- output ---- */

void speed_print_heading(const SpeedReport *report, FILE *out);
void speed_print_row(const SpeedReport *report, const SpeedRow *row, FILE *out);
void speed_print_crossovers(const SpeedReport *report, FILE *out);
void speed_csv(const SpeedReport *report, FILE *out);

/* The same of a generation, bench/speed/speed_generation_print.c. */
void speed_generation_heading(FILE *out);
void speed_generation_row(const SpeedReport *report, const SpeedRow *row, FILE *out);
void speed_generation_csv(const SpeedReport *report, FILE *out);

/* All samples, as bench/speed/measured.h reads them; "-": standard output. STATUS_IO. */
Status speed_write(const SpeedReport *report, const char *path, Error *error);

#endif
