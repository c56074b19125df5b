/* The papers' numbers (results/published), read so that they can be laid beside our own. */
#ifndef LONGHAUL_PUBLISHED_H
#define LONGHAUL_PUBLISHED_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/status.h"

enum { PUBLISHED_NEEDS = 48 };

/* Sizes that a source can state, each a setting of ours but the last. */
typedef enum PublishedFact {
    FACT_WIDTH,
    FACT_LAYERS,
    FACT_LENGTH,
    FACT_PAIRS,
    FACT_VOCABULARY,
    FACT_SYMBOLS,  /* tokens to keep, of selective copying */
    FACT_ALPHABET, /* different symbols, of copying */
    FACT_LATENTS,  /* of Perceiver AR */
    FACT_PARAMETERS,
    FACTS
} PublishedFact;

/* A size as it is stated, and the numbers that can be meant; all 0 where the source is silent. */
typedef struct PublishedSize {
    int64_t stated, least, most;
} PublishedSize;

/* Which part of a sequence a position sees. */
typedef enum PublishedReading { READS_UNSTATED, READS_CAUSALLY, READS_BOTH_WAYS } PublishedReading;

typedef struct PublishedPoint {
    char task[48];     /* in our spelling, as published_name writes it */
    char metric[32];   /* ours: "accuracy" or "perplexity" */
    char unit[8];      /* perplexity: of a token of unit=byte, word or bpe; else "" */
    char citation[96]; /* "Arora et al. 2023 (Zoology), arXiv 2312.04927, Fig. 2" */
    char model[48];    /* our name of the architecture, or theirs in our spelling */
    char theirs[64];   /* their name of it, which tells two lines of a table apart */
    /* Settings that make ours the variant they mean, as published_model writes them. */
    char needs[PUBLISHED_NEEDS];
    PublishedReading reading;
    PublishedSize facts[FACTS];
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

/* Every row of the file on the test accuracy or test perplexity of `task` (NULL: of any), in its
 * order. Rows that state neither a number nor a failure are left out, and perplexities that do not
 * say of what token. STATUS_DATA for a file that cannot be
 * read. Free in any case.
 */
Status published_read(const char *path, const char *task, Published *published, Error *error);
void published_free(Published *published);

/* Numbers beside the words of the sources: "d_model 64, 2 layers", "length 64, kv pairs 4", "137K".
 * A range ("len<=40", "40..256", "64/128") states no single number and counts as silence. */
void published_facts(const char *params, const char *setting, PublishedSize facts[FACTS]);

/* The file that a suite names, below results/published; "" has no points. Free in any case. */
Status published_open(const char *file, Published *published, Error *error);

/* Our spelling of a source's name of a task: "Selective copying" -> "selectivecopy". */
void published_name(const char *theirs, char ours[48]);
/* Of an architecture: "Full attention" -> "transformer"; one that we do not have, or that is
 * another than ours, keeps theirs without case and signs. needs: "key=value key=value" that ours
 * must have to be the variant ("S4D-LegS" -> "s4d" and "init=legs", "xLSTM[1:0]" -> "xlstm" and
 * "blocks=1:0"),
 * "" for nothing, or "[words]" for a variant that ours cannot be. */
void published_model(const char *theirs, char ours[48], char needs[PUBLISHED_NEEDS]);

#endif
