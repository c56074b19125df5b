#include "engine/word.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST = 63 };

static int smaller(int a, int b) {
    return a < b ? a : b;
}

int word_distance(const char *a, const char *b) {
    const int m = (int)strnlen(a, LONGEST), n = (int)strnlen(b, LONGEST);
    int rows[3][LONGEST + 1]; /* the last two rows of the table and the one in work */
    for (int j = 0; j <= n; j++) rows[0][j] = j;
    for (int i = 1; i <= m; i++) {
        int *now = rows[i % 3];
        const int *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= n; j++) {
            const int change = a[i - 1] != b[j - 1];
            now[j] = smaller(smaller(last[j] + 1, now[j - 1] + 1), last[j - 1] + change);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = smaller(now[j], before[j - 2] + 1);
        }
    }
    return rows[m % 3][n];
}

/* A word selects itself, also one that reads as a pattern: "xlstm[1:0]". */
static bool is_meant(const char *pattern, const char *word) {
    return strcmp(pattern, word) == 0 || fnmatch(pattern, word, 0) == 0;
}

bool word_selected(const char *patterns, const char *word) {
    if (!patterns || !*patterns) return true;
    bool wanted = false, any_plain = false;
    char pattern[256];
    for (const char *next = patterns; next;) {
        const char *comma = strchr(next, ',');
        const size_t length = comma ? (size_t)(comma - next) : strlen(next);
        snprintf(pattern, sizeof pattern, "%.*s", (int)length, next);
        next = comma ? comma + 1 : NULL;
        if (pattern[0] == '!') {
            if (is_meant(pattern + 1, word)) return false;
        } else if (pattern[0]) {
            any_plain = true;
            wanted |= is_meant(pattern, word);
        }
    }
    return wanted || !any_plain;
}

void nearest_offer(Nearest *nearest, const char *candidate) {
    const int distance = word_distance(nearest->wanted, candidate);
    if (nearest->word && distance >= nearest->distance) return;
    nearest->word = candidate;
    nearest->distance = distance;
}

void nearest_advice(const Nearest *nearest, char *text, size_t bytes) {
    /* A third of the letters wrong is still a slip; more is another word. */
    const int slip = 1 + (int)strlen(nearest->wanted) / 3;
    if (nearest->word && nearest->distance <= slip)
        snprintf(text, bytes, "; did you mean '%s'?", nearest->word);
    else if (bytes)
        text[0] = '\0';
}
