"""Pre-training: the ablations, what a run costs, and what the decoder predicts."""

from .base import (
    BOX_AP,
    DIFFERENCE,
    FLOPS,
    HOURS,
    MIOU,
    OFFICIAL,
    PAPER,
    SPEEDUP,
    TOP1,
    PublishedTable,
)

_ABLATION = (
    "ViT-L/16 pre-trained 800 epochs on ImageNet-1K; fine-tuning (ft) and linear probing (lin). "
    "Default: decoder depth 8 and width 512, un-normalised pixels, random resized crop, random "
    "masking of 75 %"
)
_FT_LIN = {"ft": TOP1, "lin": TOP1}

TABLES = (
    PublishedTable(
        name="Table 1a",
        about=f"Decoder depth. {_ABLATION}.",
        source=f"{PAPER}, Table 1a",
        row_heading="blocks",
        columns=_FT_LIN,
        rows={
            "1": (84.8, 65.5),
            "2": (84.9, 70.0),
            "4": (84.9, 71.9),
            "8": (84.9, 73.5),
            "12": (84.4, 73.3),
        },
    ),
    PublishedTable(
        name="Table 1b",
        about=f"Decoder width. {_ABLATION}.",
        source=f"{PAPER}, Table 1b",
        row_heading="dim",
        columns=_FT_LIN,
        rows={
            "128": (84.9, 69.1),
            "256": (84.8, 71.3),
            "512": (84.9, 73.5),
            "768": (84.4, 73.1),
            "1024": (84.3, 73.1),
        },
    ),
    PublishedTable(
        name="Table 1c",
        about=f"Mask tokens [M] in the encoder. {_ABLATION}.",
        source=f"{PAPER}, Table 1c",
        row_heading="case",
        columns={"ft": TOP1, "lin": TOP1, "FLOPs": FLOPS},
        rows={
            "encoder w/ [M]": (84.2, 59.6, 3.3),
            "encoder w/o [M]": (84.9, 73.5, 1.0),
        },
    ),
    PublishedTable(
        name="Table 1d",
        about=f"Reconstruction target; PCA keeps the 96 largest coefficients. {_ABLATION}.",
        source=f"{PAPER}, Table 1d",
        row_heading="case",
        columns=_FT_LIN,
        rows={
            "pixel (w/o norm)": (84.9, 73.5),
            "pixel (w/ norm)": (85.4, 73.9),
            "PCA": (84.6, 72.3),
            "dVAE token": (85.3, 71.6),
        },
    ),
    PublishedTable(
        name="Table 1e",
        about=f"Augmentation; 'none' is a centre crop, the crops flip as well. {_ABLATION}.",
        source=f"{PAPER}, Table 1e",
        row_heading="case",
        columns=_FT_LIN,
        rows={
            "none": (84.0, 65.7),
            "crop, fixed size": (84.7, 73.1),
            "crop, rand size": (84.9, 73.5),
            "crop + color jit": (84.3, 71.9),
        },
    ),
    PublishedTable(
        name="Table 1f",
        about=f"Mask sampling, with the masked percentage. {_ABLATION}.",
        source=f"{PAPER}, Table 1f",
        row_heading="case, ratio",
        columns=_FT_LIN,
        rows={
            "random 75": (84.9, 73.5),
            "block 50": (83.9, 72.3),
            "block 75": (82.8, 63.9),
            "grid 75": (84.0, 66.0),
        },
    ),
    PublishedTable(
        name="Table 2",
        about="Cost of 800 epochs on 128 TPU-v3 cores, in TensorFlow; decoder width 512, 75 % "
        "masked, un-normalised pixels. [M]: mask tokens in the encoder.",
        source=f"{PAPER}, Table 2",
        row_heading="encoder, dec. depth",
        columns={"ft acc": TOP1, "hours": HOURS, "speedup": SPEEDUP},
        rows={
            "ViT-L w/ [M], 8": (84.2, 42.4, None),
            "ViT-L, 8": (84.9, 15.4, 2.8),
            "ViT-L, 1": (84.8, 11.6, 3.7),
            "ViT-H w/ [M], 8": (None, 119.6, None),
            "ViT-H, 8": (85.8, 34.5, 3.5),
            "ViT-H, 1": (85.9, 29.3, 4.1),
        },
        notes={
            ("ViT-L w/ [M], 8", "speedup"): "what the ViT-L speed-ups are relative to",
            ("ViT-H w/ [M], 8", "hours"): "estimated from ten epochs",
            ("ViT-H w/ [M], 8", "speedup"): "what the ViT-H speed-ups are relative to",
        },
    ),
    PublishedTable(
        name="Table 7",
        about="Pixels or dVAE tokens as the target: ImageNet-1K fine-tuning, COCO box AP with "
        "Mask R-CNN, ADE20K mean IoU with UperNet; 1600 epochs.",
        source=f"{PAPER}, Table 7",
        row_heading="target",
        columns={
            "IN1K ViT-B": TOP1,
            "IN1K ViT-L": TOP1,
            "IN1K ViT-H": TOP1,
            "COCO ViT-B": BOX_AP,
            "COCO ViT-L": BOX_AP,
            "ADE20K ViT-B": MIOU,
            "ADE20K ViT-L": MIOU,
        },
        rows={
            "pixel (w/o norm)": (83.3, 85.1, 86.2, 49.5, 52.8, 48.0, 51.8),
            "pixel (w/ norm)": (83.6, 85.9, 86.9, 50.3, 53.3, 48.1, 53.6),
            "dVAE token": (83.6, 85.7, 86.9, 50.3, 53.2, 48.1, 53.4),
            "token - pixel (w/ norm)": (0.0, -0.2, 0.0, 0.0, -0.1, 0.0, -0.2),
        },
        row_metrics={"token - pixel (w/ norm)": DIFFERENCE},
    ),
    PublishedTable(
        name="Section 4",
        about="ViT-L/16 from scratch and fine-tuned from the default of Table 1, ImageNet-1K.",
        source=f"{PAPER}, Section 4",
        row_heading="ViT-L",
        columns={"top-1": TOP1},
        rows={
            "scratch, original": (76.5,),
            "scratch, our impl.": (82.5,),
            "baseline MAE": (84.9,),
        },
        notes={("scratch, our impl.", "top-1"): "82.6 in Table 3 and Appendix A.2"},
    ),
    PublishedTable(
        name="Section 3, footnote 1",
        about="Change of accuracy when the loss covers all pixels, not only the masked ones.",
        source=f"{PAPER}, footnote 1",
        row_heading="loss on",
        columns={"top-1": DIFFERENCE},
        rows={"all pixels": (-0.5,)},
        notes={("all pixels", "top-1"): "printed as about 0.5 %"},
    ),
    PublishedTable(
        name="Figure 5",
        about="Masking ratio, ViT-L/16, default of Table 1.",
        source=f"{PAPER}, Figure 5 and Section 4.1",
        row_heading="masking ratio",
        columns=_FT_LIN,
        rows={"worst for lin": (None, 54.6), "75": (84.9, 73.5)},
        missing="drawn in the figure, not printed",
    ),
    PublishedTable(
        name="Section 4.2, hours",
        about="Pre-training ViT-L on 128 TPU-v3 cores.",
        source=f"{PAPER}, Section 4.2",
        row_heading="method",
        columns={"hours": HOURS},
        rows={"MAE, 1600 epochs": (31.0,), "MoCo v3, 300 epochs": (36.0,)},
    ),
    PublishedTable(
        name="official pre-training",
        about="ViT-L/16, 800 epochs, normalised pixels, 64 V100, then fine-tuned on ImageNet-1K.",
        source=f"{OFFICIAL}, PRETRAIN.md",
        row_heading="model",
        columns={"ft": TOP1, "hours": HOURS},
        rows={"ViT-L": (85.5, 42.0)},
        notes={("ViT-L", "hours"): "printed as about 42 h"},
    ),
)
