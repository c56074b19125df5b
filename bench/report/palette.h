/* How an architecture looks, the same in every figure. */
#ifndef LONGHAUL_PALETTE_H
#define LONGHAUL_PALETTE_H

/* Numbers are gnuplot's: point types and dash types. */
typedef struct LineStyle {
    const char *colour; /* "#rrggbb" */
    int filled, open;   /* marker of our own points, and the same outline for published ones */
    int dash;           /* 1 solid, 2 dashed, 4 dash-dot; dots (3) are kept for published lines */
} LineStyle;

/* Number of styles that differ in colour or marker. */
enum { PALETTE_STYLES = 32 };

/* Style number of an architecture: its place in the palette's list of known names; one that is not
 * in that list gets a place after them, by the order of the model list. */
int palette_slot(const char *model);
LineStyle palette_style(int slot);

/* Styles for `count` names that are shown together, models[i] the architecture of shown[i]. An
 * architecture under its own name has its own style; a kind of it has its colour with another
 * marker as long as no one else has that, and then the first style that is free. */
void palette_slots(const char *const *shown, const char *const *models, int count, int *slots);

/* Known names, in the order of their styles. */
const char *const *palette_names(int *count);

#endif
