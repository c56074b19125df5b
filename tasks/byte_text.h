/* Text as a sequence of bytes: id 0 is the pad, byte b is b + 1. */
#ifndef LONGHAUL_BYTE_TEXT_H
#define LONGHAUL_BYTE_TEXT_H

#include <stdint.h>

#include "tasks/task.h"

enum { BYTE_IDS = 257 };

/* The first bytes of a text as ids, then pads up to `length`. Returns how many bytes there were. */
int32_t byte_tokens(const uint8_t *bytes, int64_t count, int64_t length, int32_t *tokens);

/* For Task.spell: the character itself, or \n, \t, \xE2; "." for the pad. */
void byte_spell(const void *options, const void *data, int64_t id, char text[TASK_SPELL_BYTES]);

#endif
