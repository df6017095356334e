"""Mask tokens in the encoder, which then sees all patches.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/table1c_mask_tokens.py \\
        --launcher pytorch --amp

Reproduces MAE Table 1c, encoder w/ [M]: fine-tuned top-1 84.2, linear 59.6.

Sources: ViT-L/16 with un-normalised pixels for 800 epochs: Table 1. All else as in
mae_vit_base_p16_800e.py (Table 8).
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

model["backbone"].update(arch="large")
model.update(norm_pix=False, encoder_mask_tokens=True)
