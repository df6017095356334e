"""Normalised pixels as the target, by the name of its row.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/table1d_normalised_pixels.py \\
        --launcher pytorch --amp

Reproduces MAE Table 1d, pixel (w/ norm): fine-tuned top-1 85.4, linear 73.9.

Sources: ViT-L/16 with un-normalised pixels for 800 epochs: Table 1. All else as in
mae_vit_base_p16_800e.py (Table 8).
The same run as mae_vit_large_p16_800e.py.
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

model["backbone"].update(arch="large")
model.update(norm_pix=True)
