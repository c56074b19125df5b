/* Numbers as people read them: three significant digits and a unit. */
#ifndef LONGHAUL_FORMAT_H
#define LONGHAUL_FORMAT_H

#include <stddef.h>

typedef enum NumberFormat {
    NUMBER_PLAIN,   /* 4 significant digits: "0.9931", "12.3" */
    NUMBER_SHARE,   /* 3 decimals, for values in 0..1: "0.993" */
    NUMBER_COUNT,   /* "131072", from a million on "1.05 M" */
    NUMBER_SI,      /* "1.60 T", "870 k" */
    NUMBER_BYTES,   /* "512 B", "1.25 MiB" */
    NUMBER_SECONDS, /* "3.10 ms", "12.5 s", "4 min 05 s", "2 h 07 min" */
    NUMBER_EXACT,   /* 9 significant digits, for programs */
} NumberFormat;

/* Not-a-number becomes "-". text holds at least 24 bytes. */
void format_number(NumberFormat format, double value, char *text, size_t size);

#endif
