"""Block-wise sampling, 50 % masked.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/table1f_block_50.py \\
        --launcher pytorch --amp

Reproduces MAE Table 1f, block 50: fine-tuned top-1 83.9, linear 72.3.

Sources: ViT-L/16 with un-normalised pixels for 800 epochs: Table 1. All else as in
mae_vit_base_p16_800e.py (Table 8).
Areas and aspects of the blocks are BEiT's.
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

model["backbone"].update(arch="large")
model.update(norm_pix=False, sampling="block", mask_ratio=0.5)
