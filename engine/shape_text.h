/* A shape as messages show it. */
#ifndef LONGHAUL_SHAPE_TEXT_H
#define LONGHAUL_SHAPE_TEXT_H

#include "engine/tensor.h"

/* "(2, 16, 64)" */
enum { SHAPE_TEXT_BYTES = 128 };
void shape_text(const Shape *shape, char text[SHAPE_TEXT_BYTES]);

#endif
