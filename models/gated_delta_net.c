/* Gated DeltaNet (Yang, Kautz, Hatamizadeh 2024, arXiv 2412.06464, sections 3.1 and 3.4). DeltaNet
 * whose memory also fades, as fast as the token says: Mamba-2's decay a_t and a gate on the output.
 * For every head of d channels of q and k, twice as many of v,
 *
 *     q, k, v = silu(convolution(x W))      q and k then divided by their length
 *     beta_t = sigmoid(x_t w);  a_t = exp(-exp(A_log) softplus(x_t w_dt + bias))
 *     S_t = a_t S_{t-1} + beta_t k_t (v_t - a_t S_{t-1}^T k_t)^T      o_t = S_t^T q_t / sqrt(d)
 *     y = (rms_norm(o) silu(x Wg)) Wo       norm of every head
 *
 * With 3/4 D channels of q and k and 3/2 D of v, a layer has as many parameters as one of Mamba-2:
 * 6 D^2 + 2 H (D + 1) + 3 K D + 3/2 D / H, and 8 D^2 + 2 D for the MLP; FLOPs a token: twice that,
 * 27/4 D^2 / H for the state and some 290 D inside chunks of 64 tokens. State: 9/8 D^2 / H + 3 (K -
 * 1) D floats a layer. */
#include "models/delta.h"

#include "engine/ops/pointwise/pointwise.h"
#include "models/mamba_parts.h"

static const Option options[] = {DELTA_OPTIONS("0.75", "1.5")};

static Tensor *mixer(Tape *tape, const ModelContext *context, Tensor *x) {
    const Backbone *backbone = context->backbone;
    const DeltaOptions *own = context->options;
    const Init init = backbone_init(backbone);
    Tensor *dt = mamba_steps(tape, x, init, own->heads, 0.001, 0.1);
    Tensor *o = delta_heads(tape, context, x, mamba_log_decay(tape, dt, 0, 16));
    Tensor *g = backbone_linear(tape, "gate", x, extent(o, 2), false, init, NULL);
    o = gate(tape, backbone_head_norm(tape, own->heads, o), g, ACTIVATION_SILU);
    return backbone_linear(tape, "out", o, backbone->width, false, backbone_residual_init(backbone),
                           NULL);
}

const Model model_gated_delta_net = {
    .name = "gated_delta_net",
    .title = "Gated DeltaNet",
    .paper = {.authors = "Yang, Kautz, Hatamizadeh",
              .title = "Gated Delta Networks: Improving Mamba2 with Delta Rule",
              .venue = "ICLR",
              .arxiv = "2412.06464",
              .year = 2025},
    .kind = KIND_RECURRENT,
    .note = "the hybrids with sliding-window attention and Mamba-2 layers; several heads of values "
            "on one of keys",
    .options = {options, sizeof options / sizeof *options, sizeof(DeltaOptions)},
    .backbone = "norm=rms mlp=swiglu mlp_ratio=2.6667",
    .mixer = mixer,
    .state_floats = delta_floats,
};
