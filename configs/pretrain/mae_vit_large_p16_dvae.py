"""Tokens of DALL-E's dVAE as the target.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/mae_vit_large_p16_dvae.py \\
        --launcher pytorch --amp

Reproduces MAE Table 1d, dVAE token; Table 7 with `--cfg-options train_cfg.max_epochs=1600`, for
other sizes `model.backbone.arch=base`, or `=huge` with `model.backbone.patch_size=14`.

Sources: ViT-L/16 for 800 epochs: Table 1. All else as in mae_vit_base_p16.py (Table 8).
UNKNOWN: how the authors resized the tokenizer's input; here the crop of 224 pixels is resized to
112 (128 for patches of 14), antialiased bicubic. BEiT makes both from the image, that of 112 by
Lanczos. The file:
`tools/convert_dvae.py encoder.pkl data/dalle_dvae/encoder.safetensors --trust`.
"""

from mmengine.config import read_base

from mae_bench.models import DVAETarget

with read_base():
    from .mae_vit_base_p16 import *

model["backbone"].update(arch="large")
train_cfg.update(max_epochs=800)
model.update(
    target=dict(type=DVAETarget, patch_size=16, checkpoint="data/dalle_dvae/encoder.safetensors")
)
