/* RWKV-4 (Peng et al. 2023, arXiv 2305.13048, section 3): the whole stack. After a norm of the
 * embedding, layers of
 *
 *     x = x + time(norm1 x);  x = x + channel(norm2 x)
 *
 *     time:     k = (x mixed) W_k;  v = (x mixed) W_v;  r = (x mixed) W_r
 *               y = wkv(k, v);  y = (sigmoid(r) y) W_o
 *     channel:  y = sigmoid((x mixed) W_r) (max((x mixed) W_k, 0)^2 W_v)
 *
 * where each product reads a mixture of its own, mix x[t] + (1 - mix) x[t-1], and wkv is a mean of
 * all values so far with weights e^(k - age exp(decay)), the present one e^(k + first). No biases,
 * no positions. hidden=0 leaves time mixing alone, in the blocks that mixers share and without the
 * norm of the embedding; MQAR as in Zoology (Arora et al. 2023, figure 2): hidden=0 mlp=identity.
 *
 * Parameters of a layer: 13 D^2 + 11 D with a hidden width of 4 D; FLOPs a token: twice that.
 * State: two tokens and the three numbers of wkv a channel, 5 D floats a layer; time mixing alone
 * has 4 D^2 + 5 D parameters and one token less. */
#include <math.h>
#include <stdlib.h>

#include "engine/memory.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/token_shift/token_shift.h"
#include "engine/ops/wkv/wkv.h"
#include "models/backbone.h"

typedef struct Rwkv4 {
    double hidden;
    bool layerwise_lr;
} Rwkv4;

static const Option options[] = {
    {"hidden", OPTION_REAL, offsetof(Rwkv4, hidden), "4", 0, 64, NULL,
     "hidden width of channel mixing / D, rounded; 0: none, what mlp says in its place"},
    {"layerwise_lr", OPTION_SWITCH, offsetof(Rwkv4, layerwise_lr), "no", 0, -1, NULL,
     "decays learn twice, bonuses three times as fast (the later trainer, v4neo)"},
};

/* Where a layer stands: 0 .. 1 from the first to the last, and 1 .. above 0. */
typedef struct Depth {
    double up, down;
} Depth;

static Depth depth_of(const ModelContext *context) {
    const double layer = (double)context->layer, layers = (double)context->backbone->layers;
    return (Depth){layers > 1 ? layer / (layers - 1) : 0, 1 - layer / layers};
}

/* Half-lives from some 100 tokens to a twentieth of one, the short ones rarer in later layers. */
static void fill_decay(float *decay, const Shape *shape, Random *random, double up, double b) {
    (void)random, (void)b;
    const int64_t D = shape->extent[0];
    for (int64_t c = 0; c < D; c++)
        decay[c] = (float)(-5 + 8 * pow(D > 1 ? (double)c / (double)(D - 1) : 0, 0.7 + 1.3 * up));
}

static void fill_first(float *first, const Shape *shape, Random *random, double a, double b) {
    (void)random, (void)a, (void)b;
    for (int64_t c = 0; c < shape->extent[0]; c++)
        first[c] = (float)(log(0.3) + 0.5 * (double)((c + 1) % 3 - 1));
}

static void fill_mix(float *mix, const Shape *shape, Random *random, double power, double offset) {
    (void)random;
    const int64_t D = shape->extent[0];
    for (int64_t c = 0; c < D; c++) mix[c] = (float)(pow((double)c / (double)D, power) + offset);
}

/* a . b; eight sums, so that compilers may use vectors. */
static double dot(const double *a, const double *b, int64_t n) {
    double sums[8] = {0}, sum = 0;
    for (int64_t i = 0; i + 8 <= n; i += 8)
        for (int64_t j = 0; j < 8; j++) sums[j] += a[i + j] * b[i + j];
    for (int64_t i = n / 8 * 8; i < n; i++) sum += a[i] * b[i];
    for (int64_t j = 0; j < 8; j++) sum += sums[j];
    return sum;
}

/* Orthonormal rows (in <= out) of a normal matrix by Gram and Schmidt's process, times the gain
 * sqrt(out / in): a uniformly random one, as its triangular factor has a positive diagonal. */
static void fill_orthogonal(float *weight, const Shape *shape, Random *random, double a, double b) {
    (void)a, (void)b;
    const int64_t in = shape->extent[0], out = shape->extent[1];
    const double gain = sqrt((double)out / (double)in);
    double *rows = memory_take((size_t)(in * out) * sizeof *rows);
    for (int64_t i = 0; i < in * out; i++) rows[i] = random_normal(random);
    for (int64_t i = 0; i < in; i++) {
        double *row = rows + i * out;
        const double scale = 1 / sqrt(dot(row, row, out));
        for (int64_t c = 0; c < out; c++) {
            row[c] *= scale;
            weight[i * out + c] = (float)(gain * row[c]);
        }
        for (int64_t j = i + 1; j < in; j++) {
            double *other = rows + j * out;
            const double along = dot(row, other, out);
            for (int64_t c = 0; c < out; c++) other[c] -= along * row[c];
        }
    }
    free(rows);
}

/* The published optimiser decays no weight at all. */
static Tensor *project(Tape *tape, const char *name, Tensor *x, int64_t out, Init init,
                       Activation activation) {
    tape_scope(tape, "%s", name);
    Tensor *weight =
        tape_parameter(tape, "weight", SHAPE(extent(x, -1), out), init, GROUP_NO_DECAY);
    tape_scope_end(tape);
    return linear(tape, x, weight, NULL, NULL, activation);
}

static Tensor *mix(Tape *tape, const char *name, int64_t D, double power, double offset) {
    return tape_parameter(tape, name, SHAPE(D), init_fill(fill_mix, power, offset), GROUP_NO_DECAY);
}

/* x (B, L, D) in `count` mixtures with the token before. */
static void mixtures(Tape *tape, Tensor *x, Tensor *const *mixes, int count, Tensor **mixed) {
    Tensor *next;
    Tensor *before = tape_carry(tape, "before", SHAPE(extent(x, 0), extent(x, 2)));
    token_shift(tape, x, mixes, count, before, mixed, &next);
    tape_carry_out(tape, "before", next);
}

static Tensor *time_mixing(Tape *tape, const ModelContext *context, Tensor *x) {
    const Rwkv4 *own = context->options;
    const int64_t D = extent(x, 2);
    const Depth depth = depth_of(context);
    const Group decays = {.no_decay = true, .rate_factor = own->layerwise_lr ? 2 : 1};
    const Group bonuses = {.no_decay = true, .rate_factor = own->layerwise_lr ? 3 : 1};
    Tensor *const mixes[] = {mix(tape, "mix_k", D, depth.down, 0),
                             mix(tape, "mix_v", D, depth.down, 0.3 * depth.up),
                             mix(tape, "mix_r", D, 0.5 * depth.down, 0)};
    Tensor *mixed[3], *next;
    mixtures(tape, x, mixes, 3, mixed);
    Tensor *k = project(tape, "key", mixed[0], D, init_constant(0), ACTIVATION_NONE);
    Tensor *v =
        project(tape, "value", mixed[1], D, init_fill(fill_orthogonal, 0, 0), ACTIVATION_NONE);
    Tensor *r = project(tape, "receptance", mixed[2], D, init_constant(0), ACTIVATION_NONE);
    Tensor *decay =
        tape_parameter(tape, "decay", SHAPE(D), init_fill(fill_decay, depth.up, 0), decays);
    Tensor *first = tape_parameter(tape, "first", SHAPE(D), init_fill(fill_first, 0, 0), bonuses);
    Tensor *state = tape_carry(tape, "state", SHAPE(extent(x, 0), 3, D));
    Tensor *y = wkv(tape, k, v, decay, first, state, &next);
    tape_carry_out(tape, "state", next);
    return project(tape, "output", gate(tape, y, r, ACTIVATION_SIGMOID), D, init_constant(0),
                   ACTIVATION_NONE);
}

static Tensor *channel_mixing(Tape *tape, const ModelContext *context, Tensor *x) {
    const Rwkv4 *own = context->options;
    const int64_t D = extent(x, 2), hidden = llrint(fmax(1, own->hidden * (double)D));
    const double power = depth_of(context).down;
    Tensor *const mixes[] = {mix(tape, "mix_k", D, power, 0), mix(tape, "mix_r", D, power, 0)};
    Tensor *mixed[2];
    mixtures(tape, x, mixes, 2, mixed);
    Tensor *k = project(tape, "key", mixed[0], hidden, init_fill(fill_orthogonal, 0, 0),
                        ACTIVATION_SQUARED_RELU);
    Tensor *r = project(tape, "receptance", mixed[1], D, init_constant(0), ACTIVATION_NONE);
    Tensor *v = project(tape, "value", k, D, init_constant(0), ACTIVATION_NONE);
    return gate(tape, v, r, ACTIVATION_SIGMOID);
}

/* x + mixing(norm x). */
static Tensor *half(Tape *tape, const ModelContext *context, Tensor *x, const char *norm,
                    const char *name, Tensor *(*mixing)(Tape *, const ModelContext *, Tensor *)) {
    Tensor *y = backbone_norm(tape, context->backbone, norm, x);
    tape_scope(tape, "%s", name);
    y = mixing(tape, context, y);
    tape_scope_end(tape);
    return add(tape, x, backbone_dropout(tape, context->backbone, y));
}

static Tensor *stack(Tape *tape, const ModelContext *context, Tensor *x) {
    static const Model time_alone = {.mixer = time_mixing};
    const Rwkv4 *rwkv = context->options;
    if (rwkv->hidden <= 0) return backbone_blocks(tape, &time_alone, context, x);
    ModelContext own = *context;
    x = backbone_norm(tape, context->backbone, "norm0", x);
    for (own.layer = 0; own.layer < context->backbone->layers; own.layer++) {
        if (context->backbone->recompute) tape_segment(tape);
        tape_scope(tape, "layers.%lld", (long long)own.layer);
        x = half(tape, &own, x, "norm1", "time", time_mixing);
        x = half(tape, &own, x, "norm2", "channel", channel_mixing);
        tape_scope_end(tape);
        if (context->backbone->recompute) tape_segment_end(tape);
    }
    return x;
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const Rwkv4 *own = values;
    if (own->hidden <= 0 || (backbone->mlp == MLP_NONE && backbone->norm_place == PLACE_PRE))
        return STATUS_OK;
    return error_set(error, STATUS_USAGE,
                     "the blocks of RWKV-4 hold what its paper puts there: leave mlp=none and "
                     "norm_place=pre, or take time mixing alone (hidden=0)");
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const Rwkv4 *own = values;
    return backbone->layers * (own->hidden > 0 ? 5 : 4) * backbone->width;
}

const Model model_rwkv4 = {
    .name = "rwkv4",
    .title = "RWKV-4",
    .paper = {.authors = "Peng, Alcaide, Anthony, Albalak, Arcadinho, et al.",
              .title = "RWKV: Reinventing RNNs for the Transformer Era",
              .venue = "Findings of EMNLP",
              .arxiv = "2305.13048",
              .year = 2023},
    .kind = KIND_RECURRENT,
    .note = "the published start of embedding and head (theirs are the suite's), the penalty on "
            "the largest logit, head-QK copying, channel mixing in the place of the first time "
            "mixing",
    .options = {options, sizeof options / sizeof *options, sizeof(Rwkv4)},
    .backbone = "mlp=none",
    .stack = stack,
    .validate = validate,
    .state_floats = state_floats,
};
