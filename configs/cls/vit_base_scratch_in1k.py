"""Supervised training of ViT-B/16 on ImageNet-1K from scratch, with EMA.

    torchrun --nnodes 2 --nproc-per-node 8 ... tools/train.py \\
        configs/cls/vit_base_scratch_in1k.py --launcher pytorch --amp

Reproduces MAE Table 3, scratch, ViT-B, and Appendix A.2: the record has the accuracy without the
average as accuracy/top1_without_ema. Batch here: 16 GPUs x 256 = 4096.

Sources: Table 11 and Appendix A.2. Adam's second beta is that of the authors' pre-training (the
table's 0.95 is confirmed by readers of the PDF). What the table does not say is as in
vit_base_finetune_in1k.py (authors' fine-tuning code, which He names for this, without layer
decay), but for random erasing, which it does not list ("disable others").
UNKNOWN: position embedding (here sin-cos, trained), initialisation (here that of pre-training, and
std 2e-5 for the head), pooling (here the mean), floor of the lr (here 1e-6), the set of
RandAugment's operations (here timm's increasing ones), when the average starts (here at once,
without a warm-up of its own).
"""

from mmengine.config import read_base
from torch.optim import AdamW

from mae_bench.training.hooks import ExportCheckpoint, WeightAverage

with read_base():
    from .vit_base_finetune_in1k import *


model["train_cfg"]["augments"].update(erase_prob=0.0)

total_batch_size = 4096
train_dataloader.update(batch_size=256)
train_cfg.update(max_epochs=300)

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
