"""The example of the docs: a trained classifier as ONNX, and as a graph of ``torch.export``."""

import runpy
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from PIL import Image

import mae_bench

from .conftest import FEW_LABELS, ROOT, SHRINK
from .test_python import FINETUNE, overrides

EXAMPLE = ROOT / "docs/examples/export_classifier.py"


@pytest.fixture
def trained(workplace) -> Path:
    mae_bench.train(FINETUNE, overrides([*SHRINK, *FEW_LABELS]), work_dir="w")
    return Path("w/checkpoint.safetensors")


@pytest.mark.parametrize(
    "runtime", ["reference", pytest.param("onnxruntime", marks=pytest.mark.slow)]
)
def test_the_exported_classifier_gives_the_probabilities_of_predict(trained, monkeypatch, runtime):
    files = sorted(Path("data/miniworld/imagenet/val").rglob("*.JPEG"))[:5]
    found = mae_bench.predict(FINETUNE, trained, files)
    expected = torch.stack([one.sample.pred_score for one in found]).numpy()
    assert np.ptp(expected, axis=0).max() > 1e-3  # the images differ
    # as the recipe reads them: MiniWorld's validation pictures are as large as its models see them
    images = np.stack([np.asarray(Image.open(file)) for file in files])
    images = images.transpose(0, 3, 1, 2).astype(np.float32)

    monkeypatch.setattr(sys, "argv", ["export", FINETUNE, str(trained), "c.onnx"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = runpy.run_path(str(EXAMPLE), run_name="__main__")
    onnx.checker.check_model("c.onnx")
    if runtime == "reference":
        (given,) = ReferenceEvaluator("c.onnx").run(None, {"images": images})
    else:
        session = pytest.importorskip("onnxruntime").InferenceSession("c.onnx")
        (given,) = session.run(None, {"images": images})
    np.testing.assert_allclose(given, expected, atol=1e-5)

    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    with torch.no_grad():
        graph = torch.export.export(
            example["classifier"], (torch.from_numpy(images[:2]),), dynamic_shapes={"images": batch}
        )
        exported = graph.module()(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(exported, expected, atol=1e-5)
