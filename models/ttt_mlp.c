/* TTT-MLP: TTT-Linear's layer and block (models/ttt_linear.c) around a model with a hidden layer of
 * 4 f channels,
 *
 *     model(x; W1, c1, W2, c2) = x + norm(gelu(x W1 + c1) W2 + c2)
 *
 * (Sun et al. 2024, arXiv 2407.04620), and a tenth of its step size.
 *
 * Parameters of a layer: 4 D^2 + D (8 f + H + 3 K + 13) + H + b; FLOPs a token: twice the products
 * outside and D (56 f + 10 b). State: D (8 f + 5) weights and as many sums of gradients, and
 * 3 D (K - 1). */
#include "models/ttt.h"

enum { HIDDEN = 4 };

static const Option options[] = {TTT_OPTIONS("0.1")};

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    return ttt_mixer(tape, context, u, HIDDEN);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    return ttt_floats(backbone, values, HIDDEN);
}

const Model model_ttt_mlp = {
    .name = "ttt_mlp",
    .title = "TTT-MLP",
    .paper = {.authors = "Sun, Li, Dalal, Xu, Vikram, Zhang, Dubois, Chen, Wang, Koyejo, "
                         "Hashimoto, Guestrin",
              .title = "Learning to (Learn at Test Time): RNNs with Expressive Hidden States",
              .venue = "arXiv",
              .arxiv = "2407.04620",
              .year = 2024},
    .kind = KIND_RECURRENT,
    .note = "base_rate is constant: the released runs warm it up from a tenth; as in ttt_linear, "
            "the SwiGLU's last projection starts smaller, and RMS norms have epsilon 1e-5",
    .options = {options, sizeof options / sizeof *options, sizeof(TttOptions)},
    .backbone = "mlp=swiglu mlp_ratio=2.6667 norm=rms",
    .opening = ttt_opening,
    .mixer = mixer,
    .validate = ttt_validate,
    .state_floats = state_floats,
};
