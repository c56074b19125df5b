/* The papers' numbers (results/published), read so that they can be laid beside our own. */
#ifndef LONGHAUL_PUBLISHED_H
#define LONGHAUL_PUBLISHED_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/status.h"

/* What a row's params and setting say; 0 where they say nothing. */
typedef struct PublishedFacts {
    int64_t width, layers, length, pairs, vocabulary;
} PublishedFacts;

typedef struct PublishedPoint {
    char task[48];     /* in our spelling, as published_name writes it */
    char metric[32];   /* ours: "accuracy" or "perplexity" */
    char unit[8];      /* perplexity: unit=byte, word or bpe, or "" where it does not matter */
    char citation[96]; /* "Arora et al. 2023 (Zoology), arXiv 2312.04927, Fig. 2" */
    char model[48];    /* our name of the architecture, or theirs in our spelling */
    char variant[16]; /* what they put behind it in brackets, "1:0" of xLSTM[1:0]; "" for nothing */
    PublishedFacts facts;
    double state_bytes;  /* that a sequence carries from token to token; 0: not stated */
    int64_t test_length; /* trained at another length and tested at this one; 0: not so */
    double value;        /* accuracy: 0..1; perplexity, also where the source has bits */
    bool failed;         /* tried, and not above chance or out of memory; value: not-a-number */
    bool scaled;         /* (accuracy - chance) / (1 - chance) */
    bool approximate;
    bool uncertain; /* the model's name was hard to read and may be another's */
} PublishedPoint;

typedef struct Published {
    PublishedPoint *points;
    int count;
} Published;

/* Every row of the file on the accuracy or perplexity of `task` (NULL: of any), in its order. Rows
 * that state neither a number nor a failure are left out. STATUS_DATA for a file that cannot be
 * read. Free in any case.
 */
Status published_read(const char *path, const char *task, Published *published, Error *error);
void published_free(Published *published);

/* Numbers beside the words of the sources: "d_model 64, 2 layers", "length 64, kv pairs 4". A range
 * ("len<=40", "40..256", "64/128") states no single number and counts as silence. */
PublishedFacts published_facts(const char *params, const char *setting);

/* The file that a suite names, below results/published; "" has no points. Free in any case. */
Status published_open(const char *file, Published *published, Error *error);

/* Our spelling of a source's name of a task or architecture: "Full attention" -> "transformer",
 * "Mamba-2" -> "mamba2". */
void published_name(const char *theirs, char ours[48]);
/* The same for an architecture; one of ours has our name: "Liquid-S4" -> "liquid_s4". What stands
 * in brackets at the end goes into variant: "xLSTM[1:0]" -> "xlstm" and "1:0". */
void published_model(const char *theirs, char ours[48], char variant[16]);

#endif
