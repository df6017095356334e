"""The loss on all pixels, not only on the masked ones.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/footnote1_loss_on_all_pixels.py \\
        --launcher pytorch --amp

Reproduces MAE footnote 1: top-1 lower by about 0.5.

Sources: ViT-L/16 with un-normalised pixels for 800 epochs: Table 1. All else as in
mae_vit_base_p16_800e.py (Table 8).
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

model["backbone"].update(arch="large")
model.update(norm_pix=False, loss_on_all=True)
