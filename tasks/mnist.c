/* Sequential MNIST: a handwritten digit (or a garment), pixel by pixel; with permuted=yes in one
 * random order, so that neighbours are far apart.
 *
 * Source: Le, Jaitly and Hinton 2015, "A simple way to initialize recurrent networks of rectified
 * linear units", arXiv 1504.00941: 784 steps, raster order or a fixed permutation. Pictures: LeCun,
 * Cortes and Burges (MNIST); Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747 (Fashion-MNIST). The
 * last tenth of the training file is the validation set. Published permutations differ from paper
 * to paper; this one is our own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/data.h"
#include "tasks/labels.h"
#include "tasks/pictures.h"
#include "tasks/sampling.h"
#include "tasks/task.h"

enum { SIDE = 28, PIXELS = SIDE * SIDE };

typedef struct Mnist {
    int set;
    bool permuted;
} Mnist;

typedef struct MnistData {
    Pictures train, test;
    int32_t order[PIXELS]; /* pixel shown at each step */
} MnistData;

static const Option options[] = {
    {"set", OPTION_CHOICE, offsetof(Mnist, set), "mnist", 0, -1, "mnist|fashion",
     "handwritten digits, or garments"},
    {"permuted", OPTION_SWITCH, offsetof(Mnist, permuted), "no", 0, -1, NULL,
     "pixels in one fixed random order"},
};

static Status mnist_problem(const void *values, Problem *problem, Error *error) {
    (void)values, (void)error;
    *problem = (Problem){
        .input = INPUT_REALS,
        .channels = 1,
        .length = PIXELS,
        .sequences = 1,
        .target = TARGET_SEQUENCE,
        .classes = 10,
        .labels = 1,
        .causal = false,
        .chance = 0.1,
        .solved = 0.99,
        .higher_is_better = true,
        .metric = "accuracy",
    };
    return STATUS_OK;
}

static void mnist_close(void *data) {
    MnistData *d = data;
    pictures_free(&d->train);
    pictures_free(&d->test);
    free(d);
}

static Status read_set(const Mnist *mnist, const char *split, Pictures *pictures, Error *error) {
    static const char *const sets[] = {"mnist", "fashion-mnist"};
    const char *set = sets[mnist->set];
    char name[64], images[PATH_MAX], labels[PATH_MAX];
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", split);
    if (data_find(set, name, DATA_FILE, images, error) != STATUS_OK) return error->status;
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", split);
    if (data_find(set, name, DATA_FILE, labels, error) != STATUS_OK) return error->status;
    if (pictures_read_idx(images, labels, pictures, error) != STATUS_OK) return error->status;
    return pictures_check(pictures, images, error);
}

static Status mnist_open(const void *values, void **data, Error *error) {
    const Mnist *mnist = values;
    MnistData *d = scratch_open(sizeof *d);
    for (int i = 0; i < PIXELS; i++) d->order[i] = i;
    Random random = random_open(0, random_stream("task/mnist/order"), 0);
    if (mnist->permuted) sample_shuffle(&random, PIXELS, d->order);
    if (read_set(mnist, "train", &d->train, error) != STATUS_OK ||
        read_set(mnist, "t10k", &d->test, error) != STATUS_OK) {
        mnist_close(d);
        return error->status;
    }
    *data = d;
    return STATUS_OK;
}

static int64_t mnist_count(const void *values, const void *data, Split split) {
    (void)values;
    const MnistData *d = data;
    const int64_t held_out = d->train.count / 10;
    return split == SPLIT_TEST    ? d->test.count
           : split == SPLIT_TRAIN ? d->train.count - held_out
                                  : held_out;
}

static void mnist_sample(const void *values, const void *data, uint64_t seed, Split split,
                         int64_t index, Sample *sample) {
    (void)seed;
    const MnistData *d = data;
    const Pictures *pictures = split == SPLIT_TEST ? &d->test : &d->train;
    if (split == SPLIT_VALIDATION) index += mnist_count(values, data, SPLIT_TRAIN);
    const uint8_t *pixels = pictures->pixels + index * PIXELS;
    for (int t = 0; t < PIXELS; t++) sample->reals[t] = (float)pixels[d->order[t]] / 255.0f;
    label_set(sample, 0, PIXELS - 1, pictures->labels[index]);
    sample->lengths[0] = PIXELS;
}

static int64_t mnist_picture(const void *values, const Sample *sample, uint8_t *grey) {
    (void)values;
    for (int t = 0; grey && t < PIXELS; t++) grey[t] = (uint8_t)(sample->reals[t] * 255.0f + 0.5f);
    return SIDE;
}

const Task task_mnist = {
    .name = "mnist",
    .title = "Sequential and permuted MNIST, Fashion-MNIST",
    .paper = "Le et al. 2015, arXiv 1504.00941",
    .version = 1,
    .options = {options, sizeof options / sizeof *options, sizeof(Mnist)},
    .problem = mnist_problem,
    .open = mnist_open,
    .close = mnist_close,
    .count = mnist_count,
    .sample = mnist_sample,
    .picture = mnist_picture,
};
