#include "engine/shape_text.h"

#include <inttypes.h>
#include <stdio.h>

void shape_text(const Shape *shape, char text[SHAPE_TEXT_BYTES]) {
    size_t length = (size_t)snprintf(text, SHAPE_TEXT_BYTES, "(");
    for (int i = 0; i < shape->rank && length < SHAPE_TEXT_BYTES; i++)
        length += (size_t)snprintf(text + length, SHAPE_TEXT_BYTES - length, "%s%" PRId64,
                                   i ? ", " : "", shape->extent[i]);
    if (length < SHAPE_TEXT_BYTES) snprintf(text + length, SHAPE_TEXT_BYTES - length, ")");
}
