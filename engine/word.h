/* Words that a user mistyped, and the known word that was probably meant. */
#ifndef LONGHAUL_WORD_H
#define LONGHAUL_WORD_H

#include <stdbool.h>
#include <stddef.h>

/* Edit distance: insertions, deletions, substitutions and swaps of neighbours (optimal string
 * alignment; Damerau 1964). Words longer than 63 characters are compared by their start. */
int word_distance(const char *a, const char *b);

/* True when the shell-like pattern list "mamba*,!mamba2,s4" lets word through: some plain pattern
 * fits (or there is none) and no pattern after '!' does. NULL and "" let everything through. */
bool word_selected(const char *patterns, const char *word);

/* Collects candidates and keeps the nearest one. */
typedef struct Nearest {
    const char *wanted, *word; /* word: nearest candidate so far, NULL before the first */
    int distance;
} Nearest;

void nearest_offer(Nearest *nearest, const char *candidate);

/* "; did you mean 'width'?" when a candidate is near enough to be a slip, otherwise "". */
void nearest_advice(const Nearest *nearest, char *text, size_t bytes);

#endif
