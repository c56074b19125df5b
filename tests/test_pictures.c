/* Sequential MNIST and Image: files written here in the published formats are read back pixel for
 * pixel; damaged ones are refused. */
#include "tests/data_case.h"

#include <math.h>
#include <zlib.h>

/* ---- MNIST ---- */

enum { COUNT = 40, BYTES = 28 * 28 };

static uint8_t pixel(int picture, int at) {
    return (uint8_t)((picture * 31 + at * 7) % 256);
}

/* hole: a picture that is left blank; -1: none. */
static void write_mnist_with(const char *split, int hole) {
    static uint8_t images[16 + COUNT * BYTES];
    uint8_t labels[8 + COUNT] = {0, 0, 8, 1, 0, 0, 0, COUNT};
    const uint8_t header[16] = {0, 0, 8, 3, 0, 0, 0, COUNT, 0, 0, 0, 28, 0, 0, 0, 28};
    memcpy(images, header, sizeof header);
    for (int i = 0; i < COUNT; i++) {
        labels[8 + i] = (uint8_t)(i % 10);
        for (int t = 0; t < BYTES; t++) images[16 + i * BYTES + t] = i == hole ? 0 : pixel(i, t);
    }
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "mnist/%s-labels-idx1-ubyte", split);
    data_case_write(name, labels, sizeof labels);
    snprintf(path, sizeof path, "%s/mnist/%s-images-idx3-ubyte.gz", getenv("LONGHAUL_DATA"), split);
    gzFile file = gzopen(path, "wb");
    assert_int_equal(gzwrite(file, images, sizeof images), sizeof images);
    assert_int_equal(gzclose(file), Z_OK);
}

static void write_mnist(const char *split) {
    write_mnist_with(split, -1);
}

static void digits_are_read_pixel_by_pixel(void **state) {
    (void)state;
    write_mnist("train");
    write_mnist("t10k");
    TaskCase c;
    case_open(&c, "mnist", "");
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_TRAIN), 36);
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_VALIDATION), 4);
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_TEST), COUNT);
    case_draw(&c, 1, SPLIT_VALIDATION, 1);
    assert_int_equal(c.sample.classes[0], 37 % 10);
    for (int t = 0; t < BYTES; t++) assert_true(c.sample.reals[t] == (float)pixel(37, t) / 255.0f);
    case_close(&c);
    case_open(&c, "mnist", "");
    case_splits_disjoint(&c, SPLIT_VALIDATION); /* cut from one file; test is another file */
    case_close(&c);
}

/* The same order for every picture, each pixel once, and not the raster order. */
static void permuted_digits_have_one_order(void **state) {
    (void)state;
    TaskCase plain, permuted;
    case_open(&plain, "mnist", "");
    case_open(&permuted, "mnist", "permuted=yes");
    int counts[256] = {0}, moved = 0;
    case_draw(&plain, 1, SPLIT_TRAIN, 0);
    case_draw(&permuted, 1, SPLIT_TRAIN, 0);
    for (int t = 0; t < BYTES; t++) {
        counts[(int)lroundf(plain.sample.reals[t] * 255)]++;
        counts[(int)lroundf(permuted.sample.reals[t] * 255)]--;
        moved += plain.sample.reals[t] != permuted.sample.reals[t];
    }
    for (int v = 0; v < 256; v++) assert_int_equal(counts[v], 0);
    assert_true(moved > BYTES / 2);
    /* pictures differ by a constant here, so one order keeps the difference at every step */
    for (int t = 0; t < BYTES; t++) {
        const int first = (int)lroundf(permuted.sample.reals[t] * 255);
        case_draw(&permuted, 2, SPLIT_TRAIN, 3);
        assert_int_equal((first + 93) % 256, lroundf(permuted.sample.reals[t] * 255));
        case_draw(&permuted, 2, SPLIT_TRAIN, 0);
    }
    case_close(&plain);
    case_close(&permuted);
}

static void bad_digits_are_refused(void **state) {
    (void)state;
    static const uint8_t no_pictures[] = {0, 0, 8, 3, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0, 28};
    static const uint8_t no_labels[] = {0, 0, 8, 1, 0, 0, 0, 0};
    static const uint8_t many[] = {0, 0, 8, 3, 255, 255, 255, 255, 0, 0, 0, 28, 0, 0, 0, 28};
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/mnist/train-images-idx3-ubyte.gz", getenv("LONGHAUL_DATA"));
    assert_int_equal(truncate(path, 300), 0);
    data_case_refused("mnist", "", STATUS_DATA, "damaged or shorter");
    data_case_text("mnist/train-images-idx3-ubyte.gz", "<html>not found</html>");
    data_case_refused("mnist", "", STATUS_DATA, "not an IDX file");
    data_case_write("mnist/train-images-idx3-ubyte.gz", many, sizeof many);
    data_case_refused("mnist", "", STATUS_DATA, "promises 4294967295 pictures");
    data_case_write("mnist/train-images-idx3-ubyte.gz", no_pictures, sizeof no_pictures);
    data_case_refused("mnist", "", STATUS_DATA, "40 labels for 0 pictures");
    data_case_write("mnist/train-labels-idx1-ubyte", no_labels, sizeof no_labels);
    data_case_refused("mnist", "", STATUS_DATA, "no pictures");
    write_mnist("train");
    uint8_t labels[8 + COUNT] = {0, 0, 8, 1, 0, 0, 0, COUNT, 10};
    data_case_write("mnist/train-labels-idx1-ubyte", labels, sizeof labels);
    data_case_refused("mnist", "", STATUS_DATA, "label 10");
    labels[8] = 0;
    data_case_write("mnist/train-labels-idx1-ubyte", labels, sizeof labels);
    data_case_refused("mnist", "", STATUS_DATA, "has label 1");
    data_case_refused("mnist", "set=fashion", STATUS_DATA, "fashion-mnist");
    write_mnist("train");
    uint8_t blank[16 + COUNT * BYTES] = {0, 0, 8, 3, 0, 0, 0, COUNT, 0, 0, 0, 28, 0, 0, 0, 28};
    data_case_write("mnist/train-images-idx3-ubyte.gz", blank, sizeof blank);
    data_case_refused("mnist", "", STATUS_DATA, "40 of 40 pictures are blank");
    data_case_remove("mnist/train-images-idx3-ubyte.gz");
    write_mnist_with("train", 17);
    data_case_refused("mnist", "", STATUS_DATA,
                      "1 of 40 pictures are blank, the first is number 17");
}

/* ---- CIFAR-10 ---- */

enum { RECORD = 1 + 3 * 1024 };

static void write_cifar(const char *name, int first) {
    static uint8_t records[10 * RECORD];
    char path[128];
    for (int i = 0; i < 10; i++) {
        uint8_t *record = records + i * RECORD;
        record[0] = (uint8_t)i;
        for (int t = 0; t < 1024; t++) {
            record[1 + t] = (uint8_t)(first + i);
            record[1 + 1024 + t] = (uint8_t)(t % 256);
            record[1 + 2048 + t] = (uint8_t)(255 - i);
        }
    }
    snprintf(path, sizeof path, "cifar-10-batches-bin/%s", name);
    data_case_write(path, records, sizeof records);
}

static void write_all_cifar(void) {
    for (int batch = 1; batch <= 5; batch++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%d.bin", batch);
        write_cifar(name, 10 * batch);
    }
    write_cifar("test_batch.bin", 100);
}

static void images_are_read_in_every_form(void **state) {
    (void)state;
    write_all_cifar();
    TaskCase c;
    case_open(&c, "image", "pixels=token");
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_TRAIN), 45);
    assert_int_equal(c.task->count(c.options, c.data, SPLIT_VALIDATION), 5);
    case_draw(&c, 1, SPLIT_TEST, 3);
    assert_int_equal(c.sample.classes[0], 3);
    for (int t = 0; t < 1024; t++) { /* rounding: Pillow's weights are 16-bit */
        const double luma = 0.299 * 103 + 0.587 * (t % 256) + 0.114 * 252;
        assert_true(fabs(c.sample.tokens[t] - luma) <= 0.51);
    }
    case_close(&c);
    case_open(&c, "image", "colour=rgb");
    case_splits_disjoint(&c, SPLIT_TEST);
    case_draw(&c, 1, SPLIT_VALIDATION, 4); /* the last record of the last batch */
    for (int t = 0; t < 1024; t++) {
        const float expected[3] = {59, (float)(t % 256), 246};
        for (int channel = 0; channel < 3; channel++)
            assert_true(fabsf(c.sample.reals[3 * t + channel] * 61.0f + 122.6f -
                              expected[channel]) < 1e-4f); /* float rounding at 255 */
    }
    case_close(&c);
}

static void bad_images_are_refused(void **state) {
    (void)state;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/cifar-10-batches-bin/data_batch_4.bin",
             getenv("LONGHAUL_DATA"));
    assert_int_equal(truncate(path, 5 * RECORD - 7), 0);
    data_case_refused("image", "", STATUS_DATA, "data_batch_4.bin");
    write_all_cifar();
    data_case_text("cifar-10-batches-bin/test_batch.bin", "");
    data_case_refused("image", "", STATUS_DATA, "cut off");
    data_case_remove("cifar-10-batches-bin/test_batch.bin");
    data_case_refused("image", "", STATUS_DATA, "cifar-10-binary.tar.gz");
    case_refused("image", "colour=rgb pixels=token", STATUS_USAGE, "pixels=real");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_are_read_pixel_by_pixel),
        cmocka_unit_test(permuted_digits_have_one_order),
        cmocka_unit_test(bad_digits_are_refused),
        cmocka_unit_test(images_are_read_in_every_form),
        cmocka_unit_test(bad_images_are_refused),
    };
    return cmocka_run_group_tests_name("pictures", tests, data_case_begin, data_case_end);
}
