"""UperNet with ViT-B/16 on ADE20K, the paper's 100 epochs from MAE.

    torchrun --nproc-per-node 8 tools/train.py \\
        configs/seg/upernet_vit_base_mae_ade20k_100e.py --checkpoint CKPT \\
        --launcher pytorch --amp float16

Reproduces MAE Table 5, MAE, ViT-B: 48.1 mIoU, with the length that Appendix A.4 states: 100 epochs
of 20,210 pictures at batch 16 are 126,312 iterations.

Sources: as in upernet_vit_base_mae_ade20k_160k.py. UNKNOWN: as there.
"""

from mmengine.config import read_base

with read_base():
    from .upernet_vit_base_mae_ade20k_160k import *

iterations = 126312
train_cfg.update(max_iters=iterations)
