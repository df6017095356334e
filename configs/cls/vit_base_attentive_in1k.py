"""Attentive probing of a frozen ViT-B/16 on ImageNet-1K: attention pools its patches.

    torchrun --nproc-per-node 8 tools/train.py configs/cls/vit_base_attentive_in1k.py \\
        --checkpoint CKPT --launcher pytorch --amp

Reproduces the column EP of configs/suite/probing.yaml, for MAE. ViT-L: `--cfg-options
model.backbone.arch=large`.

Sources: Psomas et al. 2026 (efficient probing) and its code: 32 queries, patches of the last block
before the norm, BatchNorm without affine; crop, LARS, base lr 0.1, 90 epochs with 10 of warm-up as
in MAE's linear probing, batch 4096.
Differs: the last epoch is reported; there the best by the validation set, 0.1 above it for MAE's
ViT-B.
UNKNOWN: nothing that the code does not say.
Batch here: 8 GPUs x 512, as there.
"""

from mmengine.config import read_base
from mmpretrain.models import CrossEntropyLoss

from mae_bench.openmmlab.attentive_probe import AttentiveProbeHead

with read_base():
    from .vit_base_linear_in1k import *

model["backbone"].update(output="maps", out_indices=(11,))
model["head"] = dict(
    type=AttentiveProbeHead,
    num_classes=1000,
    in_channels=768,
    queries=32,
    loss=dict(type=CrossEntropyLoss),
)

total_batch_size = 4096
train_dataloader.update(batch_size=512)
