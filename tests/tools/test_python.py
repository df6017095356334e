"""The names of the package do what their commands do, and the notebook runs."""

import inspect
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas
import pytest
import timm
import torch

import mae_bench
import mae_bench.cli.train
from mae_bench.checkpoint.format import load_checkpoint, save_checkpoint
from mae_bench.config.load import load_config
from mae_bench.evaluation.applied import load_for_prediction
from mae_bench.results.record import read_record

from .conftest import FEW_LABELS, ROOT, SHRINK

FINETUNE = "configs/cls/vit_mini_finetune_miniworld.py"  # found without a checkout too
ROBUSTNESS = "configs/cls/vit_mini_robustness_miniworld.py"
DOCS_PAGE = ROOT / "docs/python.md"
NOTEBOOK = ROOT / "docs/examples/features.ipynb"


def overrides(options: list[str]) -> dict:
    pairs = (option.partition("=")[::2] for option in options)
    return {key: int(v) if v.isdigit() else [] if v == "[]" else v for key, v in pairs}


@pytest.fixture
def trained(workplace):
    return mae_bench.train(FINETUNE, overrides([*SHRINK, *FEW_LABELS]), work_dir="work_dirs/a")


def run_notebook() -> dict:
    names: dict = {}
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    return names


def test_a_notebook_does_what_the_commands_do(trained, run_tool):
    assert trained == read_record("work_dirs/a/record.json")
    file = Path("work_dirs/a/checkpoint.safetensors")

    again = mae_bench.evaluate(FINETUNE, file, split="val", work_dir="v")
    assert again.metrics == trained.metrics
    tested = mae_bench.evaluate(ROBUSTNESS, file, out="t.record.json", work_dir="t")
    ended = run_tool("test.py", ROOT / ROBUSTNESS, file, "--work-dir", "u")
    assert ended.code == 0, ended.stderr
    assert tested.metrics == read_record("u/record.json").metrics

    images = sorted(Path("data/miniworld").glob("ade20k/images/validation/*"))[:4]
    found = mae_bench.predict(FINETUNE, file, images, batch_size=2)
    ended = run_tool("predict.py", ROOT / FINETUNE, file, *images, "--out", "p", "--no-drawings")
    assert ended.code == 0, ended.stderr
    written = pandas.read_csv("p/predictions.csv")
    assert [one.name for one in found] == [path.name for path in images]
    assert [one.sample.pred_score.max().item() for one in found] == pytest.approx(
        written.filter(like="score").iloc[:, 0].tolist(), abs=1e-3
    )

    shutil.copy(file, "checkpoint.safetensors")
    for index, path in enumerate(images):
        Path(f"pictures/{index % 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, f"pictures/{index % 2}/{index}.jpg")
    names = run_notebook()
    assert names["features"].shape == (4, 96)
    records = names["records"]
    assert records.loc["a", "metrics.accuracy/top1"] == trained.metrics["accuracy/top1"]
    text = run_tool("report.py", "work_dirs", "--format", "csv", "--out", "t.csv")
    assert text.code == 0, text.stderr
    frame = mae_bench.tables("work_dirs")
    assert len(frame) == len(pandas.read_csv("t.csv"))

    # by timm's own model, from the same file
    tensors, metadata = load_checkpoint(file)
    peer = timm.models.VisionTransformer(
        *(32, 4, 3), num_classes=0, global_pool="avg", embed_dim=96, depth=4, num_heads=4
    ).eval()
    peer.load_state_dict({name: tensors[name] for name in peer.state_dict()})
    image = names["load"](names["paths"][0])[None]
    ours = torch.nn.functional.normalize(peer(image))
    torch.testing.assert_close(names["features"][:1], ours, rtol=1e-4, atol=1e-5)

    # applied to images as it was trained, not as the config says
    save_checkpoint("half.safetensors", tensors, replace(metadata, mean=[127.5] * 3, std=[99] * 3))
    ready = load_for_prediction(ROOT / FINETUNE, "half.safetensors")
    assert ready.model.data_preprocessor.mean.flatten().tolist() == [127.5] * 3
    assert ready.model.data_preprocessor.std.flatten().tolist() == [99.0] * 3


def test_a_backbone_is_changed_and_refused(tmp_path):
    torch.manual_seed(0)
    peer = timm.models.VisionTransformer(32, 8, embed_dim=192, depth=2, num_heads=3, num_classes=0)
    torch.save(peer.state_dict(), tmp_path / "t.pth")
    with pytest.raises(ValueError, match=r"t\.pth: .*checkpoint is depth 2, model 12"):
        mae_bench.load_backbone(tmp_path / "t.pth", arch="tiny")  # of 12 blocks
    backbone = mae_bench.load_backbone(
        tmp_path / "t.pth", "maps", out_indices=[0, 1], img_size=64, num_heads=3
    )
    assert backbone.input_statistics is None  # timm's files do not tell
    maps = backbone(torch.zeros(1, 3, 64, 64))
    assert [level.shape for level in maps] == [(1, 192, 8, 8)] * 2
    assert backbone.loading_report.resized[0].name == "pos_embed"
    grey = timm.models.VisionTransformer(
        32, 8, in_chans=1, embed_dim=192, depth=2, num_heads=3, num_classes=0
    )
    torch.save(grey.state_dict(), tmp_path / "grey.pth")
    backbone = mae_bench.load_backbone(tmp_path / "grey.pth", "tokens")
    assert backbone(torch.zeros(1, 1, 32, 32))[0].shape == (1, 17, 192)


def test_lists_and_docs():
    recipes = mae_bench.list_recipes()
    assert FINETUNE in recipes and len(recipes) == len(list((ROOT / "configs").glob("*/*.py")))
    assert "mae:vit_base" in [known.name for known in mae_bench.list_checkpoints()]
    page = (ROOT / "docs/python.md").read_text()
    named = re.findall(r"^\| `(\w+)\(", page, re.MULTILINE)
    assert sorted(named) == mae_bench.__all__
    assert set(mae_bench.__all__) <= set(dir(mae_bench))
    for name in named:
        assert getattr(mae_bench, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'trane'"):
        mae_bench.trane  # noqa: B018


def test_the_training_that_the_docs_show_is_accepted(monkeypatch):
    (example,) = re.findall(r"```python\n(import mae_bench\n.*?)```", DOCS_PAGE.read_text(), re.S)
    called = []

    def train(config, changes, **others):
        called.append((load_config(config, changes), others))
        return SimpleNamespace(metrics={}, checkpoint={"report": {"share": 1.0}})

    monkeypatch.setattr(mae_bench, "train", train)
    exec(example, {})
    ((cfg, others),) = called
    assert cfg.train_cfg.max_epochs == 20
    assert others.keys() <= inspect.signature(mae_bench.cli.train.train).parameters.keys()
