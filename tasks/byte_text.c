#include "tasks/byte_text.h"

#include <stdio.h>

int32_t byte_tokens(const uint8_t *bytes, int64_t count, int64_t length, int32_t *tokens) {
    const int64_t kept = count < length ? count : length;
    for (int64_t t = 0; t < kept; t++) tokens[t] = bytes[t] + 1;
    for (int64_t t = kept; t < length; t++) tokens[t] = 0;
    return (int32_t)kept;
}

void byte_spell(const void *options, const void *data, int64_t id, char text[TASK_SPELL_BYTES]) {
    (void)options, (void)data;
    const int byte = (int)id - 1;
    if (byte < 0)
        snprintf(text, TASK_SPELL_BYTES, ".");
    else if (byte == '\n')
        snprintf(text, TASK_SPELL_BYTES, "\\n");
    else if (byte == '\t')
        snprintf(text, TASK_SPELL_BYTES, "\\t");
    else if (byte == ' ')
        snprintf(text, TASK_SPELL_BYTES, "_");
    else if (byte > ' ' && byte < 127)
        snprintf(text, TASK_SPELL_BYTES, "%c", byte);
    else
        snprintf(text, TASK_SPELL_BYTES, "\\x%02X", (unsigned)byte);
}
