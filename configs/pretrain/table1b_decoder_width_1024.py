"""A decoder of width 1024; 512 is table1_default.py.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/table1b_decoder_width_1024.py \\
        --launcher pytorch --amp

Reproduces MAE Table 1b, dim 1024: fine-tuned top-1 84.3, linear 73.1.

Sources: ViT-L/16 with un-normalised pixels for 800 epochs: Table 1. All else as in
mae_vit_base_p16_800e.py (Table 8).
UNKNOWN: the number of heads at this width; 16 as at 512.
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

model["backbone"].update(arch="large")
model.update(norm_pix=False)
model["decoder"].update(embed_dim=1024)
