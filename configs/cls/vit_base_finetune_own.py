"""Fine-tuning of ViT-B/16 on images of your own, on one GPU.

    tools/train.py configs/cls/vit_base_finetune_own.py --checkpoint CKPT \\
        --cfg-options own_data.root=FOLDER

FOLDER has class folders, also below train/ and val/, or lists (train.csv, meta/train.txt); without
a validation set every fifth image is held out. The names of the classes are those of the folders or
of the list. See docs/own_data.md.

Reproduces no published number. Layer decay, drop path, weight decay, label smoothing, pooling,
head and crops are those of vit_base_finetune_in1k.py. Not from there: no mixup, CutMix and erasing,
which are for long schedules; images are turned upright by EXIF, as phones need it; 2000 iterations
of 32 images. UNKNOWN: what is best for a given set; lr, length and augmentation were not searched.
"""

from mmengine.config import read_base
from mmengine.dataset import InfiniteSampler

from mae_bench.datasets.image_folders import ImageFolders
from mae_bench.training import ResumableIterLoop

with read_base():
    from .vit_base_finetune_in1k import *

own_data = dict(root="data/own", classes=None, train=None, val=None)

model.pop("train_cfg")
train_pipeline[0].update(exif_orientation=True)
val_pipeline[0].update(exif_orientation=True)
train_dataloader["dataset"].pop("split")
total_batch_size = 32
train_dataloader.update(
    batch_size=32,
    num_workers=4,
    drop_last=False,
    sampler=dict(type=InfiniteSampler, shuffle=True),
    dataset=dict(type=ImageFolders, data_root="data/own", pipeline=train_pipeline),
)
val_dataloader["dataset"].pop("split")
val_dataloader.update(
    batch_size=32,
    num_workers=4,
    dataset=dict(type=ImageFolders, data_root="data/own", pipeline=val_pipeline),
)
test_dataloader = val_dataloader
train_cfg = dict(type=ResumableIterLoop, max_iters=2000, val_interval=500)
param_scheduler[0].update(by_epoch=False, convert_to_iter_based=False, warmup=100)
default_hooks["checkpoint"].update(interval=500, by_epoch=False)
log_processor.update(by_epoch=False)
custom_hooks[0].update(data="own data")
