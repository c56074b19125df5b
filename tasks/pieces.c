#include "tasks/pieces.h"

#include <stdbool.h>
#include <string.h>

#include "tasks/unicode_class.h"

uint32_t character_at(const uint8_t *text, size_t count, int *size) {
    const uint8_t first = text[0];
    const int bytes = first < 0xC2 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 1;
    *size = 1;
    if (bytes == 1) return first < 0x80 ? first : UINT32_MAX;
    if (count < (size_t)bytes) return UINT32_MAX;
    uint32_t character = first & (0x7F >> bytes);
    for (int i = 1; i < bytes; i++) {
        if ((text[i] & 0xC0) != 0x80) return UINT32_MAX;
        character = character << 6 | (text[i] & 0x3F);
    }
    *size = bytes;
    return character;
}

static UnicodeClass class_at(const uint8_t *text, int64_t count, int *size) {
    return unicode_class(character_at(text, (size_t)count, size));
}

/* Bytes of the run of one class at the beginning; *last: size of its last character. */
static int64_t run_bytes(const uint8_t *text, int64_t count, UnicodeClass kind, int *last) {
    int64_t at = 0;
    int size;
    while (at < count && class_at(text + at, count - at, &size) == kind) {
        at += size;
        *last = size;
    }
    return at;
}

static int64_t suffix_bytes(const uint8_t *text, int64_t count) {
    static const char *const suffixes[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        const int64_t length = (int64_t)strlen(suffixes[i]);
        if (length <= count && memcmp(text, suffixes[i], (size_t)length) == 0) return length;
    }
    return 0;
}

int64_t piece_bytes(const uint8_t *text, int64_t count) {
    int size, last = 0;
    const int64_t suffix = suffix_bytes(text, count);
    if (suffix > 0) return suffix;
    /* A blank goes with what follows it, unless that is another space. */
    const int64_t blank = text[0] == ' ' && count > 1 ? 1 : 0;
    const UnicodeClass kind = class_at(text + blank, count - blank, &size);
    if (kind != UNICODE_SPACE) return blank + run_bytes(text + blank, count - blank, kind, &last);
    /* Spaces leave their last one to what follows, unless they are one or the end. */
    const int64_t spaces = run_bytes(text, count, UNICODE_SPACE, &last);
    return spaces == count || spaces == last ? spaces : spaces - last;
}
