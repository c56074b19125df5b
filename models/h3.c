/* H3: attention's query, key and value with two linear state spaces in the place of the softmax
 * (Fu et al. 2022, arXiv 2212.14052, section 3.1 and algorithm 1). Channels come in heads of h; for
 * every pair i, j = 1 .. h of components of a head:
 *
 *     q, k, v = u W_q + b_q, u W_k + b_k, u W_v + b_v
 *     k'_t = sum_{s < N} shift_s k_{t-s} + g k_t         shift_j = sum_m B_m C_{m+j}, per channel
 *     w_ij = K * (k'_i v_j) + skip k'_i v_j              K of S4D, one a head
 *     y_j = sum_i q_i w_ij,   out = sum_j y_j W_j + b
 *
 * The shift state space, a register of the last N keys, is a filter of N taps; the diagonal one
 * (models/s4d.c) has a trained B. The released layer orders channels head by head and its outputs
 * component by component; here every component has projections of its own, so nothing is
 * reordered.
 *
 * Released language models: head_dim=1, blocks as the defaults here, attention in one to three of
 * their blocks. MQAR as in Zoology (Arora et al. 2023): head_dim=2 state=length mlp=identity.
 *
 * Parameters of a layer: 4 D^2 + 4 D for the projections, D (2 N + 1) for the shift, D / h (3 N +
 * 2) for the diagonal state space. FLOPs a token: 8 D^2, 2 D N for the shift (by transforms above
 * 64 taps: 10 D log2(2L)), h D (10 log2(2L) + 10) for the convolutions and gates, and both filters
 * once a batch. State: D min(N, L) + h D N floats a layer. */
#include <math.h>
#include <stdio.h>

#include "engine/ops/cache_append/cache_append.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/long_convolution/long_convolution.h"
#include "engine/ops/long_convolution_step/long_convolution_step.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/shift_filter/shift_filter.h"
#include "models/backbone.h"
#include "models/diagonal.h"
#include "models/state_space.h"

enum { MOST_COMPONENTS = 16 };

typedef struct H3 {
    int64_t state, head_dim;
    int discretisation;
    StateSpace layer;
} H3;

static const Option options[] = {
    {"state", OPTION_INTEGER, offsetof(H3, state), "64", 2, 8192, NULL,
     "taps of the shift and real states of a head (N), even"},
    {"head_dim", OPTION_INTEGER, offsetof(H3, head_dim), "1", 1, MOST_COMPONENTS, NULL,
     "components of a head (h): h^2 states of N"},
    {"discretisation", OPTION_CHOICE, offsetof(H3, discretisation), "bilinear", 0, -1,
     "zoh|bilinear", "from continuous time to tokens"},
    STATE_SPACE_RATES(H3, layer),
};

/* The first place of a register: B of the shift. */
static void fill_first_place(float *B, const Shape *shape, Random *random, double a, double b) {
    (void)random, (void)a, (void)b;
    const int64_t D = shape->extent[1];
    for (int64_t i = 0; i < shape->extent[0] * D; i++) B[i] = i < D ? 1 : 0;
}

/* k (B, L, W) -> (B, L, W): filtered by the shift, with its skip. */
static Tensor *shift(Tape *tape, const ModelContext *context, Tensor *k) {
    const H3 *own = context->options;
    const bool one = tape_mode(tape) == TAPE_STEP;
    const int64_t N = own->state, W = extent(k, 2);
    const int64_t length = one ? context->max_length : extent(k, 1), taps = N < length ? N : length;
    tape_scope(tape, "shift");
    Tensor *B = tape_parameter(tape, "B", SHAPE(N, W), init_fill(fill_first_place, 0, 0),
                               state_space_group(&own->layer));
    Tensor *C =
        tape_parameter(tape, "C", SHAPE(N, W), init_uniform(1 / sqrt((double)N)), GROUP_DECAY);
    Tensor *filter = shift_filter(tape, B, C, taps), *skip = state_space_skip(tape, W);
    if (one) {
        Tensor *keys = cache_append(tape, "register", taps, k, (CacheAppend){.ring = true});
        k = long_convolution_step(tape, keys, filter, skip, tape_position(tape));
    } else {
        k = long_convolution(tape, k, filter, NULL, (ConvolutionGates){.skip = skip});
    }
    tape_scope_end(tape);
    return k;
}

static DiagonalForm form(const H3 *own) {
    return (DiagonalForm){.discretisation = (Discretisation)own->discretisation};
}

/* Components of queries, keys and values, (B, L, D / h) each. */
typedef struct Components {
    Tensor *q[MOST_COMPONENTS], *k[MOST_COMPONENTS], *v[MOST_COMPONENTS];
} Components;

static Components project(Tape *tape, const ModelContext *context, Tensor *u) {
    const H3 *own = context->options;
    const int64_t W = extent(u, 2) / own->head_dim;
    const Init init = backbone_init(context->backbone);
    Components all = {0};
    for (int64_t i = 0; i < own->head_dim; i++) {
        tape_scope(tape, "%lld", (long long)i);
        all.q[i] = backbone_linear(tape, "q", u, W, true, init, NULL);
        all.k[i] = shift(tape, context, backbone_linear(tape, "k", u, W, true, init, NULL));
        all.v[i] = backbone_linear(tape, "v", u, W, true, init, NULL);
        tape_scope_end(tape);
    }
    return all;
}

/* q (K * (k v) + skip k v), (B, L, D / h). */
static Tensor *pair(Tape *tape, const H3 *own, DiagonalParameters modes, Tensor *kernel,
                    Tensor *skip, Tensor *q, Tensor *k, Tensor *v) {
    if (kernel) return long_convolution(tape, v, kernel, NULL, (ConvolutionGates){skip, k, q});
    return multiply(
        tape, q,
        diagonal_token(tape, diagonal_modes(tape, modes, form(own)), multiply(tape, k, v), skip));
}

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    const H3 *own = context->options;
    const int64_t h = own->head_dim, D = extent(u, 2), L = extent(u, 1);
    const Components all = project(tape, context, u);
    const DiagonalParameters modes = diagonal_trained(tape, &own->layer, D / h, own->state / 2);
    Tensor *skip = state_space_skip(tape, D / h), *kernel = NULL, *out = NULL;
    if (tape_mode(tape) != TAPE_STEP) kernel = vandermonde(tape, modes, form(own), L);
    for (int64_t j = 0; j < h; j++) {
        Tensor *y = NULL;
        for (int64_t i = 0; i < h; i++) {
            tape_scope(tape, "pair.%lld.%lld", (long long)i, (long long)j);
            Tensor *part = pair(tape, own, modes, kernel, skip, all.q[i], all.k[i], all.v[j]);
            y = y ? add(tape, y, part) : part;
            tape_scope_end(tape);
        }
        char name[32];
        snprintf(name, sizeof name, "out.%lld", (long long)j);
        out = backbone_linear(tape, name, y, D, j == 0, backbone_init(context->backbone), out);
    }
    return out;
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const H3 *own = values;
    if (backbone->width % own->head_dim)
        return error_set(error, STATUS_USAGE,
                         "head_dim=%lld does not divide width=%lld; choose a divisor",
                         (long long)own->head_dim, (long long)backbone->width);
    const Status even = state_space_check_even(own->state, error);
    return even == STATUS_OK ? state_space_check(&own->layer, error) : even;
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    const H3 *own = values;
    const int64_t taps = own->state < length ? own->state : length;
    return backbone->layers * backbone->width * (taps + own->head_dim * own->state);
}

const Model model_h3 = {
    .name = "h3",
    .title = "H3",
    .paper = {.authors = "Fu, Dao, Saab, Thomas, Rudra, Ré",
              .title = "Hungry Hungry Hippos: Towards Language Modeling with State Space Models",
              .venue = "ICLR",
              .arxiv = "2212.14052",
              .year = 2023},
    .kind = KIND_STATE_SPACE,
    .note = "without the attention blocks of the hybrid language models",
    .options = {options, sizeof options / sizeof *options, sizeof(H3)},
    .backbone = "mlp=gelu_tanh",
    .mixer = mixer,
    .validate = validate,
    .state_floats = state_floats,
};
