"""A trained classifier as one ONNX file: RGB pixels 0..255 in, probabilities out, for any batch.

python export_classifier.py CONFIG RUN/checkpoint.safetensors classifier.onnx
"""

import sys

import torch
from torch import Tensor, nn

from mae_bench.evaluation.applied import load_for_prediction


class Classifier(nn.Module):
    """The model with its normalisation."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, classes)
        preprocessor = self.model.data_preprocessor
        pixels = (images - preprocessor.mean) / preprocessor.std
        return self.model(pixels, mode="tensor").softmax(-1)


if __name__ == "__main__":
    config, checkpoint, out = sys.argv[1:]
    trained = load_for_prediction(config, checkpoint, {}, "cpu")
    classifier = Classifier(trained.model)
    side = trained.cfg.model.backbone.img_size
    torch.onnx.export(
        classifier,
        (torch.zeros(1, 3, side, side),),
        out,
        dynamo=False,
        opset_version=17,
        input_names=["images"],
        output_names=["probabilities"],
        dynamic_axes={"images": {0: "batch"}},
    )
