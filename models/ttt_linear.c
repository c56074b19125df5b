/* TTT-Linear: a layer whose state is a linear model that learns at test time (Sun et al. 2024,
 * arXiv 2407.04620). Per head, with f = D / H channels and tokens in mini-batches of b:
 *
 *     q, k = convolution_q(p), convolution_k(p), p = q(u);  v = v(u)       both turned by rotary
 *     rate = sigmoid(u theta + theta_0)                                    a number a head
 *     model(x; W, c) = x + norm(x W + c)
 *     W <- W - tau (eta_base / f) sum rate d/dW |model(k; W) - v|^2 / 2    likewise c
 *     out(norm(model(q; W, c)) gelu(gate(u)))
 *
 * (engine/ops/ttt). backbone=transformer: q and k from projections of their own, no gate. A block
 * is x + convolution(norm(x)), then the layer, then a SwiGLU; the paper's figure of the Transformer
 * backbone lacks the first, which pre_convolution=no leaves out; its released settings have it.
 *
 * Where features are exactly zero, so are z and its variance, the inner norm's slope is 1 /
 * sqrt(epsilon) = 1000, and a step of descent multiplies what a gradient says about c by some
 * eta / epsilon = 6e4: it leaves float32 after eight mini-batches of such tokens and would reach
 * 1e237 in the 49 of mnist, in double precision likewise. Nothing is clipped inside, as published.
 *
 * Parameters of a layer: 4 D^2 + D (f + H + 3 K + 9) + H + b; FLOPs a token: twice the products
 * and D (6 f + 2 b). State: D (f + 1) weights and as many sums of gradients, and 3 D (K - 1). */
#include "models/ttt.h"

static const Option options[] = {TTT_OPTIONS("1")};

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *u) {
    return ttt_mixer(tape, context, u, 0);
}

static int64_t state_floats(const Backbone *backbone, const void *values, int64_t length) {
    (void)length;
    return ttt_floats(backbone, values, 0);
}

const Model model_ttt_linear = {
    .name = "ttt_linear",
    .title = "TTT-Linear",
    .paper = {.authors = "Sun, Li, Dalal, Xu, Vikram, Zhang, Dubois, Chen, Wang, Koyejo, "
                         "Hashimoto, Guestrin",
              .title = "Learning to (Learn at Test Time): RNNs with Expressive Hidden States",
              .venue = "arXiv",
              .arxiv = "2407.04620",
              .year = 2024},
    .kind = KIND_RECURRENT,
    .note =
        "the block's own projections start smaller by 1 / sqrt(2 layers) in the SwiGLU's last "
        "one, and its RMS norms have epsilon 1e-5 instead of 1e-6; tokens whose features are "
        "exactly "
        "zero (the black pixels of mnist before a bias is learned) make its gradient overflow, as "
        "by its definition: see the file",
    .options = {options, sizeof options / sizeof *options, sizeof(TttOptions)},
    .backbone = "mlp=swiglu mlp_ratio=2.6667 norm=rms",
    .opening = ttt_opening,
    .mixer = mixer,
    .validate = ttt_validate,
    .state_floats = state_floats,
};
