"""Supervised training of ViT-L/16 on ImageNet-1K from scratch, with EMA.

    torchrun --nnodes 4 --nproc-per-node 8 ... tools/train.py \\
        configs/cls/vit_large_scratch_in1k.py --launcher pytorch --amp

Reproduces MAE Table 3, scratch, ViT-L, and Appendix A.2. ViT-H: `--cfg-options
model.backbone.arch=huge model.backbone.patch_size=14`. Batch here: 32 GPUs x 128 = 4096.

Sources and UNKNOWN: as vit_base_scratch_in1k.py.
"""

from mmengine.config import read_base
from torch.optim import AdamW

from mae_bench.training.hooks import ExportCheckpoint, WeightAverage

with read_base():
    from .vit_base_finetune_in1k import *


model["backbone"].update(arch="large", drop_path_rate=0.2)
model["head"].update(in_channels=1024)
model["train_cfg"]["augments"].update(erase_prob=0.0)

total_batch_size = 4096
train_dataloader.update(batch_size=128)
train_cfg.update(max_epochs=200)

# Base learning rate for a batch of 256, scaled to the batch in use: 1.6e-3 for 4096.
optim_wrapper["optimizer"] = dict(
    type=AdamW, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.3, fused=True
)
optim_wrapper["paramwise_cfg"].update(layer_decay=1.0)
param_scheduler[0].update(warmup=20)

custom_hooks = [
    dict(type=WeightAverage, decay=0.9999),
    dict(type=ExportCheckpoint, method="supervised", data="ImageNet-1K"),
]
