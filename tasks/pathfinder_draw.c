/* Drawing one Pathfinder image by the law of the published generator (drewlinsley/pathfinder, the
 * version of 2019; parameters of the Long Range Arena). Nearly all time goes into pairs of contours
 * that are given up, so nothing is painted before a pair is complete, and occupancy and its
 * dilation are kept up by table. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/pathfinder.h"
#include "tasks/sampling.h"

enum { PADDLE_TRIALS = 3, DISTRACTOR_TRIALS = 5 };

typedef struct Dash {
    int y, x, patch;
} Dash;

/* A growing contour. Its last dash is not yet in the shared occupancy. */
typedef struct Snake {
    Dash dashes[MOST_DASHES];
    int count;
    int pivot_y, pivot_x, turn;
} Snake;

/* One image in the making. Planes have rows of `stride` bytes with zeros after the image, and as
 * many before the first plane, so that PATCH bytes may be read from anywhere that a patch can
 * begin. */
typedef struct Canvas {
    const Pathfinder *pathfinder;
    const PathfinderTables *tables;
    Random *random;
    int size, stride;
    size_t plane_bytes;
    void *memory;
    uint8_t *mask, *dilated;             /* occupancy; the same, dilated by the margin */
    uint8_t *clean_mask, *clean_dilated; /* with nothing but the border */
    uint8_t *free_pixels;
    float *image;
} Canvas;

static bool inside(const Canvas *canvas, int y, int x) {
    return y >= 0 && y < canvas->size && x >= 0 && x < canvas->size;
}

/* Rows and columns of a patch that lie in the image. */
typedef struct Window {
    int top, bottom, left, right;
    bool whole;
} Window;

static Window clip(const Canvas *canvas, int y, int x, int radius) {
    const int size = canvas->size, side = 2 * radius + 1;
    const Window w = {.top = y < radius ? radius - y : 0,
                      .bottom = y + radius >= size ? size - y + radius : side,
                      .left = x < radius ? radius - x : 0,
                      .right = x + radius >= size ? size - x + radius : side};
    return (Window){w.top, w.bottom, w.left, w.right, w.left == 0 && w.right == side};
}

static void merge(const Canvas *canvas, uint8_t *plane, const uint8_t patch[PATCH][PATCH], int y,
                  int x, int radius) {
    const Window w = clip(canvas, y, x, radius);
    for (int v = w.top; v < w.bottom; v++) {
        uint8_t *row = plane + (y - radius + v) * canvas->stride + x - radius;
        const uint8_t *from = patch[v];
        if (w.whole)
            for (int u = 0; u < PATCH; u++) row[u] = row[u] > from[u] ? row[u] : from[u];
        else
            for (int u = w.left; u < w.right; u++) row[u] = row[u] > from[u] ? row[u] : from[u];
    }
}

/* True when some pixel of mask + patch reaches 1.8. In bytes 1.8 is 459, a sum that rounding of the
 * two numbers decides, as in the original. */
static bool overlaps(const Canvas *canvas, const uint8_t patch[PATCH][PATCH], int y, int x,
                     int radius) {
    const Window w = clip(canvas, y, x, radius);
    for (int v = w.top; v < w.bottom; v++) {
        const uint8_t *row = canvas->mask + (y - radius + v) * canvas->stride + x - radius;
        const uint8_t *from = patch[v];
        uint8_t largest = 0;
        for (int u = 0; u < PATCH; u++) { /* mean rounded up: 230 from a sum of 459 */
            const uint8_t mean =
                (uint8_t)((row[u] | from[u]) - (uint8_t)((uint8_t)(row[u] ^ from[u]) >> 1));
            largest = mean > largest ? mean : largest;
        }
        if (largest < 230) continue;
        const float *number = canvas->pathfinder->occupancy;
        for (int u = w.left; u < w.right; u++)
            if (!((double)number[row[u]] + (double)number[from[u]] < 1.8)) return true;
    }
    return false;
}

static const PathfinderPatch *patch_of(const Canvas *canvas, const Dash *dash) {
    return &canvas->tables->patches[dash->patch];
}

static void occupy(const Canvas *canvas, const Dash *dash) {
    const PathfinderTables *tables = canvas->tables;
    const PathfinderPatch *patch = patch_of(canvas, dash);
    merge(canvas, canvas->mask, patch->mask, dash->y, dash->x, tables->radius);
    merge(canvas, canvas->dilated, patch->dilated, dash->y, dash->x, tables->dilated_radius);
}

/* Head and pivot of a first dash; false when one is outside the image. */
static bool place_seed(const Canvas *canvas, int y, int x, int angle, Snake *snake) {
    const PathfinderTables *tables = canvas->tables;
    const double theta = tables->turns[angle].angle;
    const double back = theta + M_PI < M_PI ? theta + M_PI : theta - M_PI;
    const int length = canvas->pathfinder->style.paddle, reach = length + tables->margin;
    const int head_y = pathfinder_ceil(y, length * sin(theta));
    const int head_x = pathfinder_ceil(x, length * cos(theta));
    const int pivot_y = pathfinder_ceil(head_y, reach * sin(back));
    const int pivot_x = pathfinder_ceil(head_x, reach * cos(back));
    if (!inside(canvas, head_y, head_x) || !inside(canvas, pivot_y, pivot_x)) return false;
    snake->dashes[0] = (Dash){y, x, tables->turns[angle].patch};
    snake->count = 1;
    snake->pivot_y = pivot_y;
    snake->pivot_x = pivot_x;
    snake->turn = angle;
    return true;
}

/* The first dash of the first contour: away from the edge by twice the seed distance, so that the
 * free pixels are a rectangle. A patch that leaves some corner pixel without any neighbour inside
 * the image cannot be used at all: there the original's dilation gives a negative number, which its
 * search takes for "nothing free". */
static bool seed_first(const Canvas *canvas, Snake *snake) {
    const int edge = 2 * canvas->pathfinder->style.seed_distance;
    for (int trial = 0; trial < PADDLE_TRIALS; trial++) {
        const int angle = (int)random_below(canvas->random, SEED_ANGLES);
        const PathfinderPatch *patch = &canvas->tables->patches[canvas->tables->turns[angle].patch];
        const int top = edge - patch->top, bottom = canvas->size - 1 - edge - patch->bottom;
        const int left = edge - patch->left, right = canvas->size - 1 - edge - patch->right;
        if (!patch->seedable || top > bottom || left > right) return false;
        const int wide = right - left + 1, count = (bottom - top + 1) * wide;
        const int choice = (int)random_below(canvas->random, (uint64_t)count);
        if (place_seed(canvas, top + choice / wide, left + choice % wide, angle, snake))
            return true;
    }
    return false;
}

/* The first dash of the second contour lies at the seed distance from that of the first. */
static bool seed_second(const Canvas *canvas, const Snake *first, Snake *snake) {
    const int distance = canvas->pathfinder->style.seed_distance;
    for (int trial = 0; trial < PADDLE_TRIALS; trial++) {
        const int angle = (int)random_below(canvas->random, SEED_ANGLES);
        const double phi = (double)random_below(canvas->random, 360) * M_PI / 180;
        const int y = (int)nearbyint(first->dashes[0].y + distance * sin(phi));
        const int x = (int)nearbyint(first->dashes[0].x + distance * cos(phi));
        if (place_seed(canvas, y, x, angle, snake)) return true;
    }
    return false;
}

/* Adds a dash to the contour and its previous one to the occupancy. */
static bool extend(const Canvas *canvas, Snake *snake) {
    const PathfinderTables *tables = canvas->tables;
    const PathfinderTurn *turn = &tables->turns[snake->turn];
    const float *number = canvas->pathfinder->occupancy;
    const int pivot_y = pathfinder_ceil(snake->pivot_y, turn->ahead_y);
    const int pivot_x = pathfinder_ceil(snake->pivot_x, turn->ahead_x);
    double sums[MOST_STEPS], sum = 0;
    int steps[MOST_STEPS], count = 0;
    for (int i = turn->first; i <= turn->last; i++) {
        const int j = i < tables->steps ? i : i - tables->steps;
        const int y = pivot_y + tables->step[j].y, x = pivot_x + tables->step[j].x;
        if (!inside(canvas, y, x)) continue;
        const double vacancy = 1 - (double)number[canvas->dilated[y * canvas->stride + x]];
        sum += vacancy * (double)turn->weight[j];
        sums[count] = sum;
        steps[count++] = j;
    }
    if (sum < 1e-4) return false;
    for (int trial = 0; trial < PADDLE_TRIALS; trial++) {
        const double draw = random_real(canvas->random) * sum;
        int choice = 0;
        while (choice < count - 1 && sums[choice] <= draw) choice++;
        const int j = steps[choice];
        const Dash dash = {pivot_y + tables->step[j].y, pivot_x + tables->step[j].x,
                           tables->turns[SEED_ANGLES + j].patch};
        if (overlaps(canvas, patch_of(canvas, &dash)->mask, dash.y, dash.x, tables->radius))
            continue;
        occupy(canvas, &snake->dashes[snake->count - 1]);
        snake->dashes[snake->count++] = dash;
        snake->pivot_y = pivot_y;
        snake->pivot_x = pivot_x;
        snake->turn = SEED_ANGLES + j;
        return true;
    }
    return false;
}

static bool try_pair(const Canvas *canvas, Snake pair[2]) {
    if (!seed_first(canvas, &pair[0]) || !seed_second(canvas, &pair[0], &pair[1])) return false;
    memcpy(canvas->mask, canvas->clean_mask, canvas->plane_bytes);
    memcpy(canvas->dilated, canvas->clean_dilated, canvas->plane_bytes);
    for (int i = 1; i < canvas->pathfinder->contour; i++)
        for (int s = 0; s < 2; s++)
            if (!extend(canvas, &pair[s])) return false;
    /* The first contour's last dash is never added; the original forgets it. */
    occupy(canvas, &pair[1].dashes[pair[1].count - 1]);
    return true;
}

/* Pixels where a first dash of this patch finds its surroundings vacant (occupancy up to 0.3, that
 * is byte 76); the outermost pixels count as occupied. Returns their number; *vacant is that of
 * vacant pixels of the mask itself. */
static int find_free(const Canvas *canvas, const PathfinderPatch *patch, int *vacant) {
    const int size = canvas->size;
    uint8_t *free_pixels = canvas->free_pixels, *taken = free_pixels + size * size;
    *vacant = 0;
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++) {
            const bool occupied = canvas->mask[y * canvas->stride + x] > 76;
            const bool edge = y == 0 || y == size - 1 || x == 0 || x == size - 1;
            *vacant += !occupied;
            taken[y * size + x] = occupied || edge;
        }
    memset(free_pixels, 1, (size_t)(size * size));
    for (int e = 0; e < patch->element_count; e++) {
        const int dy = patch->element[e][0], dx = patch->element[e][1];
        const int left = dx < 0 ? -dx : 0, right = dx > 0 ? size - dx : size;
        for (int y = dy < 0 ? -dy : 0; y < (dy > 0 ? size - dy : size); y++) {
            uint8_t *row = free_pixels + y * size;
            const uint8_t *from = taken + (y + dy) * size + dx;
            for (int x = left; x < right; x++) row[x] &= (uint8_t)!from[x];
        }
    }
    int count = 0;
    for (int i = 0; i < size * size; i++) count += free_pixels[i];
    return count;
}

static bool seed_distractor(const Canvas *canvas, Snake *snake) {
    const int pixels = canvas->size * canvas->size;
    for (int trial = 0; trial < PADDLE_TRIALS; trial++) {
        const int angle = (int)random_below(canvas->random, SEED_ANGLES);
        const PathfinderPatch *patch = &canvas->tables->patches[canvas->tables->turns[angle].patch];
        int vacant;
        if (!patch->seedable) return false; /* as in seed_first */
        const int count = find_free(canvas, patch, &vacant);
        if (vacant < 0.01 * pixels || count == 0) return false;
        int choice = (int)random_below(canvas->random, (uint64_t)count), pixel = 0;
        while (choice >= canvas->free_pixels[pixel]) choice -= canvas->free_pixels[pixel++];
        if (place_seed(canvas, pixel / canvas->size, pixel % canvas->size, angle, snake))
            return true;
    }
    return false;
}

static void paint(const Canvas *canvas, const Snake *snake, double contrast) {
    const int radius = canvas->tables->radius;
    float level[256];
    for (int i = 0; i < 256; i++) level[i] = (float)(i / 255.0 * contrast);
    for (int i = 0; i < snake->count; i++) {
        const Dash *dash = &snake->dashes[i];
        const Window w = clip(canvas, dash->y, dash->x, radius);
        for (int v = w.top; v < w.bottom; v++) {
            float *row = canvas->image + (dash->y - radius + v) * canvas->size + dash->x - radius;
            for (int u = w.left; u < w.right; u++)
                row[u] = fmaxf(row[u], level[patch_of(canvas, dash)->line[v][u]]);
        }
    }
}

/* A failed try leaves the occupancy as it found it; the clean planes serve as its copy. */
static bool try_distractor(const Canvas *canvas) {
    Snake snake;
    memcpy(canvas->clean_mask, canvas->mask, canvas->plane_bytes);
    memcpy(canvas->clean_dilated, canvas->dilated, canvas->plane_bytes);
    bool complete = seed_distractor(canvas, &snake);
    for (int i = 1; i < canvas->pathfinder->distractor && complete; i++)
        complete = extend(canvas, &snake);
    if (complete) {
        occupy(canvas, &snake.dashes[snake.count - 1]);
        paint(canvas, &snake, canvas->pathfinder->style.contour_contrast);
    } else {
        memcpy(canvas->mask, canvas->clean_mask, canvas->plane_bytes);
        memcpy(canvas->dilated, canvas->clean_dilated, canvas->plane_bytes);
    }
    return complete;
}

/* A disc around the tip, drawn enlarged and shrunk; nothing of it is further than its radius and
 * the filter's reach of three pixels. */
static void paint_marker(const Canvas *canvas, const Dash *tip) {
    const Lanczos *shrink = &canvas->pathfinder->shrink;
    const double radius = canvas->pathfinder->style.marker;
    const int size = canvas->size, far = (int)ceil(radius) + 5;
    uint8_t *line = scratch_open((size_t)(shrink->from + shrink->from * size));
    uint8_t *rows = line + shrink->from; /* shrunk along rows only */
    const int left = tip->x > far ? tip->x - far : 0, right = tip->x + far;
    for (int v = 0; v < shrink->from; v++) {
        const double dy = v - ANTIALIAS * tip->y;
        if (fabs(dy) > radius * ANTIALIAS) continue;
        for (int u = 0; u < shrink->from; u++) {
            const double dx = u - ANTIALIAS * tip->x;
            const double reach = radius * ANTIALIAS;
            line[u] = dy * dy + dx * dx <= reach * reach ? 255 : 0;
        }
        for (int x = left; x < right && x < size; x++)
            rows[v * size + x] = lanczos_sample(shrink, x, line, 1);
    }
    for (int y = tip->y > far ? tip->y - far : 0; y < tip->y + far && y < size; y++)
        for (int x = left; x < right && x < size; x++) {
            const float level = (float)(lanczos_sample(shrink, y, rows + x, size) / 255.0);
            canvas->image[y * size + x] = fmaxf(canvas->image[y * size + x], level);
        }
    free(line);
}

/* The original writes pictures with their darkest pixel at 0 and their brightest at 255. */
static void stretch(const Canvas *canvas, uint8_t *out) {
    const int pixels = canvas->size * canvas->size;
    float darkest = canvas->image[0], brightest = canvas->image[0];
    for (int i = 0; i < pixels; i++) {
        darkest = fminf(darkest, canvas->image[i]);
        brightest = fmaxf(brightest, canvas->image[i]);
    }
    const double scale = 255 / ((double)brightest - (double)darkest);
    for (int i = 0; i < pixels; i++)
        out[i] = (uint8_t)(((double)canvas->image[i] - (double)darkest) * scale + 0.5);
}

static void open_canvas(Canvas *canvas) {
    const int size = canvas->size, border = canvas->pathfinder->style.border;
    const int margin = canvas->tables->margin;
    canvas->stride = size + 2 * PATCH;
    canvas->plane_bytes = (size_t)((size + 2) * canvas->stride);
    const size_t pixels = (size_t)(size * size);
    canvas->memory = scratch_open(PATCH + 4 * canvas->plane_bytes + 2 * pixels);
    canvas->mask = (uint8_t *)canvas->memory + PATCH;
    canvas->dilated = canvas->mask + canvas->plane_bytes;
    canvas->clean_mask = canvas->dilated + canvas->plane_bytes;
    canvas->clean_dilated = canvas->clean_mask + canvas->plane_bytes;
    canvas->free_pixels = canvas->clean_dilated + canvas->plane_bytes;
    canvas->image = scratch_open(pixels * sizeof *canvas->image);
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++) {
            const int near_y = y < size - 1 - y ? y : size - 1 - y;
            const int near_x = x < size - 1 - x ? x : size - 1 - x;
            const int edge = near_y < near_x ? near_y : near_x;
            canvas->clean_mask[y * canvas->stride + x] = edge < border ? 255 : 0;
            canvas->clean_dilated[y * canvas->stride + x] = edge < border + margin ? 255 : 0;
        }
}

static void fill_trace(PathfinderTrace *trace, const Snake pair[2], const Dash *const tips[2],
                       int64_t tries, int distractors) {
    *trace = (PathfinderTrace){.tries = tries, .distractors = distractors};
    for (int s = 0; s < 2; s++) {
        trace->tips[s][0] = tips[s]->y;
        trace->tips[s][1] = tips[s]->x;
        for (int i = 0; i < pair[s].count; i++) {
            trace->dashes[s][i][0] = pair[s].dashes[i].y;
            trace->dashes[s][i][1] = pair[s].dashes[i].x;
        }
    }
}

int pathfinder_draw(const Pathfinder *pathfinder, Random *random, uint8_t *image,
                    PathfinderTrace *trace) {
    const PathfinderStyle *style = &pathfinder->style;
    const int label = (int)random_below(random, 2);
    const int margin = (int)random_below(random, (uint64_t)style->margin_count);
    Canvas canvas = {.pathfinder = pathfinder,
                     .tables = &pathfinder->tables[margin],
                     .random = random,
                     .size = style->size};
    open_canvas(&canvas);
    Snake pair[2];
    int64_t tries = 1;
    while (!try_pair(&canvas, pair)) tries++;
    for (int s = 0; s < 2; s++)
        paint(&canvas, &pair[s], style->paddle_contrast * style->contour_contrast);
    int placed = 0;
    for (int d = 0; d < pathfinder->distractors; d++)
        for (int trial = 0; trial < DISTRACTOR_TRIALS; trial++)
            if (try_distractor(&canvas)) {
                placed++;
                break;
            }
    const int origin = (int)random_below(random, 2), end = label ? origin : 1 - origin;
    const Dash *tips[2] = {&pair[origin].dashes[0], &pair[end].dashes[pair[end].count - 1]};
    for (int i = 0; i < 2; i++) paint_marker(&canvas, tips[i]);
    stretch(&canvas, image);
    if (trace) fill_trace(trace, pair, tips, tries, placed);
    free(canvas.memory);
    free(canvas.image);
    return label;
}
