"""Robustness of a fine-tuned small ViT: MiniWorld's validation set, clean and corrupted.

    tools/test.py configs/cls/vit_mini_robustness_miniworld.py CKPT

Reproduces no published number. Sets, loop and figures are those of ImageNet and ImageNet-C
(vit_base_robustness_in1k.py); the corruptions are six kinds with MiniWorld's own strengths, so the
figure is a plain mean of errors, ``imagenet_c/mean_error``, and no mCE (MAE Table 13).
"""

from mmengine.config import read_base

from mae_bench.datasets.robustness_sets import RobustnessSets
from mae_bench.evaluation.robustness import RobustnessLoop

with read_base():
    from .vit_mini_finetune_miniworld import *

test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    dataset=dict(
        type=RobustnessSets,
        data_root="data/miniworld",
        folders=dict(imagenet_val="imagenet/val", imagenet_c="imagenet-c"),
        classes=[f"digit_{digit}" for digit in range(10)],
        sets=["imagenet_val", "imagenet_c"],
        transform=dict(size=32, resize=32),
    ),
)
test_evaluator = []
test_cfg = dict(type=RobustnessLoop)
