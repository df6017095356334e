"""No augmentation: a centre crop, no flip.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/pretrain/mae_vit_large_p16_no_augmentation.py --launcher pytorch --amp

Reproduces MAE Table 1e, none.

Sources: ViT-L/16 with un-normalised pixels for 800 epochs: Table 1. All else as in
mae_vit_base_p16.py (Table 8).
UNKNOWN: the size before the crop; 256 pixels on the short side, as in the evaluation.
"""

from mmengine.config import read_base
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import CenterCrop, Resize

with read_base():
    from .mae_vit_base_p16 import *

model["backbone"].update(arch="large")
train_cfg.update(max_epochs=800)
model.update(norm_pix=False)
train_dataloader["dataset"]["pipeline"][1:2] = [
    dict(type=Resize, size=256, interpolation=InterpolationMode.BICUBIC),
    dict(type=CenterCrop, size=224),
]
