"""Rows of public listings: Papers with Code, mmselfsup, and the ImageNet-S model zoo."""

from .base import BOX_AP, ERROR, MCE, MIOU, PARAMETERS, TOP1, PublishedTable

_PAPERS = "Papers with Code, 'Masked Autoencoders Are Scalable Vision Learners'"
_VAL_TEST = {"mIoU (val)": MIOU, "mIoU (test)": MIOU}

TABLES = (
    PublishedTable(
        name="Papers with Code, semantic segmentation",
        about="ADE20K, validation mean IoU.",
        source=_PAPERS,
        row_heading="model",
        columns={"Validation mIoU": MIOU},
        rows={"MAE (ViT-L, UperNet)": (53.6,), "MAE (ViT-B, UperNet)": (48.1,)},
    ),
    PublishedTable(
        name="Papers with Code, object detection",
        about="COCO minival.",
        source=_PAPERS,
        row_heading="model",
        columns={"box AP": BOX_AP},
        rows={"MAE (ViT-L, Mask R-CNN)": (53.3,), "MAE (ViT-B, Mask R-CNN)": (50.3,)},
    ),
    PublishedTable(
        name="Papers with Code, image classification",
        about="ImageNet, fine-tuned.",
        source=_PAPERS,
        row_heading="model",
        columns={"Top 1 Accuracy": TOP1, "Number of params": PARAMETERS},
        rows={
            "MAE (ViT-H, 448)": (87.8, 656),
            "MAE (ViT-H)": (86.9, None),
            "MAE (ViT-L)": (85.9, None),
            "MAE (ViT-B)": (83.6, None),
        },
        notes={
            ("MAE (ViT-H, 448)", "Number of params"): "632 M in Table 12 and in the other rows",
            ("MAE (ViT-B)", "Top 1 Accuracy"): "the listing gives no model; Table 3's ViT-B",
        },
    ),
    PublishedTable(
        name="Papers with Code, self-supervised",
        about="ImageNet, linear probing.",
        source=_PAPERS,
        row_heading="model",
        columns={"Top 1 Accuracy": TOP1},
        rows={"MAE (ViT-H)": (76.6,), "MAE (ViT-L)": (75.8,), "MAE (ViT-B)": (68.0,)},
    ),
    PublishedTable(
        name="Papers with Code, self-supervised, fine-tuned",
        about="ImageNet, self-supervised pre-training, then fine-tuned.",
        source=_PAPERS,
        row_heading="model",
        columns={"Top 1 Accuracy": TOP1, "Number of Params": PARAMETERS},
        rows={"MAE (ViT-H/14)": (86.9, None), "MAE (ViT-H/14, 448)": (87.8, 632)},
    ),
    PublishedTable(
        name="Papers with Code, domain generalization",
        about="ImageNet-A, ImageNet-C and ImageNet-R; the error rate is 100 less the accuracy of "
        "Table 13.",
        source=_PAPERS,
        row_heading="dataset, model",
        columns={
            "Top-1 accuracy %": TOP1,
            "mean Corruption Error (mCE)": MCE,
            "Top-1 Error Rate": ERROR,
            "Number of params": PARAMETERS,
        },
        rows={
            "ImageNet-A, MAE (ViT-H, 448)": (76.7, None, None, None),
            "ImageNet-C, MAE (ViT-H)": (None, 33.8, None, 632),
            "ImageNet-R, MAE (ViT-H, 448)": (None, None, 33.5, None),
        },
        missing="not listed for this dataset",
    ),
    PublishedTable(
        name="Papers with Code, ImageNet-S",
        about="ImageNet-S semantic segmentation, not in the MAE paper: ViT-B/16 at 224 pixels, in "
        "mmsegmentation.",
        source=_PAPERS,
        row_heading="model",
        columns=_VAL_TEST,
        rows={
            "MAE (ViT-B/16, 224x224, SSL+FT, mmseg)": (61.6, 61.2),
            "MAE (ViT-B/16, 224x224, SSL, mmseg)": (40.0, 40.3),
        },
    ),
    PublishedTable(
        name="ImageNet-S model zoo",
        about="ImageNet-S by its authors, MAE ViT-B of 1600 epochs, self-supervised (SSL) or "
        "fine-tuned on ImageNet-1K after it (SSL+Sup).",
        source="LUSSeg/ImageNetSegModel, MODEL_ZOO.md",
        row_heading="model",
        columns=_VAL_TEST,
        rows={"MAE ViT-B, SSL": (38.3, 37.0), "MAE ViT-B, SSL+Sup": (61.0, 60.2)},
    ),
    PublishedTable(
        name="mmselfsup",
        about="MAE pre-trained 400 epochs, fine-tuned 100 epochs on ImageNet-1K.",
        source="mmselfsup, configs/selfsup/mae/README.md",
        row_heading="backbone",
        columns={"Fine-tuning Top-1": TOP1},
        rows={"ViT-B/16": (83.1,)},
        notes={("ViT-B/16", "Fine-tuning Top-1"): "the log linked beside it is of 300 epochs"},
    ),
)
