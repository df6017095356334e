"""UperNet with ViT-B/16 on ADE20K, 160,000 iterations from MoCo v3.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/seg/upernet_vit_base_moco_v3_ade20k_160k.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces MAE Table 5, MoCo v3, ViT-B: 47.3 mIoU.

Sources: structure, data and schedule: as in upernet_vit_base_mae_ade20k_160k.py.
UNKNOWN: lr, which the authors searched for this row and did not print, layer decay and drop path.
Those here are of MAE ViT-B; configs/suite/table5_base_search.yaml searches from there.
Weights: vit-b-300ep.pth.tar of the authors of MoCo v3.
"""

from mmengine.config import read_base

with read_base():
    from .upernet_vit_base_mae_ade20k_160k import *

reproduces = [
    dict(table="Table 5", column="ViT-B", metric="mIoU"),
]
