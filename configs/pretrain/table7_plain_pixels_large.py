"""ViT-L/16 with un-normalised pixels as the target, 1600 epochs.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/table7_plain_pixels_large.py \\
        --launcher pytorch --amp

Reproduces MAE Table 7, pixel (w/o norm), ViT-L: fine-tuned top-1 85.1,
COCO box AP 52.8, ADE20K mIoU 51.8.

Sources: 1600 epochs: Table 7. All else as in mae_vit_base_p16_800e.py (Table 8).
"""

from mmengine.config import read_base

with read_base():
    from .mae_vit_base_p16_800e import *

epochs = 1600

model["backbone"].update(arch="large")
model.update(norm_pix=False)
train_cfg.update(max_epochs=epochs)
param_scheduler[0].update(total=epochs)
