"""Mask R-CNN with ViT-B/16 on objects of your own in COCO's format, on one GPU.

    tools/train.py configs/det/mask_rcnn_vit_base_own.py --checkpoint CKPT \\
        --cfg-options own_data.root=FOLDER

FOLDER has images and one annotation file, or one for training and one for validation; of one alone
every fifth image is held out. The classes are the categories that have objects. Where no object has
a mask, boxes alone are trained. See docs/own_data.md.

Reproduces no published number. The model is that of mask_rcnn_vit_base_coco.py. Not from there: 768
pixels, so that a batch of 4 fits one GPU; scale jitter of 0.5 to 2, since small sets have few
objects to lose; 3000 iterations; lr 1e-4 for the batch of 4. UNKNOWN: what is best for a given set;
none of these was searched.
"""

from mmengine.config import read_base
from mmengine.dataset import InfiniteSampler

from mae_bench.training import ResumableIterLoop

with read_base():
    from .mask_rcnn_vit_base_coco import *

own_data = dict(root="data/own", classes=None, train=None, val=None)
size = 768

model["data_preprocessor"].update(pad_size_divisor=size)
model["backbone"].update(img_size=size)
total_batch_size = 4
train_dataloader.update(
    batch_size=4,
    num_workers=4,
    drop_last=False,
    sampler=dict(type=InfiniteSampler, shuffle=True),
)
train_dataloader["dataset"].update(data_root="data/own", ann_file="train.json")
train_dataloader["dataset"]["pipeline"][2].update(size=size, ratio_range=(0.5, 2.0))
val_dataloader["dataset"].update(data_root="data/own", ann_file="val.json")
val_dataloader["dataset"]["pipeline"][1].update(size=size)
val_evaluator.update(ann_file="data/own/val.json")
test_dataloader = val_dataloader
test_evaluator = val_evaluator
train_cfg = dict(type=ResumableIterLoop, max_iters=3000, val_interval=500)
optim_wrapper["optimizer"].update(lr=1e-4)
auto_scale_lr.update(base_batch_size=4)
param_scheduler[0].update(end=100, by_epoch=False, convert_to_iter_based=False)
param_scheduler[1].update(by_epoch=False, convert_to_iter_based=False)
default_hooks["checkpoint"].update(interval=500, by_epoch=False)
default_hooks["visualization"].update(interval=1)
log_processor.update(by_epoch=False)
custom_hooks[0].update(data="own data")
