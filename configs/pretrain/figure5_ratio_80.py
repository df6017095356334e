"""A masking ratio of 80 %; 75 % is table1_default.py.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/figure5_ratio_80.py \\
        --launcher pytorch --amp

Reproduces MAE Figure 5 at 80 %; its value is drawn there, not printed.

Sources: ViT-L/16 with un-normalised pixels for 800 epochs: Table 1. All else as in
mae_vit_base_p16_800e.py (Table 8).
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

model["backbone"].update(arch="large")
model.update(norm_pix=False, mask_ratio=0.8)
