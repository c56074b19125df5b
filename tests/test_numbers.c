/* Tasks whose inputs are numbers: adding, nearest-neighbour search, drawn shapes. Every sample is
 * solved by brute force from what the model sees; the law of samples; what is refused. */
#include "tests/task_case.h"

#include <math.h>

/* Sums the numbers that are marked. */
static void adding_is_solved_by_adding(void **state) {
    (void)state;
    static const char *const settings[] = {"length=2", "length=50", "length=51 halves=yes"};
    for (int k = 0; k < 3; k++) {
        TaskCase c;
        case_open(&c, "adding", settings[k]);
        for (int64_t index = 0; index < 500; index++) {
            case_draw(&c, 3, SPLIT_TEST, index);
            int marks = 0, early = 0;
            float sum = 0;
            for (int64_t t = 0; t < c.problem.length; t++) {
                const float number = c.sample.reals[2 * t], mark = c.sample.reals[2 * t + 1];
                assert_true(number >= 0 && number < 1 && (mark == 0 || mark == 1));
                if (mark == 0) continue;
                marks++;
                early += t < c.problem.length / 2;
                sum += number;
            }
            assert_int_equal(marks, 2);
            if (k == 2) assert_int_equal(early, 1);
            assert_true(fabsf(sum - c.sample.value[0]) < 1e-6f); /* order of two float additions */
        }
        case_close(&c);
    }
}

/* Marks are anywhere, equally often; guessing 1 costs the stated 1/6 (2/12, the variance of the
 * sum). Bounds: 6 standard deviations. */
static void adding_has_its_law(void **state) {
    (void)state;
    enum { SAMPLES = 30000, LENGTH = 10 };
    TaskCase c;
    case_open(&c, "adding", "length=10");
    double places[LENGTH] = {0}, numbers = 0, error = 0;
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 4, SPLIT_TRAIN, index);
        for (int t = 0; t < LENGTH; t++) {
            places[t] += (double)c.sample.reals[2 * t + 1];
            numbers += (double)c.sample.reals[2 * t];
        }
        error += pow((double)c.sample.value[0] - 1, 2);
    }
    for (int t = 0; t < LENGTH; t++)
        assert_true(fabs(places[t] - SAMPLES * 0.2) < 6 * sqrt(SAMPLES * 0.2 * 0.8));
    const double drawn = SAMPLES * LENGTH;
    assert_true(fabs(numbers / drawn - 0.5) < 6 * sqrt(1.0 / 12 / drawn));
    /* the squared distance of the sum from 1 has mean 1/6 and variance 1/15 - 1/36 */
    assert_true(fabs(error / SAMPLES - c.problem.chance) <
                6 * sqrt((1.0 / 15 - 1.0 / 36) / SAMPLES));
    case_close(&c);
}

/* The value of the candidate among the first t that is nearest by Euclidean distance. */
static float nearest_value(const float *reals, int32_t t) {
    int32_t best = 1;
    double least = INFINITY;
    for (int32_t i = 1; i <= t; i++) {
        const double distance = hypot((double)reals[3 * i] - (double)reals[0],
                                      (double)reals[3 * i + 1] - (double)reals[1]);
        /* the distances of two candidates that differ are never this close in these draws */
        if (distance < least - 1e-9) {
            least = distance;
            best = i;
        }
    }
    return reals[3 * best + 2];
}

static void neighbours_are_found_by_search(void **state) {
    (void)state;
    static const char *const settings[] = {"", "length=2", "length=20 shortest=20",
                                           "length=30 scored=last"};
    for (int k = 0; k < 4; k++) {
        TaskCase c;
        case_open(&c, "nns", settings[k]);
        for (int64_t index = 0; index < 400; index++) {
            case_draw(&c, 5, SPLIT_VALIDATION, index);
            const int32_t length = c.sample.lengths[0];
            int32_t labels = 0;
            assert_true(c.sample.reals[2] == 0); /* the reference has no value */
            for (int32_t t = 0; t < length; t++)
                assert_true(
                    fabs(hypot((double)c.sample.reals[3 * t], (double)c.sample.reals[3 * t + 1]) -
                         1) < 1e-6);
            for (int64_t j = 0; j < c.problem.labels; j++) {
                if (c.sample.weights[j] == 0) continue;
                labels++;
                assert_true(c.sample.value[j] ==
                            nearest_value(c.sample.reals, c.sample.positions[j]));
            }
            assert_int_equal(labels, k == 3 ? 1 : length - 1);
            for (int64_t i = 3 * length; i < 3 * c.problem.length; i++)
                assert_true(c.sample.reals[i] == 0);
        }
        case_close(&c);
    }
}

/* Lengths are uniform, directions and values too, and simple guesses cost what the specification of
 * the suite derives: 0.0833 always saying 0.5, 0.147 (0.156 at the end) repeating the current
 * value, 0.150 at the end saying the first. */
static void neighbours_have_their_law(void **state) {
    (void)state;
    enum { SAMPLES = 40000 };
    TaskCase c;
    case_open(&c, "nns", "");
    double lengths[65] = {0}, quadrants[4] = {0}, directions = 0;
    double half = 0, current = 0, labels = 0, current_end = 0, first_end = 0;
    for (int64_t index = 0; index < SAMPLES; index++) {
        case_draw(&c, 6, SPLIT_TRAIN, index);
        const int32_t length = c.sample.lengths[0];
        const float *reals = c.sample.reals;
        lengths[length] += 1;
        for (int32_t t = 0; t < length; t++) {
            quadrants[(reals[3 * t] > 0) + 2 * (reals[3 * t + 1] > 0)] += 1;
            directions += 1;
        }
        for (int32_t j = 0; j < length - 1; j++) {
            const double target = (double)c.sample.value[j];
            half += pow(target - 0.5, 2);
            current += pow(target - (double)reals[3 * (j + 1) + 2], 2);
            labels += 1;
        }
        const double end = (double)c.sample.value[length - 2];
        current_end += pow(end - (double)reals[3 * (length - 1) + 2], 2);
        first_end += pow(end - (double)reals[3 + 2], 2);
    }
    for (int n = 2; n <= 64; n++) /* binomial, 6 standard deviations */
        assert_true(fabs(lengths[n] - SAMPLES / 63.0) < 6 * sqrt(SAMPLES / 63.0));
    assert_true(lengths[0] + lengths[1] == 0);
    for (int q = 0; q < 4; q++)
        assert_true(fabs(quadrants[q] - directions / 4) < 6 * sqrt(directions * 3 / 16));
    /* Targets of a sample hang together, so errors are those of some 40,000 draws of a squared
     * difference (deviation below 0.2): 6 x 0.2 / 200 = 0.006; the printed digits add 0.0005. */
    assert_true(fabs(half / labels - c.problem.chance) < 0.006);
    assert_true(fabs(current / labels - 0.147) < 0.0065);
    assert_true(fabs(current_end / SAMPLES - 0.156) < 0.0065);
    assert_true(fabs(first_end / SAMPLES - 0.150) < 0.0065);
    case_close(&c);
}

/* ---- drawn shapes ---- */

enum { SIDE = 32, SHAPES = 10 };

/* The same ten shapes as they are described, written down again; units of the radius. */
static bool on_shape(int shape, double x, double y) {
    const double r = hypot(x, y), far = fmax(fabs(x), fabs(y)), near = fmin(fabs(x), fabs(y));
    const double u = fabs(x + y) / sqrt(2), v = fabs(x - y) / sqrt(2);
    const bool band_x = fmod(x + 1, 0.8) < 0.4, band_y = fmod(y + 1, 0.8) < 0.4;
    const bool on[SHAPES] = {r < 1,
                             r < 1 && r > 0.6,
                             far < 0.85,
                             far < 0.9 && far > 0.55,
                             y < 0.75 && y > -1 && fabs(x) < 0.57 * (y + 1),
                             far < 1 && near < 0.28,
                             fmax(u, v) < 1 && fmin(u, v) < 0.28,
                             far < 0.85 && band_y,
                             far < 0.85 && band_x,
                             far < 0.85 && band_x != band_y};
    return on[shape];
}

/* What is left of the picture's spread when each side of the shape has its mean: the better the
 * shape fits, the less. */
static double misfit(const float *reals, int shape, int stride, double radius, double x0, double y0,
                     double tilt) {
    double sum[2] = {0}, squares[2] = {0}, count[2] = {0};
    for (int t = 0; t < SIDE * SIDE;
         t += t % SIDE + stride < SIDE ? stride : SIDE * stride - t % SIDE) {
        const double x = t % SIDE + 0.5 - x0, y = t / SIDE + 0.5 - y0;
        const int on = on_shape(shape, (x * cos(tilt) + y * sin(tilt)) / radius,
                                (y * cos(tilt) - x * sin(tilt)) / radius);
        const double grey = (double)reals[t];
        sum[on] += grey;
        squares[on] += grey * grey;
        count[on] += 1;
    }
    double left = 0;
    for (int i = 0; i < 2; i++)
        if (count[i] > 0) left += squares[i] - sum[i] * sum[i] / count[i];
    return left;
}

/* Least misfit of a shape: a coarse grid over every second pixel, then steps that are halved. */
static double best_misfit(const float *reals, int shape) {
    double best = INFINITY, at[4] = {0};
    for (double radius = 6; radius <= 11; radius += 2.5)
        for (double x = radius; x <= SIDE - radius; x += 2)
            for (double y = radius; y <= SIDE - radius; y += 2) {
                const double here = misfit(reals, shape, 2, radius, x, y, 0);
                if (here >= best) continue;
                best = here;
                memcpy(at, (double[]){radius, x, y, 0}, sizeof at);
            }
    best = INFINITY; /* the steps see every pixel */
    double step[4] = {1.25, 1, 1, 0.13};
    for (int round = 0; round < 12; round++) {
        bool moved = false;
        for (int k = 0; k < 8; k++) {
            double try[4];
            memcpy(try, at, sizeof try);
            try[k / 2] += k % 2 ? step[k / 2] : -step[k / 2];
            if (try[0] < 5 || try[0] > 11 || fabs(try[3]) > 0.2618) continue;
            const double here = misfit(reals, shape, 1, try[0], try[1], try[2], try[3]);
            if (here >= best) continue;
            best = here;
            memcpy(at, try, sizeof at);
            moved = true;
        }
        for (int k = 0; k < 4 && !moved; k++) step[k] /= 2;
    }
    return best;
}

/* Every class is told by the shape that explains the picture best. The search is a local one over a
 * noisy picture and may stop beside the right place: of each class two of the first three must be
 * right. */
static void shapes_are_told_by_fitting(void **state) {
    (void)state;
    enum { EACH = 3, MOST = 500 };
    TaskCase c;
    case_open(&c, "image_synthetic", "");
    int seen[SHAPES] = {0}, right[SHAPES] = {0};
    for (int64_t index = 0; index < MOST; index++) {
        case_draw(&c, 7, SPLIT_TEST, index);
        const int class_id = c.sample.classes[0];
        if (seen[class_id] == EACH) continue;
        seen[class_id]++;
        int best = 0;
        double least = INFINITY;
        for (int shape = 0; shape < SHAPES; shape++) {
            const double here = best_misfit(c.sample.reals, shape);
            if (here >= least) continue;
            least = here;
            best = shape;
        }
        right[class_id] += best == class_id;
    }
    for (int shape = 0; shape < SHAPES; shape++)
        if (right[shape] < EACH - 1) fail_msg("shape %d: %d of %d", shape, right[shape], EACH);
    case_close(&c);
}

static void impossible_settings_are_refused(void **state) {
    (void)state;
    case_refused("nns", "length=8 shortest=9", STATUS_USAGE, "shortest=8 or less");
    TaskCase c;
    Error error = {0};
    case_open(&c, "adding", "");
    assert_int_equal(option_set(&c.task->options, c.options, "length", "1", &error), STATUS_USAGE);
    assert_non_null(strstr(error.message, "length"));
    case_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adding_is_solved_by_adding),
        cmocka_unit_test(adding_has_its_law),
        cmocka_unit_test(neighbours_are_found_by_search),
        cmocka_unit_test(neighbours_have_their_law),
        cmocka_unit_test(shapes_are_told_by_fitting),
        cmocka_unit_test(impossible_settings_are_refused),
    };
    return cmocka_run_group_tests_name("numbers", tests, NULL, NULL);
}
