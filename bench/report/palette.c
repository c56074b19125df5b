#include "bench/report/palette.h"

#include <stdbool.h>
#include <string.h>

#include "models/model.h"

/* Hues that stay apart under the common kinds of colour blindness: Okabe and Ito (2008), with Tol's
 * wine in place of their yellow, which is too light for a line on white. */
static const char *const colours[] = {"#000000", "#0072B2", "#D55E00", "#009E73",
                                      "#CC79A7", "#E69F00", "#56B4E9", "#882255"};
enum { COLOURS = sizeof colours / sizeof *colours };

static const struct {
    int filled, open;
} markers[] = {{7, 6}, {5, 4}, {9, 8}, {13, 12}, {11, 10}, {15, 14}};
enum { MARKERS = sizeof markers / sizeof *markers };

static const int dashes[] = {1, 2, 4, 5};

/* The first eight have a colour each; those that figures show together most often come first. A
 * name keeps its place for ever: figures of different years stay comparable. */
static const char *const names[] = {
    "transformer",
    "hyena",
    "mamba",
    "s4d",
    "lstm",
    "h3",
    "s4",
    "rwkv4",
    "linear_attention",
    "s5",
    "mamba2",
    "dss",
    "xlstm",
    "gss",
    "mega",
    "ttt_linear",
    "retnet",
    "delta_net",
    "gla",
    "liquid_s4",
    "bigs",
    "ckconv",
    "transformer_xl",
    "sparse_transformer",
    "perceiver",
    "hippo",
    "gru",
    "ttt_mlp",
    "based",
    "gated_delta_net",
    "griffin",
};
enum { NAMES = sizeof names / sizeof *names };
_Static_assert((int)NAMES <= (int)PALETTE_STYLES, "every known name has a style of its own");

const char *const *palette_names(int *count) {
    *count = NAMES;
    return names;
}

static int known_place(const char *model) {
    for (int i = 0; i < NAMES; i++) {
        if (!strcmp(names[i], model)) return i;
    }
    return -1;
}

int palette_slot(const char *model) {
    const int place = known_place(model);
    if (place >= 0) return place;
    int count, unknown = 0;
    const Model *const *models = model_list(&count);
    for (int i = 0; i < count && strcmp(models[i]->name, model) != 0; i++) {
        unknown += known_place(models[i]->name) < 0;
    }
    return (NAMES + unknown) % PALETTE_STYLES;
}

/* The slots of one colour are a cycle apart; another colour's are tried after them. */
static int free_slot(int first, const bool taken[PALETTE_STYLES]) {
    for (int i = 0; i < PALETTE_STYLES; i += COLOURS) {
        const int slot = (first + i) % PALETTE_STYLES;
        if (!taken[slot]) return slot;
    }
    for (int slot = 0; slot < PALETTE_STYLES; slot++)
        if (!taken[slot]) return slot;
    return first;
}

void palette_slots(const char *const *shown, const char *const *models, int count, int *slots) {
    bool taken[PALETTE_STYLES] = {false};
    for (int i = 0; i < count; i++) {
        slots[i] = palette_slot(models[i]);
        if (!strcmp(shown[i], models[i])) taken[slots[i]] = true;
    }
    for (int i = 0; i < count; i++) {
        if (!strcmp(shown[i], models[i])) continue;
        slots[i] = free_slot(slots[i], taken);
        taken[slots[i]] = true;
    }
}

LineStyle palette_style(int slot) {
    const int cycle = slot / COLOURS;
    /* Each cycle shifts the markers by one, so that no colour meets the same marker twice. */
    const int marker = (slot % COLOURS + cycle) % MARKERS;
    return (LineStyle){.colour = colours[slot % COLOURS],
                       .filled = markers[marker].filled,
                       .open = markers[marker].open,
                       .dash = dashes[cycle % 4]};
}
