"""ViT-L/16 with tokens of DALL-E's dVAE as the target, 1600 epochs.

    torchrun --nproc-per-node 8 tools/train.py configs/pretrain/table7_dvae_tokens_large.py \\
        --launcher pytorch --amp

Reproduces MAE Table 7, dVAE token, ViT-L: fine-tuned top-1 85.7,
COCO box AP 53.2, ADE20K mIoU 53.4.

Sources: 1600 epochs: Table 7. All else as in mae_vit_base_p16_800e.py (Table 8).
UNKNOWN: how the authors resized the tokenizer's input; antialiased bicubic to 112 pixels here. The
file: `tools/convert_dvae.py encoder.pkl data/dalle_dvae/encoder.safetensors --trust`.
"""

from mmengine.config import read_base

from mae_bench.models import DVAETarget

with read_base():
    from .mae_vit_base_p16_800e import *

epochs = 1600

model["backbone"].update(arch="large")
model.update(
    target=dict(type=DVAETarget, patch_size=16, checkpoint="data/dalle_dvae/encoder.safetensors")
)
train_cfg.update(max_epochs=epochs)
param_scheduler[0].update(total=epochs)
