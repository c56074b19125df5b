/* What a terminal can show: lines that are written over, and how long they may be. */
#ifndef LONGHAUL_TERMINAL_H
#define LONGHAUL_TERMINAL_H

#include <stdbool.h>

/* Whether a line there can be written over: a terminal, and TERM neither missing nor "dumb". */
bool terminal_rewrites(int descriptor);

/* Columns of the terminal: $COLUMNS, what it says itself, or as many as given. */
int terminal_columns(int descriptor, int otherwise);

/* Writes over the last line of standard error, and cuts the text to its width: a line that wraps
 * could not be written over. An empty text clears it. */
void terminal_status(const char *text);

#endif
