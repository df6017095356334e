"""Linear probing of ViT-L/16 on ImageNet-1K with LARS.

    torchrun --nproc-per-node 8 tools/train.py configs/cls/vit_large_linear_in1k.py \\
        --checkpoint CKPT --launcher pytorch --amp

Reproduces MAE Table 12, ViT-L: 75.8 top-1 (76.0 in the authors' PyTorch re-run), from 1600 epochs
with normalised pixels. The authors' FINETUNE.md says that 50 epochs suffice for this size: add
--cfg-options train_cfg.max_epochs=50

Sources: as vit_base_linear_in1k.py.
UNKNOWN: as there.
"""

from mmengine.config import read_base

with read_base():
    from .vit_base_linear_in1k import *

model["backbone"].update(arch="large")
model["head"].update(in_channels=1024)

reproduces = [
    dict(
        table="Table 12",
        row=dict(mae="MAE, ViT-L", beit="BEiT, ViT-L"),
        column="acc",
        metric="accuracy/top1",
    ),
    dict(table="official linear probing", row="ViT-L", column="acc", metric="accuracy/top1"),
    dict(table="Table 1a", column="lin", metric="accuracy/top1"),
    dict(table="Table 1b", column="lin", metric="accuracy/top1"),
    dict(table="Table 1c", column="lin", metric="accuracy/top1"),
    dict(table="Table 1d", column="lin", metric="accuracy/top1"),
    dict(table="Table 1e", column="lin", metric="accuracy/top1"),
    dict(table="Table 1f", column="lin", metric="accuracy/top1"),
    dict(
        table="Figure 9",
        row="0",
        column=dict(mae="MAE", moco_v3="MoCo v3"),
        metric="accuracy/top1",
    ),
]
