"""NMS and RoIAlign of ``mmcv.ops``: bit-identical to compiled mmcv, however they are imported.

``assets/mmcv_compiled_ops.safetensors`` holds seeded inputs and what mmcv's own C++ operators made
of them on the CPU: ``nms`` and ``roi_align`` of the onedl-mmcv 2.3.6 sources, built with
``torch.utils.cpp_extension`` against torch 2.13.0. Keys of NMS end in threshold and offset, those
of RoIAlign in sampling ratio and ``aligned``. Scores there have no ties: their order is torch's.
"""

import os
import subprocess
import sys
import textwrap
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest
import torch
import torchvision
from mmcv import ops
from safetensors.torch import load_file

from mae_bench.openmmlab import mmcv_ops

GOLDEN = load_file(Path(__file__).parent.parent / "assets" / "mmcv_compiled_ops.safetensors")
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]
ROI_CASES = [(0, False), (0, True), (2, False), (2, True)]


ROOT = Path(__file__).parents[2]


def run_python(code: str, folder: Path, notebook: bool = False) -> subprocess.CompletedProcess:
    """Run a script outside the checkout; as a notebook its main module has no file."""
    script = folder / "script.py"
    script.write_text(textwrap.dedent(code))
    command = ["-c", script.read_text()] if notebook else [str(script)]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done


def pool(features, rois, size, scale, sampling_ratio, aligned, mode="avg"):
    return ops.roi_align(features, rois, size, scale, sampling_ratio, mode, aligned)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_nms_equals_compiled_mmcv(threshold, device):
    boxes, scores = GOLDEN["nms.boxes"].to(device), GOLDEN["nms.scores"].to(device)
    dets, kept = ops.nms(boxes, scores, threshold)
    assert torch.equal(kept.cpu(), GOLDEN[f"nms.kept.{threshold}.0"])
    assert torch.equal(dets, torch.cat([boxes[kept], scores[kept, None]], dim=1))
    assert torch.equal(kept, torchvision.ops.nms(boxes, scores, threshold))


@pytest.mark.parametrize("offset", [0, 1])
def test_nms_with_offset_equals_compiled_mmcv(offset):
    _, kept = ops.nms(GOLDEN["nms.integer_boxes"], GOLDEN["nms.scores"], 0.5, offset=offset)
    assert torch.equal(kept, GOLDEN[f"nms.integer_kept.0.5.{offset}"])


def test_nms_by_hand():
    # Overlap 18 / 81; with inclusive pixels 30 / 100.
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 2]])
    scores = torch.tensor([0.8, 0.9])
    assert ops.nms(boxes, scores, 0.25)[1].tolist() == [1, 0]
    assert ops.nms(boxes, scores, 0.25, offset=1)[1].tolist() == [1]
    # An overlap of exactly the threshold keeps both; in float64 float32's 0.3 would exceed it.
    assert ops.nms(boxes, scores, 0.3, offset=1)[1].tolist() == [1, 0]


def test_nms_edge_cases():
    assert ops.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)[1].shape == (0,)
    boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [5, 5, 9, 9]])
    assert sorted(ops.nms(boxes, torch.full((3,), 0.5), 0.5)[1].tolist())[-1] == 2
    kept = ops.nms(boxes, torch.tensor([0.1, 0.3, 0.2]).half(), 0.5, max_num=1)[1]
    assert kept.tolist() == [1]


@pytest.mark.parametrize(("sampling_ratio", "aligned"), ROI_CASES)
def test_roi_align_equals_compiled_mmcv(sampling_ratio, aligned):
    features = GOLDEN["roi.input"].clone().requires_grad_()
    pooled = pool(features, GOLDEN["roi.rois"], (4, 5), 0.25, sampling_ratio, aligned)
    pooled.backward(GOLDEN["roi.grad_output"])
    key = f"{sampling_ratio}.{int(aligned)}"
    assert torch.equal(pooled, GOLDEN[f"roi.output.{key}"])
    assert torch.equal(features.grad, GOLDEN[f"roi.grad_input.{key}"])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("sampling_ratio", "aligned"), ROI_CASES)
def test_roi_align_equals_torchvision(sampling_ratio, aligned, device):
    rois = GOLDEN["roi.rois"].to(device)
    ours = GOLDEN["roi.input"].to(device).clone().requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    pooled = pool(ours, rois, (4, 5), 0.25, sampling_ratio, aligned)
    wanted = torchvision.ops.roi_align(theirs, rois, (4, 5), 0.25, sampling_ratio, aligned)
    assert torch.equal(pooled, wanted)
    pooled.backward(GOLDEN["roi.grad_output"].to(device))
    wanted.backward(GOLDEN["roi.grad_output"].to(device))
    # On a GPU the gradient is summed in no fixed order.
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=0 if device == "cpu" else 1e-5)


def test_roi_align_by_hand():
    # 4 x 4 pixels in 2 x 2 bins: with two samples per side each bin is the mean of its pixels.
    features = torch.arange(16.0).reshape(1, 1, 4, 4).requires_grad_()
    pooled = pool(features, torch.tensor([[0.0, 0, 0, 4, 4]]), (2, 2), 1.0, 2, True)
    assert pooled.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    pooled.sum().backward()
    assert torch.equal(features.grad, torch.full((1, 1, 4, 4), 0.25))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_roi_align_in_half_precision_rounds_once(dtype):
    features = GOLDEN["roi.input"].to(dtype).requires_grad_()
    rois = GOLDEN["roi.rois"].to(dtype)
    pooled = pool(features, rois, (4, 5), 0.25, 2, True)
    wanted = pool(features.detach().float(), rois.float(), (4, 5), 0.25, 2, True)
    assert torch.equal(pooled, wanted.to(dtype))
    pooled.backward(GOLDEN["roi.grad_output"].to(dtype))
    assert features.grad.dtype == dtype and features.grad.isfinite().all()


@pytest.mark.skipif(mmcv_ops.operator_source() != "torchvision", reason="mmcv is compiled")
def test_missing_operators_say_what_they_need():
    message = r"'softnms' needs an mmcv with compiled operators for torch .* pip install"
    with pytest.raises(NotImplementedError, match=message):
        ops.soft_nms(torch.zeros(1, 4), torch.zeros(1))
    with pytest.raises(NotImplementedError, match="pool_mode='max'"):
        pool(GOLDEN["roi.input"], GOLDEN["roi.rois"], (2, 2), 1.0, 2, True, mode="max")
    extension = sys.modules["mmcv._ext"]
    assert not hasattr(extension, "__path__")
    assert "without compiled operators" in mmcv_ops.compiled_load_error()


@pytest.mark.slow
def test_programs_that_import_mae_bench_first_and_their_workers(tmp_path):
    done = run_python(
        """
        import mae_bench
        import mmdet.structures
        import multiprocessing
        import torch

        def kept(_):
            from mmcv.ops import batched_nms
            boxes = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 3], [6, 6, 8, 8]])
            iou = {"type": "nms", "iou_threshold": 0.5}
            return batched_nms(boxes, torch.tensor([.9, .8, .7]), torch.zeros(3), iou)[1].tolist()

        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as workers:
                print(kept(0), workers.map(kept, [0]))
        """,
        tmp_path,
    )
    assert done.stdout.strip() == "[0, 2] [[0, 2]]"


@pytest.mark.slow
def test_spawned_workers_of_a_notebook_need_no_operators(tmp_path):
    """A worker unpickles the data set before anything of ours could be imported."""
    done = run_python(
        """
        from mmdet.datasets import BaseDetDataset
        from torch.utils.data import DataLoader
        import mmpretrain.datasets, mmseg.datasets

        data = BaseDetDataset(ann_file="a", lazy_init=True, serialize_data=False, pipeline=[])
        data.data_list, data._fully_initialized = [{}, {}], True
        print(list(DataLoader(data, num_workers=1, multiprocessing_context="spawn",
                              collate_fn=len)))
        """,
        tmp_path,
        notebook=True,
    )
    assert done.stdout.strip().splitlines()[-1] == "[1, 1]"


def test_no_file_runs_when_the_interpreter_starts():
    """A .pth file of the wheel would run in every Python of the environment."""
    assert not list(ROOT.glob("*.pth")) and ".pth" not in (ROOT / "pyproject.toml").read_text()


def test_an_extension_that_does_not_load_is_replaced(tmp_path):
    (tmp_path / f"_ext{EXTENSION_SUFFIXES[0]}").write_bytes(b"built for another torch")
    done = run_python(
        f"""
        import mae_bench
        import mmcv
        mmcv.__path__.insert(0, {str(tmp_path)!r})
        import mmcv.ops
        from mae_bench.openmmlab.mmcv_ops import compiled_load_error, operator_source
        assert operator_source() == "torchvision"
        print(compiled_load_error())
        """,
        tmp_path,
    )
    assert "does not load (ImportError: " in done.stdout
    assert "NMS and RoIAlign come from torchvision" in done.stderr


def test_an_extension_that_loads_is_used(tmp_path):
    (tmp_path / "_ext.py").write_text(
        "import torch\n"
        "def __getattr__(name):\n"
        "    return lambda *args, **kwargs: torch.tensor([1])\n"
    )
    done = run_python(
        f"""
        import mae_bench
        import mmcv
        mmcv.__path__.insert(0, {str(tmp_path)!r})
        import torch
        from mmcv.ops import nms
        from mae_bench.openmmlab.mmcv_ops import compiled_load_error, operator_source
        assert operator_source() == "mmcv compiled" and compiled_load_error() is None
        print(nms(torch.zeros(2, 4), torch.ones(2), 0.5)[1].tolist())
        """,
        tmp_path,
    )
    assert done.stdout.strip() == "[1]"
