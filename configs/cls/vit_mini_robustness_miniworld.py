"""Robustness of a fine-tuned small ViT: MiniWorld's pictures, corrupted as in ImageNet-C.

    tools/test.py configs/cls/vit_mini_robustness_miniworld.py CKPT

Reproduces no published number. The folders are ImageNet-C's; the corruptions are six kinds with
MiniWorld's own strengths, so the figure is a plain mean of errors and no mCE (MAE Table 13).
"""

from mmengine.config import read_base
from mmengine.dataset import DefaultSampler
from mmengine.runner import TestLoop
from mmpretrain.datasets import PackInputs

from mae_bench.datasets.loading import LoadImage
from mae_bench.datasets.robustness_sets import ImageNetC
from mae_bench.evaluation import CorruptionError

with read_base():
    from .vit_mini_finetune_miniworld import *

test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=ImageNetC,
        data_root="data/miniworld/imagenet-c",
        metainfo=dict(classes=classes),
        pipeline=[
            dict(type=LoadImage),
            dict(type=PackInputs, meta_keys=("sample_idx", "img_path", "corruption", "severity")),
        ],
    ),
)
test_evaluator = dict(type=CorruptionError)
test_cfg = dict(type=TestLoop)
