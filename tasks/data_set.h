/* The public data sets that tasks read: where they come from, where they may lie, how whole files
 * are told from damaged ones. One table (tasks/data_set.c), sorted by name. */
#ifndef LONGHAUL_DATA_SET_H
#define LONGHAUL_DATA_SET_H

#include <stdbool.h>
#include <stdint.h>

enum { DATA_PLACES = 4, DATA_FILES = 8, DATA_ADDRESSES = 2 };

/* A file as published. */
typedef struct DataFile {
    const char *path;   /* below one of the set's folders; of a download: below the data folder */
    int64_t bytes;      /* 0: not known */
    const char *digest; /* "sha256:HEX" (tasks/digest.h); NULL: none published */
    bool folder;        /* path is a folder of files */
} DataFile;

/* A file to download; an archive is then read through its unpacked copy. */
typedef struct DataDownload {
    const char *addresses[DATA_ADDRESSES]; /* tried in order */
    DataFile file;
} DataDownload;

typedef struct DataSet {
    const char *name, *title;
    const char *terms;                  /* licence, as far as one is stated */
    const char *task, *settings;        /* what reads it: "lm", "corpus=enwik8" */
    const char *folders[DATA_PLACES];   /* below the data folder; the first is its own */
    DataFile files[DATA_FILES];         /* what the task needs */
    DataDownload downloads[DATA_FILES]; /* none: see bucket and note */
    const char *bucket;                 /* address of a storage bucket with the folders; or NULL */
    const char *note;                   /* more about getting it; "" */
    const char *stand_in;               /* generated, under its own name: "task=x"; NULL: none */
} DataSet;

const DataSet *data_set_list(int *count);
const DataSet *data_set_find(const char *name); /* NULL when there is none */

#endif
