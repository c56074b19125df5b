/* Image: CIFAR-10 pictures of 32 x 32 pixels, read pixel by pixel: ten classes.
 *
 * Source: Tay et al. 2021, "Long Range Arena", arXiv 2011.04006: grey levels as 1,024 tokens; first
 * 90 % of the training files to train, the rest to validate. Gu et al. 2022 (S4), arXiv 2111.00396:
 * grey levels as one real channel, mean 122.6 and deviation 61.0 of 255 taken out; colour=rgb gives
 * three channels, each scaled the same way. Grey is the luma of ITU-R 601 in Pillow's integer
 * arithmetic. Pictures: Krizhevsky 2009, "Learning multiple layers of features from tiny images",
 * binary version. */
#include <stdio.h>
#include <stdlib.h>

#include "tasks/data.h"
#include "tasks/labels.h"
#include "tasks/pictures.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

enum { SIDE = 32, PIXELS = SIDE * SIDE };
static const float MEAN = 122.6f, DEVIATION = 61.0f; /* of grey levels, as published for S4 */

typedef enum Colour { COLOUR_GREY, COLOUR_RGB } Colour;
typedef enum Form { FORM_REAL, FORM_TOKEN } Form;

typedef struct Image {
    int colour, pixels;
} Image;

typedef struct ImageData {
    Pictures train, test;
} ImageData;

static const Option options[] = {
    {"colour", OPTION_CHOICE, offsetof(Image, colour), "grey", 0, -1, "grey|rgb",
     "one channel, or three"},
    {"pixels", OPTION_CHOICE, offsetof(Image, pixels), "real", 0, -1, "real|token",
     "standardised numbers, or ids 0 to 255 (grey only)"},
};

static Status image_problem(const void *values, Problem *problem, Error *error) {
    const Image *image = values;
    if (image->pixels == FORM_TOKEN && image->colour == COLOUR_RGB)
        return error_set(error, STATUS_USAGE,
                         "task image: pixels=token has one id for a pixel, so colour=rgb needs "
                         "pixels=real");
    const bool real = image->pixels == FORM_REAL;
    *problem = (Problem){
        .input = real ? INPUT_REALS : INPUT_TOKENS,
        .vocabulary = real ? 0 : 256,
        .channels = !real                          ? 0
                    : image->colour == COLOUR_GREY ? 1
                                                   : 3,
        .length = PIXELS,
        .sequences = 1,
        .target = TARGET_SEQUENCE,
        .classes = 10,
        .labels = 1,
        .causal = false,
        .chance = 0.1,
        .solved = 0.9,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

static void image_close(void *data) {
    ImageData *d = data;
    pictures_free(&d->train);
    pictures_free(&d->test);
    free(d);
}

static Status read_file(const char *name, Pictures *pictures, Error *error) {
    char file[64], path[PATH_MAX];
    snprintf(file, sizeof file, "cifar-10-batches-bin/%s", name);
    if (data_find("cifar-10", file, DATA_FILE, path, error) != STATUS_OK) return error->status;
    return pictures_read_cifar(path, pictures, error);
}

static Status image_open(const void *values, void **data, Error *error) {
    (void)values;
    ImageData *d = scratch_open(sizeof *d);
    Status status = STATUS_OK;
    for (int batch = 1; batch <= 5 && status == STATUS_OK; batch++) {
        char name[32];
        snprintf(name, sizeof name, "data_batch_%d.bin", batch);
        status = read_file(name, &d->train, error);
    }
    if (status == STATUS_OK) status = read_file("test_batch.bin", &d->test, error);
    if (status == STATUS_OK) status = pictures_check(&d->train, "CIFAR-10 training set", error);
    if (status == STATUS_OK) status = pictures_check(&d->test, "CIFAR-10 test set", error);
    if (status != STATUS_OK) {
        image_close(d);
        return status;
    }
    *data = d;
    return STATUS_OK;
}

static int64_t image_count(const void *values, const void *data, Split split) {
    (void)values;
    const ImageData *d = data;
    const int64_t train = d->train.count * 9 / 10;
    return split == SPLIT_TEST    ? d->test.count
           : split == SPLIT_TRAIN ? train
                                  : d->train.count - train;
}

static int luma(const uint8_t *pixels, int64_t t) {
    const int red = pixels[t], green = pixels[PIXELS + t], blue = pixels[2 * PIXELS + t];
    return (19595 * red + 38470 * green + 7471 * blue + (1 << 15)) >> 16;
}

static void image_sample(const void *values, const void *data, uint64_t seed, Split split,
                         int64_t index, Sample *sample) {
    (void)seed;
    const Image *image = values;
    const ImageData *d = data;
    const Pictures *pictures = split == SPLIT_TEST ? &d->test : &d->train;
    if (split == SPLIT_VALIDATION) index += image_count(values, data, SPLIT_TRAIN);
    const uint8_t *pixels = pictures->pixels + index * pictures->bytes;
    for (int64_t t = 0; t < PIXELS; t++) {
        if (image->pixels == FORM_TOKEN)
            sample->tokens[t] = luma(pixels, t);
        else if (image->colour == COLOUR_GREY)
            sample->reals[t] = ((float)luma(pixels, t) - MEAN) / DEVIATION;
        else
            for (int64_t c = 0; c < 3; c++)
                sample->reals[3 * t + c] = ((float)pixels[c * PIXELS + t] - MEAN) / DEVIATION;
    }
    label_set(sample, 0, PIXELS - 1, pictures->labels[index]);
    sample->lengths[0] = PIXELS;
}

/* Of a colour picture the green channel. */
static int64_t image_picture(const void *values, const Sample *sample, uint8_t *grey) {
    const Image *image = values;
    for (int64_t t = 0; grey && t < PIXELS; t++) {
        const int64_t at = image->colour == COLOUR_RGB ? 3 * t + 1 : t;
        grey[t] = image->pixels == FORM_TOKEN
                      ? (uint8_t)sample->tokens[t]
                      : (uint8_t)(sample->reals[at] * DEVIATION + MEAN + 0.5f);
    }
    return SIDE;
}

const Task task_image = {
    .name = "image",
    .title = "CIFAR-10 pixel by pixel (Long Range Arena)",
    .paper = "Tay et al. 2021, arXiv 2011.04006; Gu et al. 2022 (S4), arXiv 2111.00396",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Image)},
    .problem = image_problem,
    .open = image_open,
    .close = image_close,
    .count = image_count,
    .sample = image_sample,
    .picture = image_picture,
};
