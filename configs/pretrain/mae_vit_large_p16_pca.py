"""The 96 largest principal-component coefficients of a patch as the target.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/mae_vit_large_p16_pca.py \\
        --launcher pytorch --amp

Reproduces MAE Table 1d, PCA.

Sources: ViT-L/16 with un-normalised pixels for 800 epochs: Table 1. All else as in
mae_vit_base_p16.py (Table 8).
UNKNOWN: on how many images the components were fitted (10,000 augmented ones here), and the scale
of the coefficients in the loss (plain projections here).
"""

from mmengine.config import read_base

from mae_bench.models import PCATarget
from mae_bench.training.hooks import FitPCATarget

with read_base():
    from .mae_vit_base_p16 import *

model["backbone"].update(arch="large")
train_cfg.update(max_epochs=800)
model.update(norm_pix=False, target=dict(type=PCATarget, coefficients=96))
custom_hooks.append(dict(type=FitPCATarget, images=10_000))
