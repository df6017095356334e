"""COCO detection and ADE20K segmentation."""

from .base import (
    BOX_AP,
    MASK_AP,
    MEAN_CLASS_ACCURACY,
    MIOU,
    OFFICIAL,
    PAPER,
    PARAMETERS,
    PIXEL_ACCURACY,
    PublishedTable,
)

_INITIALISATIONS = {
    "supervised": "IN1K w/ labels",
    "MoCo v3": "IN1K",
    "BEiT": "IN1K+DALLE",
    "MAE": "IN1K",
}
_BOX_MASK = {"APbox": BOX_AP, "APmask": MASK_AP}
_SINGLE_MULTI = {"mIoU": MIOU, "mIoU (ms+flip)": MIOU}

TABLES = (
    PublishedTable(
        name="Table 4",
        about="COCO val2017, Mask R-CNN on a ViT with FPN, hyper-parameters searched per entry.",
        source=f"{PAPER}, Table 4",
        row_heading="method",
        columns={
            "APbox ViT-B": BOX_AP,
            "APbox ViT-L": BOX_AP,
            "APmask ViT-B": MASK_AP,
            "APmask ViT-L": MASK_AP,
        },
        rows={
            "supervised": (47.9, 49.3, 42.9, 43.9),
            "MoCo v3": (47.9, 49.3, 42.7, 44.0),
            "BEiT": (49.8, 53.3, 44.4, 47.1),
            "MAE": (50.3, 53.3, 44.9, 47.2),
        },
        text_columns={"pre-train data": _INITIALISATIONS},
    ),
    PublishedTable(
        name="Table 5",
        about="ADE20K val, UperNet, 100 epochs at batch 16, learning rate searched per entry.",
        source=f"{PAPER}, Table 5",
        row_heading="method",
        columns={"ViT-B": MIOU, "ViT-L": MIOU},
        rows={
            "supervised": (47.4, 49.9),
            "MoCo v3": (47.3, 49.1),
            "BEiT": (47.1, 53.3),
            "MAE": (48.1, 53.6),
        },
        text_columns={"pre-train data": _INITIALISATIONS},
        notes={
            ("BEiT", "ViT-B"): "run by the MAE authors with BEiT's code",
            ("BEiT", "ViT-L"): "run by the MAE authors with BEiT's code",
        },
    ),
    PublishedTable(
        name="official COCO schedules",
        about="Learning curve of the MAE ViT-B Mask R-CNN of Table 4, COCO val2017.",
        source=f"{OFFICIAL}, issue 43, answer of R. Girshick",
        row_heading="epochs",
        columns=_BOX_MASK,
        rows={"25": (48.1, 43.2), "50": (50.1, 44.6), "100": (50.3, 44.9)},
    ),
    PublishedTable(
        name="MIMDet COCO schedules",
        about="The same Mask R-CNN, MAE ViT-B, written again by others, COCO val2017.",
        source="hustvl/MIMDet, README.md, Benchmarking-ViT-B",
        row_heading="epochs",
        columns={**_BOX_MASK, "params": PARAMETERS},
        rows={
            "25": (48.0, 43.0, 118.67),
            "50": (50.2, 44.9, 118.67),
            "100": (50.4, 44.9, 118.67),
        },
    ),
    PublishedTable(
        name="ViTDet",
        about="The successor of Table 4's detector: pyramid from the last block alone, MAE on "
        "ImageNet-1K, 1024 pixels, 100 epochs (H: 75), COCO val2017. Box and mask AP of ViT-B vary "
        "by 0.10 (standard deviation of five seeds).",
        source="detectron2, projects/ViTDet/README.md",
        row_heading="detector, model",
        columns=_BOX_MASK,
        rows={
            "Mask R-CNN, ViT-B": (51.6, 45.9),
            "Mask R-CNN, ViT-L": (55.5, 49.2),
            "Mask R-CNN, ViT-H": (56.7, 50.2),
            "Cascade Mask R-CNN, ViT-B": (54.0, 46.7),
            "Cascade Mask R-CNN, ViT-L": (57.6, 50.0),
            "Cascade Mask R-CNN, ViT-H": (58.7, 51.0),
        },
    ),
    PublishedTable(
        name="mmdetection ViTDet",
        about="ViTDet in OpenMMLab, MAE ViT-B, COCO val2017.",
        source="mmdetection, projects/ViTDet/README.md",
        row_heading="detector, model",
        columns=_BOX_MASK,
        rows={"Mask R-CNN, ViT-B": (51.6, 45.7)},
    ),
    PublishedTable(
        name="ViTAE ViTDet",
        about="ViTDet on mmdetection 2 by others, MAE ViT-B, COCO val2017.",
        source="ViTAE-Transformer/ViTDet, README.md",
        row_heading="detector, model",
        columns=_BOX_MASK,
        rows={"Mask R-CNN, ViT-B": (51.1, 45.5)},
    ),
    PublishedTable(
        name="mae_segmentation",
        about="ADE20K val, UperNet, MAE ViT-B, 512 pixels, 160k iterations, sliding window, single "
        "scale; written by others.",
        source="implus/mae_segmentation, README.md",
        row_heading="model",
        columns={"mIoU": MIOU, "mAcc": MEAN_CLASS_ACCURACY, "aAcc": PIXEL_ACCURACY},
        rows={"MAE ViT-B": (48.15, 58.99, 83.05)},
    ),
    PublishedTable(
        name="mae_segmentation, curve",
        about="Evaluations on the way to the result of 'mae_segmentation'.",
        source="implus/mae_segmentation, training log",
        row_heading="iterations",
        columns={"mIoU": MIOU},
        rows={
            "16k": (38.65,),
            "32k": (43.97,),
            "48k": (45.96,),
            "64k": (45.28,),
            "80k": (46.01,),
            "96k": (46.81,),
            "112k": (46.85,),
            "128k": (47.69,),
            "144k": (47.68,),
            "160k": (48.15,),
        },
    ),
    PublishedTable(
        name="mmsegmentation",
        about="ADE20K val, UperNet by OpenMMLab. MAE at 512 pixels; BEiT, pre-trained and "
        "fine-tuned on ImageNet-22K, at 640.",
        source="mmsegmentation, configs/mae/metafile.yaml and configs/beit/metafile.yaml",
        row_heading="model",
        columns=_SINGLE_MULTI,
        rows={
            "MAE ViT-B": (48.13, 48.70),
            "BEiT-B": (53.08, 53.84),
            "BEiT-L": (56.33, 56.84),
        },
    ),
    PublishedTable(
        name="BEiT repository",
        about="ADE20K val, UperNet at 640 pixels, BEiT pre-trained and fine-tuned on ImageNet-22K.",
        source="microsoft/unilm, beit/README.md",
        row_heading="model",
        columns=_SINGLE_MULTI,
        rows={"BEiT-B": (53.61, 54.26), "BEiT-L": (56.7, 57.0)},
    ),
)
