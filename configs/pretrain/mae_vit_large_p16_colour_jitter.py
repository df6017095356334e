"""Colour jitter besides crops and flips.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/pretrain/mae_vit_large_p16_colour_jitter.py --launcher pytorch --amp

Reproduces MAE Table 1e, crop + color jit.

Sources: ViT-L/16 with un-normalised pixels for 800 epochs: Table 1. All else as in
mae_vit_base_p16.py (Table 8).
UNKNOWN: the strength of the jitter; 0.4 for brightness, contrast and saturation as in BEiT.
"""

from mmengine.config import read_base
from torchvision.transforms.v2 import ColorJitter

with read_base():
    from .mae_vit_base_p16 import *

model["backbone"].update(arch="large")
train_cfg.update(max_epochs=800)
model.update(norm_pix=False)
train_dataloader["dataset"]["pipeline"].insert(
    2, dict(type=ColorJitter, brightness=0.4, contrast=0.4, saturation=0.4)
)
