"""The suite's architectures in PyTorch, one file each: mixer(w, s, x) on a dictionary w of the block's
weights, the settings s and x (B, L, D). A file names the forms in which PyTorch can compute exactly the
same (FORMS), what the field's released code does (PUBLISHED), and the weights that PyTorch keeps in one
product (JOINED)."""

from models import griffin, hyena, linear_attention, lstm, mamba, s4d, s5, slstm
from models import transformer, ttt_linear, ttt_mlp, xlstm

MODELS = {
    "transformer": transformer, "lstm": lstm, "hyena": hyena, "mamba": mamba, "s4d": s4d,
    "linear_attention": linear_attention, "xlstm": xlstm,
    "ttt_linear": ttt_linear, "ttt_mlp": ttt_mlp, "s5": s5, "griffin": griffin,
}  # fmt: skip


def module_of(settings):
    """xLSTM's two kinds of blocks have a file each."""
    return slstm if settings.get("blocks") == "0:1" else MODELS[settings["model"]]
