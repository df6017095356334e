"""UperNet with ViT-B/16 on ADE20K, 160,000 iterations from a supervised classifier.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/seg/upernet_vit_base_supervised_ade20k_160k.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces MAE Table 5, supervised, ViT-B: 47.4 mIoU.

Sources: structure, data and schedule: as in upernet_vit_base_mae_ade20k_160k.py.
UNKNOWN: lr, which the authors searched for this row and did not print, layer decay and drop path.
Those here are of MAE ViT-B; configs/suite/table5_base_search.yaml searches from there.
The weights behind this row are not named in the paper.
"""

from mmengine.config import read_base

with read_base():
    from .upernet_vit_base_mae_ade20k_160k import *

reproduces = [
    dict(table="Table 5", column="ViT-B", metric="mIoU"),
]
