"""Tokens of DALL-E's dVAE as the target.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/table1d_dvae_tokens.py \\
        --launcher pytorch --amp

Reproduces MAE Table 1d, dVAE token: fine-tuned top-1 85.3, linear 71.6.

Sources: ViT-L/16 with un-normalised pixels for 800 epochs: Table 1. All else as in
mae_vit_base_p16_800e.py (Table 8).
UNKNOWN: how the authors resized the tokenizer's input; antialiased bicubic to 112 pixels here. The
file: `tools/convert_dvae.py encoder.pkl data/dalle_dvae/encoder.safetensors --trust`.
"""

from mmengine.config import read_base

from mae_bench.models import DVAETarget

with read_base():
    from .mae_vit_base_p16_800e import *

model["backbone"].update(arch="large")
model.update(
    target=dict(type=DVAETarget, patch_size=16, checkpoint="data/dalle_dvae/encoder.safetensors")
)
