/* DeltaNet (Schlag, Irie, Schmidhuber 2021, arXiv 2102.11174; as a language model Yang, Wang,
 * Zhang, Shen, Kim 2024, arXiv 2406.06484, section 3.3). Linear attention whose tokens do not add
 * their value to what is stored under their key, but replace a part beta of it. For every head of d
 * channels,
 *
 *     q, k, v = silu(convolution(x W))      q and k then divided by their length
 *     beta_t = sigmoid(x_t w)
 *     S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T          o_t = S_t^T q_t / sqrt(d)
 *     y = rms_norm(o) Wo                    norm of every head, no biases
 *
 * Keys of length 1 leave S_t = (I - beta_t k_t k_t^T) S_{t-1} + .. with eigenvalues in 0 .. 1. The
 * option negative_eigenvalues doubles beta (Grazzi et al. 2024, arXiv 2411.12537), for -1 .. 1.
 *
 * Parameters of a layer: 4 D^2 + D (H + 3 K) + D / H and 8 D^2 + 2 D for the MLP; FLOPs a token:
 * twice that, 6 D d for the state and some 256 D inside chunks of 64 tokens. State: D^2 / H + 3 (K
 * - 1) D floats a layer. */
#include "models/delta.h"

static const Option options[] = {DELTA_OPTIONS("1", "1")};

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *x) {
    const Backbone *backbone = context->backbone;
    const DeltaOptions *own = context->options;
    Tensor *o = delta_heads(tape, context, x, NULL);
    o = backbone_head_norm(tape, own->heads, o);
    return backbone_linear(tape, "out", o, backbone->width, false, backbone_residual_init(backbone),
                           NULL);
}

const Model model_delta_net = {
    .name = "delta_net",
    .title = "DeltaNet",
    .paper = {.authors = "Schlag, Irie, Schmidhuber",
              .title = "Linear Transformers Are Secretly Fast Weight Programmers",
              .venue = "ICML",
              .arxiv = "2102.11174",
              .year = 2021},
    .kind = KIND_RECURRENT,
    .note =
        "the first paper's feature map and sum normalisation, for which the second has SiLU and "
        "length 1; the second's hybrids with attention",
    .options = {options, sizeof options / sizeof *options, sizeof(DeltaOptions)},
    .backbone = "norm=rms mlp=swiglu mlp_ratio=2.6667",
    .mixer = mixer,
    .state_floats = delta_floats,
};
