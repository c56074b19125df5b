/* Dashes as patches of bytes. There are few different ones: a dash is fixed by the margin and by
 * where its end falls on the enlarged grid, so all are drawn once. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/memory.h"
#include "tasks/pathfinder.h"
#include "tasks/sampling.h"

int pathfinder_ceil(int coordinate, double displacement) {
    return (int)ceil(coordinate + displacement);
}

static int round_half_up(double x) {
    return x >= 0 ? (int)floor(x + 0.5) : -(int)floor(-x + 0.5);
}
static int round_half_down(double x) {
    return x >= 0 ? (int)ceil(x - 0.5) : -(int)ceil(-x - 0.5);
}

/* Bresenham from (x0, y0) to (x1, y1), both ends included. */
static void draw_thin(uint8_t *image, int side, int x0, int y0, int x1, int y1) {
    const int dx = abs(x1 - x0), dy = abs(y1 - y0);
    const int sx = x1 < x0 ? -1 : 1, sy = y1 < y0 ? -1 : 1;
    const int longer = dx > dy ? dx : dy, shorter = dx > dy ? dy : dx;
    int error = 2 * shorter - longer;
    for (int i = 0; i < longer; i++) {
        image[y0 * side + x0] = 255;
        if (error >= 0) {
            if (dx > dy)
                y0 += sy;
            else
                x0 += sx;
            error -= 2 * longer;
        }
        error += 2 * shorter;
        if (dx > dy)
            x0 += sx;
        else
            y0 += sy;
    }
    image[y1 * side + x1] = 255;
}

/* Pillow's wide line: a quadrilateral, filled row by row between its outermost crossings. */
static void draw_wide(uint8_t *image, int side, int x0, int y0, int x1, int y1, int width) {
    const int dx = x1 - x0, dy = y1 - y0;
    const double length = hypot(dx, dy), half = (width - 1) / 2.0;
    const double most = round_half_up(half) / length, least = round_half_down(half) / length;
    const int dx_least = round_half_down(least * dy), dx_most = round_half_down(most * dy);
    const int dy_least = round_half_down(least * dx), dy_most = round_half_down(most * dx);
    const int x[4] = {x0 - dx_least, x1 - dx_least, x1 + dx_most, x0 + dx_most};
    const int y[4] = {y0 + dy_most, y1 + dy_most, y1 - dy_least, y0 - dy_least};
    for (int row = 0; row < side; row++) {
        float left = INFINITY, right = -INFINITY;
        for (int i = 0; i < 4; i++) {
            const int j = (i + 1) % 4;
            if (row < (y[i] < y[j] ? y[i] : y[j]) || row > (y[i] > y[j] ? y[i] : y[j])) continue;
            const float slope = y[i] == y[j] ? 0 : (float)(x[j] - x[i]) / (float)(y[j] - y[i]);
            const float at = (float)(row - y[i]) * slope + (float)x[i];
            left = fminf(left, at);
            right = fmaxf(right, at);
            if (y[i] == y[j]) {
                left = fminf(left, (float)x[j]);
                right = fmaxf(right, (float)x[j]);
            }
        }
        if (left > right) continue;
        for (int c = round_half_up(left); c <= round_half_down(right); c++)
            image[row * side + c] = 255;
    }
}

/* Each pixel becomes the largest within the radius; outside is ignored. */
static void dilate(const uint8_t *image, int side, int radius, uint8_t *out) {
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++) {
            uint8_t largest = 0;
            for (int dy = -radius; dy <= radius; dy++)
                for (int dx = -radius; dx <= radius; dx++) {
                    const int v = y + dy, u = x + dx;
                    if (dy * dy + dx * dx > radius * radius) continue;
                    if (v < 0 || v >= side || u < 0 || u >= side) continue;
                    if (image[v * side + u] > largest) largest = image[v * side + u];
                }
            out[y * side + x] = largest;
        }
}

/* The offsets by which a first dash dilates a mask: its fully occupied pixels in a window of
 * length + margin around a point that lies one pixel up and left of the dash's start. */
static void fill_element(PathfinderPatch *patch, int radius, int reach) {
    bool quadrants[4] = {false};
    patch->top = patch->left = PATCH;
    patch->bottom = patch->right = -PATCH;
    for (int v = 0; v <= 2 * radius; v++)
        for (int u = 0; u <= 2 * radius; u++) {
            const int y = v - radius + 1, x = u - radius + 1;
            if (patch->mask[v][u] != 255 || abs(y) > reach || abs(x) > reach) continue;
            patch->element[patch->element_count][0] = (int8_t)y;
            patch->element[patch->element_count++][1] = (int8_t)x;
            if (y < patch->top) patch->top = y;
            if (y > patch->bottom) patch->bottom = y;
            if (x < patch->left) patch->left = x;
            if (x > patch->right) patch->right = x;
            for (int q = 0; q < 4; q++)
                quadrants[q] |= (q & 1 ? y >= 0 : y <= 0) && (q & 2 ? x >= 0 : x <= 0);
        }
    patch->seedable = quadrants[0] && quadrants[1] && quadrants[2] && quadrants[3];
}

typedef struct Easel {
    const PathfinderStyle *style;
    PathfinderTables *tables;
    Lanczos shrink;
    int side, middle;                   /* of the enlarged square */
    int index_of[PATCH * 2][PATCH * 2]; /* patch number by end point, 0: not drawn yet */
} Easel;

static void copy_patch(const uint8_t *from, int side, uint8_t to[PATCH][PATCH]) {
    for (int y = 0; y < side; y++) memcpy(to[y], from + y * side, (size_t)side);
}

/* The patch of a dash with this orientation, drawn when it is new. */
static int find_patch(Easel *easel, double angle) {
    PathfinderTables *tables = easel->tables;
    const double length = (double)(easel->style->paddle * ANTIALIAS);
    const int end_y = pathfinder_ceil(easel->middle, length * sin(angle));
    const int end_x = pathfinder_ceil(easel->middle, length * cos(angle));
    int *index = &easel->index_of[end_y][end_x];
    if (*index > 0) return *index - 1;
    *index = ++tables->patch_count;
    PathfinderPatch *patch = &tables->patches[*index - 1];

    const int side = easel->side, small = 2 * tables->radius + 1;
    const int width = (int)lround(easel->style->thickness * ANTIALIAS);
    uint8_t *line = scratch_open((size_t)(4 * side * side));
    uint8_t *mask = line + side * side, *shrunk = mask + side * side;
    if (width > 1)
        draw_wide(line, side, easel->middle, easel->middle, end_x, end_y, width);
    else
        draw_thin(line, side, easel->middle, easel->middle, end_x, end_y);
    dilate(line, side, tables->margin * ANTIALIAS, mask);
    lanczos_square(&easel->shrink, line, shrunk);
    copy_patch(shrunk, small, patch->line);
    lanczos_square(&easel->shrink, mask, shrunk);
    copy_patch(shrunk, small, patch->mask);
    fill_element(patch, tables->radius, easel->style->paddle + tables->margin);

    const int wide = 2 * tables->dilated_radius + 1;
    uint8_t *framed = scratch_open((size_t)(2 * wide * wide));
    for (int y = 0; y < small; y++)
        memcpy(framed + (y + tables->margin) * wide + tables->margin, patch->mask[y],
               (size_t)small);
    dilate(framed, wide, tables->margin, framed + wide * wide);
    copy_patch(framed + wide * wide, wide, patch->dilated);
    free(framed);
    free(line);
    return *index - 1;
}

static int compare_angles(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Pixels on a circle around the pivot, one for each pixel of arc, without repeats, by angle. */
static void list_steps(Easel *easel) {
    PathfinderTables *tables = easel->tables;
    enum { FAR = 4096 }; /* any large coordinate: pixels are cut down to whole ones */
    const double reach = easel->style->paddle + tables->margin;
    const double turn = 360 / (2 * reach * M_PI);
    struct {
        double angle;
        int y, x;
    } found[MOST_STEPS];
    int count = 0;
    for (int i = 0; i * turn < 360; i++) {
        const double angle = i * turn * M_PI / 180;
        const int y = (int)(FAR + reach * sin(angle)) - FAR;
        const int x = (int)(FAR + reach * cos(angle)) - FAR;
        bool repeated = false;
        for (int j = 0; j < count; j++) repeated |= found[j].y == y && found[j].x == x;
        if (repeated) continue;
        assert(count < MOST_STEPS);
        found[count].y = y;
        found[count].x = x;
        found[count++].angle = atan2(y, x);
    }
    qsort(found, (size_t)count, sizeof *found, compare_angles);
    tables->steps = count;
    for (int j = 0; j < count; j++) {
        tables->step[j].y = found[j].y;
        tables->step[j].x = found[j].x;
        tables->turns[SEED_ANGLES + j].angle = found[j].angle;
    }
}

/* Which steps may follow a direction, and with what weight: a window of the circle. */
static void weigh_steps(const Easel *easel, PathfinderTurn *turn) {
    const PathfinderTables *tables = easel->tables;
    const int steps = tables->steps;
    for (int j = 0; j < steps; j++) {
        const double apart = fabs(tables->turns[SEED_ANGLES + j].angle - turn->angle);
        const double delta = fmin(apart, 2 * M_PI - apart);
        const double cosine = cos(fmin(easel->style->continuity * delta, M_PI / 2));
        turn->weight[j] = cosine > 1e-12 ? (float)(cosine * cosine) : 0;
    }
    turn->first = 0;
    while (turn->first < steps &&
           !(turn->weight[turn->first] > 0 && turn->weight[(turn->first + steps - 1) % steps] == 0))
        turn->first++;
    assert(turn->first < steps); /* continuity is at least 1: half of the circle has no weight */
    turn->last = turn->first;
    while (turn->weight[(turn->last + 1) % steps] > 0) turn->last++;
}

void pathfinder_tables(const PathfinderStyle *style, int margin, PathfinderTables *tables) {
    *tables = (PathfinderTables){.margin = margin};
    tables->radius = style->paddle + (int)ceil(style->thickness) + margin;
    tables->dilated_radius = tables->radius + margin;
    Easel easel = {.style = style,
                   .tables = tables,
                   .side = 2 * tables->radius * ANTIALIAS + 1,
                   .middle = tables->radius * ANTIALIAS};
    easel.shrink = lanczos_open(easel.side, 2 * tables->radius + 1);
    list_steps(&easel);
    tables->patches = scratch_open((size_t)(SEED_ANGLES + tables->steps) * sizeof *tables->patches);
    const int turns = SEED_ANGLES + tables->steps;
    for (int i = 0; i < turns; i++) {
        PathfinderTurn *turn = &tables->turns[i];
        if (i < SEED_ANGLES) turn->angle = (i - 180) * M_PI / 180;
        const double back = turn->angle < 0 ? turn->angle + M_PI : turn->angle - M_PI;
        turn->patch = find_patch(&easel, i < SEED_ANGLES ? turn->angle : back);
        turn->ahead_y = (style->paddle + 2 * margin) * sin(turn->angle);
        turn->ahead_x = (style->paddle + 2 * margin) * cos(turn->angle);
    }
    for (int i = 0; i < turns; i++) weigh_steps(&easel, &tables->turns[i]);
    tables->patches =
        memory_resize(tables->patches, (size_t)tables->patch_count * sizeof *tables->patches);
    lanczos_close(&easel.shrink);
}
