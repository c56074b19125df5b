#include "tasks/listops_tree.h"

#include <stdbool.h>
#include <stdlib.h>

#include "tasks/sampling.h"

static void sort(int32_t *values, int64_t count) {
    for (int64_t i = 1; i < count; i++) {
        const int32_t value = values[i];
        int64_t j = i;
        for (; j > 0 && values[j - 1] > value; j--) values[j] = values[j - 1];
        values[j] = value;
    }
}

int32_t listops_apply(int32_t operation, int32_t *arguments, int64_t count) {
    if (operation == LISTOPS_SM) {
        int64_t sum = 0;
        for (int64_t i = 0; i < count; i++) sum += arguments[i];
        return (int32_t)(sum % 10);
    }
    sort(arguments, count);
    if (operation == LISTOPS_MIN) return arguments[0];
    if (operation == LISTOPS_MAX) return arguments[count - 1];
    return (arguments[(count - 1) / 2] + arguments[count / 2]) / 2;
}

typedef struct Growth {
    const ListopsGrammar *grammar;
    Random *random;
    int32_t *tokens;
    int64_t length;
    bool too_long;
} Growth;

static void push(Growth *growth, int32_t token) {
    if (growth->length + 1 >= growth->grammar->longest)
        growth->too_long = true; /* will be refused, so the rest need not be drawn */
    else
        growth->tokens[growth->length++] = token;
}

static int32_t draw_node(Growth *growth, int64_t depth) {
    Random *random = growth->random;
    if (depth >= growth->grammar->depth || random_below(random, 4) != 0) {
        const int32_t digit = (int32_t)random_below(random, 10);
        push(growth, LISTOPS_DIGIT + digit);
        return digit;
    }
    const int32_t operation = LISTOPS_MIN + (int32_t)random_below(random, 4);
    const int64_t count =
        2 + (int64_t)random_below(random, (uint64_t)growth->grammar->arguments - 1);
    int32_t arguments[LISTOPS_MOST_ARGUMENTS];
    push(growth, operation);
    for (int64_t i = 0; i < count && !growth->too_long; i++)
        arguments[i] = draw_node(growth, depth + 1);
    push(growth, LISTOPS_CLOSE);
    return growth->too_long ? 0 : listops_apply(operation, arguments, count);
}

/* One try; whether the expression has a length that is wanted. */
static bool attempt(Growth *growth, int32_t *value) {
    growth->length = 0;
    growth->too_long = false;
    *value = draw_node(growth, 1);
    return !growth->too_long && growth->length > growth->grammar->shortest;
}

int64_t listops_draw(const ListopsGrammar *grammar, Random *random, int32_t *tokens,
                     int32_t *value) {
    Growth growth = {.grammar = grammar, .random = random, .tokens = tokens};
    while (!attempt(&growth, value)) continue;
    return growth.length;
}

bool listops_comes(const ListopsGrammar *grammar) {
    enum { TRIES = 64, TOKENS = 1 << 22 };
    Random random = random_open(0, random_stream("task/listops/comes"), 0);
    int32_t *tokens = scratch_open((size_t)grammar->longest * sizeof *tokens), value;
    Growth growth = {.grammar = grammar, .random = &random, .tokens = tokens};
    const int64_t most = TOKENS + TRIES * grammar->longest;
    bool comes = false;
    for (int64_t spent = 0; spent < most && !comes; spent += growth.length + 1)
        comes = attempt(&growth, &value);
    free(tokens);
    return comes;
}
