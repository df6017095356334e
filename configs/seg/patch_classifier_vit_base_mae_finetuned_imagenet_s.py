"""A linear layer on the patches of ViT-B/16 on ImageNet-S, 919 classes, from MAE fine-tuned on
ImageNet-1K ("SSL+FT").

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/seg/patch_classifier_vit_base_mae_finetuned_imagenet_s.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces ImageNet-S, MAE ViT-B at 224 pixels: 61.0 mIoU on the validation set in the authors'
model zoo. Papers with Code lists 61.6 for "SSL+FT, mmseg", of a branch whose values are UNKNOWN.
CKPT is the model that configs/cls/vit_base_finetune_in1k.py trains.

Sources: LUSSeg/ImageNetSegModel, MODEL_ZOO.md: base lr 1e-4, layer decay 0.4; the rest as in
patch_classifier_vit_base_mae_imagenet_s.py.
Differs: the norm before the linear layer starts afresh; the authors' code takes the classifier's.
"""

from mmengine.config import read_base

with read_base():
    from .patch_classifier_vit_base_mae_imagenet_s import *

optim_wrapper["paramwise_cfg"].update(layer_decay=0.4)
optim_wrapper["optimizer"].update(lr=1e-4)
param_scheduler[0].update(min_ratio=1e-6 / 1e-4)

reproduces = [
    dict(
        table="ImageNet-S model zoo",
        row="MAE ViT-B, SSL+Sup",
        column="mIoU (val)",
        metric="mIoU",
        differs=["norm before the linear layer not taken from the classifier"],
    ),
    dict(
        table="Papers with Code, ImageNet-S",
        row="MAE (ViT-B/16, 224x224, SSL+FT, mmseg)",
        column="mIoU (val)",
        metric="mIoU",
        differs=["recipe of the authors' own code, not of its mmsegmentation branch"],
    ),
]
