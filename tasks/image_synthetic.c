/* Stand-in for Image (CIFAR-10) where the real pictures are not at hand: drawn shapes, pixel by
 * pixel. Our own; not comparable with published numbers.
 *
 * 32 x 32 grey pixels, one of ten shapes: disc, ring, square, frame, triangle, plus, diagonal
 * cross, horizontal bars, vertical bars, chequers. Place (anywhere on the picture), size (5 to 11
 * pixels of radius), tilt (up to 15 degrees), grey levels of shape and ground (at least 50 of 255
 * apart, either lighter), a slope of the ground and noise (deviation 12) vary. */
#include <math.h>

#include "tasks/labels.h"
#include "tasks/task.h"

enum { SIDE = 32, PIXELS = SIDE * SIDE, SHAPES = 10 };
static const float MEAN = 122.6f, DEVIATION = 61.0f; /* those of task image */

static Status synthetic_problem(const void *values, Problem *problem, Error *error) {
    (void)values, (void)error;
    *problem = (Problem){
        .input = INPUT_REALS,
        .channels = 1,
        .length = PIXELS,
        .sequences = 1,
        .target = TARGET_SEQUENCE,
        .classes = SHAPES,
        .labels = 1,
        .causal = false,
        .chance = 0.1,
        .solved = 0.9,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

/* Whether (x, y), in units of the shape's radius about its centre, lies on the shape. */
static bool disc(double x, double y) {
    return x * x + y * y < 1;
}
static bool ring(double x, double y) {
    const double r = x * x + y * y;
    return r < 1 && r > 0.36;
}
static bool square(double x, double y) {
    return fmax(fabs(x), fabs(y)) < 0.85;
}
static bool frame(double x, double y) {
    const double r = fmax(fabs(x), fabs(y));
    return r < 0.9 && r > 0.55;
}
static bool triangle(double x, double y) {
    return y < 0.75 && y > -1 && fabs(x) < (y + 1) * 0.57;
}
static bool plus(double x, double y) {
    return fmax(fabs(x), fabs(y)) < 1 && fmin(fabs(x), fabs(y)) < 0.28;
}
static bool cross(double x, double y) {
    return plus((x + y) * 0.70710678118654752, (x - y) * 0.70710678118654752);
}
static bool stripes(double t) {
    return fmod(t + 1, 0.8) < 0.4;
}
static bool rows(double x, double y) {
    return square(x, y) && stripes(y);
}
static bool columns(double x, double y) {
    return square(x, y) && stripes(x);
}
static bool chequers(double x, double y) {
    return square(x, y) && stripes(x) != stripes(y);
}

static bool (*const shapes[SHAPES])(double x, double y) = {disc, ring,  square, frame,   triangle,
                                                           plus, cross, rows,   columns, chequers};

static double between(Random *random, double low, double high) {
    return low + (high - low) * random_real(random);
}

extern const Task task_image_synthetic;

static void synthetic_sample(const void *values, const void *data, uint64_t seed, Split split,
                             int64_t index, Sample *sample) {
    (void)values, (void)data;
    Random random = task_random(&task_image_synthetic, seed, split, index);
    const int shape = (int)random_below(&random, SHAPES);
    const double radius = between(&random, 5, 11);
    const double x0 = between(&random, radius, SIDE - radius);
    const double y0 = between(&random, radius, SIDE - radius);
    const double tilt = between(&random, -M_PI / 12, M_PI / 12);
    double ground = between(&random, 0, 255), ink = between(&random, 0, 255);
    while (fabs(ground - ink) < 50) ink = between(&random, 0, 255);
    const double slope_x = between(&random, -0.8, 0.8), slope_y = between(&random, -0.8, 0.8);
    for (int t = 0; t < PIXELS; t++) {
        const double x = t % SIDE + 0.5 - x0, y = t / SIDE + 0.5 - y0;
        const bool on = shapes[shape]((x * cos(tilt) + y * sin(tilt)) / radius,
                                      (y * cos(tilt) - x * sin(tilt)) / radius);
        const double grey =
            (on ? ink : ground + slope_x * x + slope_y * y) + 12 * random_normal(&random);
        const float level = (float)fmin(fmax(round(grey), 0), 255);
        sample->reals[t] = (level - MEAN) / DEVIATION;
    }
    label_set(sample, 0, PIXELS - 1, shape);
    sample->lengths[0] = PIXELS;
}

static int64_t synthetic_picture(const void *values, const Sample *sample, uint8_t *grey) {
    (void)values;
    for (int t = 0; grey && t < PIXELS; t++)
        grey[t] = (uint8_t)(sample->reals[t] * DEVIATION + MEAN + 0.5f);
    return SIDE;
}

const Task task_image_synthetic = {
    .name = "image_synthetic",
    .title = "Drawn shapes pixel by pixel, a stand-in for image",
    .paper = "our own; the shape of Image in Tay et al. 2021, arXiv 2011.04006",
    .version = 1,
    .options = {NULL, 0, 0},
    .problem = synthetic_problem,
    .count = count_endless,
    .sample = synthetic_sample,
    .picture = synthetic_picture,
};
