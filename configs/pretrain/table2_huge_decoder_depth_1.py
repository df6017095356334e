"""ViT-H/14 with a decoder of one block and un-normalised pixels.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/table2_huge_decoder_depth_1.py \\
        --launcher pytorch --amp

Reproduces MAE Table 2, ViT-H, 1: fine-tuned top-1 85.9; 29.3 hours on 128 TPU-v3 cores.

Sources: width 512, 75 % masked, un-normalised pixels, 800 epochs: Table 2. All else as in
mae_vit_base_p16_800e.py (Table 8).
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

model["backbone"].update(arch="huge", patch_size=14)
model.update(norm_pix=False)
model["decoder"].update(depth=1)
