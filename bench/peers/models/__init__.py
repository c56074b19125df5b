"""The suite's architectures in PyTorch, one file each: mixer(w, s, x) on a dictionary w of the block's
weights, the settings s and x (B, L, D). A file names the forms in which PyTorch can compute exactly the
same (FORMS), what the field's released code does (PUBLISHED), and the weights that PyTorch keeps in one
product (JOINED); stack(w, s, x, mixer) goes through its blocks where backbone.blocks does not."""

import importlib

# Behind a colon the file of an architecture whose name is not the file's.
FILES = """
    transformer lstm hyena mamba s4d linear_attention xlstm h3 dss gss bigs s4 transformer_xl mega perceiver
    sparse_transformer based gla rwkv4 mamba2 retnet delta_net gated_delta_net:delta_net ttt_linear ttt_mlp s5 griffin
    slstm liquid_s4
""".split()
MODELS = {name.split(":")[0]: importlib.import_module("models." + name.split(":")[-1]) for name in FILES}


def module_of(settings):
    """xLSTM's two kinds of blocks have a file each."""
    return MODELS["slstm" if settings.get("blocks") == "0:1" else settings["model"]]
