/* CKConv: convolutions whose kernels are small networks of the relative position (Romero, Kuzina,
 * Bekkers, Tomczak and Hoogendoorn 2022, arXiv 2102.02611, sections 3 and 4), and FlexConv: the
 * same with a learned length (Romero, Bruintjes et al. 2022, arXiv 2110.08059, section 3). Unlike
 * the filters of state spaces and Hyena there is one for every pair of channels:
 *
 *     (h * x)[t, o] = bias[o] + sum_i sum_k h[k, i, o] x[t - k, i]
 *     h[k] = V3 sin(w (V2 sin(w (V1 s + b1)) + b2)) + b3,   s = 1 - 2 k / (Lmax - 1) kernel=siren
 *     h[k] = V a_3(s) + c,  a_0 = g_0(s),  a_i = g_i(s) (U_i a_(i-1) + c_i) kernel=magnet g_i(s) =
 * exp(-(rate (s - centre))^2 / 2) sin(frequency s + phase) mask=gaussian:  h[k] exp(-((s - mean) /
 * deviation)^2 / 2), zero where that falls below 0.1
 *
 * with weight-normalised V in the sine network. A block, of which a network has two:
 *
 *     relu(x + relu(norm(h2 * relu(norm(h1 * x)))))
 *
 * The published norm is over all tokens and channels of a sequence. It sees the future, so where
 * the task is causal the norm is over the channels of a token. Publications' networks by option:
 * CKCNN width=30 or 100, frequency per data set (12 to 43); FlexNet kernel=magnet mask=gaussian.
 *
 * Parameters of a layer: 2 (33 D^2 + some 2 Hk^2); FLOPs a token and convolution: 8 D^2 for the
 * product of spectra, some 10 D log2(2 L), and D^2 (5 log2(2 L) + 2 Hk) / B for the kernel, which
 * is made once a batch. State: none but all inputs. */
#include <math.h>
#include <stdio.h>

#include "engine/ops/channel_gain/channel_gain.h"
#include "engine/ops/dense_convolution/dense_convolution.h"
#include "engine/ops/dropout/dropout.h"
#include "engine/ops/gabor/gabor.h"
#include "engine/ops/gaussian_mask/gaussian_mask.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/norm/norm.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/sine/sine.h"
#include "engine/ops/weight_norm/weight_norm.h"
#include "models/backbone.h"

typedef enum Kernel { KERNEL_SIREN, KERNEL_MAGNET } Kernel;
typedef enum SirenInit { SIREN_RELEASED, SIREN_INTENDED } SirenInit;
typedef enum Mask { MASK_NONE, MASK_GAUSSIAN } Mask;

typedef struct CKConv {
    int64_t kernel_width, kernel_length;
    int kernel, init, mask;
    double frequency, kernel_dropout, mask_deviation, mask_rate;
} CKConv;

static const Option options[] = {
    {"kernel", OPTION_CHOICE, offsetof(CKConv, kernel), "siren", 0, -1, "siren|magnet",
     "network of the kernels: sines (CKConv) or products of Gabor filters (FlexConv)"},
    {"kernel_width", OPTION_INTEGER, offsetof(CKConv, kernel_width), "32", 1, 4096, NULL,
     "hidden width of that network (Hk)"},
    {"kernel_length", OPTION_INTEGER, offsetof(CKConv, kernel_length), "0", 0, 1 << 24, NULL,
     "taps of a kernel at most; 0: as many as the longest sequence has tokens"},
    {"kernel_dropout", OPTION_REAL, offsetof(CKConv, kernel_dropout), "0", 0, 0.99, NULL,
     "probability of dropping a tap while training"},
    {"frequency", OPTION_REAL, offsetof(CKConv, frequency), "30", 0.01, 10000, NULL,
     "factor in front of the sines' arguments (omega_0), kernel=siren"},
    {"init", OPTION_CHOICE, offsetof(CKConv, init), "released", 0, -1, "released|intended",
     "start of the sine network's weights: as the authors' program, or as Sitzmann et al. 2020"},
    {"mask", OPTION_CHOICE, offsetof(CKConv, mask), "none", 0, -1, "none|gaussian",
     "learned window over a kernel"},
    {"mask_deviation", OPTION_REAL, offsetof(CKConv, mask_deviation), "0.075", 1e-4, 100, NULL,
     "initial deviation of the window; a kernel is 2 long, and the present stands at 1"},
    {"mask_lr_factor", OPTION_REAL, offsetof(CKConv, mask_rate), "0.1", 1e-6, 100, NULL,
     "learning rate of the window / that of everything else"},
};

/* ---- kernels ---- */

/* s of tap k: 1 is the present, -1 the furthest past. */
static void fill_positions(float *s, const Shape *shape, Random *random, double a, double b) {
    (void)random, (void)a, (void)b;
    const int64_t taps = shape->extent[0];
    for (int64_t k = 0; k < taps; k++)
        s[k] = taps > 1 ? (float)(1 - 2 * (double)k / (double)(taps - 1)) : 1;
}

/* Directions uniform in +-bound, and their lengths (ops/weight_norm), so that the weight starts
 * uniform in +-bound itself. */
static void fill_normed(float *v, const Shape *shape, Random *random, double bound, double b) {
    (void)b;
    const int64_t inputs = shape->extent[0] - 1, outputs = shape->extent[1];
    for (int64_t n = 0; n < inputs * outputs; n++)
        v[n] = (float)(bound * (2 * random_real(random) - 1));
    for (int64_t o = 0; o < outputs; o++) {
        double square = 0;
        for (int64_t i = 0; i < inputs; i++)
            square += (double)v[i * outputs + o] * (double)v[i * outputs + o];
        v[inputs * outputs + o] = (float)sqrt(square);
    }
}

static Tensor *normed_layer(Tape *tape, const char *name, Tensor *x, int64_t out, double bound) {
    tape_scope(tape, "%s", name);
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(extent(x, 1) + 1, out),
                                    init_fill(fill_normed, bound, 0), GROUP_NO_DECAY);
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(out), init_uniform(1), GROUP_NO_DECAY);
    Tensor *y = linear(tape, x, weight_norm(tape, weight), bias, NULL, ACTIVATION_NONE);
    tape_scope_end(tape);
    return y;
}

/* The authors' program sets the initial weights of Sitzmann et al. where weight normalisation then
 * overwrites them: what is left is PyTorch's start, uniform by fan-in. */
static Tensor *siren(Tape *tape, const CKConv *own, Tensor *s, int64_t out) {
    const int64_t hidden = own->kernel_width;
    const double fan_in = 1 / sqrt((double)hidden);
    const double bound = own->init == SIREN_RELEASED ? fan_in : sqrt(6) * fan_in / own->frequency;
    Tensor *frequency = tape_parameter(tape, "frequency", SHAPE(hidden),
                                       init_constant(own->frequency), (Group){.frozen = true});
    Tensor *h = sine(tape, normed_layer(tape, "in", s, hidden, 1), frequency);
    h = sine(tape, normed_layer(tape, "inner", h, hidden, bound), frequency);
    return normed_layer(tape, "out", h, out, bound);
}

/* Gamma(shape, 1) by Marsaglia and Tsang 2000, for shapes from 1 on. */
static double random_gamma(Random *random, double shape) {
    const double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        const double x = random_normal(random), v = pow(1 + c * x, 3);
        const double u = random_real(random);
        if (v > 0 && log(1 - u) < x * x / 2 + d - d * v + d * log(v)) return d * v;
    }
}

enum { MAGNET_LAYERS = 3 };

/* Rates ~ Gamma(shape, 1), centres uniform in +-reach, frequencies uniform in +-12.8 rates, phases
 * in +-pi. */
static void fill_gabor(float *bank, const Shape *shape, Random *random, double gamma_shape,
                       double reach) {
    const int64_t H = shape->extent[1];
    const double input_scale = 25.6 / sqrt(MAGNET_LAYERS + 1);
    for (int64_t h = 0; h < H; h++) {
        const double rate = random_gamma(random, gamma_shape);
        bank[GABOR_RATE * H + h] = (float)rate;
        bank[GABOR_CENTRE * H + h] = (float)(reach * (2 * random_real(random) - 1));
        bank[GABOR_FREQUENCY * H + h] = (float)(input_scale * rate * (2 * random_real(random) - 1));
        bank[GABOR_PHASE * H + h] = (float)(M_PI * (2 * random_real(random) - 1));
    }
}

static Tensor *plain_layer(Tape *tape, const char *name, Tensor *x, int64_t out) {
    const Init init = init_uniform(1 / sqrt((double)extent(x, 1)));
    tape_scope(tape, "%s", name);
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(extent(x, 1), out), init, GROUP_NO_DECAY);
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(out), init, GROUP_NO_DECAY);
    tape_scope_end(tape);
    return linear(tape, x, weight, bias, NULL, ACTIVATION_NONE);
}

static Tensor *magnet(Tape *tape, const CKConv *own, Tensor *s, int64_t out) {
    const double reach = own->mask == MASK_GAUSSIAN ? fmin(1, 1.667 * own->mask_deviation) : 1;
    Tensor *a = NULL;
    for (int i = 0; i <= MAGNET_LAYERS; i++) {
        char name[32];
        snprintf(name, sizeof name, "gabor.%d", i);
        Tensor *bank = tape_parameter(tape, name, SHAPE(GABOR_ROWS, own->kernel_width),
                                      init_fill(fill_gabor, 6.0 / (i + 1), reach), GROUP_NO_DECAY);
        Tensor *g = gabor(tape, s, bank);
        snprintf(name, sizeof name, "inner.%d", i);
        a = a ? multiply(tape, g, plain_layer(tape, name, a, own->kernel_width)) : g;
    }
    return plain_layer(tape, "out", a, out);
}

static void fill_window(float *window, const Shape *shape, Random *random, double mean,
                        double deviation) {
    (void)shape, (void)random;
    window[0] = (float)mean;
    window[1] = (float)deviation;
}

/* -> (K, D, D), K as long as a sequence or the option says. */
static Tensor *kernel(Tape *tape, const ModelContext *context, int64_t length) {
    const CKConv *own = context->options;
    const int64_t D = context->backbone->width, longest = context->max_length;
    const int64_t limit = own->kernel_length;
    const int64_t taps = limit && limit < longest ? limit : longest;
    tape_scope(tape, "kernel");
    Tensor *s = tape_parameter(tape, "positions", SHAPE(taps, 1), init_fill(fill_positions, 0, 0),
                               (Group){.frozen = true});
    s = tape_prefix(tape, s, length < taps ? length : taps);
    Tensor *h = (own->kernel == KERNEL_SIREN ? siren : magnet)(tape, own, s, D * D);
    if (own->mask == MASK_GAUSSIAN) {
        const Group slow = {.rate_factor = own->mask_rate, .no_decay = true};
        Tensor *window = tape_parameter(tape, "window", SHAPE(2),
                                        init_fill(fill_window, 1, own->mask_deviation), slow);
        h = gaussian_mask(tape, h, s, window, (GaussianMask){.threshold = 0.1f});
    }
    if (own->kernel_dropout > 0 && tape_mode(tape) == TAPE_TRAIN)
        h = dropout(tape, h, own->kernel_dropout);
    tape_scope_end(tape);
    return tape_reshape(tape, h, SHAPE(extent(h, 0), D, D));
}

/* ---- blocks ---- */

static Tensor *normalise(Tape *tape, const ModelContext *context, Tensor *x) {
    static const double epsilon = 1e-12;
    const int64_t B = extent(x, 0), L = extent(x, 1), D = extent(x, 2);
    Tensor *gamma = tape_parameter(tape, "gamma", SHAPE(D), init_constant(1), GROUP_NO_DECAY);
    Tensor *beta = tape_parameter(tape, "beta", SHAPE(D), init_constant(0), GROUP_NO_DECAY);
    if (context->causal) return layer_norm(tape, x, gamma, beta, epsilon);
    Tensor *y = layer_norm(tape, tape_reshape(tape, x, SHAPE(B, L * D)), NULL, NULL, epsilon);
    return channel_gain(tape, tape_reshape(tape, y, x->shape), gamma, NULL, beta);
}

/* dropout(relu(norm(h * x))) */
static Tensor *convolve(Tape *tape, const ModelContext *context, const char *name, Tensor *x) {
    tape_scope(tape, "%s", name);
    Tensor *h = kernel(tape, context, extent(x, 1));
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(context->backbone->width), init_constant(0),
                                  GROUP_NO_DECAY);
    x = normalise(tape, context, dense_convolution(tape, x, h, bias));
    tape_scope_end(tape);
    return backbone_dropout(tape, context->backbone, activate(tape, x, ACTIVATION_RELU));
}

static Tensor *stack(Tape *tape, const ModelContext *context, Tensor *x) {
    for (int64_t layer = 0; layer < context->backbone->layers; layer++) {
        if (context->backbone->recompute) tape_segment(tape);
        tape_scope(tape, "layers.%lld", (long long)layer);
        Tensor *y = convolve(tape, context, "first", x);
        y = convolve(tape, context, "second", y);
        x = activate(tape, add(tape, x, y), ACTIVATION_RELU);
        tape_scope_end(tape);
        if (context->backbone->recompute) tape_segment_end(tape);
    }
    return x;
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    const CKConv *own = values;
    const int64_t limit = own->kernel_length;
    return backbone->layers * 2 * backbone->width * (limit && limit < length ? limit : length);
}

const Model model_ckconv = {
    .name = "ckconv",
    .title = "CKConv",
    .paper = {.authors = "Romero, Kuzina, Bekkers, Tomczak, Hoogendoorn",
              .title = "CKConv: Continuous Kernel Convolution For Sequential Data",
              .venue = "ICLR",
              .arxiv = "2102.02611",
              .year = 2022},
    .kind = KIND_CONVOLUTION,
    .note = "no step form, as a token costs a whole kernel; no penalty on kernels, other sampling "
            "rates or other kernel networks; what FlexConv crops is zero but still computed; in "
            "causal tasks norms are over a token instead of the sequence",
    .options = {options, sizeof options / sizeof *options, sizeof(CKConv)},
    .backbone = "norm_place=post",
    .exempt = EXEMPT_STEP | EXEMPT_LONGER, /* of kernels as long as a sequence, the default */
    .stack = stack,
    .state_floats = state_floats,
};
