"""A decoder of 12 blocks; 8 blocks are table1_default.py.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/table1a_decoder_depth_12.py \\
        --launcher pytorch --amp

Reproduces MAE Table 1a, 12 blocks: fine-tuned top-1 84.4, linear 73.3.

Sources: ViT-L/16 with un-normalised pixels for 800 epochs: Table 1. All else as in
mae_vit_base_p16_800e.py (Table 8).
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

model["backbone"].update(arch="large")
model.update(norm_pix=False)
model["decoder"].update(depth=12)
