"""The suite's architectures in PyTorch, one file each: mixer(w, s, x) on a dictionary w of the block's
weights, the settings s and x (B, L, D). A file names the forms in which PyTorch can compute exactly the
same (FORMS), what the field's released code does (PUBLISHED), and the weights that PyTorch keeps in one
product (JOINED)."""

from models import delta_net, gla, hyena, linear_attention, lstm, mamba, mamba2, retnet, rwkv4, s4d, transformer, xlstm

MODELS = {
    "transformer": transformer, "lstm": lstm, "hyena": hyena, "mamba": mamba, "s4d": s4d,
    "linear_attention": linear_attention, "xlstm": xlstm, "gla": gla, "rwkv4": rwkv4, "retnet": retnet,
    "mamba2": mamba2, "delta_net": delta_net, "gated_delta_net": delta_net,
}  # fmt: skip
