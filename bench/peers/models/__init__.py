"""The suite's architectures in PyTorch, one file each: mixer(w, s, x) on a dictionary w of the block's
weights, the settings s and x (B, L, D). A file names the forms in which PyTorch can compute exactly the
same (FORMS), what the field's released code does (PUBLISHED), and the weights that PyTorch keeps in one
product (JOINED); stack(w, s, x, mixer) goes through its blocks where backbone.blocks does not."""

from models import (  # fmt: skip
    based, hyena, linear_attention, lstm, mamba, mega, perceiver, s4d, sparse_transformer, transformer,
    transformer_xl, xlstm,
)

MODELS = {
    "transformer": transformer, "lstm": lstm, "hyena": hyena, "mamba": mamba, "s4d": s4d,
    "linear_attention": linear_attention, "xlstm": xlstm,
    "transformer_xl": transformer_xl, "mega": mega, "perceiver": perceiver,
    "sparse_transformer": sparse_transformer, "based": based,
}  # fmt: skip
