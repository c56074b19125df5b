/* Expressions of ListOps: drawing, reading and evaluating them. */
#ifndef LONGHAUL_LISTOPS_TREE_H
#define LONGHAUL_LISTOPS_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/random.h"
#include "engine/status.h"
#include "tasks/data.h"

/* Ids of tokens; 0 is the pad, digit d is LISTOPS_DIGIT + d. */
enum {
    LISTOPS_DIGIT = 1,
    LISTOPS_MIN = 11,
    LISTOPS_MAX,
    LISTOPS_MED,
    LISTOPS_SM,
    LISTOPS_CLOSE,
    LISTOPS_IDS
};
enum { LISTOPS_MOST_ARGUMENTS = 64 };

/* Value of an operator over its arguments (sorted in place), 0 .. 9. */
int32_t listops_apply(int32_t operation, int32_t *arguments, int64_t count);

typedef struct ListopsGrammar {
    int64_t shortest, longest; /* length of an expression lies strictly between the two */
    int64_t depth, arguments;  /* at most */
} ListopsGrammar;

/* Whether some millions of tokens have an expression of a wanted length among them; where not,
 * listops_draw would take about a second for each, or for ever. */
bool listops_comes(const ListopsGrammar *grammar);

/* One expression by the grammar's law into tokens (room for longest); returns its length. */
int64_t listops_draw(const ListopsGrammar *grammar, Random *random, int32_t *tokens,
                     int32_t *value);

/* Reads a file of the released format (header, Source <tab> Target, lines LF or CRLF; parentheses
 * are dropped). Every expression is evaluated: STATUS_DATA with file and line for one that is
 * malformed, longer than most, or whose answer is wrong. */
Status listops_read(const char *path, int64_t most, Records *records, Error *error);

#endif
