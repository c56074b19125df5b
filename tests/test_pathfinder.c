/* Pathfinder: dashes equal those of the published program byte for byte; images follow its law;
 * labels follow from the curves; released files are read, and bad ones refused. */
#include "tests/data_case.h"

#include <math.h>

#include "tasks/pathfinder.h"
#include "tasks/png_file.h"

static uint64_t hash_bytes(uint64_t hash, const uint8_t *bytes, int count) {
    for (int i = 0; i < count; i++) hash = (hash ^ bytes[i]) * UINT64_C(0x100000001B3);
    return hash;
}

/* All orientations of a first dash, line then mask, for each margin. The hashed bytes were equal to
 * those of the published functions run with Pillow 9.5 and OpenCV 4.11, for every orientation. */
static void dashes_equal_the_published_ones(void **state) {
    (void)state;
    static const struct {
        int size, seedable;
        uint64_t hash;
    } known[] = {{32, 30, 0x4904e92575061aed},
                 {64, 95, 0x9b9988e83a87d823},
                 {128, 714, 0x52313ca7d5ef82c0},
                 {256, 360, 0x11166afa11e80219}};
    for (int k = 0; k < 4; k++) {
        Pathfinder *p = pathfinder_open(known[k].size, 14);
        uint64_t hash = 0;
        int seedable = 0;
        for (int m = 0; m < p->style.margin_count; m++) {
            const PathfinderTables *tables = &p->tables[m];
            const int side = 2 * tables->radius + 1;
            for (int angle = 0; angle < SEED_ANGLES; angle++) {
                const PathfinderPatch *patch = &tables->patches[tables->turns[angle].patch];
                for (int y = 0; y < side; y++) hash = hash_bytes(hash, patch->line[y], side);
                for (int y = 0; y < side; y++) hash = hash_bytes(hash, patch->mask[y], side);
                seedable += patch->seedable;
            }
        }
        assert_int_equal(seedable, known[k].seedable);
        if (hash != known[k].hash)
            fail_msg("size %d: hash %llx", known[k].size, (unsigned long long)hash);
        pathfinder_close(p);
    }
}

/* Figures of the published program: 400 and 8 images (specification of the suite). Bounds are 6
 * standard errors of the difference, from the spread of images here. */
static void images_follow_the_published_law(void **state) {
    (void)state;
    static const struct {
        int size, images, published;
        double mean, zero, distractors, tries;
    } known[] = {{32, 600, 400, 20.39, 0.655, 1.25, 296}, {128, 40, 8, 7.87, 0.863, 7.6, 329}};
    for (int k = 0; k < 2; k++) {
        const int pixels = known[k].size * known[k].size;
        Pathfinder *p = pathfinder_open(known[k].size, 14);
        uint8_t *image = malloc((size_t)pixels);
        const double n = known[k].images;
        double sums[4] = {0}, squares[4] = {0}, labels = 0;
        for (int i = 0; i < known[k].images; i++) {
            Random random = random_open(5, random_stream("pathfinder test"), (uint64_t)i);
            PathfinderTrace trace;
            labels += pathfinder_draw(p, &random, image, &trace);
            double sum = 0, zeros = 0;
            int darkest = 255, brightest = 0;
            for (int j = 0; j < pixels; j++) {
                sum += image[j];
                zeros += image[j] == 0;
                if (image[j] < darkest) darkest = image[j];
                if (image[j] > brightest) brightest = image[j];
            }
            assert_true(darkest == 0 && brightest == 255);
            const double values[4] = {sum / pixels, zeros / pixels, trace.distractors,
                                      (double)trace.tries};
            for (int v = 0; v < 4; v++) {
                sums[v] += values[v];
                squares[v] += values[v] * values[v];
            }
        }
        const double expected[4] = {known[k].mean, known[k].zero, known[k].distractors,
                                    known[k].tries};
        for (int v = 0; v < 4; v++) {
            const double mean = sums[v] / n, spread = sqrt(squares[v] / n - mean * mean);
            const double error = spread * sqrt(1 / n + 1.0 / known[k].published);
            if (!(fabs(mean - expected[v]) < 6 * error))
                fail_msg("size %d, figure %d: %g instead of %g", known[k].size, v, mean,
                         expected[v]);
        }
        assert_true(fabs(labels / n - 0.5) < 6 * 0.5 / sqrt(n));
        free(image);
        pathfinder_close(p);
    }
}

static double level(const uint8_t *image, int size, double y, double x) {
    const int v = (int)lround(y), u = (int)lround(x);
    double brightest = 0; /* of the pixel and its neighbours: dashes are thin */
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            if (v + dy >= 0 && v + dy < size && u + dx >= 0 && u + dx < size)
                brightest = fmax(brightest, image[(v + dy) * size + u + dx]);
    return brightest;
}

/* The two curves are chains of dashes that can be followed in the picture, and the label says
 * whether the two discs, which are there, end the same one. */
static void labels_follow_from_the_curves(void **state) {
    (void)state;
    static const int sizes[] = {32, 64, 128, 256}, contours[] = {14, 9, 6, 3};
    for (int k = 0; k < 16; k++) {
        const int size = sizes[k / 4], contour = contours[k % 4];
        Pathfinder *p = pathfinder_open(size, contour);
        const double step = p->style.paddle + 2 * p->style.margins[p->style.margin_count - 1] + 3;
        uint8_t *image = malloc((size_t)(size * size));
        for (int i = 0; i < 4; i++) {
            Random random = random_open(6, random_stream("pathfinder test"), (uint64_t)i);
            PathfinderTrace t;
            const int label = pathfinder_draw(p, &random, image, &t);
            bool one_curve = false;
            for (int s = 0; s < 2; s++) {
                const int *first = t.dashes[s][0], *last = t.dashes[s][contour - 1];
                const bool from = t.tips[0][0] == first[0] && t.tips[0][1] == first[1];
                const bool to = t.tips[1][0] == last[0] && t.tips[1][1] == last[1];
                one_curve |= from && to;
                assert_true(level(image, size, t.tips[s][0], t.tips[s][1]) > 0.8 * 255);
                for (int d = 0; d < contour; d++) {
                    const int *at = t.dashes[s][d];
                    assert_true(level(image, size, at[0], at[1]) > 0.2 * 255);
                    /* heads of neighbours; from the second dash on the start is the far end */
                    if (d > 1) assert_true(hypot(at[0] - at[-2], at[1] - at[-1]) <= step);
                }
            }
            assert_int_equal(label, one_curve);
            if (contour == 3) assert_int_equal(t.distractors, 0);
        }
        free(image);
        pathfinder_close(p);
    }
}

static void shrinking_keeps_flat_pictures(void **state) {
    (void)state;
    enum { FROM = 17, TO = 9 };
    uint8_t image[FROM * FROM], out[TO * TO];
    Lanczos filter = lanczos_open(FROM, TO);
    for (int value = 0; value < 256; value += 51) {
        memset(image, value, sizeof image);
        lanczos_square(&filter, image, out);
        for (int i = 0; i < TO * TO; i++) assert_int_equal(out[i], value);
    }
    lanczos_close(&filter);
}

#define FOLDER "pathfinder32/curv_contour_length_14/"

static void write_image(int batch, int number, int width) {
    uint8_t grey[33 * 33];
    char name[128], path[PATH_MAX];
    for (int i = 0; i < 33 * 33; i++) grey[i] = (uint8_t)(i % 201 + batch + number);
    snprintf(name, sizeof name, FOLDER "imgs/%d/sample_%d.png", batch, number);
    data_case_text(name, "");
    snprintf(path, sizeof path, "%s/%s", getenv("LONGHAUL_DATA"), name);
    assert_int_equal(png_write(path, width, 32, grey, NULL), STATUS_OK);
}

static void write_files(void) {
    for (int batch = 2; batch <= 10; batch += 8) {
        char text[1024] = "", name[64];
        for (int number = 0; number < 5; number++) {
            write_image(batch, number, 32);
            snprintf(text + strlen(text), sizeof text - strlen(text),
                     "imgs/%d sample_%d.png %d %d 1.0 14 4 2 0.5 1 1\n", batch, number, number,
                     number % 2);
        }
        snprintf(name, sizeof name, FOLDER "metadata/%d.npy", batch);
        data_case_text(name, text);
    }
}

static void released_files_are_read(void **state) {
    (void)state;
    write_files();
    TaskCase c;
    case_open(&c, "pathfinder", "source=files pixels=token");
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_TRAIN), 8);
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_TEST), 1);
    case_splits_disjoint(&c, SPLIT_TEST);
    case_draw(&c, 1, SPLIT_TRAIN, 6); /* batch 2 comes before batch 10 */
    assert_int_equal(c.sample.classes[0], 1);
    for (int i = 0; i < 1024; i++) assert_int_equal(c.sample.tokens[i], i % 201 + 10 + 1);
    case_close(&c);
    for (int centred = 0; centred < 2; centred++) {
        uint8_t grey[1024];
        case_open(&c, "pathfinder",
                  centred ? "source=files pixels=centred" : "source=files pixels=real");
        case_draw(&c, 1, SPLIT_TRAIN, 6);
        c.task->picture(c.options, &c.sample, grey);
        for (int i = 0; i < 1024; i++) {
            const float level = (float)(i % 201 + 10 + 1) / 255.0f;
            assert_true(c.sample.reals[i] == (centred ? 2 * level - 1 : level));
            assert_int_equal(grey[i], i % 201 + 10 + 1);
        }
        case_close(&c);
    }
    data_case_text(FOLDER "imgs/2/sample_0.png", ""); /* the release has an empty file */
    case_open(&c, "pathfinder", "source=files");
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_TRAIN), 7);
    case_close(&c);
}

static void bad_files_are_refused(void **state) {
    (void)state;
    write_files();
    data_case_text(FOLDER "imgs/2/sample_1.png", "this is no picture, but it is long enough to be");
    data_case_refused("pathfinder", "source=files", STATUS_DATA, "not a PNG");
    write_image(2, 1, 33);
    data_case_refused("pathfinder", "source=files", STATUS_DATA, "32 x 32");
    write_files();
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", getenv("LONGHAUL_DATA"), FOLDER "imgs/2/sample_1.png");
    assert_int_equal(truncate(path, 100), 0);
    data_case_refused("pathfinder", "source=files", STATUS_DATA, "cut off");
    data_case_remove(FOLDER "imgs/2/sample_1.png");
    data_case_refused("pathfinder", "source=files", STATUS_DATA, "sample_1.png");
    write_files();
    data_case_text(FOLDER "metadata/2.npy", "imgs/2 sample_0.png 0 7 1.0 14 4 2 0.5 1 1\n");
    data_case_refused("pathfinder", "source=files", STATUS_DATA, "line 1");
    data_case_text(FOLDER "metadata/2.npy", "imgs/2 sample_0.png 0 0 1.0 14 4 2 0.5 1 1\n");
    data_case_text(FOLDER "metadata/10.npy", "");
    data_case_refused("pathfinder", "source=files", STATUS_DATA, "both kinds");
    data_case_text(FOLDER "metadata/2.npy", "imgs/2 sample_0.png 0 0 1.0 14 4 2 0.5 1 1\n"
                                            "imgs/2 sample_2.png 0 1 1.0 14 4 2 0.5 1 1\n");
    data_case_refused("pathfinder", "source=files", STATUS_DATA, "2 images, of which no tenth");
    data_case_refused("pathfinder", "source=files size=64", STATUS_DATA, "source=generated");
}

/* A picture damaged inside is found when it is decoded. */
static void toy_has_no_files(void **state) {
    (void)state;
    case_refused("pathfinder", "difficulty=toy source=files", STATUS_USAGE, "never released");
}

static void damaged_pictures_do_not_decode(void **state) {
    (void)state;
    write_files();
    char path[PATH_MAX], *bytes;
    size_t count;
    uint8_t grey[32 * 32];
    snprintf(path, sizeof path, "%s/%s", getenv("LONGHAUL_DATA"), FOLDER "imgs/2/sample_1.png");
    assert_int_equal(file_read(path, &bytes, &count, NULL), STATUS_OK);
    assert_int_equal(png_decode((uint8_t *)bytes, count, 32, 32, grey, NULL), STATUS_OK);
    for (size_t i = 60; i < 70; i++) bytes[i] = (char)(bytes[i] ^ 0x55);
    assert_int_equal(png_decode((uint8_t *)bytes, count, 32, 32, grey, NULL), STATUS_DATA);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dashes_equal_the_published_ones),
        cmocka_unit_test(images_follow_the_published_law),
        cmocka_unit_test(labels_follow_from_the_curves),
        cmocka_unit_test(shrinking_keeps_flat_pictures),
        cmocka_unit_test(released_files_are_read),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(toy_has_no_files),
        cmocka_unit_test(damaged_pictures_do_not_decode),
    };
    return cmocka_run_group_tests_name("pathfinder", tests, data_case_begin, data_case_end);
}
