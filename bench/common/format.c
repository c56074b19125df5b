#include "bench/common/format.h"

#include <math.h>
#include <stdio.h>

/* Three significant digits of a value below 1000: "1.60", "16.0", "160". */
static void digits(double value, const char *unit, char *text, size_t size) {
    const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    snprintf(text, size, "%.*f%s%s", decimals, value, *unit ? " " : "", unit);
}

/* Divides by step until three digits are left, and takes the unit of that many divisions. */
static void scaled(double value, double step, const char *const *units, int count, char *text,
                   size_t size) {
    int unit = 0;
    for (; value >= 999.5 && unit < count - 1; unit++) value /= step;
    digits(value, units[unit], text, size);
}

static void exact(double value, char *text, size_t size) {
    snprintf(text, size, "%.9g", value);
}

static void plain(double value, char *text, size_t size) {
    snprintf(text, size, "%.4g", value);
}

static void share(double value, char *text, size_t size) {
    snprintf(text, size, "%.3f", value);
}

static void si(double value, char *text, size_t size) {
    static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};
    if (value < 1000) {
        snprintf(text, size, "%.3g", value);
    } else {
        scaled(value, 1000, units, 7, text, size);
    }
}

static void count(double value, char *text, size_t size) {
    if (value < 1e6) {
        snprintf(text, size, "%.0f", value);
    } else {
        si(value, text, size);
    }
}

static void bytes(double value, char *text, size_t size) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    if (value < 1000) {
        snprintf(text, size, "%.0f B", value);
    } else {
        scaled(value, 1024, units, 5, text, size);
    }
}

static void seconds(double value, char *text, size_t size) {
    if (value < 999.5e-6) {
        digits(value * 1e6, "us", text, size);
    } else if (value < 0.9995) {
        digits(value * 1e3, "ms", text, size);
    } else if (value < 119.5) {
        digits(value, "s", text, size);
    } else if (value < 7199.5) {
        const long whole = lround(value);
        snprintf(text, size, "%ld min %02ld s", whole / 60, whole % 60);
    } else {
        const long minutes = lround(value / 60);
        snprintf(text, size, "%ld h %02ld min", minutes / 60, minutes % 60);
    }
}

void format_number(NumberFormat format, double value, char *text, size_t size) {
    static void (*const formats[])(double, char *, size_t) = {
        [NUMBER_PLAIN] = plain, [NUMBER_SHARE] = share, [NUMBER_COUNT] = count,
        [NUMBER_SI] = si,       [NUMBER_BYTES] = bytes, [NUMBER_SECONDS] = seconds,
        [NUMBER_EXACT] = exact,
    };
    if (isnan(value)) {
        snprintf(text, size, "-");
    } else {
        formats[format](value, text, size);
    }
}
