"""ImageNet-A, -C, -R and -Sketch: models fine-tuned on ImageNet-1K, only evaluated there."""

from .base import MCE, OFFICIAL, PAPER, TOP1, PublishedTable

_KIM, _RVT = "Kim et al. 2021", "RVT, Mao et al. 2021"
_UNMEASURED = "the supervised rows have no such column"

TABLES = (
    PublishedTable(
        name="Table 13",
        about="Fine-tuned models of Table 3, then the supervised ones of Appendix A.2, beside the "
        "best system before. Top-1 accuracy, but for IN-Corruption the mean corruption error: its "
        "scaling by AlexNet is confirmed in issue 104 of the official repository.",
        source=f"{PAPER}, Table 13",
        row_heading="dataset",
        columns={
            "ViT-B": TOP1,
            "ViT-L": TOP1,
            "ViT-H": TOP1,
            "ViT-H448": TOP1,
            "prev best": TOP1,
        },
        rows={
            "IN-Corruption": (51.7, 41.8, 33.8, 36.8, 42.5),
            "IN-Adversarial": (35.9, 57.1, 68.2, 76.7, 35.8),
            "IN-Rendition": (48.3, 59.9, 64.4, 66.5, 48.7),
            "IN-Sketch": (34.5, 45.3, 49.6, 50.9, 36.0),
            "supervised, IN-Corruption": (45.8, 42.3, 41.3, None, None),
            "supervised, IN-Adversarial": (27.2, 29.6, 33.1, None, None),
            "supervised, IN-Rendition": (49.4, 50.9, 50.3, None, None),
            "supervised, IN-Sketch": (35.6, 37.5, 38.0, None, None),
        },
        row_metrics={"IN-Corruption": MCE, "supervised, IN-Corruption": MCE},
        notes={
            ("IN-Corruption", "prev best"): _KIM,
            ("IN-Adversarial", "prev best"): _RVT,
            ("IN-Rendition", "prev best"): _RVT,
            ("IN-Sketch", "prev best"): _RVT,
            ("supervised, IN-Corruption", "prev best"): _UNMEASURED,
            ("supervised, IN-Adversarial", "prev best"): _UNMEASURED,
            ("supervised, IN-Rendition", "prev best"): _UNMEASURED,
            ("supervised, IN-Sketch", "prev best"): _UNMEASURED,
        },
    ),
    PublishedTable(
        name="released weights, by a user",
        about="Released fine-tuned weights evaluated by a user of the official repository.",
        source=f"{OFFICIAL}, issue 90",
        row_heading="dataset",
        columns={"ViT-B": TOP1, "ViT-L": TOP1, "ViT-H": TOP1},
        rows={
            "IN1K": (83.746, 85.954, 86.880),
            "IN-Adversarial": (36.4, 56.27, 67.3),
        },
    ),
)
