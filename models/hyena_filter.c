#include "models/hyena_filter.h"

#include <math.h>
#include <stdio.h>

#include "engine/ops/cache_append/cache_append.h"
#include "engine/ops/exponential_window/exponential_window.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/long_convolution_step/long_convolution_step.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/sine/sine.h"
#include "engine/ops/transfer_filter/transfer_filter.h"
#include "models/diagonal.h"
#include "models/filter_positions.h"
#include "models/state_space.h"

HyenaFilter hyena_filter_default(void) {
    typedef struct Alone {
        HyenaFilter own;
    } Alone;
    static const Option options[] = {HYENA_FILTER_OPTIONS(Alone, own)};
    const OptionTable table = {options, sizeof options / sizeof *options, sizeof(Alone)};
    Alone alone;
    option_defaults(&table, &alone);
    return alone.own;
}

/* ---- a network of the position ---- */

/* Decay rates: exp(-rate) is 1 % after 0.3 and 1.5 of the longest length. */
static const double fast_decay = 0.3, slow_decay = 1.5;

static void fill_rates(float *data, const Shape *shape, Random *random, double from, double to) {
    (void)random;
    const int64_t width = shape->extent[0];
    for (int64_t c = 0; c < width; c++)
        data[c] = (float)(from + (width > 1 ? (to - from) * (double)c / (double)(width - 1) : 0));
}

static Tensor *dense(Tape *tape, const HyenaFilter *own, const char *name, Tensor *x, int64_t out,
                     bool bias) {
    const int64_t in = extent(x, -1);
    const bool normal = own->deviation > 0;
    const Init uniform = init_uniform(1 / sqrt((double)in));
    const Init init = normal ? init_normal(own->deviation) : uniform;
    tape_scope(tape, "%s", name);
    Tensor *weight = tape_parameter(tape, "weight", SHAPE(in, out), init, GROUP_NO_DECAY);
    Tensor *offset = NULL;
    if (bias)
        offset = tape_parameter(tape, "bias", SHAPE(out), normal ? init_constant(0) : uniform,
                                GROUP_NO_DECAY);
    Tensor *y = linear(tape, x, weight, offset, NULL, ACTIVATION_NONE);
    tape_scope_end(tape);
    return y;
}

static Tensor *network(Tape *tape, const ModelContext *context, const HyenaFilter *own,
                       int64_t length, int64_t width) {
    const Group positions = {
        .fixed_rate = fmax(own->position_lr, 0), .no_decay = true, .frozen = own->position_lr == 0};
    Tensor *z = tape_parameter(tape, "positions", SHAPE(context->max_length, own->embedding),
                               filter_positions(), positions);
    Tensor *frequency = tape_parameter(tape, "frequency", SHAPE(own->order),
                                       init_constant(own->frequency), GROUP_NO_DECAY);
    Tensor *a = sine(tape, dense(tape, own, "in", tape_prefix(tape, z, length), own->order, true),
                     frequency);
    for (int64_t i = 0; i < own->layers; i++) {
        char name[32];
        snprintf(name, sizeof name, "inner.%lld", (long long)i);
        a = sine(tape, dense(tape, own, name, a, own->order, true), frequency);
    }
    Tensor *h = dense(tape, own, "out", a, width, false);
    if (!own->window) return h;
    Tensor *rate =
        tape_parameter(tape, "rate", SHAPE(width),
                       init_fill(fill_rates, log(100) / slow_decay, log(100) / fast_decay),
                       (Group){.frozen = true});
    return exponential_window(tape, h, rate,
                              (ExponentialWindow){context->max_length, (float)own->shift});
}

/* ---- states ---- */

/* As H3's models have them by default. */
static const StateSpace states = {.dt_min = 0.001, .dt_max = 0.1, .state_lr = 0.001};
static const DiagonalForm form = {.discretisation = DISCRETISATION_BILINEAR};

static Tensor *state_space(Tape *tape, const ModelContext *context, const HyenaFilter *own,
                           int64_t length, int64_t width) {
    (void)context;
    return vandermonde(tape, diagonal_trained(tape, &states, width, own->size / 2), form, length);
}

/* One token, from N numbers instead of all tokens. */
static Tensor *state_space_token(Tape *tape, const ModelContext *context, const HyenaFilter *own,
                                 Tensor *u, Tensor *skip) {
    (void)context;
    tape_scope(tape, "filter");
    const DiagonalParameters modes = diagonal_trained(tape, &states, extent(u, 2), own->size / 2);
    tape_scope_end(tape);
    return diagonal_token(tape, diagonal_modes(tape, modes, form), u, skip);
}

/* ---- a rational transfer function ---- */

static Tensor *transfer(Tape *tape, const ModelContext *context, const HyenaFilter *own,
                        int64_t length, int64_t width) {
    int64_t period = TRANSFER_LEAST;
    while (period < context->max_length || period <= own->size) period *= 2;
    const Init numerator = init_uniform(1 / sqrt((double)own->size));
    Tensor *a =
        tape_parameter(tape, "a", SHAPE(own->size, width), init_constant(0), GROUP_NO_DECAY);
    Tensor *b = tape_parameter(tape, "b", SHAPE(own->size, width), numerator, GROUP_NO_DECAY);
    return transfer_filter(tape, a, b, (TransferFilter){period, length});
}

/* ---- frequencies ---- */

/* Row t of the inverse transform of n real numbers, n the rows: parts of the lowest frequencies,
 * 0 .. M - 1 of the real ones and 1 .. M - 1 of the imaginary ones. */
static void fill_waves(float *waves, const Shape *shape, Random *random, double a, double b) {
    (void)random, (void)a, (void)b;
    const int64_t n = shape->extent[0], columns = shape->extent[1], M = (columns + 1) / 2;
    for (int64_t i = 0; i < n * columns; i++) {
        const int64_t t = i / columns, at = i % columns, m = at < M ? at : at - M + 1;
        const double angle = 2 * M_PI * (double)(m * t % n) / (double)n;
        waves[i] = (float)((m == 0 ? 1 : 2) * (at < M ? cos(angle) : -sin(angle)) / (double)n);
    }
}

static void fill_modes(float *modes, const Shape *shape, Random *random, double a, double b) {
    (void)a, (void)b;
    for (int64_t i = 0; i < shape_size(shape); i++) modes[i] = (float)random_real(random);
}

static Tensor *modes(Tape *tape, const ModelContext *context, const HyenaFilter *own,
                     int64_t length, int64_t width) {
    const int64_t n = context->max_length, below = (n + 1) / 2; /* frequencies under n / 2 */
    const int64_t M = own->size < below ? own->size : below, columns = 2 * M - 1;
    Tensor *waves = tape_parameter(tape, "waves", SHAPE(n, columns), init_fill(fill_waves, 0, 0),
                                   (Group){.frozen = true});
    Tensor *weight = tape_parameter(tape, "modes", SHAPE(columns, width),
                                    init_fill(fill_modes, 0, 0), GROUP_NO_DECAY);
    return linear(tape, tape_prefix(tape, waves, length), weight, NULL, NULL, ACTIVATION_NONE);
}

/* ---- taps ---- */

static Tensor *taps(Tape *tape, const ModelContext *context, const HyenaFilter *own, int64_t length,
                    int64_t width) {
    const int64_t longest = context->max_length, N = own->size < longest ? own->size : longest;
    Tensor *h = tape_parameter(tape, "taps", SHAPE(N, width), init_uniform(1 / sqrt((double)N)),
                               GROUP_NO_DECAY);
    return tape_prefix(tape, h, N < length ? N : length);
}

/* ---- the operator ---- */

/* make: parameters and the first `length` taps (at most) of `width` channels. */
typedef Tensor *Make(Tape *tape, const ModelContext *context, const HyenaFilter *own,
                     int64_t length, int64_t width);
/* token: one token u (B, 1, D), gated already. */
typedef Tensor *Token(Tape *tape, const ModelContext *context, const HyenaFilter *own, Tensor *u,
                      Tensor *skip);

static Token cached_token;

static const struct {
    Make *make;
    Token *token;
} kinds[] = {
    [FILTER_NETWORK] = {network, cached_token},
    [FILTER_STATE_SPACE] = {state_space, state_space_token},
    [FILTER_TRANSFER] = {transfer, cached_token},
    [FILTER_MODES] = {modes, cached_token},
    [FILTER_TAPS] = {taps, cached_token},
};

static Tensor *filter(Tape *tape, const ModelContext *context, const HyenaFilter *own,
                      int64_t length, int64_t width) {
    tape_scope(tape, "filter");
    Tensor *h = kinds[own->filter].make(tape, context, own, length, width);
    tape_scope_end(tape);
    return h;
}

/* The sum over all inputs that the filter still reaches. */
static Tensor *cached_token(Tape *tape, const ModelContext *context, const HyenaFilter *own,
                            Tensor *u, Tensor *skip) {
    Tensor *h = filter(tape, context, own, context->max_length, extent(u, 2));
    Tensor *cache = cache_append(tape, "cache", extent(h, 0), u,
                                 (CacheAppend){.ring = extent(h, 0) < context->max_length});
    return long_convolution_step(tape, cache, h, skip, tape_position(tape));
}

Tensor *hyena_convolution(Tape *tape, const ModelContext *context, const HyenaFilter *own,
                          Tensor *u, Tensor *pre, Tensor *post) {
    const int64_t D = extent(u, 2);
    if (tape_mode(tape) != TAPE_STEP) {
        Tensor *h = filter(tape, context, own, extent(u, 1), D);
        return long_convolution(tape, u, h, NULL,
                                (ConvolutionGates){state_space_skip(tape, D), pre, post});
    }
    Tensor *y = kinds[own->filter].token(tape, context, own, pre ? multiply(tape, pre, u) : u,
                                         state_space_skip(tape, D));
    return post ? multiply(tape, post, y) : y;
}

Status hyena_filter_check(const HyenaFilter *own, Error *error) {
    if (own->embedding % 2 == 0)
        return error_set(
            error, STATUS_USAGE,
            "filter_embedding=%lld is even; expected an odd number: time, and a cosine and "
            "a sine for each band; use %lld",
            (long long)own->embedding, (long long)own->embedding + 1);
    if (own->filter == FILTER_STATE_SPACE && own->size % 2)
        return error_set(error, STATUS_USAGE,
                         "filter_size=%lld is odd; complex modes stand for two real states each: "
                         "use %lld",
                         (long long)own->size, (long long)own->size + 1);
    return STATUS_OK;
}

int64_t hyena_filter_state(const HyenaFilter *own, int64_t length) {
    const bool few =
        own->filter == FILTER_STATE_SPACE || (own->filter == FILTER_TAPS && own->size < length);
    return few ? own->size : length;
}
