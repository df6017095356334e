"""Robustness of a fine-tuned ViT-B/16: ImageNet val, A, R, Sketch, V2, C in one go.

    tools/test.py configs/cls/vit_base_robustness_in1k.py CKPT

Reproduces MAE Table 13, of MAE and of supervised models (scratch, Appendix A.2). CKPT is what
vit_base_finetune_in1k.py or vit_base_scratch_in1k.py exported, or a converted file. ViT-L:
`--cfg-options model.backbone.arch=large`, ViT-H: `model.backbone.arch=huge
model.backbone.patch_size=14`, at 448 pixels `model.backbone.img_size=448` besides. Sets that are
not below data_root are named and left out; docs/robustness.md has their folders and the options.

Sources: classes of A and R, mCE and AlexNet's errors: Hendrycks et al.; that Table 13 is scaled by
those errors: issue 104 of the authors' repository. Resizing: the authors' evaluation code for
ImageNet. Images of ImageNet-C are taken as they are, as in Hendrycks and Dietterich's test.
UNKNOWN: interpolation of Table 13 on A, R and Sketch; whether it resized ImageNet-C, and how its
224 pixels became 448 (here bicubically).
"""

from mmengine.config import read_base
from mmpretrain.models import ClsDataPreprocessor, ImageClassifier, LinearClsHead

from mae_bench.datasets.robustness_sets import RobustnessSets
from mae_bench.evaluation.robustness import RobustnessLoop
from mae_bench.models import VisionTransformer

with read_base():
    from ..default_runtime import *

default_scope = "mmpretrain"

model = dict(
    type=ImageClassifier,
    backbone=dict(type=VisionTransformer, arch="base", img_size=224, patch_size=16, output="mean"),
    head=dict(type=LinearClsHead, num_classes=1000, in_channels=768),
    data_preprocessor=dict(
        type=ClsDataPreprocessor,
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
    ),
)

test_dataloader = dict(
    batch_size=256,
    num_workers=8,
    dataset=dict(
        type=RobustnessSets,
        data_root="data",
        # folders: where the sets lie below it; see the class for where they are looked for
        transform=dict(size=224, resize=256, interpolation="bicubic"),
        corrupt_val=False,
        resize_c=False,
        extra=False,
    ),
)
test_evaluator = []
test_cfg = dict(type=RobustnessLoop)
