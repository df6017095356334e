"""ImageNet-1K and the classification sets: fine-tuning, linear and partial, and from scratch."""

from .base import (
    DIFFERENCE,
    HOURS,
    LOSS,
    OFFICIAL,
    PAPER,
    PARAMETERS,
    SPREAD,
    TOP1,
    TOP5,
    PublishedTable,
)

_SIZES = {"ViT-B": TOP1, "ViT-L": TOP1, "ViT-H": TOP1, "ViT-H448": TOP1}

TABLES = (
    PublishedTable(
        name="Table 3",
        about="ImageNet-1K fine-tuning of B/16, L/16, H/14 at 224 pixels, H448 at 448. MAE: "
        "normalised pixels, 1600 epochs.",
        source=f"{PAPER}, Table 3",
        row_heading="method",
        columns=_SIZES,
        rows={
            "scratch, our impl.": (82.3, 82.6, 83.1, None),
            "DINO": (82.8, None, None, None),
            "MoCo v3": (83.2, 84.1, None, None),
            "BEiT": (83.2, 85.2, None, None),
            "MAE": (83.6, 85.9, 86.9, 87.8),
        },
        text_columns={
            "pre-train data": {
                "scratch, our impl.": "-",
                "DINO": "IN1K",
                "MoCo v3": "IN1K",
                "BEiT": "IN1K+DALLE",
                "MAE": "IN1K",
            }
        },
        notes={("scratch, our impl.", "ViT-L"): "82.5 in Section 4"},
    ),
    PublishedTable(
        name="Table 6",
        about="Fine-tuning on iNaturalist and Places from the models of Table 3, beside the best "
        "system before.",
        source=f"{PAPER}, Table 6",
        row_heading="dataset",
        columns={**_SIZES, "prev best": TOP1},
        rows={
            "iNat 2017": (70.5, 75.7, 79.3, 83.4, 75.4),
            "iNat 2018": (75.4, 80.1, 83.0, 86.8, 81.2),
            "iNat 2019": (80.5, 83.4, 85.7, 88.3, 84.1),
            "Places205": (63.9, 65.8, 65.9, 66.8, 66.0),
            "Places365": (57.9, 59.4, 59.8, 60.3, 58.0),
        },
        notes={
            ("iNat 2017", "prev best"): "FixRes, Touvron et al. 2019",
            ("iNat 2018", "prev best"): "Grafit, Touvron et al. 2021",
            ("iNat 2019", "prev best"): "Grafit, Touvron et al. 2021",
            ("Places205", "prev best"): "SEER, Goyal et al. 2021, pre-trained on 1 billion images",
            ("Places365", "prev best"): "Mahajan et al. 2018, pre-trained on 3.5 billion images",
        },
    ),
    PublishedTable(
        name="Table 12",
        about="Linear probing of masked-encoding methods, ImageNet-1K. MAE: the models of Table 3, "
        "so not the ViT-L of Table 1.",
        source=f"{PAPER}, Table 12",
        row_heading="method, model",
        columns={"params": PARAMETERS, "acc": TOP1},
        rows={
            "iGPT, iGPT-L": (1362, 69.0),
            "iGPT, iGPT-XL": (6801, 72.0),
            "BEiT, ViT-L": (304, 52.1),
            "MAE, ViT-B": (86, 68.0),
            "MAE, ViT-L": (304, 75.8),
            "MAE, ViT-H": (632, 76.6),
        },
        notes={("BEiT, ViT-L", "acc"): "run by the MAE authors"},
    ),
    PublishedTable(
        name="Figure 9",
        about="Partial fine-tuning of the last blocks of ViT-L/16, default of Table 1. 0 is linear "
        "probing, 0.5 the MLP of the last block, 24 full fine-tuning.",
        source=f"{PAPER}, Figure 9, Section 4.3 and Appendix B",
        row_heading="blocks",
        columns={"MAE": TOP1, "MoCo v3": TOP1, "MAE - MoCo v3": DIFFERENCE},
        rows={
            "0": (73.5, 77.6, None),
            "0.5": (79.1, None, None),
            "1": (81.0, None, None),
            "4": (None, None, 2.6),
            "24": (84.9, None, None),
        },
        missing="drawn in the figure, not printed",
    ),
    PublishedTable(
        name="Appendix A.2",
        about="Supervised training from scratch with the recipe of Table 11, ImageNet-1K, with "
        "and without a moving average of the weights (EMA); DeiT beside it.",
        source=f"{PAPER}, Appendix A.2",
        row_heading="model",
        columns={"w/ EMA": TOP1, "w/o EMA": TOP1, "DeiT": TOP1},
        rows={
            "ViT-B": (82.3, 82.1, 81.8),
            "ViT-L": (82.6, 81.5, None),
            "ViT-H": (83.1, 80.9, None),
        },
        notes={("ViT-L", "w/ EMA"): "82.5 in Section 4"},
    ),
    PublishedTable(
        name="Section 4.2, accuracy",
        about="ImageNet-1K accuracies in the text: the best before with ImageNet-1K data only, and "
        "BEiT ViT-L predicting tokens or pixels.",
        source=f"{PAPER}, Section 4.2 and footnote 2",
        row_heading="model",
        columns={"top-1": TOP1},
        rows={
            "VOLO, 512 pixels": (87.1,),
            "BEiT ViT-L, tokens": (85.2,),
            "BEiT ViT-L, pixels": (83.5,),
        },
    ),
    PublishedTable(
        name="official fine-tuning",
        about="Released fine-tuned weights, ImageNet-1K at 224 pixels; hours of fine-tuning on 32 "
        "(B, L) or 64 (H) V100.",
        source=f"{OFFICIAL}, FINETUNE.md",
        row_heading="model",
        columns={"Acc@1": TOP1, "Acc@5": TOP5, "loss": LOSS, "hours": HOURS},
        rows={
            "ViT-B": (83.664, 96.530, 0.731, 7 + 11 / 60),
            "ViT-L": (85.952, 97.570, 0.646, 8 + 52 / 60),
            "ViT-H": (86.928, 98.088, 0.584, 13 + 9 / 60),
        },
    ),
    PublishedTable(
        name="official fine-tuning, seeds",
        about="Four fine-tuning runs with different seeds. The standard deviation is the "
        "population's (divisor 4).",
        source=f"{OFFICIAL}, FINETUNE.md",
        row_heading="model",
        columns={
            "run 1": TOP1,
            "run 2": TOP1,
            "run 3": TOP1,
            "run 4": TOP1,
            "mean": TOP1,
            "std": SPREAD,
        },
        rows={
            "ViT-B": (83.63, 83.66, 83.52, 83.46, 83.57, 0.08),
            "ViT-L": (85.95, 85.87, 85.76, 85.88, 85.87, 0.07),
        },
    ),
    PublishedTable(
        name="official linear probing",
        about="The MAE rows of Table 12 run again in PyTorch; hours of 90 epochs on 32 V100.",
        source=f"{OFFICIAL}, FINETUNE.md",
        row_heading="model",
        columns={"acc": TOP1, "hours": HOURS},
        rows={
            "ViT-B": (67.8, 2 + 20 / 60),
            "ViT-L": (76.0, None),
            "ViT-H": (77.2, None),
        },
    ),
    PublishedTable(
        name="mmpretrain",
        about="MAE pre-trained and evaluated by OpenMMLab: fine-tuning (ft) for 100 (B) or 50 "
        "(L, H) epochs, linear probing (lin) for 90.",
        source="mmpretrain, configs/mae/metafile.yml",
        row_heading="pre-training epochs",
        columns={
            "ViT-B ft": TOP1,
            "ViT-B lin": TOP1,
            "ViT-L ft": TOP1,
            "ViT-L lin": TOP1,
            "ViT-H ft": TOP1,
            "ViT-H448 ft": TOP1,
        },
        rows={
            "300": (83.1, 60.8, None, None, None, None),
            "400": (83.3, 62.5, 85.2, 70.7, None, None),
            "800": (83.3, 65.1, 85.4, 73.7, None, None),
            "1600": (83.5, 67.1, 85.7, 75.5, 86.9, 87.3),
        },
        notes={("1600", "ViT-H448 ft"): "batch 256"},
    ),
)
