/* Long short-term memory. With one product for the input side of all time steps:
 *
 *     G_t = x_t Wx + b + h_{t-1} Wh;  i, f, o = sigmoid(G_i, G_f, G_o);  g = tanh(G_g)
 *     c_t = f c_{t-1} + i g;  h_t = o tanh(c_t)
 *
 * in a pre-norm residual block, x + LSTM(norm x), which is what makes deep stacks trainable; the
 * hidden width is D. No MLP by default: a recurrent row of MQAR tables is two such layers.
 *
 * Parameters of a layer: 8 D^2 + 4 D (and D^2 + D with projection=yes); FLOPs a token: twice that.
 * State: h and c, 2 D floats a layer, whatever the length. */
#include <math.h>

#include "engine/ops/linear/linear.h"
#include "engine/ops/lstm/lstm.h"
#include "models/backbone.h"

typedef struct LstmOptions {
    int init;
    double init_bound;
    bool projection;
} LstmOptions;

typedef enum LstmInit { LSTM_INIT_TORCH, LSTM_INIT_FORGET1, LSTM_INIT_CHRONO } LstmInit;

static const Option options[] = {
    {"init", OPTION_CHOICE, offsetof(LstmOptions, init), "torch", 0, -1, "torch|forget1|chrono",
     "start of the gate biases: as PyTorch, forget gates + 1, or for memories up to the length"},
    {"init_bound", OPTION_REAL, offsetof(LstmOptions, init_bound), "0", 0, 10, NULL,
     "weights start uniform in +-this; 0: 1 / sqrt(D)"},
    {"projection", OPTION_SWITCH, offsetof(LstmOptions, projection), "no", 0, -1, NULL,
     "a linear map from h to the residual stream"},
};

/* PyTorch keeps two biases that only ever act as their sum, each uniform in +-bound. */
static void fill_torch(float *bias, const Shape *shape, Random *random, double bound, double b) {
    (void)b;
    for (int64_t i = 0; i < shape->extent[0]; i++)
        bias[i] = (float)(bound * (2 * (random_real(random) + random_real(random)) - 2));
}

/* Forget gates start open (Jozefowicz, Zaremba and Sutskever 2015, section 2.2). */
static void fill_forget1(float *bias, const Shape *shape, Random *random, double bound, double b) {
    const int64_t H = shape->extent[0] / 4;
    fill_torch(bias, shape, random, bound, b);
    for (int64_t u = 0; u < H; u++) bias[H + u] += 1;
}

/* Memories of 1 .. longest tokens: b_f = log U(1, longest - 1), b_i = -b_f (Tallec and Ollivier
 * 2018, arXiv 1804.11188, equation 16). */
static void fill_chrono(float *bias, const Shape *shape, Random *random, double bound,
                        double longest) {
    const int64_t H = shape->extent[0] / 4;
    fill_torch(bias, shape, random, bound, longest);
    for (int64_t u = 0; u < H; u++) {
        const double span = fmax(longest - 2, 0);
        bias[H + u] = (float)log(1 + span * random_real(random));
        bias[u] = -bias[H + u];
    }
}

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *x) {
    static void (*const fills[])(float *, const Shape *, Random *, double, double) = {
        [LSTM_INIT_TORCH] = fill_torch,
        [LSTM_INIT_FORGET1] = fill_forget1,
        [LSTM_INIT_CHRONO] = fill_chrono,
    };
    const LstmOptions *own = context->options;
    const int64_t B = extent(x, 0), H = context->backbone->width;
    const double bound = own->init_bound > 0 ? own->init_bound : 1 / sqrt((double)H);
    const Init uniform = init_uniform(bound);

    tape_scope(tape, "input");
    Tensor *w = tape_parameter(tape, "weight", SHAPE(extent(x, 2), 4 * H), uniform, GROUP_DECAY);
    Tensor *bias = tape_parameter(tape, "bias", SHAPE(4 * H),
                                  init_fill(fills[own->init], bound, (double)context->max_length),
                                  GROUP_NO_DECAY);
    Tensor *gates = linear(tape, x, w, bias, NULL, ACTIVATION_NONE);
    tape_scope_end(tape);

    Tensor *recurrent = tape_parameter(tape, "recurrent", SHAPE(H, 4 * H), uniform, GROUP_DECAY);
    const LstmState state = {.h = tape_carry(tape, "h", SHAPE(B, H)),
                             .c = tape_carry(tape, "c", SHAPE(B, H))};
    LstmState next = {0};
    Tensor *h = lstm(tape, gates, recurrent, state.h ? &state : NULL, &next);
    tape_carry_out(tape, "h", next.h);
    tape_carry_out(tape, "c", next.c);
    if (!own->projection) return h;
    return backbone_linear(tape, "out", h, H, true, uniform, NULL);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)values, (void)length;
    return backbone->layers * 2 * backbone->width;
}

const Model model_lstm = {
    .name = "lstm",
    .title = "LSTM",
    .paper = {.authors = "Hochreiter, Schmidhuber",
              .title = "Long Short-Term Memory",
              .venue = "Neural Computation 9(8)",
              .arxiv = "",
              .year = 1997},
    .kind = KIND_RECURRENT,
    .note =
        "with forget gates (Gers, Schmidhuber and Cummins 2000), without peepholes; in residual "
        "blocks instead of a plain stack",
    .options = {options, sizeof options / sizeof *options, sizeof(LstmOptions)},
    .backbone = "mlp=none",
    .mixer = mixer,
    .state_floats = state_floats,
};
