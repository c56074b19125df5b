/* Options: one table describes the settings of a model, a task, the backbone or the runner.
 * Parsing, defaults, range checks, canonical printing (and so the identity of a cell), help and
 * listing all read the same table. Values live in a plain struct of the owner's; the table knows
 * the offsets. */
#ifndef LONGHAUL_OPTION_H
#define LONGHAUL_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/status.h"

typedef enum OptionType {
    OPTION_INTEGER, /* field: int64_t */
    OPTION_REAL,    /* field: double */
    OPTION_SWITCH,  /* field: bool; written yes or no */
    OPTION_CHOICE,  /* field: int, index into choices */
    OPTION_TEXT     /* field: char[OPTION_TEXT_BYTES] */
} OptionType;

enum { OPTION_TEXT_BYTES = 256 };

typedef struct Option {
    const char *name; /* the key a user types, lower case */
    OptionType type;
    size_t offset;        /* offsetof the field in the owner's struct */
    const char *standard; /* default value, as a user would type it */
    double minimum;       /* inclusive range of numbers; ignored when maximum < minimum */
    double maximum;
    const char *choices; /* OPTION_CHOICE: "learned|rotary|none" */
    const char *help;    /* one line, with the unit */
} Option;

typedef struct OptionTable {
    const Option *options;
    int count;
    size_t bytes; /* size of the struct that holds the values */
} OptionTable;

enum { OPTION_VALUE_BYTES = OPTION_TEXT_BYTES };

/* Zeroes the struct and sets every default. A default that does not parse is a programmer error. */
void option_defaults(const OptionTable *table, void *values);

/* Parses text into the field of key. Errors (STATUS_USAGE): unknown key (with the nearest known
 * one), wrong type, not finite, out of range, unknown choice. */
Status option_set(const OptionTable *table, void *values, const char *key, const char *text,
                  Error *error);

/* Canonical text of a value: two values are equal exactly when their texts are. Setting an option
 * to its text gives the same value. */
void option_text(const Option *option, const void *values, char text[OPTION_VALUE_BYTES]);

const Option *option_find(const OptionTable *table, const char *key);

/* The number as short as reads back to the same double: "0.001", "1.6e12", "128". */
enum { NUMBER_TEXT_BYTES = 32 };
void number_text(double value, char text[NUMBER_TEXT_BYTES]);

/* The whole of text as a finite decimal number; false for anything else (nan, 0x10, "1,5", ""). */
bool number_parse(const char *text, double *value);

#endif
