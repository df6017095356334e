"""Linear probing of ViT-H/14 on ImageNet-1K with LARS.

    torchrun --nproc-per-node 8 tools/train.py configs/cls/vit_huge_linear_in1k.py \\
        --checkpoint CKPT --launcher pytorch --amp

Reproduces MAE Table 12, ViT-H: 76.6 top-1 (77.2 in the authors' PyTorch re-run), from 1600 epochs
with normalised pixels. The authors' FINETUNE.md says that 50 epochs suffice for this size: add
--cfg-options train_cfg.max_epochs=50

Sources: as vit_base_linear_in1k.py.
UNKNOWN: as there.
"""

from mmengine.config import read_base

with read_base():
    from .vit_base_linear_in1k import *

model["backbone"].update(arch="huge", patch_size=14)
model["head"].update(in_channels=1280)

reproduces = [
    dict(table="Table 12", row="MAE, ViT-H", column="acc", metric="accuracy/top1"),
    dict(table="official linear probing", row="ViT-H", column="acc", metric="accuracy/top1"),
]
