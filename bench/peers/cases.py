"""The rows of the comparison: whole training steps. Language models read a synthetic corpus of 256 ids and
have a label at every position; MQAR labels one position in 16 or in 8."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    key: str
    title: str
    model: str
    settings: str
    source: str  # whose training code the published form follows


MQAR = "task=mqar vocabulary=8192 batch=64 width=64 layers=2 heads=2 mlp=gelu"
BYTES = "task=lm_synthetic vocabulary=256"
SMALL = BYTES + " width=128 layers=2"

CASES = [
    Case("mqar-64", "Transformer, 2 layers, width 64, MQAR length 64, batch 64, vocabulary 8192", "transformer",
         MQAR + " length=64 pairs=4", "HazyResearch/zoology"),
    Case("mqar-256", "the same, length 256", "transformer", MQAR + " length=256 pairs=32", "HazyResearch/zoology"),
    Case("mqar-512", "the same, length 512", "transformer", MQAR + " length=512 pairs=64", "HazyResearch/zoology"),
    Case("gpt", "GPT, 6 layers, width 256, length 256, batch 8, bytes", "transformer",
         BYTES + " width=256 layers=6 heads=4 mlp=gelu length=256 batch=8", "karpathy/nanoGPT"),
    Case("lstm", "LSTM, 2 layers, width 128, length 256, batch 32", "lstm",
         SMALL + " length=256 batch=32", "PyTorch's LSTM"),
    Case("hyena-1k", "Hyena, 2 layers, width 128, length 1024, batch 16", "hyena",
         SMALL + " length=1024 batch=16", "HazyResearch/safari"),
    Case("hyena-16k", "Hyena, length 16384, batch 1", "hyena",
         SMALL + " length=16384 batch=1", "HazyResearch/safari"),
    Case("mamba", "Mamba, 2 layers, width 128, length 1024, batch 8", "mamba",
         SMALL + " length=1024 batch=8", "state-spaces/mamba, without its CUDA kernel"),
    Case("s4d", "S4D, 2 layers, width 128, length 1024, batch 8", "s4d",
         SMALL + " length=1024 batch=8", "state-spaces/s4"),
    Case("linear-attention", "Linear attention, 2 layers, width 128, length 1024, batch 8", "linear_attention",
         SMALL + " heads=4 length=1024 batch=8", "idiap/fast-transformers"),
    Case("xlstm", "xLSTM[1:0], 2 layers, width 128, length 1024, batch 8", "xlstm",
         SMALL + " length=1024 batch=8 blocks=1:0", "NX-AI/xlstm, parallel form"),
    Case("h3", "H3, 2 layers, width 128, length 1024, batch 8", "h3",
         SMALL + " length=1024 batch=8", "HazyResearch/H3, without its CUDA extensions"),
    Case("dss", "DSS, 2 layers, width 128, length 1024, batch 8", "dss",
         SMALL + " length=1024 batch=8", "ag1988/dss"),
    Case("gss", "GSS, 2 layers, width 128, length 1024, batch 8", "gss",
         SMALL + " length=1024 batch=8", "lucidrains/gated-state-spaces-pytorch"),
    Case("bigs", "BiGS, 2 layers, width 128, length 1024, batch 8", "bigs",
         SMALL + " length=1024 batch=8", "jxiw/BiGS"),
    Case("s4", "S4, 2 layers, width 128, length 1024, batch 8", "s4",
         SMALL + " length=1024 batch=8", "state-spaces/s4"),
    Case("liquid-s4", "Liquid-S4, 2 layers, width 128, length 1024, batch 8", "liquid_s4",
         SMALL + " length=1024 batch=8", "raminmh/liquid-s4"),
    Case("transformer-xl", "Transformer-XL, 2 layers, width 128, length 1024 in segments of 64, batch 8",
         "transformer_xl", SMALL + " heads=4 length=1024 batch=8", "kimiyoung/transformer-xl"),
    Case("mega", "Mega, 2 layers, width 128, length 1024, batch 8", "mega",
         SMALL + " length=1024 batch=8", "facebookresearch/mega"),
    Case("perceiver", "Perceiver AR, 2 layers after the cross-attention, width 128, length 1024, 64 latents, batch 8",
         "perceiver", SMALL + " heads=4 length=1024 batch=8", "lucidrains/perceiver-ar-pytorch, with these rotations"),
    Case("sparse-transformer", "Sparse Transformer, fixed, 2 layers, width 128, length 1024, batch 8",
         "sparse_transformer", SMALL + " heads=4 length=1024 batch=8", "openai/sparse_attention"),
    Case("based", "Based, a convolution and a Taylor attention, width 128, length 1024, batch 8", "based",
         SMALL + " length=1024 batch=8", "HazyResearch/zoology"),
    Case("gla", "GLA, 2 layers, width 128, length 1024, batch 8", "gla",
         SMALL + " heads=4 length=1024 batch=8", "fla-org/flash-linear-attention, without its Triton kernels"),
    Case("rwkv4", "RWKV-4, 2 layers, width 128, length 1024, batch 8", "rwkv4",
         SMALL + " length=1024 batch=8", "huggingface/transformers"),
    Case("mamba-2", "Mamba-2, 2 layers, width 128, length 1024, batch 8", "mamba2",
         SMALL + " length=1024 batch=8", "state-spaces/mamba, its minimal version"),
    Case("retnet", "RetNet, 2 layers, width 128, length 1024, batch 8", "retnet",
         SMALL + " length=1024 batch=8", "microsoft/torchscale"),
    Case("delta-net", "DeltaNet, 2 layers, width 128, length 1024, batch 8", "delta_net",
         SMALL + " length=1024 batch=8", "fla-org/flash-linear-attention, without its Triton kernels"),
    Case("gated-delta-net", "Gated DeltaNet, 2 layers, width 128, length 1024, batch 8", "gated_delta_net",
         SMALL + " length=1024 batch=8", "huggingface/transformers, without Triton kernels"),
    Case("ttt-linear", "TTT-Linear, 2 layers, width 128, length 1024, batch 8", "ttt_linear",
         SMALL + " length=1024 batch=8", "test-time-training/ttt-lm-pytorch"),
    Case("ttt-mlp", "TTT-MLP, 2 layers, width 128, length 1024, batch 8", "ttt_mlp",
         SMALL + " length=1024 batch=8", "test-time-training/ttt-lm-pytorch"),
    Case("s5", "S5, 2 layers, width 128, length 1024, batch 8", "s5",
         SMALL + " length=1024 batch=8", "lindermanlab/S5"),
    Case("griffin", "Griffin, 2 layers (ra), width 128, length 1024, batch 8", "griffin",
         SMALL + " length=1024 batch=8", "google-deepmind/recurrentgemma"),
    Case("xlstm-slstm", "xLSTM[0:1], 2 layers, width 128, length 256, batch 32", "xlstm",
         SMALL + " length=256 batch=32 blocks=0:1", "NX-AI/xlstm, without its CUDA kernel"),
]  # fmt: skip
