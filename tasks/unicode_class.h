/* What kind of character a code point is, as regular expressions tell letters (\p{L}), numbers
 * (\p{N}) and spaces (\s) apart. */
#ifndef LONGHAUL_UNICODE_CLASS_H
#define LONGHAUL_UNICODE_CLASS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum UnicodeClass {
    UNICODE_OTHER,
    UNICODE_LETTER,
    UNICODE_NUMBER,
    UNICODE_SPACE
} UnicodeClass;

UnicodeClass unicode_class(uint32_t character);

#endif
