/* xLSTM (Beck et al. 2024, arXiv 2405.04517, sections 2.3 and 2.4, figures 10 and 11). With D the
 * width, E = expand D rounded up to 64 the inner width, H heads:
 *
 *     mLSTM block:  u = norm(x);  a, z = in_a(u), in_z(u);  c = silu(convolution(a))
 *                   q, k = blockwise(c);  v = blockwise(a);  i, f = gates([q k v])
 *                   h = head_norm(mlstm(q, k, v, i, f))          matrix memory, exponential gates
 *                   x + out((h + skip c) silu(z))
 *
 *     sLSTM block:  u = norm(x);  c = silu(convolution(u));  i, f = heads(c);  z, o = heads(u)
 *                   x = x + head_norm(slstm(i, f, z, o))                 scalar memory, recurrent
 *                   x + down(gelu(gate(w)) up(w)),  w = norm(x)
 *
 * q, k and v are block-diagonal maps of `qkv_block` channels each; i, f, z and o of a head's.
 * xLSTM[a:b] has b sLSTM blocks for a mLSTM blocks. Without its convolution an mLSTM block has c =
 * silu(a), an sLSTM block c = u (as in the authors' code); formal languages were learnt with sLSTM
 * blocks without (appendix B.1.1): slstm_convolution=0.
 *
 * Parameters of an mLSTM block: 3 D E + E (3 qkv_block + 6 H + K + 3), some 6 D^2, of an sLSTM
 * block: 8 D^2 / H + 3 F D + D (K + 8) with F = 1.3 D rounded up to 64; FLOPs a token: twice that,
 * and 4 E^2 / H + 130 E for the matrix memory. State: E^2 / H + E + H and (K - 1) E floats, or (K +
 * 3) D.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/ops/block_linear/block_linear.h"
#include "engine/ops/channel_gain/channel_gain.h"
#include "engine/ops/linear/linear.h"
#include "engine/ops/mlstm/mlstm.h"
#include "engine/ops/mlstm_step/mlstm_step.h"
#include "engine/ops/norm/norm.h"
#include "engine/ops/pointwise/pointwise.h"
#include "engine/ops/short_convolution/short_convolution.h"
#include "engine/ops/slstm/slstm.h"
#include "models/backbone.h"

typedef struct Xlstm {
    int blocks;
    char slstm_at[OPTION_TEXT_BYTES];
    int64_t heads, convolution, slstm_convolution, qkv_block;
    double expand, ffn_ratio;
} Xlstm;

/* xLSTM[a:b], in the order of the option's choices. */
static const struct { int64_t mlstm, slstm; } mixes[] = {{1, 0}, {7, 1}, {1, 1}, {0, 1}};

static const Option options[] = {
    {"blocks", OPTION_CHOICE, offsetof(Xlstm, blocks), "1:1", 0, -1, "1:0|7:1|1:1|0:1",
     "mLSTM blocks to sLSTM blocks, xLSTM[a:b]; sLSTM blocks end each a + b"},
    {"slstm_at", OPTION_TEXT, offsetof(Xlstm, slstm_at), "", 0, -1, NULL,
     "numbers of the sLSTM blocks instead, from 0, with commas: 3,20 in the paper's 24 blocks of "
     "[7:1]"},
    {"heads", OPTION_INTEGER, offsetof(Xlstm, heads), "4", 1, 1024, NULL, "heads (H)"},
    {"expand", OPTION_REAL, offsetof(Xlstm, expand), "2", 0.01, 64, NULL,
     "inner channels of an mLSTM block / D, then rounded up to a multiple of 64"},
    {"convolution", OPTION_INTEGER, offsetof(Xlstm, convolution), "4", 0, SHORT_CONVOLUTION_TAPS,
     NULL, "taps of the short convolution (K); 0: there is none"},
    {"slstm_convolution", OPTION_INTEGER, offsetof(Xlstm, slstm_convolution), "-1", -1,
     SHORT_CONVOLUTION_TAPS, NULL, "the same in sLSTM blocks; -1: as in the others"},
    {"qkv_block", OPTION_INTEGER, offsetof(Xlstm, qkv_block), "4", 1, 65536, NULL,
     "channels of a block of the maps to q, k and v"},
    {"ffn_ratio", OPTION_REAL, offsetof(Xlstm, ffn_ratio), "1.3", 0.01, 64, NULL,
     "hidden width of an sLSTM block's gated MLP / D, then rounded up to a multiple of 64"},
};

/* Nguyen and Salazar 2019 for what reads the residual stream; what writes it as in GPT-NeoX (Wang
 * and Komatsuzaki 2021). */
static Init small_init(const Backbone *backbone) {
    return init_normal(sqrt(2 / (5 * (double)backbone->width)));
}
static Init out_init(const Backbone *backbone) {
    return init_normal(2 / ((double)backbone->layers * sqrt((double)backbone->width)));
}

static int64_t round_up(double width) {
    return 64 * (int64_t)fmax(1, ceil(width / 64 - 1e-9));
}
static int64_t inner_width(const Backbone *backbone, const Xlstm *own) {
    return round_up(own->expand * (double)backbone->width);
}

static int64_t slstm_taps(const Xlstm *own) {
    return own->slstm_convolution < 0 ? own->convolution : own->slstm_convolution;
}

/* x (B, L, E) -> (B, L, E): the short convolution of K taps with SiLU; starts as PyTorch's. */
static Tensor *convolve(Tape *tape, int64_t K, Tensor *x) {
    const int64_t B = extent(x, 0), E = extent(x, 2);
    const Init init = init_uniform(1 / sqrt((double)K));
    tape_scope(tape, "convolution");
    Tensor *taps = tape_parameter(tape, "weight", SHAPE(K, E), init, GROUP_DECAY);
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(E), init, GROUP_NO_DECAY);
    Tensor *state = tape_carry(tape, "state", SHAPE(B, K - 1, E)), *next;
    x = short_convolution(tape, x, taps, bias, (ShortConvolution){.activation = ACTIVATION_SILU},
                          state, &next);
    tape_carry_out(tape, "state", next);
    tape_scope_end(tape);
    return x;
}

/* (B, L, G I) -> (B, L, G O) by G blocks. */
static Tensor *blockwise(Tape *tape, const char *name, Tensor *x, int64_t G, int64_t O, Init init) {
    tape_scope(tape, "%s", name);
    Tensor *w = tape_parameter(tape, "weight", SHAPE(G, extent(x, 2) / G, O), init, GROUP_DECAY);
    Tensor *y = block_linear(tape, x, w);
    tape_scope_end(tape);
    return y;
}

/* Layer norm of each head with a gain for each channel; c and skip as in channel_gain. */
static Tensor *head_norm(Tape *tape, Tensor *x, int64_t heads, Tensor *c, Tensor *skip) {
    const int64_t B = extent(x, 0), L = extent(x, 1), E = extent(x, 2);
    Tensor *y = tape_reshape(tape, x, SHAPE(B, L, heads, E / heads));
    y = tape_reshape(tape, layer_norm(tape, y, NULL, NULL, 1e-5), SHAPE(B, L, E));
    Tensor *gain =
        tape_parameter(tape, "head_norm.gamma", SHAPE(E), init_constant(1), GROUP_NO_DECAY);
    return channel_gain(tape, y, gain, c, skip);
}

/* Input gates N(0, 0.1); forget gates from 3 to 6, open for some 20 to 400 tokens. */
static void fill_gate_bias(float *bias, const Shape *shape, Random *random, double a, double b) {
    (void)a, (void)b;
    const int64_t H = shape->extent[0] / 2;
    for (int64_t h = 0; h < H; h++) {
        bias[h] = (float)(0.1 * random_normal(random));
        bias[H + h] = (float)(H > 1 ? 3 + 3 * (double)h / (double)(H - 1) : 3);
    }
}

/* One row of q, k and v after the other, W [q; k; v] + b -> (B, L, 2 H). */
static Tensor *gates(Tape *tape, Tensor *const qkv[3], int64_t H) {
    static const char *const names[] = {"q.weight", "k.weight", "v.weight"};
    Tensor *sum = NULL;
    tape_scope(tape, "gates");
    Tensor *bias =
        tape_parameter(tape, "bias", SHAPE(2 * H), init_fill(fill_gate_bias, 0, 0), GROUP_NO_DECAY);
    for (int i = 0; i < 3; i++) {
        Tensor *w = tape_parameter(tape, names[i], SHAPE(extent(qkv[i], 2), 2 * H),
                                   init_constant(0), GROUP_DECAY);
        sum = linear(tape, qkv[i], w, i == 0 ? bias : NULL, sum, ACTIVATION_NONE);
    }
    tape_scope_end(tape);
    return sum;
}

/* The matrix memory, in chunks or for one token. */
static Tensor *memory(Tape *tape, Tensor *const qkv[3], int64_t H) {
    Tensor *in = gates(tape, qkv, H);
    if (tape_mode(tape) != TAPE_STEP) return mlstm(tape, qkv[0], qkv[1], qkv[2], in, H);
    const int64_t B = extent(in, 0), d = extent(qkv[0], 2) / H;
    const MlstmState state = {.C = tape_carry(tape, "C", SHAPE(B, H, d, d)),
                              .n = tape_carry(tape, "n", SHAPE(B, H, d)),
                              .m = tape_carry(tape, "m", SHAPE(B, H))};
    MlstmState next;
    Tensor *h = mlstm_step(tape, &state, qkv[0], qkv[1], qkv[2], in, &next);
    tape_carry_out(tape, "C", next.C);
    tape_carry_out(tape, "n", next.n);
    tape_carry_out(tape, "m", next.m);
    return h;
}

/* u (B, L, D), normalised, to what is added to the residual stream. */
static Tensor *mlstm_branch(Tape *tape, const ModelContext *context, Tensor *u) {
    const Xlstm *own = context->options;
    const Backbone *backbone = context->backbone;
    const int64_t E = inner_width(backbone, own);
    const Init init = small_init(backbone);
    Tensor *a = backbone_linear(tape, "in_a", u, E, false, init, NULL);
    Tensor *z = backbone_linear(tape, "in_z", u, E, false, init, NULL);
    Tensor *c = own->convolution > 0 ? convolve(tape, own->convolution, a)
                                     : activate(tape, a, ACTIVATION_SILU);
    Tensor *const qkv[3] = {blockwise(tape, "q", c, E / own->qkv_block, own->qkv_block, init),
                            blockwise(tape, "k", c, E / own->qkv_block, own->qkv_block, init),
                            blockwise(tape, "v", a, E / own->qkv_block, own->qkv_block, init)};
    Tensor *h = memory(tape, qkv, own->heads);
    Tensor *skip = tape_parameter(tape, "skip", SHAPE(E), init_constant(1), GROUP_NO_DECAY);
    h = head_norm(tape, h, own->heads, c, skip);
    h = gate(tape, h, z, ACTIVATION_SILU);
    h = backbone_linear(tape, "out", h, backbone->width, false, out_init(backbone), NULL);
    return backbone_dropout(tape, backbone, h);
}

/* Forget gates of a head from 5 down to -7, a power law that is steeper in later blocks (ratio:
 * place of the block, 0 to 1), so that units remember for very different times; the others 0. */
static void fill_slstm_bias(float *bias, const Shape *shape, Random *random, double ratio,
                            double b) {
    (void)random, (void)b;
    const int64_t U = shape->extent[2];
    for (int64_t i = 0; i < shape->extent[0] * 4 * U; i++) {
        const double place = U > 1 ? (double)(i % U) / (double)(U - 1) : 0;
        bias[i] = i / U % 4 == 1 ? (float)(5 - 12 * pow(place, 0.3 + 1.3 * ratio)) : 0;
    }
}

/* u (B, L, D), normalised, to what is added to the residual stream. */
static Tensor *slstm_branch(Tape *tape, const ModelContext *context, Tensor *u) {
    const Xlstm *own = context->options;
    const Backbone *backbone = context->backbone;
    const int64_t B = extent(u, 0), D = extent(u, 2), H = own->heads, U = D / H;
    const double last = (double)(backbone->layers - 1);
    const Init init = small_init(backbone);
    Tensor *c = slstm_taps(own) > 0 ? convolve(tape, slstm_taps(own), u) : u;
    SlstmInputs in = {.gates_if = blockwise(tape, "gates_if", c, H, 2 * U, init),
                      .gates_zo = blockwise(tape, "gates_zo", u, H, 2 * U, init)};
    in.recurrent =
        tape_parameter(tape, "recurrent", SHAPE(H, U, 4, U), init_constant(0), GROUP_NO_DECAY);
    in.bias =
        tape_parameter(tape, "bias", SHAPE(H, 4, U),
                       init_fill(fill_slstm_bias, last > 0 ? (double)context->layer / last : 0, 0),
                       GROUP_NO_DECAY);
    in.state = tape_carry(tape, "memory", SHAPE(B, 4, D));
    Tensor *next, *h = slstm(tape, &in, &next);
    tape_carry_out(tape, "memory", next);
    return head_norm(tape, backbone_dropout(tape, backbone, h), H, NULL, NULL);
}

/* The gated MLP behind an sLSTM. */
static Tensor *mlp(Tape *tape, const ModelContext *context, Tensor *x) {
    const Xlstm *own = context->options;
    const Backbone *backbone = context->backbone;
    const int64_t F = round_up(own->ffn_ratio * (double)backbone->width);
    const Init init = small_init(backbone);
    Tensor *open = backbone_linear(tape, "gate", x, F, false, init, NULL);
    Tensor *up = backbone_linear(tape, "up", x, F, false, init, NULL);
    Tensor *y = gate(tape, up, open, ACTIVATION_GELU);
    y = backbone_linear(tape, "down", y, backbone->width, false, out_init(backbone), NULL);
    return backbone_dropout(tape, backbone, y);
}

/* Is block number `layer` an sLSTM block? */
static bool is_slstm(const Xlstm *own, int64_t layer) {
    const int64_t a = mixes[own->blocks].mlstm, b = mixes[own->blocks].slstm;
    if (!*own->slstm_at) return layer % (a + b) >= a;
    for (const char *at = own->slstm_at; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strtoll(at, NULL, 10) == layer) return true;
    }
    return false;
}

static Tensor *block(Tape *tape, const ModelContext *context, Tensor *x) {
    const bool scalar = is_slstm(context->options, context->layer);
    Tensor *u = backbone_norm(tape, context->backbone, "norm1", x);
    tape_scope(tape, "mixer");
    x = add(tape, x, (scalar ? slstm_branch : mlstm_branch)(tape, context, u));
    tape_scope_end(tape);
    if (!scalar) return x;
    u = backbone_norm(tape, context->backbone, "norm2", x);
    tape_scope(tape, "mlp");
    x = add(tape, x, mlp(tape, context, u));
    tape_scope_end(tape);
    return x;
}

static Tensor *stack(Tape *tape, const ModelContext *context, Tensor *x) {
    ModelContext own = *context;
    for (own.layer = 0; own.layer < context->backbone->layers; own.layer++) {
        if (context->backbone->recompute) tape_segment(tape);
        tape_scope(tape, "layers.%lld", (long long)own.layer);
        x = block(tape, &own, x);
        tape_scope_end(tape);
        if (context->backbone->recompute) tape_segment_end(tape);
    }
    return x;
}

/* slstm_at: block numbers below layers, separated by commas. */
static Status validate_places(const Backbone *backbone, const Xlstm *own, Error *error) {
    const int64_t a = mixes[own->blocks].mlstm, b = mixes[own->blocks].slstm;
    if (!*own->slstm_at && a && b && backbone->layers < a + b)
        return error_set(error, STATUS_USAGE,
                         "layers=%lld is too few for xLSTM[%lld:%lld]: take %lld or more, or name "
                         "the sLSTM blocks (slstm_at)",
                         (long long)backbone->layers, (long long)a, (long long)b,
                         (long long)(a + b));
    for (const char *at = own->slstm_at; *at;) {
        char *end;
        const long long place = strtoll(at, &end, 10);
        if (end == at || (*end && *end != ',') || place < 0 || place >= backbone->layers)
            return error_set(error, STATUS_USAGE,
                             "slstm_at=%s: expected block numbers, 0 to %lld, with commas "
                             "between them",
                             own->slstm_at, (long long)backbone->layers - 1);
        at = *end ? end + 1 : end;
    }
    return STATUS_OK;
}

static Status validate(const Backbone *backbone, const void *values, Error *error) {
    const Xlstm *own = values;
    const int64_t E = inner_width(backbone, own);
    if (backbone->mlp != MLP_NONE || backbone->norm_place != PLACE_PRE)
        return error_set(error, STATUS_USAGE,
                         "the blocks of xLSTM hold what their paper puts there: leave mlp=none and "
                         "norm_place=pre");
    if (E % own->heads || E % own->qkv_block)
        return error_set(
            error, STATUS_USAGE,
            "heads=%lld and qkv_block=%lld must divide the inner width, %lld (expand x "
            "width, rounded up to a multiple of 64)",
            (long long)own->heads, (long long)own->qkv_block, (long long)E);
    if (own->convolution == 1 || own->slstm_convolution == 1)
        return error_set(error, STATUS_USAGE,
                         "a convolution of 1 tap sees no other token; expected 0 for none, or 2 to "
                         "%d",
                         SHORT_CONVOLUTION_TAPS);
    for (int64_t layer = 0; layer < backbone->layers; layer++)
        if (is_slstm(own, layer) && backbone->width % own->heads)
            return error_set(error, STATUS_USAGE,
                             "heads=%lld must divide width=%lld, the units of an sLSTM block",
                             (long long)own->heads, (long long)backbone->width);
    return validate_places(backbone, own, error);
}

/* Tokens that a convolution remembers. */
static int64_t past_of(int64_t taps) {
    return taps > 0 ? taps - 1 : 0;
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    const Xlstm *own = values;
    const int64_t E = inner_width(backbone, own), H = own->heads, D = backbone->width;
    const int64_t past = past_of(own->convolution), slstm_past = past_of(slstm_taps(own));
    int64_t floats = 0;
    for (int64_t layer = 0; layer < backbone->layers; layer++)
        floats += is_slstm(own, layer) ? (slstm_past + 4) * D : E * (E / H) + E + H + past * E;
    return floats;
}

const Model model_xlstm = {
    .name = "xlstm",
    .title = "xLSTM",
    .paper = {.authors = "Beck, Pöppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter, "
                         "Hochreiter",
              .title = "xLSTM: Extended Long Short-Term Memory",
              .venue = "NeurIPS",
              .arxiv = "2405.04517",
              .year = 2024},
    .kind = KIND_RECURRENT,
    .note = "the block of the paper, not that of xLSTM 7B",
    .options = {options, sizeof options / sizeof *options, sizeof(Xlstm)},
    .backbone = "mlp=none norm=layer_gain",
    .stack = stack,
    .validate = validate,
    .state_floats = state_floats,
};
